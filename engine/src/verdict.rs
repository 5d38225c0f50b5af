//! What a replay of a run found.
//!
//! Made by `replayer` and `diagnose`; shown by the command line, asked by tests of users' programs.
//!
//! Invariant: every verdict but [`Verdict::Same`] and [`Verdict::SameSoFar`] says what the log holds and what the code did.

use std::fmt;

use crate::divergence::{CallSite, Divergence};
use crate::event::{ErrorRecord, TaskOutcome};
use crate::id::{RunId, Sequence};
use crate::inspect::LoggedEvent;
use crate::value::{Difference, Value};

/// What a replay of one attempt of a run found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Replayed {
    /// Which run.
    pub run: RunId,
    /// Its task.
    pub task: String,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// How many events of the attempt fit.
    pub event_count: u64,
    /// Whether the code fits, and if not, why not.
    pub verdict: Verdict,
    /// Fields of the run whose values were replaced when it was exported: code that fits what was recorded may not fit this.
    pub redacted: Vec<String>,
}

/// Whether a task's code fits an attempt in a log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// It made the same calls and came to the same end.
    Same(TaskOutcome),
    /// It made the same calls up to where the log ends: the run is unfinished.
    SameSoFar(SoFar),
    /// It made the same calls and came to another end.
    ResultChanged(Box<ResultChange>),
    /// It did something else.
    Diverged(Box<Diagnosis>),
}

impl Verdict {
    /// Whether an engine could go on from the log with this code, or find its result again.
    pub fn fits(&self) -> bool {
        matches!(self, Self::Same(_) | Self::SameSoFar(_))
    }

    /// A word for it: `same`, `same_so_far`, `result_changed`, `diverged`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Same(_) => "same",
            Self::SameSoFar(_) => "same_so_far",
            Self::ResultChanged(_) => "result_changed",
            Self::Diverged(_) => "diverged",
        }
    }
}

/// Where a log ends, and what the code would do there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SoFar {
    /// Behind the last event of the log: what the code does from here on is live.
    pub end: Sequence,
    /// Calls that would begin there at once, at most [`NEXT_MAX`].
    pub next: Vec<CallSite>,
    /// Why the run would not go on by itself, if so: the code waits for something that is not a trace.
    pub stuck: Option<String>,
}

/// So many calls beyond the log are named: 16, what people read.
pub const NEXT_MAX: usize = 16;

/// Another end than the log's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResultChange {
    /// The event that holds the logged end.
    pub sequence: Sequence,
    /// How the log says that the attempt ended.
    pub logged: TaskOutcome,
    /// How it ended now.
    pub now: TaskOutcome,
    /// Where they differ, at most [`DIFFERENCES_MAX`] places. Of errors, by `kind`, `message`, `sources`, `value`.
    pub differences: Vec<Difference>,
    /// What probably made the difference.
    pub cause: LikelyCause,
}

/// So many differences of two values are named: 32, more than fit a screen with what is around them.
pub const DIFFERENCES_MAX: usize = 32;

/// Code that does not fit, explained.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// Where they part, with both sides.
    pub divergence: Divergence,
    /// What is different, as a change to the code would be called.
    pub change: Change,
    /// The first argument that differs, where both sides call the same trace.
    pub difference: Option<Difference>,
    /// What probably made the difference.
    pub cause: LikelyCause,
    /// The events before the one that does not fit, at most [`BEFORE_MAX`].
    pub before: Vec<LoggedEvent>,
}

/// So many events before a divergence are shown: 5, what a body has just seen.
pub const BEFORE_MAX: u64 = 5;

/// What differs between the calls in a log and those of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The same arguments go to a trace of another name, and this program has none of the logged name.
    Renamed,
    /// The same calls, in another order.
    Reordered,
    /// A call that the log does not hold.
    Added,
    /// A call that the log holds is not made.
    Removed,
    /// Another trace is called in a logged one's place.
    Replaced,
    /// An argument has another value.
    Argument,
    /// An argument is of another type, came to be or is gone.
    ArgumentType,
    /// A trace is dropped that was awaited, or awaited that was dropped.
    Dropped,
    /// The task ends where the log goes on.
    Ends,
    /// The task waits where the log goes on.
    Waits,
}

