//! `relive::sleep` and `relive::timeout`: deadlines that a crash does not move, and that replay does not wait for.

use std::pin::pin;
use std::time::Duration;

use futures::future::{join_all, poll_fn};
use futures::stream::{FuturesUnordered, StreamExt};
use relive::{Error, RunId, TaskOutcome, TraceOutcome, task, trace};

use super::crashes::{Life, cut_at_every_commit, first_life, only_run, watched_life};
use super::retries::{completed, seconds};
use super::support::{Probe, builder, event_names, guard, open_with};

#[trace(name = "sleep.held")]
async fn held(label: String) -> relive::Result<u64> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

#[task(name = "sleep.naps")]
async fn naps(millis: u64) -> relive::Result<u64> {
    relive::sleep(Duration::from_millis(millis)).await?;
    Ok(millis)
}

#[task(name = "sleep.huge")]
async fn huge(nested: bool) -> relive::Result<u64> {
    if nested { sleeps_inside(u64::MAX).await } else { relive::sleep(Duration::MAX).await.map(|()| 1) }
}

#[trace(name = "sleep.sleeps_inside")]
async fn sleeps_inside(secs: u64) -> relive::Result<u64> {
    Probe::here()?.begin("inside");
    relive::sleep(Duration::from_secs(secs)).await?;
    Ok(secs)
}

#[task(name = "sleep.inside")]
async fn inside() -> relive::Result<u64> {
    sleeps_inside(10).await
}

/// Sleeps of these lengths at once; gives the order in which they end.
#[task(name = "sleep.many")]
async fn many(lengths: Vec<u64>) -> relive::Result<Vec<usize>> {
    let sleep = async |(index, secs): (usize, u64)| relive::sleep(seconds(secs)).await.map(|()| index);
    let mut sleeps: FuturesUnordered<_> = lengths.into_iter().enumerate().map(sleep).collect();
    let mut order = Vec::new();
    while let Some(index) = sleeps.next().await {
        order.push(index?);
    }
    Ok(order)
}

#[task(name = "sleep.raced")]
async fn raced() -> relive::Result<u64> {
    relive::select! {
        slept = relive::sleep(seconds(10)) => slept.map(|()| 0),
        number = held("raced".into()) => number,
    }
}

#[task(name = "sleep.limited")]
async fn limited(label: String) -> relive::Result<String> {
    let result = relive::timeout(seconds(10), held(label)).await;
    Ok(match result {
        Ok(result) => format!("{:?}", result?),
        Err(error) => format!("{:?}: {error}", error.kind()),
    })
}

/// A limit in a limit: the inner one is the longer.
#[task(name = "sleep.nested")]
async fn nested() -> relive::Result<String> {
    let inner = relive::timeout(seconds(20), held("nested".into()));
    let outer = relive::timeout(seconds(10), inner).await;
    Ok(format!("{:?}", outer.map(|inner| inner.map_err(|error| error.kind())).map_err(|error| error.kind())))
}

