//! What an operator is told unasked: failed tries and runs, what was taken up, what is blocked. And how spans of runs hang together.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use relive::{Engine, RunId, task, trace};
use relive_storage::MemoryStore;
use relive_tests::manual_clock::ManualClock;
use tracing::{Instrument, Level};

use super::observed::{Seen, has, tries};
use super::support::{Probe, builder, guard, open, open_with};

#[tokio::test]
async fn a_failed_try_and_a_failed_run_are_warnings_with_run_task_and_name() {
    let (seen, clock) = (Seen::default(), ManualClock::default());
    let _subscriber = tracing::dispatcher::set_default(&seen.subscriber());
    let watched = builder(&Probe::default()).clock(clock.clone()).sleep_out_after(Duration::MAX);
    let engine = open_with(&MemoryStore::new(), watched).await;
    let _flowing = clock.flow();
    let handle = guard(engine.start(tries())).await.expect("it starts");
    let run = handle.id().to_string();
    guard(handle).await.expect_err("it fails");
    let told = seen.told("a try of a trace failed: another follows");
    assert_eq!(told.len(), 2, "{told:?}");
    for (number, (level, fields)) in (1..).zip(&told) {
        assert_eq!(*level, Level::WARN);
        let number = format!("{number}");
        let expected = [("run", run.as_str()), ("task", "observed.tries"), ("name", "observed.flaky")];
        has(fields, &expected);
        has(fields, &[("try", &number), ("error", "not yet")]);
        assert!(fields["due"].ends_with('Z') && fields["wait"].ends_with('s'), "{fields:?}");
    }
    let told = seen.told("a run failed");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, Level::WARN);
    has(&told[0].1, &[("run", &run), ("task", "observed.tries"), ("error", "never")]);
}

#[trace(name = "events.plain", retries = 1)]
fn plain() -> relive::Result<()> {
    Err(relive::Error::msg("no"))
}

#[task(name = "events.again", retries = 1, backoff = "1s", cache = "off")]
async fn again() -> relive::Result<()> {
    plain()
}

#[tokio::test]
async fn a_failed_attempt_that_another_follows_is_a_warning_and_so_is_a_failed_try_of_a_plain_function() {
    let (seen, clock) = (Seen::default(), ManualClock::default());
    let _subscriber = tracing::dispatcher::set_default(&seen.subscriber());
    let engine = open_with(&MemoryStore::new(), builder(&Probe::default()).clock(clock.clone())).await;
    let _flowing = clock.flow();
    guard(engine.run(again())).await.expect_err("it fails");
    let told = seen.told("an attempt of a run failed: another follows");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, Level::WARN);
    has(&told[0].1, &[("task", "events.again"), ("error", "no")]);
    assert!(told[0].1["due"].ends_with('Z'), "{told:?}");
    assert_eq!(seen.told("a try of a trace failed: another follows").len(), 2);
    assert_eq!(seen.told("a run failed").len(), 1);
}

#[derive(Clone, Copy, PartialEq)]
struct Edited(bool);

#[trace(name = "events.held")]
async fn held(edited: bool) -> relive::Result<()> {
    Probe::here()?.hold(if edited { "edited" } else { "held" }).await;
    Ok(())
}

#[task(name = "events.edited", cache = "off")]
async fn edited() -> relive::Result<()> {
    held(relive::provided::<Edited>()?.0).await
}

async fn edition(store: &MemoryStore, probe: &Probe, edited: bool) -> Engine {
    open_with(store, builder(probe).provide(Edited(edited))).await
}

#[tokio::test]
async fn an_open_tells_what_it_takes_up_and_a_run_that_is_blocked_is_an_error_once() {
    let (store, probe, seen) = (MemoryStore::new(), Probe::default(), Seen::default());
    let _subscriber = tracing::dispatcher::set_default(&seen.subscriber());
    let opened = "a store is open: its unfinished runs are taken up";
    let engine = edition(&store, &probe, false).await;
    assert!(seen.told(opened).is_empty(), "there was nothing to take up");
    let mut runs = Vec::new();
    for number in 1..=3 {
        runs.push(guard(engine.start(edited())).await.expect("it starts").id());
        probe.begun("held", number).await;
    }
    let left = store.copy();
    let engine = edition(&left, &Probe::default(), true).await;
    for run in &runs {
        guard(engine.handle::<(), relive::Error>(*run).expect("known")).await.expect_err("it does not fit");
    }
    let told = seen.told(opened);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, Level::INFO);
    has(&told[0].1, &[("in_order", "false"), ("taken_up", "3"), ("asleep", "0"), ("blocked", "0")]);
    let each = seen.told("a run is taken up");
    assert!(each.len() == 3 && each.iter().all(|(level, _)| *level == Level::DEBUG), "{each:?}");
    let blocked = seen.told("a run is blocked: it cannot go on until somebody acts");
    assert_eq!(blocked.len(), 3, "{blocked:?}");
    for (level, fields) in &blocked {
        assert_eq!(*level, Level::ERROR);
        has(fields, &[("task", "events.edited"), ("reason", "diverged")]);
        assert!(runs.iter().any(|run| fields["run"] == run.to_string()), "{fields:?}");
    }
}

