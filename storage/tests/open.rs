//! Who may open a store, and what is told to whoever may not.

use std::fs;
use std::path::Path;

use relive_storage::conformance::{INDEX, LOG, QUEUE, SCHEMA};
use relive_storage::{
    Durability, ErrorKind, KeyRange, Keyspace, KeyspaceOptions, Operation, Order, PageLimit, Read, RocksReader,
    RocksStore, Row, Schema, Store, Usage, Write,
};

fn put(store: &RocksStore, keyspace: Keyspace, key: &str, durability: Durability) {
    let operation = Operation::Put { keyspace, key: key.into(), value: key.into() };
    let write = Write { preconditions: vec![], operations: vec![operation] };
    store.commit(&[write], durability).expect("a commit succeeds");
}

fn open(path: &Path) -> RocksStore {
    RocksStore::open(path, &SCHEMA).expect("the store opens")
}

fn refusal(path: &Path) -> (ErrorKind, String) {
    let error = RocksStore::open(path, &SCHEMA).expect_err("the store is refused");
    assert!(error.path().is_some(), "{error} names a path");
    (error.kind(), error.to_string())
}

#[test]
fn what_was_committed_survives_reopening() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("deep/er/store");
    for round in 0..4 {
        let store = open(&path);
        for before in 0..round {
            for (keyspace, key) in [(LOG, format!("synced {before}")), (QUEUE, format!("buffered {before}"))] {
                assert_eq!(store.get(keyspace, key.as_bytes()).expect("readable"), Some(key.into_bytes()));
            }
        }
        put(&store, LOG, &format!("synced {round}"), Durability::Sync);
        put(&store, QUEUE, &format!("buffered {round}"), Durability::Buffered);
    }
}

#[test]
fn values_from_16_kib_on_go_to_blob_files_and_smaller_ones_do_not() {
    for (bytes, expected) in [(16 << 10, 1), ((16 << 10) - 1, 0)] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let value: Vec<u8> =
            (0..bytes as u32).flat_map(|n| n.wrapping_mul(0x9E37_79B1).to_be_bytes()).take(bytes).collect();
        let operation = Operation::Put { keyspace: LOG, key: b"key".to_vec(), value: value.clone() };
        let write = Write { preconditions: vec![], operations: vec![operation] };
        open(directory.path()).commit(&[write], Durability::Sync).expect("a commit succeeds");
        // Opening moves what is in the write-ahead log to files.
        assert_eq!(open(directory.path()).get(LOG, b"key").expect("readable"), Some(value));
        let files = fs::read_dir(directory.path().join("db")).expect("readable");
        let blobs = files.filter(|file| {
            file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|extension| extension == "blob"))
        });
        assert_eq!(blobs.count(), expected, "{bytes} bytes");
    }
}

#[test]
fn a_store_that_is_opened_and_closed_without_a_commit_opens_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    put(&open(directory.path()), LOG, "key", Durability::Sync);
    for _ in 0..4 {
        assert!(open(directory.path()).get(LOG, b"key").expect("readable").is_some());
    }
}

#[cfg(unix)]
#[test]
fn a_created_directory_is_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    drop(open(&path));
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_store_is_open_once_at_a_time_and_the_error_says_by_whom() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(directory.path());
    let (kind, message) = refusal(directory.path());
    assert_eq!(kind, ErrorKind::InUse);
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    drop(store);
    drop(open(directory.path()));
}

#[test]
fn a_path_through_a_file_cannot_be_created() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    fs::write(&file, "content").expect("writable");
    assert_eq!(refusal(&file.join("store")).0, ErrorKind::Permission);
    assert_eq!(refusal(&file).0, ErrorKind::NotAStore);
    assert_eq!(RocksReader::open(&file, 1).expect_err("no store").kind(), ErrorKind::NotAStore);
}

#[test]
fn a_directory_of_something_else_is_refused_and_left_as_it_was() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("thesis.txt"), "content").expect("writable");
    let (kind, message) = refusal(directory.path());
    assert_eq!(kind, ErrorKind::NotAStore);
    assert!(message.contains("thesis.txt"), "{message}");
    assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 1);
    let error = RocksReader::open(directory.path(), 1).expect_err("no store");
    assert_eq!(error.kind(), ErrorKind::NotAStore);

    let foreign = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(foreign.path().join("db")).expect("writable");
    fs::write(foreign.path().join("db/CURRENT"), "content").expect("writable");
    assert_eq!(refusal(foreign.path()).0, ErrorKind::NotAStore);
}

#[test]
fn a_marker_that_is_not_ours_is_refused() {
    for content in ["", "relive store format 1", "relive store format one\n", "relive store format -1\n"] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("RELIVE"), content).expect("writable");
        assert_eq!(refusal(directory.path()).0, ErrorKind::NotAStore, "{content:?}");
    }
}

