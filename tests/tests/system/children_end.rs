//! What becomes of a child run whose parent ends, or lets it go: also if the process dies in between.

use std::time::Duration;

use relive::{Cancellation, RunState};
use relive_engine::index::IDS;

use super::attempts_kit::{World, checked, do_step, handle, label, program, replays, run_of, settled, state, step};
use super::support::{guard, rows};

/// Where a run stands once nothing moves any more; `None` if there is none.
async fn ends(engine: &relive::Engine, body: &str) -> Option<RunState> {
    settled(engine).await;
    Some(state(engine, run_of(engine, body)?))
}

#[tokio::test]
async fn a_crash_at_any_commit_of_a_lost_race_leaves_no_child_that_goes_on() {
    let world = World::default()
        .with("parent", || async {
            let first = relive::select! {
                child = program(label("child")) => child,
                winner = step(label("held winner")) => Ok(vec![winner?]),
            };
            do_step("after").await?;
            first
        })
        .with("child", || async { Ok(vec![do_step("held loser").await?]) });
    let copies = world
        .every_commit(async |engine| {
            let parent = engine.start(program(label("parent"))).await.expect("starts");
            world.probe.begun("held loser", 1).await;
            world.probe.open("held winner");
            assert_eq!(guard(parent).await.expect("succeeds"), [1]);
        })
        .await;
    for (number, before) in copies.iter().enumerate() {
        let after = world.on(before.copy());
        after.probe.open("held winner");
        let engine = after.open().await;
        let what = format!("cut {number}");
        if run_of(&engine, "parent").is_none() {
            continue;
        }
        assert_eq!(ends(&engine, "parent").await, Some(RunState::Completed), "{what}");
        assert!(matches!(ends(&engine, "child").await, None | Some(RunState::Cancelled)), "{what}");
        checked(&engine, &after, before, &what).await;
    }
}

#[tokio::test]
async fn a_crash_at_any_commit_of_a_failing_parent_leaves_no_child_that_goes_on() {
    let world = World::default()
        .with("parent", || async {
            futures::try_join!(program(label("child")), step(label("held fails")))?;
            Ok(vec![])
        })
        .with("child", || async { program(label("grandchild")).await })
        .with("grandchild", || async { Ok(vec![do_step("held").await?]) });
    world.failing.add("held fails");
    let copies = world
        .every_commit(async |engine| {
            let parent = engine.start(program(label("parent"))).await.expect("starts");
            world.probe.begun("held", 1).await;
            world.probe.open("held fails");
            guard(parent).await.expect_err("fails");
        })
        .await;
    for (number, before) in copies.iter().enumerate() {
        let after = world.on(before.copy());
        after.probe.open("held fails");
        let engine = after.open().await;
        let what = format!("cut {number}");
        if run_of(&engine, "parent").is_none() {
            continue;
        }
        assert_eq!(ends(&engine, "parent").await, Some(RunState::Failed), "{what}");
        for body in ["child", "grandchild"] {
            assert!(matches!(ends(&engine, body).await, None | Some(RunState::Cancelled)), "{what}: {body}");
        }
        checked(&engine, &after, before, &what).await;
    }
}

#[tokio::test]
async fn a_crash_at_any_commit_of_a_cancellation_leaves_no_child_that_goes_on_without_its_parent() {
    let world = World::default()
        .with("parent", || async { program(label("child")).await })
        .with("child", || async { Ok(vec![do_step("held").await?]) });
    let copies = world
        .every_commit(async |engine| {
            let parent = engine.start(program(label("parent"))).await.expect("starts");
            world.probe.begun("held", 1).await;
            assert_eq!(guard(parent.cancel()).await.expect("cancelled"), Cancellation::Cancelled);
        })
        .await;
    for (number, before) in copies.iter().enumerate() {
        let after = world.on(before.copy());
        let engine = after.open().await;
        let what = format!("cut {number}");
        let Some(parent) = run_of(&engine, "parent") else { continue };
        if state(&engine, parent) == RunState::Cancelled {
            assert!(matches!(ends(&engine, "child").await, None | Some(RunState::Cancelled)), "{what}");
            assert_eq!(after.probe.count("held"), 0, "{what}");
        } else {
            after.probe.open("held");
            assert_eq!(ends(&engine, "parent").await, Some(RunState::Completed), "{what}");
        }
        checked(&engine, &after, before, &what).await;
    }
}

#[tokio::test]
async fn a_crash_does_not_take_a_child_from_another_parent_that_joined_it() {
    let world = World::default()
        .with("first", || async { program(label("child")).await })
        .with("second", || async { program(label("child")).await })
        .with("child", || async { Ok(vec![do_step("held").await?]) });
    let copies = world
        .every_commit(async |engine| {
            let first = engine.start(program(label("first"))).await.expect("starts");
            world.probe.begun("held", 1).await;
            let second = engine.start(program(label("second"))).await.expect("starts");
            joined(&world, 1).await;
            assert_eq!(guard(first.cancel()).await.expect("cancelled"), Cancellation::Cancelled);
            world.probe.open("held");
            assert_eq!(guard(second).await.expect("the child goes on"), [1]);
        })
        .await;
    for (number, before) in copies.iter().enumerate() {
        let after = world.on(before.copy());
        after.probe.open("held");
        let engine = after.open().await;
        let what = format!("cut {number}");
        if run_of(&engine, "second").is_some() {
            assert_eq!(ends(&engine, "second").await, Some(RunState::Completed), "{what}");
            // Joined, or found in the cache if it has ended by then, which is a run without effects.
            assert!(after.probe.count("held") <= 1, "{what}");
        }
        settled(&engine).await;
        checked(&engine, &after, before, &what).await;
    }
}

