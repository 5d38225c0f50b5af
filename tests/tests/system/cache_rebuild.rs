//! The cache is made again from the logs alone, and answers as it did.

use std::time::Duration;

use relive::__private::CachePolicy;
use relive_engine::engine::Request;
use relive_engine::index::{CACHE, CACHE_USE};
use relive_engine::payload::Payload;
use relive_storage::Row;

use super::cache_kit::{AUTO, Program, edited, task, value, version};
use super::support::rows;

/// Runs of one millisecond are in no order.
const SECOND: Duration = Duration::from_secs(1);

fn entries(program: &Program) -> Vec<Row> {
    rows(&program.store, CACHE)
}

#[tokio::test]
async fn a_rebuilt_cache_holds_what_it_held() {
    let ignoring = CachePolicy { ignored: &["verbose"], ..AUTO };
    let program = Program::of(task("kit.task", 1, ignoring));
    let life = program.open().await;
    for label in ["a", "b", "c"] {
        life.call(label).await;
    }
    program.watch.pass(SECOND);
    life.refresh("b").await;
    value(life.start(life.request("fails", false)).await).await.expect_err("fails");
    life.run(Request { id: Some("job".to_owned()), cached: true, ..life.request("a", true) })
        .await
        .expect("cached, as a run");
    let before = entries(&program);
    let rebuilt = life.cache().rebuild().await.expect("rebuilds");
    assert_eq!((rebuilt.entries, rebuilt.unknown_tasks, rebuilt.not_proven), (3, 0, 1), "a copy is no proof");
    assert_eq!(entries(&program), before);
    assert_eq!(rows(&program.store, CACHE_USE).len(), 3);
    for (label, count) in [("a", 1), ("b", 2), ("c", 1)] {
        assert_eq!(life.call(label).await, count);
    }
}

#[tokio::test]
async fn a_lost_cache_is_made_again_by_another_life() {
    let program = Program::of(task("kit.task", 1, AUTO));
    let life = program.open().await;
    for number in 0..200 {
        life.call(&number.to_string()).await;
    }
    let before = entries(&program);
    life.cache().evict_all().await.expect("evicts");
    life.engine.shutdown().await.expect("shuts down");
    let life = program.open().await;
    assert_eq!(life.cache().rebuild().await.expect("rebuilds").entries, 200);
    assert_eq!(entries(&program), before);
}

#[tokio::test]
async fn what_an_edit_invalidated_stays_so() {
    let old = Program::of(task("kit.task", 1, AUTO));
    old.open().await.call("a").await;
    let edit = Program { edited: vec![edited("kit.work")], ..old.clone() };
    let life = edit.open().await;
    assert_eq!(life.cache().rebuild().await.expect("rebuilds").entries, 1);
    assert_eq!(life.call("a").await, 2);
    let task = old.with(task("kit.task", 2, AUTO));
    assert_eq!(task.open().await.cache().rebuild().await.expect("rebuilds").entries, 1);
    assert_eq!(task.open().await.call("a").await, 3);
}

#[tokio::test]
async fn what_the_logs_do_not_prove_is_not_made() {
    let program = Program::of(task("kit.task", 1, AUTO));
    let life = program.open().await;
    life.start(life.request("held", false)).await;
    program.probe.begun("held", 1).await;
    let next = program.crashed();
    let life = next.open().await;
    next.probe.open("held");
    life.call("held").await;
    assert_eq!(entries(&next).len(), 1);
    let rebuilt = life.cache().rebuild().await.expect("rebuilds");
    assert_eq!((rebuilt.entries, rebuilt.not_proven), (0, 1), "the effect began in another life, maybe of other code");

    for policy in [version("1"), CachePolicy { salt: "s", ..AUTO }] {
        let program = Program::of(task("kit.task", 1, policy));
        let life = program.open().await;
        life.call("a").await;
        let rebuilt = life.cache().rebuild().await.expect("rebuilds");
        assert_eq!((rebuilt.entries, rebuilt.not_proven), (0, 1), "no log holds a version or a salt");
    }
}

#[tokio::test]
async fn runs_of_tasks_that_are_not_linked_in_are_counted() {
    let program = Program::of(task("kit.task", 1, AUTO));
    program.open().await.call("a").await;
    let life = program.with(task("kit.other", 1, AUTO)).open().await;
    let rebuilt = life.cache().rebuild().await.expect("rebuilds");
    assert_eq!((rebuilt.entries, rebuilt.unknown_tasks), (0, 1));
}

#[tokio::test]
async fn inputs_with_one_hash_keep_their_own_results_when_rebuilt() {
    let program = Program { collides: true, ..Program::of(task("kit.task", 1, AUTO)) };
    let life = program.open().await;
    life.call("a").await;
    program.watch.pass(SECOND);
    life.call("b").await;
    assert_eq!(life.cache().rebuild().await.expect("rebuilds").entries, 1);
    assert_eq!((life.call("b").await, life.call("a").await), (1, 2));
}

#[tokio::test]
async fn what_a_call_depends_on_is_told_by_its_entry_and_by_its_log() {
    let meta = task("kit.task", 1, AUTO);
    let life = Program::of(meta).open().await;
    let request = life.request("a", false);
    let handle = life.start(life.request("a", false)).await;
    let run = handle.run();
    let result = Payload::encode(&value(handle).await.expect("ends")).expect("a number");
    let uses = || life.cache().child_uses(meta, run, &request.input, &result).expect("is readable");
    let by_entry = uses().expect("is known");
    assert_eq!(by_entry.iter().map(|used| used.name.as_str()).collect::<Vec<_>>(), ["kit.work", "kit.rest"]);
    life.refresh("a").await;
    assert_eq!(uses().as_ref(), Some(&by_entry), "the entry holds another result, and the log is asked");
    life.cache().evict_all().await.expect("evicts");
    assert_eq!(uses(), Some(by_entry));
    let versioned = task("kit.task", 1, version("1"));
    assert_eq!(life.cache().child_uses(versioned, run, &request.input, &result).expect("is known"), Some(Vec::new()));
}
