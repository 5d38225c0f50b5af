//! A failed run is taken up by a new attempt: what was found is not found again.

use std::future::IntoFuture;

use relive::{Cancellation, Cause, Error, ErrorKind, Event, RunState, RunStatus, TaskOutcome, TraceOutcome, trace};

use super::attempts_kit::{
    World, begun, checked, do_step, handle, label, new_attempt, outcome, program, record, replays, run_of, runs_of,
    settled, state,
};
use super::support::{events, guard, log_rows};

/// Three steps in a row.
fn three() -> World {
    World::default().with("three", || async { Ok(vec![do_step("1").await?, do_step("2").await?, do_step("3").await?]) })
}

/// Three steps of which the third failed.
async fn failed_at_three() -> (World, relive::RunId) {
    let world = three();
    world.failing.add("3");
    let engine = world.open().await;
    let run = engine.start(program(label("three"))).await.expect("starts").id();
    guard(handle(&engine, run)).await.expect_err("it fails");
    engine.shutdown().await.expect("shuts down");
    world.failing.remove("3");
    (world, run)
}

#[tokio::test]
async fn after_a_failure_at_step_3_of_3_only_step_3_runs_again() {
    let world = three();
    world.failing.add("3");
    let engine = world.open().await;
    let run = engine.start(program(label("three"))).await.expect("starts").id();
    guard(handle(&engine, run)).await.expect_err("it fails");
    world.failing.remove("3");
    let resumed = engine.resume(run).await.expect("resumes");
    assert_eq!(resumed.id(), run);
    guard(resumed).await.expect("succeeds");
    assert_eq!(begun(&world), ["1", "2", "3", "3"]);
    assert_eq!(record(&engine, run).attempts, 2);
    assert_eq!(record(&engine, run).state, RunState::Completed);
    assert_eq!(guard(handle(&engine, run)).await.expect("succeeds"), [1, 1, 2]);
    replays(&engine, "resumed").await;
    // A success at last: it is cached.
    assert_eq!(guard(engine.run(program(label("three")))).await.expect("cached"), [1, 1, 2]);
    assert_eq!(begun(&world).len(), 4);
}

#[tokio::test]
async fn only_step_3_runs_again_after_a_restart() {
    let (world, run) = failed_at_three().await;
    let again = world.crashed();
    let engine = again.open().await;
    guard(engine.resume(run).await.expect("resumes")).await.expect("succeeds");
    assert_eq!(begun(&again), ["3"]);
    replays(&engine, "restarted").await;
}

#[tokio::test]
async fn only_the_corrected_step_runs_if_the_code_was_corrected_in_between() {
    let (world, run) = failed_at_three().await;
    let corrected = world
        .crashed()
        .with("three", || async { Ok(vec![do_step("1").await?, do_step("2").await?, do_step("3, corrected").await?]) });
    let engine = corrected.open().await;
    guard(engine.resume(run).await.expect("resumes")).await.expect("succeeds");
    assert_eq!(begun(&corrected), ["3, corrected"]);
    replays_last(&engine, run).await;
}

/// The last attempt replays: earlier ones are of other code.
async fn replays_last(engine: &relive::Engine, run: relive::RunId) {
    assert_eq!(guard(engine.replay(run)).await.expect("fits"), Some(outcome(engine, run)));
}

#[tokio::test]
async fn after_a_crash_at_any_commit_of_an_attempt_it_goes_on_and_repeats_nothing_that_was_found() {
    let (world, run) = failed_at_three().await;
    let resumed = world.crashed();
    let copies = resumed
        .every_commit(async |engine| {
            guard(engine.resume(run).await.expect("resumes")).await.expect("succeeds");
        })
        .await;
    assert!(copies.len() >= 4, "{}", copies.len());
    for (number, before) in copies.iter().enumerate() {
        let what = format!("cut {number}");
        let after = world.on(before.copy());
        let engine = after.open().await;
        settled(&engine).await;
        if state(&engine, run) == RunState::Failed {
            // Cut before the new attempt was on record.
            assert_eq!(record(&engine, run).attempts, 1, "{what}");
        } else {
            assert_eq!(state(&engine, run), RunState::Completed, "{what}");
            assert_eq!(record(&engine, run).attempts, 2, "{what}");
        }
        checked(&engine, &after, before, &what).await;
    }
}

