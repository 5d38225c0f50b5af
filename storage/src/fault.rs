//! `FaultStore`: a store in memory that fails on cue and forgets, in a crash, what was not synced.
//!
//! A test double for whoever is above a store; no part of the product. Built on `MemoryStore`.
//!
//! Invariant: what a crash leaves is everything that a successful `Sync` commit covers, then a prefix of the writes
//! behind it, each whole: the least that [`Store`] promises, which is less than any one disk would leave.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::{
    CommitError, Durability, Error, ErrorKind, Fate, KeyRange, Keyspace, MemoryStore, Order, Outcome, Page, PageLimit,
    Read, Store, Write,
};

/// How a commit is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// [`Fate::NotApplied`]: nothing of it is there, and the store goes on. A network store's refused connection.
    NotApplied,
    /// [`Fate::Unknown`], and so many of its writes are there, as if synced. As with a local store whose disk failed,
    /// every later commit is [`ErrorKind::Poisoned`].
    Unknown(Survives),
}

/// How much of some writes, taken from the first on, is there in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survives {
    /// None of them.
    None,
    /// So many, or all if there are fewer.
    First(usize),
    /// All.
    All,
}

impl Survives {
    fn count(self, all: usize) -> usize {
        match self {
            Self::None => 0,
            Self::First(count) => count.min(all),
            Self::All => all,
        }
    }
}

/// A store in memory that fails on cue. A clone is another handle on the same store.
#[derive(Clone, Debug)]
pub struct FaultStore {
    /// What a read sees.
    visible: MemoryStore,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// What a power cut leaves.
    synced: MemoryStore,
    /// What was applied since, in order.
    buffered: Vec<Write>,
    /// Commits that were asked for, whatever became of them.
    commit_count: u64,
    faults: BTreeMap<u64, Fault>,
    stop_after: u64,
    poisoned: bool,
}

impl FaultStore {
    /// An empty store that does not fail until it is told to.
    pub fn new() -> Self {
        Self::over(&MemoryStore::new())
    }

    /// A store that begins with a copy of these rows, all of them synced.
    pub fn over(rows: &MemoryStore) -> Self {
        Self {
            visible: rows.copy(),
            state: Arc::new(Mutex::new(State {
                synced: rows.copy(),
                buffered: Vec::new(),
                commit_count: 0,
                faults: BTreeMap::new(),
                stop_after: u64::MAX,
                poisoned: false,
            })),
        }
    }

    /// An empty store that takes `count` commits; every later one is refused ([`Fate::NotApplied`],
    /// [`ErrorKind::Poisoned`]), as if the process had stopped there.
    pub fn stop_after(count: u64) -> Self {
        let store = Self::new();
        store.set_stop_after(count);
        store
    }

    /// Moves the stop: commits with an index of `count` or more are refused.
    pub fn set_stop_after(&self, count: u64) {
        self.state.lock().stop_after = count;
    }

    /// Makes one commit fail. The first has the index 0; refused and failed ones count.
    pub fn fail(&self, commit_index: u64, fault: Fault) {
        self.state.lock().faults.insert(commit_index, fault);
    }

    /// How many commits were asked for, whatever became of them.
    pub fn commit_count(&self) -> u64 {
        self.state.lock().commit_count
    }

    /// How many applied writes a power cut could take away: the range of [`Survives::First`].
    pub fn buffered_count(&self) -> usize {
        self.state.lock().buffered.len()
    }

    /// What is there after a crash: everything that was synced and so much of the rest. [`Survives::All`] is the end of
    /// the process, the others a power cut. This store goes on as if nothing had happened.
    pub fn crash(&self, survives: Survives) -> MemoryStore {
        let state = self.state.lock();
        let left = state.synced.copy();
        for write in &state.buffered[..survives.count(state.buffered.len())] {
            left.apply(&write.operations);
        }
        left
    }

    /// What is there after a power cut at the worst moment: what was synced, and nothing else.
    pub fn surviving(&self) -> MemoryStore {
        self.crash(Survives::None)
    }

    fn apply(&self, state: &mut State, writes: &[Write], durability: Durability) -> Vec<Outcome> {
        let Ok(outcomes) = self.visible.commit(writes, durability) else { unreachable!("memory does not fail") };
        let applied = writes.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Applied);
        state.buffered.extend(applied.map(|(write, _)| write.clone()));
        if durability == Durability::Sync {
            for write in state.buffered.drain(..) {
                state.synced.apply(&write.operations);
            }
        }
        outcomes
    }
}

