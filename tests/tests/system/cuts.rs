//! Crashes behind every write in turn: what each leaves is gone on from, and compared with a run that nothing cut.
//!
//! Effects say what they are by an argument `label`, and tell the probe of it when they begin.
//!
//! Invariants that hold of every cut: no effect began whose start is not in what the crash left; what is there stays as it is,
//! and its successes are not run again; the result is the uncut run's; and the whole log replays, without any effect.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use relive::{Builder, Call, Error, ErrorKind, Event, RunId, TraceOutcome, Value};
use relive_engine::inspect::{self, runs};
use relive_storage::{
    CommitError, Durability, Error as StoreError, ErrorKind as StoreErrorKind, Fate, KeyRange, Keyspace, MemoryStore,
    Order, Outcome, Page, PageLimit, Read, Store, Write,
};
use serde::de::DeserializeOwned;

use super::support::{Probe, builder, events, guard, open_with};

/// More writes than any of these runs makes.
const WRITES_MAX: u64 = 300;

/// A store in memory that takes so many writes, and then is gone: also in the middle of a commit, so that where it stops
/// does not depend on which writes shared one.
#[derive(Debug)]
struct CutStore {
    rows: MemoryStore,
    left: Mutex<u64>,
}

impl Read for CutStore {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.get(keyspace, key)
    }

    fn scan(&self, keyspace: Keyspace, range: &KeyRange, order: Order, limit: PageLimit) -> Result<Page, StoreError> {
        self.rows.scan(keyspace, range, order, limit)
    }
}

impl Store for CutStore {
    fn commit(&self, writes: &[Write], durability: Durability) -> Result<Vec<Outcome>, CommitError> {
        let mut left = self.left.lock();
        let count = (*left).min(writes.len() as u64);
        *left -= count;
        let outcomes = self.rows.commit(&writes[..count as usize], durability)?;
        if outcomes.len() == writes.len() {
            return Ok(outcomes);
        }
        let error = StoreError::new(StoreErrorKind::Io, "the store is gone");
        Err(CommitError { fate: Fate::Unknown, error })
    }
}

/// A crash, and what came after it.
#[derive(Debug)]
pub(crate) struct Cut {
    /// How many writes there were.
    pub(crate) write_count: u64,
    /// The log that the crash left.
    pub(crate) before: Vec<Event>,
    /// What began before the crash.
    pub(crate) first: Probe,
    /// What began after it.
    pub(crate) second: Probe,
    /// The log in the end.
    pub(crate) after: Vec<Event>,
}

impl Cut {
    /// Whether the crash left the start of this call, and not its end.
    pub(crate) fn interrupted(&self, label: &str) -> bool {
        starts(&self.before).iter().any(|(at, of)| of == label && outcome_of(&self.before, *at).is_none())
    }

    /// Whether the crash left the end of this call.
    pub(crate) fn completed(&self, label: &str) -> bool {
        starts(&self.before).iter().any(|(at, of)| of == label && outcome_of(&self.before, *at).is_some())
    }
}

/// The positions and labels of the calls in a log that have one.
pub(crate) fn starts(log: &[Event]) -> Vec<(usize, String)> {
    let label = |(at, event): (usize, &Event)| match event {
        Event::TraceStarted(started) => match started.input.to_value().get("label") {
            Some(Value::Text(label)) => Some((at, label.clone())),
            _ => None,
        },
        _ => None,
    };
    log.iter().enumerate().filter_map(label).collect()
}

/// How the call that began here ended, if the log holds that.
pub(crate) fn outcome_of(log: &[Event], start: usize) -> Option<&TraceOutcome> {
    log.iter().find_map(|event| match event {
        Event::TraceCompleted(completed) if completed.trace.0 == start as u64 => Some(&completed.outcome),
        _ => None,
    })
}

/// The same for a call by its label.
pub(crate) fn outcome_by_label<'a>(log: &'a [Event], label: &str) -> Option<&'a TraceOutcome> {
    starts(log).into_iter().find(|(_, of)| of == label).and_then(|(at, _)| outcome_of(log, at))
}

/// Cuts a run behind every write. Returns the result, and the cuts.
pub(crate) async fn cut_everywhere<T>(call: impl Fn() -> Call<T, Error>) -> (T, Vec<Cut>)
where
    T: DeserializeOwned + PartialEq + fmt::Debug,
{
    cut_with(call, |builder| builder).await
}

