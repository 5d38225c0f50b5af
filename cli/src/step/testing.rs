//! Events and stores for the unit tests of `step`.
//!
//! The n-th event of each kind is as late as it is: moments are equal unless a test says otherwise.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use relive_engine::codec::{self, Chain};
use relive_engine::error::ErrorKind;
use relive_engine::event::{
    Cause, ErrorRecord, Event, SignalReceived, TaskCompleted, TaskOutcome, TaskStarted, TraceCompleted, TraceForm,
    TraceOutcome, TraceRetried, TraceStarted, TraceYielded,
};
use relive_engine::id::{CodeHash, Epoch, InputHash, RunId, Sequence, Timestamp};
use relive_engine::index::{RUNS, RunRecord};
use relive_engine::log::{LOG, LogWriter};
use relive_engine::payload::Payload;
use relive_storage::{Durability, MemoryStore, Operation, Read, Store as _, Write};

pub(crate) const RUN: RunId = RunId::from_bytes([7; 16]);

/// 2026-01-02 03:04:05 UTC, and so many milliseconds.
pub(crate) fn moment(milliseconds: i64) -> Timestamp {
    Timestamp(1_767_323_045_000_000 + milliseconds * 1_000)
}

pub(crate) fn task_started(attempt: u32) -> Event {
    Event::TaskStarted(TaskStarted {
        task: Cow::Borrowed("digest"),
        code: CodeHash::from_bytes([0; 16]),
        input: Payload::encode(&BTreeMap::from([("urls", ["a", "b"])])).unwrap(),
        attempt,
        cause: if attempt == 1 { Cause::New } else { Cause::Retried },
        id: None,
        parent: None,
        tags: Vec::new(),
        at: moment(0),
    })
}

pub(crate) fn started_with(name: &str, argument: &str, at: i64) -> Event {
    let immediate = ["relive::now", "relive::random", "relive::uuid"].contains(&name);
    Event::TraceStarted(TraceStarted {
        name: Cow::Owned(name.to_owned()),
        code: CodeHash::from_bytes([0; 16]),
        input_hash: InputHash::from_bytes([0; 16]),
        occurrence: 0,
        input: Payload::encode(&BTreeMap::from([("url", argument)])).unwrap(),
        file: Cow::Borrowed("src/digest.rs"),
        line: 14,
        form: if immediate { TraceForm::Inline } else { TraceForm::Future },
        within: None,
        child: None,
        group: None,
        at: moment(at),
    })
}

pub(crate) fn started(name: &str) -> Event {
    started_with(name, "a", 0)
}

pub(crate) fn child_started(child: RunId) -> Event {
    let Event::TraceStarted(mut event) = started("digest") else { unreachable!() };
    event.child = Some(child);
    Event::TraceStarted(event)
}

fn ended(trace: u64, outcome: TraceOutcome, at: i64, took: u64) -> Event {
    Event::TraceCompleted(TraceCompleted {
        trace: Sequence(trace),
        outcome,
        tries: 1,
        started_at: moment(at),
        duration_micros: took,
        repeats: None,
    })
}

pub(crate) fn completed_at(trace: u64, output: &str, at: i64, took: u64) -> Event {
    ended(trace, TraceOutcome::Ok(Payload::encode(output).unwrap()), at, took)
}

pub(crate) fn completed(trace: u64, output: &str) -> Event {
    completed_at(trace, output, 0, 0)
}

pub(crate) fn failed(trace: u64, message: &str, at: i64, took: u64) -> Event {
    ended(trace, TraceOutcome::Err(ErrorRecord::new(ErrorKind::Failed, message)), at, took)
}

pub(crate) fn dropped(trace: u64) -> Event {
    ended(trace, TraceOutcome::Dropped, 0, 0)
}

pub(crate) fn retried(trace: u64, tries: u32) -> Event {
    Event::TraceRetried(TraceRetried {
        trace: Sequence(trace),
        tries,
        error: ErrorRecord::new(ErrorKind::Failed, "connection refused"),
        due: moment(5_000),
        started_at: moment(0),
        duration_micros: 0,
    })
}

