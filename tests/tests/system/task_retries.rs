//! Attempts of a task that follow each other by themselves, and the limits on their time.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use relive::{Cancellation, Cause, Error, ErrorKind, Event, RunId, RunState, RunStatus, TaskOutcome, task, trace};

use super::crashes::{GatedStore, Life, cut_at_every_commit, first_life, only_run};
use super::retries::{flaky_body, seconds};
use super::support::{Probe, builder, events, guard};
use relive_tests::manual_clock::ManualClock;

#[trace(name = "task_retries.step")]
async fn step(label: String) -> relive::Result<usize> {
    Probe::here()?.begin(&label);
    Ok(1)
}

#[trace(name = "task_retries.third")]
async fn third(failures: usize) -> relive::Result<usize> {
    flaky_body("third", failures)
}

#[trace(name = "task_retries.held")]
async fn held(label: String) -> relive::Result<usize> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

#[task(name = "task_retries.three", retries = 2, backoff(first = "1s", factor = 10.0, jitter = false))]
async fn three(failures: usize) -> relive::Result<usize> {
    let first = step("first".into()).await?;
    let second = step("second".into()).await?;
    Ok(first + second + third(failures).await?)
}

#[task(name = "task_retries.terminal", retries = 2)]
async fn terminal() -> relive::Result<usize> {
    third(100).await.map_err(Error::terminal)
}

#[task(name = "task_retries.panics", retries = 1, backoff(first = "1s", jitter = false))]
async fn panics() -> relive::Result<usize> {
    step("before".into()).await?;
    panic!("as ever");
}

#[task(
    name = "task_retries.limited",
    retries = 100,
    backoff(first = "1s", factor = 1.0, jitter = false),
    timeout = "10s",
    deadline = "25s"
)]
async fn limited() -> relive::Result<usize> {
    step("first".into()).await?;
    held("held".into()).await
}

#[task(name = "task_retries.parent")]
async fn parent(failures: usize) -> relive::Result<usize> {
    three(failures).await
}

/// The attempts in a log: why each was made, and how it ended.
fn attempts(life: &Life, run: RunId) -> Vec<(Cause, Option<TaskOutcome>)> {
    let mut attempts = Vec::new();
    for event in events(&life.engine, run) {
        match event {
            Event::TaskStarted(started) => attempts.push((started.cause, None)),
            Event::TaskCompleted(completed) => attempts.last_mut().expect("begun").1 = Some(completed.outcome),
            _ => {}
        }
    }
    attempts
}

#[tokio::test]
async fn a_failed_task_is_attempted_again_with_what_was_found_before() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(three(2).id("nightly")).await.expect("starts");
    let run = handle.id();
    for (begun, wait) in [(1, 1), (2, 10)] {
        life.clock.sleeps(seconds(wait)).await;
        assert_eq!(life.probe.count("third"), begun);
        assert_eq!(handle.status(), RunStatus::Running);
        let again = life.engine.start(three(2).id("nightly")).await.expect("joins");
        assert_eq!(again.id(), run, "an id names the run also between two attempts");
        life.clock.advance(seconds(wait));
    }
    assert_eq!(guard(handle).await.expect("succeeds at last"), 5);
    assert_eq!(life.probe.all_begun(), ["first", "second", "third", "third", "third"]);
    let attempts = attempts(&life, run);
    let causes: Vec<_> = attempts.iter().map(|(cause, _)| cause.clone()).collect();
    assert_eq!(causes, [Cause::New, Cause::Retried, Cause::Retried]);
    let ended: Vec<_> = attempts.iter().map(|(_, outcome)| matches!(outcome, Some(TaskOutcome::Ok(_)))).collect();
    assert_eq!(ended, [false, false, true]);
    assert_eq!(life.engine.status(run).expect("known"), RunStatus::Completed);
    assert!(matches!(guard(life.engine.replay(run)).await, Ok(Some(TaskOutcome::Ok(_)))));
}

#[tokio::test]
async fn a_task_that_keeps_failing_fails_with_the_last_error() {
    let (_, life) = first_life().await;
    let _flowing = life.clock.flow();
    let handle = life.engine.start(three(100)).await.expect("starts");
    let run = handle.id();
    assert_eq!(guard(handle).await.expect_err("fails").to_string(), "no 3 of third");
    assert_eq!(attempts(&life, run).len(), 3);
    assert_eq!(life.engine.status(run).expect("known"), RunStatus::Failed);
    let record = life.engine.runs().next().expect("one").expect("readable").record;
    assert_eq!(record.state, RunState::Failed);
    // A failed run is not joined: the same call is a new run.
    guard(life.engine.run(three(100))).await.expect_err("fails");
    assert_eq!(life.engine.runs().count(), 2);
}

