//! Names and values to find runs by.

use relive::{ErrorKind, RunId, TAG_BYTES_MAX};

use super::attempts_kit::{World, do_step, handle, label, program, record, run_of, uncached};
use super::support::guard;

fn tagged(engine: &relive::Engine, name: &str, value: &str) -> Vec<RunId> {
    engine.runs_tagged(name, value).map(|run| run.expect("readable").run).collect()
}

fn family() -> World {
    World::default()
        .with("parent", || async { program(label("child")).await })
        .with("child", || async { Ok(vec![do_step("child").await?]) })
        .with("other", || async { Ok(vec![do_step("fails").await?]) })
}

#[tokio::test]
async fn runs_are_found_by_their_tags_the_newest_first_also_after_a_restart() {
    let world = family();
    let engine = world.open().await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        let handle =
            engine.start(uncached(label("child")).tag("customer", "42").tag("kind", "a")).await.expect("starts");
        runs.insert(0, handle.id());
        guard(handle).await.expect("succeeds");
    }
    let other = engine.start(uncached(label("child")).tag("customer", "421")).await.expect("starts").id();
    guard(handle(&engine, other)).await.expect("succeeds");
    for engine in [engine, world.crashed().open().await] {
        let mut found = tagged(&engine, "customer", "42");
        found.sort();
        let mut expected = runs.clone();
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(tagged(&engine, "customer", "421"), [other]);
        assert_eq!(tagged(&engine, "kind", "a").len(), 3);
        for (name, value) in [("customer", "4"), ("customer", ""), ("custom", "er42"), ("kind", "b")] {
            assert_eq!(tagged(&engine, name, value), [], "{name} {value}");
        }
        let tags = record(&engine, runs[0]).tags;
        assert_eq!(tags, [(label("customer"), label("42")), (label("kind"), label("a"))]);
    }
}

#[tokio::test]
async fn a_child_has_none_of_its_parents_tags() {
    let world = family();
    let engine = world.open().await;
    let run = engine.start(program(label("parent")).tag("customer", "42")).await.expect("starts").id();
    guard(handle(&engine, run)).await.expect("succeeds");
    assert_eq!(tagged(&engine, "customer", "42"), [run]);
    assert_eq!(record(&engine, run_of(&engine, "child").expect("there")).tags, []);
}

#[tokio::test]
async fn a_child_may_have_tags_of_its_own() {
    let world = World::default()
        .with("parent", || async { program(label("child")).tag("part", "1").await })
        .with("child", || async { Ok(vec![]) });
    let engine = world.open().await;
    guard(engine.run(program(label("parent")))).await.expect("succeeds");
    assert_eq!(tagged(&engine, "part", "1"), [run_of(&engine, "child").expect("there")]);
}

#[tokio::test]
async fn of_two_values_for_one_name_the_last_counts() {
    let world = family();
    let engine = world.open().await;
    let run = engine.start(program(label("child")).tag("a", "1").tag("a", "2")).await.expect("starts").id();
    assert_eq!(tagged(&engine, "a", "1"), []);
    assert_eq!(tagged(&engine, "a", "2"), [run]);
    assert_eq!(record(&engine, run).tags, [(label("a"), label("2"))]);
}

#[tokio::test]
async fn a_tag_stays_over_failures_and_attempts() {
    let world = family();
    world.failing.add("fails");
    let engine = world.open().await;
    let run = engine.start(program(label("other")).tag("a", "1")).await.expect("starts").id();
    guard(handle(&engine, run)).await.expect_err("fails");
    world.failing.remove("fails");
    engine.resume(run).await.expect("resumes");
    guard(handle(&engine, run)).await.expect("succeeds");
    assert_eq!(tagged(&engine, "a", "1"), [run]);
    assert_eq!(record(&engine, run).tags, [(label("a"), label("1"))]);
}

#[tokio::test]
async fn a_tag_that_is_too_long_is_refused_and_one_of_the_longest_is_found() {
    let world = family();
    let engine = world.open().await;
    let (longest, longer) = ("n".repeat(TAG_BYTES_MAX), "n".repeat(TAG_BYTES_MAX + 1));
    for (name, value) in [("a", &longer), (longer.as_str(), &label("1"))] {
        let error = engine.start(program(label("child")).tag(name, value)).await.expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("256"), "{error}");
    }
    assert_eq!(engine.runs().count(), 0);
    let run = engine.start(program(label("child")).tag(&longest, &longest)).await.expect("starts").id();
    assert_eq!(tagged(&engine, &longest, &longest), [run]);
}
