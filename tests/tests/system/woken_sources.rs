//! Streams and iterators whose sources and bodies do unusual things between two items.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use futures::{Stream, StreamExt};
use relive::{Result, task, trace};
use relive_storage::MemoryStore;

use crate::support::{Probe, guard, open};

/// Wakes itself with every item, as a source does that has the next one at hand.
#[trace]
fn source_that_wakes_itself(count: u32) -> impl Stream<Item = Result<u32>> {
    let mut next = 0;
    futures::stream::poll_fn(move |cx| {
        cx.waker().wake_by_ref();
        next += 1;
        std::task::Poll::Ready((next <= count).then_some(Ok(next)))
    })
}

#[trace]
async fn source_double(item: u32) -> Result<u32> {
    Ok(item * 2)
}

#[task]
async fn source_slowly_taken(count: u32) -> Result<Vec<u32>> {
    let mut items = std::pin::pin!(source_that_wakes_itself(count));
    let mut doubled = Vec::new();
    while let Some(item) = items.next().await {
        doubled.push(source_double(item?).await?);
    }
    Ok(doubled)
}

#[tokio::test]
async fn no_item_is_lost_while_the_body_awaits_something_else() {
    guard(async {
        let engine = open(&MemoryStore::new(), &Probe::default()).await;
        let doubled = engine.run(source_slowly_taken(50)).await.unwrap();
        assert_eq!(doubled, (1..=50).map(|item| item * 2).collect::<Vec<_>>());
        engine.shutdown().await.unwrap();
    })
    .await;
}

#[trace]
fn source_numbers(count: u32) -> impl Iterator<Item = Result<u32>> {
    (0..count).map(Ok)
}

#[trace]
fn source_square(number: u32) -> Result<u32> {
    Probe::here()?.begin("square");
    Ok(number * number)
}

#[trace]
async fn source_gate() -> Result<()> {
    Probe::here()?.hold("gate").await;
    Ok(())
}

#[task]
async fn source_squares(count: u32) -> Result<u32> {
    let mut sum = 0;
    for number in source_numbers(count) {
        sum += source_square(number?)?;
    }
    source_gate().await?;
    Ok(sum)
}

#[tokio::test]
async fn plain_functions_called_between_items_are_not_run_again_after_a_crash() {
    guard(async {
        let (store, probe) = (MemoryStore::new(), Probe::default());
        let engine = open(&store, &probe).await;
        let handle = engine.start(source_squares(5)).await.unwrap();
        probe.begun("gate", 1).await;
        let crashed = store.copy();

        let after = Probe::default();
        let reopened = open(&crashed, &after).await;
        after.begun("gate", 1).await;
        after.open("gate");
        assert_eq!(reopened.run(source_squares(5)).await.unwrap(), 30);
        assert_eq!((probe.count("square"), after.count("square")), (5, 0));
        reopened.shutdown().await.unwrap();

        probe.open("gate");
        assert_eq!(handle.await.unwrap(), 30);
        engine.shutdown().await.unwrap();
    })
    .await;
}
