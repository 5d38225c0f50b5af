//! What a campaign came to.
//!
//! Filled by `campaign`, printed by the `torture` binary, asserted by the tests.
//!
//! Invariant: a campaign that found anything is never called clean.

use std::fmt;

use super::oracle::{Verdict, Violation};

/// What a campaign came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// SIGKILLs that ended a child.
    pub kills: u64,
    /// Of these, before the child had told anything: while it opened its engine.
    pub kills_while_opening: u64,
    /// Runs that were seen to their end.
    pub runs: u64,
    /// Directories that were begun and checked.
    pub directories: u64,
    /// Events that were acknowledged.
    pub acknowledged: u64,
    /// Of these, how many the log does not hold at their place as they were.
    pub lost: u64,
    /// Effects that began after their completion had been acknowledged.
    pub repeated_after_ack: u64,
    /// Runs that did not end with the result of an undisturbed one.
    pub unfinished: u64,
    /// Everything that was found, in the order in which it was.
    pub violations: Vec<Violation>,
}

impl Report {
    pub(crate) fn add(&mut self, verdict: Verdict) {
        self.directories += 1;
        self.runs += verdict.runs;
        self.acknowledged += verdict.acknowledged;
        self.lost += verdict.violations.iter().filter(|violation| violation.is_loss()).count() as u64;
        self.repeated_after_ack +=
            verdict.violations.iter().filter(|violation| violation.is_repetition()).count() as u64;
        self.unfinished += verdict.violations.iter().filter(|violation| violation.is_unfinished()).count() as u64;
        self.violations.extend(verdict.violations);
    }

    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, runs, acknowledged, lost, repeated_after_ack, unfinished, .. } = self;
        write!(
            f,
            "kills={kills} runs={runs} acknowledged={acknowledged} lost={lost} \
             repeated_after_ack={repeated_after_ack} unfinished={unfinished}"
        )
    }
}
