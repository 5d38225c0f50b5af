//! Signals to runs that are about to end: what is acknowledged is in the log, whoever was faster.

use std::sync::Arc;
use std::time::Duration;

use relive::{Cancellation, Engine, ErrorKind, Event, RunId, TaskOutcome, task, trace};
use relive_storage::MemoryStore;

use super::crashes::{GatedStore, first_life};
use super::retries::flaky_body;
use super::signals::{outcome, received, waits};
use super::support::{Probe, builder, event_names, events, guard};

#[trace(name = "ends.held")]
async fn held(label: String) -> relive::Result<usize> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

/// Ends when it was signalled.
#[task(name = "ends.once", allow(signal))]
async fn once() -> relive::Result<u32> {
    relive::signal::<u32>("number").await
}

#[task(name = "ends.holds")]
async fn holds() -> relive::Result<usize> {
    held("holds".into()).await
}

#[task(name = "ends.fails", allow(signal))]
async fn fails() -> relive::Result<u32> {
    held("holds".into()).await?;
    flaky_body("fails", 1)?;
    relive::signal::<u32>("number").await
}

#[task(name = "ends.retries", retries = 1, backoff = "1s", allow(signal))]
async fn retries() -> relive::Result<u32> {
    held("holds".into()).await?;
    flaky_body("fails", 1)?;
    relive::signal::<u32>("number").await
}

/// A run that ends as many senders signal it: how many were told that it was taken, and that it had ended.
async fn signalled(engine: &Engine, run: RunId, count: u32) -> usize {
    let senders: Vec<_> = (0..count)
        .map(|number| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.signal(run, "number", number).await })
        })
        .collect();
    let mut taken = 0;
    for sender in senders {
        match guard(sender).await.expect("it does not panic") {
            Ok(()) => taken += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Ended),
        }
    }
    taken
}

/// The end is the last event, and what was acknowledged before it.
fn holds_all(engine: &Engine, run: RunId, taken: usize) {
    assert_eq!(received(engine, run).len(), taken, "what is acknowledged is in the log");
    assert_eq!(event_names(engine, run).last().copied(), Some("TaskCompleted"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_that_is_acknowledged_as_its_run_ends_is_in_the_log() {
    let (_, life) = first_life().await;
    for round in 0..50 {
        let handle = life.engine.start(once().id(format!("{round}")).refresh()).await.expect("starts");
        let run = handle.id();
        waits(&life.engine, run).await;
        let taken = signalled(&life.engine, run, 8).await;
        assert!(taken >= 1);
        guard(handle).await.expect("ends");
        holds_all(&life.engine, run, taken);
        assert!(matches!(guard(life.engine.replay(run)).await, Ok(Some(TaskOutcome::Ok(_)))), "it replays");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_that_is_acknowledged_as_its_run_is_cancelled_is_in_the_log() {
    let (_, life) = first_life().await;
    for round in 0..50 {
        let handle = life.engine.start(holds().id(format!("{round}")).refresh()).await.expect("starts");
        let run = handle.id();
        let cancelling = {
            let engine = life.engine.clone();
            tokio::spawn(async move { engine.cancel(run).await })
        };
        let taken = signalled(&life.engine, run, 8).await;
        let cancelled = guard(cancelling).await.expect("it does not panic").expect("cancelled");
        assert!(matches!(cancelled, Cancellation::Cancelled), "{cancelled:?}");
        holds_all(&life.engine, run, taken);
        assert!(matches!(guard(life.engine.replay(run)).await, Ok(Some(TaskOutcome::Cancelled))), "it replays");
    }
}

#[tokio::test]
async fn a_signal_whose_write_is_under_way_as_the_run_ends_is_waited_for() {
    let (store, probe) = (Arc::new(GatedStore::default()), Probe::default());
    let engine = builder(&probe).open_store(store.clone()).await.expect("opens");
    let handle = engine.start(holds()).await.expect("starts");
    let run = handle.id();
    probe.begun("holds", 1).await;
    store.close(true);
    let sending = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.signal(run, "number", 7u32).await })
    };
    // It has given its write to the committer, which waits for the store; the run comes to its end meanwhile.
    tokio::task::yield_now().await;
    probe.open("holds");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    store.close(false);
    guard(sending).await.expect("it does not panic").expect("is taken");
    assert_eq!(guard(handle).await.expect("ends"), 1);
    holds_all(&engine, run, 1);
    guard(engine.replay(run)).await.expect("fits").expect("is over");
}

#[tokio::test]
async fn a_signal_that_a_failed_run_took_along_is_there_in_the_next_attempt() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(fails()).await.expect("starts");
    let run = handle.id();
    life.probe.begun("holds", 1).await;
    guard(life.engine.signal(run, "number", 7u32)).await.expect("is taken");
    life.probe.open("holds");
    guard(handle).await.expect_err("fails");
    holds_all(&life.engine, run, 1);
    let (_, next) = life.crash(&store, Duration::ZERO).await;
    next.probe.begin("fails");
    drop(guard(next.engine.resume(run)).await.expect("resumes"));
    assert_eq!(outcome::<u32>(&next.engine, run).await.expect("ends"), 7);
    holds_all(&next.engine, run, 1);
}

#[tokio::test]
async fn a_signal_is_kept_over_attempts_that_follow_by_themselves() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(retries()).await.expect("starts");
    let run = handle.id();
    life.probe.begun("holds", 1).await;
    life.probe.open("holds");
    while !event_names(&life.engine, run).contains(&"TaskCompleted") {
        tokio::task::yield_now().await;
    }
    // Between two attempts.
    guard(life.engine.signal(run, "number", 7u32)).await.expect("is taken");
    let _flowing = life.clock.flow();
    assert_eq!(guard(handle).await.expect("ends"), 7);
    holds_all(&life.engine, run, 1);
}

