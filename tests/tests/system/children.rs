//! Tasks awaited in tasks: runs of their own, found again after any crash.

use futures::future::{join_all, try_join_all};
use relive::{Cancellation, Cause, Error, ErrorKind, Event, RunState, TaskOutcome, TypedError, task, trace};
use relive_engine::index::IDS;
use serde::{Deserialize, Serialize};

use super::attempts_kit::{
    World, begun, checked, do_step, handle, label, program, record, replays, run_of, runs_of, settled, state, step,
    uncached,
};
use super::support::{Probe, events, guard, rows};

/// A parent that does a step, calls a child of two steps, and does another.
fn family() -> World {
    World::default()
        .with("parent", || async {
            let before = do_step("before").await?;
            let child = program(label("child")).await?;
            let after = do_step("after").await?;
            Ok([vec![before], child, vec![after]].concat())
        })
        .with("child", || async { Ok(vec![do_step("child1").await?, do_step("child2").await?]) })
}

#[tokio::test]
async fn a_child_is_a_run_of_its_own_and_its_result_stands_in_the_parents_log() {
    let world = family();
    let engine = world.open().await;
    let parent = engine.start(program(label("parent"))).await.expect("starts");
    let run = parent.id();
    assert_eq!(guard(parent).await.expect("succeeds"), [1, 1, 1, 1]);
    let child = run_of(&engine, "child").expect("it has a log");
    let log = events(&engine, run);
    let started = log.iter().find_map(|event| match event {
        Event::TraceStarted(started) if started.child.is_some() => Some(started.clone()),
        _ => None,
    });
    let started = started.expect("the call is in the log");
    assert_eq!(started.child, Some(child));
    assert_eq!(started.name, "kit.task");
    let Some(Event::TaskStarted(first)) = events(&engine, child).into_iter().next() else { panic!("no beginning") };
    assert_eq!(first.parent.map(|parent| (parent.run, parent.attempt)), Some((run, 1)));
    assert_eq!(record(&engine, child).parent, Some(run));
    assert_eq!(record(&engine, child).state, RunState::Completed);
    // Cached for whoever calls it next, in a task or from outside.
    assert_eq!(engine.run(program(label("child"))).await.expect("cached"), [1, 1]);
    assert_eq!(begun(&world), ["before", "child1", "child2", "after"]);
    replays(&engine, "a family").await;
}

#[tokio::test]
async fn a_replay_of_the_parent_asks_neither_the_cache_nor_the_child() {
    let world = family();
    let engine = world.open().await;
    let run = engine.start(program(label("parent"))).await.expect("starts");
    let run = {
        let id = run.id();
        guard(run).await.expect("succeeds");
        id
    };
    // Neither the child's code nor its cached result is there any more.
    let edited = world.crashed().with("child", || async { Err(Error::msg("the child was asked")) });
    let engine = edited.open().await;
    engine.cache().evict_all().await.expect("evicted");
    let replayed = guard(engine.replay(run)).await.expect("fits").expect("ended");
    assert!(matches!(replayed, TaskOutcome::Ok(_)), "{replayed:?}");
    assert_eq!(begun(&edited), Vec::<String>::new());
}

#[tokio::test]
async fn after_a_crash_at_any_commit_the_child_is_one_run_and_no_completed_step_is_repeated() {
    let world = family();
    let copies = world
        .every_commit(async |engine| {
            engine.run(program(label("parent"))).await.expect("succeeds");
        })
        .await;
    assert!(copies.len() >= 8, "{}", copies.len());
    for (number, before) in copies.iter().enumerate() {
        let what = format!("cut {number}");
        let after = family().on(before.copy());
        let engine = after.open().await;
        settled(&engine).await;
        let Some(run) = run_of(&engine, "parent") else { continue };
        assert_eq!(state(&engine, run), RunState::Completed, "{what}");
        assert_eq!(runs_of(&engine, "child").len(), 1, "{what}");
        checked(&engine, &after, before, &what).await;
    }
}

#[tokio::test]
async fn a_childs_failure_is_the_parents_error() {
    let world = World::default()
        .with("parent", || async {
            let error = program(label("child")).await.expect_err("the child fails");
            assert_eq!(error.kind(), ErrorKind::Failed);
            assert!(error.to_string().contains("child1 failed"), "{error}");
            Ok(vec![do_step("fallback").await?])
        })
        .with("child", || async { Ok(vec![do_step("child1").await?]) });
    world.failing.add("child1");
    let engine = world.open().await;
    assert_eq!(guard(engine.run(program(label("parent")))).await.expect("it has caught it"), [1]);
    let child = run_of(&engine, "child").expect("there");
    assert_eq!(state(&engine, child), RunState::Failed);
    replays(&engine, "a caught failure").await;
    // Not cached: neither the child's failure nor what followed from it.
    assert_eq!(engine.cache().list().count(), 0);
}

