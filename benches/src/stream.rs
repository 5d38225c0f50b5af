//! A long stream: items recorded and handed on per second, live and replayed, and the most memory that either takes.
//!
//! One run, one stream of numbers, durable; then the same run's log is replayed without effects.

use futures_util::StreamExt as _;
use relive::{Engine, task, trace};

use crate::memory::Peak;
use crate::meter::now;
use crate::setting::{close, open, open_store};
use crate::{Bound, Failure, Figure, Setting};

#[trace]
fn numbers(count: u64) -> impl futures_core::Stream<Item = relive::Result<u64>> {
    futures_util::stream::iter((0..count).map(Ok))
}

#[task(cache = "off")]
async fn sum(count: u64) -> relive::Result<u64> {
    let mut numbers = numbers(count);
    let mut sum = 0u64;
    while let Some(number) = numbers.next().await {
        sum = sum.wrapping_add(number?);
    }
    Ok(sum)
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let runtime = setting.runtime()?;
    let scratch = setting.scratch()?;
    let count = setting.sizes.stream_items;
    let store = open_store(&scratch.path().join("relive"))?;
    let peak = Peak::watch()?;
    let (run, live_seconds) = runtime.block_on(async {
        let engine = open(Engine::builder(), &store).await?;
        let began = now();
        let handle = engine.start(sum(count)).await?;
        let run = handle.id();
        handle.await?;
        let seconds = began.elapsed().as_secs_f64();
        close(engine, &store).await?;
        Ok::<_, Failure>((run, seconds))
    })?;
    let live_mib = peak.mib()?;
    let peak = Peak::watch()?;
    let replay_seconds = runtime.block_on(async {
        let engine = open(Engine::builder(), &store).await?;
        let began = now();
        engine.replay(run).await?.ok_or("the log of the stream is not whole")?;
        let seconds = began.elapsed().as_secs_f64();
        close(engine, &store).await?;
        Ok::<_, Failure>(seconds)
    })?;
    let replay_mib = peak.mib()?;
    Ok(vec![
        Figure::new("stream_items_per_s", format!("a stream of {count} items, per s"), count as f64 / live_seconds)
            .bound(Bound::AtLeast(200_000.0)),
        Figure::new("stream_peak_mib", "  most resident memory, MiB", live_mib).bound(Bound::AtMost(100.0)),
        Figure::new("stream_replay_items_per_s", "  its replay, per s", count as f64 / replay_seconds),
        Figure::new("stream_replay_peak_mib", "  most resident memory, MiB", replay_mib).bound(Bound::AtMost(100.0)),
    ])
}
