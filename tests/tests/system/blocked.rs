//! Runs that cannot go on until somebody acts: on record, with the reason and since when, for whoever only reads the store.

use std::sync::Arc;
use std::time::Duration;

use relive::__private::{TaskEntry, TraceEntry, inventory};
use relive::{BlockReason, Cancellation, Clock, Engine, RunHandle, RunId, RunStatus, Timestamp, task, trace};
use relive_engine::definition::Registry;
use relive_engine::index::UnfinishedRecord;
use relive_engine::inspect;
use relive_engine::options::Options;
use relive_storage::{MemoryStore, Store};
use relive_tests::manual_clock::ManualClock;

use super::support::{Probe, builder, guard, log_rows, open_with};

/// The release of the program that an engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    First,
    /// Calls another trace.
    Diverges,
    /// Reads a result as another type.
    ReadsOtherType,
}

#[trace(name = "blocked.typed")]
async fn typed<T>() -> relive::Result<T>
where
    T: serde::Serialize + serde::de::DeserializeOwned + Default + Send + 'static,
{
    Ok(T::default())
}

#[trace(name = "blocked.other")]
async fn other() -> relive::Result<u32> {
    Ok(1)
}

#[trace(name = "blocked.held")]
async fn held() -> relive::Result<u32> {
    Probe::here()?.hold("held").await;
    Ok(1)
}

#[task(name = "blocked.edited")]
async fn edited(_number: u32) -> relive::Result<u32> {
    match *relive::provided::<Release>()? {
        Release::First => drop(typed::<u32>().await?),
        Release::Diverges => drop(other().await?),
        Release::ReadsOtherType => drop(typed::<String>().await?),
    }
    held().await
}

/// The answer of a person, waited for: nothing is appended when it goes on.
#[task(name = "blocked.waits", allow(signal))]
async fn waits() -> relive::Result<u32> {
    match *relive::provided::<Release>()? {
        Release::First => drop(typed::<u32>().await?),
        _ => drop(other().await?),
    }
    relive::signal::<u32>("answer").await
}

async fn release(store: &MemoryStore, probe: &Probe, clock: &ManualClock, release: Release) -> Engine {
    open_with(store, builder(probe).clock(clock.clone()).provide(release)).await
}

fn handle(engine: &Engine, run: RunId) -> RunHandle<u32, relive::Error> {
    engine.handle(run).expect("the run is known")
}

/// A store that a process left by dying while the run's effect was held.
async fn interrupted(clock: &ManualClock) -> (MemoryStore, RunId) {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = release(&store, &probe, clock, Release::First).await;
    let run = guard(engine.start(edited(1))).await.expect("starts").id();
    probe.begun("held", 1).await;
    (store.copy(), run)
}

fn record(store: &MemoryStore, run: RunId) -> UnfinishedRecord {
    inspect::unfinished(store, run).expect("readable").expect("it is unfinished")
}

fn reason_and_since(store: &MemoryStore, run: RunId) -> (Option<BlockReason>, Option<Timestamp>) {
    let record = record(store, run);
    (record.block_reason(), record.blocked_since())
}

async fn is_stuck(store: &MemoryStore, run: RunId, clock: &ManualClock, code: Release, reason: BlockReason) {
    let engine = release(store, &Probe::default(), clock, code).await;
    let error = guard(handle(&engine, run)).await.expect_err("it cannot go on");
    let (on_record, since) = reason_and_since(store, run);
    assert_eq!(on_record, Some(reason), "{error}");
    assert_eq!(record(store, run).block_message(), Some(error.to_string().as_str()));
    let blocked = RunStatus::Blocked { reason, message: error.to_string(), since };
    assert_eq!(engine.status(run).expect("known"), blocked);
    guard(engine.shutdown()).await.expect("shuts down");
}

#[tokio::test]
async fn a_run_that_does_not_fit_its_log_is_blocked_on_record_until_code_that_fits_goes_on() {
    for (code, reason) in
        [(Release::Diverges, BlockReason::Diverged), (Release::ReadsOtherType, BlockReason::Unreadable)]
    {
        let clock = ManualClock::default();
        let (store, run) = interrupted(&clock).await;
        let before = log_rows(&store, run);
        assert_eq!(reason_and_since(&store, run), (None, None));
        clock.advance(Duration::from_secs(60));
        let found_at = clock.now();
        is_stuck(&store, run, &clock, code, reason).await;
        assert_eq!(reason_and_since(&store, run), (Some(reason), Some(found_at)));
        clock.advance(Duration::from_secs(3600));
        is_stuck(&store, run, &clock, code, reason).await;
        assert_eq!(reason_and_since(&store, run), (Some(reason), Some(found_at)), "since it was found first");
        assert_eq!(log_rows(&store, run), before, "the log is as it was");

        let probe = Probe::default();
        let engine = release(&store, &probe, &clock, Release::First).await;
        probe.begun("held", 1).await;
        assert_eq!(reason_and_since(&store, run), (None, None), "it goes on");
        assert_eq!(engine.status(run).expect("known"), RunStatus::Running);
        probe.open("held");
        assert_eq!(guard(handle(&engine, run)).await.expect("it fits"), 1);
    }
}

