//! The cache: which call gets the result of an earlier one, without running.
//!
//! `start` asks it, `run::plan` writes entries in the batch of the `TaskCompleted` they follow from, and [`Cache`] shows it
//! to people: lists, evicts, explains, rebuilds. `key` says which calls are the same, `lookup` whether an entry still
//! holds, `uses` what a result depends on, `reread` finds what lies under an older type's hash, `ledger` and `evict` keep it
//! within its size.
//!
//! Invariant: an entry answers a call only if its whole input that counts is equal, its version is today's, all that its
//! run used is what it was, it has not expired, and its result can be read as the type that is asked for.

mod by_input;
pub(crate) mod evict;
mod explain;
mod key;
mod ledger;
mod list;
mod lookup;
mod rebuild;
mod reread;
mod uses;

use std::sync::Arc;

use relive_storage::planted::{Planted, planted};
use relive_storage::{KeyRange, Order, PageLimit, Read};

pub use self::explain::{Explanation, Reason};
pub(crate) use self::key::{CallKey, blake3_of};
pub use self::key::{EntryKey, InputHasher, Version};
pub(crate) use self::ledger::Ledger;
pub use self::list::{Entries, Entry};
pub(crate) use self::lookup::Sought;
pub use self::rebuild::Rebuilt;
pub(crate) use self::reread::CallsOfBefore;
pub use self::uses::merge;

use crate::definition::TaskDefinition;
use crate::engine::{Inner, Request};
use crate::error::{Result, storage_error};
use crate::id::RunId;
use crate::index::{self, CacheSize, Used};
use crate::options::Options;
use crate::payload::Payload;

/// Largest size of all entries together, unless the engine's options say otherwise: 1 GiB, as large as a store may grow
/// by itself without anyone noticing on a laptop.
pub const CACHE_BYTES_MAX_DEFAULT: u64 = 1 << 30;

/// What is known of a store's cache when it is opened: its size, if it was shut down in order.
pub(crate) fn ledger(store: &dyn Read, options: &Options) -> Result<Arc<Ledger>> {
    let mut stored = index::read(store, index::META, ledger::SIZE_KEY)?;
    let one = PageLimit { row_count: 1, ..PageLimit::default() };
    let page = store.scan(index::CACHE_USE, &KeyRange::all(), Order::Ascending, one).map_err(storage_error)?;
    if page.rows.is_empty() {
        stored = Some(CacheSize { bytes: 0 });
    }
    let hasher = if planted(Planted::HashOnly) { |_: &[u8]| [7; 32] } else { options.input_hasher };
    Ok(Arc::new(Ledger::new(hasher, options.cache_bytes_max, options.cache_default, stored)))
}

/// The cache of an open engine, for people: what it holds, why a call would miss, and how to throw out what must go.
///
/// It does not keep the engine open.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

impl Cache {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        Self(Arc::clone(inner))
    }

    /// All entries, task by task, read a page at a time. Entries that no longer hold are among them.
    pub fn list(&self) -> Entries {
        self.0.store().map_or_else(Entries::from, |store| list::entries(store, &self.0))
    }

    /// What would become of a call now, and why. Reads only: nothing is started, and no entry counts as used.
    ///
    /// # Errors
    /// If the arguments cannot be recorded, the engine is closed, or the store cannot be read.
    pub fn explain(&self, request: &Request) -> Result<Explanation> {
        self.0.explain(request)
    }

    /// How payloads are written, where an attribute says nothing else.
    pub fn encoding(&self) -> &crate::payload::Encoding {
        &self.0.environment.encoding
    }

    /// What the result of a child run depends on, for the list of the run that called it (by [`merge`], beside
    /// [`Used::task`]): as its entry says, else as its log proves. A task with a version of the user's gives an empty list,
    /// as its code plays no part. `None` if it is not known: then the caller's result is not to be cached.
    ///
    /// # Errors
    /// If the store cannot be read, or the log is damaged.
    pub fn child_uses(
        &self,
        child: &TaskDefinition,
        run: RunId,
        input: &Payload,
        result: &Payload,
    ) -> Result<Option<Vec<Used>>> {
        self.0.child_uses(child, run, input, result)
    }

    /// Throws out one entry. It is gone, durably, when this returns; says whether it was there.
    ///
    /// # Errors
    /// If the engine is closed, or the store fails.
    pub async fn evict(&self, key: EntryKey) -> Result<bool> {
        Ok(evict::by_prefix(&self.0, key.as_bytes()).await? > 0)
    }

    /// Throws out the entry that would answer a call, also those of other versions of the task. Says how many there were.
    ///
    /// # Errors
    /// As for [`Cache::evict`], and as for [`Cache::explain`].
    pub async fn evict_call(&self, request: &Request) -> Result<u64> {
        let sought = self.0.sought(request)?;
        evict::by_prefix(&self.0, sought.entry.input()).await
    }

    /// Throws out all entries of a task. Says how many there were; 0 if there is no such task.
    ///
    /// # Errors
    /// As for [`Cache::evict`].
    pub async fn evict_task(&self, task: &str) -> Result<u64> {
        evict::by_prefix(&self.0, &EntryKey::task(task)).await
    }

    /// Throws out all entries. Says how many there were.
    ///
    /// # Errors
    /// As for [`Cache::evict`].
    pub async fn evict_all(&self) -> Result<u64> {
        evict::by_prefix(&self.0, &[]).await
    }

    /// Throws out the entries that are older than the time to live that their tasks have in this program. Says how many
    /// there were.
    ///
    /// # Errors
    /// As for [`Cache::evict`].
    pub async fn evict_expired(&self) -> Result<u64> {
        evict::expired(&self.0).await
    }

    /// Throws out the entries that were used the longest ago until the cache is within its size. The engine does so by
    /// itself, soon after a result made it too large; this waits for it. Says how many had to go.
    ///
    /// # Errors
    /// As for [`Cache::evict`].
    pub async fn trim(&self) -> Result<u64> {
        evict::trim(&self.0).await
    }

    /// Drops all entries and makes them again from the logs of finished runs, as far as the logs prove them: an entry is
    /// made for a run that succeeded in its first attempt, was begun and finished by the same code, whose traces each ended
    /// in the life of the process that began them, and whose task is in this program and has neither salt nor version
    /// (which logs do not hold). What this program no longer has would be a miss all the same.
    ///
    /// Calls go on meanwhile; some miss. An entry that a run makes meanwhile is kept.
    ///
    /// # Errors
    /// As for [`Cache::evict`]; or if a log is damaged. Then the cache holds part of the entries, all of them right.
    pub async fn rebuild(&self) -> Result<Rebuilt> {
        rebuild::rebuild(&self.0).await
    }
}
