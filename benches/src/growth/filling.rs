//! How a store is filled, and what that costs: traces per second, processor time, bytes written.
//!
//! A thousand runs at once, each commit synced. A stretch ends when nothing is left to compact, so that what its traces
//! have caused counts as theirs.

use std::path::Path;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::{spoken, stored_bytes};
use crate::meter::{ByThread, Used, now, pass, written_bytes};
use crate::parcels::{self, TRACES_PER_RUN};
use crate::setting::{close, open, open_store};
use crate::{Failure, Figure, Setting};

/// Between two looks at how much is stored.
const LOOK: Duration = Duration::from_millis(100);

/// So long RocksDB's own threads do nothing when nothing is left to compact.
const IDLE: Duration = Duration::from_secs(1);

/// Longest wait for that: 10 min.
const SETTLE_MAX: Duration = Duration::from_secs(600);

/// What has been filled so far.
#[derive(Default)]
pub(super) struct Filling {
    stretches: Vec<Stretch>,
    runs: u64,
}

/// From one size to the next.
struct Stretch {
    up_to: u64,
    traces: u64,
    stored: u64,
    written: u64,
    /// Under load, without the wait for compactions at its end.
    seconds: f64,
    settled_seconds: f64,
    cpu_us: f64,
    rocksdb_us: f64,
}

impl Filling {
    /// Fills a store until it has so many bytes. What that cost.
    pub(super) fn up_to(
        &mut self,
        setting: &Setting,
        runtime: &Runtime,
        path: &Path,
        bytes: u64,
    ) -> Result<Vec<Figure>, Failure> {
        let store = open_store(path)?;
        let stretch = runtime.block_on(async {
            let engine = open(parcels::builder(setting.payload_bytes).0, &store).await?;
            let before = (stored_bytes(path), written_bytes()?, Used::so_far()?, ByThread::so_far());
            let (mut traces, mut seconds, mut settled_seconds) = (0, 0.0, 0.0);
            // What is compacted is less than what was written: more than once, if need be.
            while stored_bytes(path) < bytes {
                let began = now();
                let load = parcels::started(&engine, setting.sizes.runs_at_once, self.runs);
                let mut last = (0, now());
                while stored_bytes(path) < bytes {
                    pass(LOOK).await;
                    let done = load.done();
                    if done > last.0 {
                        last = (done, now());
                    } else if last.1.elapsed() > SETTLE_MAX {
                        break;
                    }
                }
                let runs = load.stop().await?;
                if runs == last.0 && last.1.elapsed() > SETTLE_MAX {
                    return Err(format!("no run has ended for {} s", SETTLE_MAX.as_secs()).into());
                }
                seconds += began.elapsed().as_secs_f64();
                self.runs += runs;
                traces += runs * u64::from(TRACES_PER_RUN);
                let began = now();
                settled().await?;
                settled_seconds += began.elapsed().as_secs_f64();
            }
            let stretch = Stretch {
                up_to: bytes,
                traces,
                stored: stored_bytes(path).saturating_sub(before.0),
                written: written_bytes()?.saturating_sub(before.1),
                seconds,
                settled_seconds,
                cpu_us: Used::so_far()?.since(before.2).cpu_us as f64,
                rocksdb_us: ByThread::so_far().since(before.3).rocksdb,
            };
            close(engine, &store).await?;
            Ok::<_, Failure>(stretch)
        })?;
        // A store that measuring has made as large already is not filled.
        if stretch.traces == 0 {
            return Ok(Vec::new());
        }
        let figures = stretch.figures(setting.payload_bytes);
        self.stretches.push(stretch);
        Ok(figures)
    }

    /// What all of it cost.
    pub(super) fn figures(&self, payload_bytes: usize) -> Vec<Figure> {
        let sum = |of: fn(&Stretch) -> u64| self.stretches.iter().map(of).sum::<u64>() as f64;
        let (traces, stored, written) =
            (sum(|stretch| stretch.traces).max(1.0), sum(|stretch| stretch.stored), sum(|stretch| stretch.written));
        let payload = traces * payload_bytes as f64;
        vec![
            Figure::new("growth_disk_bytes_per_trace", "bytes on the disk per trace", stored / traces),
            Figure::new("growth_stored_per_payload", "  per byte of payload", stored / payload),
            Figure::new(
                "growth_written_per_payload",
                "bytes written to the disk per byte of payload",
                written / payload,
            ),
            Figure::new("growth_written_per_stored", "  per byte stored", written / stored.max(1.0)),
        ]
    }
}

impl Stretch {
    fn figures(&self, payload_bytes: usize) -> Vec<Figure> {
        let (label, traces) = (super::label(self.up_to), self.traces as f64);
        let key = |what: &str| format!("growth_filling_{what}_{label}");
        let what = format!("filled up to {}, {payload_bytes} bytes a trace: durable traces per s", spoken(self.up_to));
        vec![
            Figure::new(key("traces_per_s"), what, traces / self.seconds),
            Figure::new(key("cpu_us"), "  processor time per trace, all threads, µs", self.cpu_us / traces),
            Figure::new(key("rocksdb_us"), "    of RocksDB's own threads", self.rocksdb_us / traces),
            Figure::new(key("settled_s"), "  until nothing was left to compact, s", self.settled_seconds),
        ]
    }
}

/// Waits until RocksDB's own threads have nothing to do.
async fn settled() -> Result<(), Failure> {
    let began = now();
    let mut before = ByThread::so_far().rocksdb;
    while began.elapsed() < SETTLE_MAX {
        pass(IDLE).await;
        let here = ByThread::so_far().rocksdb;
        // They wake for a moment now and then.
        if here - before < IDLE.as_secs_f64() * 1e6 / 1000.0 {
            return Ok(());
        }
        before = here;
    }
    Err(format!("RocksDB was not done compacting after {} s", SETTLE_MAX.as_secs()).into())
}
