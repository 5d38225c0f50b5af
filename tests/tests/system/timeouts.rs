//! Limits on tries and on all of them together: what is over is dropped, and the log says what it was.

use std::time::Duration;

use futures::executor::block_on;
use relive::{Error, ErrorKind, Event, TraceOutcome, task, trace};

use super::crashes::{Life, cut_at_every_commit, first_life, only_run};
use super::retries::{completed, flaky_body, retried, seconds};
use super::support::{Probe, events, guard};

/// Tells the probe that a try's future is gone.
struct Gone(Probe, &'static str);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.begin(self.1);
    }
}

async fn held(label: &str) -> relive::Result<usize> {
    let probe = Probe::here()?;
    let _gone = Gone(probe.clone(), "gone");
    probe.hold(label).await;
    Ok(probe.count(label))
}

#[trace(name = "timeouts.tried", timeout = "10s", retries = 2, backoff(first = "1s", factor = 1.0, jitter = false))]
async fn tried(label: String) -> relive::Result<usize> {
    held(&label).await
}

#[trace(
    name = "timeouts.limited",
    timeout = "10s",
    deadline = "25s",
    retries = 100,
    backoff(first = "1s", factor = 1.0, jitter = false)
)]
async fn limited(label: String) -> relive::Result<usize> {
    held(&label).await
}

#[trace(name = "timeouts.fails", deadline = "10s", retries = 100, backoff(first = "4s", factor = 1.0, jitter = false))]
async fn fails(label: String) -> relive::Result<usize> {
    flaky_body(&label, 100)
}

#[trace(
    name = "timeouts.blocks",
    blocking,
    timeout = "10s",
    retries = 1,
    backoff(first = "1s", factor = 1.0, jitter = false)
)]
fn blocks(label: String) -> relive::Result<usize> {
    let probe = Probe::here()?;
    block_on(probe.hold(&label));
    Ok(probe.count(&label))
}

#[trace(name = "timeouts.outer")]
async fn outer(label: String) -> relive::Result<String> {
    let inner = tried(label).await;
    Ok(format!("{:?}", inner.map_err(|error| error.kind())))
}

/// Sleeps until somebody wakes it; works then.
#[trace(name = "timeouts.naps")]
async fn naps() -> relive::Result<usize> {
    let probe = Probe::here()?;
    probe.begin("naps");
    relive::select! {
        _ = relive::sleep(seconds(3_600)) => {}
        _ = probe.hold("nap") => {}
    }
    held("awake").await
}

#[task(name = "timeouts.one")]
async fn one(which: String) -> relive::Result<String> {
    let label = which.clone();
    Ok(match which.as_str() {
        "tried" => tried(label).await?.to_string(),
        "limited" => limited(label).await?.to_string(),
        "fails" => fails(label).await?.to_string(),
        "blocks" => blocks(label).await?.to_string(),
        "naps" => naps().await?.to_string(),
        _ => outer(label).await?,
    })
}

#[tokio::test]
async fn a_try_that_takes_too_long_is_dropped_and_the_next_one_follows() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(one("tried".into())).await.expect("starts");
    let run = handle.id();
    for tries in 1..=2 {
        life.probe.begun("tried", tries).await;
        life.clock.sleeps(seconds(10)).await;
        life.clock.advance(seconds(10));
        life.clock.sleeps(seconds(1)).await;
        assert_eq!((life.probe.count("tried"), life.probe.count("gone")), (tries, tries), "dropped before the wait");
        life.clock.advance(seconds(1));
    }
    life.probe.begun("tried", 3).await;
    life.probe.open("tried");
    assert_eq!(guard(handle).await.expect("in time"), "3");
    let retried = retried(&life.engine, run);
    assert_eq!(retried.len(), 2);
    for retried in retried {
        assert_eq!(retried.error.kind, ErrorKind::TimedOut);
        assert!(retried.error.message.contains("timeouts.tried") && retried.error.message.contains("10s"));
        assert_eq!(retried.duration_micros, 10_000_000);
    }
    assert_eq!(completed(&life.engine, run)[0].tries, 3);
}

#[tokio::test]
async fn the_last_try_that_takes_too_long_is_the_outcome() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(one("tried".into())).await.expect("starts");
    let _flowing = life.clock.flow();
    let error = guard(handle).await.expect_err("too long");
    assert_eq!((error.kind(), life.probe.count("tried"), life.probe.count("gone")), (ErrorKind::TimedOut, 3, 3));
}

#[tokio::test]
async fn a_deadline_ends_all_tries() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(one("limited".into())).await.expect("starts");
    let run = handle.id();
    for wait in [10, 1, 10, 1, 3] {
        life.clock.sleeps(seconds(wait)).await;
        life.clock.advance(seconds(wait));
    }
    let error = guard(handle).await.expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("25s") && error.to_string().contains("timeouts.limited"), "{error}");
    assert_eq!((life.probe.count("gone"), completed(&life.engine, run)[0].tries), (3, 3));
}

#[tokio::test]
async fn no_wait_goes_beyond_the_deadline_and_the_last_failure_is_told() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(one("fails".into())).await.expect("starts");
    for _ in 0..2 {
        life.clock.sleeps(seconds(4)).await;
        life.clock.advance(seconds(4));
    }
    let error = guard(handle).await.expect_err("too long");
    assert_eq!((error.kind(), life.probe.count("fails")), (ErrorKind::TimedOut, 3));
    assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("no 3 of fails"));
}