#[tokio::test]
async fn runs_that_were_parked_before_are_told_of_by_their_number() {
    let (mut store, probe) = (MemoryStore::new(), Probe::default());
    let engine = edition(&store, &probe, false).await;
    let run = guard(engine.start(edited())).await.expect("it starts").id();
    probe.begun("held", 1).await;
    // Each life dies: what it leaves is taken before its engine is dropped, which would be an end in order.
    store = store.copy();
    for _ in 0..2 {
        let probe = Probe::default();
        let _engine = edition(&store, &probe, false).await;
        probe.begun("held", 1).await;
        store = store.copy();
    }
    let parks = edition(&store, &Probe::default(), false).await;
    guard(parks.handle::<(), relive::Error>(run).expect("known")).await.expect_err("it is parked");
    guard(parks.shutdown()).await.expect("shuts down");
    let seen = Seen::default();
    let _subscriber = tracing::dispatcher::set_default(&seen.subscriber());
    let _engine = edition(&store, &Probe::default(), false).await;
    assert!(seen.told("a run is blocked: it cannot go on until somebody acts").is_empty(), "that was told before");
    let told = seen.told("runs are blocked: they do not go on until somebody acts");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, Level::WARN);
    has(&told[0].1, &[("count", "1"), ("reasons", "1 parked")]);
}

/// The engine, for an effect.
struct Here(Arc<Mutex<Option<Engine>>>);

/// Starts the next of a chain from inside an effect, as a handler of a program would.
#[trace(name = "events.next")]
async fn next(left: u32) -> relive::Result<()> {
    let engine = relive::provided::<Here>()?.0.lock().clone();
    let engine = engine.ok_or_else(|| relive::Error::msg("no engine"))?;
    let handle = engine.start(chained(left)).await?;
    Probe::here()?.begin(&handle.id().to_string());
    Ok(())
}

#[task(name = "events.chained", cache = "off")]
async fn chained(left: u32) -> relive::Result<()> {
    if left > 0 {
        next(left - 1).await?;
    }
    Ok(())
}

#[task(name = "events.parent", cache = "off")]
async fn parent() -> relive::Result<()> {
    chained(0).await
}

#[tokio::test]
async fn the_span_of_a_run_is_a_root_that_follows_from_its_callers() {
    let (seen, probe) = (Seen::default(), Probe::default());
    let _subscriber = tracing::dispatcher::set_default(&seen.subscriber());
    let here = Arc::new(Mutex::new(None::<Engine>));
    let watched = builder(&probe).provide(Here(Arc::clone(&here)));
    let engine = open_with(&MemoryStore::new(), watched).await;
    *here.lock() = Some(engine.clone());
    let caller = tracing::info_span!("request");
    guard(engine.run(chained(3)).instrument(caller)).await.expect("it ends");
    for _ in 0..3 {
        let started = probe.all_begun();
        let last: RunId = started.last().expect("it was started").parse().expect("an id");
        guard(engine.handle::<(), relive::Error>(last).expect("known")).await.expect("it ends");
    }
    // Each is a root, however long the chain is.
    let following = seen.following("relive.run");
    assert_eq!(following.len(), 4, "{following:?}");
    assert_eq!(seen.all("relive.run").len(), 4);
    assert_eq!(following[0].1, "request");
    for (fields, path, before) in &following[1..] {
        has(fields, &[("task", "events.chained")]);
        assert_eq!(path, "relive.run > relive.attempt > relive.trace > relive.try");
        has(before, &[("try", "1")]);
    }
    here.lock().take();
}

#[tokio::test]
async fn a_childs_span_names_the_run_that_called_it() {
    let seen = Seen::default();
    let _subscriber = tracing::dispatcher::set_default(&seen.subscriber());
    let engine = open(&MemoryStore::new(), &Probe::default()).await;
    let handle = guard(engine.start(parent())).await.expect("it starts");
    let run = handle.id().to_string();
    guard(handle).await.expect("it ends");
    let runs = seen.all("relive.run");
    assert_eq!(runs.len(), 2);
    assert!(!runs[0].contains_key("parent"), "{runs:?}");
    has(&runs[1], &[("parent", &run), ("task", "events.chained")]);
    assert_eq!(seen.following("relive.run").len(), 1);
}
