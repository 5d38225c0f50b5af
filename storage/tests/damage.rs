//! Nothing acknowledged goes missing without a word, whatever happens to the write-ahead log.
//!
//! Every case damages a copy of one closed store, and opens it.

use std::fs;
use std::path::{Path, PathBuf};

use relive_storage::conformance::{LOG, SCHEMA};
use relive_storage::{
    Durability, Error, ErrorKind, Fate, KeyRange, Operation, Order, Outcome, PageLimit, Precondition, Read,
    RocksReader, RocksStore, Store, Write,
};
use tempfile::TempDir;

fn commit(store: &RocksStore, from: u32, to: u32, durability: Durability) {
    for index in from..to {
        let operation = Operation::Put { keyspace: LOG, key: index.to_be_bytes().into(), value: vec![index as u8; 40] };
        let write = Write { preconditions: vec![], operations: vec![operation] };
        store.commit(&[write], durability).expect("a commit succeeds");
    }
}

/// A closed store: so many synced rows, then so many buffered ones.
fn store(synced: u32, buffered: u32) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = RocksStore::open(directory.path(), &SCHEMA).expect("it is created");
    commit(&store, 0, synced, Durability::Sync);
    commit(&store, synced, synced + buffered, Durability::Buffered);
    directory
}

fn copy(from: &Path) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(directory.path().join("db")).expect("writable");
    for part in ["", "db"] {
        for entry in fs::read_dir(from.join(part)).expect("readable") {
            let entry = entry.expect("readable");
            if entry.file_type().expect("readable").is_file() {
                fs::copy(entry.path(), directory.path().join(part).join(entry.file_name())).expect("writable");
            }
        }
    }
    directory
}

/// The logs of a store, in order.
fn logs(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory.join("db")).expect("readable").map(|entry| entry.expect("readable").path());
    let mut logs: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
    logs.sort();
    logs
}

/// The one log of a store that holds anything.
fn log(directory: &Path) -> PathBuf {
    let mut logs = logs(directory);
    logs.retain(|path| fs::metadata(path).expect("readable").len() > 0);
    assert_eq!(logs.len(), 1, "{logs:?}");
    logs.remove(0)
}

fn damaged(from: &Path, damage: impl FnOnce(&mut Vec<u8>)) -> TempDir {
    let directory = copy(from);
    let log = log(directory.path());
    let mut bytes = fs::read(&log).expect("readable");
    damage(&mut bytes);
    fs::write(&log, bytes).expect("writable");
    directory
}

/// How many rows a store opens with; they are the first ones.
fn rows(directory: &Path) -> Result<usize, Error> {
    let store = RocksStore::open(directory, &SCHEMA)?;
    let page = store.scan(LOG, &KeyRange::all(), Order::Ascending, PageLimit::default())?;
    for (index, row) in page.rows.iter().enumerate() {
        assert_eq!(row.key, (index as u32).to_be_bytes(), "there is a hole");
    }
    Ok(page.rows.len())
}

fn assert_corrupt(directory: &Path, expected: &str) {
    let log = log(directory);
    for error in
        [rows(directory), RocksReader::open(directory, 1).map(|_| 0)].map(|opened| opened.expect_err("damaged"))
    {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(error.path(), Some(log.as_path()), "{error}");
        assert!(error.to_string().contains(expected), "{error} does not say {expected:?}");
    }
}

#[test]
fn a_torn_end_above_the_mark_is_cut_off() {
    let store = store(20, 10);
    let whole = fs::read(log(store.path())).expect("readable");
    let record = whole.len() / 30;
    assert_eq!(rows(copy(store.path()).path()).expect("it is whole"), 30);
    for left in [1, 6, 7, 8, record - 1] {
        let torn = damaged(store.path(), |bytes| bytes.truncate(25 * record + left));
        assert_eq!(rows(torn.path()).expect("it opens"), 25, "{left} bytes of the record left");
        assert_eq!(rows(torn.path()).expect("it opens again"), 25);
    }
    let zeros = damaged(store.path(), |bytes| bytes[25 * record..].fill(0));
    assert_eq!(rows(zeros.path()).expect("it opens"), 25);
    let last = damaged(store.path(), |bytes| bytes[29 * record + 9] ^= 1);
    assert_eq!(rows(last.path()).expect("it opens"), 29);
}

