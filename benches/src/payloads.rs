//! What payloads cost by their size: traces that return 100 bytes, 10 KiB and 1 MiB, beside RocksDB and the disk alone.
//!
//! All three sides write the same bytes, and wait for the disk: RocksDB in batches of as many records as there are runs at
//! once, the disk in pieces as large as such a batch. The disk and RocksDB are measured before and after Relive.

use std::time::Duration;

use relive_storage::RocksStore;

use crate::bare::{Disk, KEY_BYTES, Rocks};
use crate::meter::{Used, now, pass};
use crate::parcels;
use crate::samples::Samples;
use crate::setting::{close, open, open_store};
use crate::{Failure, Figure, Setting};

/// A size, and what its figures are called.
struct Case {
    bytes: usize,
    what: &'static str,
    /// Fewer of the larger ones: what is under way together is 16 MiB at most.
    runs_at_once: u32,
    keys: [&'static str; 6],
}

const CASES: [Case; 3] = [
    Case {
        bytes: 100,
        what: "100 B",
        runs_at_once: 1000,
        keys: [
            "payload_100b_traces_per_s",
            "payload_100b_mib_per_s",
            "payload_100b_cpu_us",
            "payload_100b_rocksdb_mib_per_s",
            "payload_100b_vs_rocksdb",
            "payload_100b_vs_disk",
        ],
    },
    Case {
        bytes: 10 << 10,
        what: "10 KiB",
        runs_at_once: 200,
        keys: [
            "payload_10kib_traces_per_s",
            "payload_10kib_mib_per_s",
            "payload_10kib_cpu_us",
            "payload_10kib_rocksdb_mib_per_s",
            "payload_10kib_vs_rocksdb",
            "payload_10kib_vs_disk",
        ],
    },
    Case {
        bytes: 1 << 20,
        what: "1 MiB",
        runs_at_once: 16,
        keys: [
            "payload_1mib_traces_per_s",
            "payload_1mib_mib_per_s",
            "payload_1mib_cpu_us",
            "payload_1mib_rocksdb_mib_per_s",
            "payload_1mib_vs_rocksdb",
            "payload_1mib_vs_disk",
        ],
    },
];

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for case in &CASES {
        // A directory for each: what one has left to compact is no part of the next.
        let scratch = setting.scratch()?;
        let path = scratch.path();
        let runs_at_once = case.runs_at_once.min(setting.sizes.runs_at_once);
        let mut rocks = Rocks::create(&path.join("rocksdb"), case.bytes + KEY_BYTES)?;
        let mut disk = Disk::create(&path.join("appended"), case.bytes * runs_at_once as usize)?;
        let half = setting.sizes.payloads / 2;
        let batch_mib = mib(case.bytes) * f64::from(runs_at_once);
        let mut bare = [Samples::default(), Samples::default()];
        let mut both = |bare: &mut [Samples; 2]| {
            bare[0].extend(rates(half, batch_mib, || rocks.put_batch(runs_at_once))?);
            bare[1].extend(rates(half, batch_mib, || disk.append())?);
            Ok::<_, Failure>(())
        };
        both(&mut bare)?;
        let runtime = setting.runtime()?;
        let store = open_store(&path.join("relive"))?;
        let Relive { mean, slices, cpu_us } = runtime.block_on(relive(setting, &store, case.bytes, runs_at_once))?;
        both(&mut bare)?;
        let ours = mean * mib(case.bytes);
        let [rate, mib_per_s, cpu, rocksdb, vs_rocksdb, vs_disk] = case.keys;
        let what =
            format!("payloads of {}, {runs_at_once} runs at once: durable traces per s (spread: of slices)", case.what);
        figures.extend([
            Figure::new(rate, what, mean).spread_of(&slices),
            Figure::new(mib_per_s, "  of payloads, MiB/s", ours),
            Figure::new(cpu, "  processor time per trace, all threads, µs", cpu_us),
            Figure::of(rocksdb, "  RocksDB alone: these bytes in synced batches, MiB/s", &bare[0]),
            Figure::new(vs_rocksdb, "  Relive / RocksDB alone", ours / bare[0].median()),
            Figure::new(vs_disk, "  Relive / the disk: append + fdatasync of as many bytes", ours / bare[1].median()),
        ]);
    }
    Ok(figures)
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Longest wait for the first trace that is counted: 60 s. Where there are few and large ones it may be behind the time.
const FIRST_MAX: Duration = Duration::from_secs(60);

/// What was measured of Relive.
struct Relive {
    /// Traces per second: of all of the time, and of slices of it.
    mean: f64,
    slices: Samples,
    /// Processor time of a trace, µs.
    cpu_us: f64,
}

async fn relive(
    setting: &Setting,
    store: &std::sync::Arc<RocksStore>,
    bytes: usize,
    runs_at_once: u32,
) -> Result<Relive, Failure> {
    let sizes = &setting.sizes;
    let (builder, parcels) = parcels::builder(bytes);
    let engine = open(builder, store).await?;
    let load = parcels::started(&engine, runs_at_once, 0);
    pass(sizes.warm_up).await;
    let (began, used) = (now(), Used::so_far()?);
    let first = parcels.begun();
    let (mut slices, mut before) = (Samples::default(), (began, first));
    let slice = sizes.payloads / 10;
    while began.elapsed() < sizes.payloads || before.1 == first {
        pass(slice).await;
        let here = (now(), parcels.begun());
        slices.push((here.1 - before.1) as f64 / (here.0 - before.0).as_secs_f64());
        before = here;
        if before.1 == first && began.elapsed() > FIRST_MAX {
            load.stop().await?;
            return Err(format!("no trace of {bytes} bytes has begun for {} s", FIRST_MAX.as_secs()).into());
        }
    }
    let cpu_us = Used::so_far()?.since(used).cpu_us;
    let traces = (before.1 - first) as f64;
    let mean = traces / (before.0 - began).as_secs_f64();
    load.stop().await?;
    close(engine, store).await?;
    Ok(Relive { mean, slices, cpu_us: cpu_us as f64 / traces })
}

/// MiB per second, one sample per write of so many MiB.
fn rates(
    duration: Duration,
    write_mib: f64,
    mut write: impl FnMut() -> Result<(), Failure>,
) -> Result<Samples, Failure> {
    let mut rates = Samples::default();
    let began = now();
    while began.elapsed() < duration {
        let before = now();
        write()?;
        rates.push(write_mib / before.elapsed().as_secs_f64());
    }
    Ok(rates)
}
