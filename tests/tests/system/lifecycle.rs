//! From the start of a run to its end: shutdown, drop, cancellation, turns, and who may open a store.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use relive::__private::{TaskEntry, TraceEntry, inventory};
use relive::{
    BlockReason, Cancellation, Cause, Engine, ErrorKind, Event, RunHandle, RunId, RunState, RunStatus, task, trace,
};
use relive_engine::definition::Registry;
use relive_engine::options::Options;
use relive_storage::{MemoryStore, Store};

use super::support::{Probe, builder, event_names, events, guard, listening, open, open_with};

#[trace(name = "lifecycle.held")]
async fn held(label: String) -> relive::Result<u32> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

#[trace(name = "lifecycle.step")]
async fn step(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    Ok(1)
}

/// A held effect, and one behind it.
#[task(name = "lifecycle.two")]
pub(super) async fn two(number: u32) -> relive::Result<u32> {
    let first = held(format!("first{number}")).await?;
    Ok(first + step(format!("second{number}")).await?)
}

/// As `two`; all first effects have one label.
#[task(name = "lifecycle.queued")]
pub(super) async fn queued(_number: u32) -> relive::Result<u32> {
    held("turn".into()).await
}

#[task(name = "lifecycle.fails")]
pub(super) async fn fails(number: u32) -> relive::Result<u32> {
    step(format!("fails{number}")).await?;
    Err(relive::Error::msg("as it must"))
}

fn handle(engine: &Engine, run: RunId) -> RunHandle<u32, relive::Error> {
    engine.handle(run).expect("the run is known")
}

#[tokio::test]
async fn a_shutdown_records_effects_that_have_begun_and_starts_no_other() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let waiting = engine.start(two(1)).await.expect("starts");
    let run = waiting.id();
    probe.begun("first1", 1).await;
    let shutdown = tokio::spawn({
        let engine = engine.clone();
        async move { engine.shutdown().await }
    });
    // Refused from the moment on at which the shutdown has begun.
    let refused = loop {
        match guard(engine.start(two(2))).await {
            Err(error) => break error,
            Ok(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Closed, "{refused:?}");
    probe.open("first1");
    probe.open("first2");
    guard(shutdown).await.expect("no panic").expect("shuts down");
    assert_eq!(guard(waiting).await.expect_err("did not end").kind(), ErrorKind::Closed);
    assert_eq!(probe.count("second1"), 0);

    let probe = Probe::default();
    probe.open("first2");
    let engine = open(&store, &probe).await;
    assert_eq!(guard(handle(&engine, run)).await.expect("goes on"), 2);
    assert_eq!((probe.count("first1"), probe.count("second1")), (0, 1), "the recorded effect is not repeated");
}

#[tokio::test]
async fn a_shutdown_waits_no_longer_than_its_grace() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open_with(&store, builder(&probe).shutdown_grace(Duration::from_millis(1))).await;
    let run = engine.start(two(1)).await.expect("starts").id();
    probe.begun("first1", 1).await;
    guard(engine.shutdown()).await.expect("shuts down");
    guard(engine.shutdown()).await.expect("and once more, at once");

    let probe = Probe::default();
    probe.open("first1");
    let engine = open(&store, &probe).await;
    assert_eq!(guard(handle(&engine, run)).await.expect("goes on"), 2);
    assert_eq!(probe.count("first1"), 1, "what was cut off runs again");
}

#[tokio::test]
async fn after_a_shutdown_everything_is_refused() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    probe.open("first1");
    let ended = engine.start(two(1)).await.expect("starts");
    let run = ended.id();
    guard(ended).await.expect("ends");
    guard(engine.shutdown()).await.expect("shuts down");
    assert_eq!(engine.run(two(2)).await.expect_err("closed").kind(), ErrorKind::Closed);
    assert_eq!(engine.run(two(1)).await.expect_err("closed, cached or not").kind(), ErrorKind::Closed);
    assert_eq!(engine.cancel(run).await.expect_err("closed").kind(), ErrorKind::Closed);
    assert_eq!(engine.status(run).expect_err("closed").kind(), ErrorKind::Closed);
    let listed: Vec<_> = engine.runs().map(|run| run.map(|run| run.run).map_err(|error| error.kind())).collect();
    assert_eq!(listed, [Err(ErrorKind::Closed)], "not an empty store");
}

#[tokio::test]
async fn an_engine_that_is_dropped_leaves_its_runs_to_the_next() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let waiting = engine.start(two(1)).await.expect("starts");
    let run = waiting.id();
    probe.begun("first1", 1).await;
    let waiting = tokio::spawn(waiting.into_future());
    drop(engine);
    let error = guard(waiting).await.expect("no panic").expect_err("did not end");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");

    let next = Probe::default();
    next.open("first1");
    let engine = open(&store, &next).await;
    assert_eq!(guard(handle(&engine, run)).await.expect("goes on"), 2);
    assert_eq!(probe.count("second1"), 0, "the dropped engine did nothing more");
}

