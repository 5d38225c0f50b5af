//! Faults at system calls: a child is killed at, or gets an error from, the nth write, sync or rename of each file.
//!
//! | | |
//! |---|---|
//! | `strace` | names the calls of a life, and makes one of them fail |
//! | `kills` | SIGKILL at each |
//! | `errors` | an error from each, and a disk that is full |
//!
//! Called by the `torture` binary. Both parts record what an undisturbed life does, and go through that.
//!
//! Invariant: a case whose call was not reached is counted as such, never as passed.

mod errors;
mod kills;
mod strace;

use std::fmt;
use std::path::{Path, PathBuf};

use super::campaign::logs;
use super::oracle::{History, Life, RunExpectation, Violation, check};
use super::program::Program;

pub use errors::errors;
pub use kills::kills;
pub use strace::can_trace;

/// How far a part goes.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// Of the calls, every so many; 1 for all.
    pub every: usize,
    /// Decides what the runs do.
    pub seed: u64,
    /// Runs at once. With one, a life has about 50 events.
    pub run_count: u32,
    /// The binary that is a child when it is called with `child`.
    pub program: PathBuf,
    /// Where the stores are made.
    pub directory: PathBuf,
}

/// What a part came to.
#[derive(Clone, Debug, Default)]
pub struct CallReport {
    /// The part's name.
    pub part: &'static str,
    /// Calls that are to be gone through, as far as that is known.
    pub planned: u64,
    /// Calls that were gone through.
    pub cases: u64,
    /// Of these, how many a life reached.
    pub hit: u64,
    /// Events that were acknowledged, in all lives.
    pub acknowledged: u64,
    /// Lives whose engine said that a commit had failed, or that it could not be opened.
    pub told: u64,
    /// What could not be done here, and why.
    pub notes: Vec<String>,
    /// What must not be: in which case, and what.
    pub violations: Vec<String>,
}

impl CallReport {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Judges the lives of a case; what is clean is removed.
    fn judge(&mut self, case: &str, root: &Path, options: &CallOptions, lives: Vec<Life>, found: Vec<Violation>) {
        let expected = |number| RunExpectation { number, result: Program::draw(options.seed, number).result() };
        let expected = (0..options.run_count).map(expected).collect();
        let mut history = History { lives, expected, ..History::default() };
        let mut violations = found;
        match logs(&root.join("store"), &mut violations) {
            Ok(logs) => history.logs = logs,
            Err(error) => violations.push(Violation::Unreadable { why: format!("{error:?}") }),
        }
        let verdict = check(&history);
        self.acknowledged += verdict.acknowledged;
        violations.extend(verdict.violations);
        if violations.is_empty() {
            // If it cannot be removed, it is only in the way.
            let _ = std::fs::remove_dir_all(root);
        }
        self.violations.extend(violations.iter().map(|violation| format!("{case}: {violation}")));
    }
}

impl fmt::Display for CallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, cases, hit, acknowledged, told, violations, .. } = self;
        let violations = violations.len();
        write!(f, "{part}: cases={cases} hit={hit} told={told} acknowledged={acknowledged} violations={violations}")
    }
}
