//! Streams beside futures and other streams, by the combinators that everybody uses; and long ones.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use relive::{Error, ErrorKind, TraceOutcome, task, trace};
use relive_storage::{FaultStore, MemoryStore};

use super::cuts::{cut_everywhere, outcome_by_label};
use super::sources::{begins_at_zero_or_never, endless, held, item_count, numbers, produced, step};
use super::support::{Probe, builder, events, guard, open, open_with};

#[task(name = "streams.buffered")]
async fn buffered(count: u64) -> relive::Result<Vec<u64>> {
    let calls = stream::iter(0..count).map(|number| async move {
        let result = step(format!("call{number}")).await?;
        Ok::<_, Error>(result + number)
    });
    calls.buffer_unordered(3).try_collect().await
}

/// Items of a traced stream, each given to a trace, three at once.
#[task(name = "streams.fed")]
async fn fed(count: usize) -> relive::Result<u64> {
    let calls = numbers("fed", count).map_ok(|number| async move {
        let result = step(format!("call{number}")).await?;
        Ok::<_, Error>(result + number)
    });
    calls.try_buffer_unordered(3).try_fold(0, |sum, item| async move { Ok(sum + item) }).await
}

#[task(name = "streams.merged")]
async fn merged() -> relive::Result<Vec<u64>> {
    let right = numbers("right", 4).map_ok(|number| number + 10);
    let mut merged = stream::select(numbers("left", 4), right);
    let mut items = Vec::new();
    while let Some(item) = merged.next().await {
        items.push(item?);
        if items.len() == 3 {
            step("third".into()).await?;
        }
    }
    items.sort_unstable();
    Ok(items)
}

#[task(name = "streams.joined")]
async fn joined() -> relive::Result<u64> {
    let stream = async {
        let mut sum = 0;
        let mut stream = numbers("joined", 4);
        while let Some(item) = stream.next().await {
            sum += item? + step(format!("s{sum}")).await?;
        }
        Ok::<_, Error>(sum)
    };
    let beside = async { Ok::<_, Error>(step("one".into()).await? + step("two".into()).await?) };
    let (stream, beside) = join(stream, beside).await;
    Ok(stream? + beside?)
}

/// A stream that loses a race against a trace after some items.
#[task(name = "streams.raced")]
async fn raced() -> relive::Result<bool> {
    let mut stream = endless("raced");
    let mut race = Box::pin(async {
        for number in 0..3 {
            step(format!("racer{number}")).await?;
        }
        Ok::<_, Error>(())
    });
    loop {
        relive::select! {
            item = stream.next() => drop(item.expect("endless")?),
            done = &mut race => {
                done?;
                return Ok(true);
            }
        }
    }
}

/// An item comes while the body waits for something else, and is taken later.
#[task(name = "streams.parked")]
async fn parked() -> relive::Result<u64> {
    let (mut left, mut right) = (numbers("left", 3), numbers("right", 3));
    let mut sum = 0;
    // Both sources are called, and then waited for one by one.
    let (first, second) = join(left.next(), right.next()).await;
    sum += first.expect("an item")? + second.expect("an item")?;
    for number in 0..3 {
        sum += step(format!("step{number}")).await?;
    }
    sum += left.next().await.expect("an item")?;
    sum += step("between".into()).await?;
    sum += right.next().await.expect("an item")? * 10;
    sum += left.next().await.expect("an item")? * 100;
    Ok(sum)
}

