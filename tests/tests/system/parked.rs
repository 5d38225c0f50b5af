//! Runs that take the process down again and again: parked, until somebody resumes or cancels them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::poll;
use relive::{
    BlockReason, Cancellation, Clock, Engine, ErrorKind, Event, RunHandle, RunId, RunState, RunStatus, Timestamp, task,
    trace,
};
use relive_storage::{Fault, FaultStore, MemoryStore};

use super::crashes::{Gate, GatedStore};
use super::support::{Probe, builder, event_names, events, guard, open, open_with};

#[trace(name = "parked.held")]
async fn held(label: String) -> relive::Result<u32> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

/// Two effects that are held.
#[task(name = "parked.two")]
async fn two(number: u32) -> relive::Result<u32> {
    Ok(held(format!("first{number}")).await? + held(format!("second{number}")).await?)
}

/// Waits for a signal and a time at once; says that its body was polled.
#[task(name = "parked.waits", allow(signal))]
async fn waits() -> relive::Result<u32> {
    let wait = relive::timeout(Duration::from_secs(3600), relive::signal::<u32>("answer"));
    Probe::here()?.begin("polled");
    wait.await?
}

/// Waits for another run.
#[task(name = "parked.parent")]
async fn parent() -> relive::Result<u32> {
    two(9).await
}

/// Goes on by a second whenever it is looked at, so that runs have ids in the order of their starts.
#[derive(Default)]
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(1_000_000, Ordering::Relaxed))
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

fn handle(engine: &Engine, run: RunId) -> RunHandle<u32, relive::Error> {
    engine.handle(run).expect("the run is known")
}

