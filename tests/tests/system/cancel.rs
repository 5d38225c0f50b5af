//! A run is cancelled wherever it stands, and only `resume` revives it.

use futures::StreamExt;
use relive::{Cancellation, Error, ErrorKind, Event, RunId, RunState, RunStatus, task, trace};

use super::attempts_kit::{
    World, begun, completed_labels, do_step, effect, handle, label, program, record, replays, settled, state, step,
};
use super::support::{events, guard};

#[trace(name = "cancel.outer")]
async fn outer() -> relive::Result<usize> {
    Ok(do_step("held 1").await? + effect("held 2").await?)
}

#[trace(name = "cancel.items")]
fn items() -> impl futures::Stream<Item = relive::Result<usize>> + Send {
    futures::stream::iter(["held 3", "held 4"]).then(effect)
}

#[trace(name = "cancel.once", at_most_once)]
async fn once() -> relive::Result<usize> {
    effect("held 6").await
}

/// A trace, one in a trace, a stream, a child, one that is not to be repeated, two at once: waiting at eight gates.
fn many_kinds() -> World {
    World::default()
        .with("body", || async {
            let mut found = vec![do_step("held 0").await?, outer().await?];
            let stream = items();
            futures::pin_mut!(stream);
            while let Some(item) = stream.next().await {
                found.push(item?);
            }
            found.extend(program(label("child")).await?);
            found.push(match once().await {
                Err(error) if error.kind() == ErrorKind::Interrupted => 1,
                found => found?,
            });
            let (_, last) = futures::try_join!(step(label("beside")), step(label("held 7")))?;
            found.push(last);
            Ok(found)
        })
        .with("child", || async { Ok(vec![do_step("held 5").await?]) })
}

const GATES: usize = 8;

