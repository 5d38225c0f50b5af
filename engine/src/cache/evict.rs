//! Throws entries out: those that somebody names, those that have expired, and those used the longest ago when the cache
//! is too large.
//!
//! Works on threads where reading may block. Reads only the small rows of `cache_use`, a page at a time.
//!
//! Invariant: one at a time tends the cache; memory is bounded by [`CANDIDATES_MAX`], however many entries there are.

use std::collections::BinaryHeap;
use std::sync::Arc;

use relive_storage::{KeyRange, Keyspace, Operation, Order, Outcome, PageLimit, Precondition, Row, Write, after};
use rustc_hash::FxHashMap;
use tokio::sync::{OwnedMutexGuard, oneshot};

use crate::commit::{Submission, Waiter, gone};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result, storage_error};
use crate::id::Timestamp;
use crate::index::{self, CacheUse};
use crate::sync::atomic::Ordering;

use super::key::EntryKey;
use super::ledger::SIZE_KEY;
use super::lookup::{expiry, removal};

/// Entries that one scan can find to throw out: 16,384, some 2 MiB. If more have to go, another scan follows.
const CANDIDATES_MAX: usize = 16_384;

/// Entries that are thrown out in one go, so that runs' own commits get between.
const CHUNK: usize = 512;

/// Entries that a shutdown counts, so that the next life need not: 65,536, read in some 50 ms. With more, the next life counts
/// in the background, once the cache grows.
const COUNTED_MAX: usize = 65_536;

/// Does work on the cache where it may block, when nobody else tends it. A shutdown waits for it.
pub(crate) async fn tending<T: Send + 'static>(
    inner: &Arc<Inner>,
    work: impl FnOnce(&Arc<Inner>) -> Result<T> + Send + 'static,
) -> Result<T> {
    alone(inner, &inner.cache.tending, work).await
}

/// Does work where it may block, when nobody else does what this lock is for. A shutdown waits for it.
pub(crate) async fn alone<T: Send + 'static>(
    inner: &Arc<Inner>,
    lock: &Arc<tokio::sync::Mutex<()>>,
    work: impl FnOnce(&Arc<Inner>) -> Result<T> + Send + 'static,
) -> Result<T> {
    inner.check_open()?;
    let guard = Arc::clone(lock).lock_owned().await;
    let Some(working) = spawn(inner, guard, work) else {
        return Err(Error::new(ErrorKind::Closed, "the engine was shut down: open it again"));
    };
    let cut_off = |why| Error::new(ErrorKind::Storage, format!("work in the background was cut off: {why}"));
    working.await.map_err(cut_off)?
}

/// `None` if the engine is closed.
fn spawn<T: Send + 'static>(
    inner: &Arc<Inner>,
    guard: OwnedMutexGuard<()>,
    work: impl FnOnce(&Arc<Inner>) -> Result<T> + Send + 'static,
) -> Option<tokio::task::JoinHandle<Result<T>>> {
    let alive = inner.alive.lock().clone()?;
    let engine = Arc::clone(inner);
    Some(inner.runtime.spawn_blocking(move || {
        let result = work(&engine);
        drop(guard);
        // Last: who waits for all work finds it done.
        drop((engine, alive));
        result
    }))
}

impl Inner {
    /// Brings the cache back within its size, in the background, if it is not and nobody does yet.
    pub(crate) fn tend_cache(self: &Arc<Self>) {
        if !self.cache.wants_tending() {
            return;
        }
        let Ok(guard) = Arc::clone(&self.cache.tending).try_lock_owned() else { return };
        // A closed engine has nothing tended: the next life counts anew.
        let _ = spawn(self, guard, |inner| {
            let result = within_size(inner);
            if let Err(error) = &result
                && error.kind() != ErrorKind::Closed
            {
                tracing::warn!(%error, "the cache could not be brought back within its size");
            }
            result
        });
    }

    /// Writes down what was used lately, and the cache's size, so that the next life need not count; and that this life
    /// ended in order. Called at a shutdown, when no run is under way any more.
    pub(crate) async fn settle(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        // Reads, so it may block. If it fails, the next life counts, and if a commit does, the committer says so itself.
        let _ = tokio::task::spawn_blocking(move || settle_size(&inner)).await;
        if let Some(write) = self.end() {
            let _ = self.settings.committer.commit(write).await;
        }
    }

    /// The same without waiting for it: the last thing before the committer is closed. How large the cache is, the next life
    /// counts.
    pub(crate) fn settle_soon(&self) {
        let used = self.writes_of(self.cache.take_used()).unwrap_or_default();
        for write in used.into_iter().chain(self.end()) {
            self.settings.committer.leave(write);
        }
    }

    /// That this life ended in order, if it is to say so.
    fn end(&self) -> Option<Write> {
        let marks_end = self.marks_end.load(Ordering::Relaxed);
        let end = marks_end.then(|| crate::park::closed(self.settings.epoch).ok()).flatten()?;
        Some(Write { preconditions: Vec::new(), operations: vec![end] })
    }
}

