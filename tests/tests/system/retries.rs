//! Tries of a trace: as many as said, each failure in the log before the next begins, waits that are recorded and kept.

use std::time::Duration;

use relive::{Cancellation, Error, ErrorKind, Event, RunId, TraceCompleted, TraceOutcome, TraceRetried, task, trace};
use relive_storage::{FaultStore, MemoryStore};

use super::crashes::{Life, cut_at_every_commit, only_run};
use super::support::{Probe, builder, event_names, events, guard, listening, open_with};
use relive_tests::manual_clock::ManualClock;

/// Fails so often, then returns how often it was called.
pub(super) fn flaky_body(label: &str, failures: usize) -> relive::Result<usize> {
    let probe = Probe::here()?;
    probe.begin(label);
    let tries = probe.count(label);
    if tries > failures { Ok(tries) } else { Err(Error::msg(format!("no {tries} of {label}"))) }
}

#[trace(name = "retries.flaky", retries = 3, backoff(first = "1s", factor = 3.0, max = "5s", jitter = false))]
async fn flaky(label: String, failures: usize) -> relive::Result<usize> {
    flaky_body(&label, failures)
}

#[trace(name = "retries.jittered", retries = 50, backoff = "1s")]
async fn jittered(label: String) -> relive::Result<usize> {
    flaky_body(&label, 20)
}

#[task(name = "retries.one")]
async fn one(label: String, failures: usize) -> relive::Result<usize> {
    flaky(label, failures).await
}

#[task(name = "retries.one_jittered")]
async fn one_jittered() -> relive::Result<usize> {
    jittered("jittered".into()).await
}

pub(super) fn retried(engine: &relive::Engine, run: RunId) -> Vec<TraceRetried> {
    let retried = |event| if let Event::TraceRetried(retried) = event { Some(retried) } else { None };
    events(engine, run).into_iter().filter_map(retried).collect()
}

pub(super) fn completed(engine: &relive::Engine, run: RunId) -> Vec<TraceCompleted> {
    let completed = |event| if let Event::TraceCompleted(completed) = event { Some(completed) } else { None };
    events(engine, run).into_iter().filter_map(completed).collect()
}

pub(super) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[tokio::test]
async fn a_trace_is_tried_as_often_as_said_and_each_failure_is_in_the_log() {
    let (probe, clock) = (Probe::default(), ManualClock::default());
    let engine = open_with(&MemoryStore::new(), builder(&probe).clock(clock.clone())).await;
    let handle = engine.start(one("often".into(), 100)).await.expect("starts");
    let run = handle.id();
    // Exponential by the factor, up to the cap.
    for (tries, wait) in [(1, 1), (2, 3), (3, 5)] {
        clock.sleeps(seconds(wait)).await;
        assert_eq!(probe.count("often"), tries);
        clock.advance(seconds(wait) - Duration::from_micros(1));
        tokio::task::yield_now().await;
        assert_eq!(probe.count("often"), tries, "not a moment too early");
        clock.advance(Duration::from_micros(1));
    }
    let error = guard(handle).await.expect_err("fails at last");
    assert_eq!(error.to_string(), "no 4 of often");
    assert_eq!(probe.count("often"), 4);
    let retried = retried(&engine, run);
    assert_eq!(retried.iter().map(|retried| retried.tries).collect::<Vec<_>>(), [1, 2, 3]);
    let messages: Vec<_> = retried.iter().map(|retried| retried.error.message.as_str()).collect();
    assert_eq!(messages, ["no 1 of often", "no 2 of often", "no 3 of often"]);
    let completed = completed(&engine, run).remove(0);
    assert_eq!(completed.tries, 4);
    assert!(matches!(completed.outcome, TraceOutcome::Err(record) if record.message == "no 4 of often"));
    assert_eq!(
        event_names(&engine, run),
        [
            "TaskStarted",
            "TraceStarted",
            "TraceRetried",
            "TraceRetried",
            "TraceRetried",
            "TraceCompleted",
            "TaskCompleted"
        ]
    );
}

#[tokio::test]
async fn a_success_says_which_try_it_was() {
    let (probe, clock) = (Probe::default(), ManualClock::default());
    let engine = open_with(&MemoryStore::new(), builder(&probe).clock(clock.clone())).await;
    let _flowing = clock.flow();
    for failures in 0..=3 {
        let handle = engine.start(one(format!("after{failures}"), failures)).await.expect("starts");
        let run = handle.id();
        assert_eq!(guard(handle).await.expect("succeeds"), failures + 1);
        assert_eq!(completed(&engine, run)[0].tries as usize, failures + 1);
        assert!(matches!(guard(engine.replay(run)).await, Ok(Some(_))), "it replays");
    }
}

