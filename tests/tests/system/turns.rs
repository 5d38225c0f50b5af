//! Runs that only wait hold no turn: with one turn for all, another run ends meanwhile.

use relive::{Engine, RunStatus, task, trace};
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
