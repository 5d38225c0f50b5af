//! Finds what an older program recorded again, where the type of an input has changed since: what lies under the hash of an
//! input as it was written is put under that of the input as it is read today.
//!
//! Called by `start` when a call finds nothing, by `explain`, and by `recover`, run by run. The ordinary hit asks nothing of
//! it: a few inputs of each task tell whether its type is another, once in a life of the process, and only then all are read.
//!
//! Invariant: an entry or a run is moved only if its task's version and salt are today's.

use std::sync::Arc;

use relive_storage::{KeyRange, Operation, Order, Outcome, PageLimit, Precondition, Row, Write, after};
use rustc_hash::FxHashMap;

use crate::canonical::canonical_without;
use crate::definition::TaskDefinition;
use crate::engine::{Inner, Request};
use crate::error::{ErrorKind, Result, storage_error};
use crate::id::RunId;
use crate::index::{self, CacheRecord, UnfinishedRecord};
use crate::recover::first_event;

use super::evict;
use super::key::{CallKey, EntryKey};
use super::lookup::{Sought, removal, version_reason};

/// Inputs of today's version that tell whether a task's type is another: 4. A new field with a default is in each of them; what
/// is in some only (a variant, the elements of a list) may not be seen, and then what is under it runs once more.
const SAMPLE: usize = 4;

/// Inputs of a task's unfinished runs that are read at an open, where those of other versions and salts, which tell nothing, are
/// among them: 256.
const READ_MAX: usize = 256;

/// Entries that are moved in one go: 64, so that runs' own commits get between.
const CHUNK: usize = 64;

impl Inner {
    /// Moves the entries of a task to where calls of today look for them, if nobody did so since the store was opened. Says
    /// whether there is reason to look once more.
    pub(crate) async fn reread(self: &Arc<Self>, definition: &'static TaskDefinition) -> bool {
        let once = self.cache.reread(definition.name);
        if once.initialized() {
            return false;
        }
        let moved = once.get_or_init(|| async {
            let moved = match self.is_retyped(definition) {
                Ok(true) => evict::tending(self, move |inner| move_all(inner, definition)).await,
                Ok(false) => Ok(0),
                Err(error) => Err(error),
            };
            match moved {
                Ok(0) => {}
                Ok(count) => tracing::info!(
                    task = definition.name,
                    count,
                    "the task's input is of another type than when its results were cached: they are found under today's"
                ),
                Err(error) => {
                    tracing::warn!(task = definition.name, %error, "cached results of before are not found: the calls run");
                }
            }
        });
        moved.await;
        true
    }

    /// Whether the inputs of a task's entries are read as another type than they were written as. Looks at a page of them at
    /// most: entries of other versions of the task lie among those of today's, and tell nothing.
    fn is_retyped(&self, definition: &TaskDefinition) -> Result<bool> {
        let range = KeyRange::prefix(&EntryKey::task(definition.name));
        let page = self.store()?.scan(index::CACHE, &range, Order::Ascending, PageLimit::default());
        let page = page.map_err(storage_error)?;
        let of_today = page.rows.iter().filter_map(|row| {
            let (key, record) = opened(row)?;
            Some(self.lies_today(definition, &record)? != key)
        });
        Ok(of_today.take(SAMPLE).any(|is_elsewhere| is_elsewhere))
    }

    /// Where an entry would lie if its run ended today; `None` if it is of another version, or its input cannot be read.
    fn lies_today(&self, definition: &TaskDefinition, record: &CacheRecord) -> Option<EntryKey> {
        if record.task != definition.name || version_reason(definition, record).is_some() {
            return None;
        }
        let counted = definition.counted_of(&record.input).ok()?;
        Some(definition.entry_key(&(self.cache.hasher)(&counted)))
    }

    /// Where an entry would lie if its run ended today, if that is elsewhere.
    fn key_of_today(&self, definition: &TaskDefinition, key: &EntryKey, record: &CacheRecord) -> Option<EntryKey> {
        self.lies_today(definition, record).filter(|today| today != key)
    }

