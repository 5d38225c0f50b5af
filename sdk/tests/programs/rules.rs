//! The four rules that make ordinary combinators deterministic, one by one: each test fails without its rule.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;

use futures::future::FutureExt;
use relive::{Engine, Error, Event, Result, RunId, TaskOutcome, task, trace};
use relive_storage::MemoryStore;
use tokio::sync::Notify;

use crate::runtime;

/// What a test and its effects share.
#[derive(Default)]
struct Stage {
    body_polls: AtomicU32,
    most_ready: AtomicU32,
    ended: Notify,
    progressed: AtomicBool,
    reversed: AtomicBool,
}

async fn open(store: &MemoryStore, stage: &Arc<Stage>) -> Engine {
    Engine::builder().provide(Arc::clone(stage)).open_store(Arc::new(store.clone())).await.unwrap()
}

fn stage() -> Result<Arc<Stage>> {
    Ok(Arc::clone(&*relive::provided::<Arc<Stage>>()?))
}

fn log(engine: &Engine, run: RunId) -> Vec<Event> {
    engine.events(run).map(|logged| logged.unwrap().event).collect()
}

/// Runs a call once, and replays its log a few times.
async fn run_and_replay(call: relive::Call<i64, Error>, replays: u32) -> (i64, Vec<Event>, Arc<Stage>) {
    let (store, stage) = (MemoryStore::new(), Arc::default());
    let engine = open(&store, &stage).await;
    let handle = engine.start(call).await.unwrap();
    let run = handle.id();
    let result = handle.await.unwrap();
    for _ in 0..replays {
        let Some(TaskOutcome::Ok(again)) = engine.replay(run).await.unwrap() else { panic!("the run is complete") };
        assert_eq!(again.decode::<i64>().unwrap(), result);
    }
    (result, log(&engine, run), stage)
}

#[trace]
async fn restless(wakes: u32) -> Result<i64> {
    for _ in 0..wakes {
        tokio::task::yield_now().await;
    }
    Ok(1)
}

#[trace]
async fn value(of: i64) -> Result<i64> {
    Ok(of)
}

#[task]
async fn counts_its_polls(wakes: u32) -> Result<i64> {
    let stage = stage()?;
    let counted = poll_fn(|_| {
        stage.body_polls.fetch_add(1, Ordering::Relaxed);
        Poll::<()>::Pending
    });
    tokio::select! {
        result = restless(wakes) => result,
        () = counted => Ok(0),
    }
}

#[test]
fn rule_1_only_a_delivery_polls_the_body() {
    runtime().block_on(async {
        let polls = async |wakes| run_and_replay(counts_its_polls(wakes), 0).await.2.body_polls.load(Ordering::Relaxed);
        // Once to start; at the delivery the first branch is ready.
        assert_eq!(polls(0).await, 1);
        assert_eq!(polls(100).await, 1, "an effect's wakes are not the body's");
    });
}

#[trace]
async fn tells_its_end() -> Result<i64> {
    let stage = stage()?;
    tokio::task::yield_now().await;
    stage.progressed.store(true, Ordering::Relaxed);
    stage.ended.notify_one();
    Ok(1)
}

#[trace]
async fn waits_for_the_end_of_the_other() -> Result<i64> {
    stage()?.ended.notified().await;
    Ok(2)
}

#[task]
async fn holds_a_trace_unpolled() -> Result<i64> {
    let mut held = Box::pin(tells_its_end());
    assert!(futures::poll!(&mut held).is_pending());
    // Would never end, were the other polled with the body only.
    let second = waits_for_the_end_of_the_other().await?;
    Ok(held.await? + second)
}

#[test]
fn rule_1_a_trace_that_is_held_and_not_polled_goes_on() {
    runtime().block_on(async {
        let (result, _, stage) = run_and_replay(holds_a_trace_unpolled(), 1).await;
        assert_eq!((result, stage.progressed.load(Ordering::Relaxed)), (3, true));
    });
}

#[task]
async fn moves_many_messages_at_once(count: i64) -> Result<i64> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let sends = async {
        let first = value(1).await?;
        for _ in 0..count {
            sender.send(first).await?;
        }
        drop(sender);
        Result::<()>::Ok(())
    };
    let sums = async {
        let mut sum = 0;
        while let Some(received) = receiver.recv().await {
            sum += received;
        }
        value(sum).await
    };
    let (sent, sum) = tokio::join!(sends, sums);
    sent?;
    sum
}

