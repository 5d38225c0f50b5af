//! Traces inside traces: a memo of the outer one, over its tries, over crashes and attempts; never compared.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::{join_all, try_join_all};
use parking_lot::Mutex;
use relive::{Error, ErrorKind, Event, TraceOutcome, task, trace};
use relive_storage::MemoryStore;

use super::cuts::{cut_everywhere, cut_with, outcome_by_label, starts};
use super::support::{Probe, builder, events, guard, open, open_with};

#[trace(name = "nested.inner")]
async fn inner(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    tokio::task::yield_now().await;
    Ok(1)
}

#[trace(name = "nested.held")]
async fn held(label: String) -> relive::Result<u32> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

#[trace(name = "nested.plain")]
fn plain(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    Ok(10)
}

#[trace(name = "nested.middle")]
async fn middle(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    Ok(inner(format!("{label}.inner")).await? + plain(format!("{label}.plain"))?)
}

#[trace(name = "nested.outer")]
async fn outer(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    let first = inner(format!("{label}.first")).await?;
    Ok(first + middle(format!("{label}.middle")).await? + inner(format!("{label}.last")).await?)
}

#[task(name = "nested.three_levels")]
async fn three_levels() -> relive::Result<u32> {
    Ok(outer("a".into()).await? + inner("behind".into()).await?)
}

/// The names of the traces that a log holds, and in which trace each is.
fn tree(log: &[Event]) -> Vec<(String, Option<u64>)> {
    let started = log.iter().filter_map(|event| match event {
        Event::TraceStarted(started) => Some((started.name.to_string(), started.within.map(|within| within.0))),
        _ => None,
    });
    started.collect()
}

#[tokio::test]
async fn what_a_trace_calls_is_recorded_as_its_own() {
    let engine = open(&MemoryStore::new(), &Probe::default()).await;
    let handle = engine.start(three_levels()).await.expect("starts");
    let run = handle.id();
    assert_eq!(guard(handle).await.expect("runs"), 14);
    let log = events(&engine, run);
    let at = |label: &str| starts(&log).iter().find(|(_, of)| of == label).map(|(at, _)| *at as u64);
    let expected = [
        ("nested.outer", None),
        ("nested.inner", at("a")),
        ("nested.middle", at("a")),
        ("nested.inner", at("a.middle")),
        ("nested.plain", at("a.middle")),
        ("nested.inner", at("a")),
        ("nested.inner", None),
    ];
    assert_eq!(tree(&log), expected.map(|(name, within)| (name.to_owned(), within)));
}

