//! `RocksStore`: the embedded default, one process's store in one directory.
//!
//! Joins `directory` (who may enter), `guard` (is the write-ahead log whole) and `database` (RocksDB). The engine's
//! committer is its only writer; anybody reads.
//!
//! Invariant: one commit is one write batch, so all of it survives or none; and after a commit that failed nothing is
//! written until the store is opened again, because nobody knows what of it is on the disk. And nothing is acknowledged that is
//! not in the directory at the path that was opened.

mod database;
mod reader;
mod room;
mod sorted;
mod told;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use parking_lot::Mutex;

use crate::directory::{Directory, Seen};
use crate::guard::Guard;
use crate::held::HeldDirectory;
use crate::planted::{Planted, planted};
use crate::{
    CommitError, Durability, Error, ErrorKind, Fate, KeyRange, Keyspace, Operation, Order, Outcome, Page, PageLimit,
    Precondition, Read, Schema, Store, Write,
};
use database::Database;
pub use reader::RocksReader;

/// A store in a directory, open in this process and no other.
///
/// A call that names a keyspace that is not in the schema panics: it is a mistake in the program.
pub struct RocksStore {
    // Dropped in this order: RocksDB is closed before the lock is let go.
    database: Database,
    writer: Mutex<Writer>,
    directory: Directory,
}

/// What only one commit at a time may touch.
#[derive(Debug)]
struct Writer {
    guard: Guard,
    /// Why no commit is taken any more.
    poison: Option<String>,
    /// Whether something was committed that a power cut would take away.
    unsynced: bool,
    /// When the directory was last seen in its place, for commits that are only buffered.
    seen: Option<Seen>,
}

impl RocksStore {
    /// Opens the store in `directory`, and creates it (for this user alone, mode 0700) if there is none. Takes as long
    /// as reading the write-ahead log twice, about 16 MiB at most, and replaying it: 10 to 13 ms of processor time for
    /// each MiB.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] if somebody holds it, also in this process; [`ErrorKind::Permission`] if it cannot be
    /// created or written; [`ErrorKind::NotAStore`] if the directory holds something else or is a file;
    /// [`ErrorKind::NewerFormat`] if its format is above the schema's; [`ErrorKind::Corrupt`] if something that was
    /// acknowledged is damaged or missing; [`ErrorKind::Io`] otherwise. A directory that is refused for one of the
    /// first four reasons is left as it was.
    pub fn open(directory: &Path, schema: &Schema) -> Result<Self, Error> {
        let directory = Directory::take(directory, schema.format)?;
        let open = || {
            let mut guard = Guard::open(directory.held().by(), directory.database().by())?;
            let database = Database::open(directory.database(), schema.keyspaces)?;
            guard.opened()?;
            Ok((guard, database))
        };
        let (guard, database) = open().map_err(|error| directory.named(error))?;
        let writer = Mutex::new(Writer { guard, poison: None, unsynced: false, seen: None });
        Ok(Self { database, writer, directory })
    }

    /// The directory, as long as it is needed: to be kept by who has files of its own in it.
    pub fn directory(&self) -> HeldDirectory {
        self.directory.held().clone()
    }

    /// What is decided before anything is written: each write's outcome.
    fn decide(&self, writes: &[Write]) -> Result<Vec<Outcome>, Error> {
        // What earlier writes of this commit have put; kept only if a later one asks.
        let asked = writes.iter().skip(1).any(|write| !write.preconditions.is_empty());
        let mut overlay = Overlay::default();
        let mut outcomes = Vec::with_capacity(writes.len());
        for write in writes {
            let refused = self.first_refused(&write.preconditions, &overlay)?;
            if let Some(precondition) = refused {
                outcomes.push(Outcome::Refused { precondition });
                continue;
            }
            outcomes.push(Outcome::Applied);
            if asked {
                write.operations.iter().for_each(|operation| overlay.apply(operation));
            }
        }
        Ok(outcomes)
    }

