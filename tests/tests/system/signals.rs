//! Signals: durable when their sender is told, kept when they are early, each handed to one wait.

use std::time::Duration;

use relive::{Engine, Error, ErrorKind, Event, RunId, RunStatus, TaskOutcome, TraceOutcome, task, trace};
use relive_storage::{FaultStore, MemoryStore};
use serde::{Deserialize, Serialize};

use super::crashes::{Life, cut_at_every_commit, first_life, only_run};
use super::retries::{completed, flaky_body, seconds};
use super::support::{Probe, builder, events, guard, listening, open, open_with};
use relive_tests::manual_clock::ManualClock;

/// What a person answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Answer {
    by: String,
    approved: bool,
}

fn answer(by: &str) -> Answer {
    Answer { by: by.to_owned(), approved: true }
}

#[trace(name = "signals.held")]
async fn held(label: String) -> relive::Result<usize> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

#[trace(name = "signals.flaky")]
async fn flaky(label: String) -> relive::Result<usize> {
    flaky_body(&label, 1)
}

#[task(name = "signals.approval", allow(signal))]
async fn approval() -> relive::Result<String> {
    let answer = relive::signal::<Answer>("answer").await?;
    Ok(answer.by)
}

/// Does something first, so that signals may be early.
#[task(name = "signals.later", allow(signal))]
async fn later() -> relive::Result<String> {
    held("before".into()).await?;
    Ok(relive::signal::<Answer>("answer").await?.by)
}

#[task(name = "signals.three")]
async fn three() -> relive::Result<Vec<u32>> {
    three_numbers().await
}

async fn three_numbers() -> relive::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for _ in 0..3 {
        numbers.push(relive::signal::<u32>("number").await?);
    }
    Ok(numbers)
}

#[task(name = "signals.two_waits", allow(signal))]
async fn two_waits() -> relive::Result<(u32, u32)> {
    futures::future::try_join(relive::signal::<u32>("number"), relive::signal::<u32>("number")).await
}

#[task(name = "signals.two_names", allow(signal))]
async fn two_names() -> relive::Result<(u32, String)> {
    futures::future::try_join(relive::signal::<u32>("number"), relive::signal::<String>("text")).await
}

#[task(name = "signals.limited", allow(signal))]
async fn limited() -> relive::Result<String> {
    let first = relive::timeout(seconds(10), relive::signal::<u32>("number")).await;
    let second = relive::signal::<u32>("number").await?;
    Ok(format!("{:?} {second}", first.map(|number| number.map_err(|error| error.kind())).map_err(|error| error.kind())))
}

/// Waits for two signals, with a step between that fails at first.
#[task(name = "signals.attempts", allow(signal))]
async fn attempts() -> relive::Result<(u32, u32)> {
    let first = relive::signal::<u32>("number").await?;
    flaky("attempts".into()).await?;
    Ok((first, relive::signal::<u32>("number").await?))
}

pub(super) fn received(engine: &Engine, run: RunId) -> Vec<String> {
    let name = |event| if let Event::SignalReceived(signal) = event { Some(signal.name) } else { None };
    events(engine, run).into_iter().filter_map(name).collect()
}

pub(super) async fn waits(engine: &Engine, run: RunId) {
    while !events(engine, run).iter().any(|event| matches!(event, Event::TraceStarted(_))) {
        tokio::task::yield_now().await;
    }
}

pub(super) async fn outcome<T: serde::de::DeserializeOwned>(engine: &Engine, run: RunId) -> relive::Result<T> {
    guard(engine.handle::<T, Error>(run)?).await
}

#[tokio::test]
async fn a_run_waits_for_a_signal_and_gets_its_value() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(approval()).await.expect("starts");
    let run = handle.id();
    waits(&life.engine, run).await;
    assert_eq!(handle.status(), RunStatus::Running);
    guard(life.engine.signal(run, "answer", answer("Ada"))).await.expect("is taken");
    assert_eq!(guard(handle).await.expect("ends"), "Ada");
    assert_eq!(received(&life.engine, run), ["answer"]);
    assert!(matches!(guard(life.engine.replay(run)).await, Ok(Some(TaskOutcome::Ok(_)))), "it replays");
    let (_, next) = life.crash(&store, Duration::ZERO).await;
    assert_eq!(outcome::<String>(&next.engine, run).await.expect("recorded"), "Ada");
}

#[tokio::test]
async fn an_early_signal_is_kept_also_over_a_crash() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(later()).await.expect("starts");
    let run = handle.id();
    life.probe.begun("before", 1).await;
    guard(life.engine.signal(run, "answer", answer("Ada"))).await.expect("is taken");
    guard(life.engine.signal(run, "answer", answer("Bob"))).await.expect("is taken");
    let (_, next) = life.crash(&store, Duration::ZERO).await;
    for life in [&life, &next] {
        life.probe.open("before");
        assert_eq!(outcome::<String>(&life.engine, run).await.expect("ends"), "Ada");
    }
    assert_eq!(received(&next.engine, run), ["answer", "answer"], "also what nobody waited for is in the log, once");
}

