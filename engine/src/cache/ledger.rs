//! What is known of the cache in memory: its size, what was used lately, what was thrown out.
//!
//! Told by `lookup` of hits and by `plan` of new entries; `evict` acts on it.
//!
//! While the engine is open the size is an estimate, as what is told here is not known to be applied, nor what it replaces:
//! it is good enough to say when to count. What `meta` says of the size is a count, made when nothing changes any more.
//!
//! Invariant: memory does not grow with the number of entries: at most [`USED_MAX`] of what was used lately and
//! [`EVICTED_MAX`] of what was thrown out, about 1 MiB together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use relive_storage::Operation;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::OnceCell;

use crate::definition::{CacheDefault, CacheMode, TaskDefinition};
use crate::error::Result;
use crate::id::{RunId, Timestamp};
use crate::index::{self, CacheRecord, CacheSize, CacheUse};

use super::key::{EntryKey, InputHasher};

/// Hits that are remembered until they are written down: 4,096 entries, some 400 KiB. More of them within
/// [`WRITE_USES_EVERY`] are forgotten, which costs an entry at most its place among those that are used as often.
const USED_MAX: usize = 4096;

/// Evictions that are remembered, for `explain`.
const EVICTED_MAX: usize = 4096;

/// At most so often is it written down what was used: 10 s, as which of two entries was used within such a span hardly
/// tells which is the better one to keep.
const WRITE_USES_EVERY: Duration = Duration::from_secs(10);

/// Under which key the size stands in `meta`.
pub(crate) const SIZE_KEY: &[u8] = b"cache";

/// Entries that answered calls, and when they last did.
pub(crate) type Used = FxHashMap<EntryKey, CacheUse>;

/// What is known of the cache in memory.
pub(crate) struct Ledger {
    pub(crate) hasher: InputHasher,
    /// Entries larger together have to go.
    pub(crate) bytes_max: u64,
    /// For tasks that say nothing.
    default: CacheDefault,
    /// Tasks of which it was said that a call of theirs did not run. As many as the program has at most.
    shared: Mutex<FxHashSet<&'static str>>,
    /// Tasks whose entries were looked through for inputs of an older type, or are. As many as the program has at most.
    reread: Mutex<FxHashMap<&'static str, Arc<OnceCell<()>>>>,
    /// Held by the one who tends the cache: counts, evicts, rebuilds.
    pub(crate) tending: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The size of all entries; `None` until it is read or counted.
    bytes: Option<u64>,
    /// What was added while the size was being counted, or before.
    added: u64,
    /// The size as `meta` said it when the store was opened.
    stored: Option<u64>,
    /// Counts what may have changed the size.
    change_count: u64,
    used: Used,
    uses_written_at: Duration,
    evicted: VecDeque<(EntryKey, Timestamp)>,
    /// Runs whose results are no longer wanted, since the call was refreshed after they had begun.
    superseded: FxHashSet<RunId>,
}

impl Ledger {
    /// `stored` is what `meta` says of the size.
    pub(crate) fn new(hasher: InputHasher, bytes_max: u64, default: CacheDefault, stored: Option<CacheSize>) -> Self {
        let bytes = stored.map(|size| size.bytes);
        let state = State { bytes, stored: bytes, ..State::default() };
        Self {
            hasher,
            bytes_max,
            default,
            shared: Mutex::default(),
            reread: Mutex::default(),
            tending: Arc::default(),
            state: Mutex::new(state),
        }
    }

    /// Whether equal calls of a task are joined, and share results.
    pub(crate) fn is_for(&self, definition: &TaskDefinition) -> bool {
        match definition.cache.mode {
            CacheMode::Unsaid => self.default != CacheDefault::Off,
            CacheMode::Off => false,
            CacheMode::Auto | CacheMode::Version(_) => true,
        }
    }

    /// What is set when a task's entries were looked through.
    pub(crate) fn reread(&self, task: &'static str) -> Arc<OnceCell<()>> {
        Arc::clone(self.reread.lock().entry(task).or_default())
    }

    /// Whether this is the first time that a call of the task did not run.
    pub(crate) fn is_first_shared(&self, task: &'static str) -> bool {
        self.shared.lock().insert(task)
    }

