//! Decides when effects end and with what, and keeps what is committed.
//!
//! *Scheduled*: whenever every effect that should be under way is, the one whose key hashes lowest ends, with a value
//! made of its key. So two runs of one program deliver in one order, however often they are interrupted. *Free*: effects
//! end in any order with any value.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use relive::{Clock, Engine, ErrorKind, Event, RunId, Sequence, Timestamp, TraceOutcome, TraceStarted};
use relive_engine::codec;
use relive_engine::event::Batch;
use relive_engine::log::LOG;
use relive_engine::replay::Scope;
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
    /// Whether time passes while somebody sleeps: microseconds since its life began.
    moves: bool,
    elapsed: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The engine, for effects that signal; and whether it is on its way out.
    engine: Option<Engine>,
    is_closing: bool,
    /// The keys of traces that bodies called, by their starts.
    keys: BTreeMap<(RunId, Sequence), String>,
    /// Failed tries, by key.
    tries: BTreeMap<String, i64>,
    /// Children that are not over, by their run: the starts in their parents.
    children: BTreeMap<RunId, (RunId, Sequence)>,
    /// How often effects began in this life, by key.
    begun: BTreeMap<String, u32>,
    /// Traces that the log holds as started and not completed.
    open: BTreeSet<(RunId, Sequence)>,
    /// Effects under way, by key.
    under_way: BTreeMap<(String, String), oneshot::Sender<()>>,
    /// Traces that answer within their step, or that effects called: neither is directed.
    undirected: BTreeSet<(RunId, Sequence)>,
    /// A step is being appended in parts: what else it starts is not known yet.
    in_step: bool,
    sleep_count: u64,
}

impl Director {
    pub(crate) fn scheduled(seed: u64) -> Self {
        Self::new(Some(seed), false)
    }

    pub(crate) fn free() -> Self {
        Self::new(None, false)
    }

    /// Free, with a clock that goes on to the moment at which a sleep ends: so runs can be put to sleep.
    pub(crate) fn resting() -> Self {
        Self::new(None, true)
    }

    fn new(seed: Option<u64>, moves: bool) -> Self {
        Self(Arc::new(Shared { seed, moves, elapsed: AtomicU64::new(0), state: Mutex::default() }))
    }

    pub(crate) fn rests(&self) -> bool {
        self.0.moves
    }

    pub(crate) fn is_scheduled(&self) -> bool {
        self.0.seed.is_some()
    }

    /// What every effect does. `place` is the same in every run of a program; `key` is of this run.
    pub(crate) async fn effect(&self, place: String, key: String) -> i64 {
        *self.0.state.lock().begun.entry(key.clone()).or_default() += 1;
        let Some(seed) = self.0.seed else { return free_effect().await };
        let value = (hash(seed ^ 1, &place) % 1000) as i64;
        let (sender, receiver) = oneshot::channel();
        self.0.state.lock().under_way.insert((place, key), sender);
        self.next();
        // The director outlives every effect.
        let _ = receiver.await;
        value
    }

    /// What a plain function returns.
    pub(crate) fn value(&self, place: &str, key: &str) -> i64 {
        *self.0.state.lock().begun.entry(key.to_owned()).or_default() += 1;
        self.0.seed.map_or_else(|| rand::random_range(0..1000), |seed| (hash(seed ^ 1, place) % 1000) as i64)
    }

    /// How often a trace failed and was tried again, as the log has it.
    pub(crate) fn tries(&self, key: &str) -> i64 {
        self.0.state.lock().tries.get(key).copied().unwrap_or(0)
    }

    /// The effects that began in this life.
    pub(crate) fn begun(&self) -> BTreeMap<String, u32> {
        self.0.state.lock().begun.clone()
    }

    pub(crate) fn forget_begun(&self) {
        self.0.state.lock().begun.clear();
    }

    pub(crate) fn set_engine(&self, engine: Option<Engine>) {
        let mut state = self.0.state.lock();
        state.is_closing = engine.is_none();
        state.engine = engine;
    }

