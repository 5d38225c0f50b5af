//! What Relive stands on, by itself: a file that is synced, and RocksDB with its defaults.
//!
//! Invariant: an operation is over when its bytes survive power loss.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use rocksdb::{DB, Options, WriteBatch, WriteOptions};

use crate::Failure;

/// A file that is appended to.
pub(crate) struct Disk {
    file: File,
    record: Vec<u8>,
}

impl Disk {
    /// Makes the file. Every record has so many bytes.
    pub(crate) fn create(path: &Path, record_bytes: usize) -> Result<Self, Failure> {
        let file = OpenOptions::new().create_new(true).append(true).open(path)?;
        file.sync_all()?;
        Ok(Self { file, record: noise(record_bytes) })
    }

    /// Appends a record and syncs it (`fdatasync` on Linux).
    pub(crate) fn append(&mut self) -> Result<(), Failure> {
        self.file.write_all(&self.record)?;
        Ok(self.file.sync_data()?)
    }
}

/// RocksDB as it is without any setting: one column family, default options, synced writes.
pub(crate) struct Rocks {
    db: DB,
    synced: WriteOptions,
    key: u128,
    value: Vec<u8>,
}

/// A key of Relive's log: a run's id and a position.
pub(crate) const KEY_BYTES: usize = 24;

impl Rocks {
    /// Makes a database. Every record has so many bytes, key and value together.
    pub(crate) fn create(path: &Path, record_bytes: usize) -> Result<Self, Failure> {
        let mut options = Options::default();
        options.create_if_missing(true);
        let db = DB::open(&options, path)?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Self { db, synced, key: 0, value: noise(record_bytes.saturating_sub(KEY_BYTES)) })
    }

    /// One record, synced.
    pub(crate) fn put(&mut self) -> Result<(), Failure> {
        let key = self.next_key();
        Ok(self.db.put_opt(key, &self.value, &self.synced)?)
    }

    /// So many records in one batch, synced.
    pub(crate) fn put_batch(&mut self, count: u32) -> Result<(), Failure> {
        let mut batch = WriteBatch::default();
        for _ in 0..count {
            batch.put(self.next_key(), &self.value);
        }
        Ok(self.db.write_opt(batch, &self.synced)?)
    }

    fn next_key(&mut self) -> [u8; KEY_BYTES] {
        self.key += 1;
        let mut key = [0; KEY_BYTES];
        key[KEY_BYTES - 16..].copy_from_slice(&self.key.to_be_bytes());
        key
    }
}

/// Bytes that do not compress: a xorshift's.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}
