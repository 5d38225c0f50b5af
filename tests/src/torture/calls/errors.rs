//! An error from every write and sync of a life, once or from then on; and disks of every size that is too small.
//!
//! Uses `strace`, and small tmpfs mounts where they may be made.
//!
//! Invariant: what fails is told to everyone who waits, nothing is taken after it, and nothing that was acknowledged is
//! missing in the next life.

use std::fs;
use std::path::Path;
use std::process::Command;

use relive::Error;

use super::kills::{begin, cases, recorded, start, undisturbed};
use super::strace::{Site, injecting, was_injected};
use super::{CallOptions, CallReport};
use crate::torture::life::{Lived, Moment, Start};
use crate::torture::oracle::Violation;
use crate::torture::pipe::Line;
use crate::torture::power::call;

/// How calls fail, in strace's words: once, and from a call on; a disk that fails, and one that is full.
const FAULTS: [(&str, &str); 3] = [("error=EIO", ""), ("error=EIO", "+"), ("error=ENOSPC", "+")];

/// Goes through the writes and syncs of a life, with each fault; then through small disks.
///
/// # Errors
/// If the harness itself cannot go on.
pub fn errors(options: &CallOptions, mut progress: impl FnMut(&CallReport)) -> relive::Result<CallReport> {
    let mut report = CallReport { part: "errors", ..CallReport::default() };
    let mut sites = recorded(options, None)?;
    sites.retain(|site, _| !["unlink", "unlinkat"].contains(&site.call.as_str()));
    let cases = cases(&sites, options.every);
    report.planned = cases.len() as u64 * if options.every > 1 { 1 } else { FAULTS.len() as u64 };
    for (index, (site, when)) in cases.into_iter().enumerate() {
        // Each of the faults where all calls are gone through, else one after the other.
        let faults = if options.every > 1 { &FAULTS[index % 3..=index % 3] } else { &FAULTS[..] };
        for (fault, behind) in faults {
            injected(options, &mut report, &site, fault, &format!("{when}{behind}"))?;
            progress(&report);
        }
    }
    let probe = options.directory.join("probe");
    fs::create_dir_all(&probe)?;
    match Tmpfs::mount(&probe, 64) {
        Ok(disk) => {
            drop(disk);
            small_disks(options, &mut report)?;
        }
        Err(error) => report.notes.push(format!("no disks that are full: {error}")),
    }
    Ok(report)
}

/// Whether an error on this file has to be told: all but RocksDB's messages and settings for people, and the id of who holds
/// the store. Room that is made beforehand, or a table's early write-back, may be refused.
fn must_tell(site: &Site) -> bool {
    let name = site.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_for_people = ["LOG", "OPTIONS", "IDENTITY", "LOCK"].iter().any(|prefix| name.starts_with(prefix));
    !is_for_people && !["fallocate", "sync_file_range", "ftruncate"].contains(&site.call.as_str())
}

fn injected(
    options: &CallOptions,
    report: &mut CallReport,
    site: &Site,
    fault: &str,
    when: &str,
) -> relive::Result<()> {
    let root = options.directory.join(format!("error-{:05}", report.cases));
    begin(&root, None)?;
    let trace = root.join("trace");
    let wrapper = injecting(&trace, &root.join("store"), site, fault, when);
    let started = Start { failing: true, ..start(options, &root, 0, &wrapper) };
    let lived = started.live(Moment::Never, || Ok(()))?;
    let hit = was_injected(&trace);
    let mut found = told(report, &started, &lived);
    if hit && must_tell(site) && lived.life.pipe.last() == Some(&Line::Done) {
        found.push(Violation::Child { life: 0, why: "an error was swallowed: every run ended".to_owned() });
    }
    report.hit += u64::from(hit);
    let mut lives = vec![lived.life];
    if lives[0].pipe.last() != Some(&Line::Done) {
        lives.push(undisturbed(options, &root, 1, &mut found)?.life);
    }
    report.judge(&format!("{fault} at {site}, call {when}"), &root, options, lives, found);
    Ok(())
}

/// Judges how a life with a fault ended.
fn told(report: &mut CallReport, started: &Start<'_>, lived: &Lived) -> Vec<Violation> {
    report.cases += 1;
    let last = lived.life.pipe.last();
    report.told += u64::from(matches!(last, Some(Line::Refused(_))));
    let why = match last {
        Some(Line::Done | Line::Refused(_)) if lived.status.success() => return Vec::new(),
        Some(Line::Accepted) => "the engine took another run after a commit had failed".to_owned(),
        _ => started.last_words(lived),
    };
    vec![Violation::Child { life: started.life, why }]
}

/// Runs on disks of rising size, each too small at first, then large enough.
fn small_disks(options: &CallOptions, report: &mut CallReport) -> relive::Result<()> {
    let step = 8 * options.every.max(1) as u64;
    for kibibytes in (16..).step_by(usize::try_from(step).unwrap_or(8)).take_while(|size| *size < 1024) {
        let root = options.directory.join(format!("small-{kibibytes:05}"));
        begin(&root, None)?;
        let store = root.join("store");
        fs::create_dir_all(&store)?;
        let disk = Tmpfs::mount(&store, kibibytes)?;
        let started = Start { failing: true, ..start(options, &root, 0, &[]) };
        let lived = started.live(Moment::Never, || Ok(()))?;
        let mut found = told(report, &started, &lived);
        let is_full = lived.life.pipe.last() != Some(&Line::Done);
        report.hit += u64::from(is_full);
        disk.grow()?;
        let mut lives = vec![lived.life];
        if is_full {
            lives.push(undisturbed(options, &root, 1, &mut found)?.life);
        }
        report.judge(&format!("a disk of {kibibytes} KiB"), &root, options, lives, found);
        drop(disk);
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        if !is_full {
            break;
        }
    }
    Ok(())
}

/// A file system in memory, of a size.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(at: &'a Path, kibibytes: u64) -> relive::Result<Self> {
        call(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={kibibytes}k"), "tmpfs"]).arg(at))
            .map_err(|error| Error::msg("a small tmpfs cannot be mounted").caused_by(error))?;
        Ok(Self(at))
    }

    /// Somebody makes room.
    fn grow(&self) -> relive::Result<()> {
        call(Command::new("mount").args(["-o", "remount,size=256m"]).arg(self.0))
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        // If it stays, it is seen in the list of mounts.
        let _ = call(Command::new("umount").arg(self.0));
    }
}