/// Waits until a trace of this name is in a run's log.
async fn until_started(engine: &Engine, run: RunId, name: &str) {
    let is_it = |event: &Event| matches!(event, Event::TraceStarted(started) if started.name == name);
    guard(async {
        while !events(engine, run).iter().any(is_it) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A life of the process that dies when an effect has begun. Returns what is left.
async fn dies_at(store: &MemoryStore, label: &str) -> MemoryStore {
    let probe = Probe::default();
    let _engine = open(store, &probe).await;
    probe.begun(label, 1).await;
    store.copy()
}

/// A store with a run of `two` whose first effect was under way at so many deaths of the process.
async fn died_at_first(deaths: u32) -> (MemoryStore, RunId) {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let run = engine.start(two(1)).await.expect("starts").id();
    probe.begun("first1", 1).await;
    let mut left = store.copy();
    for _ in 1..deaths {
        left = dies_at(&left, "first1").await;
    }
    (left, run)
}

#[tokio::test]
async fn a_run_that_took_the_process_down_three_times_is_parked_until_it_is_resumed() {
    let (store, run) = died_at_first(3).await;
    // However often, and however orderly, the store is opened.
    let mut last = None;
    for _ in 0..3 {
        let probe = Probe::default();
        let engine = open(&store, &probe).await;
        let error = guard(handle(&engine, run)).await.expect_err("it is parked");
        assert_eq!(error.kind(), ErrorKind::Parked, "{error:?}");
        for part in
            [run.to_string().as_str(), "3 times", "event 1, TraceStarted of parked.held at ", "resume", "cancel"]
        {
            assert!(error.to_string().contains(part), "{error}");
        }
        let status = engine.status(run).expect("it is known");
        let RunStatus::Blocked { reason, message, since } = status else { panic!("it is blocked: {status:?}") };
        assert_eq!((reason, message), (BlockReason::Parked, error.to_string()));
        assert!(since.is_some() && (last.is_none() || since == last), "{since:?} after {last:?}");
        last = since;
        assert_eq!(event_names(&engine, run), ["TaskStarted", "TraceStarted"], "its log is untouched");
        assert_eq!(probe.count("first1"), 0);
        engine.shutdown().await.expect("shuts down");
    }
    let probe = Probe::default();
    probe.open("first1");
    probe.open("second1");
    let engine = open(&store, &probe).await;
    let resumed = guard(engine.resume(run)).await.expect("it is revived");
    assert_eq!(resumed.id(), run);
    assert_eq!(guard(handle(&engine, run)).await.expect("ends"), 2);
}

#[tokio::test]
async fn an_engine_that_is_dropped_ends_in_order_with_its_last_handle_and_no_run_counts_that() {
    let store = MemoryStore::new();
    for life in 0..5 {
        let probe = Probe::default();
        let engine = open(&store, &probe).await;
        let handle = guard(engine.start(two(1))).await.expect("it is joined, and not parked");
        probe.begun("first1", 1).await;
        if life % 2 == 0 {
            drop(engine);
            drop(handle);
        } else {
            drop(handle);
            drop(engine);
        }
    }
    let probe = Probe::default();
    let engine = open(&store, &probe).await;
    let run = super::crashes::only_run(&engine);
    probe.open("first1");
    probe.open("second1");
    assert_eq!(guard(handle(&engine, run)).await.expect("it goes on"), 2);
}

#[tokio::test]
async fn deaths_count_whatever_engines_were_dropped_between_them() {
    let (store, run) = died_at_first(2).await;
    for _ in 0..3 {
        // Its first life counts the second death.
        let probe = Probe::default();
        let engine = open(&store, &probe).await;
        probe.begun("first1", 1).await;
        drop(engine);
    }
    let left = dies_at(&store, "first1").await;
    let engine = open(&left, &Probe::default()).await;
    assert_eq!(guard(handle(&engine, run)).await.expect_err("three deaths").kind(), ErrorKind::Parked);
}

#[tokio::test]
async fn an_engine_whose_store_failed_does_not_end_in_order_when_it_is_dropped() {
    let mut store = MemoryStore::new();
    for _ in 0..3 {
        let probe = Probe::default();
        let fault = FaultStore::over(&store);
        let engine = builder(&probe).open_store(Arc::new(fault.clone())).await.expect("opens");
        drop(guard(engine.start(two(1))).await.expect("starts"));
        probe.begun("first1", 1).await;
        fault.set_stop_after(fault.commit_count());
        guard(engine.start(two(2))).await.expect_err("nothing is written any more");
        drop(engine);
        store = fault.surviving();
    }
    let engine = open(&store, &Probe::default()).await;
    let run = super::crashes::only_run(&engine);
    assert_eq!(guard(handle(&engine, run)).await.expect_err("three deaths").kind(), ErrorKind::Parked);
}

#[tokio::test]
async fn a_run_that_is_resumed_is_given_three_chances_again() {
    let (store, run) = died_at_first(3).await;
    let probe = Probe::default();
    let engine = open(&store, &probe).await;
    guard(handle(&engine, run)).await.expect_err("it is parked");
    guard(engine.resume(run)).await.expect("it is revived");
    probe.begun("first1", 1).await;
    let left = dies_at(&dies_at(&store.copy(), "first1").await, "first1").await;
    let engine = open(&left, &Probe::default()).await;
    assert_eq!(guard(handle(&engine, run)).await.expect_err("three times").kind(), ErrorKind::Parked);
}

#[tokio::test]
async fn a_parked_run_can_be_cancelled() {
    let (store, run) = died_at_first(3).await;
    let engine = open(&store, &Probe::default()).await;
    guard(handle(&engine, run)).await.expect_err("it is parked");
    assert_eq!(guard(engine.cancel(run)).await.expect("is cancelled"), Cancellation::Cancelled);
    drop(engine);
    let engine = open(&store, &Probe::default()).await;
    assert_eq!(engine.status(run).expect("it is known"), RunStatus::Cancelled);
}

#[tokio::test]
async fn a_run_that_is_resumed_while_its_cancellation_is_written_is_resumed_after_that() {
    for gate in [Gate::Before, Gate::Behind] {
        let (left, run) = died_at_first(3).await;
        let (store, probe) = (Arc::new(GatedStore::of(left.copy())), Probe::default());
        let engine = builder(&probe).open_store(Arc::clone(&store) as _).await.expect("opens");
        guard(handle(&engine, run)).await.expect_err("it is parked");
        store.set(gate);
        let (mut cancel, mut resume) = (pin!(engine.cancel(run)), pin!(engine.resume(run).into_future()));
        assert!(poll!(cancel.as_mut()).is_pending());
        guard(async {
            while gate == Gate::Behind && !event_names(&engine, run).contains(&"TaskCompleted") {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(poll!(resume.as_mut()).is_pending());
        // If it has begun, it gets as far as it can.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let status = engine.status(run).expect("it is known");
        assert!(matches!(status, RunStatus::Blocked { .. }), "{gate:?}: {status:?}");
        store.set(Gate::Open);
        assert_eq!(guard(cancel).await.expect("is cancelled"), Cancellation::Cancelled);
        let resumed = guard(resume).await.expect("is resumed");
        assert_eq!(resumed.status(), RunStatus::Running, "{gate:?}");
        let known = handle(&engine, run);
        probe.open("first1");
        probe.open("second1");
        assert_eq!(guard(known).await.expect("ends"), 2);
        assert_eq!(engine.status(run).expect("it is known"), RunStatus::Completed);
    }
}

#[tokio::test]
async fn a_cancellation_that_cannot_be_written_leaves_the_run_blocked() {
    let (left, run) = died_at_first(3).await;
    let store = FaultStore::over(&left);
    let engine = builder(&Probe::default()).open_store(Arc::new(store.clone())).await.expect("opens");
    guard(handle(&engine, run)).await.expect_err("it is parked");
    store.fail(store.commit_count(), Fault::NotApplied);
    assert_eq!(guard(engine.cancel(run)).await.expect_err("it fails").kind(), ErrorKind::Storage);
    let status = engine.status(run).expect("it is known");
    assert!(matches!(status, RunStatus::Blocked { .. }), "{status:?}");
}

#[tokio::test]
async fn an_equal_call_gets_the_error_of_the_parked_run() {
    let (store, _) = died_at_first(3).await;
    let engine = open(&store, &Probe::default()).await;
    let error = guard(engine.run(two(1))).await.expect_err("it joins the parked run");
    assert_eq!(error.kind(), ErrorKind::Parked, "{error:?}");
}

#[tokio::test]
async fn two_deaths_park_nothing() {
    let (store, run) = died_at_first(2).await;
    let probe = Probe::default();
    probe.open("first1");
    probe.open("second1");
    let engine = open(&store, &probe).await;
    assert_eq!(guard(handle(&engine, run)).await.expect("goes on"), 2);
}

#[tokio::test]
async fn a_shutdown_in_order_does_not_count() {
    let (store, run) = died_at_first(2).await;
    for _ in 0..4 {
        let probe = Probe::default();
        let engine = open_with(&store, builder(&probe).shutdown_grace(Duration::ZERO)).await;
        probe.begun("first1", 1).await;
        engine.shutdown().await.expect("shuts down");
    }
    let probe = Probe::default();
    let engine = open(&store, &probe).await;
    probe.begun("first1", 1).await;
    assert_eq!(engine.status(run).expect("it is known"), RunStatus::Running);
}

#[tokio::test]
async fn how_often_is_the_builders_to_say() {
    let (store, run) = died_at_first(1).await;
    let engine = open_with(&store.copy(), builder(&Probe::default()).crashes_max(1)).await;
    assert_eq!(guard(handle(&engine, run)).await.expect_err("once is enough").kind(), ErrorKind::Parked);

    let mut store = store;
    for _ in 0..5 {
        let probe = Probe::default();
        let _engine = open_with(&store, builder(&probe).crashes_max(u32::MAX)).await;
        probe.begun("first1", 1).await;
        store = store.copy();
    }
}

#[tokio::test]
async fn a_run_that_gets_on_is_counted_anew() {
    let (store, run) = died_at_first(2).await;
    let probe = Probe::default();
    probe.open("first1");
    let _engine = open(&store, &probe).await;
    probe.begun("second1", 1).await;
    let left = dies_at(&dies_at(&store.copy(), "second1").await, "second1").await;
    let engine = open(&left, &Probe::default()).await;
    let error = guard(handle(&engine, run)).await.expect_err("three times at the second effect");
    assert!(error.to_string().contains("no further than event 3, TraceStarted of parked.held"), "{error}");
}

#[tokio::test]
async fn a_run_that_only_waits_is_not_blamed() {
    let (mut store, probe) = (MemoryStore::new(), Probe::default());
    let run = {
        let engine = open(&store, &probe).await;
        let run = engine.start(waits()).await.expect("starts").id();
        until_started(&engine, run, "relive::sleep").await;
        store = store.copy();
        run
    };
    for crashes_max in [3, 3, 3, 3, 1] {
        let probe = Probe::default();
        let _engine = open_with(&store, builder(&probe).crashes_max(crashes_max)).await;
        probe.begun("polled", 1).await;
        store = store.copy();
    }
    let engine = open(&store, &Probe::default()).await;
    engine.signal(run, "answer", &7u32).await.expect("is taken");
    assert_eq!(guard(handle(&engine, run)).await.expect("goes on"), 7);
}

#[tokio::test]
async fn a_run_that_waited_for_its_turn_is_not_blamed() {
    let (mut store, probe) = (MemoryStore::new(), Probe::default());
    let (first, second) = {
        let engine = open_with(&store, builder(&probe).runs_max(1).clock(Ticking::default())).await;
        let first = engine.start(two(1)).await.expect("starts").id();
        probe.begun("first1", 1).await;
        let second = engine.start(two(2)).await.expect("starts").id();
        store = store.copy();
        (first, second)
    };
    for _ in 0..2 {
        let probe = Probe::default();
        let _engine = open_with(&store, builder(&probe).runs_max(1)).await;
        probe.begun("first1", 1).await;
        store = store.copy();
    }
    let probe = Probe::default();
    let engine = open_with(&store, builder(&probe).runs_max(1)).await;
    assert_eq!(guard(handle(&engine, first)).await.expect_err("it is parked").kind(), ErrorKind::Parked);
    probe.begun("first2", 1).await;
    assert_eq!(engine.status(second).expect("it is known"), RunStatus::Running);
}

#[tokio::test]
async fn a_parent_waits_for_its_parked_child_and_goes_on_when_that_is_resumed() {
    let (mut store, probe) = (MemoryStore::new(), Probe::default());
    let run = {
        let engine = open(&store, &probe).await;
        let run = engine.start(parent()).await.expect("starts").id();
        probe.begun("first9", 1).await;
        store = store.copy();
        run
    };
    for _ in 0..2 {
        store = dies_at(&store, "first9").await;
    }
    let probe = Probe::default();
    let engine = open(&store, &probe).await;
    let child = events(&engine, run).iter().find_map(|event| match event {
        Event::TraceStarted(started) => started.child,
        _ => None,
    });
    let child = child.expect("its log fixes the child's id");
    assert_eq!(guard(handle(&engine, child)).await.expect_err("it is parked").kind(), ErrorKind::Parked);
    assert_eq!(engine.status(run).expect("it is known"), RunStatus::Running);
    probe.open("first9");
    probe.open("second9");
    guard(engine.resume(child)).await.expect("it is revived");
    assert_eq!(guard(handle(&engine, run)).await.expect("goes on"), 2);
    let states = engine.runs().map(|stored| stored.expect("the index is readable").record.state);
    assert!(states.eq([RunState::Completed, RunState::Completed]));
}
