//! Why a call would miss: each reason, and that what is explained is what happens.

use std::time::Duration;

use relive::__private::CachePolicy;
use relive::{Explanation, Reason, Value};
use relive_engine::engine::Request;
use relive_engine::id::CodeHash;

use super::cache_kit::{AUTO, Life, Program, edited, task, value, version};

/// The one reason that a call misses.
fn only_reason(life: &Life, label: &str) -> Reason {
    let reasons = life.explain(label).reasons().to_vec();
    let [reason] = <[Reason; 1]>::try_from(reasons).expect("one reason");
    reason
}

fn text(text: &str) -> Option<Value> {
    Some(Value::Text(text.to_owned()))
}

#[tokio::test]
async fn a_hit_shows_its_entry() {
    let life = Program::of(task("kit.task", 1, AUTO)).open().await;
    let handle = life.start(life.request("a", false)).await;
    let run = handle.run();
    value(handle).await.expect("ends");
    let explanation = life.explain("a");
    let Explanation::Hit { entry } = &explanation else { panic!("{explanation}") };
    assert_eq!(entry.run, run);
    let shown = format!("hit: task kit.task has a result of run {run}, found 2026-01-02 03:04:05 UTC");
    assert_eq!(explanation.to_string(), shown);
}

#[tokio::test]
async fn no_call_of_the_task_was_cached() {
    let life = Program::of(task("kit.task", 1, AUTO)).open().await;
    assert_eq!(only_reason(&life, "a"), Reason::NeverCached);
    assert_eq!(life.explain("a").to_string(), "miss: task kit.task would run: no call of it has a result in the cache");
}