impl Change {
    /// A word for it, in `snake_case`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Renamed => "renamed",
            Self::Reordered => "reordered",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Replaced => "replaced",
            Self::Argument => "argument",
            Self::ArgumentType => "argument_type",
            Self::Dropped => "dropped",
            Self::Ends => "ends",
            Self::Waits => "waits",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Renamed => "a trace has another name",
            Self::Reordered => "calls are made in another order",
            Self::Added => "a call was added",
            Self::Removed => "a call was removed",
            Self::Replaced => "another trace is called",
            Self::Argument => "an argument has another value",
            Self::ArgumentType => "an argument has another type",
            Self::Dropped => "a trace is dropped at another place",
            Self::Ends => "the task ends before the log does",
            Self::Waits => "the task waits where the log goes on",
        })
    }
}

/// What probably made code and log differ. A guess from evidence: replays repeated in one process, values that look like
/// moments, the hashes of the code.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LikelyCause {
    /// The order in which a `HashMap` or `HashSet` is walked.
    MapOrder,
    /// A clock that is read in the task's body.
    Clock,
    /// Something that is new on every replay: randomness, an id, an address, a measured time, a counter.
    Randomness,
    /// The body awaits something that is not a trace.
    ForeignAwait,
    /// These were edited since the run: `task digest`, `trace fetch`.
    Edited(Vec<String>),
    /// None of the code that is known by its hash was edited: a function that it calls, a dependency, or something that the
    /// body reads from outside its input.
    Environment,
}

impl LikelyCause {
    /// A word for it, in `snake_case`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MapOrder => "map_order",
            Self::Clock => "clock",
            Self::Randomness => "randomness",
            Self::ForeignAwait => "foreign_await",
            Self::Edited(_) => "edited",
            Self::Environment => "environment",
        }
    }
}

impl fmt::Display for LikelyCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MapOrder => f.write_str(
                "the order in which a HashMap or HashSet is walked; sort its keys, or use a BTreeMap or BTreeSet",
            ),
            Self::Clock => f.write_str("a clock that the task's body reads; relive::now() is the one that is recorded"),
            Self::Randomness => f.write_str(
                "something that is new on every replay (randomness, an id, a counter); relive::random() and \
                 relive::uuid() are recorded, and so is what a trace returns",
            ),
            Self::ForeignAwait => {
                f.write_str("the task's body awaits something that is not a trace; put what it waits for into one")
            }
            Self::Edited(what) => {
                let was = if what.len() == 1 { "was" } else { "were" };
                write!(f, "an edit: {} {was} changed since the run", what.join(" and "))
            }
            Self::Environment => f.write_str(
                "neither the task nor this trace was edited since the run: a function that the body calls, a dependency, or \
                 something that it reads from outside (environment, files, what the engine was given)",
            ),
        }
    }
}

/// An outcome as one value, for comparing: the result; or the parts of the error.
pub fn outcome_value(outcome: &TaskOutcome) -> Value {
    match outcome {
        TaskOutcome::Ok(payload) => payload.to_value(),
        TaskOutcome::Err(record) => error_value(record),
        TaskOutcome::Cancelled => Value::Text("cancelled".to_owned()),
    }
}

/// An error as one value, for comparing: `kind`, `message`, `sources`, and `value` of a typed one.
pub fn error_value(record: &ErrorRecord) -> Value {
    let field = |name: &str, value| (Value::Text(name.to_owned()), value);
    let sources = record.sources.iter().cloned().map(Value::Text).collect();
    let mut fields = vec![
        field("kind", Value::Text(format!("{:?}", record.kind))),
        field("message", Value::Text(record.message.clone())),
    ];
    if !record.sources.is_empty() {
        fields.push(field("sources", Value::List(sources)));
    }
    fields.extend(record.value.as_ref().map(|value| field("value", value.to_value())));
    Value::Map(fields)
}
