//! What happens to a run between two tries and between two attempts: signals, cancellations, jumps of the clock, crashes.

use std::sync::Arc;

use parking_lot::Mutex;
use relive::{Cancellation, Error, ErrorKind, RunId, RunStatus, TaskOutcome, TraceOutcome, task, trace};
use relive_storage::MemoryStore;

use super::crashes::{Life, cut_at_every_commit, first_life, only_run};
use super::retries::{completed, flaky_body, retried, seconds};
use super::support::{Probe, builder, event_names, events, guard, open_with};
use relive_tests::manual_clock::ManualClock;

#[trace(name = "between.plainly", retries = 2)]
fn plainly(label: String, failures: usize) -> relive::Result<usize> {
    flaky_body(&label, failures)
}

#[trace(name = "between.inner", retries = 2, backoff(first = "1s", factor = 1.0, jitter = false))]
async fn inner(label: String, failures: usize) -> relive::Result<usize> {
    flaky_body(&label, failures)
}

#[trace(name = "between.outer", retries = 1, backoff(first = "10s", jitter = false))]
async fn outer(label: String) -> relive::Result<usize> {
    let first = inner(format!("{label} first"), 1).await?;
    Ok(first + inner(format!("{label} second"), 4).await?)
}

#[trace(name = "between.elsewhere", spawn, retries = 2, backoff(first = "1s", factor = 1.0, jitter = false))]
async fn elsewhere(label: String, failures: usize) -> relive::Result<usize> {
    flaky_body(&label, failures)
}

#[trace(name = "between.in_a_thread", blocking, retries = 2, backoff(first = "1s", factor = 1.0, jitter = false))]
fn in_a_thread(label: String, failures: usize) -> relive::Result<usize> {
    flaky_body(&label, failures)
}

#[task(name = "between.one")]
async fn one(which: String) -> relive::Result<usize> {
    let label = which.clone();
    match which.as_str() {
        "plainly" => plainly(label, 2),
        "outer" => outer(label).await,
        "elsewhere" => elsewhere(label, 2).await,
        _ => in_a_thread(label, 2).await,
    }
}

#[trace(name = "between.step")]
async fn step(label: String, failures: usize) -> relive::Result<usize> {
    flaky_body(&label, failures)
}

/// Takes a signal in each of its attempts.
#[task(name = "between.attempts", retries = 2, backoff(first = "10s", factor = 1.0, jitter = false), allow(signal))]
async fn attempts() -> relive::Result<(u32, u32)> {
    let first = relive::signal::<u32>("number").await?;
    step("attempts".into(), 1).await?;
    Ok((first, relive::signal::<u32>("number").await?))
}

/// Which version of its code a task has.
#[derive(Clone, Default)]
struct Edited(Arc<Mutex<bool>>);

#[task(name = "between.edited", allow(signal))]
async fn edited() -> relive::Result<(usize, u32)> {
    let is_edited = *relive::provided::<Edited>()?.0.lock();
    let number = step(if is_edited { "new" } else { "old" }.into(), 0).await?;
    Ok((number, relive::signal::<u32>("number").await?))
}

