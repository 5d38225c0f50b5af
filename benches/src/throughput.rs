//! A thousand runs at once, each of ten durable traces, for seconds on end: how many traces a second, and what one costs.
//!
//! As soon as a run ends another one starts in its place, each with an input of its own, so that none is joined or
//! cached. A trace counts when its run's result was acknowledged. Beside it: RocksDB alone, with as many records of the
//! same size, in batches of a thousand, each synced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use relive::{Engine, task, trace};
use tokio::task::JoinSet;

use crate::bare::Rocks;
use crate::meter::{ByThread, Used, now, pass};
use crate::samples::Samples;
use crate::sequential::record_bytes;
use crate::setting::{close, open, open_store};
use crate::{Bound, Failure, Figure, Setting};

const TRACES_PER_RUN: u32 = 10;

/// Every so many runs one is looked at closely: few enough that looking costs nothing.
const LATENCY_SAMPLING: u64 = 61;

/// Records in one synced batch of RocksDB alone: as many as there are runs that wait for a commit.
const BATCH_RECORDS: u32 = 1000;

/// Times of traces of some runs, from the begin of one effect to the begin of the next.
#[derive(Clone, Default)]
struct Latencies(Arc<Mutex<Vec<Duration>>>);

/// When the last effect of a run began, for the runs that are looked at.
#[derive(Clone, Default)]
struct LastBegins(Arc<Mutex<std::collections::BTreeMap<u64, Instant>>>);

#[trace]
async fn step(run: u64, index: u32) -> relive::Result<u64> {
    if run.is_multiple_of(LATENCY_SAMPLING) {
        let began = now();
        let before = relive::provided::<LastBegins>()?.0.lock().insert(run, began);
        if let Some(before) = before {
            relive::provided::<Latencies>()?.0.lock().push(began - before);
        }
    }
    Ok(run ^ u64::from(index))
}

#[task]
async fn steps(run: u64) -> relive::Result<u64> {
    let mut sum = 0u64;
    for index in 0..TRACES_PER_RUN {
        sum = sum.wrapping_add(step(run, index).await?);
    }
    Ok(sum)
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let runtime = setting.runtime()?;
    let scratch = setting.scratch()?;
    let path = scratch.path();
    let sizes = &setting.sizes;
    let record_bytes = runtime.block_on(record_bytes(&path.join("bytes")))?;
    let mut rocks = Rocks::create(&path.join("rocksdb"), record_bytes)?;

    // Before and after, so that a machine that changes its pace meanwhile does not favour one side.
    let mut bare = batches(&mut rocks, sizes.bare)?;
    let store = open_store(&path.join("relive"))?;
    let measured = runtime.block_on(relive(setting, &store))?;
    bare.extend(batches(&mut rocks, sizes.bare)?);

    let Measured { rates, used, by_thread, wall, trace_count, latencies } = measured;
    let per_trace = |count: i64| count as f64 / trace_count.max(1) as f64;
    let micros_per_trace = |micros: f64| micros / trace_count.max(1) as f64;
    let mean = trace_count as f64 / wall.as_secs_f64();
    let cores = used.cpu_us as f64 / 1e6 / wall.as_secs_f64();
    let what =
        format!("{} runs at once: durable traces per s, mean of {:.1} s", sizes.runs_at_once, wall.as_secs_f64());
    Ok(vec![
        Figure::new("throughput_traces_per_s", what, mean).bound(Bound::AtLeast(250_000.0)),
        Figure::of("throughput_slices_per_s", format!("  in slices of {} ms", sizes.slice.as_millis()), &rates),
        Figure::new("cpu_us_per_trace", "  processor time per trace, all threads, µs", per_trace(used.cpu_us))
            .bound(Bound::AtMost(7.0)),
        Figure::new("cpu_us_workers", "    the runtime's threads", micros_per_trace(by_thread.workers)),
        Figure::new("cpu_us_committer", "    the committer's thread", micros_per_trace(by_thread.committer)),
        Figure::new("cpu_us_rocksdb", "    RocksDB's own threads", micros_per_trace(by_thread.rocksdb)),
        Figure::new("sleeps_per_trace", "  threads gone to sleep, per trace", per_trace(used.sleep_count)),
        Figure::new("cores_used", "  processors used", cores),
        Figure::of("p50_us", "  one durable trace under this load, µs", &latencies),
        Figure::new(
            "p99_us",
            "  its 99th percentile, µs (a sync that other writers delay shows here)",
            latencies.quantile(0.99),
        ),
        Figure::new("p99_vs_p50", "  the one / the other", latencies.quantile(0.99) / latencies.median())
            .bound(Bound::AtMost(3.0)),
        Figure::of("rocksdb_batch_records_per_s", "RocksDB alone: records per s in synced batches of 1,000", &bare),
        Figure::new("throughput_vs_rocksdb_records", "Relive's traces / these records", mean / bare.median())
            .bound(Bound::AtLeast(0.5)),
    ])
}

struct Measured {
    rates: Samples,
    used: Used,
    by_thread: ByThread,
    wall: Duration,
    trace_count: u64,
    latencies: Samples,
}

async fn relive(setting: &Setting, store: &Arc<relive_storage::RocksStore>) -> Result<Measured, Failure> {
    let sizes = &setting.sizes;
    let (latencies, last_begins) = (Latencies::default(), LastBegins::default());
    let builder = Engine::builder().provide(latencies.clone()).provide(last_begins);
    let engine = open(builder, store).await?;
    let (next, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients: JoinSet<Result<(), Failure>> = JoinSet::new();
    for _ in 0..sizes.runs_at_once {
        let (engine, next, done, stop) = (engine.clone(), Arc::clone(&next), Arc::clone(&done), Arc::clone(&stop));
        clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                engine.run(steps(next.fetch_add(1, Ordering::Relaxed))).await?;
                done.fetch_add(TRACES_PER_RUN.into(), Ordering::Relaxed);
            }
            Ok(())
        });
    }
    pass(sizes.warm_up).await;
    latencies.0.lock().clear();
    let (began, used_before, done_before) = (now(), Used::so_far()?, done.load(Ordering::Relaxed));
    let threads_before = ByThread::so_far();
    let mut rates = Samples::default();
    let mut slice = (began, done_before);
    for _ in 0..sizes.slice_count {
        pass(sizes.slice).await;
        let here = (now(), done.load(Ordering::Relaxed));
        rates.push((here.1 - slice.1) as f64 / (here.0 - slice.0).as_secs_f64());
        slice = here;
    }
    let used = Used::so_far()?.since(used_before);
    let by_thread = ByThread::so_far().since(threads_before);
    let latencies = Samples::micros(std::mem::take(&mut *latencies.0.lock()));
    stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client??;
    }
    close(engine, store).await?;
    Ok(Measured { rates, used, by_thread, wall: slice.0 - began, trace_count: slice.1 - done_before, latencies })
}

/// Records per second, one sample per batch.
fn batches(rocks: &mut Rocks, duration: Duration) -> Result<Samples, Failure> {
    let mut rates = Samples::default();
    let began = now();
    while began.elapsed() < duration {
        let before = now();
        rocks.put_batch(BATCH_RECORDS)?;
        rates.push(f64::from(BATCH_RECORDS) / before.elapsed().as_secs_f64());
    }
    Ok(rates)
}