/// Waits until so many calls have joined a run that another's call began: that is in the store.
async fn joined(world: &World, count: usize) {
    guard(async {
        while rows(&world.store, IDS).len() < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn dropping_one_of_two_equal_calls_leaves_the_other_its_child() {
    let world = World::default()
        .with("parent", || async {
            let (first, second) = futures::join!(program(label("child")), async {
                relive::select! {
                    child = program(label("child")) => child,
                    winner = step(label("held winner")) => Ok(vec![winner?]),
                }
            });
            Ok([first?, second?].concat())
        })
        .with("child", || async { Ok(vec![do_step("held child").await? + 1]) });
    let engine = world.open().await;
    let parent = engine.start(program(label("parent"))).await.expect("starts");
    world.probe.begun("held child", 1).await;
    world.probe.begun("held winner", 1).await;
    joined(&world, 1).await;
    world.probe.open("held winner");
    let dropped = || {
        let run = run_of(&engine, "parent").expect("there");
        super::support::events(&engine, run).len()
    };
    // The drop is in the log with the winner's completion.
    guard(async {
        while dropped() < 6 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    world.probe.open("held child");
    assert_eq!(guard(parent).await.expect("the other call has its child"), [2, 1]);
    replays(&engine, "one of two").await;
}

#[tokio::test]
async fn a_call_that_joined_by_an_id_lets_the_run_go_when_it_is_dropped() {
    let world = World::default()
        .with("first", || async { program(label("child")).id("shared").await })
        .with("second", || async {
            relive::select! {
                child = program(label("child")).id("shared") => child,
                winner = step(label("held winner")) => Ok(vec![winner?]),
            }
        })
        .with("child", || async { Ok(vec![do_step("held").await?]) });
    let engine = world.open().await;
    let first = engine.start(program(label("first"))).await.expect("starts");
    world.probe.begun("held", 1).await;
    let second = engine.start(program(label("second"))).await.expect("starts");
    world.probe.begun("held winner", 1).await;
    joined(&world, 2).await;
    assert_eq!(guard(first.cancel()).await.expect("cancelled"), Cancellation::Cancelled);
    world.probe.open("held winner");
    assert_eq!(guard(second).await.expect("succeeds"), [1]);
    assert_eq!(ends(&engine, "child").await, Some(RunState::Cancelled), "nobody waits for it any more");
    replays(&engine, "by an id").await;
}

#[tokio::test]
async fn a_timeout_around_a_child_cancels_it() {
    let world = World::default()
        .with("parent", || async {
            match relive::timeout(Duration::from_millis(1), program(label("child"))).await {
                Ok(child) => child,
                Err(_) => Ok(vec![do_step("late").await?]),
            }
        })
        .with("child", || async { Ok(vec![do_step("held").await?]) });
    let engine = world.open().await;
    let run = engine.start(program(label("parent"))).await.expect("starts").id();
    assert_eq!(guard(handle(&engine, run)).await.expect("succeeds"), [1]);
    assert!(matches!(ends(&engine, "child").await, None | Some(RunState::Cancelled)));
    replays(&engine, "a timeout").await;
}

#[tokio::test]
async fn a_run_that_a_user_joined_goes_on_after_a_crash_though_the_parent_that_began_it_is_gone() {
    let world = World::default()
        .with("parent", || async { program(label("child")).await })
        .with("child", || async { Ok(vec![do_step("held").await?]) });
    let engine = world.open().await;
    let parent = engine.start(program(label("parent"))).await.expect("starts");
    world.probe.begun("held", 1).await;
    let users = engine.start(program(label("child"))).await.expect("joins");
    assert_eq!(guard(parent.cancel()).await.expect("cancelled"), Cancellation::Cancelled);
    let after = world.crashed();
    let engine = after.open().await;
    after.probe.open("held");
    assert_eq!(guard(handle(&engine, users.id())).await.expect("it goes on"), [1]);
}

#[tokio::test]
async fn cancelling_a_queued_parent_cancels_the_child_that_it_began_before_a_crash() {
    let world = World::default()
        .with("parent", || async { program(label("child")).await })
        .with("child", || async { Ok(vec![do_step("held child").await?]) })
        .with("busy", || async { Ok(vec![do_step("held busy").await?]) });
    let engine = world.open().await;
    let parent = engine.start(program(label("parent"))).await.expect("starts").id();
    world.probe.begun("held child", 1).await;
    let after = world.crashed();
    // The first to be taken up has the only turn: the child waits for its own, as its parent does for the child.
    let engine = after.open_with(|builder| builder.runs_max(1)).await;
    assert_eq!(guard(engine.cancel(parent)).await.expect("cancelled"), Cancellation::Cancelled);
    assert_eq!(ends(&engine, "child").await, Some(RunState::Cancelled));
    replays(&engine, "queued").await;
}
