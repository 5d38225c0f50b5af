//! A thousand runs at once, each of ten durable traces, for seconds on end: how many traces a second, and what one costs.
//!
//! As soon as a run ends another one starts in its place, each with an input of its own, so that none is joined or
//! cached. A trace counts when its run's result was acknowledged. Beside it: RocksDB alone, with as many records of the
//! same size, in batches of a thousand, each synced. Then once more with ten times as many runs at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use relive::{Builder, Engine, task, trace};
use relive_storage::RocksStore;

use crate::bare::Rocks;
use crate::load::Load;
use crate::meter::{ByThread, Used, now, pass};
use crate::samples::Samples;
use crate::sequential::record_bytes;
use crate::setting::{close, open, open_store};
use crate::{Bound, Failure, Figure, Setting};

pub(crate) const TRACES_PER_RUN: u32 = 10;

/// How many times as many runs are under way in the second measurement.
const MANY_TIMES: u32 = 10;

/// Every so many runs one is looked at closely: few enough that looking costs nothing.
const LATENCY_SAMPLING: u64 = 61;

/// Records in one synced batch of RocksDB alone: as many as there are runs that wait for a commit.
const BATCH_RECORDS: u32 = 1000;

/// Longest that a measurement is drawn out until a run has ended in it: 60 s. On a busy machine that may be after its time.
const FIRST_MAX: Duration = Duration::from_secs(60);

/// Times of traces of some runs, from the begin of one effect to the begin of the next.
#[derive(Clone, Default)]
pub(crate) struct Latencies(Arc<Mutex<Vec<Duration>>>);

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
    let measured = runtime.block_on(relive(setting, &store, sizes.runs_at_once))?;
    bare.extend(batches(&mut rocks, sizes.bare)?);
    drop(store);
    let many_runs = sizes.runs_at_once * MANY_TIMES;
    let many = runtime.block_on(relive(setting, &open_store(&path.join("many"))?, many_runs))?;

    let mean = measured.mean();
    let mut figures = of_load(setting, measured);
    figures.extend([
        Figure::of("rocksdb_batch_records_per_s", "RocksDB alone: records per s in synced batches of 1,000", &bare),
        Figure::new("throughput_vs_rocksdb_records", "Relive's traces / these records", mean / bare.median())
            .bound(Bound::AtLeast(0.5)),
        Figure::new(
            "throughput_10k_traces_per_s",
            format!("{many_runs} runs at once: durable traces per s, mean of {:.1} s", many.wall.as_secs_f64()),
            many.mean(),
        ),
        Figure::new("throughput_10k_vs_1k", "  the same / with a tenth of the runs", many.mean() / mean),
        Figure::new("cpu_us_per_trace_10k", "  processor time per trace, all threads, µs", many.cpu_us_per_trace()),
        Figure::of("p50_10k_us", "  one durable trace under this load, µs", &many.latencies),
        Figure::new("p99_vs_p50_10k", "  its 99th percentile / its median", many.p99_vs_p50()),
    ]);
    Ok(figures)
}

/// What so many runs at once show.
fn of_load(setting: &Setting, measured: Measured) -> Vec<Figure> {
    let sizes = &setting.sizes;
    let (mean, cpu_us, p99_vs_p50) = (measured.mean(), measured.cpu_us_per_trace(), measured.p99_vs_p50());
    let Measured { rates, used, by_thread, wall, trace_count, latencies } = measured;
    let per_trace = |count: i64| count as f64 / trace_count.max(1) as f64;
    let micros_per_trace = |micros: f64| micros / trace_count.max(1) as f64;
    let cores = used.cpu_us as f64 / 1e6 / wall.as_secs_f64();
    let what =
        format!("{} runs at once: durable traces per s, mean of {:.1} s", sizes.runs_at_once, wall.as_secs_f64());
    vec![
        Figure::new("throughput_traces_per_s", what, mean).bound(Bound::AtLeast(250_000.0)),
        Figure::of("throughput_slices_per_s", format!("  in slices of {} ms", sizes.slice.as_millis()), &rates),
        Figure::new("cpu_us_per_trace", "  processor time per trace, all threads, µs", cpu_us)
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
        Figure::new("p99_vs_p50", "  the one / the other", p99_vs_p50).bound(Bound::AtMost(3.0)),
    ]
}

struct Measured {
    rates: Samples,
    used: Used,
    by_thread: ByThread,
    wall: Duration,
    trace_count: u64,
    latencies: Samples,
}

impl Measured {
    /// Traces per second.
    fn mean(&self) -> f64 {
        self.trace_count as f64 / self.wall.as_secs_f64()
    }

    fn cpu_us_per_trace(&self) -> f64 {
        self.used.cpu_us as f64 / self.trace_count.max(1) as f64
    }

    fn p99_vs_p50(&self) -> f64 {
        self.latencies.quantile(0.99) / self.latencies.median()
    }
}

async fn relive(setting: &Setting, store: &Arc<RocksStore>, runs_at_once: u32) -> Result<Measured, Failure> {
    let sizes = &setting.sizes;
    let (builder, latencies) = builder();
    let engine = open(builder, store).await?;
    let load = started(&engine, runs_at_once, 0);
    let done = || load.done() * u64::from(TRACES_PER_RUN);
    pass(sizes.warm_up).await;
    latencies.0.lock().clear();
    let (began, used_before, done_before) = (now(), Used::so_far()?, done());
    let threads_before = ByThread::so_far();
    let mut rates = Samples::default();
    let mut slice = (began, done_before);
    let mut used = Used::default();
    let mut slices = 0;
    // Longer where nothing could be said otherwise: no run has ended, or none of those that are looked at.
    while slices < sizes.slice_count || slice.1 == done_before || used.cpu_us == 0 || latencies.0.lock().is_empty() {
        pass(sizes.slice).await;
        let here = (now(), done());
        rates.push((here.1 - slice.1) as f64 / (here.0 - slice.0).as_secs_f64());
        slice = here;
        slices += 1;
        used = Used::so_far()?.since(used_before);
        if slices > sizes.slice_count && began.elapsed() > FIRST_MAX {
            load.stop().await?;
            return Err(format!("no run of {runs_at_once} has ended for {} s", FIRST_MAX.as_secs()).into());
        }
    }
    let by_thread = ByThread::so_far().since(threads_before);
    let latencies = Samples::micros(std::mem::take(&mut *latencies.0.lock()));
    load.stop().await?;
    close(engine, store).await?;
    Ok(Measured { rates, used, by_thread, wall: slice.0 - began, trace_count: slice.1 - done_before, latencies })
}

/// An engine for these runs, and where it notes how long traces take.
pub(crate) fn builder() -> (Builder, Latencies) {
    let latencies = Latencies::default();
    (Engine::builder().provide(latencies.clone()).provide(LastBegins::default()), latencies)
}

/// So many of these runs at once from now on, numbered from `first`, on an engine of [`builder`].
pub(crate) fn started(engine: &Engine, runs_at_once: u32, first: u64) -> Load {
    let engine = engine.clone();
    Load::start(runs_at_once, first, move |run| {
        let engine = engine.clone();
        async move { Ok(engine.run(steps(run)).await.map(drop)?) }
    })
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