#[tokio::test]
async fn a_run_that_is_cancelled_at_any_await_is_resumed_from_there() {
    for stop in 0..GATES {
        let what = format!("cancelled at gate {stop}");
        let world = many_kinds();
        let engine = world.open().await;
        let run = engine.start(program(label("body"))).await.expect("starts").id();
        for gate in 0..stop {
            world.probe.open(&format!("held {gate}"));
        }
        world.probe.begun(&format!("held {stop}"), 1).await;
        assert_eq!(guard(engine.cancel(run)).await.expect("replies"), Cancellation::Cancelled, "{what}");
        assert_eq!(state(&engine, run), RunState::Cancelled, "{what}");
        assert_eq!(guard(handle(&engine, run)).await.expect_err("cancelled").kind(), ErrorKind::Cancelled, "{what}");
        settled(&engine).await;
        replays(&engine, &what).await;
        // A restart does not revive it.
        let again = world.crashed();
        (0..GATES).for_each(|gate| again.probe.open(&format!("held {gate}")));
        let engine = again.open().await;
        settled(&engine).await;
        assert_eq!(begun(&again), Vec::<String>::new(), "{what}");
        engine.resume(run).await.expect("resumes");
        let found = guard(handle(&engine, run)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(found, [1, 2, 1, 1, 1, 1, 1], "{what}");
        let completed = completed_labels(&world.store);
        for label in begun(&again) {
            assert!(!completed.contains(&label), "{what}: {label} was completed");
        }
        replays(&engine, &what).await;
    }
}

#[tokio::test]
async fn a_run_that_is_cancelled_after_a_crash_at_any_commit_ends_and_is_resumed() {
    let world = many_kinds();
    (0..GATES).for_each(|gate| world.probe.open(&format!("held {gate}")));
    let copies = world
        .every_commit(async |engine| {
            guard(engine.run(program(label("body")))).await.expect("succeeds");
        })
        .await;
    for (number, before) in copies.iter().enumerate() {
        let what = format!("cut {number}");
        let after = many_kinds().on(before.copy());
        let engine = after.open().await;
        let Some(run) = super::attempts_kit::run_of(&engine, "body") else { continue };
        if state(&engine, run) != RunState::Unfinished {
            continue;
        }
        assert_eq!(guard(engine.cancel(run)).await.expect("replies"), Cancellation::Cancelled, "{what}");
        (0..GATES).for_each(|gate| after.probe.open(&format!("held {gate}")));
        settled(&engine).await;
        replays(&engine, &what).await;
        engine.resume(run).await.expect("resumes");
        let found = guard(handle(&engine, run)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(found.len(), 7, "{what}");
        let completed = completed_labels(before);
        assert!(begun(&after).iter().all(|label| !completed.contains(label)), "{what}");
        replays(&engine, &what).await;
    }
}

#[tokio::test]
async fn the_reply_says_whether_the_cancellation_or_the_end_came_first() {
    let mut replies = Vec::new();
    for turns in 0..40 {
        let world = World::default().with("body", || async { Ok(vec![do_step("held").await?]) });
        let engine = world.open().await;
        let run = engine.start(program(label("body"))).await.expect("starts").id();
        world.probe.begun("held", 1).await;
        world.probe.open("held");
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        let reply = guard(engine.cancel(run)).await.expect("replies");
        let expected = match reply {
            Cancellation::Cancelled => RunState::Cancelled,
            Cancellation::AlreadyEnded => RunState::Completed,
        };
        assert_eq!(state(&engine, run), expected);
        assert_eq!(guard(handle(&engine, run)).await.is_ok(), reply == Cancellation::AlreadyEnded);
        let reply_again = guard(engine.cancel(run)).await.expect("replies");
        assert_eq!(reply_again, Cancellation::AlreadyEnded, "it has ended by now");
        replays(&engine, "a race").await;
        replies.push(reply);
    }
    assert_eq!(replies[0], Cancellation::Cancelled);
}

#[tokio::test]
async fn a_queued_run_is_cancelled_before_it_has_begun() {
    let world = World::default()
        .with("busy", || async { Ok(vec![do_step("held").await?]) })
        .with("body", || async { Ok(vec![do_step("1").await?]) });
    let engine = world.open_with(|builder| builder.runs_max(1)).await;
    let busy = engine.start(program(label("busy"))).await.expect("starts");
    world.probe.begun("held", 1).await;
    let run = engine.start(program(label("body"))).await.expect("starts").id();
    assert_eq!(engine.status(run).expect("known"), RunStatus::Queued);
    assert_eq!(guard(engine.cancel(run)).await.expect("replies"), Cancellation::Cancelled);
    world.probe.open("held");
    guard(busy).await.expect("succeeds");
    assert_eq!(world.probe.count("1"), 0);
    replays(&engine, "queued").await;
    engine.resume(run).await.expect("resumes");
    assert_eq!(guard(handle(&engine, run)).await.expect("succeeds"), [1]);
    replays(&engine, "queued").await;
}

#[tokio::test]
async fn a_run_that_waits_for_other_code_is_cancelled_and_resumed_under_it() {
    let world = World::default().with("body", || async { Ok(vec![do_step("held").await?]) });
    let engine = world.open().await;
    let run = engine.start(program(label("body"))).await.expect("starts").id();
    world.probe.begun("held", 1).await;
    let edited = world.crashed().with("body", || async { Ok(vec![do_step("other").await?]) });
    let engine = edited.open().await;
    assert_eq!(guard(handle(&engine, run)).await.expect_err("waits").kind(), ErrorKind::Diverged);
    assert_eq!(guard(engine.cancel(run)).await.expect("replies"), Cancellation::Cancelled);
    assert_eq!(state(&engine, run), RunState::Cancelled);
    engine.resume(run).await.expect("resumes");
    assert_eq!(guard(handle(&engine, run)).await.expect("succeeds"), [1]);
    assert_eq!(begun(&edited), ["other"]);
}

#[task(name = "cancel.retrying", retries = 1, backoff = "1h")]
async fn retrying(text: String) -> relive::Result<Vec<usize>> {
    Ok(vec![do_step("1").await?, do_step(&text).await?])
}

/// A run whose first attempt failed and whose second is due in an hour.
async fn waiting_for_its_retry() -> (World, RunId) {
    let world = World::default();
    world.failing.add("fails");
    let engine = world.open().await;
    let run = engine.start(retrying(label("fails"))).await.expect("starts").id();
    guard(async {
        while !matches!(events(&engine, run).last(), Some(Event::TaskCompleted(_))) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.failing.remove("fails");
    (world, run)
}

#[tokio::test]
async fn a_run_that_waits_for_its_next_attempt_is_cancelled_also_after_a_restart() {
    for restarted in [false, true] {
        let (world, run) = waiting_for_its_retry().await;
        let world = if restarted { world.crashed() } else { world.on(world.store.copy()) };
        let engine = world.open().await;
        assert_eq!(guard(engine.cancel(run)).await.expect("replies"), Cancellation::Cancelled);
        assert_eq!(state(&engine, run), RunState::Cancelled);
        let again = world.crashed();
        let engine = again.open().await;
        settled(&engine).await;
        assert_eq!(begun(&again), Vec::<String>::new());
        engine.resume(run).await.expect("resumes");
        assert_eq!(guard(handle(&engine, run)).await.expect("succeeds"), [1, 1]);
        assert_eq!(begun(&again), ["fails"]);
        assert_eq!(record(&engine, run).attempts, 2);
        replays(&engine, "retrying").await;
    }
}

#[tokio::test]
async fn a_run_that_waits_for_its_next_attempt_is_cancelled_in_the_same_life() {
    let world = World::default();
    world.failing.add("fails");
    let engine = world.open().await;
    let run = engine.start(retrying(label("fails"))).await.expect("starts").id();
    guard(async {
        while !matches!(events(&engine, run).last(), Some(Event::TaskCompleted(_))) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(guard(engine.cancel(run)).await.expect("replies"), Cancellation::Cancelled);
    assert_eq!(state(&engine, run), RunState::Cancelled);
    replays(&engine, "retrying").await;
}

#[tokio::test]
async fn what_is_not_there_or_closed_cannot_be_cancelled() {
    let engine = World::default().open().await;
    let unknown = RunId::from_bytes([8; 16]);
    assert_eq!(engine.cancel(unknown).await.expect_err("unknown").kind(), ErrorKind::UnknownRun);
    engine.shutdown().await.expect("shuts down");
    let closed: Error = engine.cancel(unknown).await.expect_err("closed");
    assert_eq!(closed.kind(), ErrorKind::Closed);
}
