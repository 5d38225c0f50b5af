//! A program whose code a test writes: tasks that look their bodies up by name, so that two engines over one store are two
//! releases of it; and a store that is copied after every commit, so that a crash can be had at each.
//!
//! Invariant: all effects go through `step`, whose labels a test keeps apart; so a label that began twice is an effect that
//! was repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use relive::{
    Builder, Engine, Error, Event, RunHandle, RunId, RunState, RunStatus, TaskOutcome, TraceOutcome, task, trace,
};
use relive_engine::log::LogReader;
use relive_storage::{
    CommitError, Durability, KeyRange, Keyspace, MemoryStore, Order, Outcome, Page, PageLimit, Read, Store, Write,
};

use super::support::{Probe, builder, events, guard};

/// What a body returns: whatever the test wants to see.
pub(crate) type Found = relive::Result<Vec<usize>>;

/// A body that a test wrote.
#[derive(Clone)]
struct Body(Arc<dyn Fn() -> BoxFuture<'static, Found> + Send + Sync>);

/// The bodies of one release of the program.
#[derive(Clone, Default)]
struct Bodies(BTreeMap<String, Body>);

/// Labels whose effects fail, for as long as they are in here.
#[derive(Clone, Default)]
pub(crate) struct Failing(Arc<Mutex<BTreeSet<String>>>);

impl Failing {
    pub(crate) fn add(&self, label: &str) {
        self.0.lock().insert(label.to_owned());
    }

    pub(crate) fn remove(&self, label: &str) {
        self.0.lock().remove(label);
    }
}

/// Effects begin, wait at their gate if the label begins with `held`, and fail if they are told to. Gives how often this
/// label has begun.
pub(crate) async fn effect(label: &str) -> relive::Result<usize> {
    let probe = Probe::here()?;
    if label.starts_with("held") {
        probe.hold(label).await;
    } else {
        probe.begin(label);
    }
    if relive::provided::<Failing>()?.0.lock().contains(label) {
        return Err(Error::msg(format!("{label} failed")));
    }
    Ok(probe.count(label))
}

/// The effect of all programs.
#[trace(name = "kit.step")]
pub(crate) async fn step(label: String) -> relive::Result<usize> {
    effect(&label).await
}

async fn body(name: &str) -> Found {
    let body = relive::provided::<Bodies>()?.0.get(name).cloned();
    body.ok_or_else(|| Error::msg(format!("this release has no body {name}")))?.0().await
}

/// The task that follows the body of this name.
#[task(name = "kit.task")]
pub(crate) async fn program(name: String) -> Found {
    body(&name).await
}

/// The same, and nothing of it is cached or joined.
#[task(name = "kit.uncached", cache = "off")]
pub(crate) async fn uncached(name: String) -> Found {
    body(&name).await
}

/// The same, and goes on as a new attempt if it no longer fits its log.
#[task(name = "kit.new_attempt", on_divergence = "new_attempt")]
pub(crate) async fn new_attempt(name: String) -> Found {
    body(&name).await
}

pub(crate) fn label(text: impl Into<String>) -> String {
    text.into()
}

/// The same step under a shorter name.
pub(crate) async fn do_step(text: &str) -> relive::Result<usize> {
    step(text.to_owned()).await
}

/// A store, what its effects do, and the code of its tasks.
#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) probe: Probe,
    pub(crate) failing: Failing,
    bodies: Bodies,
}

impl World {
    /// The same program with this body, in place of the one it had under that name.
    pub(crate) fn with<F>(&self, name: &str, body: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Found> + Send + 'static,
    {
        let mut world = self.clone();
        world.bodies.0.insert(name.to_owned(), Body(Arc::new(move || Box::pin(body()))));
        world
    }

    /// The same on another store, with nothing seen: another life of the process.
    pub(crate) fn on(&self, store: MemoryStore) -> Self {
        Self { store, probe: Probe::default(), ..self.clone() }
    }

    /// The same on a copy of the store: what a crash at this moment leaves.
    pub(crate) fn crashed(&self) -> Self {
        self.on(self.store.copy())
    }

    pub(crate) fn builder(&self) -> Builder {
        builder(&self.probe).provide(self.failing.clone()).provide(self.bodies.clone())
    }

    pub(crate) async fn open(&self) -> Engine {
        self.open_with(|builder| builder).await
    }

    pub(crate) async fn open_with(&self, set: impl FnOnce(Builder) -> Builder) -> Engine {
        self.open_store(Arc::new(self.store.clone()), set).await
    }

    async fn open_store(&self, store: Arc<dyn Store>, set: impl FnOnce(Builder) -> Builder) -> Engine {
        set(self.builder()).open_store(store).await.expect("opens")
    }

    /// Does something with a new engine on the world's store, until all runs have ended; gives the store as it was after
    /// every commit meanwhile.
    pub(crate) async fn every_commit(&self, act: impl AsyncFnOnce(&Engine)) -> Vec<MemoryStore> {
        let recorder = Recorder { store: self.store.clone(), copies: Arc::default() };
        let copies = Arc::clone(&recorder.copies);
        let engine = self.open_store(Arc::new(recorder), |builder| builder).await;
        act(&engine).await;
        settled(&engine).await;
        engine.shutdown().await.expect("shuts down");
        std::mem::take(&mut *copies.lock())
    }
}

/// A store that is copied after every commit.
struct Recorder {
    store: MemoryStore,
    copies: Arc<Mutex<Vec<MemoryStore>>>,
}

impl Read for Recorder {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, relive_storage::Error> {
        self.store.get(keyspace, key)
    }