#[tokio::test]
async fn an_attempt_says_in_its_log_what_it_repeats() {
    let (world, run) = failed_at_three().await;
    let engine = world.crashed().open().await;
    guard(engine.resume(run).await.expect("resumes")).await.expect("succeeds");
    let log = events(&engine, run);
    let second = log.iter().rposition(|event| matches!(event, Event::TaskStarted(_))).expect("two attempts");
    let Event::TaskStarted(started) = &log[second] else { panic!("no start") };
    assert_eq!((started.attempt, &started.cause), (2, &Cause::Resumed(relive::Rerun::default())));
    let repeats: Vec<_> = log[second..]
        .iter()
        .filter_map(|event| match event {
            Event::TraceCompleted(completed) => Some(completed.repeats.map(|at| log[at.0 as usize].clone())),
            _ => None,
        })
        .collect();
    assert_eq!(repeats.len(), 3);
    for repeated in &repeats[..2] {
        let Some(Event::TraceCompleted(earlier)) = repeated else { panic!("no outcome is repeated: {repeated:?}") };
        assert!(matches!(earlier.outcome, TraceOutcome::Ok(_)));
    }
    assert_eq!(repeats[2], None, "the third was run");
}

#[tokio::test]
async fn a_cancelled_run_is_resumed() {
    let world = World::default().with("body", || async { Ok(vec![do_step("1").await?, do_step("held").await?]) });
    let engine = world.open().await;
    let run = engine.start(program(label("body"))).await.expect("starts").id();
    world.probe.begun("held", 1).await;
    assert_eq!(guard(engine.cancel(run)).await.expect("cancelled"), Cancellation::Cancelled);
    // Neither an equal call nor a restart revives it.
    let after = world.crashed();
    let engine = after.open().await;
    settled(&engine).await;
    assert_eq!(state(&engine, run), RunState::Cancelled);
    after.probe.open("held");
    assert_eq!(resumed(&engine, run).await, [1, 1]);
    assert_eq!(begun(&after), ["held"]);
    replays(&engine, "cancelled and resumed").await;
}

/// Resumes a run, and gives what it returns, which it must.
async fn resumed(engine: &relive::Engine, run: relive::RunId) -> Vec<usize> {
    engine.resume(run).await.expect("resumes");
    guard(handle(engine, run)).await.expect("succeeds")
}

/// A run that stands where its edited code no longer fits.
async fn diverged() -> (World, relive::RunId) {
    let world = World::default().with("body", || async { Ok(vec![do_step("1").await?, do_step("held").await?]) });
    let engine = world.open().await;
    let run = engine.start(program(label("body"))).await.expect("starts").id();
    world.probe.begun("held", 1).await;
    let edited = world
        .crashed()
        .with("body", || async { Ok(vec![do_step("new").await?, do_step("1").await?, do_step("held").await?]) });
    (edited, run)
}

#[tokio::test]
async fn a_diverged_run_waits_untouched_and_is_resumed_under_the_new_code() {
    let (edited, run) = diverged().await;
    let before = log_rows(&edited.store, run);
    let engine = edited.open().await;
    assert_eq!(guard(handle(&engine, run)).await.expect_err("it waits").kind(), ErrorKind::Diverged);
    assert!(matches!(engine.status(run).expect("known"), RunStatus::Blocked { .. }));
    assert_eq!(log_rows(&edited.store, run), before, "the log is untouched");
    assert_eq!(begun(&edited), Vec::<String>::new());
    edited.probe.open("held");
    assert_eq!(resumed(&engine, run).await, [1, 1, 1]);
    assert_eq!(begun(&edited), ["new", "held"], "step 1 is remembered");
    replays_last(&engine, run).await;
}

