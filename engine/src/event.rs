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
use crate::id::{CodeHash, Epoch, InputHash, Sequence, Timestamp};
use crate::payload::Payload;

/// A fact in a run's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// An attempt at the task's body began. The first event of a log.
    TaskStarted(TaskStarted),
    /// The body called a trace. Durable before the trace's effect begins.
    TraceStarted(TraceStarted),
    /// A trace is over: its outcome is handed to the body, or the body dropped it.
    TraceCompleted(TraceCompleted),
    /// The attempt is over.
    TaskCompleted(TaskCompleted),
}

impl Event {
    /// The event's name, as it is printed.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TaskStarted(_) => "TaskStarted",
            Self::TraceStarted(_) => "TraceStarted",
            Self::TraceCompleted(_) => "TraceCompleted",
            Self::TaskCompleted(_) => "TaskCompleted",
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
    /// When.
    pub at: Timestamp,
}

/// Why there is an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// Somebody called the task.
    New,
    /// Somebody called the task under an id, and the cache held the result.
    Cached,
}

/// The body called a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStarted {
    /// The trace's name on record.
    pub name: Cow<'static, str>,
    /// Which version of its code.
    pub code: CodeHash,
    /// Hash of the canonical form of its input.
    pub input_hash: InputHash,
    /// How many calls with this name and input came before it in this attempt.
    pub occurrence: u32,
    /// Its arguments, as a map from name to value, less those that are skipped.
    pub input: Payload,
    /// The file of the call.
    pub file: Cow<'static, str>,
    /// The line of the call.
    pub line: u32,
    /// Whether it is completed within the step that started it (`now`, `random`, `uuid`).
    pub immediate: bool,
    /// When.
    pub at: Timestamp,
}

/// A trace is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceCompleted {
    /// Which: the position of its `TraceStarted`.
    pub trace: Sequence,
    /// How it ended.
    pub outcome: TraceOutcome,
    /// How often its effect was tried in this life of the process.
    pub tries: u32,
    /// When its effect began (the last try, in this life of the process).
    pub started_at: Timestamp,
    /// How long its effect took, by a clock that never jumps.
    pub duration_micros: u64,
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
    /// The body dropped it (not: the process ended).
    Dropped,
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
    /// The error's Rust type, where known; for people.
    pub type_name: Cow<'static, str>,
}

impl ErrorRecord {
    /// A record without sources.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), sources: Vec::new(), type_name: Cow::Borrowed("") }
    }

    /// A record of an error and its sources.
    pub fn of<E: std::error::Error>(error: &E) -> Self {
        Self {
            kind: ErrorKind::Failed,
            message: error.to_string(),
            sources: crate::error::sources_of(error.source()),
            type_name: Cow::Borrowed(std::any::type_name::<E>()),
        }
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

/// What is appended at once: part of a step, a step, or (a body that finishes at once) a whole log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Position of the first event.
    pub first: Sequence,
    /// Which life of the process appended it.
    pub epoch: Epoch,
    /// Whether the step is complete with it. If not, the next batch goes on with the same step.
    pub settled: bool,
    /// The events. Never empty.
    pub events: Vec<Event>,
}
