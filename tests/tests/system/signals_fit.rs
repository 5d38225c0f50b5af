//! Which signal a wait takes: a sender is refused for the wait that its signal would come to, and for no other; one that fits
//! no wait is set aside, on record, and the wait goes on.

use std::sync::Arc;
use std::time::Duration;

use relive::{Engine, Error, ErrorKind, RunId, TaskOutcome, TraceOutcome, task, trace};
use relive_storage::MemoryStore;

use super::crashes::{Life, cut_at_every_commit, first_life, only_run};
use super::retries::{completed, flaky_body, retried, seconds};
use super::signals::{outcome, received, waits};
use super::support::{Probe, builder, guard, open};

#[trace(name = "fit.held")]
async fn held(label: String) -> relive::Result<usize> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

#[trace(name = "fit.flaky")]
async fn flaky(label: String) -> relive::Result<usize> {
    flaky_body(&label, 1)
}

/// Waits for a number, then for a word, of one name.
#[task(name = "fit.steps", allow(signal))]
async fn steps() -> relive::Result<(u32, String)> {
    let number = relive::signal::<u32>("step").await?;
    Ok((number, relive::signal::<String>("step").await?))
}

/// The same, at once.
#[task(name = "fit.both", allow(signal))]
async fn both() -> relive::Result<(u32, String)> {
    futures::future::try_join(relive::signal::<u32>("step"), relive::signal::<String>("step")).await
}

/// Three numbers, two at once.
#[task(name = "fit.numbers", allow(signal))]
async fn numbers() -> relive::Result<Vec<u32>> {
    let (a, b) = futures::future::try_join(relive::signal::<u32>("step"), relive::signal::<u32>("step")).await?;
    Ok(vec![a, b, relive::signal::<u32>("step").await?])
}

/// Pays, and then waits for a number.
#[task(name = "fit.paid", allow(signal))]
async fn paid() -> relive::Result<u32> {
    held("paid".into()).await?;
    relive::signal::<u32>("step").await
}

/// Waits for a word for so long, and for a number all the time.
#[task(name = "fit.limited", allow(signal))]
async fn limited() -> relive::Result<(bool, u32)> {
    let word = async { Ok(relive::timeout(seconds(10), relive::signal::<String>("step")).await.is_ok()) };
    futures::future::try_join(word, relive::signal::<u32>("step")).await
}

#[task(name = "fit.attempts", allow(signal))]
async fn attempts() -> relive::Result<(u32, u32)> {
    let first = relive::signal::<u32>("step").await?;
    flaky("attempts".into()).await?;
    Ok((first, relive::signal::<u32>("step").await?))
}

/// The errors of signals that were set aside.
fn set_aside(engine: &Engine, run: RunId) -> Vec<String> {
    retried(engine, run)
        .into_iter()
        .map(|retried| {
            assert_eq!(retried.error.kind, ErrorKind::Payload);
            retried.error.message
        })
        .collect()
}

async fn replays(engine: &Engine, run: RunId) {
    assert!(matches!(guard(engine.replay(run)).await, Ok(Some(TaskOutcome::Ok(_)))), "it replays");
}