#[tokio::test]
async fn a_run_that_diverged_goes_on_by_itself_if_its_task_says_so() {
    let world = World::default().with("body", || async { Ok(vec![do_step("1").await?, do_step("held").await?]) });
    let engine = world.open().await;
    let run = engine.start(new_attempt(label("body"))).await.expect("starts").id();
    world.probe.begun("held", 1).await;
    let edited = world
        .crashed()
        .with("body", || async { Ok(vec![do_step("new").await?, do_step("1").await?, do_step("held").await?]) });
    let copies = edited
        .every_commit(async |engine| {
            edited.probe.open("held");
            assert_eq!(guard(handle(engine, run)).await.expect("goes on"), [1, 1, 1]);
            assert_eq!(begun(&edited), ["new", "held"]);
            assert_eq!(record(engine, run).attempts, 2);
            replays_last(engine, run).await;
        })
        .await;
    for (number, before) in copies.iter().enumerate() {
        let after = edited.on(before.copy());
        after.probe.open("held");
        let engine = after.open().await;
        assert_eq!(guard(handle(&engine, run)).await.expect("goes on").len(), 3, "cut {number}");
        assert_eq!(after.probe.count("1"), 0, "cut {number}");
        replays_last(&engine, run).await;
    }
}

#[tokio::test]
async fn what_cannot_be_resumed_is_an_error_that_says_why() {
    let world = three().with("held", || async { Ok(vec![do_step("held").await?]) });
    let engine = world.open_with(|builder| builder.shutdown_grace(std::time::Duration::ZERO)).await;
    let done = engine.start(program(label("three"))).await.expect("starts").id();
    guard(handle(&engine, done)).await.expect("succeeds");
    assert_eq!(engine.resume(done).await.expect_err("it has completed").kind(), ErrorKind::Ended);
    let under_way = engine.start(program(label("held"))).await.expect("starts").id();
    world.probe.begun("held", 1).await;
    let error = engine.resume(under_way).await.expect_err("it is under way");
    assert!(error.to_string().contains("under way"), "{error}");
    let error = engine.resume(under_way).preview().await.expect_err("it is under way");
    assert!(error.to_string().contains("under way"), "{error}");
    assert_eq!(engine.resume(done).preview().await.expect_err("it has completed").kind(), ErrorKind::Ended);
    let unknown = relive::RunId::from_bytes([9; 16]);
    assert_eq!(engine.resume(unknown).await.expect_err("there is none").kind(), ErrorKind::UnknownRun);
    assert_eq!(engine.resume(unknown).preview().await.expect_err("there is none").kind(), ErrorKind::UnknownRun);
    engine.shutdown().await.ok();
    assert_eq!(engine.resume(done).await.expect_err("closed").kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn of_two_that_resume_at_once_one_wins_and_the_other_is_told() {
    let (world, run) = failed_at_three().await;
    let again = world.crashed();
    let engine = again.open().await;
    let (one, other) = futures::join!(engine.resume(run).into_future(), engine.resume(run).into_future());
    let (won, lost) = match (one, other) {
        (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
        (one, other) => panic!("one wins: {one:?}, {other:?}"),
    };
    assert!(lost.to_string().contains("under way"), "{lost}");
    guard(won).await.expect("succeeds");
    assert_eq!(begun(&again), ["3"]);
    assert_eq!(record(&engine, run).attempts, 2);
}

#[tokio::test]
async fn an_equal_call_starts_afresh_as_only_resume_takes_a_failed_run_up() {
    let (world, run) = failed_at_three().await;
    let again = world.crashed();
    let engine = again.open().await;
    let fresh = engine.start(program(label("three"))).await.expect("starts");
    assert_ne!(fresh.id(), run);
    assert_eq!(guard(fresh).await.expect("succeeds"), [1, 1, 1]);
    assert_eq!(runs_of(&engine, "three").len(), 2);
}

#[tokio::test]
async fn an_equal_call_joins_a_run_that_was_resumed() {
    let world = World::default().with("body", || async { Ok(vec![do_step("1").await?, do_step("held").await?]) });
    world.failing.add("held");
    world.probe.open("held");
    let engine = world.open().await;
    let run = engine.start(program(label("body"))).await.expect("starts").id();
    guard(handle(&engine, run)).await.expect_err("fails");
    world.failing.remove("held");
    let again = world.crashed();
    let engine = again.open().await;
    engine.resume(run).await.expect("resumes");
    again.probe.begun("held", 1).await;
    let joined = engine.start(program(label("body"))).await.expect("joins");
    assert_eq!(joined.id(), run);
    again.probe.open("held");
    assert_eq!(guard(joined).await.expect("succeeds"), [1, 1]);
}

#[tokio::test]
async fn a_failed_child_is_resumed_with_its_parent_and_not_begun_anew() {
    let world = World::default()
        .with("parent", || async { Ok([vec![do_step("before").await?], program(label("child")).await?].concat()) })
        .with("child", || async { Ok(vec![do_step("child1").await?, do_step("child2").await?]) });
    world.failing.add("child2");
    let engine = world.open().await;
    let run = engine.start(program(label("parent"))).await.expect("starts").id();
    guard(handle(&engine, run)).await.expect_err("fails");
    world.failing.remove("child2");
    let again = world.crashed();
    let copies = again
        .every_commit(async |engine| {
            guard(engine.resume(run).await.expect("resumes")).await.expect("succeeds");
            assert_eq!(begun(&again), ["child2"]);
            assert_eq!(runs_of(engine, "child").len(), 1);
            let child = run_of(engine, "child").expect("there");
            assert_eq!(record(engine, child).attempts, 2);
            assert_eq!(record(engine, child).parent, Some(run));
            replays(engine, "a resumed child").await;
        })
        .await;
    for (number, before) in copies.iter().enumerate() {
        let what = format!("cut {number}");
        let after = again.on(before.copy());
        let engine = after.open().await;
        settled(&engine).await;
        assert_eq!(runs_of(&engine, "child").len(), 1, "{what}");
        if record(&engine, run).attempts == 2 {
            assert_eq!(state(&engine, run), RunState::Completed, "{what}");
            assert_eq!(record(&engine, run_of(&engine, "child").expect("there")).attempts, 2, "{what}");
        }
        checked(&engine, &after, before, &what).await;
    }
}

#[tokio::test]
async fn a_joined_child_that_failed_is_resumed_with_whoever_joined_it() {
    let world = World::default()
        .with("parent", || async { program(label("child")).await })
        .with("child", || async { Ok(vec![do_step("child1").await?, do_step("held").await?]) });
    world.failing.add("held");
    let engine = world.open().await;
    let users = engine.start(program(label("child"))).await.expect("starts");
    world.probe.begun("held", 1).await;
    let parent = engine.start(program(label("parent"))).await.expect("starts").id();
    guard(async {
        while super::support::rows(&world.store, relive_engine::index::IDS).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let child = users.id();
    world.probe.open("held");
    guard(users).await.expect_err("fails");
    guard(handle(&engine, parent)).await.expect_err("fails");
    world.failing.remove("held");
    let again = world.crashed();
    again.probe.open("held");
    let engine = again.open().await;
    assert_eq!(resumed(&engine, parent).await, [1, 1]);
    assert_eq!(begun(&again), ["held"]);
    assert_eq!(record(&engine, child).attempts, 2);
    assert_eq!(record(&engine, child).parent, None, "it is the user's, still");
    replays(&engine, "a joined child").await;
}

#[tokio::test]
async fn a_child_that_was_cancelled_with_its_parent_is_resumed_with_it() {
    let world = World::default()
        .with("parent", || async { program(label("child")).await })
        .with("child", || async { Ok(vec![do_step("child1").await?, do_step("held").await?]) });
    let engine = world.open().await;
    let run = engine.start(program(label("parent"))).await.expect("starts").id();
    world.probe.begun("held", 1).await;
    assert_eq!(guard(engine.cancel(run)).await.expect("cancelled"), Cancellation::Cancelled);
    // At once: the child may still be on its way to its end.
    engine.resume(run).await.expect("resumes");
    world.probe.open("held");
    assert_eq!(guard(handle(&engine, run)).await.expect("succeeds"), [1, 2]);
    assert_eq!(runs_of(&engine, "child").len(), 1);
    replays(&engine, "cancelled together").await;
}

#[tokio::test]
async fn a_child_that_completed_is_not_asked_again_by_a_resumed_parent() {
    let world = World::default()
        .with("parent", || async { Ok([program(label("child")).await?, vec![do_step("fails").await?]].concat()) })
        .with("child", || async { Ok(vec![do_step("child").await?]) });
    world.failing.add("fails");
    let engine = world.open().await;
    let run = engine.start(program(label("parent"))).await.expect("starts").id();
    guard(handle(&engine, run)).await.expect_err("fails");
    world.failing.remove("fails");
    let again = world.crashed().with("child", || async { Err(Error::msg("asked again")) });
    let engine = again.open().await;
    engine.cache().evict_all().await.expect("evicted");
    assert_eq!(resumed(&engine, run).await, [1, 1]);
    assert_eq!(begun(&again), ["fails"]);
    replays_last(&engine, run).await;
}

#[trace(name = "resume.keys")]
async fn keyed(label: String) -> relive::Result<String> {
    let found = super::attempts_kit::effect(&label).await;
    KEYS.lock().push((label, relive::idempotency_key()?));
    found.map(|_| String::new())
}

static KEYS: parking_lot::Mutex<Vec<(String, String)>> = parking_lot::Mutex::new(Vec::new());

#[tokio::test]
async fn an_effect_has_the_same_idempotency_key_in_every_attempt() {
    let world = World::default().with("keys", || async {
        keyed(label("keys: other")).await?;
        keyed(label("keys: fails")).await?;
        Ok(vec![])
    });
    world.failing.add("keys: fails");
    let engine = world.open().await;
    let run = engine.start(program(label("keys"))).await.expect("starts").id();
    guard(handle(&engine, run)).await.expect_err("fails");
    guard(engine.resume(run).await.expect("resumes")).await.expect_err("fails again");
    world.failing.remove("keys: fails");
    let again = world.crashed();
    let engine = again.open().await;
    guard(engine.resume(run).await.expect("resumes")).await.expect("succeeds");
    let keys = KEYS.lock().clone();
    let of = |label: &str| keys.iter().filter(|(of, _)| of == label).map(|(_, key)| key.clone()).collect::<Vec<_>>();
    let failed = of("keys: fails");
    assert_eq!(failed.len(), 3);
    assert!(failed.iter().all(|key| *key == failed[0]), "{failed:?}");
    assert_eq!(of("keys: other").len(), 1);
    assert_ne!(of("keys: other")[0], failed[0]);
    replays(&engine, "keys").await;
}

#[tokio::test]
async fn a_resumed_run_is_cancelled_and_resumed_again() {
    let (world, run) = failed_at_three().await;
    let held = world.crashed().with("three", || async {
        Ok(vec![do_step("1").await?, do_step("2").await?, do_step("held").await?, do_step("3").await?])
    });
    let engine = held.open().await;
    engine.resume(run).await.expect("resumes");
    held.probe.begun("held", 1).await;
    assert_eq!(guard(engine.cancel(run)).await.expect("cancelled"), Cancellation::Cancelled);
    held.probe.open("held");
    assert_eq!(resumed(&engine, run).await, [1, 1, 2, 1]);
    assert_eq!(begun(&held), ["held", "held", "3"]);
    assert_eq!(record(&engine, run).attempts, 3);
    assert!(matches!(outcome(&engine, run), TaskOutcome::Ok(_)));
    replays_last(&engine, run).await;
}