#[tokio::test]
async fn a_run_that_no_loop_drives_takes_its_signals_along_when_it_is_cancelled() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(holds()).await.expect("starts");
    let run = handle.id();
    life.probe.begun("holds", 1).await;
    let left: MemoryStore = store.copy();
    // Opened by a program that does not take runs up: nobody is there but who signals and who cancels.
    let probe = Probe::default();
    let engine = builder(&probe).takes_up(false).open_store(Arc::new(left)).await.expect("opens");
    guard(engine.signal(run, "number", 7u32)).await.expect("is taken");
    guard(engine.cancel(run)).await.expect("cancelled");
    holds_all(&engine, run, 1);
    let log = events(&engine, run);
    assert!(matches!(log.last(), Some(Event::TaskCompleted(completed)) if completed.outcome == TaskOutcome::Cancelled));
    let error = guard(engine.signal(run, "number", 8u32)).await.expect_err("it has ended");
    assert_eq!(error.kind(), ErrorKind::Ended);
}

#[tokio::test]
async fn a_sender_that_is_given_up_keeps_no_run_from_its_end() {
    let (store, probe) = (Arc::new(GatedStore::default()), Probe::default());
    let engine = builder(&probe).open_store(store.clone()).await.expect("opens");
    let handle = engine.start(holds()).await.expect("starts");
    let run = handle.id();
    probe.begun("holds", 1).await;
    store.close(true);
    {
        let sending = std::pin::pin!(engine.signal(run, "number", 7u32));
        assert!(futures::FutureExt::now_or_never(sending).is_none(), "the store is closed");
    }
    store.close(false);
    probe.open("holds");
    assert_eq!(guard(handle).await.expect("ends"), 1);
    holds_all(&engine, run, 1);
}

/// Signals its own run from an effect that is still under way when the body has gone on.
#[trace(name = "ends.signals_itself")]
async fn signals_itself(run: String) -> relive::Result<u32> {
    let engine = relive::provided::<Arc<Itself>>()?.0.lock().clone().expect("given");
    engine.signal(run.parse().expect("a run id"), "number", 1u32).await?;
    Probe::here()?.hold("after").await;
    Ok(1)
}

#[derive(Debug, Default)]
struct Itself(parking_lot::Mutex<Option<Engine>>);

#[task(name = "ends.itself")]
async fn itself(run: String) -> relive::Result<u32> {
    relive::select! {
        found = signals_itself(run) => found,
        _ = relive::sleep(Duration::from_secs(1)) => Ok(2),
    }
}

#[tokio::test]
async fn a_run_that_is_cancelled_while_its_effect_signals_another_ends() {
    let (store, probe, itself_given) = (Arc::new(GatedStore::default()), Probe::default(), Arc::new(Itself::default()));
    let engine = builder(&probe).provide(itself_given.clone()).open_store(store.clone()).await.expect("opens");
    *itself_given.0.lock() = Some(engine.clone());
    let other = engine.start(holds()).await.expect("starts");
    probe.begun("holds", 1).await;
    let signalling = engine.start(itself(other.id().to_string())).await.expect("starts");
    probe.begun("after", 1).await;
    // Both are cancelled at once; neither's end waits for an effect of the other's.
    let (one, two) = (signalling.id(), other.id());
    let (one, two) = guard(futures::future::join(engine.cancel(one), engine.cancel(two))).await;
    assert!(one.is_ok() && two.is_ok());
    holds_all(&engine, other.id(), 1);
    itself_given.0.lock().take();
}