/// The same with engines that are set up otherwise.
pub(crate) async fn cut_with<T>(call: impl Fn() -> Call<T, Error>, set_up: impl Fn(Builder) -> Builder) -> (T, Vec<Cut>)
where
    T: DeserializeOwned + PartialEq + fmt::Debug,
{
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open_with(&store, set_up(builder(&probe))).await;
    let expected = guard(engine.run(call().id("cut"))).await.expect("runs");
    let _ = guard(engine.shutdown()).await;
    let mut cuts = Vec::new();
    // The first write is the opening's.
    for stop in 1..WRITES_MAX {
        let (rows, first) = (MemoryStore::new(), Probe::default());
        let store = CutStore { rows: rows.clone(), left: Mutex::new(stop) };
        let engine = set_up(builder(&first)).open_store(Arc::new(store)).await.expect("opens");
        match guard(engine.run(call().id("cut"))).await {
            Ok(result) => {
                assert_eq!(result, expected);
                return (expected, cuts);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Storage, "cut {stop}: {error}"),
        }
        let _ = guard(engine.shutdown()).await;
        cuts.push(go_on(&rows.copy(), first, stop, &expected, &call, &set_up).await);
    }
    panic!("there is no end of writes");
}

async fn go_on<T>(
    left: &MemoryStore,
    first: Probe,
    stop: u64,
    expected: &T,
    call: &impl Fn() -> Call<T, Error>,
    set_up: &impl Fn(Builder) -> Builder,
) -> Cut
where
    T: DeserializeOwned + PartialEq + fmt::Debug,
{
    let before = log_of(left);
    let second = Probe::default();
    let engine = open_with(left, set_up(builder(&second))).await;
    let handle = guard(engine.start(call().id("cut"))).await.expect("goes on");
    let run = handle.id();
    let result = guard(handle).await.unwrap_or_else(|error| panic!("cut {stop}: {error}"));
    let after = events(&engine, run);
    assert_eq!(&result, expected, "cut {stop}");
    assert_eq!(&after[..before.len()], &before[..], "cut {stop}: what is there stays");
    none_began_too_early(stop, &before, &first);
    no_success_is_repeated(stop, &before, &second);
    let begun = second.all_begun();
    let replayed = guard(engine.replay(run)).await.unwrap_or_else(|error| panic!("cut {stop}: {error}"));
    assert!(replayed.is_some(), "cut {stop}: the log replays to its end");
    assert_eq!((second.all_begun(), events(&engine, run)), (begun, after.clone()), "cut {stop}: a replay does nothing");
    let _ = guard(engine.shutdown()).await;
    Cut { write_count: stop, before, first, second, after }
}

/// The events of the only run of a store.
pub(crate) fn log_of(store: &MemoryStore) -> Vec<Event> {
    let view: Arc<dyn Read> = Arc::new(store.copy());
    let run: Option<RunId> = runs(Arc::clone(&view)).next().map(|run| run.expect("readable").run);
    let log = |run| inspect::events(view, run).map(|logged| logged.expect("readable").event).collect();
    run.map_or_else(Vec::new, log)
}

/// An effect that began has its start in the log: as often as it began, tries aside.
fn none_began_too_early(stop: u64, before: &[Event], first: &Probe) {
    let started: Vec<_> = starts(before).into_iter().map(|(_, label)| label).collect();
    for label in first.all_begun() {
        let is_call = !label.starts_with('-');
        assert!(!is_call || started.contains(&label), "cut {stop}: {label} began before its start was durable");
    }
}

/// What succeeded before the crash does not begin after it.
fn no_success_is_repeated(stop: u64, before: &[Event], second: &Probe) {
    let mut allowed: BTreeMap<String, bool> = BTreeMap::new();
    for (at, label) in starts(before) {
        let is_over = matches!(outcome_of(before, at), Some(TraceOutcome::Ok(_)));
        *allowed.entry(label).or_default() |= !is_over;
    }
    for label in second.all_begun() {
        assert_ne!(allowed.get(&label), Some(&false), "cut {stop}: {label} succeeded, and began again");
    }
}
