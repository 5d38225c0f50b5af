//! What a task's cache settings mean: versions, time to live, ignored arguments, salt, refresh; and hashes that collide.

use std::time::Duration;

use futures::future::join_all;
use relive::__private::CachePolicy;
use relive::ErrorKind;
use relive_engine::engine::Request;
use relive_engine::index::{CACHE, CACHE_USE, RUNS};

use super::cache_kit::{AUTO, Program, edited, task, value, version};
use super::support::{guard, rows};

#[tokio::test]
async fn an_edited_task_runs_again_and_the_old_code_finds_its_own_result() {
    let old = Program::of(task("kit.task", 1, AUTO));
    assert_eq!(old.open().await.call("a").await, 1);
    assert_eq!(old.with(task("kit.task", 2, AUTO)).open().await.call("a").await, 2);
    assert_eq!(old.open().await.call("a").await, 1);
    assert_eq!(rows(&old.store, CACHE).len(), 2);
}

#[tokio::test]
async fn an_edited_trace_invalidates_what_depends_on_it() {
    let old = Program::of(task("kit.task", 1, AUTO));
    assert_eq!(old.open().await.call("a").await, 1);
    let unrelated = Program { edited: vec![edited("cache.work")], ..old.clone() };
    assert_eq!(unrelated.open().await.call("a").await, 1);
    let edit = Program { edited: vec![edited("kit.rest")], ..old.crashed() };
    assert_eq!(edit.open().await.call("a").await, 2);
    let removal = Program { removed: vec!["kit.rest"], ..old.crashed() };
    assert_eq!(removal.open().await.call("a").await, 3);
    assert_eq!(old.open().await.call("a").await, 1);
}

#[tokio::test]
async fn with_a_version_code_plays_no_part() {
    let old = Program::of(task("kit.task", 1, version("1")));
    assert_eq!(old.open().await.call("a").await, 1);
    let edit =
        Program { edited: vec![edited("kit.work"), edited("kit.rest")], ..old.with(task("kit.task", 2, version("1"))) };
    assert_eq!(edit.open().await.call("a").await, 1);
    let next = old.with(task("kit.task", 1, version("2")));
    assert_eq!(next.open().await.call("a").await, 2);
    assert_eq!(old.open().await.call("a").await, 1);
    assert_eq!(old.with(task("kit.task", 1, AUTO)).open().await.call("a").await, 3, "without one, code does");
}

#[tokio::test]
async fn a_run_that_two_versions_took_part_in_makes_no_entry() {
    let old = Program::of(task("kit.task", 1, version("1")));
    let life = old.open().await;
    let first = life.start(life.request("held", false)).await;
    old.probe.begun("held", 1).await;
    let next = old.with(task("kit.task", 1, version("2"))).crashed();
    let life = next.open().await;
    next.probe.begun("held", 2).await;
    next.probe.open("held");
    assert_eq!(value(life.engine.handle(first.run()).expect("is there")).await.expect("ends"), 2);
    assert_eq!(life.cache().list().count(), 0);
    assert_eq!(life.call("held").await, 3);
}

#[tokio::test]
async fn a_run_that_other_code_finished_makes_no_entry() {
    let old = Program::of(task("kit.task", 1, AUTO));
    let life = old.open().await;
    let first = life.start(life.request("held", false)).await;
    old.probe.begun("held", 1).await;
    let next = old.with(task("kit.task", 2, AUTO)).crashed();
    let life = next.open().await;
    let joined = life.start(life.request("held", false)).await;
    assert_eq!(joined.run(), first.run(), "but it is joined");
    next.probe.open("held");
    value(joined).await.expect("ends");
    assert_eq!(life.cache().list().count(), 0);
}

#[tokio::test]
async fn a_run_of_another_version_that_was_taken_up_is_not_joined() {
    let old = Program::of(task("kit.task", 1, version("1")));
    let life = old.open().await;
    let first = life.start(life.request("held", false)).await;
    old.probe.begun("held", 1).await;
    let next = old.with(task("kit.task", 1, version("2"))).crashed();
    let life = next.open().await;
    let second = life.start(life.request("held", false)).await;
    assert_ne!(second.run(), first.run());
    next.probe.open("held");
    value(second).await.expect("ends");
}

