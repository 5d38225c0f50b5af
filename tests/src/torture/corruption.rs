//! The corruption sweep: every byte of a write-ahead log flipped, every file cut and deleted, and what a store says to it.
//!
//! | | |
//! |---|---|
//! | `base` | the stores that are damaged, and what is in them |
//! | `damage` | what is done to which file |
//! | `judge` | opens a damaged store: whole, refused, or a violation |
//! | `rows` | the same one floor up: records that are changed, moved or missing under a log |
//! | `watchdog` | ends the process if a case hangs |
//!
//! Called by the `torture` binary, as a hang can only be ended with its process.
//!
//! Invariant: a case is whole, or refused by an error that names where; anything else is a violation.

mod base;
mod damage;
mod judge;
mod rows;
mod watchdog;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub(super) use self::base::copy_store;
use self::base::{Base, Working};
use self::damage::{Case, cases};
use self::judge::{Found, judge};
use self::watchdog::Watchdog;

/// How far a sweep goes.
#[derive(Clone, Debug)]
pub struct CorruptionOptions {
    /// Of the write-ahead log, every so many bytes; 1 for all.
    pub log_every: usize,
    /// Of other files, about so many bytes and lengths of each.
    pub other_count: usize,
    /// Of the logs of runs, the records of every so many.
    pub run_every: usize,
    /// Decides what is in the stores, and which bytes are taken where not all are.
    pub seed: u64,
    /// Where the stores are made.
    pub directory: PathBuf,
    /// After which a case hangs.
    pub hang: Duration,
}

/// What a sweep came to.
#[derive(Clone, Debug, Default)]
pub struct CorruptionReport {
    /// Cases on files, those that are yet to come included.
    pub planned: u64,
    /// By kind of file: how many stores opened whole, and how many were refused.
    pub kinds: BTreeMap<&'static str, (u64, u64)>,
    /// Bytes of the largest write-ahead log that was swept.
    pub log_bytes: usize,
    /// Everything that must not be: silent loss, wrong values, errors that name nothing.
    pub violations: Vec<String>,
}

impl CorruptionReport {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Cases altogether.
    pub fn cases(&self) -> u64 {
        self.kinds.values().map(|(whole, refused)| whole + refused).sum::<u64>() + self.violations.len() as u64
    }

    fn add(&mut self, kind: &'static str, case: &impl fmt::Display, found: Found) {
        let count = self.kinds.entry(kind).or_default();
        match found {
            Found::Whole => count.0 += 1,
            Found::Refused => count.1 += 1,
            Found::Violation(why) => self.violations.push(format!("{case}: {why}")),
        }
    }
}

impl fmt::Display for CorruptionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, (whole, refused)) in &self.kinds {
            writeln!(f, "corruption: {kind}: whole={whole} refused={refused}")?;
        }
        let (cases, bytes, violations) = (self.cases(), self.log_bytes, self.violations.len());
        write!(f, "corruption: cases={cases} log_bytes={bytes} silent_or_wrong={violations} hangs=0")
    }
}

/// Sweeps two stores, one whose rows are in the log alone and one with tables, blobs and a past; then logs over records.
///
/// `progress` is told after each case.
///
/// # Errors
/// If the harness itself cannot go on.
pub fn corruption(
    options: &CorruptionOptions,
    mut progress: impl FnMut(&CorruptionReport),
) -> relive::Result<CorruptionReport> {
    let mut report = CorruptionReport::default();
    let watchdog = Watchdog::start(options.hang);
    let bases = [Base::log_only(&options.directory, options.seed)?, Base::tables(&options.directory, options.seed)?];
    for base in &bases {
        report.planned += cases(base, options)?.len() as u64;
    }
    for base in &bases {
        report.log_bytes = report.log_bytes.max(base.log_bytes()?);
        let mut working = Working::new(base, &options.directory)?;
        for case in cases(base, options)? {
            watchdog.begins(format!("{}: {case}", base.name));
            working.damage(&case)?;
            let found = judge(base, working.path());
            working.restore(&case)?;
            watchdog.ends();
            report.add(case.kind(), &Named(base.name, &case), found);
            progress(&report);
        }
        for (case, found) in rows::sweep(base, options.run_every)? {
            report.add("records of a log", &case, found);
        }
    }
    Ok(report)
}

/// A case and the store that it is about.
struct Named<'a>(&'static str, &'a Case);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0, self.1)
    }
}
