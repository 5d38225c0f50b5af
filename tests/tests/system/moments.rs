//! Sleeps, limits and deadlines over attempts: what had not ended keeps its moment, as over a crash.

use std::time::Duration;

use relive::{Engine, Error, ErrorKind, RunId, task, trace};

use super::crashes::{Life, watched_life};
use super::retries::seconds;
use super::support::{Probe, guard};

#[trace(name = "moments.held")]
async fn held(label: String) -> relive::Result<u64> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

#[trace(name = "moments.in_time", deadline = "30s")]
async fn in_time(label: String) -> relive::Result<u64> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

/// Fails when its gate is opened.
#[trace(name = "moments.fails")]
async fn fails(label: String) -> relive::Result<u64> {
    Probe::here()?.hold(&label).await;
    Err(Error::msg("no"))
}

/// Fails once, when its gate is opened.
#[trace(name = "moments.fails_once")]
async fn fails_once(label: String) -> relive::Result<u64> {
    let probe = Probe::here()?;
    let is_first = probe.count(&label) == 0;
    probe.hold(&label).await;
    if is_first { Err(Error::msg("no")) } else { Ok(2) }
}

#[task(name = "moments.naps", cache = "off")]
async fn naps(secs: u64) -> relive::Result<u64> {
    relive::sleep(seconds(secs)).await?;
    Ok(secs)
}

#[task(name = "moments.naps_beside", cache = "off")]
async fn naps_beside() -> relive::Result<u64> {
    let (_, number) = futures::try_join!(relive::sleep(seconds(100)), fails_once("beside".into()))?;
    Ok(number)
}

#[task(name = "moments.waits", cache = "off")]
async fn waits() -> relive::Result<u64> {
    relive::timeout(seconds(100), relive::signal::<u64>("go")).await?
}

#[task(name = "moments.tries", cache = "off")]
async fn tries() -> relive::Result<u64> {
    relive::timeout(seconds(100), fails_once("tried".into())).await?
}

#[task(name = "moments.tries_again", cache = "off", retries = 1, backoff(first = "10s", jitter = false))]
async fn tries_again() -> relive::Result<u64> {
    relive::timeout(seconds(100), fails_once("limit".into())).await?
}

#[task(name = "moments.naps_again", cache = "off", retries = 1, backoff(first = "10s", jitter = false))]
async fn naps_again() -> relive::Result<u64> {
    let (_, number) = futures::try_join!(relive::sleep(seconds(100)), fails_once("nap".into()))?;
    Ok(number)
}

#[task(name = "moments.bounded_trace", cache = "off")]
async fn bounded_trace(label: String) -> relive::Result<u64> {
    in_time(label).await
}

#[task(name = "moments.bounded", cache = "off", deadline = "30s")]
async fn bounded(label: String) -> relive::Result<u64> {
    held(label).await
}

#[task(name = "moments.bounded_fails", cache = "off", deadline = "30s")]
async fn bounded_fails() -> relive::Result<u64> {
    fails("bounded".into()).await
}

async fn cancelled_after(life: &Life, run: RunId, passed: u64) {
    life.clock.advance(seconds(passed));
    guard(life.engine.cancel(run)).await.expect("is cancelled");
}

async fn ends(engine: &Engine, run: RunId) -> relive::Result<u64> {
    guard(engine.handle::<u64, Error>(run)?).await
}

#[tokio::test]
async fn a_sleep_that_was_cut_short_goes_on_in_the_next_attempt() {
    let (store, life) = watched_life().await;
    let run = life.engine.start(naps(100)).await.expect("starts").id();
    life.clock.sleeps(seconds(100)).await;
    cancelled_after(&life, run, 30).await;
    life.clock.advance(seconds(20));
    guard(life.engine.resume(run)).await.expect("resumes");
    life.clock.sleeps(seconds(50)).await;
    // It is so over a crash of the new attempt, too, and over one more resume.
    let (_, next) = life.crash_into(&store, seconds(10), |builder| builder.sleep_out_after(Duration::MAX)).await;
    next.clock.sleeps(seconds(40)).await;
    cancelled_after(&next, run, 15).await;
    guard(next.engine.resume(run)).await.expect("resumes");
    next.clock.sleeps(seconds(25)).await;
    next.clock.advance(seconds(25));
    assert_eq!(ends(&next.engine, run).await.expect("wakes"), 100);
    assert!(next.engine.replay(run).await.is_ok_and(|ended| ended.is_some()), "it replays");
}

#[tokio::test]
async fn a_sleep_that_was_over_before_the_resume_is_not_slept_again() {
    let (_, life) = watched_life().await;
    let run = life.engine.start(naps(8)).await.expect("starts").id();
    life.clock.sleeps(seconds(8)).await;
    cancelled_after(&life, run, 5).await;
    life.clock.advance(seconds(3_600));
    let slept_count = life.clock.slept_count();
    guard(life.engine.resume(run)).await.expect("resumes");
    assert_eq!(ends(&life.engine, run).await.expect("wakes"), 8);
    assert!(life.clock.slept_count() <= slept_count + 1 && life.clock.lefts().is_empty(), "it waits for nothing");
}

#[tokio::test]
async fn a_sleep_that_is_rerun_begins_anew() {
    let (_, life) = watched_life().await;
    let run = life.engine.start(naps(100)).await.expect("starts").id();
    life.clock.sleeps(seconds(100)).await;
    cancelled_after(&life, run, 30).await;
    guard(life.engine.resume(run).rerun("relive::sleep")).await.expect("resumes");
    life.clock.sleeps(seconds(100)).await;
}