    /// The entry of a call that lies where no call of today looks, as its input was of another type. Reads only.
    pub(super) fn entry_of_before(
        self: &Arc<Self>,
        request: &Request,
        sought: &Sought,
    ) -> Result<Option<(EntryKey, CacheRecord, u64)>> {
        let definition = request.definition;
        if self.cache.reread(definition.name).initialized() || !self.is_retyped(definition)? {
            return Ok(None);
        }
        let mut entries = super::list::under(self.store()?, self, &EntryKey::task(definition.name));
        loop {
            match entries.next_record() {
                Ok(Some((key, record, bytes))) => {
                    if self.key_of_today(definition, &key, &record) == Some(sought.entry) {
                        return Ok(Some((key, record, bytes)));
                    }
                }
                Ok(None) => return Ok(None),
                // As when they are moved.
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// An entry; `None` if it cannot be read, which is a miss for whoever looks there, and no reason not to find the others.
fn opened(row: &Row) -> Option<(EntryKey, CacheRecord)> {
    Some((EntryKey::from_bytes(&row.key)?, index::open(index::CACHE, &row.key, &row.value).ok()?))
}

/// Moves the entries of a task whose inputs are read as another type. Says how many.
fn move_all(inner: &Arc<Inner>, definition: &TaskDefinition) -> Result<u64> {
    let mut range = KeyRange::prefix(&EntryKey::task(definition.name));
    let limit = PageLimit { row_count: CHUNK, ..PageLimit::default() };
    let mut count = 0;
    loop {
        inner.check_open()?;
        let page = inner.store()?.scan(index::CACHE, &range, Order::Ascending, limit).map_err(storage_error)?;
        let (mut writes, mut moved) = (Vec::new(), Vec::new());
        for row in &page.rows {
            let Some((key, record)) = opened(row) else { continue };
            let Some(today) = inner.key_of_today(definition, &key, &record) else { continue };
            let absent = Precondition::Absent { keyspace: index::CACHE, key: today.as_bytes().to_vec() };
            let mut operations = inner.cache.insertion(today, &record)?;
            operations.extend(removal(&key));
            writes.push(Write { preconditions: vec![absent], operations });
            moved.push((key, (row.key.len() + row.value.len()) as u64));
        }
        if !writes.is_empty() {
            // The size that is counted before is not the one after.
            inner.cache.change(|| ());
        }
        let outcomes = evict::commit(inner, writes)?;
        // A run of today has ended meanwhile: what it found is newer.
        let mut stale = Vec::new();
        for ((key, bytes), outcome) in moved.into_iter().zip(outcomes) {
            inner.cache.removed(bytes);
            match outcome {
                Outcome::Applied => count += 1,
                Outcome::Refused { .. } => {
                    stale.push(Write { preconditions: Vec::new(), operations: removal(&key).into() });
                }
            }
        }
        evict::commit(inner, stale)?;
        match page.rows.last() {
            Some(last) if page.more => range.start = after(&last.key),
            _ => return Ok(count),
        }
    }
}

/// Which calls unfinished runs are, where the type of their tasks' inputs may have changed since they began.
#[derive(Default)]
pub(crate) struct CallsOfBefore {
    tasks: FxHashMap<&'static str, Looked>,
}

/// What the inputs of a task's runs told so far.
#[derive(Default)]
struct Looked {
    /// Inputs that were read.
    count: usize,
    /// Those of them that are today's calls as they stand.
    same_count: usize,
    /// Whether one of them is another call today.
    is_other: bool,
}

impl Looked {
    /// Whether there is no reason to read more.
    fn is_enough(&self) -> bool {
        !self.is_other && (self.same_count >= SAMPLE || self.count >= READ_MAX)
    }
}

impl CallsOfBefore {
    /// Makes a run's row say which call it is today, if it is another than it was. Gives the change.
    pub(crate) fn reread(
        &mut self,
        inner: &Inner,
        run: RunId,
        record: &mut UnfinishedRecord,
    ) -> Result<Option<Operation>> {
        let Some(today) = self.key_of_today(inner, run, record) else { return Ok(None) };
        record.call_key = today;
        index::put(index::UNFINISHED, index::run_key(run), record).map(Some)
    }

    fn key_of_today(&mut self, inner: &Inner, run: RunId, record: &UnfinishedRecord) -> Option<CallKey> {
        let definition = inner.registry.task(&record.task)?;
        if record.call_key == crate::fork::NO_CALL || !inner.cache.is_for(definition) {
            return None;
        }
        let looked = self.tasks.entry(definition.name).or_default();
        if looked.is_enough() {
            return None;
        }
        // A log that cannot be read is the run's own matter.
        let started = first_event(inner.store().ok()?, run).ok()?;
        let counted = definition.counted_of(&started.input).ok()?;
        let today = definition.call_key(&(inner.cache.hasher)(&counted));
        looked.count += 1;
        if today == record.call_key {
            looked.same_count += 1;
            return None;
        }
        if definition.cache.version().is_some() || !definition.cache.salt.is_empty() {
            // The row does not say under which version and salt the run began: it must be today's call of what was written.
            let written = canonical_without(&started.input.to_value(), definition.cache.ignored).ok()?;
            if definition.call_key(&(inner.cache.hasher)(&written)) != record.call_key {
                return None;
            }
        }
        looked.is_other = true;
        Some(today)
    }
}
