//! What is recorded can be read back: or it is refused when it is recorded, and never costs an effect or a log.

#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "a test may fail anywhere, and is about such types")]

use std::collections::{BTreeMap, HashSet};

use relive::{ErrorKind, Event, Result, task, trace};
use relive_storage::MemoryStore;
use serde::{Deserialize, Serialize};

use crate::support::{Probe, builder, guard, open_with};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Forgetful {
    kept: u8,
    #[serde(skip_serializing)]
    lost: u8,
}

#[derive(Clone, Debug, Serialize)]
struct Explosive(u8);

impl<'de> Deserialize<'de> for Explosive {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        panic!("a type that cannot be read back")
    }
}

#[task]
async fn takes_what_is_not_kept_whole(input: Forgetful) -> Result<u8> {
    Ok(input.kept + input.lost)
}

#[task]
async fn takes_what_panics(input: Explosive) -> Result<u8> {
    Ok(input.0)
}

#[task]
async fn takes_a_set(input: HashSet<u32>) -> Result<usize> {
    Ok(input.len())
}

#[task]
async fn takes_an_option_of_an_option(input: Option<Option<u8>>) -> Result<bool> {
    Ok(input.is_some())
}

#[trace]
async fn returns(kind: u8) -> Result<Forgetful> {
    Probe::here()?.begin("returns");
    Ok(Forgetful { kept: kind, lost: 1 })
}

#[trace]
async fn returns_an_option_of_an_option() -> Result<Option<Option<u8>>> {
    Ok(Some(None))
}

#[task]
async fn gets_what_cannot_be_read() -> Result<String> {
    let unreadable = returns(1).await.map(drop).unwrap_err();
    let ambiguous = returns_an_option_of_an_option().await.map(drop).unwrap_err();
    Ok(format!("{:?} {:?}", unreadable.kind(), ambiguous.kind()))
}

#[tokio::test]
async fn an_input_that_does_not_come_back_is_refused_before_anything_is_recorded() {
    let probe = Probe::default();
    let engine = open_with(&MemoryStore::new(), builder(&probe)).await;
    let payload = |error: relive::Error| assert_eq!(error.kind(), ErrorKind::Payload, "{error}");
    payload(guard(engine.run(takes_what_is_not_kept_whole(Forgetful { kept: 1, lost: 2 }).id("a"))).await.unwrap_err());
    payload(guard(engine.run(takes_what_panics(Explosive(1)).id("a"))).await.unwrap_err());
    payload(guard(engine.run(takes_an_option_of_an_option(Some(None)))).await.unwrap_err());
    payload(guard(engine.run(takes_a_set((0..100).collect()))).await.unwrap_err());
    assert_eq!(engine.runs().count(), 0);
    assert!(!guard(engine.run(takes_an_option_of_an_option(None))).await.unwrap());
    assert_eq!(guard(engine.run(takes_a_set([1].into()).id("a"))).await.unwrap(), 1, "the id is free");
}

#[tokio::test]
async fn a_result_that_does_not_come_back_is_a_recorded_failure() {
    let probe = Probe::default();
    let engine = open_with(&MemoryStore::new(), builder(&probe)).await;
    assert_eq!(guard(engine.run(gets_what_cannot_be_read())).await.unwrap(), "Payload Payload");
    assert_eq!(probe.count("returns"), 1);
}

#[task(allow(timer))]
async fn sleeps_at_once(_seed: u8) -> Result<u8> {
    #[expect(clippy::disallowed_methods, reason = "what a task must not do")]
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    Ok(1)
}

#[tokio::test]
async fn a_run_that_fails_in_its_first_step_has_a_log_with_a_beginning() {
    let probe = Probe::default();
    let engine = open_with(&MemoryStore::new(), builder(&probe).strict(true)).await;
    let handle = engine.start(sleeps_at_once(1).id("first")).await.unwrap();
    let run = handle.id();
    assert_eq!(guard(handle).await.unwrap_err().kind(), ErrorKind::ForeignAwait);
    let names: Vec<_> = engine.events(run).map(|logged| logged.unwrap().event.name()).collect();
    assert_eq!(names, ["TaskStarted", "TaskCompleted"]);
    let again = guard(engine.run(sleeps_at_once(1).id("first"))).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::ForeignAwait, "the same call gets the same outcome");
    assert!(guard(engine.replay(run)).await.unwrap().is_some());
}

#[task]
async fn returns_a_map(count: u32) -> Result<std::collections::HashMap<String, u32>> {
    let map: BTreeMap<_, _> = (0..count).map(|n| (n.to_string(), n)).collect();
    Ok(map.into_iter().collect())
}

#[tokio::test]
async fn a_result_with_a_map_replays_whatever_the_order() {
    let probe = Probe::default();
    let engine = open_with(&MemoryStore::new(), builder(&probe)).await;
    let handle = engine.start(returns_a_map(50)).await.unwrap();
    let run = handle.id();
    guard(handle).await.unwrap();
    for _ in 0..5 {
        assert!(guard(engine.replay(run)).await.unwrap().is_some());
    }
}

#[trace]
async fn held(seed: u8) -> Result<u8> {
    Probe::here()?.hold("held").await;
    Ok(seed)
}

#[task]
async fn holds(seed: u8) -> Result<u8> {
    held(seed).await
}

#[tokio::test]
async fn a_run_that_was_cancelled_in_the_queue_replays_to_its_cancellation() {
    let probe = Probe::default();
    let engine = open_with(&MemoryStore::new(), builder(&probe).runs_max(1)).await;
    let first = engine.start(holds(1)).await.unwrap();
    let second = engine.start(holds(2)).await.unwrap();
    guard(second.cancel()).await.unwrap();
    let outcome = guard(engine.replay(second.id())).await.unwrap();
    assert_eq!(outcome, Some(relive::TaskOutcome::Cancelled));
    let last = engine.events(second.id()).last().unwrap().unwrap().event;
    assert!(matches!(last, Event::TaskCompleted(_)));
    probe.open("held");
    guard(first).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_that_was_dropped_can_be_called_again() {
    let probe = Probe::default();
    let engine = open_with(&MemoryStore::new(), builder(&probe)).await;
    let run = engine.start(holds(3)).await.unwrap();
    let mut shutdown = Box::pin(engine.shutdown());
    assert!(futures::poll!(&mut shutdown).is_pending());
    drop(shutdown);
    probe.open("held");
    guard(engine.shutdown()).await.unwrap();
    assert_eq!(engine.status(run.id()).unwrap_err().kind(), ErrorKind::Closed);
}