#[tokio::test]
async fn another_input_names_the_first_argument_that_differs_from_the_nearest() {
    let life = Program::of(task("kit.task", 1, AUTO)).open().await;
    for (label, verbose) in [("a", false), ("b", true)] {
        life.run(life.request(label, verbose)).await.expect("runs");
    }
    let Reason::OtherInput { run, argument, cached, called } = only_reason(&life, "b") else { panic!("another") };
    let nearest = life.start(life.request("b", true)).await.run();
    let by_label = life.start(life.request("a", false)).await.run();
    match argument.as_str() {
        "verbose" => assert_eq!((run, cached, called), (nearest, Some(Value::Bool(true)), Some(Value::Bool(false)))),
        "label" => assert_eq!((run, cached, called), (by_label, text("a"), text("b"))),
        other => panic!("{other}"),
    }
    let Reason::OtherInput { argument, cached, called, .. } = only_reason(&life, "c") else { panic!("another") };
    assert_eq!((argument.as_str(), cached, called), ("label", text("a"), text("c")));
    let shown = life.explain("c").to_string();
    assert!(shown.ends_with(r#"`label` is "a", and here "c""#), "{shown}");
}

#[tokio::test]
async fn the_task_was_edited() {
    let old = Program::of(task("kit.task", 1, AUTO));
    let life = old.open().await;
    let handle = life.start(life.request("a", false)).await;
    let run = handle.run();
    value(handle).await.expect("ends");
    let life = old.with(task("kit.task", 2, AUTO)).open().await;
    let (cached, now) = (CodeHash::from_bytes([1; 16]), CodeHash::from_bytes([2; 16]));
    assert_eq!(only_reason(&life, "a"), Reason::TaskEdited { cached, now, run });
    assert_eq!(
        life.explain("a").to_string(),
        format!(
            "miss: task kit.task would run: the task was edited: its code was 01010101 when run {run} found the result, \
             and is 02020202"
        )
    );
}

#[tokio::test]
async fn several_traces_were_edited_or_removed() {
    let old = Program::of(task("kit.task", 1, AUTO));
    old.open().await.call("a").await;
    let next = Program { edited: vec![edited("kit.work")], removed: vec!["kit.rest"], ..old.clone() };
    let life = next.open().await;
    let explanation = life.explain("a");
    let [Reason::TraceEdited { name, now, .. }, Reason::Unknown { name: unknown, is_task: false }] =
        explanation.reasons()
    else {
        panic!("{explanation}")
    };
    assert_eq!((name.as_str(), unknown.as_str(), *now), ("kit.work", "kit.rest", CodeHash::from_bytes([0xed; 16])));
}

#[tokio::test]
async fn another_version_or_salt() {
    let old = Program::of(task("kit.task", 1, version("1")));
    old.open().await.call("a").await;
    let life = old.with(task("kit.task", 1, version("2"))).open().await;
    assert_eq!(
        only_reason(&life, "a").to_string(),
        "the result is of version \"1\", and the task now has version \"2\""
    );
    let life = old.with(task("kit.task", 1, AUTO)).open().await;
    assert!(matches!(only_reason(&life, "a"), Reason::OtherVersion { .. }));
    let life = old.with(task("kit.task", 1, CachePolicy { salt: "s", ..version("1") })).open().await;
    assert_eq!(only_reason(&life, "a"), Reason::OtherSalt { cached: String::new(), now: "s".to_owned() });
}

#[tokio::test]
async fn it_expired_or_cannot_be_read_or_both() {
    let hour = Duration::from_secs(3600);
    let program = Program::of(task("kit.task", 1, CachePolicy { ttl: Some(hour), ..AUTO }));
    let life = program.open().await;
    life.call("a").await;
    let shown = life.explain("a").to_string();
    assert!(shown.ends_with("it holds until 2026-01-02 04:04:05 UTC"), "{shown}");
    program.watch.pass(2 * hour);
    assert_eq!(only_reason(&life, "a").to_string(), "the result expired 2026-01-02 04:04:05 UTC");
    let other = Request { readable: |payload| payload.decode::<String>().is_ok(), ..life.request("a", false) };
    let explanation = life.cache().explain(&other).expect("can be explained");
    assert!(matches!(explanation.reasons(), [Reason::Expired { .. }, Reason::Unreadable { .. }]), "{explanation}");
    assert_eq!(life.cache().list().count(), 1, "to explain changes nothing");
}

#[tokio::test]
async fn it_was_refreshed_or_is_off() {
    let program = Program::of(task("kit.task", 1, AUTO));
    let life = program.open().await;
    life.call("a").await;
    let refresh = Request { refresh: true, ..life.request("a", false) };
    assert_eq!(life.cache().explain(&refresh).expect("explained").reasons(), [Reason::Refreshed]);
    let off = CachePolicy { mode: relive::__private::CacheMode::Off, ..AUTO };
    assert_eq!(only_reason(&program.with(task("kit.task", 1, off)).open().await, "a"), Reason::CacheOff);
}

#[tokio::test]
async fn the_last_run_failed_or_was_cancelled() {
    let program = Program::of(task("kit.task", 1, AUTO));
    let life = program.open().await;
    let failed = life.start(life.request("fails", false)).await;
    let run = failed.run();
    value(failed).await.expect_err("fails");
    let explanation = life.explain("fails");
    let error = "the work failed".to_owned();
    assert_eq!(explanation.reasons(), [Reason::NeverCached, Reason::LastRunFailed { run, error }]);
    assert_eq!(
        explanation.to_string(),
        format!(
            "miss: task kit.task would run\n- no call of it has a result in the cache\n- the last run of this call, {run}, \
             failed: the work failed"
        )
    );
    let held = life.start(life.request("held", false)).await;
    program.probe.begun("held", 1).await;
    life.engine.cancel(held.run()).await.expect("cancels");
    let explanation = life.explain("held");
    assert!(matches!(explanation.reasons(), [_, Reason::LastRunFailed { run, .. }] if *run == held.run()));
}

#[tokio::test]
async fn an_equal_call_is_under_way_or_an_id_is_known() {
    let program = Program::of(task("kit.task", 1, AUTO));
    let life = program.open().await;
    let held = life.start(life.request("held", false)).await;
    let explanation = life.explain("held");
    assert!(matches!(explanation, Explanation::Joined { run } if run == held.run()), "{explanation}");
    let refresh = Request { refresh: true, ..life.request("held", false) };
    assert_eq!(life.cache().explain(&refresh).expect("explained").reasons(), [Reason::Refreshed]);
    program.probe.open("held");
    value(held).await.expect("ends");
    let named = || Request { id: Some("job".to_owned()), ..life.request("a", false) };
    let run = life.start(named()).await.run();
    let explanation = life.cache().explain(&named()).expect("explained");
    assert_eq!(explanation.to_string(), format!("known: the id `job` names run {run}, so the call is that run's"));
}

#[tokio::test]
async fn what_differs_in_an_ignored_argument_is_no_reason() {
    let program = Program::of(task("kit.task", 1, CachePolicy { ignored: &["label"], ..AUTO }));
    let life = program.open().await;
    life.call("a").await;
    let explanation = life.explain("b");
    assert!(matches!(explanation, Explanation::Hit { .. }), "{explanation}");
    let Reason::OtherInput { argument, .. } =
        life.cache().explain(&life.request("b", true)).expect("explained").reasons()[0].clone()
    else {
        panic!("another")
    };
    assert_eq!(argument, "verbose");
}

#[tokio::test]
async fn among_inputs_with_one_hash_the_other_is_named() {
    let life = Program { collides: true, ..Program::of(task("kit.task", 1, AUTO)) }.open().await;
    life.call("a").await;
    let Reason::OtherInput { argument, cached, called, .. } = only_reason(&life, "b") else { panic!("another") };
    assert_eq!((argument.as_str(), cached, called), ("label", text("a"), text("b")));
}