#[test]
fn a_reader_passes_over_a_short_end_and_refuses_one_that_rocksdb_would_not_pass_over() {
    let store = store(20, 10);
    let whole = fs::read(log(store.path())).expect("readable");
    let record = whole.len() / 30;
    let short = damaged(store.path(), |bytes| bytes.truncate(29 * record + 9));
    let reader = RocksReader::open(short.path(), SCHEMA.format).expect("it opens");
    let page = reader.scan(LOG, &KeyRange::all(), Order::Ascending, PageLimit::default()).expect("readable");
    assert_eq!(page.rows.len(), 29);
    // RocksDB 11.8.1 reads recycled types for ever where others were before, also for writing.
    for kind in [0, 5, 6, 7, 8, 11, 131] {
        let recycled = damaged(store.path(), |bytes| bytes[29 * record + 6] = kind);
        let error = RocksReader::open(recycled.path(), SCHEMA.format).expect_err("it would not end");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("open the store for writing once"), "{error}");
        assert_eq!(rows(recycled.path()).expect("it opens"), 29);
        assert!(RocksReader::open(recycled.path(), SCHEMA.format).is_ok());
    }
}

#[test]
fn what_follows_a_torn_end_is_written_and_found_again() {
    let store = store(20, 10);
    let torn = damaged(store.path(), |bytes| bytes.truncate(bytes.len() - 5));
    commit(&RocksStore::open(torn.path(), &SCHEMA).expect("it opens"), 29, 35, Durability::Sync);
    assert_eq!(rows(torn.path()).expect("it opens"), 35);
}

#[test]
fn a_changed_bit_above_the_mark_with_whole_records_behind_is_an_error() {
    let store = store(20, 10);
    let record = fs::read(log(store.path())).expect("readable").len() / 30;
    let changed = damaged(store.path(), |bytes| bytes[25 * record + 9] ^= 1);
    assert_corrupt(changed.path(), &format!("the record at byte {}", 25 * record));
}

#[test]
fn a_log_that_is_shorter_than_its_mark_is_an_error_that_says_where() {
    let store = store(120, 0);
    let whole = fs::read(log(store.path())).expect("readable").len();
    for cut in (0..whole).step_by(97).chain([whole - 1, whole - whole / 120]) {
        let short = damaged(store.path(), |bytes| bytes.truncate(cut));
        let error = rows(short.path()).expect_err("it is short");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {cut}: {error}");
        assert!(error.to_string().contains(&format!("up to byte {whole}")) || cut == 0, "cut at {cut}: {error}");
    }
    let boundary = whole / 2 / (whole / 120) * (whole / 120);
    let short = damaged(store.path(), |bytes| bytes.truncate(boundary));
    assert_corrupt(short.path(), &format!("ends at byte {boundary}"));
}

#[test]
fn a_log_that_is_missing_is_an_error_that_names_it() {
    let store = store(20, 0);
    let log = log(store.path());
    fs::remove_file(&log).expect("it was there");
    let error = rows(store.path()).expect_err("it is missing");
    assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(log.as_path())), "{error}");
}

#[test]
fn no_flipped_bit_in_a_synced_log_makes_it_silently_shorter() {
    let store = store(120, 0);
    let bytes = fs::read(log(store.path())).expect("readable");
    let record = bytes.len() / 120;
    // Every byte of the first and the last record, and of the rest every byte of the header now and then.
    let ends = (0..record).chain(bytes.len() - record..bytes.len());
    let between = (1..119).step_by(9).flat_map(|index| (0..9).map(move |byte| index * record + byte));
    for (tried, byte) in ends.chain(between).enumerate() {
        let bit = tried % 8;
        let flipped = damaged(store.path(), |bytes| bytes[byte] ^= 1 << bit);
        assert_corrupt(flipped.path(), &format!("the record at byte {} is damaged", byte / record * record));
    }
}