#[tokio::test]
async fn a_run_of_the_same_version_that_was_taken_up_is_joined_whatever_the_code() {
    let old = Program::of(task("kit.task", 1, version("1")));
    let life = old.open().await;
    let first = life.start(life.request("held", false)).await;
    old.probe.begun("held", 1).await;
    let next = old.with(task("kit.task", 2, version("1"))).crashed();
    let life = next.open().await;
    let joined = life.start(life.request("held", false)).await;
    assert_eq!(joined.run(), first.run());
    next.probe.open("held");
    value(joined).await.expect("ends");
    assert_eq!(life.cache().list().count(), 1, "and its result is entered");
}

#[tokio::test]
async fn another_salt_is_another_call() {
    let salted = |salt| task("kit.task", 1, CachePolicy { salt, ..AUTO });
    let first = Program::of(salted("first"));
    assert_eq!(first.open().await.call("a").await, 1);
    assert_eq!(first.with(salted("second")).open().await.call("a").await, 2);
    assert_eq!(first.with(salted("")).open().await.call("a").await, 3);
    assert_eq!(first.open().await.call("a").await, 1);
}

const IGNORING: CachePolicy = CachePolicy { ignored: &["verbose"], ..AUTO };

#[tokio::test]
async fn calls_may_differ_in_what_is_ignored() {
    let program = Program::of(task("kit.task", 1, IGNORING));
    let life = program.open().await;
    for (label, verbose, count) in [("a", false, 1), ("a", true, 1), ("b", true, 1), ("b", false, 1)] {
        assert_eq!(life.run(life.request(label, verbose)).await.expect("succeeds"), count);
    }
    assert_eq!(program.probe.all_begun(), ["a", "b"]);
}

#[tokio::test]
async fn calls_that_differ_in_what_is_ignored_are_joined_also_after_a_restart() {
    let program = Program::of(task("kit.task", 1, IGNORING));
    let life = program.open().await;
    let first = life.start(life.request("held", false)).await;
    assert_eq!(life.start(life.request("held", true)).await.run(), first.run());
    program.probe.begun("held", 1).await;
    let next = program.crashed();
    let life = next.open().await;
    let joined = life.start(life.request("held", true)).await;
    assert_eq!(joined.run(), first.run());
    next.probe.open("held");
    value(joined).await.expect("ends");
    value(life.start(life.request("held", true)).await).await.expect("cached");
    assert_eq!(rows(&next.store, RUNS).len(), 1);
}

#[tokio::test]
async fn an_id_is_of_the_whole_input_also_of_what_is_ignored() {
    let life = Program::of(task("kit.task", 1, IGNORING)).open().await;
    let named = |verbose| Request { id: Some("job".to_owned()), ..life.request("a", verbose) };
    life.run(named(false)).await.expect("runs");
    let error = life.run(named(true)).await.expect_err("another input");
    assert_eq!(error.kind(), ErrorKind::IdTaken);
}

#[tokio::test]
async fn a_result_holds_for_its_time_to_live() {
    let hour = Duration::from_secs(3600);
    let program = Program::of(task("kit.task", 1, CachePolicy { ttl: Some(hour), ..AUTO }));
    let life = program.open().await;
    assert_eq!(life.call("a").await, 1);
    program.watch.pass(hour - Duration::from_micros(1));
    assert_eq!(life.call("a").await, 1, "a hit does not prolong it");
    program.watch.pass(Duration::from_micros(1));
    assert_eq!(life.call("a").await, 2);
    assert_eq!(life.call("a").await, 2);
    assert_eq!(rows(&program.store, CACHE).len(), 1);
    let lasting = program.with(task("kit.task", 1, AUTO));
    program.watch.pass(hour);
    assert_eq!(lasting.open().await.call("a").await, 2, "today's time to live counts");
}

#[tokio::test]
async fn an_expired_entry_is_deleted_when_it_is_met() {
    let hour = Duration::from_secs(3600);
    let program = Program::of(task("kit.task", 1, CachePolicy { ttl: Some(hour), ..AUTO }));
    let life = program.open().await;
    program.probe.open("held a");
    assert_eq!(life.call("held a").await, 1);
    program.watch.pass(hour);
    let again = Program { probe: Default::default(), ..program.clone() };
    let life = again.open().await;
    let run = life.start(life.request("held a", false)).await;
    again.probe.begun("held a", 1).await;
    assert_eq!((rows(&program.store, CACHE).len(), rows(&program.store, CACHE_USE).len()), (0, 0));
    again.probe.open("held a");
    assert_eq!(value(run).await.expect("ends"), 1);
}

#[tokio::test]
async fn a_refresh_runs_anew_and_replaces_the_entry() {
    let life = Program::of(task("kit.task", 1, AUTO)).open().await;
    assert_eq!((life.call("a").await, life.call("a").await), (1, 1));
    assert_eq!((life.refresh("a").await, life.call("a").await), (2, 2));
    assert_eq!((life.refresh("b").await, life.call("b").await), (1, 1), "also if there was none");
}