#[tokio::test]
async fn a_sleep_keeps_its_moment_although_the_body_dropped_it_as_something_beside_it_failed() {
    let (_, life) = watched_life().await;
    let run = life.engine.start(naps_beside()).await.expect("starts").id();
    life.clock.sleeps(seconds(100)).await;
    life.probe.begun("beside", 1).await;
    life.clock.advance(seconds(30));
    life.probe.open("beside");
    ends(&life.engine, run).await.expect_err("it failed");
    guard(life.engine.resume(run)).await.expect("resumes");
    life.clock.sleeps(seconds(70)).await;
    life.clock.advance(seconds(70));
    assert_eq!(ends(&life.engine, run).await.expect("ends"), 2);
}

#[tokio::test]
async fn the_limit_of_a_wait_that_was_cut_short_keeps_its_moment() {
    let (_, life) = watched_life().await;
    let run = life.engine.start(waits()).await.expect("starts").id();
    life.clock.sleeps(seconds(100)).await;
    cancelled_after(&life, run, 30).await;
    guard(life.engine.resume(run)).await.expect("resumes");
    life.clock.sleeps(seconds(70)).await;
    life.clock.advance(seconds(70));
    assert_eq!(ends(&life.engine, run).await.expect_err("it is over").kind(), ErrorKind::TimedOut);
}

#[tokio::test]
async fn the_limit_of_what_failed_begins_anew_with_it() {
    let (_, life) = watched_life().await;
    let run = life.engine.start(tries()).await.expect("starts").id();
    life.clock.sleeps(seconds(100)).await;
    life.probe.begun("tried", 1).await;
    life.probe.open("tried");
    ends(&life.engine, run).await.expect_err("it failed");
    life.clock.advance(seconds(3_600));
    guard(life.engine.resume(run)).await.expect("resumes");
    assert_eq!(ends(&life.engine, run).await.expect("it has its time again"), 2);
}

#[tokio::test]
async fn an_attempt_that_follows_by_itself_keeps_the_moment_of_a_sleep() {
    let (_, life) = watched_life().await;
    let run = life.engine.start(naps_again()).await.expect("starts").id();
    life.clock.sleeps(seconds(100)).await;
    life.probe.begun("nap", 1).await;
    life.clock.advance(seconds(30));
    life.probe.open("nap");
    life.clock.sleeps(seconds(10)).await;
    life.clock.advance(seconds(10));
    life.clock.sleeps(seconds(60)).await;
    life.clock.advance(seconds(60));
    assert_eq!(ends(&life.engine, run).await.expect("ends"), 2);
}

#[tokio::test]
async fn an_attempt_that_follows_by_itself_has_a_limit_of_its_own_for_what_failed() {
    let (_, life) = watched_life().await;
    let run = life.engine.start(tries_again()).await.expect("starts").id();
    life.clock.sleeps(seconds(100)).await;
    life.probe.begun("limit", 1).await;
    life.clock.advance(seconds(95));
    life.probe.open("limit");
    life.clock.sleeps(seconds(10)).await;
    life.clock.advance(seconds(10));
    assert_eq!(ends(&life.engine, run).await.expect("it has its time again"), 2);
}

#[tokio::test]
async fn a_traces_deadline_goes_on_if_the_trace_had_not_ended_and_begins_anew_if_it_had() {
    let (_, life) = watched_life().await;
    let run = life.engine.start(bounded_trace("first".into())).await.expect("starts").id();
    life.probe.begun("first", 1).await;
    cancelled_after(&life, run, 20).await;
    life.clock.advance(seconds(20));
    guard(life.engine.resume(run)).await.expect("resumes");
    assert_eq!(ends(&life.engine, run).await.expect_err("it is too late").kind(), ErrorKind::TimedOut);
    assert_eq!(life.probe.count("first"), 1, "its effect does not begin again");
    // That was its end: whoever resumes it now wants it to run.
    guard(life.engine.resume(run)).await.expect("resumes");
    life.probe.begun("first", 2).await;
    life.clock.sleeps(seconds(30)).await;
    life.probe.open("first");
    assert_eq!(ends(&life.engine, run).await.expect("ends"), 1);
}

#[tokio::test]
async fn a_tasks_deadline_goes_on_if_the_task_had_not_ended_unless_rerun_names_it() {
    for is_named in [false, true] {
        let (_, life) = watched_life().await;
        let run = life.engine.start(bounded("effect".into())).await.expect("starts").id();
        life.probe.begun("effect", 1).await;
        cancelled_after(&life, run, 20).await;
        let resume = life.engine.resume(run);
        guard(if is_named { resume.rerun("moments.bounded") } else { resume }).await.expect("resumes");
        life.probe.begun("effect", 2).await;
        life.clock.sleeps(seconds(if is_named { 30 } else { 10 })).await;
    }
}

#[tokio::test]
async fn the_deadline_of_a_task_that_failed_begins_anew() {
    let (_, life) = watched_life().await;
    let run = life.engine.start(bounded_fails()).await.expect("starts").id();
    life.probe.begun("bounded", 1).await;
    life.probe.open("bounded");
    ends(&life.engine, run).await.expect_err("it failed");
    life.clock.advance(seconds(3_600));
    guard(life.engine.resume(run)).await.expect("resumes");
    let error = ends(&life.engine, run).await.expect_err("it fails again");
    assert_eq!(error.to_string(), "no", "and not for its time");
    assert_eq!(life.probe.count("bounded"), 2);
}
