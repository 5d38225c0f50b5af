//! A damaged store says what is damaged: the run and the file, and never another cause.

use std::fs;
use std::path::{Path, PathBuf};

use relive::{Engine, ErrorKind, RunId, task};

use super::support::{Probe, builder, guard};

#[task(name = "damaged_store.large")]
async fn large(number: u8) -> relive::Result<Vec<u8>> {
    Ok(vec![number; 20_000])
}

async fn open(directory: &Path) -> relive::Result<Engine> {
    builder(&Probe::default()).open(directory).await
}

/// A closed store with a run whose result is in a blob file.
async fn store() -> (tempfile::TempDir, RunId) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path()).await.expect("opens");
    let handle = engine.start(large(7)).await.expect("starts");
    let run = handle.id();
    guard(handle).await.expect("ends");
    guard(engine.shutdown()).await.expect("shuts down");
    // What was in the write-ahead log goes to files.
    guard(open(directory.path()).await.expect("opens").shutdown()).await.expect("shuts down");
    (directory, run)
}

fn blob(directory: &Path) -> PathBuf {
    let mut files = fs::read_dir(directory.join("db")).expect("readable").map(|entry| entry.expect("readable").path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "blob")).expect("a large result")
}

#[tokio::test]
async fn a_damaged_blob_is_told_with_its_run_and_its_file() {
    let (directory, run) = store().await;
    let blob = blob(directory.path());
    let mut bytes = fs::read(&blob).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&blob, bytes).expect("writable");
    let engine = open(directory.path()).await.expect("nothing of it is read yet");
    let error = engine.status(run).expect_err("it is damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let (message, name) = (error.to_string(), blob.file_name().expect("a name").to_string_lossy().into_owned());
    assert!(message.contains(&run.to_string()) && message.contains(&name), "{message}");
    guard(engine.shutdown()).await.expect("shuts down");
}

#[tokio::test]
async fn a_bit_of_the_marker_that_flips_is_damage_and_no_newer_version() {
    let (directory, run) = store().await;
    let marker = directory.path().join("RELIVE");
    let whole = fs::read(&marker).expect("readable");
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&marker, &bytes).expect("writable");
        let flipped = String::from_utf8_lossy(&bytes).into_owned();
        match open(directory.path()).await {
            Ok(engine) => {
                // The number of an older version: the store is as it was.
                assert!(bytes[20] < whole[20], "{flipped:?}");
                engine.status(run).expect("it is there");
                guard(engine.shutdown()).await.expect("shuts down");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{flipped:?}: {error}");
                assert!(error.to_string().contains("RELIVE"), "{error}");
            }
        }
    }
    // A store that a newer version has opened.
    fs::write(&marker, "relive store format 200\n").expect("writable");
    let error = open(directory.path()).await.expect_err("its records are none of a newer one");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    fs::write(&marker, &whole).expect("writable");
    guard(open(directory.path()).await.expect("it is whole").shutdown()).await.expect("shuts down");
}

#[tokio::test]
async fn a_store_that_a_newer_version_has_opened_is_told_as_that() {
    let (directory, _) = store().await;
    {
        use relive_engine::index::META;
        use relive_storage::{Durability, Operation, Read, RocksStore, Store, Write};
        let newer = relive_storage::Schema { format: 200, ..relive_engine::schema::SCHEMA };
        let store = RocksStore::open(directory.path(), &newer).expect("opens");
        let mut value = store.get(META, b"epoch").expect("reads").expect("it was opened");
        // A newer version may have other checksums: only the number of the version counts.
        value[2] = 200;
        let put = Operation::Put { keyspace: META, key: b"epoch".to_vec(), value };
        store.commit(&[Write { preconditions: vec![], operations: vec![put] }], Durability::Sync).expect("commits");
    }
    let error = open(directory.path()).await.expect_err("it is newer");
    assert_eq!(error.kind(), ErrorKind::NewerFormat, "{error}");
}