#[tokio::test]
async fn combinators_of_streams_survive_a_crash_at_any_commit() {
    let (mut items, _) = cut_everywhere(|| buffered(1)).await;
    assert_eq!(items, [100]);
    items = cut_everywhere_sorted(5).await;
    assert_eq!(items, [100, 101, 102, 103, 104]);
    for cut in cut_everywhere(|| fed(5)).await.1 {
        begins_at_zero_or_never(&cut, "fed");
    }
    for cut in cut_everywhere(merged).await.1 {
        begins_at_zero_or_never(&cut, "left");
        begins_at_zero_or_never(&cut, "right");
    }
    for cut in cut_everywhere(joined).await.1 {
        begins_at_zero_or_never(&cut, "joined");
    }
    for cut in cut_everywhere(raced).await.1 {
        begins_at_zero_or_never(&cut, "raced");
        assert_eq!(outcome_by_label(&cut.after, "raced"), Some(&TraceOutcome::Dropped));
    }
    let (sum, cuts) = cut_everywhere(parked).await;
    assert_eq!(sum, 400 + 1 + 10 + 200);
    for cut in cuts {
        begins_at_zero_or_never(&cut, "left");
        begins_at_zero_or_never(&cut, "right");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn combinators_of_streams_survive_a_crash_at_any_commit_with_several_threads() {
    cut_everywhere(|| fed(5)).await;
    cut_everywhere(merged).await;
    cut_everywhere(joined).await;
    cut_everywhere(raced).await;
    cut_everywhere(parked).await;
}

#[task(name = "streams.buffered_sorted")]
async fn buffered_sorted(count: u64) -> relive::Result<Vec<u64>> {
    let calls = stream::iter(0..count).map(|number| async move {
        let result = step(format!("call{number}")).await?;
        Ok::<_, Error>(result + number)
    });
    let mut items: Vec<u64> = calls.buffer_unordered(3).try_collect().await?;
    items.sort_unstable();
    Ok(items)
}

async fn cut_everywhere_sorted(count: u64) -> Vec<u64> {
    cut_everywhere(|| buffered_sorted(count)).await.0
}

/// A source that is woken all the time, as one is that waits for several things.
#[trace(name = "streams.restless")]
fn restless(label: &str, count: u64) -> impl Stream<Item = relive::Result<u64>> {
    let _ = label;
    let mut number = 0;
    stream::poll_fn(move |cx| {
        cx.waker().wake_by_ref();
        number += 1;
        std::task::Poll::Ready((number <= count).then_some(Ok(number)))
    })
}

#[task(name = "streams.unrest")]
async fn unrest() -> relive::Result<u64> {
    let mut sum = 0;
    let mut merged = stream::select(restless("left", 20), restless("right", 20));
    while let Some(item) = merged.next().await {
        sum += item?;
        step(format!("step{sum}")).await?;
    }
    Ok(sum)
}

#[tokio::test]
async fn no_item_is_lost_if_its_source_is_woken_before_the_body_has_it() {
    let engine = open(&MemoryStore::new(), &Probe::default()).await;
    let handle = engine.start(unrest()).await.expect("starts");
    let run = handle.id();
    assert_eq!(guard(handle).await.expect("runs"), 2 * (1..=20).sum::<u64>());
    guard(engine.replay(run)).await.expect("fits").expect("is over");
}

#[trace(name = "streams.quiet")]
fn quiet() -> impl Stream<Item = relive::Result<u64>> {
    stream::iter((0..).map(Ok))
}

#[task(name = "streams.long")]
async fn long(count: usize) -> relive::Result<u64> {
    quiet().take(count).try_fold(0, |sum, item| async move { Ok(sum + item) }).await
}

#[tokio::test]
async fn the_items_of_a_long_stream_share_commits_and_none_is_missing() {
    let (store, count) = (FaultStore::new(), 200_000);
    let engine = builder(&Probe::default()).open_store(Arc::new(store.clone())).await.expect("opens");
    let handle = engine.start(long(count)).await.expect("starts");
    let run = handle.id();
    let expected: u64 = (0..count as u64).sum();
    assert_eq!(guard(handle).await.expect("runs"), expected);
    assert!(store.commit_count() < 2_000, "{} commits for {count} items", store.commit_count());
    assert_eq!(item_count(&events(&engine, run)), count);
    guard(engine.replay(run)).await.expect("fits").expect("is over");
}

#[tokio::test]
async fn a_long_stream_that_a_crash_cut_goes_on_behind_what_is_durable() {
    let (count, stop) = (20_000, 5);
    let store = FaultStore::stop_after(stop);
    let engine = builder(&Probe::default()).open_store(Arc::new(store.clone())).await.expect("opens");
    let error = guard(engine.run(long(count).id("x"))).await.expect_err("the store stops");
    assert_eq!(error.kind(), ErrorKind::Storage);
    let left = store.surviving();
    let handed_on = item_count(&super::cuts::log_of(&left));
    assert!((1..count).contains(&handed_on), "{handed_on} items are durable");
    let engine = open(&left, &Probe::default()).await;
    assert_eq!(guard(engine.run(long(count).id("x"))).await.expect("goes on"), (0..count as u64).sum::<u64>());
}

/// Whether the source comes to an end.
#[derive(Clone, Copy)]
struct Ends;

#[trace(name = "streams.ticks", resume = "from")]
fn ticks(label: &str, from: u64) -> impl Stream<Item = relive::Result<u64>> {
    let ends = relive::provided::<Ends>().is_ok();
    produced(label.to_owned(), from, u64::MAX).take(if ends { 3 } else { usize::MAX })
}

#[task(name = "streams.counts")]
async fn counts() -> relive::Result<u64> {
    ticks("ticks", 0).try_fold(0, |count, _| async move { Ok(count + 1) }).await
}

#[tokio::test]
async fn a_shutdown_in_the_middle_of_an_endless_stream_ends_at_once_and_the_run_goes_on_later() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open_with(&store, builder(&probe).shutdown_grace(Duration::from_secs(3600))).await;
    let handle = engine.start(counts()).await.expect("starts");
    let run = handle.id();
    probe.begun("-ticks.500", 1).await;
    guard(engine.shutdown()).await.expect("shuts down");
    assert_eq!(guard(handle).await.expect_err("closed").kind(), ErrorKind::Closed);

    let next = Probe::default();
    let engine = open_with(&store.copy(), builder(&next).provide(Ends)).await;
    let handed_on = events(&engine, run).iter().filter(|event| event.name() == "TraceYielded").count() as u64;
    let counted = guard(engine.handle::<u64, Error>(run).expect("known")).await.expect("goes on");
    assert!(counted >= 500 && counted >= handed_on, "{counted} items, {handed_on} of them seen");
    assert_eq!(next.all_begun().len(), 3, "the rest comes from the log: {:?}", next.all_begun());
}

#[task(name = "streams.cancelled")]
async fn cancelled() -> relive::Result<u64> {
    let sum = endless("cancelled").take(5).try_fold(0, |sum, item| async move { Ok(sum + item) }).await?;
    Ok(sum + held("gate".into()).await?)
}

#[tokio::test]
async fn a_run_that_is_cancelled_beside_a_stream_repeats_its_items_when_it_is_resumed() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let run = engine.start(cancelled()).await.expect("starts").id();
    probe.begun("gate", 1).await;
    guard(engine.cancel(run)).await.expect("cancels");
    let next = Probe::default();
    next.open("gate");
    let engine = open(&store.copy(), &next).await;
    guard(guard(async { engine.resume(run).await }).await.expect("resumes")).await.expect("succeeds");
    assert_eq!(guard(engine.handle::<u64, Error>(run).expect("known")).await.expect("succeeds"), 110);
    assert_eq!(next.all_begun(), ["gate"]);
}
