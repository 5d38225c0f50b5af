//! Events: what a log holds.
//!
//! Made by `replay` and `run`, written and read by `codec`; shown by `inspect`.
//!
//! Invariant: fields and variants are part of the format on disk. They change only with the format's version, a fixture
//! and an entry in `docs/format.md`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::id::{CodeHash, Epoch, InputHash, RunId, Sequence, Timestamp};
use crate::payload::Payload;

/// A fact in a run's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// An attempt at the task's body began. The first event of a log, and of every attempt in it.
    TaskStarted(TaskStarted),
    /// The body, or an effect, called a trace. Durable before the trace's effect begins.
    TraceStarted(TraceStarted),
    /// A trace is over: its outcome is handed to whoever called it, or that one dropped it.
    TraceCompleted(TraceCompleted),
    /// The attempt is over.
    TaskCompleted(TaskCompleted),
    /// A try of a trace failed, and another will follow. Durable before that.
    TraceRetried(TraceRetried),
    /// A stream or an iterator handed an item on.
    TraceYielded(TraceYielded),
    /// Somebody signalled the run.
    SignalReceived(SignalReceived),
}

impl Event {
    /// The event's name, as it is printed.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TaskStarted(_) => "TaskStarted",
            Self::TraceStarted(_) => "TraceStarted",
            Self::TraceCompleted(_) => "TraceCompleted",
            Self::TaskCompleted(_) => "TaskCompleted",
            Self::TraceRetried(_) => "TraceRetried",
            Self::TraceYielded(_) => "TraceYielded",
            Self::SignalReceived(_) => "SignalReceived",
        }
    }
}

/// An attempt at the task's body began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStarted {
    /// The task's name on record.
    pub task: Cow<'static, str>,
    /// Which version of its code.
    pub code: CodeHash,
    /// Its arguments, as a map from name to value.
    pub input: Payload,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Why there is this attempt.
    pub cause: Cause,
    /// The caller's id for the run, if there is one.
    pub id: Option<String>,
    /// Whose body called this one, if it is a child.
    pub parent: Option<Parent>,
    /// Names and values to find the run by.
    pub tags: Vec<(String, String)>,
    /// When.
    pub at: Timestamp,
}

/// The attempt whose body called a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The run.
    pub run: RunId,
    /// Which attempt of it.
    pub attempt: u32,
}

/// Why there is an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// Somebody called the task.
    New,
    /// Somebody called the task under an id or a tag, or another task did, and the cache held the result.
    Cached,
    /// Somebody resumed the run after it had failed, was cancelled or had diverged.
    Resumed(Rerun),
    /// The attempt before it failed, and the task is tried again.
    Retried,
    /// Somebody forked another run: this one shares the log of that.
    Forked {
        /// The other run.
        run: RunId,
        /// The last event that is shared.
        at: Sequence,
    },
    /// As `Cached`, which versions 1 and 2 of the format have in its place: here it is known which run found the result.
    CachedFrom {
        /// That run.
        run: RunId,
    },
}

/// Which recorded results a new attempt does not use, but finds anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rerun {
    /// Those of traces of these names.
    pub names: Vec<String>,
    /// Those of traces whose code is not what it was.
    pub edited: bool,
}

/// The body, or an effect, called a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStarted {
    /// The trace's name on record; of a child run, its task's.
    #[serde(deserialize_with = "crate::known::deserialize")]
    pub name: Cow<'static, str>,
    /// Which version of its code.
    pub code: CodeHash,
    /// Hash of the canonical form of its input, or of its key.
    pub input_hash: InputHash,
    /// How many calls with this name and input came before it: in this attempt, or in this try of the effect it is in.
    pub occurrence: u32,
    /// Its arguments, as a map from name to value, less those that are skipped.
    pub input: Payload,
    /// The file of the call.
    #[serde(deserialize_with = "crate::known::deserialize")]
    pub file: Cow<'static, str>,
    /// The line of the call.
    pub line: u32,
    /// How it hands on what it finds.
    pub form: TraceForm,
    /// The trace whose effect called it; `None` if the body did.
    pub within: Option<Sequence>,
    /// Which run it is, if it is a task.
    pub child: Option<RunId>,
    /// The groups it was called in, outermost first, parted by `/`.
    pub group: Option<String>,
    /// When; of a call that goes on with the time of an earlier attempt (a sleep, a deadline), when that made it.
    pub at: Timestamp,
}

/// How a trace hands on what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TraceForm {
    /// One outcome, as a delivery.
    Future,
    /// One outcome, within the step that called it: a plain function, and `now`, `random`, `uuid`.
    Inline,
    /// Items, each a delivery, then the end as another.
    Stream,
    /// Items and the end, within the step that called it.
    Iterator,
}

impl TraceForm {
    /// Whether it is answered within the step that called it.
    pub fn is_inline(self) -> bool {
        matches!(self, Self::Inline | Self::Iterator)
    }
}

