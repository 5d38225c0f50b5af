//! What a new attempt repeats of earlier ones, and what it finds anew: failures, races, streams, plain functions, time.

use std::time::Duration;

use futures::StreamExt;
use relive::{Error, ErrorKind, Event, RunId, trace};

use super::attempts_kit::{
    World, begun, do_step, effect, handle, label, program, record, replays, settled, state, step,
};
use super::support::{Probe, events, guard};

/// Runs a body to its failure at `fails`; gives the world as it is then, with nothing seen and nothing failing.
async fn failed(world: World, body: &str) -> (World, RunId) {
    world.failing.add("fails");
    let engine = world.open().await;
    let run = engine.start(program(label(body))).await.expect("starts").id();
    guard(handle(&engine, run)).await.expect_err("it fails");
    engine.shutdown().await.expect("shuts down");
    world.failing.remove("fails");
    (world.crashed(), run)
}

/// Resumes it, checks that every attempt can be replayed, and gives what it returns.
async fn resumed(world: &World, run: RunId) -> Vec<usize> {
    let engine = world.open().await;
    engine.resume(run).await.expect("resumes");
    let found = guard(handle(&engine, run)).await.expect("succeeds");
    assert_eq!(record(&engine, run).attempts, 2);
    replays(&engine, "resumed").await;
    // A crash anywhere in the attempt, and it is taken up to the same end.
    engine.shutdown().await.expect("shuts down");
    found
}

#[tokio::test]
async fn a_caught_failure_runs_again_and_may_lead_elsewhere() {
    let world = World::default().with("body", || async {
        let found = match do_step("a").await {
            Ok(found) => found,
            Err(_) => do_step("b").await?,
        };
        Ok(vec![found, do_step("fails").await?])
    });
    world.failing.add("a");
    let (again, run) = failed(world, "body").await;
    // Still failing: the way is the same, and what was found on it is not found again.
    assert_eq!(resumed(&again, run).await, [1, 1]);
    assert_eq!(begun(&again), ["a", "fails"]);
}

#[tokio::test]
async fn a_caught_failure_that_is_over_is_a_success_in_the_next_attempt() {
    let world = World::default().with("body", || async {
        let found = match do_step("a").await {
            Ok(found) => found,
            Err(_) => do_step("b").await? + 10,
        };
        Ok(vec![found, do_step("fails").await?])
    });
    world.failing.add("a");
    let (again, run) = failed(world, "body").await;
    again.failing.remove("a");
    assert_eq!(resumed(&again, run).await, [1, 1]);
    assert_eq!(begun(&again), ["a", "fails"], "the way over b is not taken");
}

#[tokio::test]
async fn a_failure_that_the_body_has_overcome_by_another_call_is_repeated_and_neither_runs() {
    let world = World::default().with("body", || async {
        let mut tries = 0;
        while do_step("charge").await.is_err() {
            tries += 1;
            relive::provided::<super::attempts_kit::Failing>()?.remove("charge");
        }
        Ok(vec![tries, do_step("fails").await?])
    });
    world.failing.add("charge");
    let (again, run) = failed(world, "body").await;
    assert_eq!(resumed(&again, run).await, [1, 1]);
    assert_eq!(begun(&again), ["fails"], "charged twice otherwise");
}

#[trace(name = "memo.refuses")]
async fn refuses(label: String) -> relive::Result<usize> {
    Probe::here()?.begin(&label);
    Err(Error::msg("declined").terminal())
}

#[tokio::test]
async fn a_terminal_failure_is_a_decision_and_is_repeated() {
    let world = World::default().with("body", || async {
        let declined = refuses(label("card")).await.expect_err("declined");
        assert!(declined.is_terminal());
        Ok(vec![do_step("fails").await?])
    });
    let (again, run) = failed(world, "body").await;
    assert_eq!(resumed(&again, run).await, [1]);
    assert_eq!(begun(&again), ["fails"]);
}

