//! `RocksReader`: looks into a store that another process may have open and be writing.
//!
//! Beside `RocksStore`, over the same `database`, opened to read: it takes no lock and writes nothing.
//!
//! Invariant: it sees a prefix of what was committed, as of its opening or its last refresh: all that was acknowledged by
//! then, or an error.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;

use super::database::Database;
use crate::directory::{self, not_a_store};
use crate::guard;
use crate::held::HeldDirectory;
use crate::{Error, KeyRange, Keyspace, Order, Page, PageLimit, Read};

/// How often a view is opened before its error counts: the owner may remove files between the look at the list of them and
/// their opening. It does so after a flush or a compaction, seconds apart at most.
const OPEN_TRIES: u32 = 4;

/// A read-only view of a store in a directory, whether or not somebody has the store open.
pub struct RocksReader {
    database: RwLock<Arc<Database>>,
    directory: HeldDirectory,
}

impl RocksReader {
    /// Opens a view of what has been committed by now. `format` is the newest format that the caller can read. Takes as
    /// long, and as much memory, as reading the write-ahead log: about 16 MiB at most.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotAStore`] if there is no store, [`crate::ErrorKind::NewerFormat`] if its format is above
    /// `format`, [`crate::ErrorKind::Permission`] if it cannot be read, [`crate::ErrorKind::Corrupt`] if it is damaged,
    /// or if a power cut left an end that only opening for writing repairs; the message says which.
    pub fn open(directory: &Path, format: u32) -> Result<Self, Error> {
        if !directory::is_there(directory)? {
            return Err(not_a_store(directory, "there is no such directory, so there is no store to read"));
        }
        let held = HeldDirectory::open(directory)?;
        if directory::recognize(held.by(), format).map_err(|error| held.named(error))?.is_none() {
            return Err(not_a_store(held.shown(), "the directory holds no store yet: open it for writing once"));
        }
        let database = RwLock::new(Arc::new(open(&held)?));
        Ok(Self { database, directory: held })
    }

    /// Makes visible what has been committed since the view was opened or refreshed, in the directory that was opened, wherever
    /// that is by now. Costs as much as opening it.
    ///
    /// # Errors
    /// As for [`RocksReader::open`]; the view then stays as it was.
    pub fn refresh(&self) -> Result<(), Error> {
        let database = Arc::new(open(&self.directory)?);
        *self.database.write() = database;
        Ok(())
    }

    fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database.read())
    }
}

/// Opens the database once the logs are whole: more than once, because the owner may replace files meanwhile.
fn open(directory: &HeldDirectory) -> Result<Database, Error> {
    let database = directory::database(directory).map_err(|error| directory.named(error))?;
    let named = |error| directory.named(database.named(error));
    let open =
        || guard::check(directory.by(), database.by()).and_then(|()| Database::open_to_read(&database)).map_err(named);
    let mut opened = open();
    for _ in 1..OPEN_TRIES {
        let Err(before) = &opened else { break };
        let again = open();
        // The same again is no work of an owner's.
        let is_same = again.as_ref().is_err_and(|error| error.to_string() == before.to_string());
        opened = again;
        if is_same {
            break;
        }
    }
    opened
}

impl Read for RocksReader {
    /// The value of one key; none in a keyspace that does not exist.
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let database = self.database();
        if database.has(keyspace) { database.get(keyspace, key) } else { Ok(None) }
    }

    /// One page of a range; an empty one in a keyspace that does not exist.
    fn scan(&self, keyspace: Keyspace, range: &KeyRange, order: Order, limit: PageLimit) -> Result<Page, Error> {
        let database = self.database();
        if database.has(keyspace) { database.scan(keyspace, range, order, limit) } else { Ok(Page::default()) }
    }

    fn visit(
        &self,
        keyspace: Keyspace,
        range: &KeyRange,
        order: Order,
        limit: PageLimit,
        show: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<bool, Error> {
        let database = self.database();
        if database.has(keyspace) { database.visit(keyspace, range, order, limit, show) } else { Ok(false) }
    }
}

impl fmt::Debug for RocksReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksReader").field("directory", &self.directory).finish_non_exhaustive()
    }
}
