//! `relive verify`: a store as the engine wrote it is whole, and whatever is changed in it is named.

use std::path::Path;

use relive_engine::codec::{self, Chain};
use relive_engine::event::Batch;
use relive_engine::index::{CACHE, CACHE_USE, IDS, RUNS, RunRecord, TAGS, UNFINISHED};
use relive_engine::log::LOG;
use relive_engine::schema::SCHEMA;
use relive_storage::{
    Durability, KeyRange, Keyspace, Operation, Order, PageLimit, Read as _, RocksStore, Row, Store as _, Write,
};

use crate::stores::{Written, written};
use crate::{printed, run};

fn rows(store: &RocksStore, keyspace: Keyspace, prefix: &[u8]) -> Vec<Row> {
    store.scan(keyspace, &KeyRange::prefix(prefix), Order::Ascending, PageLimit::default()).unwrap().rows
}

/// Changes a store as no engine would.
fn change(path: &Path, operations: impl FnOnce(&RocksStore) -> Vec<Operation>) {
    let store = RocksStore::open(path, &SCHEMA).unwrap();
    let operations = operations(&store);
    store.commit(&[Write { preconditions: vec![], operations }], Durability::Buffered).unwrap();
}

/// What is said of a changed store, and that the summary counts it.
fn problems(store: &Written, arguments: &[&str]) -> Vec<serde_json::Value> {
    let ran = run(store.path(), &[&["verify", "--json"], arguments].concat());
    assert_eq!((ran.status, ran.stderr.as_str()), (3, ""), "{}", ran.stdout);
    let mut lines: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    assert_eq!(summary["problems"], lines.len(), "{}", ran.stdout);
    lines
}

fn said(problems: &[serde_json::Value]) -> Vec<String> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    problems.iter().map(|line| format!("{}: {}", text(&line["keyspace"]), text(&line["problem"]))).collect()
}

fn put(keyspace: Keyspace, key: &[u8], value: Vec<u8>) -> Operation {
    Operation::Put { keyspace, key: key.to_vec(), value }
}

fn delete(keyspace: Keyspace, key: &[u8]) -> Operation {
    Operation::Delete { keyspace, key: key.to_vec() }
}

#[test]
fn a_store_that_an_engine_wrote_has_no_problems() {
    let store = written();
    let told = printed(store.path(), &["verify"]);
    assert!(told.starts_with("no problems: ") && told.contains(" runs, "), "{told}");
    let told = printed(store.path(), &["verify", &store.waiting.to_string()]);
    assert!(told.starts_with("no problems: 1 run, "), "{told}");
    let json: serde_json::Value = serde_json::from_str(&printed(store.path(), &["verify", "--json"])).unwrap();
    assert_eq!(json["problems"], 0);
    assert!(json["events"].as_u64().unwrap() > 10);
}

#[test]
fn every_damaged_record_is_named_and_the_others_are_read() {
    let store = written();
    let mut places = Vec::new();
    change(store.path(), |rocks| {
        let log = rows(rocks, LOG, store.failed.as_bytes());
        let flip = |row: &Row| {
            let mut value = row.value.clone();
            *value.last_mut().unwrap() ^= 1;
            put(LOG, &row.key, value)
        };
        let at = |row: &Row| u64::from_be_bytes(row.key[16..].try_into().unwrap());
        places = vec![at(&log[1]), at(&log[3])];
        vec![flip(&log[1]), flip(&log[3])]
    });
    let found = problems(&store, &[]);
    let at: Vec<u64> = found.iter().map(|line| line["at"].as_u64().unwrap()).collect();
    assert_eq!(at, places);
    assert!(found.iter().all(|line| line["run"] == store.failed.to_string()), "{found:?}");
    assert!(said(&found).iter().all(|what| what.contains("checksum")), "{found:?}");
    // The same of the run alone, and nothing of another.
    assert_eq!(problems(&store, &[&store.failed.to_string()]), found);
    assert_eq!(run(store.path(), &["verify", &store.waiting.to_string()]).status, 0);
    let ran = run(store.path(), &["verify"]);
    assert!(ran.stdout.contains("damaged log, run ") && ran.stdout.contains("2 problems: "), "{}", ran.stdout);
}

