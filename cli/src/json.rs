//! Lines of JSON: what programs read.
//!
//! Used by `relive runs --json` and `relive log RUN --json`.
//!
//! One object per line. Names of fields and of values are in `snake_case` and stay; new ones may come, so readers skip
//! what they do not know. Moments are RFC 3339 in UTC with microseconds; durations end in `_us`, microseconds; hashes
//! are hexadecimal. A value of a task or trace is the JSON of its recorded form: structs as objects, bytes as
//! `{"bytes": "hex"}`, keys of maps as text, numbers that JSON does not have (`NaN`) as `null`.
//!
//! A run: `run`, `task`, `id` (the caller's, or null), `state` (`unfinished`, `completed`, `failed`, `cancelled`),
//! `started_at`, `finished_at` (or null), `duration_us` (or null).
//!
//! An event: `run`, `sequence`, `epoch` (which life of the process wrote it), `event`, and by event:
//!
//! | `event` | fields |
//! |---|---|
//! | `task_started` | `at`, `task`, `code`, `input`, `attempt`, `cause`, `id` |
//! | `trace_started` | `at`, `name`, `code`, `input_hash`, `occurrence`, `input`, `file`, `line`, `immediate` |
//! | `trace_completed` | `trace` (the `sequence` of its start), `name`, `outcome` (`ok`, `err`, `dropped`), `output` or `error`, `tries`, `started_at`, `duration_us` |
//! | `task_completed` | `at`, `outcome` (`ok`, `err`, `cancelled`), `output` or `error`, `imposed` (whether the engine ended it), `code` |
//!
//! `error` has `kind`, `message`, `sources` (a list of texts, nearest first) and `type_name`.
//!
//! Invariant: a line is whole JSON and holds no control character.

use std::io::{self, Write};

use relive_engine::event::{ErrorRecord, Event, TaskOutcome, TraceOutcome};
use relive_engine::id::{RunId, Timestamp};
use relive_engine::inspect::{LoggedEvent, StoredRun};
use relive_engine::value::Value;
use serde::Serialize;

use crate::text::{is_unsafe, snake};
use crate::time::{between, rfc_3339};

/// A run.
#[derive(Serialize)]
pub(crate) struct RunLine<'a> {
    run: String,
    task: &'a str,
    id: Option<&'a str>,
    state: String,
    started_at: String,
    finished_at: Option<String>,
    duration_us: Option<u64>,
}

impl<'a> RunLine<'a> {
    pub(crate) fn of(stored: &'a StoredRun) -> Self {
        let record = &stored.record;
        Self {
            run: stored.run.to_string(),
            task: &record.task,
            id: record.id.as_deref(),
            state: snake(&format!("{:?}", record.state)),
            started_at: rfc_3339(record.started_at),
            finished_at: record.finished_at.map(rfc_3339),
            duration_us: record.finished_at.map(|finished_at| between(record.started_at, finished_at)),
        }
    }
}

/// An event of a log.
#[derive(Serialize)]
pub(crate) struct EventLine<'a> {
    run: String,
    sequence: u64,
    epoch: u32,
    event: String,
    #[serde(flatten)]
    facts: Facts<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Facts<'a> {
    TaskStarted {
        at: String,
        task: &'a str,
        code: String,
        input: Value,
        attempt: u32,
        cause: String,
        id: Option<&'a str>,
    },
    TraceStarted {
        at: String,
        name: &'a str,
        code: String,
        input_hash: String,
        occurrence: u32,
        input: Value,
        file: &'a str,
        line: u32,
        immediate: bool,
    },
    TraceCompleted {
        trace: u64,
        name: Option<&'a str>,
        #[serde(flatten)]
        outcome: Outcome<'a>,
        tries: u32,
        started_at: String,
        duration_us: u64,
    },
    TaskCompleted {
        at: String,
        #[serde(flatten)]
        outcome: Outcome<'a>,
        imposed: bool,
        code: String,
    },
    /// Of a version to come.
    Unknown {},
}

