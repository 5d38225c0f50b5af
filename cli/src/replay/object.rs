//! What a replay found, as JSON.
//!
//! Used by `replay --json` and `check --json`; the fields are in the help of `replay`.

use relive::{CallSite, Difference, Replayed, Side, Value, Verdict};
use serde::Serialize;

use crate::json::{EventLine, OutcomeObject};

/// A replayed run.
#[derive(Serialize)]
pub(crate) struct ReplayedObject<'a> {
    run: String,
    task: &'a str,
    attempt: u32,
    events: u64,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    redacted: &'a [String],
    #[serde(flatten)]
    verdict: VerdictObject<'a>,
}

impl<'a> ReplayedObject<'a> {
    pub(crate) fn of(replayed: &'a Replayed) -> Self {
        Self {
            run: replayed.run.to_string(),
            task: &replayed.task,
            attempt: replayed.attempt,
            events: replayed.event_count,
            redacted: &replayed.redacted,
            verdict: VerdictObject::of(replayed),
        }
    }
}

/// A verdict.
#[derive(Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub(crate) enum VerdictObject<'a> {
    Same {
        #[serde(flatten)]
        outcome: OutcomeObject<'a>,
    },
    SameSoFar {
        sequence: u64,
        next: Vec<CallObject<'a>>,
        stuck: Option<&'a str>,
    },
    ResultChanged {
        sequence: u64,
        logged: OutcomeObject<'a>,
        now: OutcomeObject<'a>,
        differences: Vec<DifferenceObject<'a>>,
        cause: &'static str,
        why: String,
    },
    Diverged {
        sequence: u64,
        change: &'static str,
        logged: Option<SideObject<'a>>,
        called: Option<SideObject<'a>>,
        difference: Option<DifferenceObject<'a>>,
        cause: &'static str,
        why: String,
        before: Vec<EventLine<'a>>,
    },
    /// Of a version to come.
    Other {},
}

impl<'a> VerdictObject<'a> {
    pub(crate) fn of(replayed: &'a Replayed) -> Self {
        match &replayed.verdict {
            Verdict::Same(outcome) => Self::Same { outcome: OutcomeObject::of_task(outcome) },
            Verdict::SameSoFar(so_far) => Self::SameSoFar {
                sequence: so_far.end.0,
                next: so_far.next.iter().map(CallObject::of).collect(),
                stuck: so_far.stuck.as_deref(),
            },
            Verdict::ResultChanged(change) => Self::ResultChanged {
                sequence: change.sequence.0,
                logged: OutcomeObject::of_task(&change.logged),
                now: OutcomeObject::of_task(&change.now),
                differences: change.differences.iter().map(DifferenceObject::of).collect(),
                cause: change.cause.name(),
                why: change.cause.to_string(),
            },
            Verdict::Diverged(diagnosis) => {
                let before = diagnosis.before.iter().map(|logged| EventLine::of(replayed.run, logged, None, None));
                Self::Diverged {
                    sequence: diagnosis.divergence.sequence.0,
                    change: diagnosis.change.name(),
                    logged: diagnosis.divergence.logged.as_ref().map(SideObject::of),
                    called: diagnosis.divergence.called.as_ref().map(SideObject::of),
                    difference: diagnosis.difference.as_ref().map(DifferenceObject::of),
                    cause: diagnosis.cause.name(),
                    why: diagnosis.cause.to_string(),
                    before: before.collect(),
                }
            }
            _ => Self::Other {},
        }
    }
}

/// A place where two values differ.
#[derive(Serialize)]
pub(crate) struct DifferenceObject<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<&'a Value>,
}

impl<'a> DifferenceObject<'a> {
    pub(crate) fn of(difference: &'a Difference) -> Self {
        Self { path: &difference.path, old: difference.old.as_ref(), new: difference.new.as_ref() }
    }
}

/// A call.
#[derive(Serialize)]
pub(crate) struct CallObject<'a> {
    name: &'a str,
    input: &'a Value,
    occurrence: u32,
    file: &'a str,
    line: u32,
}

impl<'a> CallObject<'a> {
    pub(crate) fn of(call: &'a CallSite) -> Self {
        let CallSite { name, input, occurrence, file, line, .. } = call;
        Self { name, input, occurrence: *occurrence, file, line: *line }
    }
}

/// A side of a divergence.
#[derive(Serialize)]
#[serde(tag = "side", rename_all = "snake_case")]
pub(crate) enum SideObject<'a> {
    Call(CallObject<'a>),
    Drop(CallObject<'a>),
    Finished { outcome: &'a str },
    Waiting {},
}

impl<'a> SideObject<'a> {
    fn of(side: &'a Side) -> Self {
        match side {
            Side::Call(call) => Self::Call(CallObject::of(call)),
            Side::Drop(call) => Self::Drop(CallObject::of(call)),
            Side::Finished(outcome) => Self::Finished { outcome },
            Side::Waiting => Self::Waiting {},
        }
    }
}