    /// The changes that enter a result; none if it is larger than the cache may be, or no longer wanted.
    pub(crate) fn insertion(&self, key: EntryKey, record: &CacheRecord) -> Result<Vec<Operation>> {
        if self.state.lock().superseded.contains(&record.run) {
            return Ok(Vec::new());
        }
        let put = index::put(index::CACHE, key.as_bytes().to_vec(), record)?;
        let bytes = put_bytes(&put);
        if bytes > self.bytes_max {
            return Ok(Vec::new());
        }
        let at = record.created_at;
        let usage = CacheUse { bytes, created_at: at, used_at: at };
        let operations = vec![put, index::put(index::CACHE_USE, key.as_bytes().to_vec(), &usage)?];
        let mut state = self.state.lock();
        state.change_count += 1;
        state.added += bytes;
        state.used.remove(&key);
        Ok(operations)
    }

    /// Notes that an entry answered a call. Returns what was used lately, if it is time to write that down.
    pub(crate) fn used(&self, key: EntryKey, usage: CacheUse, elapsed: Duration) -> Used {
        let mut state = self.state.lock();
        if state.used.len() < USED_MAX || state.used.contains_key(&key) {
            state.used.insert(key, usage);
        }
        if elapsed.saturating_sub(state.uses_written_at) < WRITE_USES_EVERY {
            return Used::default();
        }
        state.uses_written_at = elapsed;
        std::mem::take(&mut state.used)
    }

    /// What was used lately, to be written down.
    pub(crate) fn take_used(&self) -> Used {
        std::mem::take(&mut self.state.lock().used)
    }

    /// When an entry was last used, if that is not written down yet.
    pub(crate) fn used_at(&self, key: &EntryKey) -> Option<Timestamp> {
        self.state.lock().used.get(key).map(|usage| usage.used_at)
    }

    /// Whether the cache is larger than it may be, or its size is not known although it grew.
    pub(crate) fn wants_tending(&self) -> bool {
        let state = self.state.lock();
        state.added > 0 && state.bytes.is_none_or(|bytes| bytes.saturating_add(state.added) > self.bytes_max)
    }

    /// Begins to count. What is added from here on may be counted twice, and what is on its way to the store now not at
    /// all: the next count finds out.
    pub(crate) fn begin_count(&self) {
        self.state.lock().added = 0;
    }

    /// The size was counted.
    pub(crate) fn counted(&self, bytes: u64) {
        self.state.lock().bytes = Some(bytes);
    }

    /// Entries are gone.
    pub(crate) fn removed(&self, bytes: u64) {
        let mut state = self.state.lock();
        let counted = state.bytes.unwrap_or(0).min(bytes);
        state.bytes = state.bytes.map(|all| all - counted);
        // It was made since the last count.
        state.added = state.added.saturating_sub(bytes - counted);
    }

    /// Entries are about to go. What goes with `submit` goes to the committer at once, so that no size that was counted before
    /// is written down after it.
    pub(crate) fn change(&self, submit: impl FnOnce()) {
        let mut state = self.state.lock();
        state.change_count += 1;
        submit();
    }

    /// How often the size may have changed by now; and what it is, if it never did and is known.
    pub(crate) fn size(&self) -> (u64, Option<u64>) {
        let state = self.state.lock();
        (state.change_count, state.stored.filter(|_| state.change_count == 0))
    }

    /// Gives the change to the committer that writes down the size, unless the cache may have changed since it was counted.
    pub(crate) fn store_size(&self, bytes: u64, change_count: u64, submit: impl FnOnce(Operation)) -> Result<()> {
        let put = index::put(index::META, SIZE_KEY.to_vec(), &CacheSize { bytes })?;
        let state = self.state.lock();
        if state.change_count == change_count {
            submit(put);
        }
        Ok(())
    }

    /// Remembers that an entry was thrown out, for `explain`.
    pub(crate) fn evicted(&self, key: EntryKey, at: Timestamp) {
        let mut state = self.state.lock();
        state.used.remove(&key);
        if state.evicted.len() == EVICTED_MAX {
            state.evicted.pop_front();
        }
        state.evicted.push_back((key, at));
    }

    /// When an entry was thrown out, if that is remembered.
    pub(crate) fn evicted_at(&self, key: &EntryKey) -> Option<Timestamp> {
        self.state.lock().evicted.iter().rev().find(|(evicted, _)| evicted == key).map(|(_, at)| *at)
    }

    /// The call of this run was refreshed while it was under way: its result is not entered.
    pub(crate) fn supersede(&self, run: RunId) {
        self.state.lock().superseded.insert(run);
    }

    /// A run has ended.
    pub(crate) fn ended(&self, run: RunId) {
        self.state.lock().superseded.remove(&run);
    }
}

fn put_bytes(put: &Operation) -> u64 {
    match put {
        Operation::Put { key, value, .. } => (key.len() + value.len()) as u64,
        Operation::Delete { .. } | Operation::DeleteRange { .. } => 0,
    }
}
