//! A body that awaits what is not a trace is found out, in strict and in lenient mode; what its branches exchange among
//! themselves is their own business.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::future::{join, join_all, join3};
use parking_lot::Mutex;
use relive::{Engine, Error, ErrorKind, Event, RunStatus, TaskOutcome, task, trace};
use relive_storage::MemoryStore;
use serde::{Deserialize, Serialize};
use tokio::sync::{Barrier, Notify, Semaphore, mpsc, oneshot};

use super::support::{Probe, builder, events, guard, open, open_with};

#[trace(name = "foreign.held")]
async fn held(label: &str) -> relive::Result<u32> {
    Probe::here()?.hold(label).await;
    Ok(1)
}

#[trace(name = "foreign.step")]
async fn step(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    Ok(1)
}

/// Sends to its own task's body, behind the engine's back; then it is held.
#[trace(name = "foreign.sends", skip(sender))]
async fn sends(sender: mpsc::UnboundedSender<u32>) -> relive::Result<u32> {
    Probe::here()?.begin("sends");
    let _ = sender.send(1);
    std::future::pending().await
}

/// As `sends`, and ends at once.
#[trace(name = "foreign.sends_and_ends", skip(sender))]
async fn sends_and_ends(sender: mpsc::UnboundedSender<u32>) -> relive::Result<u32> {
    let _ = sender.send(1);
    Ok(1)
}

/// What a body awaits that it must not.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Foreign {
    Sleep,
    SleepBesideTrace,
    TimeoutAroundTrace,
    SpawnedTask,
    SpawnedTaskBesideTrace,
    FedByThread,
    FedByThreadBesideTrace,
    FedByEffect,
    FedByEffectThatEnds,
    Nothing,
    YieldNow,
    YieldNowBesideTrace,
    WakesItselfForEver,
}

const ALL: [Foreign; 12] = [
    Foreign::Sleep,
    Foreign::SleepBesideTrace,
    Foreign::TimeoutAroundTrace,
    Foreign::SpawnedTask,
    Foreign::SpawnedTaskBesideTrace,
    Foreign::FedByThread,
    Foreign::FedByThreadBesideTrace,
    Foreign::FedByEffect,
    Foreign::Nothing,
    Foreign::YieldNow,
    Foreign::YieldNowBesideTrace,
    Foreign::WakesItselfForEver,
];

/// Sent by a thread that is none of the engine's, once the body has asked for it.
async fn fed_by_thread() -> u32 {
    let (sender, mut receiver) = oneshot::channel();
    let mut sender = Some(sender);
    poll_fn(move |cx| {
        let polled = Pin::new(&mut receiver).poll(cx);
        if let Some(sender) = sender.take() {
            std::thread::spawn(move || sender.send(1));
        }
        polled.map(|sent| sent.unwrap_or_default())
    })
    .await
}

#[expect(clippy::disallowed_methods, reason = "the mistake that is to be found")]
fn short_sleep() -> impl Future<Output = ()> {
    tokio::time::sleep(Duration::from_millis(1))
}

/// What follows `foreign` shows that the body got on by it.
async fn then_step<T>(foreign: impl Future<Output = T>) -> relive::Result<u32> {
    foreign.await;
    step("behind".into()).await
}

#[task(name = "foreign.awaits", cache = "off", allow(timer, spawn))]
async fn awaits(foreign: Foreign) -> relive::Result<u32> {
    match foreign {
        Foreign::Sleep => then_step(short_sleep()).await,
        Foreign::SleepBesideTrace => join(held("never"), then_step(short_sleep())).await.1,
        Foreign::TimeoutAroundTrace => {
            let timed = tokio::time::timeout(Duration::from_millis(1), held("never")).await;
            timed.map_err(|_| Error::msg("timed out"))?
        }
        Foreign::SpawnedTask => then_step(tokio::spawn(async { 1 })).await,
        Foreign::SpawnedTaskBesideTrace => join(held("ends"), then_step(tokio::spawn(async { 1 }))).await.1,
        Foreign::FedByThread => then_step(fed_by_thread()).await,
        Foreign::FedByThreadBesideTrace => join(held("never"), then_step(fed_by_thread())).await.1,
        Foreign::FedByEffect => {
            let (sender, mut receiver) = mpsc::unbounded_channel();
            join(sends(sender), then_step(receiver.recv())).await.1
        }
        Foreign::FedByEffectThatEnds => {
            let (sender, mut receiver) = mpsc::unbounded_channel();
            join(sends_and_ends(sender), then_step(receiver.recv())).await.1
        }
        Foreign::Nothing => std::future::pending().await,
        Foreign::YieldNow => then_step(tokio::task::yield_now()).await,
        Foreign::YieldNowBesideTrace => join(held("never"), then_step(tokio::task::yield_now())).await.1,
        Foreign::WakesItselfForEver => {
            poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await
        }
    }
}