/// A trace is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceCompleted {
    /// Which: the position of its `TraceStarted`.
    pub trace: Sequence,
    /// How it ended. Of a stream or an iterator, `Ok` is the end behind its last item.
    pub outcome: TraceOutcome,
    /// How often its effect was tried, all lives of the process together.
    pub tries: u32,
    /// When its effect began (the last try, in this life of the process).
    pub started_at: Timestamp,
    /// How long its effect took, by a clock that never jumps.
    pub duration_micros: u64,
    /// The event of an earlier attempt whose outcome this is.
    pub repeats: Option<Sequence>,
}

impl TraceCompleted {
    /// How long its effect took.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.duration_micros)
    }
}

/// How a trace ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TraceOutcome {
    /// Its effect returned `Ok`.
    Ok(Payload),
    /// Its effect returned `Err`, or panicked.
    Err(ErrorRecord),
    /// The caller dropped it (not: the process ended).
    Dropped,
}

/// A try of a trace failed, and another will follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRetried {
    /// Which trace: the position of its `TraceStarted`.
    pub trace: Sequence,
    /// How many tries there were, this one included.
    pub tries: u32,
    /// How it failed.
    pub error: ErrorRecord,
    /// When the next try is due.
    pub due: Timestamp,
    /// When the try began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_micros: u64,
}

/// A stream or an iterator handed an item on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceYielded {
    /// Which trace: the position of its `TraceStarted`.
    pub trace: Sequence,
    /// Which of its items, from 0.
    pub index: u64,
    /// The item.
    pub item: Payload,
    /// The event of an earlier attempt whose item this is.
    pub repeats: Option<Sequence>,
}

/// Somebody signalled the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalReceived {
    /// The signal's name.
    pub name: String,
    /// Its value.
    pub value: Payload,
    /// When it was sent.
    pub at: Timestamp,
}

/// The attempt is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCompleted {
    /// How it ended.
    pub outcome: TaskOutcome,
    /// Whether the engine ended it (a cancellation, a foreign await), and not the body.
    pub imposed: bool,
    /// The code that finished it.
    pub code: CodeHash,
    /// When the next attempt is due, if one follows by itself.
    pub retry_at: Option<Timestamp>,
    /// When.
    pub at: Timestamp,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskOutcome {
    /// The body returned `Ok`.
    Ok(Payload),
    /// The body returned `Err` or panicked, or the engine ended it for what it did.
    Err(ErrorRecord),
    /// Somebody cancelled the run.
    Cancelled,
}

/// An error as it is recorded: enough to be shown, and handed to the body again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// What kind.
    pub kind: ErrorKind,
    /// Its `Display`.
    pub message: String,
    /// The `Display` of each of its sources, nearest first.
    pub sources: Vec<String>,
    /// The error's Rust type, where known, for people; of a typed error its name on record.
    pub type_name: Cow<'static, str>,
    /// Whether another try is of no use.
    pub terminal: bool,
    /// The error itself, if its type can be read back.
    pub value: Option<Payload>,
}

impl ErrorRecord {
    /// A record without sources. A message of more than [`MESSAGE_BYTES_MAX`](crate::error::MESSAGE_BYTES_MAX) is cut.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: crate::error::cut(message.into()),
            sources: Vec::new(),
            type_name: Cow::Borrowed(""),
            terminal: false,
            value: None,
        }
    }

    /// A record of an error and its sources.
    pub fn of<E: std::error::Error>(error: &E) -> Self {
        Self {
            sources: crate::error::sources_of(error.source()),
            type_name: Cow::Borrowed(std::any::type_name::<E>()),
            ..Self::new(ErrorKind::Failed, crate::error::displayed(error))
        }
    }

    /// The same record, cut as one is that is made today.
    #[must_use]
    pub(crate) fn in_bounds(mut self) -> Self {
        self.message = crate::error::cut(self.message);
        crate::error::cut_sources(&mut self.sources);
        self
    }

    /// The same record with these sources, as many and as much of them as are recorded.
    #[must_use]
    pub fn with_sources(mut self, sources: Vec<String>) -> Self {
        self.sources = sources;
        self.in_bounds()
    }

    /// The error that a body gets for it.
    pub fn to_error(&self) -> Error {
        Error::from_record(self.clone())
    }
}

impl fmt::Display for ErrorRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.sources.iter().try_for_each(|source| write!(f, ": {source}"))
    }
}

/// What is appended at once: part of a step, a step, several, or (a body that finishes at once) a whole log.
///
/// A step ends where the next delivery begins one, and with the last event of a batch that is `settled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Position of the first event.
    pub first: Sequence,
    /// Which life of the process appended it.
    pub epoch: Epoch,
    /// Whether the last step in it is complete. If not, the next batch goes on with the same step.
    pub settled: bool,
    /// The events. Never empty.
    pub events: Vec<Event>,
}