#[derive(Serialize)]
struct Outcome<'a> {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorObject<'a>>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    kind: String,
    message: &'a str,
    sources: &'a [String],
    type_name: &'a str,
}

impl<'a> Outcome<'a> {
    fn ok(output: Value) -> Self {
        Self { outcome: "ok", output: Some(output), error: None }
    }

    fn err(error: &'a ErrorRecord) -> Self {
        let ErrorRecord { kind, message, sources, type_name, .. } = error;
        let error = ErrorObject { kind: snake(&format!("{kind:?}")), message, sources, type_name };
        Self { outcome: "err", output: None, error: Some(error) }
    }

    fn other(outcome: &'static str) -> Self {
        Self { outcome, output: None, error: None }
    }
}

impl<'a> EventLine<'a> {
    /// `name` is that of the trace, where the event itself does not say it.
    pub(crate) fn of(run: RunId, logged: &'a LoggedEvent, name: Option<&'a str>) -> Self {
        let at = |at: Timestamp| rfc_3339(at);
        let facts = match &logged.event {
            Event::TaskStarted(started) => Facts::TaskStarted {
                at: at(started.at),
                task: &started.task,
                code: started.code.to_string(),
                input: started.input.to_value(),
                attempt: started.attempt,
                cause: snake(&format!("{:?}", started.cause)),
                id: started.id.as_deref(),
            },
            Event::TraceStarted(started) => Facts::TraceStarted {
                at: at(started.at),
                name: &started.name,
                code: started.code.to_string(),
                input_hash: started.input_hash.to_string(),
                occurrence: started.occurrence,
                input: started.input.to_value(),
                file: &started.file,
                line: started.line,
                immediate: started.form.is_inline(),
            },
            Event::TraceCompleted(completed) => Facts::TraceCompleted {
                trace: completed.trace.0,
                name,
                outcome: match &completed.outcome {
                    TraceOutcome::Ok(output) => Outcome::ok(output.to_value()),
                    TraceOutcome::Err(error) => Outcome::err(error),
                    TraceOutcome::Dropped => Outcome::other("dropped"),
                    _ => Outcome::other("other"),
                },
                tries: completed.tries,
                started_at: at(completed.started_at),
                duration_us: completed.duration_micros,
            },
            Event::TaskCompleted(completed) => Facts::TaskCompleted {
                at: at(completed.at),
                outcome: match &completed.outcome {
                    TaskOutcome::Ok(output) => Outcome::ok(output.to_value()),
                    TaskOutcome::Err(error) => Outcome::err(error),
                    TaskOutcome::Cancelled => Outcome::other("cancelled"),
                    _ => Outcome::other("other"),
                },
                imposed: completed.imposed,
                code: completed.code.to_string(),
            },
            _ => Facts::Unknown {},
        };
        Self {
            run: run.to_string(),
            sequence: logged.sequence.0,
            epoch: logged.epoch.0,
            event: snake(logged.event.name()),
            facts,
        }
    }
}

/// Writes a value on a line of its own.
pub(crate) fn line<T: Serialize>(out: &mut (impl Write + ?Sized), value: &T) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Safe);
    value.serialize(&mut serializer)?;
    out.write_all(b"\n")
}

/// JSON that also writes out what JSON would let through: DEL, the upper control characters, overrides of direction.
struct Safe;

impl serde_json::ser::Formatter for Safe {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut written = 0;
        for (at, character) in fragment.char_indices().filter(|(_, character)| is_unsafe(*character)) {
            writer.write_all(&fragment.as_bytes()[written..at])?;
            // All of them are below U+10000, so that one escape is enough.
            write!(writer, "\\u{:04x}", u32::from(character))?;
            written = at + character.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[written..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_without_control_characters() {
        let text = "a\u{1b}[2J\n\u{7f}\u{9b}\u{202e}ä\"";
        let mut written = Vec::new();
        line(&mut written, &text).unwrap();
        let written = String::from_utf8(written).unwrap();
        assert_eq!(written, "\"a\\u001b[2J\\n\\u007f\\u009b\\u202eä\\\"\"\n");
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
    }
}
