//! What RocksDB lists its files in is guarded as its log is, and a table that is gone is missed by readers, too.
//!
//! Found by `make torture PART=corruption`: a flipped type in a MANIFEST made RocksDB 11.8.1 read for ever, and a reader
//! that was a secondary instance went back, without a word, to the last state whose tables it found.

use std::fs;
use std::path::{Path, PathBuf};

use relive_storage::conformance::{LOG, SCHEMA};
use relive_storage::{
    Durability, Error, ErrorKind, KeyRange, Operation, Order, PageLimit, Read, RocksReader, RocksStore, Store, Write,
};
use tempfile::TempDir;

/// A closed store of three lives, so that its MANIFEST lists tables; 10 rows of each.
fn store() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for life in 0..3 {
        let store = RocksStore::open(directory.path(), &SCHEMA).expect("it opens");
        for index in 0..10 {
            let operation = Operation::Put { keyspace: LOG, key: vec![life, index], value: vec![index; 100] };
            let write = Write { preconditions: vec![], operations: vec![operation] };
            store.commit(&[write], Durability::Sync).expect("a commit succeeds");
        }
    }
    directory
}

fn files(directory: &Path, is_one: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("db")).expect("readable").map(|entry| entry.expect("readable").path());
    let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    let mut files: Vec<_> = entries.filter(|path| is_one(&name(path))).collect();
    files.sort();
    files
}

fn manifest(directory: &Path) -> PathBuf {
    let mut manifests = files(directory, |name| name.starts_with("MANIFEST-"));
    assert_eq!(manifests.len(), 1, "{manifests:?}");
    manifests.remove(0)
}

/// How many rows a store holds, for the owner and for a reader.
fn rows(directory: &Path) -> [Result<usize, Error>; 2] {
    let count = |read: &dyn Read| {
        read.scan(LOG, &KeyRange::all(), Order::Ascending, PageLimit::default()).map(|page| page.rows.len())
    };
    // The reader first: the owner repairs what may be repaired.
    let reader = RocksReader::open(directory, SCHEMA.format).and_then(|reader| count(&reader));
    [reader, RocksStore::open(directory, &SCHEMA).and_then(|store| count(&store))]
}

fn assert_refused(directory: &Path, file: &Path, what: &str) {
    for opened in rows(directory) {
        let error = opened.expect_err(what);
        assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(file)), "{what}: {error}");
    }
}

#[test]
fn a_changed_byte_of_a_manifest_is_an_error_that_names_it_and_no_open_that_never_ends() {
    let store = store();
    let path = manifest(store.path());
    let whole = fs::read(&path).expect("readable");
    // The type of the first frame, as if recycled; and bytes everywhere.
    for (byte, mask) in [(6, 1 ^ 5)].into_iter().chain((0..whole.len()).step_by(41).map(|byte| (byte, 4))) {
        let mut changed = whole.clone();
        changed[byte] ^= mask;
        fs::write(&path, changed).expect("writable");
        assert_refused(store.path(), &path, &format!("byte {byte}"));
    }
    fs::write(&path, &whole).expect("writable");
    assert!(rows(store.path()).iter().all(|rows| rows.as_ref().is_ok_and(|count| *count == 30)));
}

#[test]
fn a_manifest_that_is_cut_is_an_error_also_between_two_of_its_records() {
    let store = store();
    let path = manifest(store.path());
    let whole = fs::read(&path).expect("readable");
    for length in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..length]).expect("writable");
        assert_refused(store.path(), &path, &format!("{length} bytes left"));
    }
}

#[test]
fn an_unfinished_end_of_a_manifest_above_the_mark_is_cut_off() {
    for end in [&[1, 2, 3][..], &[0; 600]] {
        let store = store();
        let path = manifest(store.path());
        let whole = fs::read(&path).expect("readable");
        fs::write(&path, [&whole, end].concat()).expect("writable");
        let opened = RocksStore::open(store.path(), &SCHEMA).expect("it opens");
        let page = opened.scan(LOG, &KeyRange::all(), Order::Ascending, PageLimit::default()).expect("readable");
        assert_eq!(page.rows.len(), 30);
        drop(opened);
        assert!(rows(store.path()).iter().all(|rows| rows.as_ref().is_ok_and(|count| *count == 30)));
    }
}

#[test]
fn an_older_manifest_does_not_count_again() {
    let store = store();
    let (path, current) = (manifest(store.path()), store.path().join("db/CURRENT"));
    let older = path.with_file_name("MANIFEST-000001");
    fs::copy(&path, &older).expect("writable");
    fs::write(&current, "MANIFEST-000001\n").expect("writable");
    assert_refused(store.path(), &current, "an older one");
}

#[test]
fn a_table_that_is_gone_or_cut_is_an_error_for_the_owner_and_for_a_reader() {
    let store = store();
    for table in files(store.path(), |name| name.ends_with(".sst")) {
        let whole = fs::read(&table).expect("readable");
        fs::remove_file(&table).expect("it was there");
        assert!(rows(store.path()).iter().all(Result::is_err), "{} is gone", table.display());
        fs::write(&table, &whole[..whole.len() / 2]).expect("writable");
        assert!(rows(store.path()).iter().all(Result::is_err), "{} is cut", table.display());
        fs::write(&table, &whole).expect("writable");
    }
    assert!(rows(store.path()).iter().all(|rows| rows.as_ref().is_ok_and(|count| *count == 30)));
}