#[tokio::test]
async fn signals_that_are_sent_at_once_come_each_to_its_own_wait() {
    let (_, life) = first_life().await;
    for round in 0..20 {
        let handle = life.engine.start(steps().id(format!("{round}")).refresh()).await.expect("starts");
        let run = handle.id();
        if round % 2 == 0 {
            waits(&life.engine, run).await;
        }
        guard(life.engine.signal(run, "step", 3u32)).await.expect("the first wait's");
        guard(life.engine.signal(run, "step", "blue")).await.expect("the second wait's");
        assert_eq!(guard(handle).await.expect("ends"), (3, "blue".to_owned()), "round {round}");
        assert_eq!(set_aside(&life.engine, run), Vec::<String>::new());
        replays(&life.engine, run).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_that_are_sent_at_once_are_taken_on_several_threads_too() {
    let (_, life) = first_life().await;
    for round in 0..50 {
        let handle = life.engine.start(steps().id(format!("{round}")).refresh()).await.expect("starts");
        let run = handle.id();
        waits(&life.engine, run).await;
        guard(life.engine.signal(run, "step", 3u32)).await.expect("the first wait's");
        guard(life.engine.signal(run, "step", "blue")).await.expect("the second wait's");
        assert_eq!(guard(handle).await.expect("ends"), (3, "blue".to_owned()), "round {round}");
    }
}

#[tokio::test]
async fn of_several_waits_at_once_a_signal_comes_to_the_first_that_it_fits() {
    for words_first in [false, true] {
        let (_, life) = first_life().await;
        let handle = life.engine.start(both()).await.expect("starts");
        let run = handle.id();
        waits(&life.engine, run).await;
        if words_first {
            guard(life.engine.signal(run, "step", "blue")).await.expect("the second wait's");
        }
        guard(life.engine.signal(run, "step", 3u32)).await.expect("the first wait's");
        if !words_first {
            let error = guard(life.engine.signal(run, "step", 4u32)).await.expect_err("only a word is waited for");
            assert_eq!(error.kind(), ErrorKind::Payload);
            assert!(error.to_string().contains("String"), "{error}");
            guard(life.engine.signal(run, "step", "blue")).await.expect("the second wait's");
        }
        assert_eq!(guard(handle).await.expect("ends"), (3, "blue".to_owned()));
        replays(&life.engine, run).await;
    }
}

#[tokio::test]
async fn a_sender_is_refused_by_the_wait_that_is_left_by_the_signals_before() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(numbers()).await.expect("starts");
    let run = handle.id();
    waits(&life.engine, run).await;
    guard(life.engine.signal(run, "step", 1u32)).await.expect("the first wait's");
    let error = guard(life.engine.signal(run, "step", "two")).await.expect_err("the second wait is for a number, too");
    assert_eq!(error.kind(), ErrorKind::Payload);
    guard(life.engine.signal(run, "step", 2u32)).await.expect("the second wait's");
    guard(life.engine.signal(run, "step", 3u32)).await.expect("the third wait's, whatever it is");
    let found = guard(handle).await.expect("ends");
    assert_eq!((found.len(), found.iter().sum::<u32>()), (3, 6));
}

#[tokio::test]
async fn a_run_whose_log_is_not_read_yet_refuses_no_signal() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(steps()).await.expect("starts");
    let run = handle.id();
    waits(&life.engine, run).await;
    // In the inbox, or in the log and not handed over: wherever the process ends, the word is for the second wait.
    guard(life.engine.signal(run, "step", 3u32)).await.expect("the first wait's");
    let (_, next) = life.crash(&store, Duration::ZERO).await;
    guard(next.engine.signal(run, "step", "blue")).await.expect("the second wait's");
    assert_eq!(outcome::<(u32, String)>(&next.engine, run).await.expect("ends"), (3, "blue".to_owned()));
    replays(&next.engine, run).await;
}

#[tokio::test]
async fn a_run_that_nobody_took_up_refuses_no_signal() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(steps()).await.expect("starts");
    let run = handle.id();
    waits(&life.engine, run).await;
    let left = store.copy();
    let engine = builder(&Probe::default()).takes_up(false).open_store(Arc::new(left.clone())).await.expect("opens");
    guard(engine.signal(run, "step", "early")).await.expect("which wait it comes to is not known");
    guard(engine.signal(run, "step", 3u32)).await.expect("is taken");
    guard(engine.signal(run, "step", "blue")).await.expect("is taken");
    guard(engine.shutdown()).await.expect("closes");
    let engine = open(&left, &Probe::default()).await;
    assert_eq!(outcome::<(u32, String)>(&engine, run).await.expect("ends"), (3, "blue".to_owned()));
    assert_eq!(set_aside(&engine, run).len(), 1);
    assert_eq!(received(&engine, run).len(), 3);
    replays(&engine, run).await;
}

#[tokio::test]
async fn an_early_signal_of_the_wrong_type_is_set_aside_and_the_paid_run_goes_on() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(paid()).await.expect("starts");
    let run = handle.id();
    life.probe.begun("paid", 1).await;
    for early in ["seven", "eight"] {
        guard(life.engine.signal(run, "step", early)).await.expect("nobody waits yet");
    }
    guard(life.engine.signal(run, "step", 9u32)).await.expect("is taken");
    let (_, next) = life.crash(&store, Duration::ZERO).await;
    for life in [&life, &next] {
        life.probe.open("paid");
        assert_eq!(outcome::<u32>(&life.engine, run).await.expect("goes on"), 9);
        let messages = set_aside(&life.engine, run);
        assert_eq!(messages.len(), 2, "{messages:?}");
        for (message, early) in messages.iter().zip(["seven", "eight"]) {
            assert!(message.contains(early) && message.contains("u32") && message.contains("set aside"), "{message}");
        }
        assert_eq!(received(&life.engine, run).len(), 3, "what was set aside is in the log, too");
        replays(&life.engine, run).await;
    }
}

#[tokio::test]
async fn a_run_that_set_a_signal_aside_waits_for_the_next_over_a_crash() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(paid()).await.expect("starts");
    let run = handle.id();
    life.probe.begun("paid", 1).await;
    guard(life.engine.signal(run, "step", "seven")).await.expect("nobody waits yet");
    life.probe.open("paid");
    while set_aside(&life.engine, run).is_empty() {
        tokio::task::yield_now().await;
    }
    let error = guard(life.engine.signal(run, "step", "eight")).await.expect_err("now it waits");
    assert_eq!(error.kind(), ErrorKind::Payload);
    let (_, next) = life.crash(&store, Duration::ZERO).await;
    for life in [&life, &next] {
        guard(life.engine.signal(run, "step", 9u32)).await.expect("is taken");
        assert_eq!(outcome::<u32>(&life.engine, run).await.expect("ends"), 9);
        assert_eq!(set_aside(&life.engine, run).len(), 1);
        let tries = completed(&life.engine, run).last().map(|completed| completed.tries);
        assert_eq!(tries, Some(2), "the one that was set aside counts, also after a crash");
        replays(&life.engine, run).await;
    }
}

