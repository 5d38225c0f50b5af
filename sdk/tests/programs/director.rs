//! Decides when effects end and with what, and keeps what is committed.
//!
//! *Scheduled*: whenever every effect that should be under way is, the one whose key hashes lowest ends, with a value
//! made of its key. So two runs of one program deliver in one order, however often they are interrupted. *Free*: effects
//! end in any order with any value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use relive::{Event, RunId, Sequence};
use relive_engine::codec;
use relive_engine::event::Batch;
use relive_engine::log::LOG;
use relive_storage::{
    CommitError, Durability, Error, KeyRange, Keyspace, MemoryStore, Operation, Order, Outcome, Page, PageLimit, Read,
    Store, Write,
};
use tokio::sync::oneshot;

#[derive(Clone)]
pub(crate) struct Director(Arc<Shared>);

struct Shared {
    /// `None`: free.
    seed: Option<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Traces that the log holds as started and not completed.
    open: BTreeSet<(RunId, Sequence)>,
    /// Effects under way, by key.
    under_way: BTreeMap<String, oneshot::Sender<()>>,
    /// Traces that answer within their step.
    immediate: BTreeSet<(RunId, Sequence)>,
}

impl Director {
    pub(crate) fn scheduled(seed: u64) -> Self {
        Self(Arc::new(Shared { seed: Some(seed), state: Mutex::default() }))
    }

    pub(crate) fn free() -> Self {
        Self(Arc::new(Shared { seed: None, state: Mutex::default() }))
    }

    pub(crate) fn is_scheduled(&self) -> bool {
        self.0.seed.is_some()
    }

    /// What every effect does.
    pub(crate) async fn effect(&self, key: String) -> i64 {
        let Some(seed) = self.0.seed else { return free_effect().await };
        let value = (hash(seed ^ 1, &key) % 1000) as i64;
        let (sender, receiver) = oneshot::channel();
        self.0.state.lock().under_way.insert(key, sender);
        self.next();
        // The director outlives every effect.
        let _ = receiver.await;
        value
    }

    /// Ends the next effect, if all that should be under way are.
    fn next(&self) {
        let Some(seed) = self.0.seed else { return };
        let mut state = self.0.state.lock();
        state.under_way.retain(|_, sender| !sender.is_closed());
        if state.under_way.is_empty() || state.under_way.len() != state.open.len() {
            return;
        }
        let lowest = state.under_way.keys().min_by_key(|key| hash(seed, key)).cloned();
        if let Some(sender) = lowest.and_then(|key| state.under_way.remove(&key)) {
            let _ = sender.send(());
        }
    }

    fn committed(&self, writes: &[Write]) {
        let operations = writes.iter().flat_map(|write| &write.operations);
        let mut state = self.0.state.lock();
        for (key, value) in operations.filter_map(log_record) {
            let run = RunId::from_bytes(key[..16].try_into().unwrap());
            let (batch, ..) = codec::open::<Batch>(key, value).unwrap();
            for (at, event) in (batch.first.0..).map(Sequence).zip(batch.events) {
                match event {
                    Event::TraceStarted(started) if started.form.is_inline() => _ = state.immediate.insert((run, at)),
                    Event::TraceStarted(_) => _ = state.open.insert((run, at)),
                    Event::TraceCompleted(completed) if !state.immediate.contains(&(run, completed.trace)) => {
                        assert!(state.open.remove(&(run, completed.trace)), "{completed:?} was not open");
                    }
                    Event::TaskCompleted(_) => state.open.clear(),
                    _ => {}
                }
            }
        }
        drop(state);
        self.next();
    }
}

fn log_record(operation: &Operation) -> Option<(&[u8], &[u8])> {
    match operation {
        Operation::Put { keyspace, key, value } if *keyspace == LOG => Some((key, value)),
        _ => None,
    }
}

fn hash(seed: u64, key: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(key.as_bytes());
    u64::from_le_bytes(hasher.finalize().as_bytes()[..8].try_into().unwrap())
}

/// Ends after any number of turns of the runtime, or from another thread.
async fn free_effect() -> i64 {
    if rand::random_bool(0.1) {
        let (sender, receiver) = oneshot::channel();
        std::thread::spawn(move || sender.send(()));
        let _ = receiver.await;
    }
    for _ in 0..rand::random_range(0..12) {
        tokio::task::yield_now().await;
    }
    rand::random_range(0..1000)
}

/// A store in memory that remembers each write, so that it can be cut after any.
pub(crate) struct Recorder {
    memory: MemoryStore,
    writes: Mutex<Vec<Write>>,
    director: Director,
}

impl Recorder {
    pub(crate) fn new(director: Director) -> Self {
        Self { memory: MemoryStore::new(), writes: Mutex::default(), director }
    }

    /// What a crash right after this many writes leaves.
    pub(crate) fn cut(writes: &[Write], director: Director) -> Self {
        let recorder = Self::new(director);
        recorder.commit(writes, Durability::Sync).unwrap();
        recorder
    }

    pub(crate) fn writes(&self) -> Vec<Write> {
        self.writes.lock().clone()
    }
}

impl Read for Recorder {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.memory.get(keyspace, key)
    }

    fn scan(&self, keyspace: Keyspace, range: &KeyRange, order: Order, limit: PageLimit) -> Result<Page, Error> {
        self.memory.scan(keyspace, range, order, limit)
    }
}

impl Store for Recorder {
    fn commit(&self, writes: &[Write], durability: Durability) -> Result<Vec<Outcome>, CommitError> {
        let outcomes = self.memory.commit(writes, durability)?;
        self.writes.lock().extend_from_slice(writes);
        self.director.committed(writes);
        Ok(outcomes)
    }
}

/// The events of each write that appends to a log, without what differs between two runs of one program: times, and
/// the order within a step (and with it the positions).
pub(crate) fn steps(writes: &[Write]) -> Vec<Vec<String>> {
    let records = writes.iter().flat_map(|write| &write.operations).filter_map(log_record);
    let mut keys = BTreeMap::new();
    records
        .map(|(key, value)| {
            let (batch, ..) = codec::open::<Batch>(key, value).unwrap();
            let events = (batch.first.0..).map(Sequence).zip(batch.events);
            let mut step: Vec<_> = events.map(|(at, event)| comparable(at, event, &mut keys)).collect();
            step.sort();
            step
        })
        .collect()
}

/// Whether a write appends to a log.
pub(crate) fn is_step(write: &Write) -> bool {
    write.operations.iter().any(|operation| log_record(operation).is_some())
}

fn comparable(at: Sequence, event: Event, keys: &mut BTreeMap<Sequence, (String, bool)>) -> String {
    match event {
        Event::TaskStarted(started) => format!("started {:?}", started.input),
        Event::TraceStarted(started) => {
            let key = format!("{}({:?})#{}", started.name, started.input_hash, started.occurrence);
            keys.insert(at, (key.clone(), started.form.is_inline()));
            format!("trace {key}")
        }
        Event::TraceCompleted(completed) => match &keys[&completed.trace] {
            (key, true) => format!("answered {key}"),
            (key, false) => format!("completed {key} {:?}", completed.outcome),
        },
        Event::TaskCompleted(completed) => format!("completed {:?} {}", completed.outcome, completed.imposed),
        other => format!("{other:?}"),
    }
}
