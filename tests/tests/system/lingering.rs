//! Blocking effects that outlive their run: a thread cannot be stopped.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use relive::{Event, Result, TaskOutcome, task, trace};
use relive_storage::MemoryStore;

use crate::support::{Probe, events, guard, open};

#[trace]
fn lingering_plain() -> Result<u32> {
    Ok(7)
}

#[trace(blocking)]
fn lingering_blocks() -> Result<u32> {
    let probe = Probe::here()?;
    futures::executor::block_on(probe.hold("blocks"));
    lingering_plain()
}

#[task]
async fn lingering_waits() -> Result<u32> {
    lingering_blocks().await
}

#[tokio::test]
async fn a_blocking_effect_that_outlives_a_cancelled_run_leaves_its_log_alone_and_does_not_stop_the_next_attempt() {
    guard(async {
        let probe = Probe::default();
        let engine = open(&MemoryStore::new(), &probe).await;
        let run = engine.start(lingering_waits()).await.unwrap().id();
        probe.begun("blocks", 1).await;
        engine.cancel(run).await.unwrap();
        // It goes on only now, and calls a trace.
        probe.open("blocks");
        let resumed = engine.resume(run).await.unwrap();
        assert_eq!(resumed.await.unwrap().to_string(), "7");
        let events = events(&engine, run);
        let ended = |event: &Event| matches!(event, Event::TaskCompleted(end) if end.outcome == TaskOutcome::Cancelled);
        let at = events.iter().position(ended).unwrap();
        assert!(matches!(events[at + 1], Event::TaskStarted(_)), "nothing follows the end of an attempt");
        engine.shutdown().await.unwrap();
    })
    .await;
}

/// Calls traces as fast as it can, also when its run is over.
#[trace(blocking)]
fn lingering_chatters(round: u32) -> Result<u32> {
    for _ in 0..2_000 {
        relive::now()?;
    }
    Ok(round)
}

#[trace]
async fn lingering_quick(round: u32) -> Result<u32> {
    Ok(round)
}

#[task]
async fn lingering_leaves_it(round: u32) -> Result<u32> {
    let chatters = std::pin::pin!(lingering_chatters(round));
    match futures::future::select(std::pin::pin!(lingering_quick(round)), chatters).await {
        futures::future::Either::Left((quick, _)) | futures::future::Either::Right((quick, _)) => quick,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stands_behind_the_end_of_a_run_whose_effect_goes_on_calling_traces() {
    guard(async {
        let engine = open(&MemoryStore::new(), &Probe::default()).await;
        for round in 0..200 {
            let handle = engine.start(lingering_leaves_it(round)).await.unwrap();
            let run = handle.id();
            assert_eq!(handle.await.unwrap(), round);
            let events = events(&engine, run);
            assert!(matches!(events.last(), Some(Event::TaskCompleted(_))), "round {round}: {:?}", events.last());
            assert_eq!(engine.status(run).unwrap(), relive::RunStatus::Completed, "round {round}");
        }
        assert_eq!(
            engine.runs().filter(|run| run.as_ref().unwrap().record.state != relive::RunState::Completed).count(),
            0
        );
        engine.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_an_attempt_that_waits_for_a_blocking_effect() {
    guard(async {
        let probe = Probe::default();
        let engine = open(&MemoryStore::new(), &probe).await;
        let run = engine.start(lingering_waits()).await.unwrap().id();
        probe.begun("blocks", 1).await;
        engine.cancel(run).await.unwrap();
        let resumed = tokio::spawn({
            let engine = engine.clone();
            async move { engine.resume(run).await.map(drop) }
        });
        tokio::task::yield_now().await;
        let down = tokio::time::timeout(std::time::Duration::from_secs(20), engine.shutdown()).await;
        probe.open("blocks");
        down.expect("the shutdown hangs").unwrap();
        assert_eq!(resumed.await.unwrap().unwrap_err().kind(), relive::ErrorKind::Closed);
    })
    .await;
}