    /// Signals every run that goes on, the one whose effect this is among them: something that nobody waits for, a number,
    /// and a word.
    pub(crate) async fn send(&self, name: &str, value: i64) {
        let (engine, runs) = loop {
            {
                let state = self.0.state.lock();
                let runs: BTreeSet<_> = state.keys.keys().map(|(run, _)| *run).collect();
                match &state.engine {
                    Some(engine) => break (engine.clone(), runs),
                    None if state.is_closing => return,
                    None => {}
                }
            }
            // Unfinished runs go on while the engine is still opening.
            tokio::task::yield_now().await;
        };
        for run in runs {
            let nothing = engine.signal(run, name, true).await;
            let number = engine.signal(run, name, value).await;
            let word = engine.signal(run, name, "word").await;
            for sent in [nothing, number, word] {
                match sent {
                    Ok(()) => {}
                    Err(error) if matches!(error.kind(), ErrorKind::Ended | ErrorKind::Closed) => {}
                    // Sent again after a crash, one may come to the wait for another.
                    Err(error) if error.kind() == ErrorKind::Payload => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// Ends the next effect, if all that should be under way are.
    fn next(&self) {
        let Some(seed) = self.0.seed else { return };
        let mut state = self.0.state.lock();
        state.under_way.retain(|_, sender| !sender.is_closed());
        if state.in_step || state.under_way.is_empty() || state.under_way.len() != state.open.len() {
            return;
        }
        let lowest = state.under_way.keys().min_by_key(|(place, _)| hash(seed, place)).cloned();
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
            state.in_step = !batch.settled;
            for (at, event) in (batch.first.0..).map(Sequence).zip(batch.events) {
                state.note(run, at, event);
            }
        }
        drop(state);
        self.next();
    }
}

impl State {
    fn note(&mut self, run: RunId, at: Sequence, event: Event) {
        match event {
            Event::TaskStarted(_) => {
                // From here on a child's own traces count.
                if let Some(start) = self.children.get(&run) {
                    self.open.remove(start);
                }
            }
            Event::TraceStarted(started) => {
                if started.within.is_none() {
                    self.keys.insert((run, at), key_of(run, &started));
                }
                if started.form.is_inline() || started.within.is_some() {
                    self.undirected.insert((run, at));
                } else {
                    self.open.insert((run, at));
                }
                if let Some(child) = started.child {
                    self.children.insert(child, (run, at));
                }
            }
            Event::TraceRetried(retried) => {
                if let Some(key) = self.keys.get(&(run, retried.trace)).cloned() {
                    self.tries.insert(key, i64::from(retried.tries));
                }
            }
            Event::TraceCompleted(completed) => {
                let start = (run, completed.trace);
                self.children.retain(|_, parent| *parent != start);
                self.open.remove(&start);
            }
            Event::TaskCompleted(_) => {
                self.open.retain(|(open, _)| *open != run);
                // Its parent is to be told.
                self.open.extend(self.children.get(&run));
            }
            _ => {}
        }
    }
}

/// The idempotency key of a trace that a body calls.
fn key_of(run: RunId, started: &TraceStarted) -> String {
    let scope = Scope::default().within(&started.name, started.input_hash, started.occurrence);
    let mut hasher = blake3::Hasher::new();
    hasher.update(run.as_bytes()).update(scope.as_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}

impl Clock for Director {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000_000_i64.saturating_add_unsigned(self.0.elapsed.load(Ordering::Relaxed)))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.elapsed.load(Ordering::Relaxed))
    }

    /// Time is an effect like others. A wait between two tries is over at once.
    fn sleep_until(&self, due: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let director = self.clone();
        Box::pin(async move {
            let passes = || {
                if director.0.moves {
                    let due = u64::try_from(due.as_micros()).unwrap_or(u64::MAX);
                    director.0.elapsed.fetch_max(due, Ordering::Relaxed);
                }
            };
            if due < Duration::from_millis(10) {
                return passes();
            }
            let number = {
                let mut state = director.0.state.lock();
                state.sleep_count += 1;
                state.sleep_count
            };
            let unique = if director.is_scheduled() { 0 } else { number };
            director.effect(format!("sleep {due:?}"), unique.to_string()).await;
            passes();
        })
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

/// Any number of turns of the runtime.
pub(crate) async fn turns() {
    for _ in 0..rand::random_range(0..6) {
        tokio::task::yield_now().await;
    }
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
    /// Told when there are so many writes.
    reaches: Mutex<Option<(usize, oneshot::Sender<()>)>>,
    director: Director,
}

impl Recorder {
    pub(crate) fn new(director: Director) -> Self {
        Self { memory: MemoryStore::new(), writes: Mutex::default(), reaches: Mutex::default(), director }
    }

    /// What a crash right after this many writes leaves.
    pub(crate) fn cut(writes: &[Write], director: Director) -> Self {
        let recorder = Self::new(director);
        recorder.commit(writes, Durability::Sync).unwrap();
        recorder
    }

    /// Is ready when there are so many writes.
    pub(crate) fn reaches(&self, count: usize) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        *self.reaches.lock() = Some((count, sender));
        receiver
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
        let count = {
            let mut kept = self.writes.lock();
            kept.extend_from_slice(writes);
            kept.len()
        };
        let mut reaches = self.reaches.lock();
        if reaches.as_ref().is_some_and(|(least, _)| count >= *least)
            && let Some((_, sender)) = reaches.take()
        {
            let _ = sender.send(());
        }
        drop(reaches);
        self.director.committed(writes);
        Ok(outcomes)
    }
}

/// The events of each write that appends to a log, without what differs between two runs of one program: times, and
/// the order within a step (and with it the positions).
pub(crate) fn steps(run: RunId, writes: &[Write]) -> Vec<Vec<String>> {
    let records = writes.iter().flat_map(|write| &write.operations).filter_map(log_record);
    let records = records.filter(|(key, _)| key[..16] == *run.as_bytes());
    let mut keys = BTreeMap::new();
    records
        .map(|(key, value)| {
            let (batch, ..) = codec::open::<Batch>(key, value).unwrap();
            let events = (batch.first.0..).map(Sequence).zip(batch.events);
            let mut step: Vec<_> = events.filter_map(|(at, event)| comparable(at, event, &mut keys)).collect();
            step.sort();
            step
        })
        .collect()
}

/// Whether a write appends to a run's log.
pub(crate) fn is_step(run: RunId, write: &Write) -> bool {
    let mut records = write.operations.iter().filter_map(log_record);
    records.any(|(key, _)| key[..16] == *run.as_bytes())
}

/// The keys of effects that the log holds as succeeded: they must not begin again.
pub(crate) fn succeeded(writes: &[Write]) -> BTreeSet<String> {
    let mut keys = BTreeMap::new();
    let mut succeeded = BTreeSet::new();
    for (key, value) in writes.iter().flat_map(|write| &write.operations).filter_map(log_record) {
        let run = RunId::from_bytes(key[..16].try_into().unwrap());
        let (batch, ..) = codec::open::<Batch>(key, value).unwrap();
        for (at, event) in (batch.first.0..).map(Sequence).zip(batch.events) {
            match event {
                Event::TraceStarted(started) if started.within.is_none() && started.child.is_none() => {
                    keys.insert((run, at), key_of(run, &started));
                }
                Event::TraceCompleted(completed) if matches!(completed.outcome, TraceOutcome::Ok(_)) => {
                    succeeded.extend(keys.get(&(run, completed.trace)).cloned());
                }
                _ => {}
            }
        }
    }
    succeeded
}

fn comparable(at: Sequence, event: Event, keys: &mut BTreeMap<Sequence, (String, bool)>) -> Option<String> {
    Some(match event {
        // What stands beside the steps comes as it comes.
        Event::TraceRetried(_) | Event::SignalReceived(_) => return None,
        Event::TraceStarted(started) if started.within.is_some() => return None,
        Event::TraceCompleted(completed) if !keys.contains_key(&completed.trace) => return None,
        Event::TaskStarted(started) => format!("started {:?}", started.input),
        Event::TraceStarted(started) => {
            let key = format!("{}({:?})#{}", started.name, started.input_hash, started.occurrence);
            keys.insert(at, (key.clone(), started.form.is_inline()));
            format!("trace {key}")
        }
        Event::TraceCompleted(completed) => match &keys[&completed.trace] {
            (key, true) => format!("answered {key}"),
            (key, false) if completed.outcome == TraceOutcome::Dropped => format!("dropped {key}"),
            (key, false) => format!("delivered {key} {:?}", completed.outcome),
        },
        Event::TaskCompleted(completed) => format!("completed {:?} {}", completed.outcome, completed.imposed),
        Event::TraceYielded(yielded) => format!("item {} of {}", yielded.index, keys[&yielded.trace].0),
        other => format!("{other:?}"),
    })
}
