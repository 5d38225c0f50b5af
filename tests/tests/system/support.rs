//! What all themes use: a probe that counts and holds effects, engines over stores in memory, a guard against hangs.
//!
//! Invariant: an effect that is held has begun, so what it depends on is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use relive::{Builder, Engine, Event, RunId};
use relive_engine::index::{CACHE, IDS, META, RUNS, UNFINISHED};
use relive_engine::log::LOG;
use relive_storage::{KeyRange, Keyspace, MemoryStore, Order, PageLimit, Read, Row, Store};
use tokio::sync::watch;

/// Fails a test that hangs, after a minute: hundreds of times what the slowest takes.
pub(crate) async fn guard<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("the test hangs")
}

#[derive(Clone, Debug, Default)]
struct Seen {
    begun: Vec<String>,
    opened: BTreeSet<String>,
    counts: BTreeMap<String, usize>,
    /// Effects under way, and the most there have been.
    under_way: (usize, usize),
}

/// Sees which effects begin, and holds those with a gate until it is opened. Given to an engine by `provide`.
#[derive(Clone, Debug)]
pub(crate) struct Probe(Arc<watch::Sender<Seen>>);

impl Default for Probe {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Seen::default())))
    }
}

impl Probe {
    /// The probe of the engine whose effect or body calls this.
    pub(crate) fn here() -> relive::Result<Self> {
        Ok(Self::clone(&*relive::provided::<Self>()?))
    }

    /// Called by an effect: it begins.
    pub(crate) fn begin(&self, label: &str) {
        self.0.send_modify(|seen| {
            seen.begun.push(label.to_owned());
            *seen.counts.entry(label.to_owned()).or_default() += 1;
        });
    }

    /// Called by an effect: it begins, and goes on when the test opens its gate.
    pub(crate) async fn hold(&self, label: &str) {
        self.begin(label);
        let _leaves = Leaves::enter(self);
        let mut receiver = self.0.subscribe();
        receiver.wait_for(|seen| seen.opened.contains(label)).await.expect("the probe holds the sender");
    }

    /// Called by a test: lets the effects behind a gate go on, now and later.
    pub(crate) fn open(&self, gate: &str) {
        self.0.send_modify(|seen| {
            seen.opened.insert(gate.to_owned());
        });
    }

    /// Called by a test: waits until effects with this label have begun so often.
    pub(crate) async fn begun(&self, label: &str, count: usize) {
        let mut receiver = self.0.subscribe();
        let enough = |seen: &Seen| seen.counts.get(label).is_some_and(|begun| *begun >= count);
        guard(receiver.wait_for(enough)).await.expect("the probe holds the sender");
    }

    /// How often effects with this label have begun.
    pub(crate) fn count(&self, label: &str) -> usize {
        self.0.borrow().counts.get(label).copied().unwrap_or(0)
    }

    /// All effects that have begun, in order.
    pub(crate) fn all_begun(&self) -> Vec<String> {
        self.0.borrow().begun.clone()
    }

    /// The most effects that were held at once.
    pub(crate) fn held_max(&self) -> usize {
        self.0.borrow().under_way.1
    }
}

/// Counts an effect as under way until it ends or is dropped.
struct Leaves(Probe);

impl Leaves {
    fn enter(probe: &Probe) -> Self {
        probe.0.send_modify(|seen| {
            seen.under_way.0 += 1;
            seen.under_way.1 = seen.under_way.1.max(seen.under_way.0);
        });
        Self(probe.clone())
    }
}

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.0.send_modify(|seen| seen.under_way.0 -= 1);
    }
}

/// An engine's setting with this probe. Runs stay in memory while they wait, so that a test sees each of their waits; with
/// `RELIVE_SLEEP_OUT=1`, all that can be put to sleep is.
pub(crate) fn builder(probe: &Probe) -> Builder {
    let sleeps_out = std::env::var_os("RELIVE_SLEEP_OUT").is_some();
    let sleep_out_after = if sleeps_out { Duration::ZERO } else { Duration::MAX };
    Engine::builder().provide(probe.clone()).sleep_out_after(sleep_out_after)
}

/// An engine over a store in memory.
pub(crate) async fn open(store: &MemoryStore, probe: &Probe) -> Engine {
    open_with(store, builder(probe)).await
}

/// An engine over a store in memory, set up otherwise.
pub(crate) async fn open_with(store: &MemoryStore, builder: Builder) -> Engine {
    builder.open_store(Arc::new(store.clone()) as Arc<dyn Store>).await.expect("the engine opens")
}

/// The events of a run.
pub(crate) fn events(engine: &Engine, run: RunId) -> Vec<Event> {
    engine.events(run).map(|logged| logged.expect("the log is readable").event).collect()
}

/// The names of a run's events.
pub(crate) fn event_names(engine: &Engine, run: RunId) -> Vec<&'static str> {
    events(engine, run).iter().map(Event::name).collect()
}

/// All rows of a keyspace.
pub(crate) fn rows(store: &impl Read, keyspace: Keyspace) -> Vec<Row> {
    let all = PageLimit { row_count: usize::MAX, bytes: usize::MAX };
    store.scan(keyspace, &KeyRange::all(), Order::Ascending, all).expect("memory does not fail").rows
}

/// The rows of a run's log.
pub(crate) fn log_rows(store: &impl Read, run: RunId) -> Vec<Row> {
    let of_run = |row: &Row| row.key.starts_with(run.as_bytes());
    rows(store, LOG).into_iter().filter(of_run).collect()
}

/// A listener for `on_durable`, and what it was told, in order.
pub(crate) type Told = Arc<Mutex<Vec<relive::Acknowledged>>>;

/// Has a builder tell every acknowledged event.
pub(crate) fn listening(builder: Builder) -> (Builder, Told) {
    let told = Told::default();
    let listener = Arc::clone(&told);
    (builder.on_durable(move |acknowledged| listener.lock().push(acknowledged.clone())), told)
}

/// Every row of the engine's keyspaces but the count of openings and which of them was closed in order.
pub(crate) fn all_rows(store: &impl Read) -> Vec<Row> {
    let keyspaces = [LOG, RUNS, UNFINISHED, IDS, CACHE, META];
    keyspaces
        .into_iter()
        .flat_map(|keyspace| rows(store, keyspace))
        .filter(|row| row.key != b"epoch" && row.key != b"closed")
        .collect()
}
