//! What an operator is told unasked, as events of `tracing` with the target `relive`: what failed, what is tried again, what
//! was taken up when a store was opened, and what cannot go on.
//!
//! | level | event | fields |
//! |---|---|---|
//! | error | `a run is blocked: it cannot go on until somebody acts` | `run`, `task`, `reason`, `error` |
//! | warn | `a run failed` | `run`, `task`, `error` |
//! | warn | `an attempt of a run failed: another follows` | `run`, `task`, `due`, `error` |
//! | warn | `a try of a trace failed: another follows` | `run`, `task`, `name`, `try`, `due`, `wait`, `error` |
//! | warn | `runs are blocked: they do not go on until somebody acts` | `count`, `reasons` |
//! | info | `a run was cancelled` | `run`, `task` |
//! | info | `a store is open: its unfinished runs are taken up` | `epoch`, `in_order`, `taken_up`, `asleep`, `blocked` |
//! | debug | `a run is taken up` | `run`, `task` |
//!
//! `due` is a moment in UTC as RFC 3339. Names that the store holds are written as text, so a subscriber that prints them escapes
//! them.
//!
//! Invariant: where nobody listens, nothing is formatted.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::{ErrorRecord, TaskCompleted, TaskOutcome};
use crate::handle::{Obstacle, RunCell};
use crate::id::{Epoch, RunId, Timestamp};
use crate::index::BlockReason;

/// A run cannot go on.
pub(crate) fn blocked(cell: &RunCell, obstacle: &Obstacle) {
    let Obstacle { error, reason, .. } = obstacle;
    let reason = reason.as_str();
    tracing::error!(
        target: "relive", run = %cell.run, task = cell.task, reason, %error,
        "a run is blocked: it cannot go on until somebody acts"
    );
}

/// A run ended, or an attempt of it.
pub(crate) fn ended(run: RunId, task: &str, completed: &TaskCompleted) {
    match (&completed.outcome, completed.retry_at) {
        (TaskOutcome::Err(error), Some(due)) => tracing::warn!(
            target: "relive", %run, task, due = %Utc(due), error = %Told(error),
            "an attempt of a run failed: another follows"
        ),
        (TaskOutcome::Err(error), None) => {
            tracing::warn!(target: "relive", %run, task, error = %Told(error), "a run failed");
        }
        (TaskOutcome::Cancelled, _) => tracing::info!(target: "relive", %run, task, "a run was cancelled"),
        (TaskOutcome::Ok(_), _) => {}
    }
}

/// A try of a trace failed, and another follows.
pub(crate) fn retried(run: RunId, task: &str, name: &str, tries: u32, due: (Timestamp, Duration), error: &ErrorRecord) {
    let (due, wait) = due;
    tracing::warn!(
        target: "relive", %run, task, name, "try" = tries, due = %Utc(due), ?wait, error = %Told(error),
        "a try of a trace failed: another follows"
    );
}

/// What an engine found unfinished when it was opened.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) taken_up: u64,
    pub(crate) asleep: u64,
    /// Those that were blocked before, and are not tried again.
    pub(crate) blocked: BTreeMap<BlockReason, u64>,
}

/// A store was opened.
pub(crate) fn opened(epoch: Epoch, in_order: bool, found: &Found) {
    let blocked: u64 = found.blocked.values().sum();
    let Found { taken_up, asleep, .. } = *found;
    // Nobody wants to read of every open that nothing happened.
    if taken_up + asleep + blocked == 0 {
        let epoch = epoch.0;
        tracing::debug!(target: "relive", epoch, in_order, "a store is open: none of its runs is unfinished");
        return;
    }
    tracing::info!(
        target: "relive", epoch = epoch.0, in_order, taken_up, asleep, blocked,
        "a store is open: its unfinished runs are taken up"
    );
    if blocked > 0 {
        let reasons = Counts(&found.blocked);
        tracing::warn!(
            target: "relive", count = blocked, %reasons, "runs are blocked: they do not go on until somebody acts"
        );
    }
}

/// A run that an earlier life of the process left goes on.
pub(crate) fn taken_up(cell: &RunCell) {
    tracing::debug!(target: "relive", run = %cell.run, task = cell.task, "a run is taken up");
}

/// A run that was blocked before is so still.
pub(crate) fn still_blocked(cell: &RunCell, obstacle: &Obstacle) {
    let Obstacle { error, reason, .. } = obstacle;
    let reason = reason.as_str();
    tracing::debug!(target: "relive", run = %cell.run, task = cell.task, reason, %error, "a run is blocked still");
}

/// An error's message and those of its sources.
struct Told<'a>(&'a ErrorRecord);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)?;
        self.0.sources.iter().try_for_each(|source| write!(f, ": {source}"))
    }
}

/// `3 diverged, 1 parked`.
struct Counts<'a>(&'a BTreeMap<BlockReason, u64>);

impl std::fmt::Display for Counts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (reason, count)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {reason}")?;
        }
        Ok(())
    }
}

/// A moment as RFC 3339 in UTC, to the millisecond. Written here, as no other part of the engine needs a calendar.
struct Utc(Timestamp);

impl std::fmt::Display for Utc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.0.div_euclid(1_000_000);
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let millis = self.0.0.rem_euclid(1_000_000) / 1_000;
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Year, month and day of a count of days since 1970: Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_people_read_it() {
        let written = |micros| Utc(Timestamp(micros)).to_string();
        assert_eq!(written(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(written(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(written(951_782_400_000_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(written(1_798_761_599_123_456), "2026-12-31T23:59:59.123Z");
        assert!(!written(i64::MAX).is_empty() && !written(i64::MIN).is_empty());
    }

    #[test]
    fn counts_are_told_by_reason() {
        let counts = BTreeMap::from([(BlockReason::Parked, 1), (BlockReason::Diverged, 401)]);
        assert_eq!(Counts(&counts).to_string(), "401 diverged, 1 parked");
    }
}
