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
//! `started_at`, `finished_at` (or null), `duration_us` (or null), `attempts`, `retry_at` (when the next attempt is due, or null),
//! `parked` (it took the process down too often: it waits for somebody to resume or cancel it), `blocked` (if it cannot go on until somebody acts, an object with `reason`: `diverged`, `parked`, `held`, `unknown-task`, `unreadable`, `damaged`, `other`; `since` (or null, if that is not on record) and `message` (or null); else null. Nothing is due of such a run: `retry_at` is null), `parent` (the run whose body called it, or
//! null), `tags` (an object).
//!
//! An event: `run`, `sequence`, `epoch` (which life of the process wrote it), `event`, and by event:
//!
//! | `event` | fields |
//! |---|---|
//! | `task_started` | `at`, `task`, `code`, `input`, `attempt`, `cause` (`new`, `cached`, `resumed`, `retried`, `forked`), if resumed `rerun` (`names`, `edited`), if forked `forked` (`run`, `at`), `id`, `parent` (`run`, `attempt`; or null), `tags` |
//! | `trace_started` | `at`, `name`, `code`, `input_hash`, `occurrence`, `input`, `file`, `line`, `form` (`future`, `inline`, `stream`, `iterator`), `within` (the `sequence` of the trace whose effect called it, or null), `child` (its run, if it is a task, or null), `group` (or null) |
//! | `trace_retried` | `trace` (the `sequence` of its start), `name`, `tries` (so far), `error`, `due` (of the next try), `started_at`, `duration_us`; of `relive::signal`, a signal that fitted no wait was set aside, and `error` says why |
//! | `trace_yielded` | `trace`, `name`, `index` (from 0), `item`, `repeats` |
//! | `trace_completed` | `trace`, `name`, `outcome` (`ok`, `err`, `dropped`), `output` or `error`, `tries`, `started_at`, `duration_us`, `repeats` |
//! | `signal_received` | `at`, `name`, `value` |
//! | `task_completed` | `at`, `outcome` (`ok`, `err`, `cancelled`), `output` or `error`, `imposed` (whether the engine ended it), `code`, `retry_at` (of the next attempt, if one follows by itself: then this is not the end; else null) |
//!
//! `repeats` is the `sequence` of the event of an earlier attempt that this one hands on again: no effect was run for it.
//! `error` has `kind`, `message`, `sources` (a list of texts, nearest first), `type_name`, `terminal` (no try follows it)
//! and, if its type can be read back, `value`.
//!
//! Invariant: a line is whole JSON and holds no control character.

mod event;

use std::io::{self, Write};

use relive_engine::index::UnfinishedRecord;
use relive_engine::inspect::StoredRun;
use relive_engine::printable::{WrittenOut, is_unsafe};
use serde::{Serialize, Serializer};

pub(crate) use event::{EventLine, OutcomeObject};

use crate::text::snake;
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
    attempts: u32,
    retry_at: Option<String>,
    parked: bool,
    blocked: Option<BlockedObject<'a>>,
    parent: Option<String>,
    tags: Tags<'a>,
}

/// Why a run cannot go on.
#[derive(Serialize)]
struct BlockedObject<'a> {
    reason: &'static str,
    since: Option<String>,
    message: Option<&'a str>,
}

impl<'a> BlockedObject<'a> {
    fn of(unfinished: &'a UnfinishedRecord) -> Option<Self> {
        unfinished.block_reason().map(|reason| Self {
            reason: reason.as_str(),
            since: unfinished.blocked_since().map(rfc_3339),
            message: unfinished.block_message(),
        })
    }
}

impl<'a> RunLine<'a> {
    pub(crate) fn of(stored: &'a StoredRun, unfinished: Option<&'a UnfinishedRecord>) -> Self {
        let record = &stored.record;
        Self {
            run: stored.run.to_string(),
            task: &record.task,
            id: record.id.as_deref(),
            state: snake(&format!("{:?}", record.state)),
            started_at: rfc_3339(record.started_at),
            finished_at: record.finished_at.map(rfc_3339),
            duration_us: record.finished_at.map(|finished_at| between(record.started_at, finished_at)),
            attempts: record.attempts,
            retry_at: unfinished
                .filter(|unfinished| unfinished.block_reason().is_none())
                .and_then(|unfinished| unfinished.retry_at)
                .map(rfc_3339),
            parked: unfinished.is_some_and(|unfinished| unfinished.is_parked()),
            blocked: unfinished.and_then(BlockedObject::of),
            parent: record.parent.map(|parent| parent.to_string()),
            tags: Tags(&record.tags),
        }
    }
}

/// Tags as an object: their names differ.
pub(crate) struct Tags<'a>(pub(crate) &'a [(String, String)]);

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
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
            write!(writer, "{}", WrittenOut(character))?;
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
        let text = "a\u{1b}[2J\n\u{7f}\u{9b}\u{202e}ä\u{e0041}\"";
        let mut written = Vec::new();
        line(&mut written, &text).unwrap();
        let written = String::from_utf8(written).unwrap();
        assert_eq!(written, "\"a\\u001b[2J\\n\\u007f\\u009b\\u202eä\\udb40\\udc41\\\"\"\n");
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
    }
}
