//! `RocksReader`: looks into a store that another process may have open and be writing.
//!
//! Beside `RocksStore`, over the same `database`: RocksDB's secondary instance, which takes no lock and writes nothing
//! into the store.
//!
//! Invariant: it sees a prefix of what was committed, as of its opening or its last refresh.

use std::fmt;
use std::path::Path;

use tempfile::TempDir;

use super::database::Database;
use crate::directory::{self, access, not_a_store};
use crate::guard;
use crate::{Error, KeyRange, Keyspace, Order, Page, PageLimit, Read};

/// A read-only view of a store in a directory, whether or not somebody has the store open.
pub struct RocksReader {
    // Dropped in this order: RocksDB's messages are removed once it is closed.
    database: Database,
    _scratch: TempDir,
}

impl RocksReader {
    /// Opens a view of what has been committed by now. `format` is the newest format that the caller can read. Besides
    /// the store itself it needs a temporary directory, which is removed on drop.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotAStore`] if there is no store, [`crate::ErrorKind::NewerFormat`] if its format is above
    /// `format`, [`crate::ErrorKind::Permission`] if it cannot be read, [`crate::ErrorKind::Corrupt`] if it is damaged,
    /// or if a power cut left an end that only opening for writing repairs; the message says which.
    pub fn open(directory: &Path, format: u32) -> Result<Self, Error> {
        match std::fs::metadata(directory) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(not_a_store(directory, "this is a file: a store is a directory")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(not_a_store(directory, "there is no such directory, so there is no store to read"));
            }
            Err(error) => return Err(access(directory, "cannot be opened", error)),
        }
        if directory::recognize(directory, format)?.is_none() {
            return Err(not_a_store(directory, "the directory holds no store yet: open it for writing once"));
        }
        let path = directory::database(directory);
        // Twice, because the owner may replace a log while the directory is being read.
        guard::check(directory, &path).or_else(|_| guard::check(directory, &path))?;
        let scratch = TempDir::with_prefix("relive-reader-")
            .map_err(|error| access(&std::env::temp_dir(), "no temporary directory can be made", error))?;
        let database = Database::open_secondary(&path, scratch.path())?;
        Ok(Self { database, _scratch: scratch })
    }

    /// Makes visible what has been committed since the view was opened or refreshed. A keyspace that was created since
    /// stays empty until the view is opened again.
    ///
    /// # Errors
    /// If the store cannot be read; the view then stays as it was.
    pub fn refresh(&self) -> Result<(), Error> {
        self.database.catch_up()
    }
}

impl Read for RocksReader {
    /// The value of one key; none in a keyspace that does not exist.
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if self.database.has(keyspace) { self.database.get(keyspace, key) } else { Ok(None) }
    }

    /// One page of a range; an empty one in a keyspace that does not exist.
    fn scan(&self, keyspace: Keyspace, range: &KeyRange, order: Order, limit: PageLimit) -> Result<Page, Error> {
        if self.database.has(keyspace) {
            self.database.scan(keyspace, range, order, limit)
        } else {
            Ok(Page::default())
        }
    }
}

impl fmt::Debug for RocksReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksReader").finish_non_exhaustive()
    }
}
