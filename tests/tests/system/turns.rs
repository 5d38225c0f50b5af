//! Runs that only wait hold no turn: with one turn for all, another run ends meanwhile.

use std::sync::Arc;

use parking_lot::Mutex;
use relive::{Engine, Error, ErrorKind, RunId, RunStatus, task, trace};
use relive_storage::MemoryStore;

use super::retries::{flaky_body, seconds};
use super::support::{Probe, builder, guard, open_with};
use relive_tests::manual_clock::ManualClock;

#[trace(name = "turns.flaky", retries = 1, backoff(first = "10s", jitter = false))]
async fn flaky() -> relive::Result<usize> {
    flaky_body("flaky", 1)
}

#[trace(name = "turns.around")]
async fn around() -> relive::Result<usize> {
    flaky().await
}

#[trace(name = "turns.step")]
async fn step() -> relive::Result<usize> {
    Probe::here()?.begin("step");
    Ok(1)
}

#[trace(name = "turns.naps")]
async fn naps() -> relive::Result<usize> {
    relive::sleep(seconds(10)).await.map(|()| 1)
}

#[task(name = "turns.waits", allow(signal))]
async fn waits(how: String) -> relive::Result<usize> {
    match how.as_str() {
        "sleep" => relive::sleep(seconds(10)).await.map(|()| 1),
        "signal" => relive::timeout(seconds(10), relive::signal::<usize>("go")).await?,
        "retry" => flaky().await,
        "nested retry" => around().await,
        "sleep in an effect" => naps().await,
        "attempt" => fails_once().await,
        _ => Err(relive::Error::msg(how)),
    }
}

#[task(name = "turns.fails_once", retries = 1, backoff(first = "10s", jitter = false))]
async fn fails_once() -> relive::Result<usize> {
    flaky_step().await
}

#[trace(name = "turns.flaky_step")]
async fn flaky_step() -> relive::Result<usize> {
    flaky_body("flaky step", 1)
}

#[task(name = "turns.other")]
async fn other(number: usize) -> relive::Result<usize> {
    Ok(step().await? + step().await? + number)
}

async fn open_narrow() -> (Engine, Probe, ManualClock) {
    let (probe, clock) = (Probe::default(), ManualClock::default());
    let engine = open_with(&MemoryStore::new(), builder(&probe).clock(clock.clone()).runs_max(1)).await;
    (engine, probe, clock)
}

#[tokio::test]
async fn a_run_that_only_waits_lets_another_one_end() {
    for how in ["sleep", "signal", "retry", "nested retry", "sleep in an effect", "attempt"] {
        let (engine, _probe, clock) = open_narrow().await;
        let waiting = engine.start(waits(how.into())).await.expect("starts");
        let run = waiting.id();
        clock.sleeps(seconds(10)).await;
        for number in 0..3 {
            assert_eq!(guard(engine.run(other(number))).await.expect("ends"), 2 + number, "{how}");
        }
        assert_eq!(waiting.status(), RunStatus::Running, "{how}");
        if how == "signal" {
            guard(engine.signal(run, "go", 1usize)).await.expect("is taken");
        } else {
            clock.advance(seconds(10));
        }
        assert!(guard(waiting).await.is_ok(), "{how}");
    }
}

#[task(name = "turns.sleeps")]
async fn sleeps(_number: usize) -> relive::Result<usize> {
    relive::sleep(seconds(10)).await.map(|()| 1)
}

#[tokio::test]
async fn many_runs_that_wait_share_one_turn() {
    let (probe, clock) = (Probe::default(), ManualClock::default());
    // In memory, where each has a wait of its own.
    let watched = builder(&probe).clock(clock.clone()).runs_max(1).sleep_out_after(std::time::Duration::MAX);
    let engine = open_with(&MemoryStore::new(), watched).await;
    let mut handles = Vec::new();
    for number in 0..20 {
        handles.push(engine.start(sleeps(number)).await.expect("starts"));
    }
    clock.sleepers(20).await;
    clock.advance(seconds(10));
    for handle in handles {
        assert_eq!(guard(handle).await.expect("ends"), 1);
    }
}

/// The engine itself, for traces that use it; and the run to wait for.
type Own = Arc<Mutex<(Option<Engine>, Option<RunId>)>>;

