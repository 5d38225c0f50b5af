//! Runs that are deleted are gone with all that stands beside them, and those that somebody needs stay.

use std::ops::ControlFlow;
use std::sync::Arc;

use relive::{Engine, ErrorKind, Retained, Retention, RunId, RunState, task, trace};
use relive_engine::index::{CACHE, IDS, INBOX, RUNS, TAGS, UNFINISHED};
use relive_engine::log::LOG;
use relive_engine::verify;
use relive_storage::{MemoryStore, Read};

use super::support::{Probe, guard, open, rows};

#[trace(name = "retained.step")]
async fn step(label: String) -> relive::Result<u32> {
    Probe::here()?.hold(&label).await;
    if label == "fails" { Err(relive::Error::msg("it fails")) } else { Ok(1) }
}

#[task(name = "retained.child")]
async fn child(label: String) -> relive::Result<u32> {
    step(label).await
}

#[task(name = "retained.parent")]
async fn parent(label: String, last: String) -> relive::Result<u32> {
    let sum = child(label).await.unwrap_or(0);
    Ok(sum + step(last).await?)
}

fn opened(gates: &[&str]) -> Probe {
    let probe = Probe::default();
    gates.iter().for_each(|gate| probe.open(gate));
    probe
}

async fn deleted(engine: &Engine, rule: Retention) -> u64 {
    let Retained { deleted_count, .. } = engine.retain(rule).await.expect("the store works");
    deleted_count
}

fn is_whole(store: &MemoryStore) {
    let view: Arc<dyn Read> = Arc::new(store.clone());
    verify::store(&view, &mut |progress| {
        assert!(!matches!(progress, verify::Progress::Problem(_)), "{progress:?}");
        ControlFlow::Continue(())
    });
}

#[tokio::test]
async fn nothing_is_left_of_a_run_but_its_cached_result() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened(&["a", "b"]));
    let engine = open(&store, &probe).await;
    let call = || parent("a".to_owned(), "b".to_owned());
    let first = engine.start(call().id("one").tag("customer", "42")).await?;
    let run = first.id();
    guard(first).await?;
    assert_eq!(deleted(&engine, Retention { dry: true, ..Retention::default() }).await, 2);
    assert_eq!(rows(&store, RUNS).len(), 2);
    assert_eq!(deleted(&engine, Retention::default()).await, 2);
    for keyspace in [LOG, RUNS, UNFINISHED, IDS, INBOX, TAGS] {
        assert_eq!(rows(&store, keyspace), [], "{keyspace:?}");
    }
    assert_eq!(rows(&store, CACHE).len(), 2);
    is_whole(&store);
    assert_eq!(engine.status(run).expect_err("it is gone").kind(), ErrorKind::UnknownRun);
    assert_eq!(engine.resume(run).await.expect_err("it is gone").kind(), ErrorKind::UnknownRun);
    // The id is free again, the result still there.
    let again = engine.start(call().id("one").cached()).await?;
    assert_ne!(again.id(), run);
    assert_eq!((guard(again).await?, probe.count("b")), (2, 1));
    engine.shutdown().await
}

#[tokio::test]
async fn what_an_unfinished_run_called_stays_and_it_goes_on_after_a_restart() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened(&["a"]));
    let engine = open(&store, &probe).await;
    let run = engine.start(parent("a".to_owned(), "later".to_owned())).await?.id();
    probe.begun("later", 1).await;
    let retained = engine.retain(Retention::default()).await?;
    assert_eq!((retained.deleted_count, retained.needed_count, retained.kept_count), (0, 0, 2), "its parent is there");
    drop(engine);
    probe.open("later");
    let engine = open(&store, &probe).await;
    assert_eq!(guard(engine.handle::<u32, relive::Error>(run)?).await?, 2);
    assert_eq!(probe.count("a"), 1);
    assert_eq!(deleted(&engine, Retention::default()).await, 2);
    is_whole(&store);
    engine.shutdown().await
}