async fn waits(life: &Life, run: RunId, starts: usize) {
    while event_names(&life.engine, run).iter().filter(|name| **name == "TraceStarted").count() < starts {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn tries_of_every_form_are_in_the_log_before_the_next_wherever_the_process_ends() {
    for which in ["plainly", "elsewhere", "in a thread"] {
        let live = async |life: &Life| life.engine.run(one(which.into())).await;
        cut_at_every_commit(
            |builder| builder,
            live,
            |life, _, cut| {
                let run = only_run(&life.engine);
                let completed = completed(&life.engine, run).remove(0);
                let tries: Vec<_> = retried(&life.engine, run).iter().map(|retried| retried.tries).collect();
                assert_eq!(tries, (1..completed.tries).collect::<Vec<_>>(), "{which}, cut {cut}");
                let begun = life.probe.count(which);
                assert!((3..=4).contains(&begun), "{which}, cut {cut}: {begun} began");
                assert!(matches!(completed.outcome, TraceOutcome::Ok(_)), "{which}, cut {cut}");
            },
        )
        .await;
    }
}

#[tokio::test]
async fn what_an_effect_called_with_success_is_not_called_again_in_its_next_try() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(one("outer".into())).await.expect("starts");
    let run = handle.id();
    for wait in [1, 1, 1, 10] {
        life.clock.sleeps(seconds(wait)).await;
        life.clock.advance(seconds(wait));
    }
    let _flowing = life.clock.flow();
    assert_eq!(guard(handle).await.expect("succeeds"), 7);
    assert_eq!((life.probe.count("outer first"), life.probe.count("outer second")), (2, 5));
    assert!(matches!(guard(life.engine.replay(run)).await, Ok(Some(TaskOutcome::Ok(_)))), "it replays");
}

#[tokio::test]
async fn tries_within_tries_end_well_wherever_the_process_ends() {
    let live = async |life: &Life| life.engine.run(one("outer".into())).await;
    cut_at_every_commit(
        |builder| builder,
        live,
        |life, _, cut| {
            let run = only_run(&life.engine);
            assert!((2..=3).contains(&life.probe.count("outer first")), "cut {cut}");
            assert!((5..=6).contains(&life.probe.count("outer second")), "cut {cut}");
            let completed = completed(&life.engine, run);
            let well = completed.iter().filter(|completed| matches!(completed.outcome, TraceOutcome::Ok(_))).count();
            assert_eq!(well, 3, "cut {cut}: two within, and the one around");
        },
    )
    .await;
}

#[tokio::test]
async fn a_wall_clock_that_jumps_begins_no_try_and_no_attempt_early_or_late() {
    for jump in [86_400, -86_400] {
        let (_, life) = first_life().await;
        let tries = life.engine.start(one("elsewhere".into())).await.expect("starts");
        life.clock.sleeps(seconds(1)).await;
        life.clock.jump(jump);
        tokio::task::yield_now().await;
        assert_eq!(life.clock.lefts(), [seconds(1)]);
        life.clock.advance(seconds(1));
        life.clock.sleeps(seconds(1)).await;
        life.clock.advance(seconds(1));
        assert_eq!(guard(tries).await.expect("succeeds"), 3);

        let attempts = life.engine.start(attempts()).await.expect("starts");
        guard(life.engine.signal(attempts.id(), "number", 1u32)).await.expect("is taken");
        guard(life.engine.signal(attempts.id(), "number", 2u32)).await.expect("is taken");
        life.clock.sleeps(seconds(10)).await;
        life.clock.jump(jump);
        tokio::task::yield_now().await;
        assert_eq!(life.clock.lefts(), [seconds(10)]);
        life.clock.advance(seconds(10));
        assert_eq!(guard(attempts).await.expect("succeeds"), (1, 2));
    }
}

#[tokio::test]
async fn a_signal_between_two_attempts_is_kept_for_the_next_one() {
    let (store, life) = first_life().await;
    let run = life.engine.start(attempts()).await.expect("starts").id();
    guard(life.engine.signal(run, "number", 1u32)).await.expect("is taken");
    life.clock.sleeps(seconds(10)).await;
    guard(life.engine.signal(run, "number", 2u32)).await.expect("is kept");
    let (_, next) = life.crash(&store, seconds(0)).await;
    next.probe.begin("attempts");
    for life in [&life, &next] {
        life.clock.sleeps(seconds(10)).await;
        life.clock.advance(seconds(10));
        let outcome = guard(life.engine.handle::<(u32, u32), Error>(run).expect("known")).await;
        assert_eq!(outcome.expect("ends"), (1, 2), "the first signal is not waited for again");
        let signals = event_names(&life.engine, run).into_iter().filter(|name| *name == "SignalReceived").count();
        assert_eq!(signals, 2);
        assert!(matches!(guard(life.engine.replay(run)).await, Ok(Some(TaskOutcome::Ok(_)))), "it replays");
    }
}

#[tokio::test]
async fn a_run_between_two_attempts_is_not_resumed_and_is_cancelled_in_every_life() {
    let (store, life) = first_life().await;
    let run = life.engine.start(attempts()).await.expect("starts").id();
    guard(life.engine.signal(run, "number", 1u32)).await.expect("is taken");
    life.clock.sleeps(seconds(10)).await;
    let error = guard(life.engine.resume(run)).await.map(drop).expect_err("it goes on by itself");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let (left, next) = life.crash(&store, seconds(1)).await;
    next.clock.sleeps(seconds(9)).await;
    assert_eq!(guard(next.engine.cancel(run)).await.expect("is taken"), Cancellation::Cancelled);
    assert_eq!(next.engine.status(run).expect("known"), RunStatus::Cancelled);
    let (_, last) = next.crash(&left, seconds(100)).await;
    assert_eq!(last.engine.status(run).expect("known"), RunStatus::Cancelled);
    assert!(guard(last.engine.replay(run)).await.is_ok(), "the log is sound");
    let error = guard(last.engine.signal(run, "number", 2u32)).await.expect_err("it has ended");
    assert_eq!(error.kind(), ErrorKind::Ended);
}

#[tokio::test]
async fn attempts_and_their_signals_are_the_same_wherever_the_process_ends() {
    let live = async |life: &Life| {
        let handle = life.engine.start(attempts()).await?;
        let run = handle.id();
        for number in life.probe.count("sent")..2 {
            life.engine.signal(run, "number", number + 1).await?;
            life.probe.begin("sent");
        }
        handle.await
    };
    cut_at_every_commit(
        |builder| builder,
        live,
        |life, numbers, cut| {
            let run = only_run(&life.engine);
            assert_eq!(numbers, (1, 2), "cut {cut}");
            let signals = event_names(&life.engine, run).into_iter().filter(|name| *name == "SignalReceived").count();
            assert_eq!(signals, 2, "cut {cut}");
        },
    )
    .await;
}

#[tokio::test]
async fn a_signal_to_a_run_that_no_longer_fits_its_log_is_kept_until_it_is_resumed() {
    let (store, probe, clock, version) =
        (MemoryStore::new(), Probe::default(), ManualClock::default(), Edited::default());
    let engine = open_with(&store, builder(&probe).clock(clock.clone()).provide(version.clone())).await;
    let run = engine.start(edited()).await.expect("starts").id();
    let life = Life { engine, probe, clock };
    waits(&life, run, 2).await;

    *version.0.lock() = true;
    let (store, clock) = (store.copy(), life.clock.next_life(seconds(1)));
    let settings = builder(&life.probe).clock(clock).provide(version.clone());
    let engine = open_with(&store, settings).await;
    let error = guard(engine.handle::<(usize, u32), Error>(run).expect("known")).await.expect_err("does not fit");
    assert_eq!(error.kind(), ErrorKind::Diverged);
    let before = events(&engine, run);
    guard(engine.signal(run, "number", 7u32)).await.expect("is kept");
    assert!(matches!(engine.status(run).expect("known"), RunStatus::Blocked { .. }));
    assert_eq!(events(&engine, run), before, "the log is untouched");
    let resumed = guard(engine.resume(run)).await.expect("resumes");
    drop(resumed);
    assert_eq!(guard(engine.handle::<(usize, u32), Error>(run).expect("known")).await.expect("ends"), (1, 7));
}