#[tokio::test]
async fn a_run_that_only_waits_again_is_blocked_no_more() {
    let (clock, store, probe) = (ManualClock::default(), MemoryStore::new(), Probe::default());
    let engine = release(&store, &probe, &clock, Release::First).await;
    let run = guard(engine.start(waits())).await.expect("starts").id();
    guard(engine.shutdown()).await.expect("shuts down");
    is_stuck(&store, run, &clock, Release::Diverges, BlockReason::Diverged).await;
    let engine = release(&store, &probe, &clock, Release::First).await;
    guard(engine.signal(run, "answer", 5u32)).await.expect("it is taken");
    assert_eq!(guard(handle(&engine, run)).await.expect("it fits"), 5);
}

#[tokio::test]
async fn what_was_blocked_is_not_parked_however_often_the_process_dies() {
    let clock = ManualClock::default();
    let (mut store, run) = interrupted(&clock).await;
    for _ in 0..5 {
        let engine = release(&store, &Probe::default(), &clock, Release::Diverges).await;
        guard(handle(&engine, run)).await.expect_err("it cannot go on");
        assert_eq!(reason_and_since(&store, run).0, Some(BlockReason::Diverged));
        store = store.copy();
    }
}

#[tokio::test]
async fn a_blocked_run_that_is_resumed_or_cancelled_is_blocked_no_more() {
    let (clock, probe) = (ManualClock::default(), Probe::default());
    let (store, run) = interrupted(&clock).await;
    let engine = release(&store, &probe, &clock, Release::Diverges).await;
    guard(handle(&engine, run)).await.expect_err("it cannot go on");
    guard(engine.resume(run)).await.expect("a new attempt fits any code");
    probe.begun("held", 1).await;
    assert_eq!(reason_and_since(&store, run), (None, None));
    let left = store.copy();
    let engine = release(&left, &Probe::default(), &clock, Release::First).await;
    guard(handle(&engine, run)).await.expect_err("the new attempt is of the new code");
    assert_eq!(guard(engine.cancel(run)).await.expect("is cancelled"), Cancellation::Cancelled);
    assert_eq!(inspect::unfinished(&left, run).expect("readable"), None);
}

/// A program that has none of these tasks.
async fn without_task(store: &MemoryStore, takes_up: bool) -> relive_engine::engine::Engine {
    let tasks = inventory::iter::<TaskEntry>().map(|entry| entry.0).filter(|task| task.name != "blocked.edited");
    let registry = Registry::new(tasks, inventory::iter::<TraceEntry>().map(|entry| entry.0)).expect("distinct names");
    let store: Arc<dyn Store> = Arc::new(store.clone());
    let mut options = Options::default();
    options.takes_up = takes_up;
    relive_engine::engine::Engine::open(store, registry, options).await.expect("opens")
}

#[tokio::test]
async fn a_run_whose_task_is_missing_is_blocked_on_record_but_not_by_an_engine_that_takes_nothing_up() {
    let (clock, probe) = (ManualClock::default(), Probe::default());
    let (store, run) = interrupted(&clock).await;
    let engine = without_task(&store, false).await;
    assert!(matches!(engine.status(run).expect("known"), RunStatus::Blocked { .. }));
    guard(engine.shutdown()).await.expect("shuts down");
    assert_eq!(reason_and_since(&store, run), (None, None), "it may well have its task elsewhere");

    let mut last = None;
    for _ in 0..2 {
        let engine = without_task(&store, true).await;
        let (reason, since) = reason_and_since(&store, run);
        assert_eq!(reason, Some(BlockReason::UnknownTask));
        assert!(since.is_some() && (last.is_none() || last == since), "{last:?} {since:?}");
        last = since;
        let RunStatus::Blocked { reason, since, .. } = engine.status(run).expect("known") else {
            panic!("it is blocked")
        };
        assert_eq!((reason, since), (BlockReason::UnknownTask, last));
        guard(engine.shutdown()).await.expect("shuts down");
    }
    probe.open("held");
    let engine = release(&store, &probe, &clock, Release::First).await;
    assert_eq!(guard(handle(&engine, run)).await.expect("its task is back"), 1);
}