#[tokio::test]
async fn a_signal_is_taken_while_the_run_waits_for_its_turn() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open_with(&store, builder(&probe).runs_max(1)).await;
    let first = engine.start(later()).await.expect("starts");
    probe.begun("before", 1).await;
    let second = engine.start(approval()).await.expect("starts");
    let run = second.id();
    assert_eq!(second.status(), RunStatus::Queued);
    guard(engine.signal(run, "answer", answer("Ada"))).await.expect("is taken");
    let crashed = store.copy();
    probe.open("before");
    guard(engine.signal(first.id(), "answer", answer("Bob"))).await.expect("is taken");
    assert_eq!(guard(first).await.expect("ends"), "Bob");
    assert_eq!(guard(second).await.expect("ends"), "Ada");
    let engine = open(&crashed, &Probe::default()).await;
    assert_eq!(outcome::<String>(&engine, run).await.expect("ends"), "Ada");
    assert_eq!(received(&engine, run), ["answer"]);
}

#[tokio::test]
async fn signals_of_one_name_come_in_their_order_and_each_to_one_wait() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(three()).await.expect("starts");
    for number in [3u32, 1, 3] {
        guard(life.engine.signal(handle.id(), "number", number)).await.expect("is taken");
    }
    assert_eq!(guard(handle).await.expect("ends"), [3, 1, 3]);

    for (first, second) in [(1u32, 2u32), (5, 5)] {
        let handle = life.engine.start(two_waits().id(format!("{first} {second}")).refresh()).await.expect("starts");
        let run = handle.id();
        waits(&life.engine, run).await;
        guard(life.engine.signal(run, "number", first)).await.expect("is taken");
        assert_eq!(life.engine.status(run).expect("known"), RunStatus::Running);
        guard(life.engine.signal(run, "number", second)).await.expect("is taken");
        let (one, other) = guard(handle).await.expect("ends");
        assert_eq!([one.min(other), one.max(other)], [first, second]);
        assert!(matches!(guard(life.engine.replay(run)).await, Ok(Some(TaskOutcome::Ok(_)))), "it replays");
    }
}

#[tokio::test]
async fn a_wall_clock_that_goes_back_changes_no_order_of_signals() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(behind().id("order")).await.expect("starts");
    let run = handle.id();
    life.probe.begun("before", 1).await;
    for number in [1u32, 2] {
        guard(life.engine.signal(run, "number", number)).await.expect("is taken");
        life.clock.jump(-86_400);
    }
    let (_, next) = life.crash(&store, Duration::ZERO).await;
    guard(next.engine.signal(run, "number", 3u32)).await.expect("is taken");
    next.probe.open("before");
    assert_eq!(outcome::<Vec<u32>>(&next.engine, run).await.expect("ends"), [1, 2, 3]);
}

#[task(name = "signals.behind")]
async fn behind() -> relive::Result<Vec<u32>> {
    held("before".into()).await?;
    three_numbers().await
}

#[tokio::test]
async fn signals_of_different_names_do_not_meet() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(two_names()).await.expect("starts");
    let run = handle.id();
    guard(life.engine.signal(run, "text", "words")).await.expect("is taken");
    guard(life.engine.signal(run, "nobody's", 7u32)).await.expect("is kept");
    guard(life.engine.signal(run, "number", 7u32)).await.expect("is taken");
    assert_eq!(guard(handle).await.expect("ends"), (7, "words".to_owned()));
}

#[tokio::test]
async fn a_signal_is_durable_when_its_sender_is_told() {
    // The store stops right behind the commit that the sender was told of.
    let (store, probe, clock) = (FaultStore::new(), Probe::default(), ManualClock::default());
    let (settings, told) = listening(builder(&probe).clock(clock));
    let engine = settings.open_store(std::sync::Arc::new(store.clone())).await.expect("opens");
    let handle = engine.start(later()).await.expect("starts");
    let run = handle.id();
    probe.begun("before", 1).await;
    guard(engine.signal(run, "answer", answer("Ada"))).await.expect("is taken");
    let left = store.surviving();
    drop((engine, told));
    probe.open("before");
    let engine = open(&left, &probe).await;
    assert_eq!(outcome::<String>(&engine, run).await.expect("ends"), "Ada");
}

#[tokio::test]
async fn a_signal_that_could_not_be_written_is_an_error_to_its_sender() {
    let (store, probe) = (FaultStore::new(), Probe::default());
    let engine = builder(&probe).open_store(std::sync::Arc::new(store.clone())).await.expect("opens");
    let handle = engine.start(later()).await.expect("starts");
    let run = handle.id();
    probe.begun("before", 1).await;
    store.set_stop_after(store.commit_count());
    let error = guard(engine.signal(run, "answer", answer("Ada"))).await.expect_err("not durable");
    assert_eq!(error.kind(), ErrorKind::Storage);
    let engine = open(&store.surviving(), &Probe::default()).await;
    assert_eq!(received(&engine, run), Vec::<String>::new());
}