#[tokio::test]
async fn jitter_is_recorded_and_what_is_recorded_is_waited_for() {
    let (probe, clock) = (Probe::default(), ManualClock::default());
    let engine = open_with(&MemoryStore::new(), builder(&probe).clock(clock.clone())).await;
    let handle = engine.start(one_jittered()).await.expect("starts");
    let run = handle.id();
    let mut waits = Vec::new();
    for tries in 1u32..=20 {
        let left = clock.sleepers(1).await[0];
        let last = retried(&engine, run).pop().expect("in the log before the wait");
        let recorded = last.due.0 - relive::Clock::now(&clock).0;
        assert_eq!((last.tries, i64::try_from(left.as_micros()).expect("short")), (tries, recorded));
        let whole = seconds(1 << (tries - 1).min(20)).min(seconds(300));
        assert!(left <= whole && left >= whole / 2, "{left:?} of {whole:?}");
        waits.push(left);
        clock.advance(left);
        probe.begun("jittered", tries as usize + 1).await;
    }
    assert_eq!(guard(handle).await.expect("succeeds"), 21);
    assert!(waits.windows(2).skip(10).any(|pair| pair[0] != pair[1]), "chance has a part: {waits:?}");
}

#[tokio::test]
async fn the_next_life_of_the_process_waits_for_what_is_left() {
    for (down, left) in [(0, 3_000), (1_000, 2_000), (2_999, 1), (3_000, 0), (60_000, 0)] {
        let (store, probe, clock) = (MemoryStore::new(), Probe::default(), ManualClock::default());
        let engine = open_with(&store, builder(&probe).clock(clock.clone())).await;
        let run = engine.start(one("left".into(), 2)).await.expect("starts").id();
        clock.sleeps(seconds(1)).await;
        clock.advance(seconds(1));
        clock.sleeps(seconds(3)).await;
        let (crashed, clock) = (store.copy(), clock.next_life(Duration::from_millis(down)));
        let engine = open_with(&crashed, builder(&probe).clock(clock.clone())).await;
        if left > 0 {
            clock.sleeps(Duration::from_millis(left)).await;
            assert_eq!(probe.count("left"), 2);
            clock.advance(Duration::from_millis(left));
        }
        let handle = engine.handle::<usize, Error>(run).expect("known");
        assert_eq!(guard(handle).await.expect("succeeds"), 3, "{down}");
        assert_eq!(completed(&engine, run)[0].tries, 3, "tries count over a crash");
    }
}

#[tokio::test]
async fn no_try_begins_before_the_failure_of_the_one_before_it_is_durable() {
    let (probe, clock) = (Probe::default(), ManualClock::default());
    let store = FaultStore::new();
    // In memory, so that all that is written is the run's own.
    let watched = builder(&probe).clock(clock.clone()).sleep_out_after(std::time::Duration::MAX);
    let (listening, told) = listening(watched);
    let engine = listening.open_store(std::sync::Arc::new(store.clone())).await.expect("opens");
    let handle = engine.start(one("durable".into(), 100)).await.expect("starts");
    clock.sleeps(seconds(1)).await;
    assert!(told.lock().iter().any(|told| told.event.name() == "TraceRetried"), "durable before the wait even begins");
    store.set_stop_after(store.commit_count());
    clock.advance(seconds(1));
    assert_eq!(guard(handle).await.expect_err("cannot be recorded").kind(), ErrorKind::Storage);
    clock.advance(seconds(100));
    tokio::task::yield_now().await;
    assert_eq!(probe.count("durable"), 2, "the second failure was not durable, so there is no third try");
}

#[trace(name = "retries.terminal", retries = 3)]
async fn terminal(label: String) -> relive::Result<usize> {
    flaky_body(&label, 100).map_err(Error::terminal)
}

#[trace(name = "retries.panics", retries = 1)]
async fn panics(label: String) -> relive::Result<usize> {
    Probe::here()?.begin(&label);
    panic!("ouch {}", Probe::here()?.count(&label));
}

#[task(name = "retries.ends")]
async fn ends(panicking: bool) -> relive::Result<usize> {
    if panicking { panics("panics".into()).await } else { terminal("terminal".into()).await }
}

#[tokio::test]
async fn a_terminal_error_is_not_tried_again() {
    let (probe, clock) = (Probe::default(), ManualClock::default());
    let engine = open_with(&MemoryStore::new(), builder(&probe).clock(clock.clone())).await;
    let error = guard(engine.run(ends(false))).await.expect_err("terminal");
    assert!(error.is_terminal() && error.to_string() == "no 1 of terminal", "{error:?}");
    assert_eq!((probe.count("terminal"), clock.slept_count()), (1, 0));
}

