//! One durable trace after the other, beside the disk's sync and RocksDB's synced put of the same bytes.
//!
//! The three sides take turns in blocks, and the turn's order rotates. A trace's time is from the begin of its effect to
//! the begin of the next one's: an effect begins when the completion of the trace before it is durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use relive::{Engine, task, trace};
use relive_engine::log::LOG;
use relive_storage::{KeyRange, Order, PageLimit, Read};

use crate::bare::{Disk, Rocks};
use crate::meter::{fresh_number, now, timed};
use crate::samples::Samples;
use crate::setting::{close, open, open_store};
use crate::{Bound, Failure, Figure, Setting};

/// When effects began.
#[derive(Clone, Default)]
pub(crate) struct Begins(Arc<Mutex<Vec<Instant>>>);

impl Begins {
    /// One durable trace after another, µs: the middle of so many. The run is of its own, also over lives of the store.
    pub(crate) async fn sequential(&self, engine: &Engine, count: u32) -> Result<f64, Failure> {
        engine.run(ticks(fresh_number() as u32, count + 1)).await?;
        let begins = std::mem::take(&mut *self.0.lock());
        Ok(Samples::micros(begins.windows(2).map(|pair| pair[1] - pair[0])).median())
    }
}

#[trace]
async fn tick(index: u32) -> relive::Result<u32> {
    relive::provided::<Begins>()?.0.lock().push(now());
    Ok(index)
}

#[task]
async fn ticks(round: u32, count: u32) -> relive::Result<u32> {
    let mut sum = round;
    for index in 0..count {
        sum = sum.wrapping_add(tick(index).await?);
    }
    Ok(sum)
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let runtime = setting.runtime()?;
    let scratch = setting.scratch()?;
    let path = scratch.path();
    let record_bytes = runtime.block_on(record_bytes(&path.join("bytes")))?;
    let mut disk = Disk::create(&path.join("appended"), record_bytes)?;
    let mut rocks = Rocks::create(&path.join("rocksdb"), record_bytes)?;
    let begins = Begins::default();
    let store = open_store(&path.join("relive"))?;
    let engine = runtime.block_on(open(Engine::builder().provide(begins.clone()), &store))?;

    let block = setting.sizes.sequential_block;
    let mut sides: [Samples; 3] = Default::default();
    let mut ratios = Samples::default();
    // The first round warms up and does not count.
    for round in 0..=setting.sizes.sequential_rounds {
        let mut blocks: [Samples; 3] = Default::default();
        for turn in 0..3 {
            let side = (round as usize + turn) % 3;
            blocks[side] = Samples::micros(match side {
                0 => times(block, || disk.append())?,
                1 => times(block, || rocks.put())?,
                _ => {
                    runtime.block_on(engine.run(ticks(round, block + 1)))?;
                    let begins = std::mem::take(&mut *begins.0.lock());
                    begins.windows(2).map(|pair| pair[1] - pair[0]).collect()
                }
            });
        }
        if round > 0 {
            ratios.push(blocks[2].median() / blocks[1].median());
            sides.iter_mut().zip(blocks).for_each(|(side, block)| side.extend(block));
        }
    }
    runtime.block_on(close(engine, &store))?;
    let [disk, rocks, relive] = &sides;
    let ratio = relive.median() / rocks.median();
    Ok(vec![
        Figure::new("trace_bytes", "a trace's record in the log, key and value, bytes", record_bytes as f64),
        Figure::of("fdatasync_us", "disk: append + fdatasync of these bytes, µs", disk),
        Figure::new("fdatasync_p99_us", "  its 99th percentile, µs", disk.quantile(0.99)),
        Figure::of("rocksdb_sync_put_us", "RocksDB alone: synced put of these bytes, µs", rocks),
        Figure::of("trace_us", "Relive: one durable trace after another, µs", relive),
        Figure::new("sequential_vs_rocksdb", "Relive / RocksDB alone (spread: of rounds)", ratio)
            .spread_of(&ratios)
            .bound(Bound::AtMost(1.1)),
    ])
}

fn times(count: u32, mut operation: impl FnMut() -> Result<(), Failure>) -> Result<Vec<Duration>, Failure> {
    let one = || {
        let (took, result) = timed(&mut operation);
        result.map(|()| took)
    };
    std::iter::repeat_with(one).take(count as usize).collect()
}

/// How many bytes one trace of a sequence takes in the log, key and value: as the store holds them.
pub(crate) async fn record_bytes(path: &std::path::Path) -> Result<usize, Failure> {
    let store = open_store(path)?;
    let engine = open(Engine::builder().provide(Begins::default()), &store).await?;
    engine.run(ticks(0, 51)).await?;
    close(engine, &store).await?;
    let page = store.scan(LOG, &KeyRange::all(), Order::Ascending, PageLimit::default())?;
    // The first record begins the run and the last one ends it.
    let middle = page.rows.get(1..page.rows.len().saturating_sub(1)).unwrap_or_default();
    if middle.is_empty() {
        return Err(format!("a run of 51 traces left {} records in its log", page.rows.len()).into());
    }
    Ok(middle.iter().map(|row| row.key.len() + row.value.len()).sum::<usize>() / middle.len())
}