#[tokio::test]
async fn a_run_that_an_unfinished_one_needs_through_another_stays() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened(&["b"]));
    let engine = open(&store, &probe).await;
    // Two parents wait for one child; the first one ends, and the second does not.
    let first = engine.start(parent("shared".to_owned(), "b".to_owned())).await?;
    probe.begun("shared", 1).await;
    let second = engine.start(parent("shared".to_owned(), "never".to_owned())).await?.id();
    while rows(&store, IDS).is_empty() {
        tokio::task::yield_now().await;
    }
    probe.open("shared");
    let one = first.id();
    guard(first).await?;
    probe.begun("never", 1).await;
    let retained = engine.retain(Retention::default()).await?;
    assert_eq!((retained.deleted_count, retained.kept_count), (1, 2), "the first parent alone");
    assert!(engine.status(one).is_err() && engine.status(second).is_ok());
    is_whole(&store);
    // An effect is held to the end.
    drop(engine);
    Ok(())
}

#[tokio::test]
async fn a_rule_is_about_tasks_states_and_the_newest() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), opened(&["1", "2", "3", "fails"]));
    let engine = open(&store, &probe).await;
    let mut runs: Vec<RunId> = Vec::new();
    for label in ["1", "2", "fails", "3"] {
        let handle = engine.start(child(label.to_owned())).await?;
        runs.push(handle.id());
        let _ = guard(handle).await;
    }
    runs.sort();
    assert_eq!(deleted(&engine, Retention { task: Some("other".to_owned()), ..Retention::default() }).await, 0);
    let failed = Retention { states: vec![RunState::Failed], keep: 1, ..Retention::default() };
    assert_eq!(deleted(&engine, failed.clone()).await, 0, "it is the newest of those");
    assert_eq!(deleted(&engine, Retention { keep: 0, ..failed }).await, 1);
    assert_eq!(deleted(&engine, Retention { keep: 2, ..Retention::default() }).await, 1);
    let long_ago = relive::Timestamp(0);
    assert_eq!(deleted(&engine, Retention { finished_before: Some(long_ago), ..Retention::default() }).await, 0);
    assert_eq!(engine.runs().count(), 2);
    is_whole(&store);
    engine.shutdown().await
}

#[tokio::test]
async fn a_child_whose_id_sorts_before_its_parents_goes_with_it() -> relive::Result<()> {
    // Ids of one millisecond are in no order: of so many trees, some have the child first.
    let (store, probe) = (MemoryStore::new(), opened(&["b"]));
    let engine = open(&store, &probe).await;
    for number in 0..40 {
        let label = format!("child {number}");
        probe.open(&label);
        guard(engine.run(parent(label, "b".to_owned()))).await?;
    }
    let all = rows(&store, RUNS).len() as u64;
    let count = |dry| Retention { dry, ..Retention::default() };
    assert_eq!((deleted(&engine, count(true)).await, deleted(&engine, count(false)).await), (all, all));
    assert_eq!(rows(&store, LOG), []);
    is_whole(&store);
    engine.shutdown().await
}

#[tokio::test]
async fn an_id_that_a_run_was_joined_under_goes_with_it() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let first = engine.start(child("held".to_owned()).id("one")).await?;
    let again = engine.start(child("held".to_owned()).id("another").cached()).await?;
    assert_eq!(first.id(), again.id());
    is_whole(&store);
    probe.open("held");
    guard(first).await?;
    assert_eq!(deleted(&engine, Retention::default()).await, 1);
    assert_eq!(rows(&store, IDS), []);
    assert_ne!(engine.start(child("held".to_owned()).id("another")).await?.id(), again.id());
    is_whole(&store);
    engine.shutdown().await
}

#[tokio::test]
async fn an_id_that_leads_to_a_run_that_is_gone_names_nothing() -> relive::Result<()> {
    use relive_storage::{Durability, Operation, Store, Write};

    let (store, probe) = (MemoryStore::new(), opened(&["a"]));
    let engine = open(&store, &probe).await;
    let handle = engine.start(child("a".to_owned()).id("one")).await?;
    let run = handle.id();
    guard(handle).await?;
    let named = rows(&store, IDS);
    assert_eq!(deleted(&engine, Retention::default()).await, 1);
    // As a store may hold it that an older program deleted runs of.
    let put = named.into_iter().map(|row| Operation::Put { keyspace: IDS, key: row.key, value: row.value });
    let write = Write { preconditions: Vec::new(), operations: put.collect() };
    store.commit(&[write], Durability::Sync).expect("memory does not fail");
    let again = engine.start(child("a".to_owned()).id("one")).await?;
    assert_ne!(again.id(), run);
    assert_eq!(guard(again).await?, 1);
    is_whole(&store);
    engine.shutdown().await
}