pub(crate) fn yielded(trace: u64, index: u64) -> Event {
    let item = Payload::encode(&index).unwrap();
    Event::TraceYielded(TraceYielded { trace: Sequence(trace), index, item, repeats: None })
}

pub(crate) fn signal(name: &str) -> Event {
    let value = Payload::encode(&true).unwrap();
    Event::SignalReceived(SignalReceived { name: name.to_owned(), value, at: moment(0) })
}

pub(crate) fn task_completed() -> Event {
    Event::TaskCompleted(TaskCompleted {
        outcome: TaskOutcome::Ok(Payload::encode(&58u64).unwrap()),
        imposed: false,
        code: CodeHash::from_bytes([0; 16]),
        retry_at: None,
        at: moment(2_000),
    })
}

/// A store with a log of these batches.
pub(crate) fn stored(run: RunId, batches: Vec<Vec<Event>>) -> MemoryStore {
    let (store, mut writer, mut at) = (MemoryStore::new(), LogWriter::new(run, Epoch(1)), Sequence(0));
    write(&store, &mut writer, &mut at, batches);
    store
}

/// Adds the log of another run.
pub(crate) fn add(store: &MemoryStore, run: RunId, batches: Vec<Vec<Event>>) {
    write(store, &mut LogWriter::new(run, Epoch(1)), &mut Sequence(0), batches);
}

fn write(store: &MemoryStore, writer: &mut LogWriter, at: &mut Sequence, batches: Vec<Vec<Event>>) {
    for events in batches {
        let count = events.len() as u64;
        let (operations, _) = writer.append(*at, events, true).unwrap();
        store.commit(&[Write { preconditions: Vec::new(), operations }], Durability::Buffered).unwrap();
        at.0 += count;
    }
}

/// Flips a bit in the record that begins with this event.
pub(crate) fn damage(store: &MemoryStore, run: RunId, first: u64) {
    let key = [run.as_bytes().as_slice(), &first.to_be_bytes()].concat();
    let mut value = store.get(LOG, &key).unwrap().unwrap();
    *value.last_mut().unwrap() ^= 1;
    let operations = vec![Operation::Put { keyspace: LOG, key, value }];
    store.commit(&[Write { preconditions: Vec::new(), operations }], Durability::Buffered).unwrap();
}

/// The store as a reader.
pub(crate) fn reader(store: MemoryStore) -> Arc<dyn Read> {
    Arc::new(store)
}

/// A run that fetches two pages, one of them at the second try, and fails to publish.
pub(crate) fn digest() -> Vec<Vec<Event>> {
    let Event::TraceRetried(mut retried) = retried(3, 1) else { unreachable!() };
    retried.started_at = moment(120);
    retried.duration_micros = 80_000;
    vec![
        vec![task_started(1), started("relive::now"), completed(1, "x")],
        vec![started_with("fetch", "https://example.org/a", 10), started_with("fetch", "https://example.org/b", 10)],
        vec![Event::TraceRetried(retried)],
        vec![completed_at(4, "contents of b\u{1b}[2J", 10, 250_000), started_with("summarize", "b", 260)],
        vec![signal("approve")],
        vec![completed_at(3, "contents of a", 5_000, 300_000)],
        vec![completed_at(7, "two words", 5_300, 400_000), started_with("publish", "two words", 5_700)],
        vec![failed(11, "connection refused by 10.0.0.7", 5_700, 35_000), task_completed()],
    ]
}

/// Adds a run to the list of runs.
pub(crate) fn put_run(store: &MemoryStore, run: RunId, record: &RunRecord) {
    let key = run.as_bytes().to_vec();
    let (value, _) = codec::seal(&key, Chain::default(), record).unwrap();
    let operations = vec![Operation::Put { keyspace: RUNS, key, value }];
    store.commit(&[Write { preconditions: Vec::new(), operations }], Durability::Buffered).unwrap();
}
