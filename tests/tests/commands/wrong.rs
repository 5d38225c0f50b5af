//! What cannot be replayed: each told by name, with a status, and never a panic.

#![expect(clippy::unwrap_used, reason = "what is unwrapped outside of tests prepares them")]

use std::path::Path;
use std::sync::Arc;

use relive::{Event, Payload, RunId};
use relive_engine::log::LOG;
use relive_engine::schema::SCHEMA;
use relive_storage::{
    Durability, KeyRange, Operation, Order, PageLimit, Read, RocksReader, RocksStore, Store as _, Write,
};
use relive_tests::edits::{Edit, rewritten};
use tempfile::TempDir;

use crate::{ordered, run};

fn refused(directory: &Path, arguments: &[&str]) -> String {
    let ran = run(directory, Edit::Original, arguments);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{arguments:?}");
    ran.stderr
}

/// A copy of a store whose events were edited.
fn copied(directory: &Path, edit: impl Fn(&mut Event)) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let from: Arc<dyn Read> = Arc::new(RocksReader::open(directory, SCHEMA.format).unwrap());
    let to = RocksStore::open(copy.path(), &SCHEMA).unwrap();
    rewritten(&from, &to, edit).unwrap();
    copy
}

/// Changes the record of a run's log with this number, or removes it.
fn damaged(directory: &Path, run: RunId, record: usize, remove: bool) {
    let rocks = RocksStore::open(directory, &SCHEMA).unwrap();
    let range = KeyRange::prefix(run.as_bytes());
    let mut row = rocks.scan(LOG, &range, Order::Ascending, PageLimit::default()).unwrap().rows.swap_remove(record);
    *row.value.last_mut().unwrap() ^= 1;
    let operation = match remove {
        true => Operation::Delete { keyspace: LOG, key: row.key },
        false => Operation::Put { keyspace: LOG, key: row.key, value: row.value },
    };
    let write = Write { preconditions: Vec::new(), operations: vec![operation] };
    rocks.commit(&[write], Durability::Buffered).unwrap();
}

#[test]
fn a_run_that_is_unknown_or_ambiguous_is_refused_with_candidates() {
    let (directory, runs) = ordered(3);
    for command in [&["replay"] as &[&str], &["diff", &runs[0].to_string()]] {
        let with = |run: &str| refused(directory.path(), &[command, &[run]].concat());
        assert!(with("01AAAAAAAAAAAAAAAAAAAAAAAA").contains("no run in"), "{command:?}");
        let ambiguous = with(&runs[0].to_string()[..4]);
        assert!(ambiguous.contains("begins the ids of several runs"), "{ambiguous}");
        assert!(ambiguous.contains(&runs[2].to_string()), "{ambiguous}");
    }
    let message = refused(directory.path(), &["replay", &runs[0].to_string(), "--attempt", "2"]);
    assert!(message.contains("has no attempt 2"), "{message}");
    assert_eq!(run(directory.path(), Edit::Original, &["replay", "01", "--attempt", "0"]).status, 2);
}

#[test]
fn a_directory_that_is_no_store_or_of_a_newer_format_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    for arguments in [&["replay", "01"] as &[&str], &["check"], &["diff", "01", "02"]] {
        assert!(refused(empty.path(), arguments).contains("holds no store yet"), "{arguments:?}");
    }
    let (directory, runs) = ordered(1);
    std::fs::write(directory.path().join("RELIVE"), "relive store format 999\n").unwrap();
    assert!(refused(directory.path(), &["replay", &runs[0].to_string()]).contains("format 999"));
    assert!(refused(directory.path(), &["check"]).contains("format 999"));
}

#[test]
fn a_task_that_the_program_lacks_is_named_with_those_it_has() {
    let (directory, runs) = ordered(2);
    let copy = copied(directory.path(), |event| {
        if let Event::TaskStarted(started) = event {
            started.task = "edits.ordre".into();
        }
    });
    let message = refused(copy.path(), &["replay", &runs[0].to_string()]);
    assert!(
        message.contains("its task is edits.ordre, and this program does not have it (it has edits.order)"),
        "{message}"
    );
}

#[test]
fn an_input_whose_type_changed_is_unreadable() {
    let (directory, runs) = ordered(2);
    let copy = copied(directory.path(), |event| {
        if let Event::TaskStarted(started) = event {
            started.input = Payload::encode(&std::collections::BTreeMap::from([("number", "three")])).unwrap();
        }
    });
    let message = refused(copy.path(), &["replay", &runs[0].to_string()]);
    assert!(message.contains("the input of task edits.order cannot be read"), "{message}");
    assert!(message.contains("number"), "{message}");
    let ran = run(copy.path(), Edit::Original, &["check"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (3, ""));
    assert!(ran.stdout.contains("edits.order: 2 runs, unreadable\n"), "{}", ran.stdout);
}

#[test]
fn a_recorded_result_whose_type_changed_is_unreadable() {
    let (directory, runs) = ordered(2);
    let copy = copied(directory.path(), |event| {
        if let Event::TraceCompleted(completed) = event {
            completed.outcome = relive::TraceOutcome::Ok(Payload::encode(&vec![true]).unwrap());
        }
    });
    let message = refused(copy.path(), &["replay", &runs[0].to_string()]);
    assert!(message.contains("edits.price") || message.contains("edits.stock"), "{message}");
    assert_eq!(run(copy.path(), Edit::Original, &["check"]).status, 3);
}

#[test]
fn a_damaged_log_is_named_and_the_other_runs_are_checked() {
    for remove in [false, true] {
        let (directory, runs) = ordered(3);
        damaged(directory.path(), runs[1], 1, remove);
        let id = runs[1].to_string();
        for arguments in [&["replay", &id] as &[&str], &["diff", &id, &runs[0].to_string()]] {
            let ran = run(directory.path(), Edit::Original, arguments);
            assert_eq!(ran.status, 1, "{arguments:?}");
            assert!(ran.stderr.contains(&format!("run {id} at event ")), "{}", ran.stderr);
        }
        let ran = run(directory.path(), Edit::Original, &["check"]);
        assert_eq!(ran.status, 1, "{}", ran.stdout);
        assert!(ran.stdout.contains("3 runs checked: 2 fit, 1 damaged"), "{}", ran.stdout);
        assert!(ran.stderr.contains("1 log cannot be read: damaged"), "{}", ran.stderr);
    }
}

#[test]
fn a_truncated_file_of_the_store_is_refused() {
    let (directory, runs) = ordered(3);
    let current = directory.path().join("db/CURRENT");
    std::fs::OpenOptions::new().write(true).open(&current).unwrap().set_len(3).unwrap();
    let ran = run(directory.path(), Edit::Original, &["replay", &runs[0].to_string()]);
    assert_eq!(ran.status, 1, "{}", ran.stdout);
    assert!(ran.stderr.starts_with("relive: "), "{}", ran.stderr);
}