#[tokio::test]
async fn a_deadline_goes_on_while_the_process_is_down() {
    for (down, left) in [(6, Some(9)), (14, Some(1)), (15, None), (10_000, None)] {
        let (store, life) = first_life().await;
        let run = life.engine.start(one("limited".into())).await.expect("starts").id();
        life.clock.sleeps(seconds(10)).await;
        life.clock.advance(seconds(10));
        life.clock.sleeps(seconds(1)).await;
        let (_, next) = life.crash(&store, seconds(down)).await;
        if let Some(left) = left {
            next.clock.sleeps(seconds(left)).await;
            next.clock.advance(seconds(left));
        }
        let error = guard(next.engine.handle::<String, Error>(run).expect("known")).await.expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains("25s"), "{error}");
        assert_eq!(next.probe.count("limited"), usize::from(left.is_some()), "no try begins when the time is over");
    }
}

#[tokio::test]
async fn a_trace_whose_time_was_over_is_tried_again_when_the_run_is_resumed() {
    for which in ["limited", "fails"] {
        let (_, life) = first_life().await;
        let handle = life.engine.start(one(which.into())).await.expect("starts");
        let run = handle.id();
        {
            let _flowing = life.clock.flow();
            guard(handle).await.expect_err("too long");
        }
        let begun = life.probe.count(which);
        let _again = guard(life.engine.resume(run)).await.expect("resumes");
        life.probe.begun(which, begun + 1).await;
    }
}

#[tokio::test]
async fn no_try_begins_while_the_blocking_one_before_it_is_on_its_thread() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(one("blocks".into())).await.expect("starts");
    let run = handle.id();
    life.probe.begun("blocks", 1).await;
    life.clock.sleeps(seconds(10)).await;
    life.clock.advance(seconds(10));
    life.clock.sleeps(seconds(1)).await;
    assert_eq!(retried(&life.engine, run)[0].error.kind, ErrorKind::TimedOut);
    life.clock.advance(seconds(1));
    life.clock.sleepers(0).await;
    assert_eq!((life.probe.count("blocks"), life.probe.held_max()), (1, 1));
    life.probe.open("blocks");
    assert_eq!(guard(handle).await.expect("in time"), "2");
    assert_eq!(life.probe.held_max(), 1);
}

#[tokio::test]
async fn a_trace_in_an_effect_has_its_own_tries_and_times() {
    let (_, life) = first_life().await;
    let _flowing = life.clock.flow();
    let handle = life.engine.start(one("outer".into())).await.expect("starts");
    let run = handle.id();
    assert_eq!(guard(handle).await.expect("catches it"), "Err(TimedOut)");
    assert_eq!((life.probe.count("outer"), life.probe.count("gone"), retried(&life.engine, run).len()), (3, 3, 2));
    let tries: Vec<_> = completed(&life.engine, run).iter().map(|completed| completed.tries).collect();
    assert_eq!(tries, [3, 1], "of the inner one, and of the outer");
    let within = |event| matches!(event, Event::TraceStarted(started) if started.within.is_some());
    assert_eq!(events(&life.engine, run).into_iter().filter(|event| within(event.clone())).count(), 1);
}

#[tokio::test]
async fn a_shutdown_waits_for_an_effect_that_no_longer_sleeps() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(one("naps".into())).await.expect("starts");
    life.clock.sleeps(seconds(3_600)).await;
    life.probe.open("nap");
    life.probe.begun("awake", 1).await;
    let shutdown = tokio::spawn({
        let engine = life.engine.clone();
        async move { engine.shutdown().await }
    });
    while life.engine.start(one("outer".into())).await.is_ok() {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        // Time enough to end too early.
        tokio::task::yield_now().await;
    }
    life.probe.open("awake");
    guard(shutdown).await.expect("no panic").expect("shuts down");
    let run = handle.id();
    drop(handle);
    let (_, next) = life.crash(&store, Duration::ZERO).await;
    assert_eq!(guard(next.engine.handle::<String, Error>(run).expect("known")).await.expect("ended"), "1");
    assert_eq!(next.probe.count("awake"), 0, "it was not cut off");
}

#[tokio::test]
async fn timeouts_are_counted_wherever_the_process_ends() {
    let live = async |life: &Life| life.engine.run(one("tried".into())).await.or_else(text);
    cut_at_every_commit(
        |builder| builder,
        live,
        |life, result, cut| {
            let run = only_run(&life.engine);
            assert_eq!(result, "TimedOut", "cut {cut}");
            assert_eq!(life.probe.count("tried"), life.probe.count("gone"));
            let completed = completed(&life.engine, run).remove(0);
            assert!(matches!(completed.outcome, TraceOutcome::Err(_)) && completed.tries == 3, "cut {cut}");
            assert_eq!(retried(&life.engine, run).len(), 2, "cut {cut}");
        },
    )
    .await;
}

/// The task's own error as an outcome; the store's as one.
fn text(error: Error) -> relive::Result<String> {
    match error.kind() {
        ErrorKind::TimedOut => Ok(format!("{:?}", error.kind())),
        _ => Err(error),
    }
}