#[test]
fn a_mark_that_is_lost_is_no_error_and_changes_are_still_found() {
    let store = store(20, 0);
    for content in [None, Some(&[0; 8192][..]), Some(b"")] {
        let copy = copy(store.path());
        let mark = copy.path().join("high-water");
        match content {
            Some(content) => fs::write(&mark, content).expect("writable"),
            None => fs::remove_file(&mark).expect("it was there"),
        }
        let record = fs::read(log(copy.path())).expect("readable").len() / 20;
        let changed = damaged(copy.path(), |bytes| bytes[3 * record + 9] ^= 1);
        assert_corrupt(changed.path(), &format!("byte {}", 3 * record));
        assert_eq!(rows(copy.path()).expect("it opens"), 20);
    }
}

#[test]
fn a_mark_follows_the_log_over_a_flush_and_a_reopening() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for round in 0..3 {
        let store = RocksStore::open(directory.path(), &SCHEMA).expect("it opens");
        commit(&store, 0, 1, Durability::Sync);
        let before = logs(directory.path()).pop();
        // 48 MiB: more than one memtable, so that RocksDB goes over to another log in between.
        for index in 0..48 {
            let operation = Operation::Put { keyspace: LOG, key: vec![round, index], value: vec![index; 1 << 20] };
            let write = Write { preconditions: vec![], operations: vec![operation] };
            store.commit(&[write], Durability::Buffered).expect("a commit succeeds");
        }
        commit(&store, 0, 10, Durability::Sync);
        assert_ne!(logs(directory.path()).pop(), before, "RocksDB wrote one log only");
    }
    let newest = logs(directory.path()).pop().expect("there is always a log");
    let bytes = fs::read(&newest).expect("readable");
    fs::write(&newest, &bytes[..bytes.len() - 1]).expect("writable");
    let error = RocksStore::open(directory.path(), &SCHEMA).expect_err("a byte is missing");
    assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(newest.as_path())), "{error}");
    fs::write(&newest, &bytes).expect("writable");
    assert!(RocksStore::open(directory.path(), &SCHEMA).is_ok());
}

#[test]
fn after_a_commit_that_failed_nothing_is_written_until_the_store_is_opened_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = RocksStore::open(directory.path(), &SCHEMA).expect("it is created");
    // The log's name is gone: no mark can be set for what RocksDB still writes into it.
    for log in logs(directory.path()) {
        fs::remove_file(log).expect("it was there");
    }
    let write = |key: u8| {
        let operation = Operation::Put { keyspace: LOG, key: vec![key], value: vec![] };
        store.commit(&[Write { preconditions: vec![], operations: vec![operation] }], Durability::Sync)
    };
    let failed = write(0).expect_err("no mark");
    assert_eq!((failed.fate, failed.error.kind()), (Fate::Unknown, ErrorKind::Displaced), "{}", failed.error);
    for key in 1..3 {
        let failed = write(key).expect_err("poisoned");
        assert_eq!((failed.fate, failed.error.kind()), (Fate::NotApplied, ErrorKind::Poisoned));
        assert_eq!(store.get(LOG, &[key]).expect("it still reads"), None);
    }
    drop(store);
    let store = RocksStore::open(directory.path(), &SCHEMA).expect("nothing was acknowledged");
    commit(&store, 0, 1, Durability::Sync);
}

#[test]
fn a_refusal_at_durability_sync_rests_on_what_is_synced() {
    let directory = store(0, 20);
    let store = RocksStore::open(directory.path(), &SCHEMA).expect("it opens");
    commit(&store, 20, 30, Durability::Buffered);
    let key = 29_u32.to_be_bytes().to_vec();
    let write = Write { preconditions: vec![Precondition::Absent { keyspace: LOG, key }], operations: vec![] };
    let outcomes = store.commit(&[write], Durability::Sync).expect("a commit succeeds");
    assert_eq!(outcomes, [Outcome::Refused { precondition: 0 }]);
    drop(store);
    // So the mark covers it.
    let short = damaged(directory.path(), |bytes| bytes.truncate(bytes.len() - 1));
    assert_eq!(rows(short.path()).expect_err("a byte is missing").kind(), ErrorKind::Corrupt);
}
