//! SIGKILL at every write, sync and rename of a life, and of the life after it.
//!
//! Uses `strace`; judged by the oracle of the campaign.
//!
//! Invariant: after each kill the next life, undisturbed, finishes all runs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use relive::Error;

use super::strace::{Site, injecting, recording, sites};
use super::{CallOptions, CallReport};
use crate::torture::campaign::SIGKILL;
use crate::torture::corruption::copy_store;
use crate::torture::life::{Lived, Moment, Start};
use crate::torture::oracle::{Life, Violation};
use crate::torture::pipe::Line;

/// SIGKILL at a call, in strace's words: the call is not made.
const KILL: &str = "signal=KILL";

/// Goes through the calls of a first life, and of the recovery after a kill in its middle.
///
/// # Errors
/// If the harness itself cannot go on.
pub fn kills(options: &CallOptions, mut progress: impl FnMut(&CallReport)) -> relive::Result<CallReport> {
    let mut report = CallReport { part: "calls", ..CallReport::default() };
    let sites = recorded(options, None)?;
    let fresh = cases(&sites, options.every);
    // A recovery makes about as many.
    report.planned = 2 * fresh.len() as u64;
    for (site, when) in &fresh {
        one(options, &mut report, None, site, *when)?;
        progress(&report);
    }
    // In the middle of what the log's file is given.
    let middle = sites.iter().find(|(site, _)| is_log_sync(site));
    let (site, count) = middle.ok_or_else(|| Error::msg("no life has synced a log"))?;
    let half = half_done(options, site, count.div_ceil(2))?;
    let recovery = cases(&recorded(options, Some(&half))?, options.every);
    report.planned = (fresh.len() + recovery.len()) as u64;
    for (site, when) in recovery {
        one(options, &mut report, Some(&half), &site, when)?;
        progress(&report);
    }
    fs::remove_dir_all(&half.root)?;
    Ok(report)
}

fn is_log_sync(site: &Site) -> bool {
    site.call == "fdatasync" && site.file.extension().is_some_and(|extension| extension == "log")
}

/// A store that was killed half-way, and what its life said.
pub(super) struct Half {
    pub(super) root: PathBuf,
    pub(super) life: Life,
}

/// The calls of an undisturbed life.
pub(super) fn recorded(options: &CallOptions, half: Option<&Half>) -> relive::Result<BTreeMap<Site, u64>> {
    let root = options.directory.join("recorded");
    let life = begin(&root, half)?;
    let trace = root.join("trace");
    let wrapper = recording(&trace);
    let lived = start(options, &root, life, &wrapper).live(Moment::Never, || Ok(()))?;
    if lived.life.pipe.last() != Some(&Line::Done) {
        return Err(Error::msg(format!("an undisturbed life did not end: {}", lived.status)));
    }
    let sites = sites(&trace, &root.join("store"))?;
    fs::remove_dir_all(&root)?;
    Ok(sites)
}

/// Every so many of the calls.
pub(super) fn cases(sites: &BTreeMap<Site, u64>, every: usize) -> Vec<(Site, u64)> {
    let all = sites.iter().flat_map(|(site, count)| (1..=*count).map(|when| (site.clone(), when)));
    all.step_by(every.max(1)).collect()
}

fn half_done(options: &CallOptions, site: &Site, when: u64) -> relive::Result<Half> {
    let root = options.directory.join("half");
    begin(&root, None)?;
    let trace = root.join("trace");
    let wrapper = injecting(&trace, &root.join("store"), site, KILL, &when.to_string());
    let lived = start(options, &root, 0, &wrapper).live(Moment::Never, || Ok(()))?;
    if lived.status.signal() != Some(SIGKILL) {
        return Err(Error::msg(format!("the life that was to be killed at {site} {when} ended by itself")));
    }
    Ok(Half { root, life: lived.life })
}

/// Makes a case's directory. Returns which life is the next.
pub(super) fn begin(root: &Path, half: Option<&Half>) -> relive::Result<usize> {
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    fs::create_dir_all(root)?;
    match half {
        None => Ok(0),
        Some(half) => {
            copy_store(&half.root.join("store"), &root.join("store"))?;
            Ok(1)
        }
    }
}

pub(super) fn start<'a>(
    options: &'a CallOptions,
    root: &'a Path,
    life: usize,
    wrapper: &'a [std::ffi::OsString],
) -> Start<'a> {
    Start {
        wrapper,
        program: &options.program,
        root,
        store: root.join("store"),
        life,
        seed: options.seed,
        run_count: options.run_count,
        thread_count: 1,
        buffered: false,
        failing: false,
    }
}

fn one(
    options: &CallOptions,
    report: &mut CallReport,
    half: Option<&Half>,
    site: &Site,
    when: u64,
) -> relive::Result<()> {
    let root = options.directory.join(format!("case-{:05}", report.cases));
    let recovery = if half.is_some() { ", in the recovery" } else { "" };
    let case = format!("killed at {site}, call {when}{recovery}");
    let life = begin(&root, half)?;
    let mut lives: Vec<Life> = half.map(|half| half.life.clone()).into_iter().collect();
    let wrapper = injecting(&root.join("trace"), &root.join("store"), site, KILL, &when.to_string());
    let started = start(options, &root, life, &wrapper);
    let lived = started.live(Moment::Never, || Ok(()))?;
    let killed = lived.status.signal() == Some(SIGKILL) && !lived.silent;
    let done = lived.life.pipe.last() == Some(&Line::Done);
    let mut found = Vec::new();
    if !killed && !done {
        found.push(Violation::Child { life, why: started.last_words(&lived) });
    }
    report.cases += 1;
    report.hit += u64::from(killed);
    lives.push(lived.life);
    if killed {
        lives.push(undisturbed(options, &root, life + 1, &mut found)?.life);
    }
    report.judge(&case, &root, options, lives, found);
    Ok(())
}

/// The life after a disturbed one.
pub(super) fn undisturbed(
    options: &CallOptions,
    root: &Path,
    life: usize,
    found: &mut Vec<Violation>,
) -> relive::Result<Lived> {
    let started = start(options, root, life, &[]);
    let lived = started.live(Moment::Never, || Ok(()))?;
    if lived.life.pipe.last() != Some(&Line::Done) {
        found.push(Violation::Child { life, why: started.last_words(&lived) });
    }
    Ok(lived)
}
