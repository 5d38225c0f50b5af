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
use super::stage::{Scope, Stage};

/// A write, and what the time was then.
#[derive(Clone)]
pub(crate) struct Written {
    pub(crate) write: Write,
    pub(crate) wall: i64,
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
        let writes: Vec<_> = written.iter().map(|written| written.write.clone()).collect();
        // What held once holds again.
        let Ok(_) = recorder.memory.commit(&writes, Durability::Sync) else { unreachable!("memory does not fail") };
        recorder.note(&writes);
        Arc::new(recorder)
    }

    /// All writes so far.
    pub(crate) fn written(&self) -> Vec<Written> {
        self.written.lock().clone()
    }

    /// How many writes there are.
    pub(crate) fn write_count(&self) -> usize {
        self.written.lock().len()
    }

    /// Tells the stage which calls have succeeded.
    fn note(&self, writes: &[Write]) {
        let mut calls = self.calls.lock();
        let mut succeeded = Vec::new();
        for (run, batch) in writes.iter().filter_map(batch_of) {
            for (at, event) in (batch.first.0..).map(Sequence).zip(batch.events) {
                match event {
                    Event::TraceStarted(started) => {
                        let outer = started.within.and_then(|outer| calls.0.get(&(run, outer)).copied());
                        let scope =
                            outer.unwrap_or_default().within(&started.name, started.input_hash, started.occurrence);
                        calls.0.insert((run, at), scope);
                    }
                    Event::TraceCompleted(completed) if matches!(completed.outcome, TraceOutcome::Ok(_)) => {
                        let scope: Option<Scope> = calls.0.get(&(run, completed.trace)).map(|scope| *scope.as_bytes());
                        succeeded.extend(scope.map(|scope| (run, scope)));
                    }
                    _ => {}
                }
            }
        }
        self.stage.acknowledge(succeeded);
    }
}

/// The record that a write appends to a log.
pub(crate) fn batch_of(write: &Write) -> Option<(RunId, Batch)> {
    write.operations.iter().find_map(|operation| match operation {
        Operation::Put { keyspace, key, value } if *keyspace == LOG => {
            let run = RunId::from_bytes(key.get(..16)?.try_into().ok()?);
            let (batch, ..) = codec::open::<Batch>(key, value).ok()?;
            Some((run, batch))
        }
        _ => None,
    })
}

/// Whether a write puts a signal into an inbox.
pub(crate) fn is_signal(write: &Write) -> bool {
    write.operations.iter().any(|operation| matches!(operation, Operation::Put { keyspace, .. } if *keyspace == INBOX))
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
        let at = self.write_count();
        let is_lost = self.lost.filter(|lost| lost.at <= at);
        if let Some(lost) = is_lost
            && !(lost.survives && lost.at == at)
        {
            return Err(unknown(at));
        }
        let outcomes = self.memory.commit(writes, durability)?;
        let applied = writes.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Applied);
        let applied: Vec<_> = applied.map(|(write, _)| write.clone()).collect();
        let wall = self.clock.wall();
        self.written.lock().extend(applied.iter().map(|write| Written { write: write.clone(), wall }));
        self.note(&applied);
        if is_lost.is_some() { Err(unknown(at)) } else { Ok(outcomes) }
    }
}

fn unknown(at: usize) -> CommitError {
    let error = Error::new(ErrorKind::Io, format!("what became of write {at} was made to be unknown"));
    CommitError { fate: Fate::Unknown, error }
}