#[task(name = "foreign.honest", cache = "off")]
async fn honest() -> relive::Result<u32> {
    step("honest".into()).await
}

#[expect(clippy::print_stdout, reason = "which await it was, if one hangs")]
async fn every_foreign_await_fails_its_run_alone(strict: bool) {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    // In strict mode a spawned task never runs: it is found out when nothing else is under way.
    probe.open("ends");
    let engine = open_with(&store, builder(&probe).strict(strict)).await;
    let mut failed = Vec::new();
    for foreign in ALL {
        println!("{foreign:?}, strict: {strict}");
        let handle = engine.start(awaits(foreign)).await.expect("starts");
        let run = handle.id();
        let Err(error) = guard(handle).await else { panic!("{foreign:?} was not found out, strict: {strict}") };
        assert_eq!(error.kind(), ErrorKind::ForeignAwait, "{foreign:?}, strict: {strict}: {error:?}");
        let message = error.to_string();
        let helps = message.contains("put it into a trace") || message.contains("put what it awaits into a trace");
        assert!(helps || matches!(foreign, Foreign::WakesItselfForEver), "{foreign:?}: {message}");
        match events(&engine, run).pop() {
            Some(Event::TaskCompleted(completed)) => match completed.outcome {
                TaskOutcome::Err(record) => {
                    assert_eq!((record.kind, record.message), (ErrorKind::ForeignAwait, message));
                }
                other => panic!("{foreign:?} is recorded as {other:?}"),
            },
            other => panic!("{foreign:?}: the log ends with {other:?}"),
        }
        failed.push(run);
    }
    assert_eq!(guard(engine.run(honest())).await.expect("the others go on"), 1);
    let again = open(&store.copy(), &Probe::default()).await;
    for run in failed {
        assert_eq!(again.status(run).expect("known"), RunStatus::Failed, "the failure is durable");
    }
}

#[tokio::test]
async fn every_foreign_await_fails_its_run_alone_in_strict_mode() {
    every_foreign_await_fails_its_run_alone(true).await;
}

#[tokio::test]
async fn every_foreign_await_fails_its_run_alone_in_lenient_mode() {
    every_foreign_await_fails_its_run_alone(false).await;
}

#[tokio::test]
async fn what_an_effect_sends_before_it_ends_is_found_out() {
    for strict in [true, false] {
        let engine = open_with(&MemoryStore::new(), builder(&Probe::default()).strict(strict)).await;
        let error = guard(engine.run(awaits(Foreign::FedByEffectThatEnds))).await.expect_err("found out");
        assert_eq!(error.kind(), ErrorKind::ForeignAwait, "{error:?}");
    }
}

#[tokio::test]
async fn strict_mode_finds_a_timer_where_it_is_made() {
    let probe = Probe::default();
    let engine = open_with(&MemoryStore::new(), builder(&probe).strict(true)).await;
    let error = guard(engine.run(awaits(Foreign::TimeoutAroundTrace))).await.expect_err("found out");
    assert!(error.to_string().contains("timer"), "{error}");
    assert_eq!(probe.all_begun(), Vec::<String>::new(), "before any effect");
}

/// Where a body leaves its waker for the test.
#[derive(Clone, Default)]
struct Leaked(Arc<Mutex<Option<Waker>>>);

#[task(name = "foreign.leaks", cache = "off")]
async fn leaks() -> relive::Result<u32> {
    let leaked = relive::provided::<Leaked>()?;
    let mut call = std::pin::pin!(held("leaks"));
    poll_fn(move |cx| {
        *leaked.0.lock() = Some(cx.waker().clone());
        call.as_mut().poll(cx)
    })
    .await
}