#[test]
fn a_newer_format_is_refused_and_an_older_one_is_taken_over() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    put(&open(directory.path()), LOG, "key", Durability::Sync);
    let newer = Schema { format: SCHEMA.format + 1, ..SCHEMA };
    drop(RocksStore::open(directory.path(), &newer).expect("an older store opens"));
    let (kind, message) = refusal(directory.path());
    assert_eq!(kind, ErrorKind::NewerFormat);
    assert!(message.contains("format 2"), "{message}");
    let reader = |format| RocksReader::open(directory.path(), format);
    assert_eq!(reader(SCHEMA.format).expect_err("too new").kind(), ErrorKind::NewerFormat);
    assert!(reader(newer.format).expect("known").get(LOG, b"key").expect("readable").is_some());
}

#[test]
fn an_interrupted_creation_is_finished() {
    let all: [&[&str]; 4] = [&["LOCK"], &["LOCK", "RELIVE.new"], &["LOCK", "db/"], &["db/"]];
    for left in all {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for name in left {
            match name.strip_suffix('/') {
                Some(name) => fs::create_dir(directory.path().join(name)).expect("writable"),
                None => fs::write(directory.path().join(name), "reliv").expect("writable"),
            }
        }
        put(&open(directory.path()), LOG, "key", Durability::Sync);
        assert!(open(directory.path()).get(LOG, b"key").expect("readable").is_some(), "{left:?}");
    }
    // RocksDB ended before it had written CURRENT.
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(directory.path().join("db")).expect("writable");
    fs::write(directory.path().join("RELIVE"), "relive store format 1\n").expect("writable");
    fs::write(directory.path().join("db/MANIFEST-000001"), "half").expect("writable");
    drop(open(directory.path()));
}

#[test]
fn a_database_that_lost_its_first_file_is_not_made_anew() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    put(&open(directory.path()), LOG, "key", Durability::Sync);
    fs::remove_file(directory.path().join("db/CURRENT")).expect("it was there");
    assert_eq!(refusal(directory.path()).0, ErrorKind::Corrupt);
    assert_eq!(refusal(directory.path()).0, ErrorKind::Corrupt);
}

#[test]
fn a_keyspace_of_a_later_schema_is_created_and_one_of_an_earlier_schema_is_kept() {
    const LATER: Keyspace = Keyspace::new("later");
    const KEYSPACES: &[KeyspaceOptions] = &[KeyspaceOptions { keyspace: LATER, usage: Usage::Index }];
    let directory = tempfile::tempdir().expect("a temporary directory");
    put(&open(directory.path()), LOG, "key", Durability::Sync);
    let later = RocksStore::open(directory.path(), &Schema { keyspaces: KEYSPACES, format: 1 }).expect("it opens");
    put(&later, LATER, "key", Durability::Sync);
    drop(later);
    assert!(open(directory.path()).get(LOG, b"key").expect("readable").is_some());
}

#[test]
fn a_reader_follows_an_owner_that_writes() {
    const MISSING: Keyspace = Keyspace::new("missing");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(directory.path());
    put(&store, LOG, "a", Durability::Sync);
    let reader = RocksReader::open(directory.path(), SCHEMA.format).expect("it opens beside the owner");
    assert!(reader.get(LOG, b"a").expect("readable").is_some());
    put(&store, LOG, "b", Durability::Sync);
    put(&store, INDEX, "c", Durability::Buffered);
    reader.refresh().expect("the owner's files are there");
    let page = reader.scan(LOG, &KeyRange::all(), Order::Ascending, PageLimit::default()).expect("readable");
    let keys: Vec<Vec<u8>> = page.rows.into_iter().map(|Row { key, .. }| key).collect();
    assert_eq!(keys, [b"a", b"b"]);
    assert!(reader.get(INDEX, b"c").expect("readable").is_some());
    assert_eq!(reader.get(MISSING, b"a").expect("an absent keyspace is empty"), None);
    let page = reader.scan(MISSING, &KeyRange::all(), Order::Descending, PageLimit::default());
    assert_eq!(page.expect("an absent keyspace is empty").rows, []);
    // It also outlives the owner, and holds nobody up.
    drop(store);
    drop(open(directory.path()));
    reader.refresh().expect("the store's files are there");
    assert!(reader.get(LOG, b"b").expect("readable").is_some());
}

#[test]
fn a_reader_of_nothing_is_told_so_and_makes_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let missing = directory.path().join("missing");
    for path in [directory.path(), &missing] {
        assert_eq!(RocksReader::open(path, 1).expect_err("no store").kind(), ErrorKind::NotAStore);
    }
    assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0);
}