impl Default for FaultStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Read for FaultStore {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.visible.get(keyspace, key)
    }

    fn scan(&self, keyspace: Keyspace, range: &KeyRange, order: Order, limit: PageLimit) -> Result<Page, Error> {
        self.visible.scan(keyspace, range, order, limit)
    }
}

impl Store for FaultStore {
    fn commit(&self, writes: &[Write], durability: Durability) -> Result<Vec<Outcome>, CommitError> {
        let mut state = self.state.lock();
        let index = state.commit_count;
        state.commit_count += 1;
        if state.poisoned || index >= state.stop_after {
            let error = Error::new(ErrorKind::Poisoned, format!("commit {index} comes after the fault"));
            return Err(CommitError { fate: Fate::NotApplied, error });
        }
        let Some(fault) = state.faults.remove(&index) else { return Ok(self.apply(&mut state, writes, durability)) };
        let fate = match fault {
            Fault::NotApplied => Fate::NotApplied,
            Fault::Unknown(survives) => {
                state.poisoned = true;
                let count = survives.count(writes.len());
                if count > 0 {
                    self.apply(&mut state, &writes[..count], Durability::Sync);
                }
                Fate::Unknown
            }
        };
        Err(CommitError { fate, error: Error::new(ErrorKind::Io, format!("commit {index} was made to fail")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operation;

    const ROWS: Keyspace = Keyspace::new("rows");

    fn put(key: &str) -> Write {
        let operation = Operation::Put { keyspace: ROWS, key: key.into(), value: vec![] };
        Write { preconditions: vec![], operations: vec![operation] }
    }

    fn keys(store: &impl Read) -> String {
        let page = store.scan(ROWS, &KeyRange::all(), Order::Ascending, PageLimit::default()).expect("memory");
        page.rows.into_iter().map(|row| String::from_utf8(row.key).expect("text")).collect()
    }

    #[test]
    fn a_crash_takes_only_what_was_not_synced() {
        let store = FaultStore::new();
        store.commit(&[put("a")], Durability::Buffered).expect("no fault");
        store.commit(&[put("b")], Durability::Sync).expect("no fault");
        store.commit(&[put("c"), put("d")], Durability::Buffered).expect("no fault");
        assert_eq!(store.buffered_count(), 2);
        assert_eq!(keys(&store), "abcd");
        assert_eq!(keys(&store.surviving()), "ab");
        assert_eq!(keys(&store.crash(Survives::First(1))), "abc");
        assert_eq!(keys(&store.crash(Survives::All)), "abcd");
    }

    #[test]
    fn no_commit_behind_the_stop_returns_ok() {
        let store = FaultStore::stop_after(1);
        store.commit(&[put("a")], Durability::Sync).expect("before the stop");
        for _ in 0..2 {
            let failed = store.commit(&[put("b")], Durability::Sync).expect_err("behind the stop");
            assert_eq!((failed.fate, failed.error.kind()), (Fate::NotApplied, ErrorKind::Poisoned));
        }
        assert_eq!(keys(&store.surviving()), "a");
    }

    #[test]
    fn a_commit_of_unknown_fate_leaves_what_it_was_told_to_and_poisons() {
        for (survives, left) in [(Survives::None, ""), (Survives::First(1), "a"), (Survives::All, "ab")] {
            let store = FaultStore::new();
            store.fail(0, Fault::Unknown(survives));
            let failed = store.commit(&[put("a"), put("b")], Durability::Sync).expect_err("the fault");
            assert_eq!(failed.fate, Fate::Unknown);
            assert_eq!(keys(&store.surviving()), left);
            let failed = store.commit(&[put("c")], Durability::Sync).expect_err("poisoned");
            assert_eq!((failed.fate, failed.error.kind()), (Fate::NotApplied, ErrorKind::Poisoned));
        }
    }

    #[test]
    fn a_commit_that_was_not_applied_leaves_nothing_and_the_store_goes_on() {
        let store = FaultStore::new();
        store.fail(0, Fault::NotApplied);
        assert_eq!(store.commit(&[put("a")], Durability::Sync).expect_err("the fault").fate, Fate::NotApplied);
        store.commit(&[put("b")], Durability::Sync).expect("no fault");
        assert_eq!(keys(&store.surviving()), "b");
    }
}
