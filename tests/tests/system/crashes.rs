//! Cuts a call's life at every commit in turn, and lets the next life of the process finish it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use relive::{Builder, Durability, Engine, RunId};
use relive_storage::{
    CommitError, FaultStore, KeyRange, Keyspace, MemoryStore, Order, Outcome, Page, PageLimit, Read, Store, Write,
};

use super::support::{Probe, builder, guard, open_with};
use relive_tests::manual_clock::ManualClock;

/// What a test does with an engine in each life: the same, as a caller that is started again would.
pub(crate) struct Life {
    pub(crate) engine: Engine,
    pub(crate) probe: Probe,
    pub(crate) clock: ManualClock,
}

/// Has `live` run to its end, with a store that stops after one commit, after two, and so on until it needs no more; then
/// again on what is left. `check` sees the second life and what came of it. The probe is that of both lives; time flows.
pub(crate) async fn cut_at_every_commit<T>(
    settings: impl Fn(Builder) -> Builder,
    live: impl AsyncFn(&Life) -> relive::Result<T>,
    check: impl Fn(&Life, T, u64),
) {
    for cut in 1..200 {
        let (store, probe, clock) = (FaultStore::stop_after(cut), Probe::default(), ManualClock::default());
        let engine = settings(builder(&probe).clock(clock.clone())).open_store(Arc::new(store.clone())).await;
        let engine = engine.expect("the first commit is for opening");
        let life = Life { engine, probe: probe.clone(), clock: clock.clone() };
        let whole = {
            let _flowing = clock.flow();
            guard(live(&life)).await
        };
        if let Ok(result) = whole {
            check(&life, result, cut);
            return;
        }
        let clock = clock.next_life(Duration::ZERO);
        let engine = open_with(&store.surviving(), settings(builder(&probe).clock(clock.clone()))).await;
        let life = Life { engine, probe, clock: clock.clone() };
        let _flowing = clock.flow();
        let result = guard(live(&life)).await.unwrap_or_else(|error| panic!("cut after {cut} commits: {error:?}"));
        check(&life, result, cut);
    }
    panic!("200 commits are not enough");
}

/// Where commits wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Gate {
    #[default]
    Open,
    /// Before anything of them is there.
    Before,
    /// When all is there, and nobody was told.
    Behind,
}

/// A store in memory whose commits wait as long as its gate is closed.
#[derive(Debug, Default)]
pub(crate) struct GatedStore {
    rows: MemoryStore,
    gate: Mutex<Gate>,
    changed: Condvar,
}

impl GatedStore {
    /// With what is stored already.
    pub(crate) fn of(rows: MemoryStore) -> Self {
        Self { rows, ..Self::default() }
    }

    /// From here on commits wait, or go on.
    pub(crate) fn close(&self, is_closed: bool) {
        self.set(if is_closed { Gate::Before } else { Gate::Open });
    }

    /// From here on commits wait there, or go on.
    pub(crate) fn set(&self, gate: Gate) {
        *self.gate.lock() = gate;
        self.changed.notify_all();
    }

    fn wait_while(&self, closed: Gate) {
        let mut gate = self.gate.lock();
        while *gate == closed {
            self.changed.wait(&mut gate);
        }
    }
}

impl Read for GatedStore {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, relive_storage::Error> {
        self.rows.get(keyspace, key)
    }

    fn scan(
        &self,
        keyspace: Keyspace,
        range: &KeyRange,
        order: Order,
        limit: PageLimit,
    ) -> Result<Page, relive_storage::Error> {
        self.rows.scan(keyspace, range, order, limit)
    }
}

impl Store for GatedStore {
    fn commit(&self, writes: &[Write], durability: Durability) -> Result<Vec<Outcome>, CommitError> {
        self.wait_while(Gate::Before);
        let outcomes = self.rows.commit(writes, durability);
        self.wait_while(Gate::Behind);
        outcomes
    }
}

/// The one run that there is.
pub(crate) fn only_run(engine: &Engine) -> RunId {
    let runs: Vec<_> = engine.runs().map(|run| run.expect("readable").run).collect();
    assert_eq!(runs.len(), 1, "one run");
    runs[0]
}

/// A store in memory on which nothing has happened yet, and what goes with it.
pub(crate) async fn first_life() -> (MemoryStore, Life) {
    life_with(|builder| builder).await
}

/// The same, for a test that looks at each wait by itself: runs stay in memory while they wait.
pub(crate) async fn watched_life() -> (MemoryStore, Life) {
    life_with(|builder| builder.sleep_out_after(Duration::MAX)).await
}

/// The same, set up otherwise.
pub(crate) async fn life_with(settings: impl Fn(Builder) -> Builder) -> (MemoryStore, Life) {
    let (store, probe, clock) = (MemoryStore::new(), Probe::default(), ManualClock::default());
    let engine = open_with(&store, settings(builder(&probe).clock(clock.clone()))).await;
    (store, Life { engine, probe, clock })
}

impl Life {
    /// The next life on what is stored now, so much later: this one has crashed. The probe is a new one.
    pub(crate) fn crash(&self, store: &MemoryStore, later: Duration) -> impl Future<Output = (MemoryStore, Self)> {
        self.crash_into(store, later, |builder| builder)
    }

    /// The same, set up otherwise.
    pub(crate) fn crash_into(
        &self,
        store: &MemoryStore,
        later: Duration,
        settings: impl Fn(Builder) -> Builder,
    ) -> impl Future<Output = (MemoryStore, Self)> {
        let (store, probe, clock) = (store.copy(), Probe::default(), self.clock.next_life(later));
        async move {
            let engine = open_with(&store, settings(builder(&probe).clock(clock.clone()))).await;
            (store, Self { engine, probe, clock })
        }
    }
}
