//! The `Store` trait: an ordered map of bytes with atomic batches, as narrow as it can be.
//!
//! Implemented by `memory`, `rocks` and `fault`; called by the engine's log, committer, cache and recovery.
//!
//! Invariant: a write is applied whole or not at all, and a commit that returned `Ok` with [`Durability::Sync`]
//! survives power loss. Nothing here is about events: keys and values are bytes.

use crate::Error;

/// A named, ordered map within a store: a column family in RocksDB, a table in PostgreSQL.
///
/// Names are lower-case ASCII letters and `_`, and are part of the format on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Keyspace(&'static str);

impl Keyspace {
    /// Names a keyspace. Use it in a `const`: a bad name then fails to compile.
    ///
    /// # Panics
    /// If `name` is empty or holds anything but `a`–`z` and `_`.
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty(), "a keyspace needs a name");
        let mut index = 0;
        while index < bytes.len() {
            assert!(
                bytes[index].is_ascii_lowercase() || bytes[index] == b'_',
                "a keyspace's name is made of a-z and _"
            );
            index += 1;
        }
        Self(name)
    }

    /// The name, as it is written on disk.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// What a commit promises when it returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// In the operating system's hands: survives the end of the process (kill -9), not a power cut.
    Buffered,
    /// On the disk: survives power loss.
    #[default]
    Sync,
}

/// One change within a [`Write`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sets a key, whatever was there.
    Put {
        /// Where.
        keyspace: Keyspace,
        /// At most 64 KiB.
        key: Vec<u8>,
        /// At most 4 GiB − 1.
        value: Vec<u8>,
    },
    /// Removes a key; no error if it is not there.
    Delete {
        /// Where.
        keyspace: Keyspace,
        /// Which.
        key: Vec<u8>,
    },
    /// Removes all keys from `start` on, before `end`; none if that is not behind `start`. Costs the same however many there
    /// are; their space comes back some time later, or by [`Store::reclaim`].
    DeleteRange {
        /// Where.
        keyspace: Keyspace,
        /// The first key that goes.
        start: Vec<u8>,
        /// The first key that stays.
        end: Vec<u8>,
    },
}

/// What must hold, just before a write is applied, for it to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The key is not there.
    Absent {
        /// Where.
        keyspace: Keyspace,
        /// Which.
        key: Vec<u8>,
    },
    /// The key is there and holds exactly this value.
    Equals {
        /// Where.
        keyspace: Keyspace,
        /// Which.
        key: Vec<u8>,
        /// The whole value.
        value: Vec<u8>,
    },
}

/// An atomic set of changes with preconditions of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// All must hold, or nothing of this write is applied. They see what earlier writes of the same commit did.
    pub preconditions: Vec<Precondition>,
    /// Applied in order; a later one wins over an earlier one of the same key.
    pub operations: Vec<Operation>,
}

/// What became of one write of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied, and is as durable as the commit asked for.
    Applied,
    /// Nothing of it was applied: this precondition (an index into `Write::preconditions`) did not hold.
    Refused {
        /// The first precondition that did not hold.
        precondition: usize,
    },
}

/// A commit that failed as a whole.
#[derive(Debug)]
pub struct CommitError {
    /// What is known of its writes.
    pub fate: Fate,
    /// Why.
    pub error: Error,
}

/// What is known of the writes of a failed commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// None of them is in the store, and none will be.
    NotApplied,
    /// Each of them may be in the store or not, now or after the store is opened again.
    Unknown,
}

/// The keys from `start` on, before `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key that counts.
    pub start: Vec<u8>,
    /// The first key that counts no longer; `None` for the end of the keyspace.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key that starts with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return Self { start: prefix.to_vec(), end: Some(end) };
            }
        }
        Self { start: prefix.to_vec(), end: None }
    }

    /// Every key of the keyspace.
    pub fn all() -> Self {
        Self { start: Vec::new(), end: None }
    }
}

/// Which end of a range a scan begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The smallest key first.
    Ascending,
    /// The largest key first.
    Descending,
}

/// Bounds one page of a scan, so that memory stays bounded whatever is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// At most so many rows; 0 counts as 1, so that a scan gets on.
    pub row_count: usize,
    /// A page ends with the row that reaches this many bytes of keys and values.
    pub bytes: usize,
}

impl Default for PageLimit {
    /// 1,024 rows or 1 MiB: large enough that the cost of starting a scan disappears, small enough for 10,000 at once.
    fn default() -> Self {
        Self { row_count: 1024, bytes: 1 << 20 }
    }
}

/// One key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// Part of a range, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows. Empty only if there are none left.
    pub rows: Vec<Row>,
    /// Whether the range may hold more rows behind the last one.
    pub more: bool,
}

/// Reading: what a store and a read-only view of one have in common.
///
/// Calls may block on a disk or a network; they never need an async runtime.
pub trait Read: Send + Sync + 'static {
    /// The value of one key.
    ///
    /// # Errors
    /// If the store cannot be read, or the bytes there are damaged; never a wrong value.
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// One page of a range. To go on, ask again from behind the last key ([`after`], or the key itself as `end` when
    /// descending). Each page is consistent in itself; pages of one scan may see different moments.
    ///
    /// # Errors
    /// As for [`Read::get`].
    fn scan(&self, keyspace: Keyspace, range: &KeyRange, order: Order, limit: PageLimit) -> Result<Page, Error>;

    /// As [`Read::scan`], for who reads much: each row, key and value, is shown where it stands, without memory of its own.
    /// Says whether the range may hold more rows behind the last one.
    ///
    /// # Errors
    /// As for [`Read::get`]. Rows may have been shown by then.
    fn visit(
        &self,
        keyspace: Keyspace,
        range: &KeyRange,
        order: Order,
        limit: PageLimit,
        show: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<bool, Error> {
        let page = self.scan(keyspace, range, order, limit)?;
        page.rows.iter().for_each(|row| show(&row.key, &row.value));
        Ok(page.more)
    }
}

/// A store that one process writes.
///
/// Nothing above may assume that a commit is local, instant or unambiguous.
pub trait Store: Read {
    /// Applies many writes, in order, and makes them durable together. Returns one outcome per write.
    ///
    /// When this returns `Ok` with [`Durability::Sync`], what was applied survives power loss.
    ///
    /// # Errors
    /// If the commit failed as a whole; [`CommitError::fate`] says what is known of its writes.
    fn commit(&self, writes: &[Write], durability: Durability) -> Result<Vec<Outcome>, CommitError>;

    /// An error if what was acknowledged is no longer where it will be looked for, as far as that can be seen without reading it:
    /// its directory was moved or removed, say. Each commit looks for itself; this is for who says that all is well in the end.
    ///
    /// # Errors
    /// That it is not there.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Gives the space back that deleted keys of a range still take. May read and write all of the range, beside commits.
    ///
    /// # Errors
    /// If the store cannot do so now. Nothing is lost by that.
    fn reclaim(&self, _keyspace: Keyspace, _range: &KeyRange) -> Result<(), Error> {
        Ok(())
    }
}

/// The smallest key behind `key`: where an ascending scan goes on.
pub fn after(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}
