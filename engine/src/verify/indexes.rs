//! The rows beside the logs: each is whole, and its run is there.
//!
//! That no row is missing is asked by `logs`, run by run.

use relive_storage::{KeyRange, Row};

use super::{Found, Look};
use crate::event::SignalReceived;
use crate::export::MARK;
use crate::id::{Epoch, RunId, Sequence};
use crate::index::{
    self, CacheSize, IDS, INBOX, IdRecord, IdRow, META, RUNS, RunRecord, TAGS, UNFINISHED, UnfinishedRecord,
};
use crate::log::{self, LOG};

pub(super) fn all(look: &mut Look<'_>) {
    look.each(RUNS, KeyRange::all(), runs);
    look.each(UNFINISHED, KeyRange::all(), unfinished);
    look.each(IDS, KeyRange::all(), ids);
    look.each(INBOX, KeyRange::all(), inbox);
    look.each(TAGS, KeyRange::all(), tags);
    look.each(META, KeyRange::all(), meta);
}

fn run_of(bytes: &[u8]) -> Option<RunId> {
    bytes.try_into().ok().map(RunId::from_bytes)
}

fn runs(look: &mut Look<'_>, row: &Row) {
    let Some(run) = run_of(&row.key) else {
        return look.problem(RUNS, &row.key, None, "the key is no run's id");
    };
    let opened = look.open::<RunRecord>(RUNS, row, Some(run));
    if opened.is_some() && matches!(look.store.get(LOG, &log::key(run, Sequence(0))), Ok(None)) {
        look.problem(RUNS, &row.key, Some(run), "the run is listed, and has no log, or none from its beginning");
    }
}

fn unfinished(look: &mut Look<'_>, row: &Row) {
    let Some(run) = run_of(&row.key) else {
        return look.problem(UNFINISHED, &row.key, None, "the key is no run's id");
    };
    if look.open::<UnfinishedRecord>(UNFINISHED, row, Some(run)).is_some() && !look.is_run(run) {
        look.problem(UNFINISHED, &row.key, Some(run), "a restart would take up a run that is not listed");
    }
}

fn ids(look: &mut Look<'_>, row: &Row) {
    let rest = row.key.get(1..).unwrap_or_default();
    match IdRow::of(&row.key) {
        IdRow::Holder => {
            let Some(run) = rest.get(..16).and_then(run_of).filter(|_| [16, 32].contains(&rest.len())) else {
                return look.problem(IDS, &row.key, None, "the key says neither who waits nor for whom");
            };
            if look.open::<RunId>(IDS, row, Some(run)).is_some() && !look.is_run(run) {
                look.problem(IDS, &row.key, Some(run), "somebody waits for a run that is not listed");
            }
        }
        IdRow::Joined => {
            let Some(run) = rest.get(..16).and_then(run_of).filter(|_| rest.len() > 16) else {
                return look.problem(IDS, &row.key, None, "the key says neither which id nor of which run");
            };
            if look.open::<RunId>(IDS, row, Some(run)).is_some() && !look.is_run(run) {
                look.problem(IDS, &row.key, Some(run), "a run that is not listed was joined under an id");
            }
        }
        IdRow::JoinedTag => {
            let tag = index::tag_key_of(&row.key);
            let Some((.., run)) = tag_of(&tag).filter(|_| rest.len() > 16) else {
                return look.problem(IDS, &row.key, None, "the key says neither which tag nor of which run");
            };
            if look.open::<RunId>(IDS, row, Some(run)).is_some() && matches!(look.store.get(TAGS, &tag), Ok(None)) {
                look.problem(IDS, &row.key, Some(run), "it is not found by a tag of a call that joined it");
            }
        }
        IdRow::Child => {
            let Some(child) = run_of(rest) else {
                return look.problem(IDS, &row.key, None, "the key is no child's id");
            };
            let what = format!("the child's id {child}");
            named(look, row, &what);
        }
        IdRow::Caller => {
            let what = format!("the id `{}`", String::from_utf8_lossy(&row.key));
            named(look, row, &what);
        }
    }
}

/// A row that names a run of a task.
fn named(look: &mut Look<'_>, row: &Row, what: &str) {
    let Some(named) = look.open::<IdRecord>(IDS, row, None) else { return };
    match look.read::<RunRecord>(RUNS, named.run.as_bytes()) {
        Found::Record(record) if record.task != named.task => {
            let why = format!("{what} names a run of task {}, and that is of task {}", named.task, record.task);
            look.problem(IDS, &row.key, Some(named.run), why);
        }
        Found::Nothing => {
            look.problem(IDS, &row.key, Some(named.run), format!("{what} names a run that is not listed"));
        }
        Found::Record(_) | Found::Damaged => {}
    }
}

fn inbox(look: &mut Look<'_>, row: &Row) {
    let Some(run) = row.key.get(..16).and_then(run_of).filter(|_| row.key.len() == 28) else {
        return look.problem(INBOX, &row.key, None, "the key is no signal's");
    };
    if look.open::<SignalReceived>(INBOX, row, Some(run)).is_none() {
        return;
    }
    // A run that ended before it took the signal leaves it: that is no damage.
    if !look.is_run(run) {
        look.problem(INBOX, &row.key, Some(run), "a signal waits for a run that is not listed");
    }
}

fn tags(look: &mut Look<'_>, row: &Row) {
    let Some((name, value, run)) = tag_of(&row.key).filter(|_| row.value.is_empty()) else {
        return look.problem(TAGS, &row.key, None, "the row is no tag's");
    };
    let has = |(has_name, has_value): &(String, String)| has_name.as_bytes() == name && has_value.as_bytes() == value;
    let wrong = match look.read::<RunRecord>(RUNS, run.as_bytes()) {
        Found::Record(record) if !record.tags.iter().any(has) => "the tag leads to a run that does not have it",
        Found::Nothing => "the tag leads to a run that is not listed",
        Found::Record(_) | Found::Damaged => return,
    };
    // Or a call that joined it has. If that was while the run was deleted, the next deletion of runs removes it.
    if matches!(look.store.get(IDS, &index::joined_tag_key_of(&row.key)), Ok(None)) {
        look.problem(TAGS, &row.key, Some(run), wrong);
    }
}

/// Name, value and run of a tag's key.
fn tag_of(key: &[u8]) -> Option<(&[u8], &[u8], RunId)> {
    fn text(key: &[u8]) -> Option<(&[u8], &[u8])> {
        let (length, rest) = key.split_at_checked(4)?;
        rest.split_at_checked(u32::from_be_bytes(length.try_into().ok()?) as usize)
    }
    let (name, rest) = text(key)?;
    let (value, run) = text(rest)?;
    Some((name, value, run_of(run)?))
}

fn meta(look: &mut Look<'_>, row: &Row) {
    match row.key.as_slice() {
        b"epoch" | b"closed" => drop(look.open::<Epoch>(META, row, None)),
        b"redaction-key" => drop(look.open::<[u8; 32]>(META, row, None)),
        b"cache" => drop(look.open::<CacheSize>(META, row, None)),
        key if key.starts_with(MARK) => {
            let Some(run) = run_of(&key[MARK.len()..]) else {
                return look.problem(META, key, None, "the key names no run");
            };
            if look.open::<Vec<String>>(META, row, Some(run)).is_some() && !look.is_run(run) {
                look.problem(META, key, Some(run), "a run is marked as redacted that is not listed");
            }
        }
        // Of another version.
        _ => {}
    }
}