/// Looks at what it limits only when both are there: the result, and the end of its time.
#[task(name = "sleep.both")]
async fn both() -> relive::Result<String> {
    let mut limited = pin!(relive::timeout(seconds(10), held("both".into())));
    poll_fn(|cx| {
        assert!(limited.as_mut().poll(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    held("meanwhile".into()).await?;
    Ok(format!("{:?}", limited.await.map(|result| result.map_err(|error| error.kind())).map_err(|error| error.kind())))
}

async fn replays(life: &Life, run: RunId) {
    assert!(matches!(guard(life.engine.replay(run)).await, Ok(Some(TaskOutcome::Ok(_)))), "it replays");
}

fn dropped_count(life: &Life, run: RunId) -> usize {
    completed(&life.engine, run).iter().filter(|completed| completed.outcome == TraceOutcome::Dropped).count()
}

#[tokio::test]
async fn a_sleep_keeps_its_deadline_over_a_crash() {
    for (down, left) in [(0, 6_000), (2_000, 4_000), (5_999, 1), (6_000, 0), (900_000, 0)] {
        let (store, life) = first_life().await;
        let run = life.engine.start(naps(10_000)).await.expect("starts").id();
        life.clock.sleeps(seconds(10)).await;
        life.clock.advance(seconds(4));
        let (_, next) = life.crash(&store, Duration::from_millis(down)).await;
        if left > 0 {
            next.clock.sleeps(Duration::from_millis(left)).await;
            next.clock.advance(Duration::from_millis(left));
        }
        let slept = guard(next.engine.handle::<u64, Error>(run).expect("known")).await;
        assert_eq!(slept.expect("wakes"), 10_000, "down for {down} ms");
        let slept_count = next.clock.slept_count();
        replays(&next, run).await;
        assert_eq!(next.clock.slept_count(), slept_count, "replay waits for nothing");
    }
}

#[tokio::test]
async fn a_wall_clock_that_jumps_wakes_nobody_early_or_late() {
    for jump in [86_400, -86_400] {
        let (_, life) = first_life().await;
        let handle = life.engine.start(naps(10_000)).await.expect("starts");
        life.clock.sleeps(seconds(10)).await;
        life.clock.jump(jump);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(life.clock.lefts(), [seconds(10)]);
        life.clock.advance(seconds(10));
        assert_eq!(guard(handle).await.expect("wakes"), 10_000);
    }
}

#[tokio::test]
async fn a_wall_clock_that_went_back_between_two_lives_lengthens_no_sleep_beyond_its_own_length() {
    let (store, life) = first_life().await;
    let run = life.engine.start(naps(10_000)).await.expect("starts").id();
    life.clock.sleeps(seconds(10)).await;
    life.clock.jump(-86_400);
    let (_, next) = life.crash(&store, Duration::ZERO).await;
    next.clock.sleeps(seconds(10)).await;
    next.clock.advance(seconds(10));
    assert_eq!(guard(next.engine.handle::<u64, Error>(run).expect("known")).await.expect("wakes"), 10_000);
}

#[tokio::test]
async fn a_sleep_of_no_length_ends_at_once_and_one_of_any_length_can_be_slept() {
    let (store, life) = first_life().await;
    assert_eq!(guard(life.engine.run(naps(0))).await.expect("wakes"), 0);
    for nested in [false, true] {
        let handle = life.engine.start(huge(nested)).await.expect("starts");
        life.clock.sleepers(1).await;
        life.clock.advance(seconds(1 << 35));
        tokio::task::yield_now().await;
        assert_eq!(life.clock.lefts().len(), 1, "a thousand years are not enough");
        let (_, next) = life.crash(&store, seconds(1)).await;
        next.clock.sleepers(1).await;
        drop(next);
        guard(handle.cancel()).await.expect("is taken");
    }
}

#[tokio::test]
async fn many_sleep_at_once_and_wake_in_the_order_of_their_lengths() {
    let (store, life) = watched_life().await;
    let lengths: Vec<u64> = (0..300).map(|index| 1 + (index * 7919) % 300).collect();
    let handle = life.engine.start(many(lengths.clone())).await.expect("starts");
    let run = handle.id();
    life.clock.sleepers(300).await;
    let live = {
        let _flowing = life.clock.flow();
        guard(handle).await.expect("all wake")
    };
    let woken: Vec<u64> = live.iter().map(|index| lengths[*index]).collect();
    assert!(woken.is_sorted(), "{woken:?}");
    replays(&life, run).await;
    let (_, next) = life.crash(&store, Duration::ZERO).await;
    assert_eq!(guard(next.engine.handle::<Vec<usize>, Error>(run).expect("known")).await.expect("recorded"), live);
}

#[tokio::test]
async fn sleeps_end_in_their_order_wherever_the_process_ends() {
    cut_at_every_commit(
        |builder| builder,
        async |life: &Life| life.engine.run(many(vec![3, 1, 3, 3, 2, 3])).await,
        |life, order, cut| {
            only_run(&life.engine);
            // Also those that ended while the process was down.
            assert_eq!((order[0], order[1]), (1, 4), "cut {cut}: {order:?}");
            let mut rest = order[2..].to_vec();
            rest.sort_unstable();
            assert_eq!(rest, [0, 2, 3, 5], "cut {cut}");
        },
    )
    .await;
}

#[tokio::test]
async fn what_ended_while_the_process_was_down_ends_in_its_order() {
    let (store, life) = watched_life().await;
    let run = life.engine.start(many(vec![9, 2, 7, 1])).await.expect("starts").id();
    life.clock.sleepers(4).await;
    let (_, next) = life.crash(&store, seconds(100)).await;
    let order = guard(next.engine.handle::<Vec<usize>, Error>(run).expect("known")).await;
    assert_eq!(order.expect("all end"), [3, 1, 2, 0]);
}

#[tokio::test]
async fn a_sleep_that_loses_a_race_is_dropped_and_the_log_says_so() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(raced()).await.expect("starts");
    let run = handle.id();
    life.clock.sleeps(seconds(10)).await;
    life.probe.open("raced");
    assert_eq!(guard(handle).await.expect("wins"), 1);
    assert_eq!((life.clock.lefts(), dropped_count(&life, run)), (vec![], 1));
    replays(&life, run).await;
}

#[tokio::test]
async fn sleeping_is_allowed_in_strict_mode_and_in_a_lenient_one() {
    for strict in [true, false] {
        let (_, life) = first_life().await;
        let settings = builder(&life.probe).clock(life.clock.clone()).strict(strict);
        let engine = open_with(&relive_storage::MemoryStore::new(), settings).await;
        let _flowing = life.clock.flow();
        assert_eq!(guard(engine.run(naps(5))).await.expect("wakes"), 5);
        assert_eq!(
            guard(engine.run(limited("never".into()))).await.expect("ends"),
            "TimedOut: it took longer than 10s"
        );
    }
}

#[tokio::test]
async fn a_sleep_inside_an_effect_waits_and_is_not_recorded() {
    let (store, life) = first_life().await;
    let run = life.engine.start(inside()).await.expect("starts").id();
    life.clock.sleeps(seconds(10)).await;
    life.clock.advance(seconds(4));
    assert_eq!(event_names(&life.engine, run), ["TaskStarted", "TraceStarted"]);
    let (_, next) = life.crash(&store, seconds(100)).await;
    next.clock.sleeps(seconds(10)).await;
    assert_eq!(next.probe.count("inside"), 1, "the effect begins again, and so does what it waits for");
    next.clock.advance(seconds(10));
    assert_eq!(guard(next.engine.handle::<u64, Error>(run).expect("known")).await.expect("wakes"), 10);
}

#[tokio::test]
async fn a_result_in_time_is_the_result_and_one_too_late_is_none() {
    let (_, life) = first_life().await;
    for (label, in_time) in [("early", true), ("late", false)] {
        let handle = life.engine.start(limited(label.into())).await.expect("starts");
        let run = handle.id();
        life.probe.begun(label, 1).await;
        life.clock.sleeps(seconds(10)).await;
        if in_time {
            life.probe.open(label);
        } else {
            life.clock.advance(seconds(10));
        }
        let expected = if in_time { "1" } else { "TimedOut: it took longer than 10s" };
        assert_eq!(guard(handle).await.expect("ends"), expected);
        assert_eq!(dropped_count(&life, run), 1, "the sleep, or what took too long");
        life.clock.sleepers(0).await;
        replays(&life, run).await;
    }
}

#[tokio::test]
async fn the_limit_that_is_over_first_counts() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(nested()).await.expect("starts");
    let run = handle.id();
    life.clock.sleepers(2).await;
    life.clock.advance(seconds(10));
    assert_eq!(guard(handle).await.expect("ends"), "Err(TimedOut)");
    assert_eq!(dropped_count(&life, run), 2, "what was limited, and the inner limit");
    replays(&life, run).await;
}

#[tokio::test]
async fn what_came_first_wins_when_both_are_there() {
    for (result_first, expected) in [(true, "Ok(Ok(1))"), (false, "Err(TimedOut)")] {
        let (store, life) = first_life().await;
        let handle = life.engine.start(both()).await.expect("starts");
        let run = handle.id();
        life.probe.begun("both", 1).await;
        life.probe.begun("meanwhile", 1).await;
        life.clock.sleeps(seconds(10)).await;
        for outcome_count in 1..=2 {
            if (outcome_count == 1) == result_first {
                life.probe.open("both");
            } else {
                life.clock.advance(seconds(10));
            }
            while completed(&life.engine, run).len() < outcome_count {
                tokio::task::yield_now().await;
            }
        }
        // Both are recorded and parked: also the next life finds them so.
        let (_, next) = life.crash(&store, Duration::ZERO).await;
        for life in [&life, &next] {
            life.probe.open("meanwhile");
            let outcome = guard(life.engine.handle::<String, Error>(run).expect("known")).await;
            assert_eq!(outcome.expect("ends"), expected);
            replays(life, run).await;
        }
        drop(handle);
    }
}

#[tokio::test]
async fn a_limit_goes_on_while_the_process_is_down() {
    let (store, life) = first_life().await;
    let run = life.engine.start(limited("down".into())).await.expect("starts").id();
    life.clock.sleeps(seconds(10)).await;
    let (_, next) = life.crash(&store, seconds(11)).await;
    let outcome = guard(next.engine.handle::<String, Error>(run).expect("known")).await.expect("ends");
    assert_eq!(outcome, "TimedOut: it took longer than 10s");
}

#[tokio::test]
async fn limits_end_the_same_wherever_the_process_ends() {
    cut_at_every_commit(
        |builder| builder,
        async |life: &Life| {
            let both = [life.engine.run(limited("cut".into())), life.engine.run(limited("other".into()))];
            join_all(both).await.into_iter().collect::<relive::Result<Vec<_>>>()
        },
        |life, outcomes, cut| {
            assert_eq!(outcomes, ["TimedOut: it took longer than 10s"; 2], "cut {cut}");
            assert_eq!(life.engine.runs().count(), 2, "cut {cut}");
        },
    )
    .await;
}
