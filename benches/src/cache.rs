//! Calls that the cache knows: the time of `Engine::run`, one call after the other. Those that it does not know: `miss`.

mod miss;

use std::sync::Arc;
use std::time::Duration;

use relive::{Engine, task, trace};
use tokio::task::JoinSet;

use crate::meter::now;
use crate::samples::Samples;
use crate::setting::{close, open, open_store};
use crate::{Bound, Failure, Figure, Setting};

/// Calls that fill the cache at once.
const FILLING_AT_ONCE: u32 = 100;

#[trace]
async fn look_up(key: u32) -> relive::Result<String> {
    Ok(format!("the value of {key}"))
}

#[task]
async fn answer(key: u32) -> relive::Result<String> {
    look_up(key).await
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let runtime = setting.runtime()?;
    let scratch = setting.scratch()?;
    let path = scratch.path().join("relive");
    let count = setting.sizes.cache_inputs;
    let fresh = runtime.block_on(async {
        let store = open_store(&path)?;
        let engine = open(Engine::builder(), &store).await?;
        fill(&engine, 0..count).await?;
        let fresh = calls(&engine, scattered(count)).await?;
        close(engine, &store).await?;
        Ok::<_, Failure>(fresh)
    })?;
    let reopened = runtime.block_on(async {
        let store = open_store(&path)?;
        let engine = open(Engine::builder(), &store).await?;
        let reopened = calls(&engine, scattered(count)).await?;
        close(engine, &store).await?;
        Ok::<_, Failure>(reopened)
    })?;
    let mut figures = vec![
        Figure::of("cache_hit_us", "cache hit, µs", &fresh).bound(Bound::AtMost(10.0)),
        Figure::new("cache_hit_p99_us", "  its 99th percentile, µs", fresh.quantile(0.99)),
        Figure::of("cache_hit_reopened_us", "cache hit after a restart, µs", &reopened),
    ];
    figures.extend(miss::measure(setting)?);
    Ok(figures)
}

fn checked(key: u32, value: &str) -> Result<(), Failure> {
    if value == format!("the value of {key}") {
        return Ok(());
    }
    Err(format!("the call for {key} returned {value:?}").into())
}

/// All keys once, none beside its neighbour: 7,919 is prime, and no count used here is a multiple of it.
pub(crate) fn scattered(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(move |index| (u64::from(index) * 7919 % u64::from(count)) as u32)
}

pub(crate) async fn calls(engine: &Engine, keys: impl Iterator<Item = u32>) -> Result<Samples, Failure> {
    let mut times: Vec<Duration> = Vec::new();
    for key in keys {
        let call = answer(key);
        let began = now();
        let value = engine.run(call).await?;
        times.push(began.elapsed());
        checked(key, &value)?;
    }
    Ok(Samples::micros(times))
}

pub(crate) async fn fill(engine: &Engine, keys: std::ops::Range<u32>) -> Result<(), Failure> {
    let keys = Arc::new(parking_lot::Mutex::new(keys));
    let mut clients: JoinSet<Result<(), Failure>> = JoinSet::new();
    for _ in 0..FILLING_AT_ONCE {
        let (engine, keys) = (engine.clone(), Arc::clone(&keys));
        clients.spawn(async move {
            loop {
                let Some(key) = keys.lock().next() else { return Ok(()) };
                engine.run(answer(key)).await?;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}
