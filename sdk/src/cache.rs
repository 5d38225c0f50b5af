//! The cache of an engine, with types: what it holds, why a call would miss, and how to throw out what must go.

use relive_engine::cache::{self, Entries, EntryKey, Explanation, Rebuilt};
use relive_engine::error::Result;
use serde::de::DeserializeOwned;

use crate::task::Call;

/// The cached results of an engine. It does not keep the engine open.
///
/// What one call of it does to entries is durable when it returns.
#[derive(Clone)]
pub struct Cache(cache::Cache);

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl Cache {
    pub(crate) fn new(cache: cache::Cache) -> Self {
        Self(cache)
    }

    /// All entries, task by task, read a page at a time. Entries that no longer hold are among them until they are
    /// evicted or replaced.
    pub fn list(&self) -> Entries {
        self.0.list()
    }

    /// What would become of a call if it were made now, and why: printed, a sentence or a list for people. Starts nothing.
    ///
    /// # Errors
    /// As for [`Engine::start`](crate::Engine::start): if the arguments cannot be recorded, the id names another call's
    /// run, the engine is closed, or the store fails.
    pub fn explain<T: DeserializeOwned, E>(&self, call: Call<T, E>) -> Result<Explanation> {
        self.0.explain(&call.into_request(self.0.encoding())?)
    }

    /// Throws out one entry. Says whether it was there.
    ///
    /// # Errors
    /// If the engine is closed, or the store fails.
    pub async fn evict(&self, key: EntryKey) -> Result<bool> {
        self.0.evict(key).await
    }

    /// Throws out the result of a call, under every version of its task. Says how many entries there were.
    ///
    /// # Errors
    /// If the arguments cannot be recorded, the engine is closed, or the store fails.
    pub async fn evict_call<T: DeserializeOwned, E>(&self, call: Call<T, E>) -> Result<u64> {
        self.0.evict_call(&call.into_request(self.0.encoding())?).await
    }

    /// Throws out all entries of the task of this name, which need not be in this program. Says how many there were.
    ///
    /// # Errors
    /// As for [`Cache::evict`].
    pub async fn evict_task(&self, task: &str) -> Result<u64> {
        self.0.evict_task(task).await
    }

    /// Throws out all entries. Says how many there were.
    ///
    /// # Errors
    /// As for [`Cache::evict`].
    pub async fn evict_all(&self) -> Result<u64> {
        self.0.evict_all().await
    }

    /// Throws out the entries that have outlived their tasks' time to live. Says how many there were.
    ///
    /// # Errors
    /// As for [`Cache::evict`].
    pub async fn evict_expired(&self) -> Result<u64> {
        self.0.evict_expired().await
    }

    /// Throws out what was used the longest ago until the cache is within its size. The engine does so by itself, soon
    /// after a result made it too large; this waits for it. Says how many entries had to go.
    ///
    /// # Errors
    /// As for [`Cache::evict`].
    pub async fn trim(&self) -> Result<u64> {
        self.0.trim().await
    }

    /// Drops all entries and makes them again from the logs of finished runs, as far as the logs prove them.
    ///
    /// An entry is made for a run that succeeded in its first attempt, was begun and finished by the same code, whose traces
    /// each ended in the life of the process that began them, and whose task is in this program and has neither a salt nor
    /// a version of yours, which logs do not hold. Calls go on meanwhile; some of them miss.
    ///
    /// # Errors
    /// As for [`Cache::evict`]; or if a log is damaged. Then the cache holds part of the entries, all of them right.
    pub async fn rebuild(&self) -> Result<Rebuilt> {
        self.0.rebuild().await
    }
}
