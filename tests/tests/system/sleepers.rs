//! Runs that only wait leave memory, and are rebuilt from their logs when they are due: nobody outside can tell.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use relive::{
    Builder, Cancellation, Engine, Error, ErrorKind, RunHandle, RunId, RunStatus, TaskOutcome, TraceOutcome, task,
    trace,
};
use relive_engine::codec;
use relive_engine::index::{Standing, UNFINISHED, UnfinishedRecord};
use relive_storage::{MemoryStore, Read};

use super::crashes::{GatedStore, Life, cut_at_every_commit, life_with, only_run};
use super::retries::{completed, flaky_body, seconds};
use super::support::{Probe, builder, event_names, guard};

/// Puts every run to sleep that can be.
fn asleep(builder: Builder) -> Builder {
    builder.sleep_out_after(Duration::ZERO)
}

async fn first_life() -> (MemoryStore, Life) {
    life_with(asleep).await
}

async fn crash(life: &Life, store: &MemoryStore, later: Duration) -> (MemoryStore, Life) {
    life.crash_into(store, later, asleep).await
}

#[trace(name = "sleepers.step")]
async fn step(label: String) -> relive::Result<u64> {
    Probe::here()?.begin(&label);
    Ok(1)
}

/// Says when its body begins and ends, and when it is dropped.
struct Body(Probe);

impl Body {
    fn begin() -> relive::Result<Self> {
        let probe = Probe::here()?;
        probe.begin("body");
        Ok(Self(probe))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.0.begin("dropped");
    }
}

/// Effects, and a sleep between them.
#[task(name = "sleepers.naps")]
async fn naps(secs: u64) -> relive::Result<u64> {
    let _body = Body::begin()?;
    let first = step("before".into()).await?;
    relive::sleep(seconds(secs)).await?;
    Ok(first + step("after".into()).await? + secs)
}

/// Two sleeps at once.
#[task(name = "sleepers.two")]
async fn two(short: u64, long: u64) -> relive::Result<u64> {
    let (short, long) = tokio::join!(async { relive::sleep(seconds(short)).await.map(|()| short) }, async {
        relive::sleep(seconds(long)).await.map(|()| long)
    },);
    Ok(short? + long?)
}

#[trace(name = "sleepers.tried", retries = 3, deadline = "1h", backoff(first = "60s", factor = 2.0, jitter = false))]
async fn tried(label: String, failures: usize) -> relive::Result<usize> {
    flaky_body(&label, failures)
}

#[task(name = "sleepers.retried")]
async fn retried(failures: usize) -> relive::Result<usize> {
    tried("tried".into(), failures).await
}

/// Its attempts take no longer than a minute, and fail.
#[task(name = "sleepers.limited", timeout = "60s", retries = 1, backoff(first = "600s", jitter = false))]
async fn limited() -> relive::Result<u64> {
    relive::sleep(seconds(3600)).await?;
    Ok(1)
}

/// A child that sleeps.
#[task(name = "sleepers.parent")]
async fn parent(secs: u64) -> relive::Result<u64> {
    naps(secs).await
}

/// Waits for a time and for a signal.
#[task(name = "sleepers.answered", allow(signal))]
async fn answered() -> relive::Result<u64> {
    relive::timeout(seconds(600), relive::signal::<u64>("answer")).await?
}

/// Sleeps, and then asks for a signal.
#[task(name = "sleepers.asks", allow(signal))]
async fn asks() -> relive::Result<u64> {
    relive::sleep(seconds(600)).await?;
    relive::signal::<u64>("answer").await
}

fn standing(store: &impl Read, run: RunId) -> Option<Standing> {
    let row = store.get(UNFINISHED, run.as_bytes()).expect("memory does not fail")?;
    Some(codec::open::<UnfinishedRecord>(run.as_bytes(), &row).expect("it is whole").0.standing)
}