#[tokio::test]
async fn a_terminal_failure_is_the_last_attempt() {
    let (_, life) = first_life().await;
    let error = guard(life.engine.run(terminal())).await.expect_err("terminal");
    assert!(error.is_terminal(), "{error:?}");
    assert_eq!((life.probe.count("third"), life.clock.slept_count()), (1, 0));
}

#[tokio::test]
async fn a_panic_of_the_body_is_a_failed_attempt() {
    let (_, life) = first_life().await;
    let _flowing = life.clock.flow();
    let handle = life.engine.start(panics()).await.expect("starts");
    let run = handle.id();
    let error = guard(handle).await.expect_err("panics");
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert!(error.to_string().contains("as ever at ") && error.to_string().contains("task_retries.rs:"), "{error}");
    assert_eq!((attempts(&life, run).len(), life.probe.count("before")), (2, 1));
}

#[tokio::test]
async fn the_wait_for_the_next_attempt_survives_a_crash() {
    for (down, left) in [(0, 10), (4, 6), (10, 0), (1_000, 0)] {
        let (store, life) = first_life().await;
        let run = life.engine.start(three(2)).await.expect("starts").id();
        life.clock.sleeps(seconds(1)).await;
        life.clock.advance(seconds(1));
        life.clock.sleeps(seconds(10)).await;
        let (_, next) = life.crash(&store, seconds(down)).await;
        if left > 0 {
            next.clock.sleeps(seconds(left)).await;
            assert_eq!(next.engine.status(run).expect("known"), RunStatus::Running);
            assert_eq!(next.probe.all_begun(), Vec::<String>::new());
            next.clock.advance(seconds(left));
        }
        // Its own count begins anew: two failures more, and it was the last attempt.
        let error = guard(next.engine.handle::<usize, Error>(run).expect("known")).await.expect_err("the last");
        assert_eq!(error.to_string(), "no 1 of third", "{down}");
        assert_eq!(next.probe.all_begun(), ["third"], "attempts count over a crash, and steps are not repeated");
        assert_eq!(attempts(&next, run).len(), 3);
    }
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_the_next_attempt() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(three(1)).await.expect("starts");
    let run = handle.id();
    life.clock.sleeps(seconds(1)).await;
    guard(life.engine.shutdown()).await.expect("shuts down");
    assert_eq!(guard(handle).await.expect_err("unfinished").kind(), ErrorKind::Closed);
    let (_, next) = life.crash(&store, Duration::from_millis(500)).await;
    next.clock.sleeps(Duration::from_millis(500)).await;
    let joined = next.engine.start(three(1)).await.expect("joins");
    assert_eq!(joined.id(), run);
    let _flowing = next.clock.flow();
    assert_eq!(guard(joined).await.expect("goes on"), 4);
    assert_eq!(next.probe.all_begun(), ["third", "third"]);
}

#[tokio::test]
async fn a_run_is_cancelled_between_two_attempts_and_only_resume_revives_it() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(three(1)).await.expect("starts");
    let run = handle.id();
    life.clock.sleeps(seconds(1)).await;
    assert_eq!(guard(handle.cancel()).await.expect("is taken"), Cancellation::Cancelled);
    assert_eq!(guard(handle).await.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    assert_eq!(life.engine.status(run).expect("known"), RunStatus::Cancelled);
    assert_eq!(life.clock.lefts(), []);
    let (_, next) = life.crash(&store, seconds(100)).await;
    assert_eq!(next.engine.status(run).expect("known"), RunStatus::Cancelled);
    let _flowing = next.clock.flow();
    let resumed = guard(next.engine.resume(run)).await.expect("resumes");
    assert!(guard(resumed).await.is_ok(), "with retries of its own: the second of them succeeds");
    assert_eq!(next.probe.all_begun(), ["third", "third"]);
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_dropped_and_a_deadline_ends_all() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(limited()).await.expect("starts");
    let run = handle.id();
    for (begun, wait) in [(1, 10), (1, 1), (2, 10), (2, 1), (3, 3)] {
        life.probe.begun("held", begun).await;
        life.clock.sleeps(seconds(wait)).await;
        life.clock.advance(seconds(wait));
    }
    let error = guard(handle).await.expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("task_retries.limited") && error.to_string().contains("25s"), "{error}");
    assert_eq!((life.probe.count("first"), attempts(&life, run).len()), (1, 3));
    for (_, outcome) in attempts(&life, run) {
        assert!(matches!(outcome, Some(TaskOutcome::Err(record)) if record.kind == ErrorKind::TimedOut));
    }
    assert!(matches!(guard(life.engine.replay(run)).await, Ok(Some(TaskOutcome::Err(_)))));
}