#[test]
fn rule_2_a_step_ends_when_the_body_is_settled_however_much_it_does() {
    runtime().block_on(async {
        // Tokio's budget is 128 operations a poll; the channel holds one message.
        let (result, log, _) = run_and_replay(moves_many_messages_at_once(1_000), 3).await;
        assert_eq!(result, 1_000);
        let names: Vec<_> = log.iter().map(Event::name).collect();
        let two_traces = ["TraceStarted", "TraceCompleted", "TraceStarted", "TraceCompleted"];
        assert_eq!(names, [&["TaskStarted"], &two_traces[..], &["TaskCompleted"]].concat());
    });
}

#[task]
async fn never_settles() -> Result<i64> {
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::<()>::Pending
    })
    .await;
    Ok(0)
}

#[test]
fn rule_2_a_body_that_never_settles_is_an_error() {
    runtime().block_on(async {
        let engine = open(&MemoryStore::new(), &Arc::default()).await;
        let error = engine.run(never_settles()).await.unwrap_err();
        assert_eq!(error.kind(), relive::ErrorKind::ForeignAwait);
    });
}

#[task]
async fn asks_for_two_parked_results() -> Result<i64> {
    let (mut a, mut b) = (Box::pin(value(1)), Box::pin(value(2)));
    assert!(futures::poll!(&mut a).is_pending() && futures::poll!(&mut b).is_pending());
    // Both are delivered while nobody polls them.
    for step in 10..14 {
        value(step).await?;
    }
    let stage = stage()?;
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        let mut ready = 0;
        if first.is_none()
            && let Poll::Ready(result) = a.poll_unpin(cx)
        {
            first = Some(result);
            ready += 1;
        }
        if second.is_none()
            && let Poll::Ready(result) = b.poll_unpin(cx)
        {
            second = Some(result);
            ready += 1;
        }
        stage.most_ready.fetch_max(ready, Ordering::Relaxed);
        if first.is_some() && second.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    Ok(3)
}

#[test]
fn rule_3_at_most_one_trace_is_ready_in_any_poll() {
    runtime().block_on(async {
        let (_, log, stage) = run_and_replay(asks_for_two_parked_results(), 1).await;
        assert_eq!(stage.most_ready.load(Ordering::Relaxed), 1);
        assert_eq!(log.len(), 2 + 6 * 2);
    });
}

#[task]
async fn chooses_between_parked_results(_seed: u32) -> Result<i64> {
    let (mut a, mut b) = (Box::pin(value(1)), Box::pin(value(2)));
    assert!(futures::poll!(&mut a).is_pending() && futures::poll!(&mut b).is_pending());
    for step in 10..14 {
        value(step).await?;
    }
    let chosen = by_chance(a, b).await?;
    value(chosen * 100).await
}

/// Outside the task's own tokens, so that no `biased;` is put in.
async fn by_chance(
    a: impl Future<Output = Result<i64>> + Unpin,
    b: impl Future<Output = Result<i64>> + Unpin,
) -> Result<i64> {
    tokio::select! {
        result = a => result,
        result = b => result,
    }
}

#[test]
fn rule_3_an_unbiased_choice_between_parked_results_replays() {
    runtime().block_on(async {
        for seed in 0..30 {
            run_and_replay(chooses_between_parked_results(seed), 10).await;
        }
    });
}

#[trace]
async fn waits_forever(of: i64) -> Result<i64> {
    std::future::pending::<()>().await;
    Ok(of)
}

#[task]
async fn starts_in_any_order() -> Result<i64> {
    let mut order = vec![1, 2, 3];
    if stage()?.reversed.load(Ordering::Relaxed) {
        order.reverse();
    }
    let results = futures::future::join_all(order.into_iter().map(waits_forever)).await;
    results.into_iter().sum()
}

#[test]
fn rule_4_the_order_of_starts_within_a_step_carries_no_meaning() {
    runtime().block_on(async {
        let (store, stage) = (MemoryStore::new(), Arc::<Stage>::default());
        let engine = open(&store, &stage).await;
        let run = engine.start(starts_in_any_order()).await.unwrap().id();
        drop(engine);
        stage.reversed.store(true, Ordering::Relaxed);
        let engine = open(&store, &stage).await;
        assert_eq!(engine.replay(run).await.unwrap(), None, "the log fits as far as it goes");
    });
}

#[task]
async fn chooses_between_ready_branches(seed: u32) -> Result<i64> {
    let chosen = tokio::select! {
        result = std::future::ready(1) => result,
        result = std::future::ready(2) => result,
    };
    value(chosen + i64::from(seed) * 10).await
}

#[test]
fn rule_4_select_in_a_task_takes_its_branches_in_order() {
    runtime().block_on(async {
        let mut chosen = BTreeSet::new();
        for seed in 0..40 {
            chosen.insert(run_and_replay(chooses_between_ready_branches(seed), 3).await.0 % 10);
        }
        assert_eq!(chosen, BTreeSet::from([1]));
    });
}