#[tokio::test]
async fn inner_results_are_kept_over_a_crash_at_any_commit() {
    let (_, cuts) = cut_everywhere(three_levels).await;
    assert!(cuts.iter().any(|cut| cut.completed("a.first") && cut.interrupted("a") && cut.second.count("a") == 1));
    assert!(cuts.iter().any(|cut| cut.completed("a.middle.inner") && cut.interrupted("a.middle")));
    for cut in cuts.iter().filter(|cut| cut.completed("a")) {
        assert!(cut.second.all_begun().iter().all(|label| label == "behind"), "a hit on the outer skips the inner");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inner_results_are_kept_over_a_crash_at_any_commit_with_several_threads() {
    cut_everywhere(three_levels).await;
    cut_everywhere(fans_out).await;
    cut_everywhere(spawned).await;
}

#[trace(name = "nested.fan")]
async fn fan(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    let calls = (0..5).map(|number| middle(format!("{label}{number}")));
    Ok(try_join_all(calls).await?.into_iter().sum())
}

#[task(name = "nested.fans_out")]
async fn fans_out() -> relive::Result<u32> {
    let both = join_all(["a", "b"].map(|label| fan(label.into()))).await;
    both.into_iter().sum()
}

#[tokio::test]
async fn concurrent_inner_calls_are_kept_over_a_crash_at_any_commit() {
    // Which writes share a commit is chance: again, until one cut is between the inner call and its outer one.
    for _ in 0..100 {
        let (sum, cuts) = cut_everywhere(fans_out).await;
        assert_eq!(sum, 110);
        if cuts.iter().any(|cut| cut.completed("a1.inner") && cut.interrupted("a1")) {
            return;
        }
    }
    panic!("no cut is between an inner call and its outer one");
}

#[trace(name = "nested.spawned", spawn)]
async fn spawned_outer(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    let calls = (0..5).map(|number| middle(format!("{label}{number}")));
    Ok(try_join_all(calls).await?.into_iter().sum())
}

#[trace(name = "nested.plain_outer")]
fn plain_outer(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    Ok(plain(format!("{label}.one"))? + plain(format!("{label}.two"))?)
}

#[task(name = "nested.spawns")]
async fn spawned() -> relive::Result<u32> {
    let (a, b) = tokio::join!(spawned_outer("a".into()), async { plain_outer("b".into()) });
    Ok(a? + b? + plain_outer("c".into())?)
}

#[tokio::test]
async fn spawned_and_plain_outer_traces_keep_inner_results_over_a_crash_at_any_commit() {
    for _ in 0..100 {
        let (sum, cuts) = cut_everywhere(spawned).await;
        assert_eq!(sum, 55 + 20 + 20);
        if cuts.iter().any(|cut| cut.completed("c.one") && cut.interrupted("c")) {
            return;
        }
    }
    panic!("no cut is between an inner call and its outer one");
}

/// Fails its first tries, behind an inner trace that succeeded.
#[trace(name = "nested.flaky", retries = 20, backoff(first = "1ms", max = "1ms"))]
async fn flaky(label: String) -> relive::Result<String> {
    let probe = Probe::here()?;
    probe.begin(&label);
    inner(format!("{label}.inner")).await?;
    relive::provided::<Keys>()?.0.lock().push((label.clone(), relive::idempotency_key()?));
    inner_key(format!("{label}.key")).await?;
    if probe.count(&label) < 3 { Err(Error::msg("not yet")) } else { relive::idempotency_key() }
}

#[trace(name = "nested.inner_key", retries = 20, backoff(first = "1ms", max = "1ms"))]
async fn inner_key(label: String) -> relive::Result<u32> {
    let probe = Probe::here()?;
    probe.begin(&label);
    relive::provided::<Keys>()?.0.lock().push((label.clone(), relive::idempotency_key()?));
    if probe.count(&label) < 2 { Err(Error::msg("not yet")) } else { Ok(1) }
}

/// Labels and idempotency keys as they were seen, try by try.
#[derive(Clone, Debug, Default)]
struct Keys(Arc<Mutex<Vec<(String, String)>>>);

#[task(name = "nested.retries")]
async fn retries(is_repeated: bool) -> relive::Result<String> {
    let first = flaky("a".into()).await?;
    let second = flaky("b".into()).await?;
    if is_repeated {
        inner_key("a.key".into()).await?;
    }
    assert_ne!(first, second);
    Ok(String::new())
}

#[tokio::test]
async fn inner_results_are_kept_over_tries_of_the_outer() {
    let probe = Probe::default();
    let engine = open_with(&MemoryStore::new(), builder(&probe).provide(Keys::default())).await;
    guard(engine.run(retries(true))).await.expect("runs");
    let counts = ["a", "a.inner", "a.key", "b", "b.inner"].map(|label| probe.count(label));
    // `a.key` has two tries in `a`, and one more in the body, which is another call: the probe's third.
    assert_eq!(counts, [3, 1, 3, 3, 1]);
}

#[tokio::test]
async fn an_idempotency_key_is_stable_over_tries_and_crashes_and_differs_by_scope() {
    let keys = Keys::default();
    let (_, cuts) = cut_with(|| retries(false), |builder| builder.provide(keys.clone())).await;
    assert!(cuts.len() > 5);
    // A run of its own per cut: keys are compared within one.
    let engine_keys = Keys::default();
    let probe = Probe::default();
    let store = MemoryStore::new();
    let engine = open_with(&store, builder(&probe).provide(engine_keys.clone())).await;
    guard(engine.run(retries(true))).await.expect("runs");
    let seen = engine_keys.0.lock().clone();
    let of = |label: &str| seen.iter().filter(|(of, _)| of == label).map(|(_, key)| key.clone()).collect::<Vec<_>>();
    assert_eq!(of("a").iter().collect::<BTreeSet<_>>().len(), 1, "the same for every try: {seen:?}");
    let inner: BTreeSet<_> = of("a.key").into_iter().collect();
    assert_eq!(inner.len(), 2, "one inside `a`, another in the body: {seen:?}");
    let all: BTreeSet<_> = seen.iter().map(|(_, key)| key).collect();
    assert_eq!(all.len(), 5, "each scope has its own: {seen:?}");
}

/// Held in its last inner trace, so that a crash finds it there.
#[trace(name = "nested.keyed")]
async fn keyed(label: String) -> relive::Result<String> {
    let own = relive::idempotency_key()?;
    let nested = held_key(format!("{label}.held")).await?;
    relive::provided::<Keys>()?.0.lock().push((label, own.clone()));
    Ok(own + &nested)
}

#[trace(name = "nested.held_key")]
async fn held_key(label: String) -> relive::Result<String> {
    let key = relive::idempotency_key()?;
    relive::provided::<Keys>()?.0.lock().push((label.clone(), key.clone()));
    Probe::here()?.hold(&label).await;
    Ok(key)
}

#[task(name = "nested.keys")]
async fn keys() -> relive::Result<String> {
    keyed("a".into()).await
}

#[tokio::test]
async fn an_idempotency_key_is_the_same_in_another_life_of_the_process() {
    let (store, probe, seen) = (MemoryStore::new(), Probe::default(), Keys::default());
    let engine = open_with(&store, builder(&probe).provide(seen.clone())).await;
    let run = engine.start(keys()).await.expect("starts").id();
    probe.begun("a.held", 1).await;
    let crashed = store.copy();
    probe.open("a.held");
    let first = guard(engine.handle::<String, Error>(run).expect("known")).await.expect("runs");
    let next = Probe::default();
    next.open("a.held");
    let engine = open_with(&crashed, builder(&next).provide(seen.clone())).await;
    let second = guard(engine.handle::<String, Error>(run).expect("known")).await.expect("runs");
    assert_eq!(first, second);
    assert_eq!(seen.0.lock().len(), 4, "both ran twice");
}

/// Equal calls in one effect: told apart by how many came before.
#[trace(name = "nested.repeats")]
async fn repeats(label: String) -> relive::Result<Vec<u32>> {
    let counter = relive::provided::<Counter>()?;
    let mut found = Vec::new();
    for _ in 0..3 {
        found.push(counted("same".into()).await?);
    }
    held(label).await?;
    found.push(counted("same".into()).await?);
    drop(counter);
    Ok(found)
}

#[derive(Debug, Default)]
struct Counter(std::sync::atomic::AtomicU32);

#[trace(name = "nested.counted")]
async fn counted(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    Ok(relive::provided::<Counter>()?.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

#[task(name = "nested.equal_calls")]
async fn equal_calls() -> relive::Result<Vec<u32>> {
    repeats("gate".into()).await
}

#[tokio::test]
async fn equal_inner_calls_are_told_apart_by_their_order() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open_with(&store, builder(&probe).provide(Counter::default())).await;
    let run = engine.start(equal_calls()).await.expect("starts").id();
    probe.begun("gate", 1).await;
    let next = Probe::default();
    next.open("gate");
    let counter = Counter(100.into());
    let engine = open_with(&store.copy(), builder(&next).provide(counter)).await;
    let found = guard(engine.handle::<Vec<u32>, Error>(run).expect("known")).await.expect("goes on");
    assert_eq!(found, [0, 1, 2, 100]);
    assert_eq!(next.count("same"), 1);
}

/// Which release of the program an engine runs.
#[derive(Clone, Copy)]
struct Edited;

#[trace(name = "nested.edited")]
async fn edited(label: String) -> relive::Result<u32> {
    let is_edited = relive::provided::<Edited>().is_ok();
    let mut sum = if is_edited { inner("new".into()).await? } else { inner("old".into()).await? };
    sum += inner("kept".into()).await?;
    held(label).await?;
    Ok(sum)
}

#[task(name = "nested.edits")]
async fn edits() -> relive::Result<u32> {
    edited("gate".into()).await
}

#[tokio::test]
async fn inner_calls_are_not_compared_when_the_outer_was_edited() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let run = engine.start(edits()).await.expect("starts").id();
    probe.begun("gate", 1).await;
    let next = Probe::default();
    next.open("gate");
    let engine = open_with(&store.copy(), builder(&next).provide(Edited)).await;
    assert_eq!(guard(engine.handle::<u32, Error>(run).expect("known")).await.expect("goes on"), 2);
    assert_eq!(next.all_begun(), ["new", "gate"], "what still fits is kept, what is new runs");
    guard(engine.replay(run)).await.expect("fits").expect("is over");
}

#[trace(name = "nested.fails_inside")]
async fn fails_inside(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    inner("inside".into()).await?;
    if relive::provided::<Edited>().is_err() { Err(Error::msg("broken")) } else { Ok(7) }
}

#[task(name = "nested.resumed")]
async fn resumed() -> relive::Result<u32> {
    fails_inside("outer".into()).await
}

#[tokio::test]
async fn inner_results_are_kept_over_attempts() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let handle = engine.start(resumed()).await.expect("starts");
    let run = handle.id();
    guard(handle).await.expect_err("broken");
    let next = Probe::default();
    let engine = open_with(&store.copy(), builder(&next).provide(Edited)).await;
    guard(guard(async { engine.resume(run).await }).await.expect("resumes")).await.expect("succeeds");
    assert_eq!(next.all_begun(), ["outer"]);
    guard(engine.replay(run)).await.expect("fits").expect("is over");
}

#[trace(name = "nested.panics_inside")]
async fn panics_inside(label: String) -> relive::Result<String> {
    Probe::here()?.begin(&label);
    let error = panics("inner".into()).await.expect_err("it panics");
    Ok(format!("{:?}: {error}", error.kind()))
}

#[trace(name = "nested.panics")]
async fn panics(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    panic!("ouch")
}

#[task(name = "nested.caught")]
async fn caught() -> relive::Result<String> {
    panics_inside("outer".into()).await
}

#[tokio::test]
async fn an_inner_panic_is_the_inner_traces_failure_and_the_outer_may_catch_it() {
    let engine = open(&MemoryStore::new(), &Probe::default()).await;
    let handle = engine.start(caught()).await.expect("starts");
    let run = handle.id();
    let message = guard(handle).await.expect("caught");
    assert!(message.starts_with("Panicked: trace nested.panics panicked: ouch at "), "{message}");
    let log = events(&engine, run);
    assert!(matches!(outcome_by_label(&log, "inner"), Some(TraceOutcome::Err(_))), "{log:?}");
}

#[trace(name = "nested.calls_a_task")]
async fn calls_a_task(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    three_levels().await
}

#[task(name = "nested.task_in_trace")]
async fn task_in_trace() -> relive::Result<u32> {
    calls_a_task("outer".into()).await
}

#[tokio::test]
async fn a_task_inside_a_trace_is_refused_with_what_to_do() {
    let engine = open(&MemoryStore::new(), &Probe::default()).await;
    let error = guard(engine.run(task_in_trace())).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let message = error.to_string();
    for part in ["nested.three_levels", "nested.calls_a_task", "nested.rs:", "task's body"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(engine.runs().count(), 1, "no child was begun");
}
