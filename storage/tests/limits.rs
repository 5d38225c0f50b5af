//! What a store says in a process with limits: an error that names the limit, and never an end of the process.
//!
//! Each test runs itself again, in a child under the limit.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use relive_storage::conformance::{LOG, SCHEMA};
use relive_storage::{Durability, Error, Operation, RocksReader, RocksStore, Store, Write};

const DIRECTORY: &str = "RELIVE_TEST_LIMITED";

/// Runs a test of this file again under limits, with a directory. What it printed.
fn limited(limits: &str, test: &str, directory: &Path) -> String {
    let this = std::env::current_exe().expect("it runs");
    let ran = Command::new("sh")
        .args(["-c", &format!("{limits} && exec \"$0\" \"$@\"")])
        .arg(this)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .output()
        .expect("there is a shell");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{limits}: {:?}\n{said}\n{}", ran.status, String::from_utf8_lossy(&ran.stderr));
    said
}

fn directory_of_child() -> Option<std::path::PathBuf> {
    std::env::var_os(DIRECTORY).map(Into::into)
}

/// Writes until that fails.
fn fill(store: &RocksStore, value_bytes: usize) -> Error {
    for index in 0..u64::MAX {
        let value = (0..value_bytes).map(|at| (at as u64 * 2_654_435_761 + index) as u8).collect();
        let put = Operation::Put { keyspace: LOG, key: index.to_be_bytes().to_vec(), value };
        let write = Write { preconditions: vec![], operations: vec![put] };
        if let Err(failed) = store.commit(&[write], Durability::Buffered) {
            return failed.error;
        }
    }
    unreachable!("something is the limit")
}

#[test]
fn too_little_address_space_is_an_error_that_says_so() {
    if let Some(directory) = directory_of_child() {
        for opened in
            [RocksReader::open(&directory, SCHEMA.format).map(drop), RocksStore::open(&directory, &SCHEMA).map(drop)]
        {
            println!("{}", opened.map_or_else(|error| error.to_string(), |()| "opened".to_owned()));
        }
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    drop(RocksStore::open(directory.path(), &SCHEMA).expect("it is created"));
    let run = |kib: u64| {
        let test = "too_little_address_space_is_an_error_that_says_so";
        limited(&format!("ulimit -v {kib}"), test, directory.path())
    };
    for kib in [100_000, 150_000, 200_000, 300_000, 400_000, 500_000, 600_000] {
        let said = run(kib);
        assert_eq!(said.matches("ulimit -v").count(), 2, "{kib}: {said}");
    }
    assert_eq!(run(4_000_000).matches("opened").count(), 2, "there is enough");
}

#[test]
fn a_file_that_may_not_grow_is_told_as_that() {
    if let Some(directory) = directory_of_child() {
        println!("{}", fill(&RocksStore::open(&directory, &SCHEMA).expect("opens"), 10_000));
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    // The signal that comes with it ends a process that does not ignore it.
    let said = limited("trap '' XFSZ && ulimit -f 2000", "a_file_that_may_not_grow_is_told_as_that", directory.path());
    assert!(said.contains("File too large") && said.contains("ulimit -f"), "{said}");
}

#[test]
fn a_process_without_descriptors_is_told_that_it_has_none() {
    if let Some(directory) = directory_of_child() {
        let store = RocksStore::open(&directory, &SCHEMA).expect("opens");
        let mut files = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            files.push(file);
        }
        // The next log file cannot be made.
        println!("{}", fill(&store, 10_000));
        drop(files);
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let said = limited("ulimit -n 200", "a_process_without_descriptors_is_told_that_it_has_none", directory.path());
    assert!(said.contains("Too many open files") && said.contains("ulimit -n"), "{said}");
}
