//! What a commit writes, in the order in which RocksDB takes it best.
//!
//! Made by `database` of a commit's operations, and turned into its batch there.
//!
//! Invariant: in this order they do what they do one after the other. Those of one key stay in their order, and all of a
//! keyspace do where one is for a range.

use crate::{Keyspace, Operation};

/// What a batch takes before its first record: a sequence number and a count.
const HEADER_BYTES: usize = 12;
/// At most what an operation takes in a batch beside key and value: its kind, the column family, two lengths.
const OPERATION_BYTES: usize = 12;
/// Keyspaces that a commit is expected to touch.
const KEYSPACES: usize = 8;

/// Operations by keyspace, and by key: so that what is written next belongs close to what was written last, where the
/// memtable looks first.
pub(super) struct Sorted<'a> {
    keyspaces: Vec<(Keyspace, Vec<Placed<'a>>)>,
    bytes: usize,
}

/// An operation and the begin of its key: a run's id and a position fit.
struct Placed<'a> {
    begin: (u128, u64),
    /// Which of its keyspace's.
    index: usize,
    operation: &'a Operation,
}

impl<'a> Sorted<'a> {
    pub(super) fn of(operations: impl Iterator<Item = &'a Operation>) -> Self {
        let mut sorted = Self { keyspaces: Vec::with_capacity(KEYSPACES), bytes: HEADER_BYTES };
        for operation in operations {
            sorted.add(operation);
        }
        for (_, placed) in &mut sorted.keyspaces {
            if !placed.iter().any(|placed| matches!(placed.operation, Operation::DeleteRange { .. })) {
                placed.sort_unstable_by_key(|placed| (placed.begin, placed.index));
            }
        }
        sorted
    }

    fn add(&mut self, operation: &'a Operation) {
        let (keyspace, key, more_bytes) = match operation {
            Operation::Put { keyspace, key, value } => (*keyspace, key, value.len()),
            Operation::Delete { keyspace, key } => (*keyspace, key, 0),
            Operation::DeleteRange { keyspace, start, end } => (*keyspace, start, end.len()),
        };
        self.bytes += OPERATION_BYTES + key.len() + more_bytes;
        let at = self.keyspaces.iter().position(|(known, _)| *known == keyspace).unwrap_or_else(|| {
            self.keyspaces.push((keyspace, Vec::new()));
            self.keyspaces.len() - 1
        });
        let placed = &mut self.keyspaces[at].1;
        placed.push(Placed { begin: begin(key), index: placed.len(), operation });
    }

    /// At most what their batch takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Each keyspace once, with its operations.
    pub(super) fn keyspaces(&self) -> impl Iterator<Item = (Keyspace, impl Iterator<Item = &'a Operation>)> {
        self.keyspaces.iter().map(|(keyspace, placed)| (*keyspace, placed.iter().map(|placed| placed.operation)))
    }
}

/// A key's first 24 bytes, as numbers that compare like them; a shorter key's with zeros behind it.
fn begin(key: &[u8]) -> (u128, u64) {
    let mut bytes = [0; 24];
    let length = key.len().min(bytes.len());
    bytes[..length].copy_from_slice(&key[..length]);
    let [first, second, third] = [0, 8, 16].map(|at| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_be_bytes(word)
    });
    (u128::from(first) << 64 | u128::from(second), third)
}
