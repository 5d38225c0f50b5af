//! Tasks that call themselves, and runs that would wait for each other.

use relive::{Error, ErrorKind};

use super::attempts_kit::{World, do_step, label, program, replays};
use super::support::guard;

#[tokio::test]
async fn a_task_that_calls_itself_fifty_deep_ends_also_if_one_run_may_be_under_way() {
    let mut world = World::default().with("0", || async { Ok(vec![do_step("0").await?]) });
    for depth in 1..50 {
        world = world.with(&depth.to_string(), move || async move {
            let below = program((depth - 1).to_string()).await?;
            Ok(vec![below[0] + do_step(&depth.to_string()).await?])
        });
    }
    let engine = world.open_with(|builder| builder.runs_max(1)).await;
    assert_eq!(guard(engine.run(program(label("49")))).await.expect("no deadlock"), [50]);
    assert_eq!(engine.runs().count(), 50);
    replays(&engine, "deep").await;
}

#[tokio::test]
async fn deep_recursion_is_taken_up_where_one_run_may_be_under_way() {
    let mut world = World::default().with("0", || async { Ok(vec![do_step("held").await?]) });
    for depth in 1..20 {
        world = world.with(&depth.to_string(), move || async move {
            let below = program((depth - 1).to_string()).await?;
            Ok(vec![below[0] + do_step(&depth.to_string()).await?])
        });
    }
    let engine = world.open_with(|builder| builder.runs_max(1)).await;
    engine.start(program(label("19"))).await.expect("starts");
    world.probe.begun("held", 1).await;
    let crashed = world.crashed();
    let engine = crashed.open_with(|builder| builder.runs_max(1)).await;
    crashed.probe.open("held");
    assert_eq!(guard(engine.run(program(label("19")))).await.expect("no deadlock"), [20]);
    assert_eq!(engine.runs().count(), 20);
    replays(&engine, "deep, taken up").await;
}

#[tokio::test]
async fn a_join_that_closes_a_circle_is_an_error() {
    let world = World::default().with("a", || async { program(label("b")).await }).with("b", || async {
        match program(label("a")).await {
            Err(error) if error.kind() == ErrorKind::Cycle => Ok(vec![do_step("found out").await?]),
            other => Err(Error::msg(format!("no circle: {other:?}"))),
        }
    });
    let engine = world.open().await;
    assert_eq!(guard(engine.run(program(label("a")))).await.expect("the circle is found out"), [1]);
    replays(&engine, "a circle").await;
}

#[tokio::test]
async fn a_task_that_awaits_itself_is_an_error() {
    let world = World::default().with("a", || async { program(label("a")).await });
    let engine = world.open().await;
    let error = guard(engine.run(program(label("a")))).await.expect_err("a circle");
    assert_eq!(error.kind(), ErrorKind::Cycle);
    replays(&engine, "a circle of one").await;
}

#[tokio::test]
async fn two_runs_that_join_each_other_at_the_same_time_both_end() {
    let world = World::default()
        .with("a", || async {
            do_step("held a").await?;
            program(label("b")).await
        })
        .with("b", || async {
            do_step("held b").await?;
            program(label("a")).await
        });
    let engine = world.open().await;
    let a = engine.start(program(label("a"))).await.expect("starts");
    let b = engine.start(program(label("b"))).await.expect("starts");
    world.probe.begun("held a", 1).await;
    world.probe.begun("held b", 1).await;
    world.probe.open("held a");
    world.probe.open("held b");
    let (a, b) = guard(async { (a.await, b.await) }).await;
    for error in [a.expect_err("a circle"), b.expect_err("a circle")] {
        assert_eq!(error.kind(), ErrorKind::Cycle, "{error}");
    }
    replays(&engine, "crosswise").await;
}

#[tokio::test]
async fn runs_that_were_told_of_a_circle_are_taken_up_and_end() {
    for through_another in [false, true] {
        let found_out = || async {
            let error = program(label("a")).await.expect_err("a circle");
            assert_eq!(error.kind(), ErrorKind::Cycle, "{error}");
            Ok(vec![do_step("held").await?])
        };
        let world = World::default()
            .with("top", || async { program(label("a")).await })
            .with("a", move || async move {
                if through_another {
                    return program(label("b")).await;
                }
                found_out().await
            })
            .with("b", found_out);
        let engine = world.open().await;
        engine.start(program(label("top"))).await.expect("starts");
        world.probe.begun("held", 1).await;
        let crashed = world.crashed();
        let engine = crashed.open().await;
        crashed.probe.open("held");
        assert_eq!(guard(engine.run(program(label("top")))).await.expect("nobody waits for itself"), [1]);
        replays(&engine, "a circle, taken up").await;
    }
}
