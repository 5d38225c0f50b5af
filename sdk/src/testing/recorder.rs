//! A store in memory that remembers each write, so that a crash after any of them can be looked at.
//!
//! Invariant: what is cut off is whole writes from the end, as a crash of the process leaves it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use relive_engine::codec;
use relive_engine::event::{Batch, Event, TraceOutcome};
use relive_engine::id::{RunId, Sequence};
use relive_engine::index::INBOX;
use relive_engine::log::LOG;
use relive_engine::replay::Scope as EngineScope;
use relive_storage::{
    CommitError, Durability, Error, ErrorKind, Fate, KeyRange, Keyspace, MemoryStore, Operation, Order, Outcome, Page,
    PageLimit, Read, Store, Write,
};

use super::clock::VirtualClock;
use super::memory::Scope;
use super::stage::Stage;

/// A write, what the time was then, and what it logs. Clones share them.
#[derive(Clone)]
pub(crate) struct Written {
    pub(crate) write: Arc<Write>,
    pub(crate) wall: i64,
    events: Arc<Mutex<Vec<Logged>>>,
}

/// An event of some run.
pub(crate) type Logged = (RunId, Sequence, Event);

impl Written {
    pub(crate) fn new(write: Write, wall: i64) -> Self {
        Self { write: Arc::new(write), wall, events: Arc::default() }
    }

    /// What it logs.
    pub(crate) fn events(&self) -> Vec<Logged> {
        self.events.lock().clone()
    }

    /// Whether it logs something of this run.
    pub(crate) fn is_of(&self, run: RunId) -> bool {
        self.events.lock().first().is_some_and(|(of, ..)| *of == run)
    }

    /// Whether it puts a signal into an inbox.
    pub(crate) fn is_signal(&self) -> bool {
        let is_inbox =
            |operation: &Operation| matches!(operation, Operation::Put { keyspace, .. } if *keyspace == INBOX);
        self.write.operations.iter().any(is_inbox)
    }
}

/// A commit whose outcome nobody gets to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Which write, from 0.
    pub(crate) at: usize,
    /// Whether it is there all the same.
    pub(crate) survives: bool,
}

/// A store in memory that remembers each write.
pub(crate) struct Recorder {
    memory: MemoryStore,
    written: Mutex<Vec<Written>>,
    calls: Mutex<Calls>,
    clock: VirtualClock,
    stage: Stage,
    lost: Option<Lost>,
}

/// Which calls the log holds as begun, by their positions.
#[derive(Default)]
struct Calls(BTreeMap<(RunId, Sequence), EngineScope>);

impl Recorder {
    /// What a crash after these writes left; in order of time.
    pub(crate) fn after(written: &[Written], clock: &VirtualClock, stage: &Stage, lost: Option<Lost>) -> Arc<Self> {
        let recorder = Self {
            memory: MemoryStore::new(),
            written: Mutex::new(written.to_vec()),
            calls: Mutex::default(),
            clock: clock.clone(),
            stage: stage.clone(),
            lost,
        };
        for written in written {
            // What held once holds again.
            let committed = recorder.memory.commit(std::slice::from_ref(&*written.write), Durability::Sync);
            assert!(committed.is_ok(), "memory does not fail");
            written.events.lock().iter().for_each(|(run, at, event)| recorder.note(*run, *at, event));
        }
        Arc::new(recorder)
    }

    /// How many writes there are.
    pub(crate) fn write_count(&self) -> usize {
        self.written.lock().len()
    }

    /// All writes so far.
    pub(crate) fn written(&self) -> Vec<Written> {
        self.written.lock().clone()
    }

    /// An event of the last write is durable.
    pub(crate) fn durable(&self, run: RunId, at: Sequence, event: &Event) {
        self.note(run, at, event);
        if let Some(last) = self.written.lock().last() {
            last.events.lock().push((run, at, event.clone()));
        }
    }

    /// Tells the stage which calls have succeeded.
    fn note(&self, run: RunId, at: Sequence, event: &Event) {
        let mut calls = self.calls.lock();
        match event {
            Event::TraceStarted(started) => {
                let outer = started.within.and_then(|outer| calls.0.get(&(run, outer)).copied());
                let scope = outer.unwrap_or_default().within(&started.name, started.input_hash, started.occurrence);
                calls.0.insert((run, at), scope);
            }
            Event::TraceCompleted(completed) if matches!(completed.outcome, TraceOutcome::Ok(_)) => {
                let scope: Option<Scope> = calls.0.get(&(run, completed.trace)).map(|scope| *scope.as_bytes());
                self.stage.acknowledge(scope.map(|scope| (run, scope)));
            }
            _ => {}
        }
    }
}

/// What a write logs, read from its bytes.
fn read_back(write: &Write) -> Vec<Logged> {
    let batches = write.operations.iter().filter_map(|operation| match operation {
        Operation::Put { keyspace, key, value } if *keyspace == LOG => {
            let run = RunId::from_bytes(key.get(..16)?.try_into().ok()?);
            let (batch, ..) = codec::open::<Batch>(key, value).ok()?;
            Some((run, batch))
        }
        _ => None,
    });
    let events = batches.flat_map(|(run, batch)| {
        (batch.first.0..).zip(batch.events).map(move |(at, event)| (run, Sequence(at), event))
    });
    events.collect()
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
        let at = self.written.lock().len();
        let is_lost = self.lost.filter(|lost| lost.at <= at);
        if let Some(lost) = is_lost
            && !(lost.survives && lost.at == at)
        {
            return Err(unknown(at));
        }
        let outcomes = self.memory.commit(writes, durability)?;
        let wall = self.clock.wall();
        let applied = writes.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Applied);
        for (write, _) in applied {
            let written = Written::new(write.clone(), wall);
            if is_lost.is_some() {
                // Nobody is told that it is durable.
                *written.events.lock() = read_back(write);
            }
            self.written.lock().push(written);
        }
        if is_lost.is_some() { Err(unknown(at)) } else { Ok(outcomes) }
    }
}

fn unknown(at: usize) -> CommitError {
    let error = Error::new(ErrorKind::Io, format!("what became of write {at} was made to be unknown"));
    CommitError { fate: Fate::Unknown, error }
}