#[tokio::test]
async fn a_strangers_wake_that_does_no_harm_fails_a_strict_run_and_is_let_pass_by_a_lenient_one() {
    for strict in [true, false] {
        let (probe, leaked) = (Probe::default(), Leaked::default());
        let engine = open_with(&MemoryStore::new(), builder(&probe).strict(strict).provide(leaked.clone())).await;
        let handle = engine.start(leaks()).await.expect("starts");
        probe.begun("leaks", 1).await;
        leaked.0.lock().take().expect("the body has left its waker").wake();
        if strict {
            assert_eq!(guard(handle).await.expect_err("found out").kind(), ErrorKind::ForeignAwait);
        } else {
            probe.open("leaks");
            assert_eq!(guard(handle).await.expect("let pass"), 1);
        }
    }
}

/// Branches that exchange all they can among themselves, with traces between.
#[task(name = "foreign.branches")]
async fn branches(number: u32) -> relive::Result<u32> {
    let (sender, mut receiver) = mpsc::channel(1);
    let (once, answer) = oneshot::channel();
    let (notify, barrier, semaphore) = (Notify::new(), Barrier::new(2), Semaphore::new(1));
    let shared = tokio::sync::Mutex::new(0);
    let label = |text: &str| format!("{text}{number}");
    let first = async {
        for part in 0..3 {
            let value = step(label(&format!("first{part}"))).await?;
            // The other branch ends only after the last.
            let _ = sender.send(value).await;
        }
        drop(sender);
        notify.notify_one();
        barrier.wait().await;
        let permit = semaphore.acquire().await?;
        *shared.lock().await += step(label("locked")).await?;
        drop(permit);
        answer.await.map_err(Error::from)
    };
    let second = async {
        let mut sum = 0;
        while let Some(value) = receiver.recv().await {
            sum += value + step(label("second")).await?;
        }
        notify.notified().await;
        step(label("notified")).await?;
        barrier.wait().await;
        let _permit = semaphore.acquire().await?;
        *shared.lock().await += sum;
        let _ = once.send(sum);
        Ok::<u32, Error>(sum)
    };
    let many = join_all((0..40).map(|part| {
        let (semaphore, label) = (&semaphore, label(&format!("many{part}")));
        async move {
            let _permit = semaphore.acquire().await?;
            step(label).await
        }
    }));
    let (first, second, many) = join3(first, second, many).await;
    let many: u32 = many.into_iter().sum::<relive::Result<u32>>()?;
    let last = held("last").await?;
    Ok(first? + second? + many + last + shared.into_inner())
}

#[tokio::test]
async fn what_branches_exchange_is_not_flagged_and_replays() {
    for strict in [true, false] {
        let (store, probe) = (MemoryStore::new(), Probe::default());
        let engine: Engine = open_with(&store, builder(&probe).strict(strict)).await;
        let run = engine.start(branches(1)).await.expect("starts").id();
        probe.begun("last", 1).await;
        let before = events(&engine, run);

        let probe = Probe::default();
        probe.open("last");
        let engine = open_with(&store.copy(), builder(&probe).strict(strict)).await;
        let handle = engine.handle::<u32, Error>(run).expect("known");
        assert_eq!(guard(handle).await.expect("replays"), 6 + 6 + 40 + 1 + 7);
        assert_eq!(probe.all_begun(), ["last"], "nothing else runs again");
        let after = events(&engine, run);
        assert_eq!(after[..before.len()], before[..], "the log is continued");
        assert_eq!(after.len(), before.len() + 2);
    }
}

#[task(name = "foreign.hands_out", cache = "off", allow(spawn))]
async fn hands_out() -> relive::Result<u32> {
    let call = held("handed out");
    tokio::spawn(call).await?
}

#[tokio::test]
async fn a_trace_that_is_awaited_by_a_spawned_task_fails() {
    for strict in [true, false] {
        let engine = open_with(&MemoryStore::new(), builder(&Probe::default()).strict(strict)).await;
        let error = guard(engine.run(hands_out())).await.expect_err("found out");
        let expected = [ErrorKind::ForeignAwait, ErrorKind::OutsideTask];
        assert!(expected.contains(&error.kind()), "strict: {strict}: {error:?}");
    }
}