#[tokio::test]
async fn a_race_is_decided_as_it_was_before() {
    let world = World::default().with("body", || async {
        let winner = relive::select! {
            left = step(label("held left")) => left.map(|_| 1),
            right = step(label("held right")) => right.map(|_| 2),
        };
        Ok(vec![winner?, do_step("fails").await?])
    });
    world.probe.open("held right");
    let (again, run) = failed(world, "body").await;
    // Now the other would win.
    again.probe.open("held left");
    assert_eq!(resumed(&again, run).await, [2, 1]);
    assert_eq!(begun(&again), ["fails"], "the loser does not begin, as what is remembered comes first");
}

#[tokio::test]
async fn what_is_remembered_comes_in_the_order_in_which_it_came() {
    let world = World::default().with("body", || async {
        let mut calls: futures::stream::FuturesUnordered<_> =
            ["held a", "held b", "held c"].into_iter().map(|text| step(label(text))).collect();
        let mut order = Vec::new();
        let mut number = 0;
        while let Some(found) = calls.next().await {
            found?;
            number += 1;
            order.push(do_step(&format!("{number}")).await?);
        }
        do_step("fails").await?;
        Ok(order)
    });
    world.failing.add("fails");
    let engine = world.open().await;
    let run = engine.start(program(label("body"))).await.expect("starts").id();
    world.probe.begun("held c", 1).await;
    for (number, gate) in ["held c", "held a", "held b"].into_iter().enumerate() {
        world.probe.open(gate);
        world.probe.begun(&format!("{}", number + 1), 1).await;
    }
    guard(handle(&engine, run)).await.expect_err("fails");
    world.failing.remove("fails");
    let again = world.crashed();
    let engine = again.open().await;
    engine.resume(run).await.expect("resumes");
    guard(handle(&engine, run)).await.expect("succeeds");
    assert_eq!(begun(&again), ["fails"]);
    let order = |attempt: usize| {
        let log = events(&engine, run);
        let starts: Vec<_> = (0..log.len()).filter(|at| matches!(log[*at], Event::TaskStarted(_))).collect();
        let end = starts.get(attempt + 1).copied().unwrap_or(log.len());
        let names = |at: u64| match &log[at as usize] {
            Event::TraceStarted(started) => started.input.to_value(),
            other => panic!("no start: {other:?}"),
        };
        log[starts[attempt]..end]
            .iter()
            .filter_map(|event| match event {
                Event::TraceCompleted(completed) => Some(names(completed.trace.0)),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(order(0), order(1));
    replays(&engine, "the order").await;
}

#[tokio::test]
async fn rerun_finds_the_results_of_a_trace_anew_and_of_no_other() {
    let world = World::default().with("body", || async {
        let other = refuses(label("other")).await.is_err();
        Ok(vec![do_step("1").await?, usize::from(other), do_step("fails").await?])
    });
    let (again, run) = failed(world, "body").await;
    let engine = again.open().await;
    let resume = engine.resume(run).rerun("kit.step");
    let preview = resume.preview().await.expect("can be told");
    assert_eq!(preview.repeated.len(), 1, "{preview:?}");
    resume.await.expect("resumes");
    guard(handle(&engine, run)).await.expect("succeeds");
    assert_eq!(begun(&again), ["1", "fails"]);
    replays(&engine, "rerun").await;
}

#[trace(name = "memo.numbers")]
fn numbers(until: usize, label: String) -> impl futures::Stream<Item = relive::Result<usize>> + Send {
    futures::stream::unfold(0, move |at| {
        let label = label.clone();
        async move {
            if at == until {
                return None;
            }
            let found = effect(&format!("{label}{at}")).await;
            Some((found.map(|_| at), at + 1))
        }
    })
}

#[tokio::test]
async fn a_stream_that_ended_is_repeated_whole_without_its_source() {
    let world = World::default().with("body", || async {
        let items: Vec<_> = numbers(3, label("item")).collect().await;
        let items: relive::Result<Vec<_>> = items.into_iter().collect();
        do_step("fails").await?;
        items
    });
    let (again, run) = failed(world, "body").await;
    assert_eq!(resumed(&again, run).await, [0, 1, 2]);
    assert_eq!(begun(&again), ["fails"]);
}

#[tokio::test]
async fn a_stream_that_was_dropped_gives_the_same_items_and_goes_on_behind_them() {
    let world = World::default().with("body", || async {
        let items = {
            let stream = numbers(10, label("item"));
            futures::pin_mut!(stream);
            [stream.next().await.expect("an item")?, stream.next().await.expect("an item")?]
        };
        do_step("fails").await?;
        Ok(items.to_vec())
    });
    let (again, run) = failed(world, "body").await;
    assert_eq!(resumed(&again, run).await, [0, 1]);
    assert_eq!(begun(&again), ["fails"]);
}

#[tokio::test]
async fn a_stream_that_was_interrupted_goes_on_where_it_was() {
    let world = World::default().with("body", || async {
        let stream = numbers(4, label("item"));
        futures::pin_mut!(stream);
        let mut items = Vec::new();
        while let Some(item) = stream.next().await {
            items.push(item?);
            if items.len() == 2 {
                do_step("fails").await?;
            }
        }
        Ok(items)
    });
    let (again, run) = failed(world, "body").await;
    assert_eq!(resumed(&again, run).await, [0, 1, 2, 3]);
    let begun = begun(&again);
    assert!(begun.ends_with(&[label("item2"), label("item3")]), "{begun:?}");
    assert_eq!(again.probe.count("fails"), 1);
}

#[tokio::test]
async fn a_stream_that_failed_starts_anew() {
    let world = World::default().with("body", || async {
        let items: Vec<_> = numbers(3, label("item")).collect().await;
        items.into_iter().collect()
    });
    world.failing.add("item1");
    let engine = world.open().await;
    let run = engine.start(program(label("body"))).await.expect("starts").id();
    guard(handle(&engine, run)).await.expect_err("it fails");
    world.failing.remove("item1");
    let again = world.crashed();
    assert_eq!(resumed(&again, run).await, [0, 1, 2]);
    assert_eq!(begun(&again), ["item0", "item1", "item2"]);
}

#[trace(name = "memo.counts")]
fn counts(until: usize, label: String) -> impl Iterator<Item = relive::Result<usize>> {
    let probe = Probe::here();
    (0..until).map(move |at| {
        probe.as_ref().map_err(|error| Error::msg(error.to_string()))?.begin(&format!("{label}{at}"));
        Ok(at)
    })
}

#[trace(name = "memo.plain")]
fn plain(label: String) -> relive::Result<usize> {
    let probe = Probe::here()?;
    probe.begin(&label);
    Ok(probe.count(&label))
}

#[tokio::test]
async fn plain_functions_and_iterators_are_repeated() {
    let world = World::default().with("body", || async {
        let mut found = vec![plain(label("plain"))?];
        for item in counts(3, label("item")) {
            found.push(item?);
        }
        found.extend(counts(9, label("taken")).take(2).collect::<relive::Result<Vec<_>>>()?);
        found.push(do_step("fails").await?);
        found.push(plain(label("behind"))?);
        Ok(found)
    });
    let (again, run) = failed(world, "body").await;
    assert_eq!(resumed(&again, run).await, [1, 0, 1, 2, 0, 1, 1, 1]);
    assert_eq!(begun(&again), ["fails", "behind"]);
}

#[trace(name = "memo.outer")]
async fn outer(label: String) -> relive::Result<usize> {
    Probe::here()?.begin("outer");
    let found = do_step("inner").await?;
    effect(&label).await?;
    Ok(found)
}

#[tokio::test]
async fn what_a_failed_effect_called_is_not_called_again() {
    let world = World::default().with("body", || async { Ok(vec![outer(label("fails")).await?]) });
    let (again, run) = failed(world, "body").await;
    assert_eq!(resumed(&again, run).await, [1]);
    assert_eq!(begun(&again), ["outer", "fails"]);
}

#[tokio::test]
async fn the_moment_chance_and_ids_are_what_they_were() {
    let world = World::default().with("body", || async {
        let now = relive::now()?.duration_since(std::time::UNIX_EPOCH)?.subsec_nanos() as usize;
        let found = vec![now, relive::random::<u32>()? as usize, relive::uuid()?.as_u128() as u32 as usize];
        SEEN.lock().push(found.clone());
        do_step("fails").await?;
        Ok(found)
    });
    let (again, run) = failed(world, "body").await;
    let found = resumed(&again, run).await;
    assert!(SEEN.lock().iter().all(|seen| *seen == found), "{SEEN:?}");
}

static SEEN: parking_lot::Mutex<Vec<Vec<usize>>> = parking_lot::Mutex::new(Vec::new());

#[trace(name = "memo.once", at_most_once)]
async fn once(label: String) -> relive::Result<usize> {
    effect(&label).await
}

#[tokio::test]
async fn an_effect_that_is_not_to_be_repeated_is_not_in_another_attempt_either() {
    let world = World::default().with("body", || async {
        let failure = once(label("once: fails")).await.expect_err("it fails");
        assert_eq!(failure.kind(), ErrorKind::Failed);
        let interrupted = relive::select! {
            found = once(label("held: dropped")) => found.err(),
            _ = step(label("winner")) => None,
        };
        do_step("fails").await?;
        Ok(vec![usize::from(interrupted.is_none())])
    });
    world.failing.add("once: fails");
    let (again, run) = failed(world, "body").await;
    assert_eq!(resumed(&again, run).await, [1]);
    assert_eq!(begun(&again), ["fails"]);
}

#[tokio::test]
async fn how_an_effect_ended_that_was_cut_off_by_a_cancellation_is_not_known() {
    let world = World::default().with("body", || async {
        match once(label("held")).await {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(vec![7]),
            other => Ok(vec![other?]),
        }
    });
    let engine = world.open().await;
    let run = engine.start(program(label("body"))).await.expect("starts").id();
    world.probe.begun("held", 1).await;
    guard(engine.cancel(run)).await.expect("cancelled");
    let again = world.crashed();
    assert_eq!(resumed(&again, run).await, [7]);
    assert_eq!(begun(&again), Vec::<String>::new());
}

#[tokio::test]
async fn a_sleep_that_is_over_is_over_and_a_signal_is_handed_to_the_same_wait() {
    let world = World::default().with("body", || async {
        relive::sleep(Duration::from_millis(1)).await?;
        let first = relive::signal::<usize>("number").await?;
        do_step("fails").await?;
        let second = relive::signal::<usize>("number").await?;
        Ok(vec![first, second])
    });
    world.failing.add("fails");
    let engine = world.open().await;
    let run = engine.start(program(label("body"))).await.expect("starts").id();
    engine.signal(run, "number", 1_usize).await.expect("signalled");
    engine.signal(run, "number", 2_usize).await.expect("signalled");
    guard(handle(&engine, run)).await.expect_err("fails");
    world.failing.remove("fails");
    let again = world.crashed();
    assert_eq!(resumed(&again, run).await, [1, 2]);
    assert_eq!(begun(&again), ["fails"]);
}

#[tokio::test]
async fn an_attempt_of_many_forms_goes_on_after_a_crash_at_any_commit() {
    let world = World::default().with("body", || async {
        let mut found = vec![plain(label("plain"))?];
        let stream = numbers(3, label("item"));
        futures::pin_mut!(stream);
        found.push(stream.next().await.expect("an item")?);
        let (one, other) = futures::try_join!(step(label("one")), outer(label("in outer")))?;
        found.extend([one, other]);
        found.push(do_step("fails").await?);
        while let Some(item) = stream.next().await {
            found.push(item?);
        }
        found.push(plain(label("behind"))?);
        Ok(found)
    });
    let (again, run) = failed(world, "body").await;
    let copies = again
        .every_commit(async |engine| {
            engine.resume(run).await.expect("resumes");
            assert_eq!(guard(handle(engine, run)).await.expect("succeeds"), [1, 0, 1, 1, 1, 1, 2, 1]);
        })
        .await;
    for (number, before) in copies.iter().enumerate() {
        let what = format!("cut {number}");
        let after = again.on(before.copy());
        let engine = after.open().await;
        settled(&engine).await;
        if record(&engine, run).attempts == 1 {
            continue;
        }
        assert_eq!(state(&engine, run), relive::RunState::Completed, "{what}");
        for gone in ["plain", "one", "inner", "in outer", "outer"] {
            assert_eq!(after.probe.count(gone), 0, "{what}: {gone}");
        }
        replays(&engine, &what).await;
    }
}