#[tokio::test]
async fn a_panic_is_a_failed_try_with_its_message_and_place() {
    let (probe, clock) = (Probe::default(), ManualClock::default());
    let engine = open_with(&MemoryStore::new(), builder(&probe).clock(clock.clone())).await;
    let _flowing = clock.flow();
    let handle = engine.start(ends(true)).await.expect("starts");
    let run = handle.id();
    let error = guard(handle).await.expect_err("panics");
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert!(error.to_string().contains("ouch 2 at ") && error.to_string().contains("retries.rs:"), "{error}");
    let retried = retried(&engine, run).remove(0);
    assert_eq!(retried.error.kind, ErrorKind::Panicked);
    assert!(retried.error.message.contains("ouch 1 at "), "{}", retried.error.message);
}

/// Drops the wait between two tries when it is told to, and goes on with another trace.
#[task(name = "retries.drops", allow(signal))]
async fn drops() -> relive::Result<usize> {
    relive::select! {
        tries = flaky("dropped".into(), 100) => tries,
        number = relive::signal::<usize>("enough") => number,
    }
}

#[tokio::test]
async fn a_trace_that_is_dropped_between_two_tries_is_not_tried_again() {
    let (store, probe, clock) = (MemoryStore::new(), Probe::default(), ManualClock::default());
    let engine = open_with(&store, builder(&probe).clock(clock.clone())).await;
    let handle = engine.start(drops()).await.expect("starts");
    let run = handle.id();
    clock.sleeps(seconds(1)).await;
    clock.advance(seconds(1));
    clock.sleeps(seconds(3)).await;
    guard(engine.signal(run, "enough", 7usize)).await.expect("is taken");
    assert_eq!(guard(handle).await.expect("goes on"), 7);
    assert_eq!(clock.sleepers(0).await, [], "nobody waits any more");
    let dropped = completed(&engine, run).into_iter().find(|completed| completed.outcome == TraceOutcome::Dropped);
    assert_eq!(dropped.expect("the log says so").tries, 2);
    clock.advance(seconds(100));
    tokio::task::yield_now().await;
    assert_eq!(probe.count("dropped"), 2);
    assert!(matches!(guard(engine.replay(run)).await, Ok(Some(_))), "it replays");
}

#[tokio::test]
async fn a_run_is_cancelled_between_two_tries() {
    let (probe, clock) = (Probe::default(), ManualClock::default());
    let engine = open_with(&MemoryStore::new(), builder(&probe).clock(clock.clone())).await;
    let handle = engine.start(one("cancelled".into(), 100)).await.expect("starts");
    clock.sleeps(seconds(1)).await;
    assert_eq!(guard(handle.cancel()).await.expect("is taken"), Cancellation::Cancelled);
    assert_eq!(guard(handle).await.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    clock.advance(seconds(100));
    tokio::task::yield_now().await;
    assert_eq!((probe.count("cancelled"), clock.lefts().len()), (1, 0));
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_the_next_try_and_the_wait_goes_on_after_it() {
    let (store, probe, clock) = (MemoryStore::new(), Probe::default(), ManualClock::default());
    let engine = open_with(&store, builder(&probe).clock(clock.clone()).shutdown_grace(seconds(3_600))).await;
    let run = engine.start(one("shut".into(), 1)).await.expect("starts").id();
    clock.sleeps(seconds(1)).await;
    guard(engine.shutdown()).await.expect("at once");
    let clock = clock.next_life(Duration::from_millis(400));
    let engine = open_with(&store, builder(&probe).clock(clock.clone())).await;
    clock.sleeps(Duration::from_millis(600)).await;
    assert_eq!(probe.count("shut"), 1);
    clock.advance(Duration::from_millis(600));
    assert_eq!(guard(engine.handle::<usize, Error>(run).expect("known")).await.expect("succeeds"), 2);
}

#[tokio::test]
async fn tries_are_counted_wherever_the_process_ends() {
    let live = async |life: &Life| life.engine.run(one("cut".into(), 2)).await;
    cut_at_every_commit(
        |builder| builder,
        live,
        |life, _, cut| {
            let run = only_run(&life.engine);
            let completed = completed(&life.engine, run).remove(0);
            let tries: Vec<_> = retried(&life.engine, run).iter().map(|retried| retried.tries).collect();
            // A try that failed and was not recorded is tried again: at least once, counted once.
            let counted: Vec<_> = (1..completed.tries).collect();
            assert_eq!(tries, counted, "cut {cut}");
            let begun = life.probe.count("cut");
            assert!((3..=4).contains(&begun) && completed.tries as usize <= begun, "cut {cut}: {begun} began");
        },
    )
    .await;
}
