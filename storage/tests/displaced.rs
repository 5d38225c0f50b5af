//! A store goes by the directory that it opened, and acknowledges nothing that is not at its path any more.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};

use relive_storage::conformance::{LOG, SCHEMA};
use relive_storage::{Durability, Error, ErrorKind, Fate, Operation, Read, RocksReader, RocksStore, Store, Write};
use tempfile::TempDir;

const DURABILITIES: [Durability; 2] = [Durability::Sync, Durability::Buffered];

fn try_put(store: &RocksStore, key: &str, bytes: usize, durability: Durability) -> Result<(), Error> {
    let value = key.as_bytes().iter().copied().cycle().take(bytes).collect();
    let operation = Operation::Put { keyspace: LOG, key: key.into(), value };
    let write = Write { preconditions: vec![], operations: vec![operation] };
    store.commit(&[write], durability).map(drop).map_err(|failed| {
        let poisoned = failed.error.kind() == ErrorKind::Poisoned;
        assert_eq!(failed.fate, if poisoned { Fate::NotApplied } else { Fate::Unknown });
        failed.error
    })
}

fn put(store: &RocksStore, key: &str) {
    try_put(store, key, 8, Durability::Sync).expect("a commit succeeds");
}

/// Writes until RocksDB has begun new files: logs, tables and blob files.
fn fill(store: &RocksStore) {
    for number in 0..24 {
        try_put(store, &format!("filled {number}"), 1 << 20, Durability::Buffered).expect("a commit succeeds");
    }
}

fn open(path: &Path) -> RocksStore {
    RocksStore::open(path, &SCHEMA).expect("the store opens")
}

fn has(store: &impl Read, key: &str) -> bool {
    store.get(LOG, key.as_bytes()).expect("readable").is_some()
}

fn is_filled(store: &impl Read) -> bool {
    (0..24).all(|number| has(store, &format!("filled {number}")))
}

fn place() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let path = parent.path().join("store");
    (parent, path)
}

/// A commit after something happened to the directory is not acknowledged, nor is any other; and says why.
#[track_caller]
fn is_noticed(store: RocksStore, path: &Path, durability: Durability, words: &[&str]) {
    let error = try_put(&store, "late", 8, durability).expect_err("it is not there");
    assert_eq!(error.kind(), ErrorKind::Displaced, "{error}");
    let message = error.to_string();
    assert!(error.path().is_some_and(|named| named.starts_with(path)), "{message}");
    assert!(!message.contains("/proc/"), "{message}");
    words.iter().for_each(|word| assert!(message.contains(word), "{message:?} does not say {word:?}"));
    assert_eq!(try_put(&store, "later", 8, durability).expect_err("poisoned").kind(), ErrorKind::Poisoned);
    assert_eq!(store.check().expect_err("it is not there").kind(), ErrorKind::Displaced);
}

