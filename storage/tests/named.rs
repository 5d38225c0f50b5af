//! Damage is told with the file that is damaged, whoever meets it: the owner or a reader, when the store is opened or later.

use std::fs;
use std::path::{Path, PathBuf};

use relive_storage::conformance::{LOG, SCHEMA};
use relive_storage::{
    Durability, Error, ErrorKind, KeyRange, Operation, Order, PageLimit, Read, RocksReader, RocksStore, Store, Write,
};
use tempfile::TempDir;

/// A closed store of three lives: tables, and large values in blob files. A run's log has one of either.
fn store() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for life in 0..3 {
        let store = RocksStore::open(directory.path(), &SCHEMA).expect("it opens");
        for index in 0..6 {
            let value = vec![index; if index % 2 == 0 { 100 } else { 20_000 }];
            let operation = Operation::Put { keyspace: LOG, key: vec![life, index], value };
            let write = Write { preconditions: vec![], operations: vec![operation] };
            store.commit(&[write], Durability::Sync).expect("a commit succeeds");
        }
    }
    directory
}

fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("db")).expect("readable").map(|entry| entry.expect("readable").path());
    let mut files: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    files.sort();
    files
}

/// All of a store is read, for the owner and for a reader. The reader first: the owner may repair.
fn read(directory: &Path) -> [Result<usize, Error>; 2] {
    let count = |read: &dyn Read| {
        read.scan(LOG, &KeyRange::all(), Order::Ascending, PageLimit::default()).map(|page| page.rows.len())
    };
    let reader = RocksReader::open(directory, SCHEMA.format).and_then(|reader| count(&reader));
    [reader, RocksStore::open(directory, &SCHEMA).and_then(|store| count(&store))]
}

#[test]
fn a_damaged_file_is_named_wherever_it_is_damaged() {
    let store = store();
    for ending in [".sst", ".blob"] {
        let all = files(store.path(), ending);
        assert!(all.len() >= 2, "{all:?}");
        // The second of several, so that it is not only guessed.
        let file = &all[1];
        let whole = fs::read(file).expect("readable");
        let (mut damaged_count, mut unnamed_count) = (0, 0);
        for at in (0..whole.len()).step_by(whole.len() / 61 + 1).chain([whole.len() - 1]) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(file, &bytes).expect("writable");
            for read in read(store.path()) {
                // Not every byte of a file counts.
                let Err(error) = read else { continue };
                damaged_count += 1;
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{ending}, byte {at}: {error}");
                // Of a few damages RocksDB does not say where it met them.
                let kind = if ending == ".sst" { "a table is damaged" } else { "a blob file is damaged" };
                let is_unnamed = error.to_string().contains(kind);
                assert!(is_unnamed || error.path() == Some(file.as_path()), "byte {at}: {error}");
                unnamed_count += usize::from(is_unnamed);
                assert!(!error.to_string().contains("MANIFEST"), "byte {at}: {error}");
            }
        }
        assert!(damaged_count > 60 && unnamed_count < 20, "{ending}: {damaged_count}, {unnamed_count}");
        fs::write(file, &whole[..whole.len() - 10]).expect("writable");
        for read in read(store.path()) {
            let error = read.expect_err("it is cut short");
            assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(file.as_path())), "{error}");
        }
        fs::remove_file(file).expect("it was there");
        for read in read(store.path()) {
            let error = read.expect_err("it is gone");
            assert_eq!(error.path(), Some(file.as_path()), "{error}");
            assert!(error.to_string().contains("missing"), "{error}");
        }
        fs::write(file, &whole).expect("writable");
        assert!(read(store.path()).iter().all(|read| matches!(read, Ok(18))), "it is as it was");
    }
}

#[test]
fn one_bit_of_the_marker_is_damage_and_never_another_directory() {
    let store = store();
    let marker = store.path().join("RELIVE");
    let whole = fs::read(&marker).expect("readable");
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&marker, &bytes).expect("writable");
        let flipped = String::from_utf8_lossy(&bytes).into_owned();
        for opened in [
            RocksReader::open(store.path(), SCHEMA.format).map(drop),
            RocksStore::open(store.path(), &SCHEMA).map(drop),
        ] {
            let error = match opened {
                // The number of an older format, which the owner writes anew.
                Ok(()) => continue,
                Err(error) => error,
            };
            // Whether a number that is too high is damage, who knows the records says.
            let is_number = bytes[..20] == whole[..20] && bytes[20].is_ascii_digit() && bytes[20] > whole[20];
            let expected = if is_number { ErrorKind::NewerFormat } else { ErrorKind::Corrupt };
            assert_eq!(error.kind(), expected, "{flipped:?}: {error}");
            if !is_number {
                assert_eq!(error.path(), Some(marker.as_path()), "{error}");
            }
        }
        fs::write(&marker, &whole).expect("writable");
    }
}
