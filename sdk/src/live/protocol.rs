//! What is said over the socket: one line of JSON each way, then the connection is closed.
//!
//! A request is `{"relive":2,"command":{"name":…}}`; the reply `{"ok":…}` or `{"error":{"kind":…,"message":…}}`. Names stay; new
//! ones may come.
//!
//! Invariant: a line is at most [`LINE_BYTES_MAX`] long.

use relive_engine::error::{Error, ErrorKind, Result};
use relive_engine::payload::Payload;
use serde::{Deserialize, Serialize};

/// Longest line: 64 MiB, twice the largest payload, as JSON takes more room.
pub(super) const LINE_BYTES_MAX: u64 = 64 << 20;

/// Version of the protocol. 2: values are [`Given`], where they were JSON.
const VERSION: u32 = 2;

/// What an engine is asked to do. Runs are named by their whole ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Command {
    /// To answer.
    Ping,
    /// To cancel a run.
    Cancel {
        /// Which.
        run: String,
    },
    /// To cancel runs.
    CancelMany {
        /// Which.
        runs: Vec<String>,
    },
    /// To begin a new attempt of each of these runs.
    ResumeMany {
        /// Which.
        runs: Vec<String>,
        /// Traces that are found anew.
        rerun: Vec<String>,
        /// Whether those are whose code was edited.
        edited: bool,
    },
    /// To signal a run.
    Signal {
        /// Which.
        run: String,
        /// The signal's name.
        signal: String,
        /// Its value.
        value: Given,
    },
    /// To begin a new attempt of a run.
    Resume {
        /// Which.
        run: String,
        /// Traces that are found anew.
        rerun: Vec<String>,
        /// Whether those are whose code was edited.
        edited: bool,
        /// Only to say what the attempt would do.
        preview: bool,
    },
    /// To fork a run.
    Fork {
        /// Which.
        run: String,
        /// The last event that is shared.
        at: Option<u64>,
        /// A trace, and what it returned instead.
        set: Option<(String, Given)>,
    },
    /// To say why a call would miss the cache.
    Explain {
        /// Its task.
        task: String,
        /// Its arguments, as a map.
        input: Given,
    },
    /// To throw entries out of the cache.
    Evict {
        /// Which.
        what: EvictWhat,
    },
    /// To delete finished runs.
    Gc {
        /// Those that ended before this: microseconds since 1970.
        finished_before: Option<i64>,
        /// But so many of each task stay.
        keep: u64,
        /// Only those that stand so: `completed`, `failed`, `cancelled`.
        states: Vec<String>,
        /// Only those of this task.
        task: Option<String>,
        /// Only to count.
        dry: bool,
    },
}

/// A value, as it was given: no codec reads it on the way, so none can change it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Given {
    /// JSON, as text.
    Json(String),
    /// As a log holds it.
    Recorded(Payload),
}

impl Given {
    /// # Errors
    /// Of kind `Payload` if it is no JSON.
    pub(super) fn payload(self) -> Result<Payload> {
        match self {
            Self::Json(text) => Payload::json(&text)
                .map_err(|error| Error::new(ErrorKind::Payload, format!("the value is no JSON: {error}"))),
            Self::Recorded(payload) => Ok(payload),
        }
    }
}

/// Which entries of the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvictWhat {
    /// The one with this key, in hexadecimal digits.
    Key(String),
    /// Those of a task.
    Task(String),
    /// All.
    All,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Request {
    relive: u32,
    pub(super) command: Command,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Ok(serde_json::Value),
    Error { kind: ErrorKind, message: String },
}

impl Request {
    pub(super) fn new(command: Command) -> Self {
        Self { relive: VERSION, command }
    }

    /// # Errors
    /// If the line is none of this protocol's, or of a newer one.
    pub(super) fn read(line: &[u8]) -> Result<Self> {
        let refuse = |why: String| Error::new(ErrorKind::Unsupported, format!("the request is not understood: {why}"));
        #[derive(Deserialize)]
        struct Version {
            relive: u32,
        }
        let version: Version = serde_json::from_slice(line).map_err(|error| refuse(error.to_string()))?;
        if version.relive != VERSION {
            let why = format!(
                "it is of version {}, and this engine speaks {VERSION}: use a `relive` of its age",
                version.relive
            );
            return Err(refuse(why));
        }
        serde_json::from_slice(line).map_err(|error| refuse(error.to_string()))
    }
}

impl Reply {
    pub(super) fn of(result: Result<serde_json::Value>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(error) => Self::Error { kind: error.kind(), message: whole(&error) },
        }
    }

    pub(super) fn into_result(self) -> Result<serde_json::Value> {
        match self {
            Self::Ok(value) => Ok(value),
            Self::Error { kind, message } => Err(Error::new(kind, message)),
        }
    }
}

/// An error with its causes: nothing of it but text crosses the socket.
fn whole(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&**error);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
