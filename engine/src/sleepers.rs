//! Runs that were put to sleep: which, until when, and which calls they are.
//!
//! All that stays in memory of one of them, about 60 bytes, and 40 more if equal calls join it; the rest is its row in
//! `unfinished`. Filled and emptied by `asleep`.
//!
//! Invariant: whoever sleeps is in the order of who is due.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use relive_storage::planted::{Planted, planted};
use tokio::sync::Notify;

use crate::cache::CallKey;
use crate::id::RunId;
use crate::observe::Metrics;
use crate::sync::Mutex;

/// The order may hold this many of those that were woken early beside twice the sleepers: 1,024, so that few are not cleared
/// out again and again.
const STALE_MAX: usize = 1_024;

/// The sleepers of an engine.
pub(crate) struct Sleepers {
    state: Mutex<State>,
    /// Told when the first to be woken is another, and when it is all over.
    pub(crate) changed: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    /// When each is due, by elapsed time in microseconds.
    dues: BTreeMap<Mixed, i64>,
    /// Those that equal calls join, by the first bytes of their call keys, which may collide.
    by_call: BTreeSet<(u64, RunId)>,
    /// Holds also some that were woken before they were due.
    by_due: BinaryHeap<Reverse<(i64, RunId)>>,
    is_closed: bool,
}

/// A run's id, its random bytes first: ids come in the order of time, and a tree that grows at its end is half empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mixed([u8; 16]);

impl From<RunId> for Mixed {
    fn from(run: RunId) -> Self {
        let mut bytes = *run.as_bytes();
        bytes.reverse();
        Self(bytes)
    }
}

/// Who is to be woken next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nobody for now.
    Nobody,
    /// This one, then.
    At(i64, RunId),
    /// Nobody any more.
    Closed,
}