/// Writes down what was used lately, and how large the cache is, if that is counted soon.
fn settle_size(inner: &Inner) -> Result<()> {
    // Before the wait for all that was given to the committer: what changes from here on is found out.
    let (change_count, known) = inner.cache.size();
    write_used(inner)?;
    let bytes = match known {
        Some(bytes) => bytes,
        None => match counted(inner)? {
            Some(bytes) => bytes,
            None => return Ok(()),
        },
    };
    inner.cache.store_size(bytes, change_count, |put| {
        inner.submit(Write { preconditions: Vec::new(), operations: vec![put] });
    })
}

/// Writes down what was used lately; when this returns, all is written that was given to the committer before.
fn write_used(inner: &Inner) -> Result<()> {
    let mut writes = inner.writes_of(inner.cache.take_used())?;
    // Changes nothing: `meta` says nothing of the size while the store is open.
    writes.push(Write { preconditions: Vec::new(), operations: vec![unstore_size()] });
    commit(inner, writes).map(drop)
}

/// The change after which `meta` says nothing of the cache's size: made when a store is opened, so that it says nothing wrong
/// however that life of the process ends.
pub(crate) fn unstore_size() -> Operation {
    Operation::Delete { keyspace: index::META, key: SIZE_KEY.to_vec() }
}

/// The size of all entries; `None` if there are more than [`COUNTED_MAX`].
fn counted(inner: &Inner) -> Result<Option<u64>> {
    let (store, mut range) = (inner.store()?, KeyRange::all());
    let (mut bytes, mut count) = (0, 0);
    loop {
        let page = store.scan(index::CACHE_USE, &range, Order::Ascending, PageLimit::default());
        let page = page.map_err(storage_error)?;
        for row in &page.rows {
            bytes = u64::saturating_add(bytes, opened(row)?.1.bytes);
        }
        count += page.rows.len();
        match page.rows.last() {
            _ if count > COUNTED_MAX => return Ok(None),
            Some(last) if page.more => range.start = after(&last.key),
            _ => return Ok(Some(bytes)),
        }
    }
}

/// Throws out the entries whose keys begin so. Says how many there were.
pub(crate) async fn by_prefix(inner: &Arc<Inner>, prefix: &[u8]) -> Result<u64> {
    let prefix = prefix.to_vec();
    tending(inner, move |inner| remove_all(inner, &prefix)).await
}

/// Throws out what has expired. Says how many there were.
pub(crate) async fn expired(inner: &Arc<Inner>) -> Result<u64> {
    tending(inner, |inner| {
        let now = inner.environment.clock.now();
        let lives = Lives::of(inner);
        let mut count = 0;
        each_page(inner, index::CACHE_USE, &[], |rows| {
            let mut victims = Vec::new();
            for row in rows {
                let (key, usage) = opened(&row)?;
                if lives.is_over(&key, &usage, now) {
                    victims.push(Victim { used_at: usage.used_at, key, bytes: usage.bytes, value: row.value });
                }
            }
            count += remove(inner, victims)?;
            Ok(())
        })?;
        Ok(count)
    })
    .await
}

/// Throws out what has to go for the cache to be within its size. Says how many there were.
pub(crate) async fn trim(inner: &Arc<Inner>) -> Result<u64> {
    tending(inner, within_size).await
}

/// Removes everything under a prefix, damaged rows as well.
pub(super) fn remove_all(inner: &Arc<Inner>, prefix: &[u8]) -> Result<u64> {
    let mut count = 0;
    // Nothing is left for the second, unless rows were lost.
    for keyspace in [index::CACHE_USE, index::CACHE] {
        each_page(inner, keyspace, prefix, |rows| {
            let mut operations = Vec::new();
            let now = inner.environment.clock.now();
            let mut bytes = 0;
            for row in &rows {
                let usage = index::open::<CacheUse>(index::CACHE_USE, &row.key, &row.value);
                bytes = u64::saturating_add(bytes, usage.map_or(0, |usage| usage.bytes));
                operations.extend([index::CACHE, index::CACHE_USE].map(|keyspace| {
                    let key = row.key.clone();
                    Operation::Delete { keyspace, key }
                }));
                if let Some(key) = EntryKey::from_bytes(&row.key) {
                    inner.cache.evicted(key, now);
                }
            }
            inner.cache.change(|| ());
            commit(inner, vec![Write { preconditions: Vec::new(), operations }])?;
            inner.cache.removed(bytes);
            count += rows.len() as u64;
            Ok(())
        })?;
    }
    Ok(count)
}

/// Counts, and throws out what was used the longest ago: an eighth more than must go, so that not every new entry is
/// followed by a scan.
fn within_size(inner: &Arc<Inner>) -> Result<u64> {
    let max = inner.cache.bytes_max;
    write_used(inner)?;
    let mut count = 0;
    loop {
        let (mut bytes, candidates) = oldest(inner)?;
        inner.cache.counted(bytes);
        if bytes <= max {
            return Ok(count);
        }
        let more = candidates.len() == CANDIDATES_MAX;
        let mut victims = candidates.into_sorted_vec().into_iter();
        let target = max - max / 8;
        while bytes > target {
            let mut chunk = Vec::new();
            while bytes > target
                && chunk.len() < CHUNK
                && let Some(victim) = victims.next()
            {
                bytes -= victim.bytes.min(bytes);
                chunk.push(victim);
            }
            if chunk.is_empty() {
                break;
            }
            count += remove(inner, chunk)?;
        }
        if !more {
            return Ok(count);
        }
    }
}

