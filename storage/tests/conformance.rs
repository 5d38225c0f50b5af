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
