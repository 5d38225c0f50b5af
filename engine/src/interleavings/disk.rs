//! A store in memory under which other threads get on: before a commit, and between its sync and its return.
//!
//! Invariant: what a test looks up is what a power cut would leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use relive_storage::{
    CommitError, Durability, Error, ErrorKind, Fate, KeyRange, Keyspace, MemoryStore, Operation, Order, Outcome, Page,
    PageLimit, Read, Store, Write,
};

const ROWS: Keyspace = Keyspace::new("rows");

/// A disk, and how often it was asked to commit.
#[derive(Debug, Default)]
pub(super) struct Disk {
    rows: MemoryStore,
    /// The commit with this index fails, and leaves nothing.
    fails_at: Option<usize>,
    commit_count: AtomicUsize,
}

impl Disk {
    pub(super) fn new(fails_at: Option<usize>) -> Arc<Self> {
        Arc::new(Self { fails_at, ..Self::default() })
    }

    /// A disk with what is on this one now.
    pub(super) fn copy(&self) -> Arc<Self> {
        Arc::new(Self { rows: self.rows.copy(), ..Self::default() })
    }

    /// Whether this row is there.
    pub(super) fn holds(&self, key: &[u8]) -> bool {
        self.rows.get(ROWS, key).expect("memory does not fail").is_some()
    }

    pub(super) fn commit_count(&self) -> usize {
        self.commit_count.load(Ordering::Relaxed)
    }
}

/// A write of one row.
pub(super) fn row(key: &[u8]) -> Write {
    let operation = Operation::Put { keyspace: ROWS, key: key.to_vec(), value: Vec::new() };
    Write { preconditions: Vec::new(), operations: vec![operation] }
}

/// A write of one row that must not be there.
pub(super) fn new_row(key: &[u8]) -> Write {
    let absent = relive_storage::Precondition::Absent { keyspace: ROWS, key: key.to_vec() };
    Write { preconditions: vec![absent], ..row(key) }
}

impl Read for Disk {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.rows.get(keyspace, key)
    }

    fn scan(&self, keyspace: Keyspace, range: &KeyRange, order: Order, limit: PageLimit) -> Result<Page, Error> {
        self.rows.scan(keyspace, range, order, limit)
    }
}

impl Store for Disk {
    fn commit(&self, writes: &[Write], durability: Durability) -> Result<Vec<Outcome>, CommitError> {
        let index = self.commit_count.fetch_add(1, Ordering::Relaxed);
        shuttle::thread::yield_now();
        if self.fails_at == Some(index) {
            let error = Error::new(ErrorKind::Io, format!("commit {index} was made to fail"));
            return Err(CommitError { fate: Fate::Unknown, error });
        }
        let outcomes = self.rows.commit(writes, durability);
        shuttle::thread::yield_now();
        outcomes
    }
}
