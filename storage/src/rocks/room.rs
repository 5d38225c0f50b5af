//! Whether a process has the address space that RocksDB reserves.
//!
//! Asked by `database` before it opens one: where RocksDB gets none, it aborts the process, and no error comes of that.
//!
//! Invariant: where no limit is set, or none is told, there is room.

use crate::{Error, ErrorKind};

/// What has to be left: 640 MiB. RocksDB makes caches that it drops again, each with some 50 MiB reserved, and threads, for each of
/// which the allocator reserves 64 MiB. Under limits of up to 500,000 KiB opening a store aborted every second process, and
/// none under higher ones (RocksDB 11.8.1, glibc).
const NEEDED_MIB: u64 = 640;

/// An error if there is too little.
pub(super) fn check() -> Result<(), Error> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let Some(limit) = limit_mib(&read("limits")) else { return Ok(()) };
    let Some(used) = used_mib(&read("status")) else { return Ok(()) };
    let left = limit.saturating_sub(used);
    if left >= NEEDED_MIB {
        return Ok(());
    }
    let why = format!(
        "this process may reserve only {left} MiB more of address space, and a store needs {NEEDED_MIB} MiB: raise its \
         limit (ulimit -v), or limit its memory by other means"
    );
    Err(Error::new(ErrorKind::Io, why))
}

/// The soft limit in `/proc/self/limits`; `None` if there is none.
fn limit_mib(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? >> 20)
}

/// What is reserved, in `/proc/self/status`.
fn used_mib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_linux_writes_them() {
        let limits = |soft: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max cpu time              unlimited            unlimited            seconds   \n\
                 Max address space         {soft}           unlimited            bytes     \n"
            )
        };
        assert_eq!(limit_mib(&limits("1073741824")), Some(1024));
        assert_eq!(limit_mib(&limits("unlimited")), None);
        assert_eq!(limit_mib(""), None);
        assert_eq!(used_mib("Name:\ttest\nVmPeak:\t  409600 kB\nVmSize:\t  204800 kB\n"), Some(200));
        assert_eq!(used_mib(""), None);
    }
}
