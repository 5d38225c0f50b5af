//! Every store keeps the promises of `Store`.

use std::path::Path;
use std::sync::Arc;

use relive_storage::conformance::{SCHEMA, agrees_with_model, check};
use relive_storage::{
    CommitError, Durability, Error, FaultStore, KeyRange, Keyspace, MemoryStore, Order, Outcome, Page, PageLimit, Read,
    RocksStore, Store, Write,
};
use tempfile::TempDir;

/// A store in a directory of its own.
struct Rocks {
    store: RocksStore,
    directory: Arc<TempDir>,
}

impl Rocks {
    fn create() -> Self {
        let directory = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        Self { store: open(directory.path()), directory }
    }

    fn reopen(self) -> Self {
        let directory = self.directory.clone();
        drop(self);
        Self { store: open(directory.path()), directory }
    }
}

fn open(directory: &Path) -> RocksStore {
    RocksStore::open(directory, &SCHEMA).expect("the store opens")
}

impl Read for Rocks {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.store.get(keyspace, key)
    }

    fn scan(&self, keyspace: Keyspace, range: &KeyRange, order: Order, limit: PageLimit) -> Result<Page, Error> {
        self.store.scan(keyspace, range, order, limit)
    }
}

impl Store for Rocks {
    fn reclaim(&self, keyspace: Keyspace, range: &KeyRange) -> Result<(), Error> {
        self.store.reclaim(keyspace, range)
    }

    fn commit(&self, writes: &[Write], durability: Durability) -> Result<Vec<Outcome>, CommitError> {
        self.store.commit(writes, durability)
    }
}

#[test]
fn memory_keeps_the_promises() {
    check(MemoryStore::new);
}

#[test]
fn memory_agrees_with_the_model() {
    agrees_with_model(256, MemoryStore::new, |store| store);
}

#[test]
fn a_fault_store_without_faults_keeps_the_promises() {
    check(FaultStore::new);
}

#[test]
fn a_fault_store_without_faults_agrees_with_the_model() {
    agrees_with_model(256, FaultStore::new, |store| store);
}

#[test]
fn rocks_keeps_the_promises() {
    check(Rocks::create);
}

#[test]
fn rocks_agrees_with_the_model() {
    agrees_with_model(48, Rocks::create, Rocks::reopen);
}

#[test]
fn what_is_deleted_and_reclaimed_takes_no_space() {
    use relive_storage::Operation;
    use relive_storage::conformance::LOG;

    let rocks = Rocks::create();
    let run = |number: u32| [&number.to_be_bytes()[..], &[7; 12]].concat();
    // Large values in blob files, small ones in tables; of bytes that no compression makes smaller.
    for number in 0..64 {
        let mut random = u64::from(number) + 1;
        let mut value = |length: usize| -> Vec<u8> {
            let next = || {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) as u8
            };
            std::iter::repeat_with(next).take(length).collect()
        };
        let large = (0..4u8).map(|row| (row, value(64 << 10))).collect::<Vec<_>>();
        let small = (4..36u8).map(|row| (row, value(1 << 10))).collect::<Vec<_>>();
        let operations = large.into_iter().chain(small).map(|(row, value)| Operation::Put {
            keyspace: LOG,
            key: [run(number), vec![row]].concat(),
            value,
        });
        let write = Write { preconditions: vec![], operations: operations.collect() };
        rocks.commit(&[write], Durability::Buffered).expect("a commit succeeds");
    }
    let all = KeyRange { start: run(0), end: Some(run(64)) };
    rocks.reclaim(LOG, &all).expect("tables are written");
    let data = |directory: &Path| -> u64 {
        let files = std::fs::read_dir(directory.join("db")).expect("the directory is there");
        let is_data = |name: &str| name.ends_with(".sst") || name.ends_with(".blob");
        let files = files.map(|file| file.expect("it is listed"));
        files
            .filter(|file| is_data(&file.file_name().to_string_lossy()))
            .filter_map(|file| file.metadata().ok())
            .map(|metadata| metadata.len())
            .sum()
    };
    let full = data(rocks.directory.path());
    assert!(full > 64 * (256 << 10), "{full}");
    let operation = Operation::DeleteRange { keyspace: LOG, start: run(0), end: run(63) };
    let write = Write { preconditions: vec![], operations: vec![operation] };
    rocks.commit(&[write], Durability::Sync).expect("a commit succeeds");
    rocks.reclaim(LOG, &all).expect("space is given back");
    // RocksDB removes files that nobody reads any more when it is opened again, at the latest.
    let rocks = rocks.reopen();
    let left = data(rocks.directory.path());
    assert!(left < full / 8, "{left} of {full} bytes");
}