fn own_engine() -> relive::Result<Engine> {
    relive::provided::<Own>()?.lock().0.clone().ok_or_else(|| Error::msg("no engine"))
}

#[trace(name = "turns.runs_another")]
async fn runs_another(number: usize) -> relive::Result<usize> {
    own_engine()?.run(other(number)).await
}

#[trace(name = "turns.spawned_runs_another", spawn)]
async fn spawned_runs_another(number: usize) -> relive::Result<usize> {
    own_engine()?.run(other(number)).await
}

#[trace(name = "turns.thread_runs_another", blocking)]
fn thread_runs_another(number: usize) -> relive::Result<usize> {
    futures::executor::block_on(own_engine()?.run(other(number)))
}

#[trace(name = "turns.runs_another_in_place")]
fn runs_another_in_place(number: usize) -> relive::Result<usize> {
    let engine = own_engine()?;
    tokio::task::block_in_place(|| futures::executor::block_on(engine.run(other(number))))
}

#[trace(name = "turns.runs_another_within")]
async fn runs_another_within(number: usize) -> relive::Result<usize> {
    runs_another(number).await
}

#[task(name = "turns.uses_the_engine")]
async fn uses_the_engine(in_place: bool) -> relive::Result<usize> {
    let futures = (runs_another(1), spawned_runs_another(2), thread_runs_another(3), runs_another_within(4));
    let (a, b, c, d) = futures::join!(futures.0, futures.1, futures.2, futures.3);
    let e = if in_place { runs_another_in_place(5)? } else { 0 };
    Ok(a? + b? + c? + d? + e + step().await?)
}

async fn open_with_itself() -> (Engine, Own) {
    let own = Own::default();
    let builder = builder(&Probe::default()).provide(Arc::clone(&own)).runs_max(1);
    let engine = open_with(&MemoryStore::new(), builder).await;
    own.lock().0 = Some(engine.clone());
    (engine, own)
}

#[tokio::test]
async fn a_trace_that_runs_a_task_by_the_engine_lends_its_runs_turn() {
    // Often: effects on other threads wait at any moment of the loop's.
    for _ in 0..20 {
        let (engine, own) = open_with_itself().await;
        assert_eq!(guard(engine.run(uses_the_engine(false))).await.expect("ends"), 19);
        // The turn was taken back: there is one, and no more.
        assert_eq!(guard(engine.run(other(9))).await.expect("ends"), 11);
        own.lock().0 = None;
        guard(engine.shutdown()).await.expect("shuts down");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_function_that_runs_a_task_by_the_engine_lends_its_runs_turn() {
    let (engine, own) = open_with_itself().await;
    assert_eq!(guard(engine.run(uses_the_engine(true))).await.expect("ends"), 26);
    assert_eq!(guard(engine.run(other(9))).await.expect("ends"), 11);
    own.lock().0 = None;
    guard(engine.shutdown()).await.expect("shuts down");
}

#[trace(name = "turns.awaits")]
async fn awaits() -> relive::Result<usize> {
    let own = relive::provided::<Own>()?;
    let (engine, run) = own.lock().clone();
    let (Some(engine), Some(run)) = (engine, run) else { return Err(Error::msg("not told yet")) };
    engine.handle::<usize, Error>(run)?.await
}

#[trace(name = "turns.is_held")]
async fn is_held() -> relive::Result<usize> {
    Probe::here()?.hold("told").await;
    Ok(1)
}

#[task(name = "turns.awaits_itself")]
async fn awaits_itself() -> relive::Result<usize> {
    is_held().await?;
    awaits().await
}

#[tokio::test]
async fn a_trace_that_waits_for_its_own_run_is_an_error_that_says_so() {
    let (own, probe) = (Own::default(), Probe::default());
    let engine = open_with(&MemoryStore::new(), builder(&probe).provide(Arc::clone(&own)).runs_max(1)).await;
    let handle = engine.start(awaits_itself()).await.expect("starts");
    *own.lock() = (Some(engine.clone()), Some(handle.id()));
    probe.open("told");
    let run = handle.id();
    let error = guard(handle).await.expect_err("neither would end");
    assert_eq!(error.kind(), ErrorKind::Cycle, "{error}");
    assert!(error.to_string().contains(&format!("trace turns.awaits of run {run}")), "{error}");
    own.lock().0 = None;
    guard(engine.shutdown()).await.expect("shuts down");
}
