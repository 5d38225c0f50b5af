//! Equal calls share a result: what is cached, what never is, and what counts as equal.

use std::collections::BTreeMap;

use futures::future::join_all;
use relive::{Cause, Engine, ErrorKind, Event, Explanation, RunStatus, task, trace};
use relive_storage::MemoryStore;

use super::support::{Probe, builder, event_names, events, guard, open};

#[trace(name = "cache.work")]
async fn work(label: String) -> relive::Result<u32> {
    let probe = Probe::here()?;
    probe.begin(&label);
    Ok(probe.count(&label) as u32)
}

#[trace(name = "cache.held")]
async fn held(label: String) -> relive::Result<u32> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

/// Returns how often its effect has run.
#[task(name = "cache.auto")]
async fn auto(label: &str, number: u32) -> relive::Result<u32> {
    work(format!("{label}{number}")).await
}

#[task(name = "cache.off", cache = "off")]
async fn off(label: &str) -> relive::Result<u32> {
    work(label.to_owned()).await
}

/// Fails the first time.
#[task(name = "cache.fails_first")]
async fn fails_first(label: &str) -> relive::Result<u32> {
    let times = work(label.to_owned()).await?;
    if times == 1 { Err(relive::Error::msg("the first time")) } else { Ok(times) }
}

/// Panics the first time.
#[task(name = "cache.panics_first")]
async fn panics_first(label: &str) -> relive::Result<u32> {
    let times = work(label.to_owned()).await?;
    assert!(times > 1, "the first time");
    Ok(times)
}

#[task(name = "cache.slow")]
async fn slow(label: String) -> relive::Result<u32> {
    held(label).await
}

#[task(name = "cache.slow_off", cache = "off")]
async fn slow_off(label: String) -> relive::Result<u32> {
    held(label).await
}

#[expect(clippy::disallowed_types, reason = "its order is what must not matter")]
type Unordered = std::collections::HashMap<String, u32>;

#[task(name = "cache.of_map")]
async fn of_map(map: Unordered) -> relive::Result<u32> {
    work(format!("map{}", map.len())).await
}

#[task(name = "cache.of_sorted_map")]
async fn of_sorted_map(map: BTreeMap<String, f64>) -> relive::Result<u32> {
    work(format!("sorted{}", map.len())).await
}

async fn engine() -> (Engine, MemoryStore, Probe) {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    (open(&store, &probe).await, store, probe)
}

#[tokio::test]
async fn the_second_call_runs_nothing_also_after_a_restart() {
    let (engine, store, probe) = engine().await;
    assert_eq!(guard(engine.run(auto("a", 1))).await.expect("runs"), 1);
    let run = engine.runs().next().expect("one").expect("readable").run;
    assert_eq!(guard(engine.run(auto("a", 1))).await.expect("cached"), 1);
    let again = open(&store.copy(), &probe).await;
    let handle = again.start(auto("a", 1)).await.expect("cached");
    assert_eq!((handle.id(), handle.status()), (run, RunStatus::Completed), "it names the run that found the result");
    assert_eq!(guard(handle).await.expect("cached"), 1);
    assert_eq!((probe.all_begun(), again.runs().count()), (vec!["a1".to_owned()], 1));
}

#[tokio::test]
async fn another_input_runs() {
    let (engine, _, probe) = engine().await;
    for (label, number) in [("a", 1), ("a", 2), ("b", 1)] {
        assert_eq!(guard(engine.run(auto(label, number))).await.expect("runs"), 1);
    }
    assert_eq!(probe.all_begun(), ["a1", "a2", "b1"]);
}

#[tokio::test]
async fn a_failure_is_not_cached() {
    let (engine, _, probe) = engine().await;
    let error = guard(engine.run(fails_first("x"))).await.expect_err("the first time");
    assert_eq!(error.to_string(), "the first time");
    assert_eq!(guard(engine.run(fails_first("x"))).await.expect("runs again"), 2);
    assert_eq!(guard(engine.run(fails_first("x"))).await.expect("cached"), 2);
    assert_eq!(probe.count("x"), 2);
}

#[tokio::test]
async fn a_panic_is_not_cached() {
    let (engine, _, probe) = engine().await;
    let error = guard(engine.run(panics_first("x"))).await.expect_err("the first time");
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert_eq!(guard(engine.run(panics_first("x"))).await.expect("runs again"), 2);
    assert_eq!(guard(engine.run(panics_first("x"))).await.expect("cached"), 2);
    assert_eq!(probe.count("x"), 2);
}

#[tokio::test]
async fn a_cancellation_is_not_cached() {
    let (engine, _, probe) = engine().await;
    let cancelled = engine.start(slow("x".into())).await.expect("starts");
    probe.begun("x", 1).await;
    guard(cancelled.cancel()).await.expect("cancels");
    probe.open("x");
    assert_eq!(guard(engine.run(slow("x".into()))).await.expect("runs again"), 1);
    assert_eq!(probe.count("x"), 2);
}