async fn is_asleep(store: &impl Read, run: RunId) {
    guard(async {
        while !matches!(standing(store, run), Some(Standing::Asleep { .. })) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until a run sleeps that is due before all others: its row says so, and the one alarm for all is set.
async fn sleeps(life: &Life, store: &impl Read, run: RunId, left: Duration) {
    is_asleep(store, run).await;
    life.clock.sleeps(left).await;
}

/// Waits until so many traces of a run have ended.
async fn ended(life: &Life, run: RunId, count: usize) {
    guard(async {
        while completed(&life.engine, run).len() < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn handle<T>(life: &Life, run: RunId) -> RunHandle<T, Error> {
    life.engine.handle(run).expect("the run is known")
}

async fn replays(engine: &Engine, run: RunId) {
    assert!(matches!(guard(engine.replay(run)).await, Ok(Some(TaskOutcome::Ok(_)))), "it replays");
}

#[tokio::test]
async fn a_run_that_sleeps_drops_its_body_and_goes_on_where_it_was() {
    let (store, life) = first_life().await;
    let run = life.engine.start(naps(100)).await.expect("starts").id();
    sleeps(&life, &store, run, seconds(100)).await;
    assert_eq!(life.probe.all_begun(), ["body", "before", "dropped"]);
    assert_eq!(life.engine.status(run).expect("known"), RunStatus::Running);
    assert_eq!(event_names(&life.engine, run).len(), 4, "no end of anything is on record");
    life.clock.advance(seconds(99));
    let handle = handle::<u64>(&life, run);
    assert_eq!(handle.status(), RunStatus::Running);
    life.clock.advance(seconds(1));
    assert_eq!(guard(handle).await.expect("goes on"), 102);
    assert_eq!(life.probe.all_begun(), ["body", "before", "dropped", "body", "after", "dropped"]);
    assert!(completed(&life.engine, run).iter().all(|completed| completed.outcome != TraceOutcome::Dropped));
    assert_eq!(standing(&store, run), None);
    replays(&life.engine, run).await;
}

#[tokio::test]
async fn a_run_with_less_to_wait_than_is_worth_it_stays_in_memory() {
    for (after, stays) in [(seconds(100), true), (seconds(99), false), (Duration::MAX, true)] {
        let (store, life) = life_with(|builder| builder.sleep_out_after(after)).await;
        let run = life.engine.start(naps(100)).await.expect("starts").id();
        life.clock.sleeps(seconds(100)).await;
        if !stays {
            sleeps(&life, &store, run, seconds(100)).await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(standing(&store, run) == Some(Standing::UnderWay), stays, "{after:?}");
        assert_eq!(life.probe.count("dropped"), usize::from(!stays), "{after:?}");
        life.clock.advance(seconds(100));
        assert_eq!(guard(handle::<u64>(&life, run)).await.expect("goes on"), 102);
    }
}

#[tokio::test]
async fn who_holds_a_handle_is_told_of_the_outcome_however_often_the_run_sleeps() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(two(100, 300)).await.expect("starts");
    let run = handle.id();
    sleeps(&life, &store, run, seconds(100)).await;
    let waits = tokio::spawn(handle.into_future());
    life.clock.advance(seconds(100));
    ended(&life, run, 1).await;
    sleeps(&life, &store, run, seconds(200)).await;
    life.clock.advance(seconds(200));
    assert_eq!(guard(waits).await.expect("not aborted").expect("ends"), 400);
    replays(&life.engine, run).await;
}

#[tokio::test]
async fn an_equal_call_joins_the_run_that_sleeps_and_an_id_leads_to_it() {
    let (store, life) = first_life().await;
    let run = life.engine.start(naps(100).id("nap")).await.expect("starts").id();
    sleeps(&life, &store, run, seconds(100)).await;
    let found = [
        life.engine.start(naps(100)).await.expect("joins"),
        life.engine.start(naps(100).id("nap")).await.expect("is known"),
        life.engine.start(naps(100).id("another").cached()).await.expect("joins"),
        handle(&life, run),
    ];
    assert_eq!(life.probe.count("body"), 1, "nobody woke it");
    let other = life.engine.start(naps(200)).await.expect("starts").id();
    assert_ne!(other, run);
    let taken = life.engine.start(naps(200).id("nap")).await.expect_err("another input");
    assert_eq!(taken.kind(), ErrorKind::IdTaken);
    is_asleep(&store, other).await;
    life.clock.advance(seconds(100));
    for handle in found {
        assert_eq!(handle.id(), run);
        assert_eq!(guard(handle).await.expect("ends"), 102);
    }
    assert_eq!(life.probe.count("after"), 1);
    life.clock.advance(seconds(100));
    assert_eq!(guard(life.engine.run(naps(200))).await.expect("ends"), 202);
}

#[tokio::test]
async fn a_refresh_takes_the_call_over_from_a_run_that_sleeps() {
    let (store, life) = first_life().await;
    let old = life.engine.start(naps(100)).await.expect("starts").id();
    sleeps(&life, &store, old, seconds(100)).await;
    life.clock.advance(seconds(50));
    let new = life.engine.start(naps(100).refresh()).await.expect("starts").id();
    assert_ne!(new, old);
    is_asleep(&store, new).await;
    assert_eq!(life.engine.start(naps(100)).await.expect("joins").id(), new);
    assert_eq!(life.engine.start(naps(100).refresh()).await.expect("joins").id(), new);
    life.clock.advance(seconds(50));
    assert_eq!(guard(handle::<u64>(&life, old)).await.expect("ends"), 102);
    life.clock.advance(seconds(50));
    assert_eq!(guard(handle::<u64>(&life, new)).await.expect("ends"), 102);
    assert_eq!(life.engine.start(naps(100)).await.expect("is cached").id(), new);
}

#[tokio::test]
async fn a_run_that_sleeps_is_cancelled_without_its_body_and_only_once() {
    let (store, life) = first_life().await;
    let run = life.engine.start(naps(100)).await.expect("starts").id();
    sleeps(&life, &store, run, seconds(100)).await;
    let refused = guard(life.engine.resume(run)).await.expect_err("it is under way");
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    let answers = guard(join_all([life.engine.cancel(run), life.engine.cancel(run)])).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("is taken")).collect();
    assert!(answers.contains(&Cancellation::Cancelled), "{answers:?}");
    assert_eq!(life.engine.status(run).expect("known"), RunStatus::Cancelled);
    assert_eq!(life.probe.count("body"), 1, "it needs no body to be cancelled");
    assert_eq!((standing(&store, run), life.clock.sleepers(0).await.len()), (None, 0));
    assert_eq!(event_names(&life.engine, run).last(), Some(&"TaskCompleted"));
    let again = life.engine.start(naps(100)).await.expect("starts").id();
    assert_ne!(again, run);
}

#[tokio::test]
async fn a_cancellation_while_a_run_falls_asleep_is_not_lost() {
    let (rows, probe) = (Arc::new(GatedStore::default()), Probe::default());
    let clock = relive_tests::manual_clock::ManualClock::default();
    let engine = asleep(builder(&probe).clock(clock.clone())).open_store(rows.clone()).await.expect("opens");
    let handle = engine.start(naps(100)).await.expect("starts");
    // Its body is dropped, and its row on the way to the disk.
    probe.begun("before", 1).await;
    rows.close(true);
    let cancel = tokio::spawn({
        let (engine, run) = (engine.clone(), handle.id());
        async move { engine.cancel(run).await }
    });
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    rows.close(false);
    assert_eq!(guard(cancel).await.expect("not aborted").expect("is taken"), Cancellation::Cancelled);
    assert_eq!(guard(handle).await.expect_err("cancelled").kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn a_shutdown_leaves_who_sleeps_asleep_and_tells_who_waits() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(naps(100)).await.expect("starts");
    let run = handle.id();
    sleeps(&life, &store, run, seconds(100)).await;
    guard(life.engine.shutdown()).await.expect("shuts down");
    assert_eq!(guard(handle).await.expect_err("it has not ended").kind(), ErrorKind::Closed);
    assert!(matches!(standing(&store, run), Some(Standing::Asleep { .. })));
    let (_, next) = crash(&life, &store, seconds(30)).await;
    next.clock.sleeps(seconds(70)).await;
    assert_eq!(next.probe.count("body"), 0, "its log is not read before it is due");
    next.clock.advance(seconds(70));
    assert_eq!(guard(super::sleepers::handle::<u64>(&next, run)).await.expect("goes on"), 102);
    assert_eq!(next.probe.all_begun(), ["body", "after", "dropped"]);
}

#[tokio::test]
async fn an_engine_that_is_dropped_leaves_nobody_who_waits_for_ever() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(naps(100)).await.expect("starts");
    sleeps(&life, &store, handle.id(), seconds(100)).await;
    let Life { engine, clock, .. } = life;
    let waits = tokio::spawn(handle.into_future());
    tokio::task::yield_now().await;
    drop(engine);
    assert_eq!(guard(waits).await.expect("not aborted").expect_err("it is gone").kind(), ErrorKind::Closed);
    clock.sleepers(0).await;
}

#[tokio::test]
async fn a_restart_counts_no_death_of_a_run_that_slept_and_goes_on_when_it_is_due() {
    for (down, left) in [(0, 100), (30, 70), (100, 0), (900_000, 0)] {
        let (mut store, mut life) = first_life().await;
        let run = life.engine.start(naps(100)).await.expect("starts").id();
        sleeps(&life, &store, run, seconds(100)).await;
        for _ in 0..5 {
            (store, life) = crash(&life, &store, Duration::ZERO).await;
            life.clock.sleeps(seconds(100)).await;
        }
        let (_, next) = crash(&life, &store, seconds(down)).await;
        if left > 0 {
            next.clock.sleeps(seconds(left)).await;
            next.clock.advance(seconds(left));
        }
        assert_eq!(guard(handle::<u64>(&next, run)).await.expect("goes on"), 102, "down for {down} s");
        replays(&next.engine, run).await;
    }
}

#[tokio::test]
async fn a_clock_that_jumps_wakes_nobody_early_or_late() {
    const YEAR: i64 = 365 * 86_400;
    for jump in [YEAR, -YEAR] {
        let (store, life) = first_life().await;
        let handle = life.engine.start(two(100, 300)).await.expect("starts");
        let run = handle.id();
        sleeps(&life, &store, run, seconds(100)).await;
        life.clock.jump(jump);
        life.clock.advance(seconds(99));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!((completed(&life.engine, run).len(), life.clock.lefts()), (0, vec![seconds(1)]), "{jump}");
        life.clock.advance(seconds(1));
        // It is rebuilt, and its other sleep is as long as it was.
        ended(&life, run, 1).await;
        sleeps(&life, &store, run, seconds(200)).await;
        life.clock.advance(seconds(199));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!((completed(&life.engine, run).len(), life.clock.lefts()), (1, vec![seconds(1)]), "{jump}");
        life.clock.advance(seconds(1));
        assert_eq!(guard(handle).await.expect("ends"), 400);
    }
}

#[tokio::test]
async fn a_wall_clock_that_went_back_between_two_lives_lengthens_no_sleep_beyond_what_was_left() {
    let (store, life) = first_life().await;
    let run = life.engine.start(two(100, 300)).await.expect("starts").id();
    sleeps(&life, &store, run, seconds(100)).await;
    life.clock.jump(-86_400);
    let (store, next) = crash(&life, &store, Duration::ZERO).await;
    next.clock.sleeps(seconds(100)).await;
    next.clock.advance(seconds(100));
    ended(&next, run, 1).await;
    sleeps(&next, &store, run, seconds(200)).await;
    next.clock.advance(seconds(200));
    assert_eq!(guard(handle::<u64>(&next, run)).await.expect("ends"), 400);
}

#[tokio::test]
async fn a_trace_is_tried_again_when_it_is_due_also_if_the_clock_jumps() {
    for (failures, jump) in [(2, 0), (9, 0), (2, -86_400), (9, 86_400)] {
        let (store, life) = first_life().await;
        let handle = life.engine.start(retried(failures)).await.expect("starts");
        let run = handle.id();
        for (tries, wait) in [60, 120, 240].into_iter().take(failures).enumerate() {
            life.probe.begun("tried", tries + 1).await;
            life.clock.sleeps(seconds(wait)).await;
            if jump == 0 {
                is_asleep(&store, run).await;
            }
            life.clock.jump(jump);
            life.clock.advance(seconds(wait));
        }
        match failures {
            2 => assert_eq!(guard(handle).await.expect("succeeds"), 3),
            _ => drop(guard(handle).await.expect_err("four tries fail")),
        }
        assert_eq!(life.probe.count("tried"), failures.min(3) + 1, "a jump of {jump} s");
    }
}

#[tokio::test]
async fn an_attempt_ends_in_time_and_the_next_follows_when_it_is_due_also_over_a_crash() {
    for crashes in [false, true] {
        let (mut store, mut life) = first_life().await;
        let run = life.engine.start(limited()).await.expect("starts").id();
        for wait in [60, 600, 60] {
            life.clock.sleeps(seconds(wait)).await;
            if wait == 60 {
                sleeps(&life, &store, run, seconds(wait)).await;
            }
            if crashes {
                (store, life) = crash(&life, &store, seconds(wait)).await;
            } else {
                life.clock.advance(seconds(wait));
            }
        }
        let error = guard(handle::<u64>(&life, run)).await.expect_err("both attempts take too long");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        let ends = event_names(&life.engine, run).iter().filter(|name| **name == "TaskCompleted").count();
        assert_eq!(ends, 2);
    }
}

#[tokio::test]
async fn a_child_that_sleeps_is_waited_for_and_is_cancelled_with_its_parent() {
    for cancels in [false, true] {
        let (store, life) = first_life().await;
        let handle = life.engine.start(parent(100)).await.expect("starts");
        let child = guard(async {
            loop {
                let runs: Vec<_> = life.engine.runs().map(|run| run.expect("readable").run).collect();
                match runs.iter().find(|run| **run != handle.id()) {
                    Some(child) => break *child,
                    None => tokio::task::yield_now().await,
                }
            }
        })
        .await;
        sleeps(&life, &store, child, seconds(100)).await;
        let (store, life) = crash(&life, &store, seconds(10)).await;
        life.clock.sleeps(seconds(90)).await;
        assert_eq!(standing(&store, handle.id()), Some(Standing::UnderWay), "its parent waits in memory");
        if cancels {
            assert_eq!(guard(life.engine.cancel(handle.id())).await.expect("is taken"), Cancellation::Cancelled);
            guard(async {
                while life.engine.status(child).expect("known") != RunStatus::Cancelled {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            assert_eq!(standing(&store, child), None);
            continue;
        }
        life.clock.advance(seconds(90));
        assert_eq!(guard(super::sleepers::handle::<u64>(&life, handle.id())).await.expect("ends"), 102);
    }
}

#[tokio::test]
async fn a_signal_to_a_run_that_sleeps_is_kept_and_who_waits_for_one_stays_in_memory() {
    let (store, life) = first_life().await;
    let run = life.engine.start(asks()).await.expect("starts").id();
    sleeps(&life, &store, run, seconds(600)).await;
    guard(life.engine.signal(run, "answer", 7u64)).await.expect("is durable");
    let (store, life) = crash(&life, &store, seconds(600)).await;
    assert_eq!(guard(handle::<u64>(&life, run)).await.expect("finds it"), 7);
    assert_eq!(standing(&store, run), None);

    let handle = life.engine.start(answered()).await.expect("starts");
    life.clock.sleeps(seconds(600)).await;
    assert_eq!(standing(&store, handle.id()), Some(Standing::UnderWay));
    let refused = guard(life.engine.signal(handle.id(), "answer", "text")).await.expect_err("another type");
    assert_eq!(refused.kind(), ErrorKind::Payload);
    guard(life.engine.signal(handle.id(), "answer", 8u64)).await.expect("is durable");
    assert_eq!(guard(handle).await.expect("ends"), 8);
}

#[tokio::test]
async fn many_that_are_due_at_once_take_turns_and_none_is_forgotten() {
    let (_, life) = life_with(|builder| asleep(builder).runs_max(2)).await;
    let mut handles = Vec::new();
    for index in 0..100 {
        handles.push(life.engine.start(naps(100).id(format!("{index}")).refresh()).await.expect("starts"));
    }
    let _flowing = life.clock.flow();
    for handle in handles {
        assert_eq!(guard(handle).await.expect("ends"), 102);
    }
}

#[tokio::test]
async fn a_run_sleeps_and_wakes_well_wherever_the_process_ends() {
    cut_at_every_commit(
        asleep,
        async |life: &Life| life.engine.run(naps(100).id("cut")).await,
        |life, result, cut| {
            assert_eq!(result, 102, "cut {cut}");
            let run = only_run(&life.engine);
            assert!(life.probe.count("before") <= 2 && life.probe.count("after") <= 2, "cut {cut}");
            let ended = completed(&life.engine, run).len();
            assert_eq!(ended, 3, "cut {cut}: two steps and a sleep");
        },
    )
    .await;
    cut_at_every_commit(
        asleep,
        async |life: &Life| life.engine.run(retried(2).id("cut")).await,
        |life, result, cut| {
            assert!((3..=4).contains(&result), "cut {cut}: {result}");
            only_run(&life.engine);
        },
    )
    .await;
}