#[tokio::test]
async fn a_dropped_future_leaves_its_run_going() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    tokio::select! {
        biased;
        _ = engine.run(two(1)) => panic!("the effect is held"),
        () = probe.begun("first1", 1) => {}
    }
    probe.open("first1");
    assert_eq!(guard(engine.run(two(1))).await.expect("joins or finds it"), 2);
    assert_eq!(probe.all_begun(), ["first1", "second1"]);
}

#[tokio::test]
async fn a_cancelled_run_stops_and_stays_cancelled() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let running = engine.start(two(1)).await.expect("starts");
    let run = running.id();
    probe.begun("first1", 1).await;
    assert_eq!(guard(running.cancel()).await.expect("cancels"), Cancellation::Cancelled);
    assert_eq!(running.status(), RunStatus::Cancelled);
    assert_eq!(guard(running).await.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    assert_eq!(guard(engine.cancel(run)).await.expect("replies"), Cancellation::AlreadyEnded);
    probe.open("first1");

    let next = Probe::default();
    let engine = open(&store.copy(), &next).await;
    assert_eq!(engine.status(run).expect("known"), RunStatus::Cancelled);
    assert_eq!(guard(handle(&engine, run)).await.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    assert_eq!(guard(engine.cancel(run)).await.expect("replies"), Cancellation::AlreadyEnded);
    assert_eq!((next.all_begun().len(), probe.count("second1")), (0, 0));
}

#[tokio::test]
async fn cancelling_a_run_that_ended_or_is_unknown_says_so() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    probe.open("first1");
    let ended = engine.start(two(1)).await.expect("starts");
    let run = ended.id();
    guard(ended).await.expect("ends");
    assert_eq!(engine.cancel(run).await.expect("replies"), Cancellation::AlreadyEnded);
    assert_eq!(engine.status(run).expect("known"), RunStatus::Completed);
    let unknown = RunId::from_bytes([9; 16]);
    let error = engine.cancel(unknown).await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::UnknownRun);
    assert!(error.to_string().contains(&unknown.to_string()), "{error}");
    assert_eq!(engine.status(unknown).expect_err("unknown").kind(), ErrorKind::UnknownRun);
}

#[tokio::test]
async fn the_first_commit_wins_a_race_between_cancel_and_completion() {
    for round in 0..50 {
        let (store, probe) = (MemoryStore::new(), Probe::default());
        let engine = open(&store, &probe).await;
        let running = engine.start(two(round)).await.expect("starts");
        let run = running.id();
        let first = format!("first{round}");
        probe.begun(&first, 1).await;
        probe.open(&first);
        for _ in 0..round % 8 {
            tokio::task::yield_now().await;
        }
        let reply = guard(engine.cancel(run)).await.expect("replies");
        let result = guard(running).await;
        match reply {
            Cancellation::Cancelled => assert_eq!(result.expect_err("cancelled").kind(), ErrorKind::Cancelled),
            Cancellation::AlreadyEnded => assert_eq!(result.expect("ended"), 2),
        }
        let ends = event_names(&engine, run).into_iter().filter(|name| *name == "TaskCompleted").count();
        assert_eq!(ends, 1);
    }
}

#[tokio::test]
async fn no_more_runs_than_allowed_are_under_way_and_the_others_are_durable() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let (builder, told) = listening(builder(&probe).runs_max(2));
    let engine = open_with(&store, builder).await;
    let starts = (0..10).map(|number| engine.start(queued(number)));
    let mut handles = try_join_all(starts).await.expect("all start");
    probe.begun("turn", 2).await;
    let queued_ones: Vec<_> =
        handles.iter().filter(|handle| handle.status() == RunStatus::Queued).map(RunHandle::id).collect();
    assert_eq!(queued_ones.len(), 8);
    for run in &queued_ones {
        assert_eq!(event_names(&engine, *run), ["TaskStarted"]);
        assert!(told.lock().iter().any(|acknowledged| acknowledged.run == *run));
    }
    // One of them is cancelled before its turn.
    let cancelled = queued_ones[3];
    assert_eq!(guard(engine.cancel(cancelled)).await.expect("cancels"), Cancellation::Cancelled);
    assert_eq!(event_names(&engine, cancelled), ["TaskStarted", "TaskCompleted"]);
    handles.retain(|handle| handle.id() != cancelled);
    let crashed = store.copy();

    probe.open("turn");
    for result in guard(join_all(handles.into_iter().map(IntoFuture::into_future))).await {
        assert_eq!(result.expect("ends"), 1);
    }
    assert_eq!((probe.count("turn"), probe.held_max()), (9, 2));

    // The next life holds to its own bound, and takes up all but the cancelled one.
    let next = Probe::default();
    let engine = open_with(&crashed, super::support::builder(&next).runs_max(3)).await;
    next.begun("turn", 3).await;
    next.open("turn");
    for stored in engine.runs() {
        let run = stored.expect("readable").run;
        let result = guard(handle(&engine, run)).await;
        assert_eq!(result.is_ok(), run != cancelled);
    }
    assert_eq!((next.count("turn"), next.held_max()), (9, 3));
}

