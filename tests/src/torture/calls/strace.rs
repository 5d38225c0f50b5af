//! strace: names the system calls of a life by file, and has the nth call of one kind on one file killed or failed.
//!
//! Used by `kills` and `errors`.
//!
//! The store opens its files through the descriptors of its directories, `/proc/self/fd/N/…`. What is open strace knows by its path;
//! a name that is given to a call it knows as it is given.
//!
//! Invariant: only calls on files of the store are counted, so that witness and pipe work whatever happens.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is counted: all that changes a file or makes it durable.
const CALLS: &str = "write,pwrite64,writev,pwritev,fsync,fdatasync,sync_file_range,rename,renameat,renameat2,ftruncate,\
                     fallocate,unlink,unlinkat,link,linkat";

/// Where a process finds the files of its descriptors.
const DESCRIPTORS: &str = "/proc/self/fd/";

/// The store's directories have lower numbers: it is opened when little else is.
const DESCRIPTORS_MAX: u32 = 48;

/// The calls of one kind on one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Site {
    /// The call's name.
    pub(super) call: String,
    /// The file, relative to the store. Of a rename, the old name.
    pub(super) file: PathBuf,
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {}",
            self.call,
            if self.file.as_os_str().is_empty() { Path::new(".") } else { &self.file }.display()
        )
    }
}

/// Whether strace is there and may do what it is for; else why not.
///
/// # Errors
/// Never: what fails is the answer.
pub fn can_trace() -> Result<(), String> {
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=1", "true"]);
    match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("strace cannot trace here ({status})")),
        Err(error) => Err(format!("strace cannot be started ({error})")),
    }
}

/// What starts a program under strace: only names its calls, into a file.
pub(super) fn recording(into: &Path) -> Vec<OsString> {
    let mut words = tracing(into);
    words.extend(["--seccomp-bpf".into(), "-y".into(), "-e".into(), format!("trace={CALLS}").into()]);
    words
}

/// What starts a program under strace: has the `when`th call at a site disturbed as `fault` says, in strace's words. The calls
/// of each thread are counted for themselves, so a site's number is the one of whichever thread comes first.
pub(super) fn injecting(into: &Path, store: &Path, site: &Site, fault: &str, when: &str) -> Vec<OsString> {
    let mut words = tracing(into);
    if !fault.contains("signal=") {
        // Stops at the traced calls only, which is faster; strace 6.1 delivers no signal at such a stop.
        words.push("--seccomp-bpf".into());
    }
    words.extend(["-P".into(), store.join(&site.file).into_os_string()]);
    if takes_names(&site.call) {
        let name = site.file.file_name().unwrap_or_default();
        for number in 3..DESCRIPTORS_MAX {
            words.extend(["-P".into(), Path::new(DESCRIPTORS).join(number.to_string()).join(name).into_os_string()]);
        }
    }
    let inject = format!("inject={}:{fault}:when={when}", site.call);
    words.extend(["-e".into(), format!("trace={}", site.call).into(), "-e".into(), inject.into()]);
    words
}

/// Whether a call is given a file's name, where the others are given one that is open.
fn takes_names(call: &str) -> bool {
    ["rename", "link", "unlink"].iter().any(|begin| call.starts_with(begin))
}

fn tracing(into: &Path) -> Vec<OsString> {
    vec!["strace".into(), "-f".into(), "-o".into(), into.as_os_str().to_owned()]
}

/// Whether a fault was injected, by what strace wrote down.
pub(super) fn was_injected(trace: &Path) -> bool {
    fs::read(trace).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains("(INJECTED)"))
}

/// The calls on files of the store, by what strace wrote down: how many of each.
pub(super) fn sites(trace: &Path, store: &Path) -> std::io::Result<BTreeMap<Site, u64>> {
    let bytes = fs::read(trace)?;
    let mut sites = BTreeMap::new();
    for line in String::from_utf8_lossy(&bytes).lines() {
        if let Some(site) = site(line, store) {
            *sites.entry(site).or_default() += 1;
        }
    }
    Ok(sites)
}

/// `PID call(12</path>, …` or `PID call("/path", …`.
fn site(line: &str, store: &Path) -> Option<Site> {
    let (_, line) = line.split_once(' ')?;
    let (call, arguments) = line.trim_start().split_once('(')?;
    let is_name = |call: &str| call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let path = match arguments.find(['<', '"']) {
        Some(at) if arguments[at..].starts_with('<') => arguments[at + 1..].split('>').next()?,
        Some(at) => arguments[at + 1..].split('"').next()?,
        None => return None,
    };
    // A file that is gone by now.
    let path = Path::new(path.strip_suffix("(deleted)").unwrap_or(path));
    let file = match path.strip_prefix(DESCRIPTORS) {
        Ok(held) => within(held.file_name()?),
        Err(_) => path.strip_prefix(store).ok()?.to_owned(),
    };
    is_name(call).then(|| Site { call: call.to_owned(), file })
}

/// Where a file is that is named through a descriptor: only the marker and what is not RocksDB's is in the store's directory itself.
fn within(name: &OsStr) -> PathBuf {
    let is_ours = ["RELIVE", "engine.sock", "high-water"].iter().any(|ours| name.to_string_lossy().starts_with(ours));
    if is_ours { name.into() } else { Path::new("db").join(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_on_files_of_the_store_are_named_and_others_are_not() {
        let store = Path::new("/t/store");
        let named = |line| site(line, store).map(|site| site.to_string());
        assert_eq!(
            named(r#"17 write(5</t/store/db/000004.log>, "a<b>", 4) = 4"#),
            Some("write of db/000004.log".into())
        );
        assert_eq!(named("17 fdatasync(5</t/store>) = 0"), Some("fdatasync of .".into()));
        let rename = r#"9 rename("/t/store/RELIVE.new", "/t/store/RELIVE") = 0"#;
        assert_eq!(named(rename), Some("rename of RELIVE.new".into()));
        let rename = r#"9 rename("/proc/self/fd/7/000001.dbtmp", "/proc/self/fd/7/CURRENT") = 0"#;
        assert_eq!(named(rename), Some("rename of db/000001.dbtmp".into()));
        let rename = r#"9 rename("/proc/self/fd/6/RELIVE.new", "/proc/self/fd/6/RELIVE") = 0"#;
        assert_eq!(named(rename), Some("rename of RELIVE.new".into()));
        for other in
            ["17 +++ exited with 0 +++", "17 write(1</dev/pts/0>, \"a\", 1) = 1", "17 <... write resumed>) = 1"]
        {
            assert_eq!(named(other), None);
        }
    }
}
