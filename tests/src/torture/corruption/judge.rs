//! Opens a damaged store, for writing and for reading, and says what came of it.
//!
//! Used by `corruption`; `rows` uses the half about logs.
//!
//! Invariant: whole means every row as it was; refused means an error that names where.

use std::path::Path;
use std::sync::Arc;

use relive::{Event, RunId};
use relive_engine::inspect;
use relive_engine::schema::SCHEMA;
use relive_storage::{Error, ErrorKind, Read, RocksReader, RocksStore};

use super::base::{Base, Rows, rows};

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// All is there, as it was.
    Whole,
    /// An error says where something is wrong.
    Refused,
    /// Neither.
    Violation(String),
}

/// Judges a store: the look of another process first, as it changes nothing.
pub(super) fn judge(base: &Base, damaged: &Path) -> Found {
    let looked = judge_opened(base, damaged, || Ok(Arc::new(RocksReader::open(damaged, SCHEMA.format)?)));
    if let Found::Violation(why) = looked {
        return Found::Violation(format!("read by another process: {why}"));
    }
    judge_opened(base, damaged, || Ok(Arc::new(RocksStore::open(damaged, &SCHEMA)?)))
}

fn judge_opened(base: &Base, damaged: &Path, open: impl FnOnce() -> Result<Arc<dyn Read>, Error>) -> Found {
    let store = match open() {
        Ok(store) => store,
        Err(error) => return refused(&error, damaged),
    };
    match rows(store.as_ref()) {
        Ok(found) if found == base.rows => Found::Whole,
        Ok(found) => Found::Violation(difference(&base.rows, &found)),
        Err(error) => match judge_logs(&base.logs, &store) {
            // The damage is not in a log, or in one that says so.
            Found::Whole | Found::Refused => refused(&error, damaged),
            violation => violation,
        },
    }
}

/// That an error says what to do, and where.
fn refused(error: &Error, damaged: &Path) -> Found {
    let names = error.path().is_some_and(|path| path.starts_with(damaged));
    let known = matches!(
        error.kind(),
        ErrorKind::Corrupt | ErrorKind::NotAStore | ErrorKind::NewerFormat | ErrorKind::Io | ErrorKind::Permission
    );
    if names && known {
        return Found::Refused;
    }
    Found::Violation(format!("the error does not say where ({:?}): {error}", error.kind()))
}

fn difference(expected: &Rows, found: &Rows) -> String {
    for ((keyspace, expected), (_, found)) in expected.iter().zip(found) {
        if expected.len() != found.len() {
            return format!("it opened with {} of {} rows of {}", found.len(), expected.len(), keyspace.name());
        }
        if let Some(at) = expected.iter().zip(found).position(|(expected, found)| expected != found) {
            return format!("it opened with another row {at} of {}", keyspace.name());
        }
    }
    "it opened with other keyspaces".to_owned()
}

/// Reads all logs: each is as it was, or ends with an error that names its run.
pub(super) fn judge_logs(expected: &[(RunId, Vec<Event>)], store: &Arc<dyn Read>) -> Found {
    let mut found = Found::Whole;
    for (run, expected) in expected {
        match judge_log(*run, expected, store) {
            Found::Whole => {}
            Found::Refused => found = Found::Refused,
            violation => return violation,
        }
    }
    found
}

fn judge_log(run: RunId, expected: &[Event], store: &Arc<dyn Read>) -> Found {
    let mut count = 0;
    for logged in inspect::events(Arc::clone(store), run) {
        match logged {
            Ok(logged) if expected.get(count) == Some(&logged.event) => count += 1,
            Ok(_) => return Found::Violation(format!("run {run}: event {count} is another one")),
            Err(error) if error.to_string().contains(&run.to_string()) => return Found::Refused,
            Err(error) => return Found::Violation(format!("the error does not name run {run}: {error}")),
        }
    }
    if count == expected.len() {
        return Found::Whole;
    }
    Found::Violation(format!("run {run}: the log ends after {count} of {} events, without a word", expected.len()))
}
