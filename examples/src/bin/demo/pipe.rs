//! The lines that the demo's processes send each other: one JSON object each, over standard output.
//!
//! Invariant: a line is written whole, by one call, before the writer goes on. So what a killed process has written is
//! what the parent reads.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::corpus::{Corpus, LeftOut};
use crate::insights::Insights;

/// What the pipeline's process says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub(crate) enum PipelineLine {
    /// So many files are read so far.
    Reading { file_count: u64 },
    /// All are read: what the call is about.
    Corpus { corpus: Corpus, left_out: LeftOut },
    /// The effect of a trace begins.
    Began(Began),
    /// An event is durable.
    Acknowledged(Acknowledged),
    /// The call returned.
    Finished { run: String, call_micros: u64, insights: Insights },
    /// It did not.
    Failed { message: String },
}

/// The effect of a trace, which begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Began {
    /// The trace's name.
    pub(crate) trace: String,
    /// What it is about: a file, or nothing.
    pub(crate) about: String,
    /// Its idempotency key.
    pub(crate) key: String,
}

/// An event that is durable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Acknowledged {
    pub(crate) run: String,
    pub(crate) sequence: u64,
    pub(crate) event: String,
    /// Of a trace that succeeded: its idempotency key.
    pub(crate) key: Option<String>,
    /// Of the search: how many files it chose, and of how many.
    pub(crate) found: Option<(u64, u64)>,
}

/// What the service says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub(crate) enum ServiceLine {
    /// It answers on this port.
    Listening { port: u16 },
    /// It does not.
    Failed { message: String },
}

/// What the service is told, on its standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub(crate) enum Order {
    /// Give so many more answers.
    Answer { count: usize },
}

/// A request, as the service notes it in the witness file. Twice: before the work, and before the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) phase: Phase,
    /// The idempotency key that came with it.
    pub(crate) key: String,
    /// Which process asked.
    pub(crate) process: u32,
    pub(crate) path: String,
    /// blake3 of the text.
    pub(crate) digest: String,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// It came in.
    Began,
    /// Its answer is ready.
    Done,
}

/// Set in a process that has no parent to say anything to.
static IS_SILENT: AtomicBool = AtomicBool::new(false);

/// Says nothing from now on: standard output is somebody else's.
pub(crate) fn be_silent() {
    IS_SILENT.store(true, Ordering::Relaxed);
}

/// Writes one line to standard output. A parent that is gone ends this process.
pub(crate) fn say(line: &impl Serialize) {
    if IS_SILENT.load(Ordering::Relaxed) {
        return;
    }
    let mut output = std::io::stdout().lock();
    if output.write_all(&encode(line)).and_then(|()| output.flush()).is_err() {
        std::process::exit(1);
    }
}

/// A line with its end.
pub(crate) fn encode(line: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(line).expect("lines have text keys and numbers that JSON can hold");
    bytes.push(b'\n');
    bytes
}

/// Reads one line.
///
/// # Errors
/// If it is none of ours.
pub(crate) fn decode<T: DeserializeOwned>(line: &str) -> relive::Result<T> {
    serde_json::from_str(line).map_err(|error| relive::Error::msg(format!("not a line of this demo: {line}: {error}")))
}

/// Ends this process when the parent does: then its standard input closes. Each line before is given to `each`.
pub(crate) fn follow_parent(mut each: impl FnMut(&str) + Send + 'static) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            match line {
                Ok(line) => each(&line),
                Err(_) => break,
            }
        }
        std::process::exit(0);
    });
}