fn prefix(key: &CallKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *key;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl State {
    fn is_stale(&self, due: i64, run: RunId) -> bool {
        self.dues.get(&run.into()) != Some(&due)
    }

    fn first(&self) -> Option<(i64, RunId)> {
        self.by_due.peek().map(|Reverse(first)| *first)
    }
}

impl Sleepers {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), metrics }
    }

    /// One more. `joins`: equal calls join it.
    pub(crate) fn enter(&self, call: &CallKey, run: RunId, due: i64, joins: bool) {
        let is_first = {
            let mut state = self.state.lock();
            let is_first = state.first().is_none_or(|first| (due, run) < first);
            state.dues.insert(run.into(), due);
            state.by_due.push(Reverse((due, run)));
            if joins {
                state.by_call.insert((prefix(call), run));
            }
            is_first
        };
        self.metrics.runs_asleep.increment(1.0);
        if is_first && !planted(Planted::SleeperForgotten) {
            self.changed.notify_one();
        }
    }

    /// It is woken: when it was due. `None` if it does not sleep.
    pub(crate) fn leave(&self, call: &CallKey, run: RunId) -> Option<i64> {
        let (due, was_first) = {
            let mut state = self.state.lock();
            let due = state.dues.remove(&run.into())?;
            if planted(Planted::WokenTwice) {
                state.dues.insert(run.into(), due);
                return Some(due);
            }
            state.by_call.remove(&(prefix(call), run));
            let was_first = state.first() == Some((due, run));
            if state.by_due.len() > 2 * state.dues.len() + STALE_MAX {
                let mut by_due = std::mem::take(&mut state.by_due);
                by_due.retain(|Reverse((due, run))| !state.is_stale(*due, *run));
                state.by_due = by_due;
            }
            (due, was_first)
        };
        self.metrics.runs_asleep.decrement(1.0);
        if was_first {
            self.changed.notify_one();
        }
        Some(due)
    }

    /// Nobody wakes it at its time any more: its row cannot be read.
    pub(crate) fn give_up(&self, due: i64, run: RunId) {
        let mut state = self.state.lock();
        if state.first() == Some((due, run)) {
            state.by_due.pop();
        }
    }

    /// Whether it sleeps.
    pub(crate) fn contains(&self, run: RunId) -> bool {
        self.state.lock().dues.contains_key(&run.into())
    }

    /// Another run is its call from now on.
    pub(crate) fn set_apart(&self, call: &CallKey, run: RunId) {
        self.state.lock().by_call.remove(&(prefix(call), run));
    }

    /// Whether equal calls join it.
    pub(crate) fn is_joined(&self, call: &CallKey, run: RunId) -> bool {
        self.state.lock().by_call.contains(&(prefix(call), run))
    }

    /// Those that an equal call may join, the newest first: the rest of their keys is to be compared.
    pub(crate) fn of_call(&self, call: &CallKey) -> Vec<RunId> {
        if planted(Planted::SleeperNotJoined) {
            return Vec::new();
        }
        let prefix = prefix(call);
        let range = (prefix, RunId::from_bytes([0; 16]))..=(prefix, RunId::from_bytes([0xff; 16]));
        self.state.lock().by_call.range(range).map(|(_, run)| *run).rev().collect()
    }

    /// Who is due first.
    pub(crate) fn next(&self) -> Next {
        let mut state = self.state.lock();
        if state.is_closed {
            return Next::Closed;
        }
        while let Some((due, run)) = state.first() {
            if !state.is_stale(due, run) {
                return Next::At(due, run);
            }
            state.by_due.pop();
        }
        Next::Nobody
    }

    /// Nobody is woken any more.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_one();
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        // As many as there can be in memory: no precision is lost.
        self.metrics.runs_asleep.decrement(self.state.lock().dues.len() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u8) -> RunId {
        RunId::from_bytes([number; 16])
    }

    fn key(first: u8, last: u8) -> CallKey {
        let mut key = [first; 32];
        key[31] = last;
        key
    }

    fn sleepers() -> Sleepers {
        Sleepers::new(Arc::new(Metrics::new(&crate::definition::Registry::default())))
    }

    #[test]
    fn whoever_is_due_first_is_woken_first_and_leaves_nothing_behind() {
        let sleepers = sleepers();
        for (number, due) in [(1, 30), (2, -5), (3, 30)] {
            sleepers.enter(&key(number, 0), run(number), due, true);
        }
        let mut order = Vec::new();
        while let Next::At(due, next) = sleepers.next() {
            let number = next.as_bytes()[0];
            assert_eq!(sleepers.leave(&key(number, 0), next), Some(due));
            assert_eq!(sleepers.leave(&key(number, 0), next), None, "once");
            order.push(number);
        }
        assert_eq!(order, [2, 1, 3]);
        sleepers.close();
        assert_eq!(sleepers.next(), Next::Closed);
    }

    #[test]
    fn a_call_finds_all_that_may_be_it_but_those_that_another_run_stands_for() {
        let sleepers = sleepers();
        // The first bytes are the same.
        sleepers.enter(&key(7, 1), run(1), 10, true);
        sleepers.enter(&key(7, 2), run(2), 10, true);
        sleepers.enter(&key(7, 1), run(3), 10, false);
        sleepers.enter(&key(8, 1), run(4), 10, true);
        assert_eq!(sleepers.of_call(&key(7, 1)), [run(2), run(1)]);
        sleepers.set_apart(&key(7, 1), run(1));
        assert_eq!(sleepers.of_call(&key(7, 1)), [run(2)]);
        assert!(sleepers.is_joined(&key(7, 2), run(2)) && !sleepers.is_joined(&key(7, 1), run(3)));
        assert!(sleepers.contains(run(1)) && sleepers.contains(run(3)));
    }

    #[test]
    fn who_is_woken_early_and_sleeps_again_does_not_fill_memory() {
        let sleepers = sleepers();
        for due in 0..100_000 {
            sleepers.enter(&key(1, 0), run(1), 1_000_000 - due, true);
            assert_eq!(sleepers.leave(&key(1, 0), run(1)), Some(1_000_000 - due));
        }
        assert!(sleepers.state.lock().by_due.len() <= STALE_MAX + 1);
        assert_eq!(sleepers.next(), Next::Nobody);
    }
}