#[tokio::test]
async fn the_order_of_a_map_is_no_difference() {
    let (engine, _, probe) = engine().await;
    let names: Vec<_> = (0..100).map(|number| format!("name{number}")).collect();
    let forwards: Unordered = names.iter().cloned().zip(0..).collect();
    // Another hasher's seed, another capacity, another order of insertion.
    let mut backwards = Unordered::with_capacity(10_000);
    backwards.extend(names.iter().cloned().zip(0..100).rev());
    assert_eq!(guard(engine.run(of_map(forwards.clone()))).await.expect("runs"), 1);
    assert_eq!(guard(engine.run(of_map(backwards))).await.expect("cached"), 1);
    assert_eq!(probe.count("map100"), 1);
    let mut changed = forwards;
    changed.insert("name0".into(), 77);
    assert_eq!(guard(engine.run(of_map(changed))).await.expect("runs"), 2, "a value is a difference");
}

#[tokio::test]
async fn floats_are_compared_by_their_bits() {
    let (engine, _, probe) = engine().await;
    let map = |value: f64| BTreeMap::from([("a".to_owned(), value)]);
    for (value, times) in [(0.0, 1), (0.0, 1), (-0.0, 2), (f64::NAN, 3), (f64::NAN, 3)] {
        assert_eq!(guard(engine.run(of_sorted_map(map(value)))).await.expect("runs"), times, "{value}");
    }
    assert_eq!(probe.count("sorted1"), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_calls_at_the_same_time_run_once() {
    let (engine, _, probe) = engine().await;
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.run(slow("once".into())).await })
        })
        .collect();
    probe.begun("once", 1).await;
    probe.open("once");
    for call in guard(join_all(calls)).await {
        assert_eq!(call.expect("no panic").expect("ends"), 1);
    }
    assert_eq!((probe.count("once"), engine.runs().count()), (1, 1));
}

#[tokio::test]
async fn equal_calls_join_a_run_that_was_taken_up() {
    let (engine, store, probe) = engine().await;
    let run = engine.start(slow("x".into())).await.expect("starts").id();
    probe.begun("x", 1).await;
    let next = Probe::default();
    let engine = open(&store.copy(), &next).await;
    let joined = engine.start(slow("x".into())).await.expect("joins");
    assert_eq!(joined.id(), run);
    next.open("x");
    assert_eq!(guard(joined).await.expect("ends"), 1);
    assert_eq!(next.count("x"), 1);
}

#[tokio::test]
async fn without_a_cache_every_call_runs() {
    let (engine, _, probe) = engine().await;
    for times in 1..=3 {
        assert_eq!(guard(engine.run(off("x"))).await.expect("runs"), times);
    }
    let first = engine.start(slow_off("y".into())).await.expect("starts");
    let second = engine.start(slow_off("y".into())).await.expect("starts");
    assert_ne!(first.id(), second.id(), "and none is joined");
    probe.begun("y", 2).await;
    probe.open("y");
    assert_eq!((guard(first).await.expect("ends"), guard(second).await.expect("ends")), (1, 1));
}

#[tokio::test]
async fn under_an_id_a_cached_result_is_written_as_a_run() {
    let (engine, store, probe) = engine().await;
    guard(engine.run(auto("a", 1))).await.expect("runs");
    let found_by = engine.runs().next().expect("one").expect("readable").run;
    let cached = engine.start(auto("a", 1).id("job").cached()).await.expect("cached");
    let run = cached.id();
    assert_eq!(guard(cached).await.expect("cached"), 1);
    assert_eq!(event_names(&engine, run), ["TaskStarted", "TaskCompleted"]);
    let Some(Event::TaskStarted(started)) = events(&engine, run).into_iter().next() else { panic!("no start") };
    assert_eq!((started.cause, started.id.as_deref()), (Cause::CachedFrom { run: found_by }, Some("job")));
    let again = open(&store.copy(), &probe).await;
    assert_eq!(again.start(auto("a", 1).id("job")).await.expect("found").id(), run);
    assert_eq!((probe.count("a1"), again.runs().count()), (1, 2));
}

#[tokio::test]
async fn in_a_directory_the_cache_is_explained_trimmed_evicted_and_rebuilt() {
    let (directory, probe) = (tempfile::tempdir().expect("a directory"), Probe::default());
    let open = || async { builder(&probe).cache_bytes_max(2_000).open(directory.path()).await.expect("opens") };
    let engine = open().await;
    for number in 0..20 {
        guard(engine.run(auto("a", number))).await.expect("runs");
    }
    guard(engine.cache().trim()).await.expect("trims");
    let kept = engine.cache().list().count();
    assert!((1..20).contains(&kept), "{kept}");
    let explained = engine.cache().explain(auto("a", 19)).expect("explained");
    assert!(matches!(explained, Explanation::Hit { .. }), "{explained}");
    guard(engine.shutdown()).await.expect("shuts down");
    let engine = open().await;
    assert_eq!(engine.cache().list().count(), kept);
    assert_eq!(guard(engine.cache().evict_all()).await.expect("evicts"), kept as u64);
    assert_eq!(guard(engine.cache().rebuild()).await.expect("rebuilds").entries, 20);
    assert_eq!(guard(engine.run(auto("a", 3))).await.expect("cached"), 1);
    assert_eq!(guard(engine.run(auto("a", 3).refresh())).await.expect("runs"), 2);
    guard(engine.shutdown()).await.expect("shuts down");
}