#[tokio::test]
async fn a_directory_that_is_held_is_refused_until_it_is_given_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let probe = Probe::default();
    probe.open("first1");
    let engine = builder(&probe).open(directory.path()).await.expect("opens");
    let error = Engine::open(directory.path()).await.expect_err("held");
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.to_string().contains(&directory.path().display().to_string()), "{error}");
    assert_eq!(guard(engine.run(two(1))).await.expect("the first is not disturbed"), 2);
    guard(engine.shutdown()).await.expect("shuts down");
    drop(engine);
    let again = builder(&probe).open(directory.path()).await.expect("given back");
    assert_eq!(guard(again.run(two(1))).await.expect("from the cache"), 2);
    assert_eq!(probe.count("first1"), 1);
}

/// Opens a directory whose engine was just dropped: runs that it was taking up may be reading their logs at that moment, and the
/// store is closed when they have.
async fn given_back(directory: &std::path::Path, probe: &Probe) -> Engine {
    loop {
        match builder(probe).open(directory).await {
            Err(error) if error.kind() == ErrorKind::InUse => tokio::task::yield_now().await,
            opened => return opened.expect("given back"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_given_back_by_an_engine_that_is_dropped_in_the_middle_of_its_runs() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut runs = Vec::new();
    for life in 0..10 {
        let probe = Probe::default();
        let engine = guard(given_back(directory.path(), &probe)).await;
        let mut waiting = Vec::new();
        for number in 0..10 {
            let handle = engine.start(two(life * 10 + number)).await.expect("starts");
            runs.push(handle.id());
            waiting.push(tokio::spawn(handle.into_future()));
        }
        drop(engine);
        for waiting in waiting {
            let error = guard(waiting).await.expect("no panic").expect_err("its effect is held");
            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        }
    }
    let engine = guard(given_back(directory.path(), &Probe::default())).await;
    for run in runs {
        let status = engine.status(run).expect("what was acknowledged is known");
        let goes_on = matches!(status, RunStatus::Queued | RunStatus::Running | RunStatus::Blocked { .. });
        assert!(goes_on, "{status:?}");
    }
}

#[tokio::test]
async fn a_run_whose_task_is_not_linked_in_waits_and_is_listed() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let run = engine.start(two(1).id("job")).await.expect("starts").id();
    probe.begun("first1", 1).await;
    let crashed = store.copy();

    // A program without this task.
    let tasks = inventory::iter::<TaskEntry>().map(|entry| entry.0).filter(|task| task.name != "lifecycle.two");
    let traces = inventory::iter::<TraceEntry>().map(|entry| entry.0);
    let registry = Registry::new(tasks, traces).expect("distinct names");
    let store: Arc<dyn Store> = Arc::new(crashed.clone());
    let without = relive_engine::engine::Engine::open(store, registry, Options::default()).await.expect("opens");
    let status = without.status(run).expect("known");
    let RunStatus::Blocked { reason, message, .. } = status else { panic!("it is blocked: {status:?}") };
    assert_eq!(reason, BlockReason::UnknownTask);
    assert!(message.contains("lifecycle.two") && message.contains(&run.to_string()), "{message}");
    let error = guard(without.handle(run).expect("known").outcome()).await.expect_err("waits");
    assert_eq!(error.kind(), ErrorKind::UnknownTask);
    let listed: Vec<_> =
        relive_engine::inspect::runs(without.store().expect("open")).map(|run| run.expect("readable")).collect();
    assert_eq!((listed.len(), listed[0].run, listed[0].record.state), (1, run, RunState::Unfinished));
    guard(without.shutdown()).await.expect("shuts down");

    let next = Probe::default();
    next.open("first1");
    let engine = open(&crashed, &next).await;
    assert_eq!(guard(handle(&engine, run)).await.expect("goes on"), 2);
}

#[tokio::test]
async fn runs_are_listed_newest_first_with_how_they_stand() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    probe.open("first1");
    let engine = open(&store, &probe).await;
    guard(engine.run(two(1))).await.expect("ends");
    guard(engine.run(fails(1))).await.expect_err("fails");
    let cancelled = engine.start(two(2).id("two")).await.expect("starts");
    guard(cancelled.cancel()).await.expect("cancels");
    engine.start(two(3)).await.expect("starts");
    let mut listed: Vec<_> = engine.runs().map(|run| run.expect("readable")).collect();
    assert!(listed.windows(2).all(|pair| pair[0].run > pair[1].run));
    listed.sort_by_key(|stored| stored.record.started_at);
    let states: Vec<_> = listed.iter().map(|stored| stored.record.state).collect();
    for state in [RunState::Completed, RunState::Failed, RunState::Cancelled, RunState::Unfinished] {
        assert_eq!(states.iter().filter(|other| **other == state).count(), 1, "{states:?}");
    }
    let with_id = listed.iter().find(|stored| stored.record.id.is_some()).expect("one has an id");
    let Some(Event::TaskStarted(started)) = events(&engine, with_id.run).into_iter().next() else { panic!("no start") };
    assert_eq!((started.cause, started.id.as_deref()), (Cause::New, Some("two")));
}