#[derive(Debug, Serialize, Deserialize, TypedError)]
enum OrderError {
    SoldOut {
        left: u32,
    },
    #[relive(engine)]
    Engine(Error),
}

impl std::fmt::Display for OrderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SoldOut { left } => write!(f, "{left} left"),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OrderError {}

#[task(name = "children.order")]
async fn order(left: u32) -> Result<u32, OrderError> {
    Err(OrderError::SoldOut { left })
}

#[task(name = "children.orders")]
async fn orders(left: u32) -> relive::Result<u32> {
    match order(left).await {
        Err(OrderError::SoldOut { left }) => Ok(left + do_step("sold out").await? as u32),
        other => Err(Error::msg(format!("{other:?}"))),
    }
}

#[task(name = "children.panics")]
async fn panics() -> relive::Result<u32> {
    panic!("at the disco")
}

#[task(name = "children.calls_what_panics")]
async fn calls_what_panics() -> relive::Result<String> {
    let error = panics().await.expect_err("it panics");
    assert_eq!(error.kind(), ErrorKind::Panicked);
    Ok(error.to_string())
}

#[tokio::test]
async fn a_childs_typed_error_keeps_its_value() {
    let world = World::default();
    let engine = world.open().await;
    assert_eq!(guard(engine.run(orders(7))).await.expect("the error is typed"), 8);
    replays(&engine, "typed").await;
}

#[tokio::test]
async fn a_childs_panic_is_an_error_of_the_parents() {
    let engine = World::default().open().await;
    let message = guard(engine.run(calls_what_panics())).await.expect("it is caught");
    assert!(message.contains("at the disco"), "{message}");
    replays(&engine, "a panic").await;
}

#[tokio::test]
async fn many_children_run_side_by_side() {
    let mut world = World::default().with("parent", || async {
        let children = try_join_all((0..20).map(|number| program(format!("child{number}")))).await?;
        Ok(children.concat())
    });
    for number in 0..20 {
        world = world.with(&format!("child{number}"), move || async move {
            Ok(vec![do_step(&format!("held{number}")).await? + number])
        });
    }
    let engine = world.open().await;
    let parent = engine.start(program(label("parent"))).await.expect("starts");
    for number in (0..20).rev() {
        world.probe.begun(&format!("held{number}"), 1).await;
    }
    for number in (0..20).rev() {
        world.probe.open(&format!("held{number}"));
    }
    assert_eq!(guard(parent).await.expect("succeeds"), (1..=20).collect::<Vec<_>>());
    assert_eq!(engine.runs().count(), 21);
    replays(&engine, "many children").await;
}

#[tokio::test]
async fn equal_children_of_one_parent_are_one_run() {
    let world = World::default()
        .with("parent", || async {
            Ok(join_all((0..3).map(|_| program(label("child")))).await.into_iter().flatten().flatten().collect())
        })
        .with("child", || async { Ok(vec![do_step("child").await?]) });
    let engine = world.open().await;
    assert_eq!(guard(engine.run(program(label("parent")))).await.expect("succeeds"), [1, 1, 1]);
    assert_eq!(world.probe.count("child"), 1);
    replays(&engine, "equal children").await;
}