#[tokio::test]
async fn refreshes_at_the_same_time_run_once_but_beside_a_run_that_is_none() {
    let program = Program::of(task("kit.task", 1, AUTO));
    let life = program.open().await;
    let refresh = || Request { refresh: true, ..life.request("held", false) };
    let plain = life.start(life.request("held", false)).await;
    program.probe.begun("held", 1).await;
    let first = life.start(refresh()).await;
    program.probe.begun("held", 2).await;
    let (second, later) = (life.start(refresh()).await, life.start(life.request("held", false)).await);
    assert_ne!(first.run(), plain.run());
    assert_eq!((second.run(), later.run()), (first.run(), first.run()));
    program.probe.open("held");
    for handle in [first.clone(), plain, second, later] {
        value(handle).await.expect("ends");
    }
    let entry = life.cache().list().next().expect("there is one").expect("readable");
    assert_eq!(entry.run, first.run(), "what was refreshed is kept, whichever ended last");
    assert_eq!(program.probe.count("held"), 2);
}

#[tokio::test]
async fn where_an_id_names_a_run_a_refresh_is_that_run() {
    let life = Program::of(task("kit.task", 1, AUTO)).open().await;
    let named = |refresh| Request { id: Some("job".to_owned()), refresh, ..life.request("a", false) };
    let first = life.start(named(true)).await;
    assert_eq!(life.start(named(true)).await.run(), first.run());
}

#[tokio::test]
async fn inputs_with_one_hash_get_their_own_results() {
    let program = Program { collides: true, ..Program::of(task("kit.task", 1, AUTO)) };
    let life = program.open().await;
    for (label, count) in [("a", 1), ("b", 1), ("b", 1), ("a", 2), ("a", 2), ("b", 2)] {
        assert_eq!(life.call(label).await, count, "{label}");
    }
    assert_eq!(rows(&program.store, CACHE).len(), 1, "the later one replaces the earlier");
}

#[tokio::test]
async fn inputs_with_one_hash_are_not_joined_also_not_after_a_restart() {
    let program = Program { collides: true, ..Program::of(task("kit.task", 1, AUTO)) };
    let life = program.open().await;
    let held = life.start(life.request("held", false)).await;
    program.probe.begun("held", 1).await;
    assert_eq!(life.call("a").await, 1);
    assert_eq!(life.refresh("b").await, 1, "a refresh does not take over another's call");
    assert_eq!(life.start(life.request("held", false)).await.run(), held.run());
    let next = program.crashed();
    let life = next.open().await;
    assert_eq!(life.call("c").await, 1);
    let joined = life.start(life.request("held", false)).await;
    assert_eq!(joined.run(), held.run());
    next.probe.open("held");
    assert_eq!(value(joined).await.expect("ends"), 2);
}

#[tokio::test]
async fn an_entry_of_another_type_is_not_returned() {
    let life = Program::of(task("kit.task", 1, AUTO)).open().await;
    assert_eq!(life.call("a").await, 1);
    let other = Request { readable: |payload| payload.decode::<String>().is_ok(), ..life.request("a", false) };
    assert_eq!(life.run(other).await.expect("runs"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_refreshes_and_evictions_at_the_same_time_agree() {
    let program = Program { bytes_max: Some(2000), ..Program::of(task("kit.task", 1, AUTO)) };
    let life = program.open().await;
    let callers = (0..8).map(|caller: usize| {
        let (life, probe) = (life.clone(), program.probe.clone());
        tokio::spawn(async move {
            for step in 0..60 {
                let label = ["a", "b", "c", "d", "e", "f", "g"][(caller + step) % 7];
                let before = probe.count(label);
                match (caller + step) % 5 {
                    0 => assert!(life.refresh(label).await > 0),
                    1 => drop(life.cache().evict_call(&life.request(label, false)).await.expect("evicts")),
                    2 => drop(life.cache().trim().await.expect("trims")),
                    _ => assert!((1..=before + 8).contains(&life.call(label).await)),
                }
            }
        })
    });
    for caller in guard(join_all(callers)).await {
        caller.expect("no panic");
    }
    for label in ["a", "b", "c", "d", "e", "f", "g"] {
        let count = life.refresh(label).await;
        assert_eq!(count, program.probe.count(label), "nothing is under way any more");
        assert_eq!(life.call(label).await, count);
    }
}
