//! Traces inside traces that are `at_most_once`: what is known of how one ended is repeated, what is not is `Interrupted`.

use std::time::Duration;

use relive::{Engine, Error, ErrorKind, RunId, task, trace};
use relive_storage::MemoryStore;

use super::crashes::{cut_at_every_commit, first_life, only_run};
use super::support::{Probe, builder, guard, open, open_with};

/// How a charge ends, by its label.
fn ends(label: &str) -> relive::Result<u32> {
    Probe::here()?.begin(label);
    match label {
        "good" => Ok(5),
        "panics" => panic!("over the limit"),
        "terminal" => Err(Error::msg("no account").terminal()),
        _ => Err(Error::msg("no")),
    }
}

#[trace(name = "once.charge", at_most_once, timeout = "10s")]
async fn charge(label: String) -> relive::Result<u32> {
    if label == "slow" {
        Probe::here()?.hold(&label).await;
    }
    ends(&label)
}

#[trace(name = "once.plain_charge", at_most_once)]
fn plain_charge(label: String) -> relive::Result<u32> {
    ends(&label)
}

#[trace(name = "once.blocking_charge", at_most_once, blocking)]
fn blocking_charge(label: String) -> relive::Result<u32> {
    ends(&label)
}

#[trace(name = "once.middle")]
async fn middle(label: String) -> relive::Result<u32> {
    Probe::here()?.begin("middle");
    let charged = charge(label).await?;
    Err(Error::msg(format!("charged {charged}, and not booked")))
}

#[trace(name = "once.outer", retries = 2, backoff = "1s")]
async fn outer(form: String, label: String) -> relive::Result<u32> {
    Probe::here()?.begin("outer");
    match form.as_str() {
        "plain" => plain_charge(label),
        "blocking" => blocking_charge(label).await,
        "middle" => middle(label).await,
        _ => charge(label).await,
    }
}

#[task(name = "once.order")]
async fn order(form: String, label: String) -> relive::Result<u32> {
    outer(form, label).await
}

async fn outcome(engine: &Engine, run: RunId) -> relive::Result<u32> {
    guard(engine.handle::<u32, Error>(run)?).await
}

/// How a nested charge ends that is not to begin twice, over the tries of what it is in and over attempts.
async fn repeated(form: &str, label: &str) -> Error {
    let (store, life) = first_life().await;
    let _flowing = life.clock.flow();
    let handle = life.engine.start(order(form.into(), label.into())).await.expect("starts");
    let run = handle.id();
    let error = guard(handle).await.expect_err("fails");
    assert_eq!((life.probe.count("outer"), life.probe.count(label)), (3, 1), "{form} {label}");
    let (_, next) = life.crash(&store, Duration::ZERO).await;
    let _flowing = next.clock.flow();
    for attempt in 2..4 {
        let resumed = guard(async { next.engine.resume(run).await }).await.expect("resumes");
        drop(resumed);
        let again = outcome(&next.engine, run).await.expect_err("fails again");
        assert_eq!((again.kind(), again.to_string()), (error.kind(), error.to_string()), "attempt {attempt}");
        assert_eq!(next.probe.count(label), 0, "{form} {label}: attempt {attempt}");
    }
    error
}

#[tokio::test]
async fn a_nested_trace_that_failed_and_must_not_begin_again_repeats_its_error() {
    for form in ["future", "plain", "blocking"] {
        let error = repeated(form, "bad").await;
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Failed, "no"), "{form}");
    }
}

#[tokio::test]
async fn a_nested_trace_that_panicked_and_must_not_begin_again_repeats_its_panic() {
    for form in ["future", "plain", "blocking"] {
        let error = repeated(form, "panics").await;
        assert_eq!(error.kind(), ErrorKind::Panicked, "{form}: {error}");
        assert!(error.to_string().contains("over the limit"), "{form}: {error}");
    }
}

#[tokio::test]
async fn a_nested_trace_that_took_too_long_and_must_not_begin_again_says_so_each_time() {
    let error = repeated("future", "slow").await;
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
}

#[tokio::test]
async fn a_nested_trace_is_not_begun_again_by_a_failed_one_between() {
    for (label, message) in [("good", "charged 5, and not booked"), ("bad", "no")] {
        let (_, life) = first_life().await;
        let _flowing = life.clock.flow();
        let error = guard(life.engine.run(order("middle".into(), label.into()))).await.expect_err("fails");
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Failed, message));
        assert_eq!((life.probe.count("middle"), life.probe.count(label)), (3, 1), "{label}");
    }
}

#[tokio::test]
async fn how_a_nested_trace_ended_is_not_known_after_a_crash_in_it_whatever_follows() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let run = engine.start(order("future".into(), "slow".into())).await.expect("starts").id();
    probe.begun("slow", 1).await;
    let clock = relive_tests::manual_clock::ManualClock::default();
    let next = Probe::default();
    let engine = open_with(&store.copy(), builder(&next).clock(clock.clone())).await;
    let _flowing = clock.flow();
    for attempt in 1..3 {
        let error = outcome(&engine, run).await.expect_err("interrupted");
        assert_eq!(error.kind(), ErrorKind::Interrupted, "attempt {attempt}: {error}");
        assert_eq!((next.count("outer"), next.count("slow")), (3 * attempt, 0), "each try asks");
        drop(guard(async { engine.resume(run).await }).await.expect("resumes"));
    }
}

#[tokio::test]
async fn a_nested_error_is_repeated_wherever_the_process_ends_or_is_not_known() {
    let live = async |life: &super::crashes::Life| {
        let handle = life.engine.start(order("future".into(), "bad".into()).id("cut")).await?;
        let run = handle.id();
        match handle.await {
            Err(error) if error.kind() == ErrorKind::Storage => Err(error),
            other => Ok((run, other)),
        }
    };
    cut_at_every_commit(
        |builder| builder,
        live,
        |life, (run, outcome), cut| {
            assert_eq!(only_run(&life.engine), run);
            assert!(life.probe.count("bad") <= 1, "cut {cut}");
            let error = outcome.expect_err("fails");
            let is_known = super::retries::completed(&life.engine, run).iter().any(
                |completed| matches!(&completed.outcome, relive::TraceOutcome::Err(record) if record.message == "no"),
            );
            let expected = if is_known { ErrorKind::Failed } else { ErrorKind::Interrupted };
            assert_eq!(error.kind(), expected, "cut {cut}: {error}");
        },
    )
    .await;
}