    fn first_refused(&self, preconditions: &[Precondition], overlay: &Overlay<'_>) -> Result<Option<usize>, Error> {
        for (index, precondition) in preconditions.iter().enumerate() {
            let (keyspace, key, expected) = match precondition {
                Precondition::Absent { keyspace, key } => (*keyspace, key.as_slice(), None),
                Precondition::Equals { keyspace, key, value } => (*keyspace, key.as_slice(), Some(value.as_slice())),
            };
            let holds = match overlay.get(keyspace, key) {
                Some(current) => current == expected,
                None => self.database.get(keyspace, key)?.as_deref() == expected,
            };
            if !holds {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Puts what was decided on the disk.
    fn apply(
        &self,
        writer: &mut Writer,
        writes: &[Write],
        outcomes: &[Outcome],
        durability: Durability,
    ) -> Result<(), Error> {
        let applied = || writes.iter().zip(outcomes).filter(|(_, outcome)| **outcome == Outcome::Applied);
        let operations = || applied().flat_map(|(write, _)| &write.operations);
        if operations().next().is_some() {
            let durability = if planted(Planted::Unsynced) { Durability::Buffered } else { durability };
            match self.database.write(operations(), durability) {
                Err(_) if planted(Planted::SwallowedError) => {}
                written => written?,
            }
        } else if durability == Durability::Sync && writer.unsynced {
            // A refusal rests on what is there, and that must last as long as the refusal.
            self.database.sync()?;
        } else {
            return Ok(());
        }
        writer.unsynced = durability == Durability::Buffered;
        writer.guard.committed(durability).map_err(|error| self.directory.named(error))
    }

    /// Puts what was decided on the disk, and sees that it is there.
    fn write(
        &self,
        writer: &mut Writer,
        writes: &[Write],
        outcomes: &[Outcome],
        durability: Durability,
    ) -> Result<(), Error> {
        if !self.directory.database().is_by_descriptor() {
            // Else RocksDB would write to whatever is at this path by now.
            self.directory.check()?;
        }
        let applied = self.apply(writer, writes, outcomes, durability);
        // After it, so that what is acknowledged was in its place when it was on the disk. And also if that failed: a
        // directory that is gone explains why.
        let in_place = match durability {
            Durability::Sync => self.directory.check(),
            Durability::Buffered => self.directory.check_often(&mut writer.seen, writer.guard.written()),
        };
        match (applied, in_place) {
            (Ok(()), in_place) => in_place,
            (Err(failed), Err(gone)) if gone.kind() == ErrorKind::Displaced => Err(gone.caused_by(failed)),
            (failed, _) => failed,
        }
    }
}

/// What earlier writes of a commit have done, before it is in the database.
#[derive(Default)]
struct Overlay<'a> {
    keys: BTreeMap<(Keyspace, &'a [u8]), Option<&'a [u8]>>,
    deleted: Vec<(Keyspace, &'a [u8], &'a [u8])>,
}

impl<'a> Overlay<'a> {
    fn apply(&mut self, operation: &'a Operation) {
        match operation {
            Operation::Put { keyspace, key, value } => drop(self.keys.insert((*keyspace, key), Some(value))),
            Operation::Delete { keyspace, key } => drop(self.keys.insert((*keyspace, key), None)),
            Operation::DeleteRange { keyspace, start, end } if start < end => {
                let range = (*keyspace, start.as_slice())..(*keyspace, end.as_slice());
                self.keys.range_mut(range).for_each(|(_, value)| *value = None);
                self.deleted.push((*keyspace, start, end));
            }
            Operation::DeleteRange { .. } => {}
        }
    }

    /// What is there of a key, if the writes say so.
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Option<Option<&'a [u8]>> {
        let is_deleted = |(of, start, end): &(Keyspace, &[u8], &[u8])| *of == keyspace && *start <= key && key < *end;
        let written = self.keys.get(&(keyspace, key)).copied();
        written.or_else(|| self.deleted.iter().any(is_deleted).then_some(None))
    }
}

impl Read for RocksStore {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.database.get(keyspace, key)
    }

    fn scan(&self, keyspace: Keyspace, range: &KeyRange, order: Order, limit: PageLimit) -> Result<Page, Error> {
        self.database.scan(keyspace, range, order, limit)
    }

    fn visit(
        &self,
        keyspace: Keyspace,
        range: &KeyRange,
        order: Order,
        limit: PageLimit,
        show: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<bool, Error> {
        self.database.visit(keyspace, range, order, limit, show)
    }
}

impl Store for RocksStore {
    fn commit(&self, writes: &[Write], durability: Durability) -> Result<Vec<Outcome>, CommitError> {
        let mut writer = self.writer.lock();
        if let Some(poison) = &writer.poison {
            let message =
                format!("an earlier commit failed, so nothing is written until the store is reopened: {poison}");
            return Err(CommitError { fate: Fate::NotApplied, error: Error::new(ErrorKind::Poisoned, message) });
        }
        let outcomes = self.decide(writes).map_err(|error| CommitError { fate: Fate::NotApplied, error })?;
        if let Err(error) = self.write(&mut writer, writes, &outcomes, durability) {
            writer.poison = Some(error.to_string());
            return Err(CommitError { fate: Fate::Unknown, error });
        }
        Ok(outcomes)
    }

    fn check(&self) -> Result<(), Error> {
        self.directory.check()?;
        self.writer.lock().guard.check().map_err(|error| self.directory.named(error))
    }

    fn reclaim(&self, keyspace: Keyspace, range: &KeyRange) -> Result<(), Error> {
        self.database.compact(keyspace, range)
    }
}

impl fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksStore").field("directory", &self.directory).finish_non_exhaustive()
    }
}