/// An entry that may have to go. The one used the longest ago is the smallest.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Victim {
    used_at: Timestamp,
    key: EntryKey,
    bytes: u64,
    /// Its row in `cache_use`, so that an entry that was used or replaced meanwhile stays.
    value: Vec<u8>,
}

/// The size of all entries, and those that were used the longest ago.
fn oldest(inner: &Arc<Inner>) -> Result<(u64, BinaryHeap<Victim>)> {
    let now = inner.environment.clock.now();
    let lives = Lives::of(inner);
    inner.cache.begin_count();
    let mut bytes = 0;
    // The largest is the one used last: it gives way to an older one.
    let mut candidates = BinaryHeap::new();
    each_page(inner, index::CACHE_USE, &[], |rows| {
        for row in rows {
            let (key, usage) = opened(&row)?;
            bytes = u64::saturating_add(bytes, usage.bytes);
            let used_at = if lives.is_over(&key, &usage, now) { Timestamp(i64::MIN) } else { usage.used_at };
            candidates.push(Victim { used_at, key, bytes: usage.bytes, value: row.value });
            if candidates.len() > CANDIDATES_MAX {
                candidates.pop();
            }
        }
        Ok(())
    })?;
    Ok((bytes, candidates))
}

/// Removes entries, but not one that was used or replaced since it was read. Says how many.
fn remove(inner: &Arc<Inner>, victims: Vec<Victim>) -> Result<u64> {
    let now = inner.environment.clock.now();
    inner.cache.change(|| ());
    let writes = victims.iter().map(|victim| {
        let key = victim.key.as_bytes().to_vec();
        let unchanged = Precondition::Equals { keyspace: index::CACHE_USE, key, value: victim.value.clone() };
        Write { preconditions: vec![unchanged], operations: removal(&victim.key).into() }
    });
    let outcomes = commit(inner, writes.collect())?;
    let mut count = 0;
    for (victim, outcome) in victims.iter().zip(outcomes) {
        if outcome == Outcome::Applied {
            inner.cache.evicted(victim.key, now);
            inner.cache.removed(victim.bytes);
            count += 1;
        }
    }
    Ok(count)
}

/// How long the entries of each task live, by what their keys begin with.
struct Lives<'a>(FxHashMap<[u8; 16], &'a crate::definition::TaskDefinition>);

impl<'a> Lives<'a> {
    fn of(inner: &'a Inner) -> Self {
        let mortal = inner.registry.tasks().filter(|task| task.cache.ttl.is_some());
        Self(mortal.map(|task| (EntryKey::task(task.name), task)).collect())
    }

    fn is_over(&self, key: &EntryKey, usage: &CacheUse, now: Timestamp) -> bool {
        let mut task = [0; 16];
        task.copy_from_slice(&key.as_bytes()[..16]);
        let expiry = self.0.get(&task).and_then(|task| expiry(task, usage.created_at));
        expiry.is_some_and(|at| at <= now)
    }
}

fn opened(row: &Row) -> Result<(EntryKey, CacheUse)> {
    let usage = index::open(index::CACHE_USE, &row.key, &row.value)?;
    let key = EntryKey::from_bytes(&row.key).ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, format!("index cache_use: a key of {} bytes is no entry's", row.key.len()))
    })?;
    Ok((key, usage))
}

/// Calls `each` with all rows under a prefix, a page at a time; stops when the engine is closed.
pub(crate) fn each_page(
    inner: &Inner,
    keyspace: Keyspace,
    prefix: &[u8],
    mut each: impl FnMut(Vec<Row>) -> Result<()>,
) -> Result<()> {
    let mut range = KeyRange::prefix(prefix);
    loop {
        inner.check_open()?;
        let page = inner.store()?.scan(keyspace, &range, Order::Ascending, PageLimit::default());
        let page = page.map_err(storage_error)?;
        let Some(last) = page.rows.last().map(|row| after(&row.key)) else { return Ok(()) };
        each(page.rows)?;
        if !page.more {
            return Ok(());
        }
        range.start = last;
    }
}

/// Commits writes, and waits on this thread for what becomes of each.
pub(crate) fn commit(inner: &Inner, writes: Vec<Write>) -> Result<Vec<Outcome>> {
    let submit = |write: Write| {
        let (sender, receiver) = oneshot::channel();
        let waiter = Waiter::Once(sender);
        inner.settings.committer.submit(Submission { write, bytes: 0, events: Vec::new(), waiter, sync: false });
        receiver
    };
    let waiting: Vec<_> = writes.into_iter().filter(|write| !write.operations.is_empty()).map(submit).collect();
    let wait = |receiver: oneshot::Receiver<Result<Outcome>>| receiver.blocking_recv().unwrap_or_else(|_| Err(gone()));
    waiting.into_iter().map(wait).collect()
}