#[tokio::test]
async fn a_child_joins_an_equal_run_of_the_users_and_finds_it_again_after_a_crash() {
    let world = World::default()
        .with("parent", || async { program(label("child")).await })
        .with("child", || async { Ok(vec![do_step("held").await?]) });
    let engine = world.open().await;
    let users = engine.start(program(label("child"))).await.expect("starts");
    world.probe.begun("held", 1).await;
    let parent = engine.start(program(label("parent"))).await.expect("starts");
    joined(&world, 1).await;
    let crashed = world.crashed();
    world.probe.open("held");
    assert_eq!(guard(users).await.expect("succeeds"), [1]);
    assert_eq!(guard(parent).await.expect("succeeds"), [1]);
    assert_eq!(world.probe.count("held"), 1);
    assert_eq!(runs_of(&engine, "child").len(), 1);
    let engine = crashed.open().await;
    crashed.probe.open("held");
    settled(&engine).await;
    assert_eq!(crashed.probe.count("held"), 1);
    assert_eq!(runs_of(&engine, "child").len(), 1);
    replays(&engine, "joined").await;
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
async fn a_child_whose_result_is_cached_does_not_run() {
    let world = family();
    let engine = world.open().await;
    engine.run(program(label("child"))).await.expect("succeeds");
    assert_eq!(guard(engine.run(program(label("parent")))).await.expect("succeeds"), [1, 1, 1, 1]);
    assert_eq!(begun(&world), ["child1", "child2", "before", "after"]);
    let causes = runs_of(&engine, "child").into_iter().map(|run| match events(&engine, run).into_iter().next() {
        Some(Event::TaskStarted(started)) => (started.cause, started.parent.is_some()),
        other => panic!("no beginning: {other:?}"),
    });
    let causes: Vec<_> = causes.collect();
    assert_eq!(causes.len(), 2);
    assert!(causes.iter().any(|(cause, is)| matches!(cause, Cause::CachedFrom { .. }) && *is), "{causes:?}");
    replays(&engine, "a cached child").await;
}

#[tokio::test]
async fn a_child_is_cancelled_with_its_parent() {
    let world = World::default()
        .with("parent", || async { program(label("child")).await })
        .with("child", || async { program(label("grandchild")).await })
        .with("grandchild", || async { Ok(vec![do_step("held").await?]) });
    let engine = world.open().await;
    let parent = engine.start(program(label("parent"))).await.expect("starts");
    world.probe.begun("held", 1).await;
    assert_eq!(guard(parent.cancel()).await.expect("cancelled"), Cancellation::Cancelled);
    settled(&engine).await;
    for body in ["parent", "child", "grandchild"] {
        assert_eq!(state(&engine, run_of(&engine, body).expect("there")), RunState::Cancelled, "{body}");
    }
    replays(&engine, "cancelled").await;
}

#[tokio::test]
async fn a_child_that_its_parent_drops_is_cancelled() {
    let world = World::default()
        .with("parent", || async {
            relive::select! {
                child = program(label("child")) => child,
                winner = step(label("held winner")) => Ok(vec![winner?]),
            }
        })
        .with("child", || async { Ok(vec![do_step("held loser").await?]) });
    let engine = world.open().await;
    let parent = engine.start(program(label("parent"))).await.expect("starts");
    world.probe.begun("held loser", 1).await;
    world.probe.begun("held winner", 1).await;
    world.probe.open("held winner");
    assert_eq!(guard(parent).await.expect("succeeds"), [1]);
    settled(&engine).await;
    assert_eq!(state(&engine, run_of(&engine, "child").expect("there")), RunState::Cancelled);
    replays(&engine, "dropped").await;
}

#[tokio::test]
async fn a_parents_failure_ends_its_children() {
    let world = World::default()
        .with("parent", || async {
            futures::try_join!(program(label("child")), step(label("held fails")))?;
            Ok(vec![])
        })
        .with("child", || async { Ok(vec![do_step("held child").await?]) });
    world.failing.add("held fails");
    let engine = world.open().await;
    let parent = engine.start(program(label("parent"))).await.expect("starts");
    world.probe.begun("held child", 1).await;
    world.probe.open("held fails");
    guard(parent).await.expect_err("it fails");
    settled(&engine).await;
    assert_eq!(state(&engine, run_of(&engine, "child").expect("there")), RunState::Cancelled);
    replays(&engine, "a failed parent").await;
}

#[tokio::test]
async fn a_child_that_somebody_else_waits_for_goes_on_without_its_parent() {
    for other in ["a user", "another parent"] {
        let world = World::default()
            .with("parent", || async { program(label("child")).await })
            .with("other", || async { program(label("child")).await })
            .with("child", || async { Ok(vec![do_step("held").await?]) });
        let engine = world.open().await;
        let parent = engine.start(program(label("parent"))).await.expect("starts");
        world.probe.begun("held", 1).await;
        let other = match other {
            "a user" => engine.start(program(label("child"))).await.expect("joins"),
            _ => {
                let other = engine.start(program(label("other"))).await.expect("starts");
                joined(&world, 1).await;
                other
            }
        };
        assert_eq!(guard(parent.cancel()).await.expect("cancelled"), Cancellation::Cancelled);
        world.probe.open("held");
        assert_eq!(guard(other).await.expect("the child went on"), [1]);
        replays(&engine, "somebody else").await;
    }
}

#[tokio::test]
async fn a_child_that_waits_for_a_signal_and_its_parent_leave_their_turns_to_others() {
    let world = World::default()
        .with("parent", || async { program(label("child")).await })
        .with("child", || async { Ok(vec![relive::signal::<usize>("go").await?]) })
        .with("other", || async { Ok(vec![do_step("other").await?]) });
    let engine = world.open_with(|builder| builder.runs_max(1)).await;
    let parent = engine.start(program(label("parent"))).await.expect("starts");
    assert_eq!(guard(engine.run(program(label("other")))).await.expect("it has a turn"), [1]);
    let child = guard(async {
        loop {
            match run_of(&engine, "child") {
                Some(child) => break child,
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    engine.signal(child, "go", 5_usize).await.expect("signalled");
    assert_eq!(guard(parent).await.expect("succeeds"), [5]);
    replays(&engine, "signalled").await;
}

#[trace(name = "children.wrong")]
async fn calls_a_task() -> relive::Result<usize> {
    Probe::here()?.begin("outer");
    program(label("child")).await.map(|found| found.len())
}

#[tokio::test]
async fn a_task_in_a_trace_is_refused() {
    let world = World::default()
        .with("parent", || async { Ok(vec![calls_a_task().await?]) })
        .with("child", || async { Ok(vec![do_step("child").await?]) });
    let engine = world.open().await;
    let error = guard(engine.run(program(label("parent")))).await.expect_err("no task in a trace");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("kit.task"), "it is named: {error}");
    assert_eq!(world.probe.count("child"), 0);
    replays(&engine, "refused").await;
}

#[tokio::test]
async fn a_shutdown_in_the_middle_leaves_parent_and_child_to_go_on() {
    let world = World::default()
        .with("parent", || async { Ok([program(label("child")).await?, vec![do_step("after").await?]].concat()) })
        .with("child", || async { Ok(vec![do_step("held").await?, do_step("child2").await?]) });
    let engine = world.open().await;
    let parent = engine.start(program(label("parent"))).await.expect("starts");
    let run = parent.id();
    world.probe.begun("held", 1).await;
    let shutdown = tokio::spawn({
        let engine = engine.clone();
        async move { engine.shutdown().await }
    });
    world.probe.open("held");
    guard(shutdown).await.expect("no panic").expect("shuts down");
    assert_eq!(guard(parent).await.expect_err("closed").kind(), ErrorKind::Closed);
    let again = world.crashed();
    let engine = again.open().await;
    guard(handle(&engine, run)).await.expect("it went on");
    assert_eq!(runs_of(&engine, "child").len(), 1);
    assert_eq!(begun(&again), ["child2", "after"], "the held one was recorded");
    replays(&engine, "a shutdown").await;
}

#[tokio::test]
async fn a_child_with_an_id_is_that_ids_run() {
    let world = World::default()
        .with("parent", || async { program(label("child")).id("mine").await })
        .with("child", || async { Ok(vec![do_step("held").await?]) });
    let engine = world.open().await;
    let parent = engine.start(program(label("parent"))).await.expect("starts");
    world.probe.begun("held", 1).await;
    let crashed = world.crashed();
    world.probe.open("held");
    assert_eq!(guard(parent).await.expect("succeeds"), [1]);
    let child = run_of(&engine, "child").expect("there");
    assert_eq!(record(&engine, child).id.as_deref(), Some("mine"));
    let same = engine.start(program(label("child")).id("mine")).await.expect("known");
    assert_eq!(same.id(), child);
    let error = engine.start(program(label("parent")).id("mine")).await.expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::IdTaken);
    let engine = crashed.open().await;
    crashed.probe.open("held");
    settled(&engine).await;
    assert_eq!(runs_of(&engine, "child").len(), 1);
    replays(&engine, "an id").await;
}

#[tokio::test]
async fn a_child_whose_id_belongs_to_another_call_is_the_parents_error() {
    let world = World::default()
        .with("parent", || async {
            let error = program(label("child")).id("taken").await.expect_err("the id is another's");
            assert_eq!(error.kind(), ErrorKind::IdTaken);
            Ok(vec![do_step("after").await?])
        })
        .with("child", || async { Ok(vec![]) })
        .with("other", || async { Ok(vec![]) });
    let engine = world.open().await;
    engine.run(program(label("other")).id("taken")).await.expect("succeeds");
    assert_eq!(guard(engine.run(program(label("parent")))).await.expect("it is caught"), [1]);
    replays(&engine, "an id of another").await;
}

#[tokio::test]
async fn children_that_are_not_cached_are_a_run_per_call() {
    let world = World::default()
        .with("parent", || async { Ok([uncached(label("child")).await?, uncached(label("child")).await?].concat()) })
        .with("child", || async { Ok(vec![do_step("child").await?]) });
    let copies = world
        .every_commit(async |engine| {
            assert_eq!(engine.run(program(label("parent"))).await.expect("succeeds"), [1, 2]);
            assert_eq!(runs_of(engine, "child").len(), 2);
        })
        .await;
    for (number, before) in copies.iter().enumerate() {
        let after = world.on(before.copy());
        let engine = after.open().await;
        settled(&engine).await;
        if run_of(&engine, "parent").is_some() {
            assert_eq!(runs_of(&engine, "child").len(), 2, "cut {number}");
        }
        replays(&engine, &format!("cut {number}")).await;
    }
}
