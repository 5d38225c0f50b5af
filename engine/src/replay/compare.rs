//! The end of a replayed step: what the body did against what the log holds.
//!
//! Called by `replay`, before anything is appended or started.
//!
//! Invariant: a step that passes did what the log holds, no more and no less (more only where the log is open-ended).

use relive_storage::planted::{Planted, planted};

use crate::divergence::{CallSite, Divergence, Outcomes, Side};
use crate::error::is_cut_of;
use crate::event::{ErrorRecord, TaskCompleted, TaskOutcome};
use crate::id::Sequence;

use super::expected::Expected;
use super::history::Rest;
use super::{Replay, ReplayError};

impl Replay {
    /// Compares a step; also before a plain function of the body's runs for the first time.
    pub(super) fn compare(&self, expected: &Expected, finish: Option<&TaskCompleted>) -> Result<(), ReplayError> {
        if planted(Planted::UncheckedStep) {
            return Ok(());
        }
        let finished = |outcome: &TaskOutcome| Side::Finished(describe(outcome));
        let called = || match (self.unexpected.first(), finish) {
            (Some(side), _) => side.clone(),
            (None, Some(completed)) => finished(&completed.outcome),
            (None, None) => Side::Waiting,
        };
        let diverged = |sequence, logged: Option<Side>, called: Side| {
            Err(ReplayError::Diverged(Box::new(Divergence {
                run: self.run,
                task: self.task.to_string(),
                sequence,
                outcomes: Box::new(Outcomes {
                    logged: expected.finish.as_ref().map(|logged| logged.outcome.clone()),
                    called: finish.map(|completed| completed.outcome.clone()),
                }),
                // The driver knows.
                is_stuck: false,
                logged,
                called: Some(called),
            })))
        };
        if let Some((sequence, call)) = expected.first_left() {
            let logged = CallSite::of(call);
            // Best told with the call that was made in its place: one of the same trace, if there is one.
            let same = |side: &&Side| matches!(side, Side::Call(call) if call.name == logged.name);
            let called = self.unexpected.iter().find(same).cloned().unwrap_or_else(called);
            return diverged(sequence, Some(Side::Call(logged)), called);
        }
        if let Some((sequence, trace)) = expected.first_drop_left() {
            let held = self.by_sequence.get(&trace).and_then(|index| self.open.get(index)?.call.as_deref());
            let call = held.or_else(|| self.iterators.get(&trace).map(AsRef::as_ref));
            return diverged(sequence, call.map(|call| Side::Drop(CallSite::of(call))), called());
        }
        if let Some(trace) = expected.first_answer_left() {
            let call = self.iterators.get(&trace).map(|call| Side::Call(CallSite::of(call)));
            return diverged(trace, call, called());
        }
        match (&expected.finish, finish) {
            (Some(logged), Some(now)) if same_outcome(&logged.outcome, &now.outcome) => {}
            (Some(logged), _) => {
                return diverged(expected.finish_at, Some(finished(&logged.outcome)), called());
            }
            (None, Some(now)) if expected.rest == Rest::Complete => {
                return diverged(Sequence(self.next_sequence), None, finished(&now.outcome));
            }
            (None, _) => {}
        }
        match self.unexpected.first() {
            Some(side) => diverged(Sequence(self.next_sequence), None, side.clone()),
            None => Ok(()),
        }
    }
}

/// Whether the log's outcome and today's are the same to a reader: maps in any order; errors of types that were moved or renamed.
fn same_outcome(a: &TaskOutcome, b: &TaskOutcome) -> bool {
    match (a, b) {
        (TaskOutcome::Ok(a), TaskOutcome::Ok(b)) => a.is_like(b),
        (TaskOutcome::Err(a), TaskOutcome::Err(b)) => {
            let alike =
                |a: &ErrorRecord, b: &ErrorRecord| (a.kind, &a.message, &a.sources) == (b.kind, &b.message, &b.sources);
            alike(a, b) || {
                // Earlier versions recorded errors of any length. Of a panic, what it said is cut before words stand around it.
                let (cut_a, cut_b) = (a.clone().in_bounds(), b.clone().in_bounds());
                let is_cut = (a.kind, &cut_a.sources) == (b.kind, &cut_b.sources) && is_cut_of(&b.message, &a.message);
                is_cut || alike(&cut_a, &cut_b)
            }
        }
        (a, b) => a == b,
    }
}

/// An outcome in a few words.
fn describe(outcome: &TaskOutcome) -> String {
    match outcome {
        TaskOutcome::Ok(payload) => format!("Ok({})", payload.to_value().excerpt(120)),
        TaskOutcome::Err(record) => format!("Err({record})"),
        TaskOutcome::Cancelled => "a cancellation".to_owned(),
    }
}
