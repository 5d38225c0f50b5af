//! The kit itself: it explores what it says it does, and tells what it finds so that it can be found again.

#![allow(deprecated, reason = "chance in a body is warned about, and here to be found")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relive::testing::proptest::collection::vec;
use relive::testing::{Check, any, determinism};
use relive::{Error, Result, task, trace};

use crate::faults::store;

#[task(cache = "off")]
async fn calls_each(keys: Vec<u8>) -> Result<u64> {
    let mut sum = 0;
    for key in keys {
        sum += store(key.to_string(), 1).await?;
    }
    Ok(sum)
}

/// A chain of n calls makes n + 1 commits, and the kit interrupts after each: it cannot pass by exploring nothing.
#[test]
fn every_interruption_of_every_run_is_explored() {
    for length in 0..8 {
        let report = determinism(calls_each)
            .inputs(vec(any::<u8>(), length))
            .points(length + 1)
            .cases(5)
            .elsewhere(false)
            .keeping(false)
            .check();
        assert_eq!(report.commits, 5 * (length as u64 + 1), "{report:?}");
        assert_eq!(report.interruptions, report.commits, "{report:?}");
    }
}

/// Three calls at once: six orders.
#[task(cache = "off")]
async fn three_at_once() -> Result<(u64, u64, u64)> {
    futures::future::try_join3(store("a".into(), 1), store("b".into(), 1), store("c".into(), 1)).await
}

#[test]
fn every_order_of_a_few_calls_is_explored() {
    let report = determinism(three_at_once).points(200).cases(1).elsewhere(false).keeping(false).check();
    // The six, and two that are drawn.
    assert_eq!(report.orders, 8, "{report:?}");
    assert_eq!(report.failures, 9, "{report:?}");
}

/// Goes wrong only if the second call ends first.
#[task(cache = "off")]
async fn wrong_in_one_order(key: u8) -> Result<u64> {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let (left, right) = (store(format!("left {key}"), 1), store(format!("right {key}"), 1));
    let (first, _) = futures::future::select(left, right).await.factor_first();
    if first? == 8 {
        return Ok(RUNS.fetch_add(1, Ordering::Relaxed));
    }
    Ok(0)
}

#[test]
fn a_fault_in_one_order_is_found() {
    let failure = determinism(wrong_in_one_order).inputs(any::<u8>()).cases(50).keeping(false).find().unwrap_err();
    assert!(matches!(failure.check, Check::Result | Check::Divergence), "{failure}");
    assert!(failure.to_string().contains("store(\"right"), "{failure}");
}

/// Goes wrong only where a call failed.
#[task(cache = "off")]
async fn wrong_when_it_fails(key: String) -> Result<u64> {
    match store(key, 1).await {
        Ok(stored) => Ok(stored),
        Err(_) => store("again".to_owned(), rand::random()).await,
    }
}

#[test]
fn a_fault_behind_a_failure_is_found_and_told() {
    let found = || determinism(wrong_when_it_fails).inputs(any::<String>()).cases(50).keeping(false);
    let failure = found().find().unwrap_err();
    assert_eq!((failure.check, failure.input.as_str()), (Check::Divergence, "\"\""));
    assert_eq!(failure.point, "store(\"\", 1) made to fail");
    let failure = found().failing(store, 1.0).find().unwrap_err();
    assert_eq!(failure.point, "run from the beginning, and replayed");
}

/// Shrunk: the shortest input that fails is one with three elements.
#[task(cache = "off")]
async fn wrong_from_three_on(keys: Vec<u8>) -> Result<u64> {
    let mut sum = 0;
    for key in &keys {
        sum += store(key.to_string(), 1).await?;
    }
    if keys.len() > 2 { store("sum".to_owned(), rand::random()).await } else { Ok(sum) }
}

#[test]
fn a_failure_is_shrunk_to_the_smallest_input_and_the_same_seed_finds_it_again() {
    let found = |seed| {
        let inputs = vec(any::<u8>(), 0..8);
        determinism(wrong_from_three_on).inputs(inputs).seed(seed).cases(50).keeping(false).find().unwrap_err()
    };
    let (first, again) = (found(7), found(7));
    assert_eq!(first.input, "[0, 0, 0]", "{first}");
    assert_eq!((first.input, first.point, first.seed), (again.input, again.point, 7));
}

#[test]
#[should_panic(expected = "it waits for a signal that nobody sends")]
fn a_signal_that_nobody_sends_is_said() {
    determinism(waits_for_a_signal).cases(1).keeping(false).check();
}

#[task(cache = "off")]
async fn waits_for_a_signal() -> Result<u64> {
    relive::signal("go").await
}

#[test]
fn a_signal_that_is_given_comes() {
    let report = determinism(waits_for_a_signal).signal("go", 3u64).cases(3).check();
    assert_eq!(report.cases, 3);
}

#[trace(at_most_once)]
async fn charge(count: u64) -> Result<u64> {
    relive::provided::<Arc<AtomicU64>>()?.fetch_add(1, Ordering::Relaxed);
    Ok(count)
}

#[task(cache = "off")]
async fn charges(count: u8) -> Result<u64> {
    charge(count.into()).await
}

/// What is not stubbed runs once for each case, however often the case is run.
#[test]
fn an_effect_that_is_not_stubbed_runs_once_for_each_case() {
    let counted = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&counted);
    let report = determinism(charges)
        .inputs(any::<u8>())
        .engine(move |builder| builder.provide(Arc::clone(&count)))
        .cases(20)
        .keeping(false)
        .find();
    let report = report.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(counted.load(Ordering::Relaxed), report.cases);
}

#[test]
#[should_panic(expected = "no trace of this program is named `feth`")]
fn a_stub_of_no_trace_is_refused() {
    let _ = determinism(calls_each)
        .inputs(vec(any::<u8>(), 0..3))
        .stub_named("feth", |_: relive::Value| Ok::<u64, Error>(1))
        .find();
}

#[test]
#[should_panic(expected = "is no #[trace] function: name the trace")]
fn a_closure_is_no_trace() {
    let _ = determinism(calls_each).failing(|| (), 0.5);
}

#[test]
fn a_failure_is_kept_tried_first_next_time_and_its_log_replays() {
    let directory = tempfile::tempdir().unwrap();
    let found = |seed| {
        let inputs = vec(any::<u8>(), 0..8);
        determinism(wrong_from_three_on).inputs(inputs).seed(seed).kept_in(directory.path())
    };
    let first = found(1).cases(50).find().unwrap_err();
    let kept = std::fs::read_to_string(directory.path().join("explorer.proptest-regressions")).unwrap();
    assert!(kept.contains("cc ") && kept.contains("shrinks to ([0, 0, 0], "), "{kept}");
    // No case of its own: what is kept is tried.
    let again = found(2).cases(0).find().unwrap_err();
    assert_eq!(again.input, first.input);
    let (path, run) = first.export.as_ref().unwrap();
    assert!(first.to_string().contains(&format!("relive replay {run}")), "{first}");
    let diverged = relive::replay_export(std::fs::read(path).unwrap()).unwrap_err();
    assert_eq!(diverged.kind(), relive::ErrorKind::Diverged, "{diverged}");
}
