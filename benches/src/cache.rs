//! Calls that the cache knows, and calls that it does not: the time of `Engine::run`, one call after the other.
//!
//! What a miss costs is the difference between two runs that are alike but for the cache: one is looked for in it and leaves
//! a result there, the other does neither. They take turns, call by call, and what is compared is the middle of a block.

use std::sync::Arc;
use std::time::Duration;

use relive::{Engine, task, trace};
use tokio::task::JoinSet;

use crate::meter::{ByThread, now};
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

/// The same run, without a cache: not looked for, and its result is not kept.
#[task(cache = "off")]
async fn uncached_answer(key: u32) -> relive::Result<String> {
    look_up(key).await
}

/// Pairs of calls in a block.
const BLOCK: usize = 50;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let runtime = setting.runtime()?;
    let scratch = setting.scratch()?;
    let path = scratch.path().join("relive");
    let count = setting.sizes.cache_inputs;
    let misses = setting.sizes.cache_misses.min(count);
    let (missed, fresh) = runtime.block_on(async {
        let store = open_store(&path)?;
        let engine = open(Engine::builder(), &store).await?;
        let missed = Misses::measure(&engine, misses).await?;
        fill(&engine, misses..count).await?;
        let fresh = calls(&engine, scattered(count)).await?;
        close(engine, &store).await?;
        Ok::<_, Failure>((missed, fresh))
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
    figures.extend(missed.figures());
    Ok(figures)
}

/// Calls that miss the cache, and the same without one, in turns.
#[derive(Default)]
struct Misses {
    missed: Samples,
    uncached: Samples,
    /// Of the middles of blocks, µs.
    added: Samples,
    /// Of the processor time of all threads, µs per call.
    added_cpu: f64,
}

impl Misses {
    async fn measure(engine: &Engine, count: u32) -> Result<Self, Failure> {
        let mut all = Self::default();
        let keys: Vec<u32> = (0..count).collect();
        for block in keys.chunks(BLOCK) {
            let (mut missed, mut uncached) = (Samples::default(), Samples::default());
            for key in block {
                // Who comes first takes turns, too.
                for turn in [key % 2 == 0, key % 2 != 0] {
                    let samples = if turn { &mut missed } else { &mut uncached };
                    let began = now();
                    let value =
                        if turn { engine.run(answer(*key)).await? } else { engine.run(uncached_answer(*key)).await? };
                    samples.push(began.elapsed().as_secs_f64() * 1e6);
                    checked(*key, &value)?;
                }
            }
            all.added.push(missed.median() - uncached.median());
            all.missed.extend(missed);
            all.uncached.extend(uncached);
        }
        all.added_cpu = Self::added_cpu(engine, count).await?;
        Ok(all)
    }

    /// The same by processor time, which other programs disturb less: in blocks, as it is known of the whole process only.
    async fn added_cpu(engine: &Engine, count: u32) -> Result<f64, Failure> {
        let (mut cpu, mut calls) = ([0.0; 2], 0u32);
        let keys: Vec<u32> = (FIRST_OF_CPU..FIRST_OF_CPU + count).collect();
        for (index, block) in keys.chunks(BLOCK).enumerate() {
            for side in [index % 2, 1 - index % 2] {
                let before = ByThread::so_far();
                for key in block {
                    match side {
                        0 => checked(*key, &engine.run(answer(*key)).await?)?,
                        _ => checked(*key, &engine.run(uncached_answer(*key)).await?)?,
                    }
                }
                cpu[side] += ByThread::so_far().since(before).relive();
            }
            calls += block.len() as u32;
        }
        Ok((cpu[0] - cpu[1]) / f64::from(calls.max(1)))
    }

    fn figures(&self) -> Vec<Figure> {
        vec![
            Figure::of("cache_miss_us", "cache miss: what it adds to the same run without a cache, µs", &self.added)
                .bound(Bound::AtMost(10.0)),
            Figure::new("cache_miss_cpu_us", "  in processor time of all of Relive's threads, µs", self.added_cpu),
            Figure::of("cache_missed_run_us", "  the run: one trace, start to durable end, µs", &self.missed),
            Figure::of("uncached_run_us", "  the same run without a cache, µs", &self.uncached),
        ]
    }
}

/// Keys from here on are measured by processor time: no others are.
const FIRST_OF_CPU: u32 = 1 << 24;

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