    fn scan(
        &self,
        keyspace: Keyspace,
        range: &KeyRange,
        order: Order,
        limit: PageLimit,
    ) -> Result<Page, relive_storage::Error> {
        self.store.scan(keyspace, range, order, limit)
    }
}

impl Store for Recorder {
    fn commit(&self, writes: &[Write], durability: Durability) -> Result<Vec<Outcome>, CommitError> {
        let outcomes = self.store.commit(writes, durability)?;
        self.copies.lock().push(self.store.copy());
        Ok(outcomes)
    }
}

/// Waits until no run is under way or queued. Those that wait for somebody may stay.
pub(crate) async fn settled(engine: &Engine) {
    loop {
        let runs: Vec<_> = engine.runs().map(|run| run.expect("readable").run).collect();
        let under_way = |run: &RunId| matches!(engine.status(*run), Ok(RunStatus::Queued | RunStatus::Running));
        let runs: Vec<_> = runs.into_iter().filter(under_way).collect();
        if runs.is_empty() {
            return;
        }
        for run in runs {
            let _ = guard(handle(engine, run)).await;
        }
    }
}

/// A handle on a run of a test's body.
pub(crate) fn handle(engine: &Engine, run: RunId) -> RunHandle<Vec<usize>, Error> {
    engine.handle(run).expect("the run is known")
}

/// Which run follows this body, if there is one; the newest of several.
pub(crate) fn run_of(engine: &Engine, body: &str) -> Option<RunId> {
    runs_of(engine, body).into_iter().next()
}

/// The runs that follow this body, the newest first.
pub(crate) fn runs_of(engine: &Engine, body: &str) -> Vec<RunId> {
    let runs = engine.runs().map(|run| run.expect("readable").run);
    runs.filter(|run| {
        let first = events(engine, *run).into_iter().next();
        matches!(first, Some(Event::TaskStarted(started)) if started.input.to_value().get("name")
            == Some(&relive::Value::Text(body.to_owned())))
    })
    .collect()
}

/// How a run stands in the store.
pub(crate) fn state(engine: &Engine, run: RunId) -> RunState {
    record(engine, run).state
}

pub(crate) fn record(engine: &Engine, run: RunId) -> relive::RunRecord {
    engine.runs().map(|run| run.expect("readable")).find(|stored| stored.run == run).expect("it is there").record
}

/// The labels of the steps that a store holds as completed, in any run.
pub(crate) fn completed_labels(store: &MemoryStore) -> BTreeSet<String> {
    let store: Arc<dyn Read> = Arc::new(store.clone());
    let mut labels = BTreeSet::new();
    for run in relive_engine::inspect::runs(Arc::clone(&store)) {
        let mut reader = LogReader::new(Arc::clone(&store), run.expect("readable").run);
        let mut started = BTreeMap::new();
        while let Some(batch) = reader.next_batch().expect("readable") {
            for (at, event) in (batch.first.0..).zip(batch.events) {
                match event {
                    Event::TraceStarted(start) if start.name == "kit.step" => {
                        if let Some(relive::Value::Text(label)) = start.input.to_value().get("label") {
                            started.insert(at, label.clone());
                        }
                    }
                    Event::TraceCompleted(completed) if matches!(completed.outcome, TraceOutcome::Ok(_)) => {
                        labels.extend(started.remove(&completed.trace.0));
                    }
                    _ => {}
                }
            }
        }
    }
    labels
}

/// What must hold of any store that was taken up after a crash, with `before` as the crash left it: no completed effect was
/// repeated and none began twice in this life, and each run replays by itself to what its log says.
pub(crate) async fn checked(engine: &Engine, world: &World, before: &MemoryStore, what: &str) {
    let completed = completed_labels(before);
    for begun in world.probe.all_begun() {
        assert!(!completed.contains(&begun), "{what}: {begun} was completed, and began again");
        assert_eq!(world.probe.count(&begun), 1, "{what}: {begun} began more than once");
    }
    replays(engine, what).await;
}

/// Every run replays by itself to what its log says.
pub(crate) async fn replays(engine: &Engine, what: &str) {
    for run in engine.runs().map(|run| run.expect("readable").run) {
        let log = events(engine, run);
        let replayed = guard(engine.replay(run)).await;
        let replayed = replayed.unwrap_or_else(|error| panic!("{what}: run {run} does not replay: {error}\n{log:#?}"));
        let ended = match log.last() {
            Some(Event::TaskCompleted(completed)) => Some(completed.outcome.clone()),
            _ => None,
        };
        assert_eq!(replayed, ended, "{what}: run {run}");
    }
}

/// The labels of the effects that began in this life, in order.
pub(crate) fn begun(world: &World) -> Vec<String> {
    world.probe.all_begun()
}

/// The outcome of the run's last attempt.
pub(crate) fn outcome(engine: &Engine, run: RunId) -> TaskOutcome {
    match events(engine, run).pop() {
        Some(Event::TaskCompleted(completed)) => completed.outcome,
        other => panic!("run {run} has not ended: {other:?}"),
    }
}