#[tokio::test]
async fn a_signal_of_the_wrong_type_is_refused_while_somebody_waits_and_nothing_is_recorded() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(approval()).await.expect("starts");
    let run = handle.id();
    waits(&life.engine, run).await;
    let before = events(&life.engine, run);
    let error = guard(life.engine.signal(run, "answer", 7u32)).await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Payload);
    let message = error.to_string();
    for part in [run.to_string().as_str(), "answer", "Answer", "7"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(events(&life.engine, run), before);
    guard(life.engine.signal(run, "answer", answer("Ada"))).await.expect("is taken");
    assert_eq!(guard(handle).await.expect("ends"), "Ada");
}

#[tokio::test]
async fn a_signal_to_a_run_that_is_not_there_or_has_ended_is_refused() {
    let (store, life) = first_life().await;
    let nobody = RunId::from_bytes([9; 16]);
    let error = guard(life.engine.signal(nobody, "answer", 1)).await.expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::UnknownRun);
    assert!(error.to_string().contains(&nobody.to_string()), "{error}");
    let handle = life.engine.start(approval()).await.expect("starts");
    let run = handle.id();
    guard(life.engine.signal(run, "answer", answer("Ada"))).await.expect("is taken");
    guard(handle).await.expect("ends");
    let (_, next) = life.crash(&store, Duration::ZERO).await;
    for engine in [&life.engine, &next.engine] {
        let error = guard(engine.signal(run, "answer", answer("Bob"))).await.expect_err("ended");
        assert_eq!(error.kind(), ErrorKind::Ended);
        assert!(error.to_string().contains(&run.to_string()) && error.to_string().contains("answer"), "{error}");
    }
    assert_eq!(received(&life.engine, run).len(), 1);
}

#[tokio::test]
async fn a_wait_whose_time_is_over_eats_no_signal() {
    for early in [false, true] {
        let (_, life) = first_life().await;
        let handle = life.engine.start(limited()).await.expect("starts");
        let run = handle.id();
        life.clock.sleeps(seconds(10)).await;
        if early {
            guard(life.engine.signal(run, "number", 1u32)).await.expect("is taken");
        } else {
            life.clock.advance(seconds(10));
            while !completed(&life.engine, run).iter().any(|completed| completed.outcome == TraceOutcome::Dropped) {
                tokio::task::yield_now().await;
            }
        }
        guard(life.engine.signal(run, "number", 2u32)).await.expect("is taken");
        let expected = if early { "Ok(Ok(1)) 2" } else { "Err(TimedOut) 2" };
        assert_eq!(guard(handle).await.expect("ends"), expected);
        assert!(matches!(guard(life.engine.replay(run)).await, Ok(Some(TaskOutcome::Ok(_)))), "it replays");
    }
}

#[tokio::test]
async fn a_resumed_run_repeats_the_signals_it_took_and_waits_for_the_others() {
    for queue_both in [false, true] {
        let (store, life) = first_life().await;
        let handle = life.engine.start(attempts()).await.expect("starts");
        let run = handle.id();
        waits(&life.engine, run).await;
        // Taken together, before the run fails: the second one waits for the next attempt.
        let senders = [1u32, 2].map(|number| life.engine.signal(run, "number", number));
        let [first, second] = senders;
        // The second may come too late; what was acknowledged is kept, in the log or for it.
        let second_kept = if queue_both {
            let (first, second) = futures::future::join(first, second).await;
            first.expect("is taken");
            second.map_err(|error| assert_eq!(error.kind(), ErrorKind::Ended)).is_ok()
        } else {
            guard(first).await.expect("is taken");
            false
        };
        guard(handle).await.expect_err("the step fails");
        let (_, next) = life.crash(&store, Duration::ZERO).await;
        for life in [&life, &next] {
            // The probe of the next life knows of no failure.
            life.probe.begin("attempts");
            let resumed = guard(life.engine.resume(run)).await.expect("resumes");
            if !second_kept {
                guard(life.engine.signal(run, "number", 2u32)).await.expect("is taken");
            }
            drop(resumed);
            assert_eq!(outcome::<(u32, u32)>(&life.engine, run).await.expect("ends"), (1, 2));
            assert_eq!(received(&life.engine, run).len(), 2, "none twice");
            assert!(matches!(guard(life.engine.replay(run)).await, Ok(Some(TaskOutcome::Ok(_)))), "it replays");
        }
    }
}

#[tokio::test]
async fn each_signal_is_in_the_log_once_wherever_the_process_ends() {
    let live = async |life: &Life| {
        let handle = life.engine.start(three().id("cut")).await?;
        let run = handle.id();
        // A sender that remembers what was acknowledged.
        for number in life.probe.count("sent")..3 {
            life.engine.signal(run, "number", number).await?;
            life.probe.begin("sent");
        }
        handle.await
    };
    cut_at_every_commit(
        |builder| builder,
        live,
        |life, numbers, cut| {
            let run = only_run(&life.engine);
            assert_eq!(numbers, [0, 1, 2], "cut {cut}");
            assert_eq!(received(&life.engine, run).len(), 3, "cut {cut}");
        },
    )
    .await;
}