/// What is done to the directory of an open store, and what is said of it.
type Case = (&'static str, fn(&Path), &'static [&'static str]);

const CASES: [Case; 9] = [
    ("removed", |path| fs::remove_dir_all(path).expect("writable"), &["removed", "copy"]),
    ("renamed", |path| fs::rename(path, away(path)).expect("writable"), &["moved to", "/away", "open it there"]),
    (
        "replaced by an empty directory",
        |path| {
            fs::rename(path, away(path)).expect("writable");
            fs::create_dir(path).expect("writable");
        },
        &["moved to", "another one is in its place"],
    ),
    (
        "removed, with another store in its place",
        |path| {
            fs::remove_dir_all(path).expect("writable");
            put(&open(path), "other");
        },
        &["another", "in its place"],
    ),
    (
        "replaced by a file",
        |path| {
            fs::remove_dir_all(path).expect("writable");
            fs::write(path, "content").expect("writable");
        },
        &["in its place"],
    ),
    (
        "replaced by a link to a copy",
        |path| {
            fs::rename(path, away(path)).expect("writable");
            fs::create_dir_all(path.with_file_name("copy/db")).expect("writable");
            std::os::unix::fs::symlink(path.with_file_name("copy"), path).expect("writable");
        },
        &["moved to"],
    ),
    (
        "its lock replaced in place",
        |path| {
            fs::write(path.join("LOCK.new"), "1\n").expect("writable");
            fs::rename(path.join("LOCK.new"), path.join("LOCK")).expect("writable");
        },
        &["LOCK", "another process"],
    ),
    (
        "its database removed",
        |path| fs::remove_dir_all(path.join("db")).expect("writable"),
        &["\"db\"", "removed", "copy"],
    ),
    (
        "its files removed",
        |path| {
            for file in fs::read_dir(path.join("db")).expect("readable") {
                fs::remove_file(file.expect("readable").path()).expect("writable");
            }
        },
        &["removed while the store was open", "copy"],
    ),
];

fn away(path: &Path) -> PathBuf {
    path.with_file_name("away")
}

#[test]
fn nothing_is_acknowledged_of_a_directory_that_is_not_at_its_path_any_more() {
    for durability in DURABILITIES {
        for (name, happens, words) in CASES {
            let (_parent, path) = place();
            let store = open(&path);
            put(&store, "early");
            // Many, so that some are made without a look at the path.
            for number in 0..100 {
                try_put(&store, &format!("early {number}"), 8, Durability::Buffered).expect("a commit succeeds");
            }
            store.check().expect("it is in place");
            happens(&path);
            println!("{name}, {durability:?}");
            is_noticed(store, &path, durability, words);
        }
    }
}

#[test]
fn a_directory_above_that_is_renamed_is_noticed_too() {
    let (parent, _) = place();
    let path = parent.path().join("above/store");
    let store = open(&path);
    put(&store, "early");
    fs::rename(parent.path().join("above"), parent.path().join("elsewhere")).expect("writable");
    is_noticed(store, &path, Durability::Sync, &["moved to", "elsewhere"]);
    assert!(has(&open(&parent.path().join("elsewhere/store")), "early"));
}

/// Of a commit that is not synced nobody was promised a place for ever; but it does not go on like that.
#[test]
fn buffered_commits_notice_a_directory_above_that_is_renamed_before_long() {
    let (parent, _) = place();
    let path = parent.path().join("above/store");
    let store = open(&path);
    let put = |number: u32| try_put(&store, &format!("{number}"), 8, Durability::Buffered);
    // Most likely longer than the file system's clock takes from one time to the next.
    let number = 2_000;
    (0..number).for_each(|number| put(number).expect("a commit succeeds"));
    fs::rename(parent.path().join("above"), parent.path().join("elsewhere")).expect("writable");
    let acknowledged = (number..number + 64).take_while(|number| put(*number).is_ok()).count() as u32;
    assert!(acknowledged < 64, "it is noticed");
    drop(store);
    let store = open(&parent.path().join("elsewhere/store"));
    assert!((0..number + acknowledged).all(|number| has(&store, &number.to_string())), "all of it is there");
}

#[test]
fn a_directory_that_is_back_at_its_path_by_the_next_commit_goes_on() {
    let (_parent, path) = place();
    let store = open(&path);
    put(&store, "early");
    fs::rename(&path, away(&path)).expect("writable");
    fs::rename(away(&path), &path).expect("writable");
    fill(&store);
    put(&store, "late");
    drop(store);
    let store = open(&path);
    assert!(has(&store, "early") && has(&store, "late") && is_filled(&store));
}

/// Whoever wrote on under the old path would write into the new store.
#[cfg(target_os = "linux")]
#[test]
fn a_store_that_was_renamed_writes_nothing_into_the_one_at_its_path() {
    let (_parent, path) = place();
    let first = open(&path);
    put(&first, "early");
    fs::rename(&path, away(&path)).expect("writable");
    let second = open(&path);
    fill(&second);
    // Not acknowledged, and all the same written: to its own files.
    try_put(&first, "late", 1 << 20, Durability::Buffered).expect_err("it was moved");
    first.reclaim(LOG, &relive_storage::KeyRange::all()).expect("its own tables are rewritten");
    drop(first);
    put(&second, "more");
    drop(second);
    let second = open(&path);
    assert!(is_filled(&second) && has(&second, "more") && !has(&second, "early"));
    assert!(has(&open(&away(&path)), "early"));
}

#[test]
fn a_lock_that_was_replaced_lets_nobody_in_beside_the_owner() {
    let (_parent, path) = place();
    let store = open(&path);
    fs::remove_file(path.join("LOCK")).expect("it was there");
    let error = RocksStore::open(&path, &SCHEMA).expect_err("this process has it");
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    drop(store);
    put(&open(&path), "later");
}

#[test]
fn a_link_that_leads_elsewhere_later_leaves_the_store_with_its_directory() {
    let (parent, link) = place();
    let [first, second] = ["first", "second"].map(|name| parent.path().join(name));
    for directory in [&first, &second] {
        fs::create_dir(directory).expect("writable");
    }
    std::os::unix::fs::symlink(&first, &link).expect("writable");
    let store = open(&link);
    let reader = RocksReader::open(&link, SCHEMA.format);
    fs::remove_file(&link).expect("it was there");
    std::os::unix::fs::symlink(&second, &link).expect("writable");
    let other = open(&link);
    fill(&store);
    put(&other, "other");
    let reader = reader.expect("it opens beside the owner");
    reader.refresh().expect("the owner's files are there");
    assert!(is_filled(&reader) && !has(&reader, "other"));
    drop((store, other));
    assert!(is_filled(&open(&first)) && !has(&open(&first), "other"));
    assert!(has(&open(&second), "other"));
}

/// Descriptors of directories are few, and given back.
#[cfg(target_os = "linux")]
#[test]
fn a_reader_follows_the_directory_that_it_opened_and_says_so_when_that_is_gone() {
    let (_parent, path) = place();
    let store = open(&path);
    put(&store, "early");
    let reader = RocksReader::open(&path, SCHEMA.format).expect("it opens beside the owner");
    put(&store, "late");
    drop(store);
    fs::rename(&path, away(&path)).expect("writable");
    put(&open(&path), "other");
    reader.refresh().expect("the files are there");
    assert!(has(&reader, "late") && !has(&reader, "other"));
    fs::remove_dir_all(away(&path)).expect("writable");
    let error = reader.refresh().expect_err("nothing is there");
    assert!(error.path().is_some_and(|named| named.starts_with(&path)), "{error}");
    assert!(!error.to_string().contains("/proc/"), "{error}");
    assert!(has(&reader, "late"), "the view stays as it was");
}

#[test]
fn messages_name_the_path_that_the_user_gave() {
    let (parent, link) = place();
    let path = parent.path().join("real");
    fs::create_dir(&path).expect("writable");
    std::os::unix::fs::symlink(&path, &link).expect("writable");
    let store = open(&link);
    fill(&store);
    drop(store);
    drop(open(&link));
    for entry in fs::read_dir(path.join("db")).expect("readable") {
        let file = entry.expect("readable").path();
        if file.extension().is_some_and(|extension| extension == "blob" || extension == "sst") {
            fs::remove_file(file).expect("writable");
        }
    }
    let told = |error: &Error| {
        let mut words = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            words = format!("{words}; {error}");
            source = error.source();
        }
        assert!(words.contains(&format!("{}/db/", link.display())) && !words.contains("/proc/"), "{words}");
    };
    told(&RocksReader::open(&link, SCHEMA.format).map(drop).expect_err("files are missing"));
    match RocksStore::open(&link, &SCHEMA) {
        Ok(store) => told(&store.get(LOG, b"filled 3").map(drop).expect_err("files are missing")),
        Err(error) => told(&error),
    }
}

/// Runs one test of this program again, in a process that may search only what modes let it; root may search everything.
#[cfg(target_os = "linux")]
fn again_without_power(test: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let (parent, path) = place();
    fs::create_dir(&path).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("it is ours");
    let program = std::env::current_exe().expect("it is there");
    let mut command = if fs::read_dir(&path).is_ok() {
        let mut command = std::process::Command::new("setpriv");
        command.arg("--bounding-set=-dac_override,-dac_read_search").arg(program);
        command
    } else {
        std::process::Command::new(program)
    };
    drop(parent);
    let output = command.args([test, "--exact"]).env("RELIVE_WITHOUT_POWER", "yes").output();
    let output = output.expect("setpriv of util-linux is there, for tests that root runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&output.stderr));
}

/// As where a service is started in a directory that its user may enter, below one that it may not; or gives up being root.
#[cfg(target_os = "linux")]
#[test]
fn a_store_below_a_directory_that_may_not_be_searched_goes_on_by_descriptor() {
    use std::os::unix::fs::PermissionsExt as _;
    if std::env::var_os("RELIVE_WITHOUT_POWER").is_none() {
        return again_without_power("a_store_below_a_directory_that_may_not_be_searched_goes_on_by_descriptor");
    }
    let (_parent, hidden) = place();
    let here = hidden.join("here");
    fs::create_dir_all(&here).expect("writable");
    std::env::set_current_dir(&here).expect("it is there");
    let search = |mode| fs::set_permissions(&hidden, fs::Permissions::from_mode(mode)).expect("it is ours");
    let before = open(&here.join("before"));
    put(&before, "early");
    search(0);
    let refused = fs::metadata(&here).expect_err("it cannot be looked at");
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    let after = open(Path::new("after"));
    for store in [&before, &after] {
        put(store, "late");
        fill(store);
        store.check().expect("it is there");
    }
    let reader = RocksReader::open(Path::new("after"), SCHEMA.format).expect("the store opens");
    assert!(has(&reader, "late") && is_filled(&reader));
    fs::remove_file("before/LOCK").expect("writable");
    is_noticed(before, &here.join("before"), Durability::Sync, &["LOCK"]);
    fs::remove_dir_all("after").expect("writable");
    is_noticed(after, &here.join("after"), Durability::Buffered, &["removed"]);
    let error = RocksStore::open(&here.join("before"), &SCHEMA).expect_err("nobody is let through from the root on");
    assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
    search(0o700);
}
