//! `MemoryStore`: a store in memory, and the reference model of every test.
//!
//! Sits beside `rocks`; `fault` and the conformance suite build on it. It is kept too simple to be wrong: a `BTreeMap`
//! per keyspace under one lock, and a commit that applies one write after the other.
//!
//! Invariant: a commit holds the lock from its first precondition to its last operation, so nobody sees half of it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::{
    CommitError, Durability, Error, KeyRange, Keyspace, Operation, Order, Outcome, Page, PageLimit, Precondition, Read,
    Row, Store, Write,
};

type Keyspaces = BTreeMap<Keyspace, BTreeMap<Vec<u8>, Vec<u8>>>;

/// A store that ends with the process. Nothing in it is durable, whatever [`Durability`] is asked for; no call fails.
///
/// A clone is another handle on the same store, so that a test can "reopen" it; [`MemoryStore::copy`] makes another
/// store.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    keyspaces: Arc<RwLock<Keyspaces>>,
}

impl MemoryStore {
    /// An empty store. Any keyspace may be used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another store that holds the same rows now, and goes its own way from here on.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { keyspaces: Arc::new(RwLock::new(self.keyspaces.read().clone())) }
    }

    /// Applies the operations of one write, whatever its preconditions.
    pub(crate) fn apply(&self, operations: &[Operation]) {
        apply(&mut self.keyspaces.write(), operations);
    }
}

impl Read for MemoryStore {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.keyspaces.read().get(&keyspace).and_then(|map| map.get(key)).cloned())
    }

    fn scan(&self, keyspace: Keyspace, range: &KeyRange, order: Order, limit: PageLimit) -> Result<Page, Error> {
        let end = match &range.end {
            // `BTreeMap::range` panics on a range that ends before it starts.
            Some(end) if *end <= range.start => return Ok(Page::default()),
            Some(end) => Bound::Excluded(end.as_slice()),
            None => Bound::Unbounded,
        };
        let keyspaces = self.keyspaces.read();
        let Some(map) = keyspaces.get(&keyspace) else { return Ok(Page::default()) };
        let mut rows = map.range::<[u8], _>((Bound::Included(range.start.as_slice()), end));
        let mut page = Page::default();
        let mut bytes = 0;
        while let Some((key, value)) = match order {
            Order::Ascending => rows.next(),
            Order::Descending => rows.next_back(),
        } {
            bytes += key.len() + value.len();
            page.rows.push(Row { key: key.clone(), value: value.clone() });
            if page.rows.len() >= limit.row_count || bytes >= limit.bytes {
                page.more = true;
                break;
            }
        }
        Ok(page)
    }
}

impl Store for MemoryStore {
    fn commit(&self, writes: &[Write], _: Durability) -> Result<Vec<Outcome>, CommitError> {
        let mut keyspaces = self.keyspaces.write();
        Ok(writes
            .iter()
            .map(|write| match write.preconditions.iter().position(|precondition| !holds(&keyspaces, precondition)) {
                Some(precondition) => Outcome::Refused { precondition },
                None => {
                    apply(&mut keyspaces, &write.operations);
                    Outcome::Applied
                }
            })
            .collect())
    }
}

fn holds(keyspaces: &Keyspaces, precondition: &Precondition) -> bool {
    let current = |keyspace, key: &[u8]| keyspaces.get(keyspace).and_then(|map| map.get(key));
    match precondition {
        Precondition::Absent { keyspace, key } => current(keyspace, key).is_none(),
        Precondition::Equals { keyspace, key, value } => current(keyspace, key) == Some(value),
    }
}

fn apply(keyspaces: &mut Keyspaces, operations: &[Operation]) {
    for operation in operations {
        match operation {
            Operation::Put { keyspace, key, value } => {
                keyspaces.entry(*keyspace).or_default().insert(key.clone(), value.clone());
            }
            Operation::Delete { keyspace, key } => {
                keyspaces.entry(*keyspace).or_default().remove(key);
            }
            Operation::DeleteRange { keyspace, start, end } => {
                let map = keyspaces.entry(*keyspace).or_default();
                // `BTreeMap::range` panics on a range that ends before it starts.
                while start < end
                    && let Some((key, _)) = map.range(start.clone()..end.clone()).next()
                {
                    let key = key.clone();
                    map.remove(&key);
                }
            }
        }
    }
}