#[tokio::test]
async fn limits_of_a_task_go_on_while_the_process_is_down() {
    // Of the first attempt 4 s are gone.
    for (down, left) in [(1, Some(5)), (6, None), (30, None)] {
        let (store, life) = first_life().await;
        let run = life.engine.start(limited()).await.expect("starts").id();
        life.probe.begun("held", 1).await;
        life.clock.advance(seconds(4));
        let (_, next) = life.crash(&store, seconds(down)).await;
        if let Some(left) = left {
            next.clock.sleeps(seconds(left)).await;
            next.clock.advance(seconds(left));
        }
        if down < 25 {
            next.clock.sleeps(seconds(1)).await;
        }
        let _flowing = next.clock.flow();
        let error = guard(next.engine.handle::<usize, Error>(run).expect("known")).await.expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(next.probe.count("first"), 0);
        if down > 25 {
            assert_eq!(next.probe.count("held"), 0, "nothing begins when the time is over");
        }
    }
}

#[tokio::test]
async fn a_run_whose_time_was_over_has_it_anew_when_it_is_resumed() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(limited()).await.expect("starts");
    let run = handle.id();
    {
        let _flowing = life.clock.flow();
        guard(handle).await.expect_err("too long");
    }
    let begun = life.probe.count("held");
    life.probe.open("held");
    let resumed = guard(life.engine.resume(run)).await.expect("resumes");
    assert!(guard(resumed).await.is_ok());
    assert_eq!(life.probe.count("held"), begun + 1);
}

/// Where an effect leaves its waker: a service that calls back late.
#[derive(Clone, Default)]
struct Wakers(Arc<Mutex<Vec<Waker>>>);

#[trace(name = "task_retries.leaves_waker")]
async fn leaves_waker() -> relive::Result<usize> {
    let wakers = relive::provided::<Wakers>()?;
    Probe::here()?.begin("leaves");
    poll_fn(|cx| {
        wakers.0.lock().push(cx.waker().clone());
        Poll::Pending
    })
    .await
}

#[task(name = "task_retries.left", retries = 1, backoff(first = "1s", jitter = false))]
async fn left() -> relive::Result<usize> {
    Ok(futures::future::try_join(leaves_waker(), third(1)).await?.1)
}

#[tokio::test]
async fn what_an_earlier_attempt_left_begins_nothing_in_the_next_one() {
    let (store, probe, clock) = (Arc::new(GatedStore::default()), Probe::default(), ManualClock::default());
    let wakers = Wakers::default();
    let settings = builder(&probe).clock(clock.clone()).provide(wakers.clone()).strict(true);
    let engine = settings.open_store(Arc::clone(&store) as _).await.expect("opens");
    let handle = engine.start(left()).await.expect("starts");
    clock.sleeps(seconds(1)).await;
    let left_behind = wakers.0.lock().clone();
    assert_eq!((left_behind.len(), probe.count("leaves")), (1, 1));
    store.close(true);
    clock.advance(seconds(1));
    for _ in 0..50 {
        left_behind.iter().for_each(Waker::wake_by_ref);
        tokio::task::yield_now().await;
    }
    assert_eq!(probe.count("leaves"), 1, "its start is not durable");
    store.close(false);
    probe.begun("leaves", 2).await;
    assert_eq!(guard(handle.cancel()).await.expect("is taken"), Cancellation::Cancelled);
}

#[tokio::test]
async fn a_parent_waits_for_the_last_attempt_of_its_child() {
    let (_, life) = first_life().await;
    let _flowing = life.clock.flow();
    assert_eq!(guard(life.engine.run(parent(2))).await.expect("succeeds"), 5);
    assert_eq!(life.probe.all_begun(), ["first", "second", "third", "third", "third"]);
}

#[tokio::test]
async fn attempts_are_counted_wherever_the_process_ends() {
    let live = async |life: &Life| life.engine.run(three(2)).await;
    cut_at_every_commit(
        |builder| builder,
        live,
        |life, result, cut| {
            let run = only_run(&life.engine);
            let attempts = attempts(life, run);
            let begun = life.probe.count("third");
            assert!((3..=4).contains(&begun) && attempts.len() <= 3, "cut {cut}: {begun} began");
            assert_eq!(result, 2 + begun.min(4), "cut {cut}");
            assert!(life.probe.count("first") <= 2 && life.probe.count("second") <= 2, "cut {cut}");
        },
    )
    .await;
}