#[tokio::test]
async fn a_signal_is_set_aside_once_wherever_the_process_ends() {
    let live = async |life: &Life| {
        life.probe.open("paid");
        let handle = life.engine.start(paid().id("cut")).await?;
        let run = handle.id();
        // A sender that remembers what was acknowledged, and takes a refusal for an answer.
        for number in life.probe.count("sent")..3 {
            let sent = match number {
                2 => life.engine.signal(run, "step", 9u32).await,
                _ => life.engine.signal(run, "step", "word").await,
            };
            match sent {
                Err(error) if error.kind() == ErrorKind::Payload => {}
                other => other?,
            }
            life.probe.begin("sent");
        }
        handle.await
    };
    cut_at_every_commit(
        |builder| builder,
        live,
        |life, number, cut| {
            let run = only_run(&life.engine);
            assert_eq!(number, 9, "cut {cut}");
            assert_eq!(received(&life.engine, run).len(), set_aside(&life.engine, run).len() + 1, "cut {cut}");
        },
    )
    .await;
}

#[tokio::test]
async fn what_was_set_aside_stays_so_in_the_next_attempt() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(attempts()).await.expect("starts");
    let run = handle.id();
    // Whether it waits yet or not: a word is refused, or set aside.
    let early = guard(life.engine.signal(run, "step", "word")).await;
    guard(life.engine.signal(run, "step", 1u32)).await.expect("is taken");
    guard(handle).await.expect_err("the step fails");
    assert_eq!(set_aside(&life.engine, run).len(), usize::from(early.is_ok()));
    let (_, next) = life.crash(&store, Duration::ZERO).await;
    next.probe.begin("attempts");
    drop(guard(next.engine.resume(run)).await.expect("resumes"));
    guard(next.engine.signal(run, "step", 2u32)).await.expect("is taken");
    assert_eq!(outcome::<(u32, u32)>(&next.engine, run).await.expect("ends"), (1, 2));
    assert_eq!(set_aside(&next.engine, run).len(), usize::from(early.is_ok()), "once, in the attempt that it came to");
    replays(&next.engine, run).await;
}

#[tokio::test]
async fn a_signal_for_a_wait_that_is_dropped_comes_to_the_others() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(limited()).await.expect("starts");
    let run = handle.id();
    life.clock.sleeps(seconds(10)).await;
    life.clock.advance(seconds(10));
    while !completed(&life.engine, run).iter().any(|completed| completed.outcome == TraceOutcome::Dropped) {
        tokio::task::yield_now().await;
    }
    let error = guard(life.engine.signal(run, "step", "word")).await.expect_err("nobody waits for a word any more");
    assert_eq!(error.kind(), ErrorKind::Payload);
    guard(life.engine.signal(run, "step", 3u32)).await.expect("is taken");
    assert_eq!(guard(handle).await.expect("ends"), (false, 3));
}

/// A value whose reading panics.
#[derive(Debug, serde::Serialize)]
struct Reads(u32);

impl<'de> serde::Deserialize<'de> for Reads {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        assert_ne!(number, 7, "seven is not read");
        Ok(Self(number))
    }
}

#[task(name = "fit.reads", allow(signal))]
async fn reads() -> relive::Result<u32> {
    held("paid".into()).await?;
    Ok(relive::signal::<Reads>("step").await?.0)
}

#[tokio::test]
async fn a_signal_whose_reading_panics_is_set_aside() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(reads()).await.expect("starts");
    let run = handle.id();
    life.probe.begun("paid", 1).await;
    guard(life.engine.signal(run, "step", 7u32)).await.expect("nobody waits yet");
    guard(life.engine.signal(run, "step", 8u32)).await.expect("nobody waits yet");
    life.probe.open("paid");
    assert_eq!(guard(handle).await.expect("goes on"), 8);
    assert_eq!(set_aside(&life.engine, run).len(), 1);
}

#[tokio::test]
async fn a_later_life_knows_what_was_set_aside() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(paid()).await.expect("starts");
    let run = handle.id();
    life.probe.begun("paid", 1).await;
    guard(life.engine.signal(run, "step", "seven")).await.expect("nobody waits yet");
    guard(life.engine.signal(run, "step", 9u32)).await.expect("nobody waits yet");
    life.probe.open("paid");
    assert_eq!(guard(handle).await.expect("ends"), 9);
    let copied: MemoryStore = store.copy();
    let engine = open(&copied, &Probe::default()).await;
    assert_eq!(guard(engine.handle::<u32, Error>(run).expect("known")).await.expect("recorded"), 9);
    replays(&engine, run).await;
}