#[test]
fn a_record_that_is_missing_replaced_or_alone_is_named() {
    let store = written();
    change(store.path(), |rocks| {
        let failed = rows(rocks, LOG, store.failed.as_bytes());
        let continued = rows(rocks, LOG, store.continued.as_bytes());
        let (batch, ..) = codec::open::<Batch>(&continued[1].key, &continued[1].value).unwrap();
        let (value, _) = codec::seal(&continued[1].key, Chain(7), &batch).unwrap();
        vec![delete(LOG, &failed[1].key), put(LOG, &continued[1].key, value), put(LOG, b"stray", vec![])]
    });
    let said = said(&problems(&store, &[]));
    let names = |what: &str| said.iter().any(|problem| problem.contains(what));
    assert!(names("log: a record is missing: the log goes on with event "), "{said:?}");
    assert!(names("log: the record does not follow the one before it"), "{said:?}");
    assert!(names("log: the key is none of a log's record"), "{said:?}");
}

#[test]
fn an_index_that_says_something_else_than_the_logs_is_named_both_ways() {
    let store = written();
    let stray = [9; 16];
    change(store.path(), |rocks| {
        let row = rows(rocks, RUNS, store.failed.as_bytes()).remove(0);
        let (mut record, ..) = codec::open::<RunRecord>(&row.key, &row.value).unwrap();
        record.attempts += 1;
        let (changed, _) = codec::seal(&row.key, Chain::default(), &record).unwrap();
        let (stranger, _) = codec::seal(&stray, Chain::default(), &record).unwrap();
        let unfinished = rows(rocks, UNFINISHED, store.waiting.as_bytes()).remove(0);
        let (taken, _) = codec::open::<relive_engine::index::UnfinishedRecord>(&unfinished.key, &unfinished.value)
            .map(|(record, ..)| codec::seal(store.failed.as_bytes(), Chain::default(), &record).unwrap())
            .unwrap();
        let entry = rows(rocks, CACHE, &[]).remove(0);
        let moved = [&[1; 16], &entry.key[16..]].concat();
        vec![
            put(RUNS, &row.key, changed),
            put(RUNS, &stray, stranger),
            delete(RUNS, store.continued.as_bytes()),
            delete(UNFINISHED, &unfinished.key),
            put(UNFINISHED, store.failed.as_bytes(), taken),
            put(IDS, b"nobody", b"RL".to_vec()),
            put(
                TAGS,
                b"\0\0\0\x01a\0\0\0\x01b\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09",
                vec![],
            ),
            delete(CACHE_USE, &entry.key),
            put(CACHE_USE, &moved, rows(rocks, CACHE_USE, &entry.key)[0].value.clone()),
        ]
    });
    let said = said(&problems(&store, &[]));
    for expected in [
        "runs: its last attempt is not what the log says",
        "runs: the run is listed, and has no log",
        "runs: there is a log, and the run is not listed",
        "unfinished: the run has not ended, and no restart takes it up",
        "unfinished: the run has ended, and stands as unfinished",
        "ids: the record is shorter than its header",
        "tags: the tag leads to a run that does not have it",
        "cache_use: an entry of the cache is not counted in its size",
    ] {
        assert!(said.iter().any(|problem| problem.contains(expected)), "{expected}: {said:?}");
    }
}

#[test]
fn a_store_that_cannot_be_opened_is_damaged_and_one_that_is_none_is_a_mistake() {
    let store = written();
    let current = store.path().join("db/CURRENT");
    std::fs::write(&current, "MANIFEST-999999\n").unwrap();
    let ran = run(store.path(), &["verify"]);
    assert!(ran.status == 3 || ran.status == 1, "{}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    let nowhere = tempfile::tempdir().unwrap();
    assert_eq!(run(nowhere.path(), &["verify"]).status, 1);
}
