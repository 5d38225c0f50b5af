//! What is measured of a store, whatever its size: an open, cache hits, a replay, traces in sequence, and many runs at once.
//!
//! Each measurement opens the store anew and closes it, so nothing of one store runs while another one is measured.

use std::path::{Path, PathBuf};
use std::time::Duration;

use relive::{Durability, Engine, RunId};
use tokio::runtime::Runtime;

use crate::cache::{calls, fill, scattered};
use crate::long::rope;
use crate::meter::{Used, fresh_number, now, pass};
use crate::sequential::Begins;
use crate::setting::{close, open, open_store};
use crate::throughput::{self, TRACES_PER_RUN};
use crate::{Failure, Setting};

/// Inputs that the cache knows.
const CACHED: u32 = 1000;

/// Longest wait for the first run that is counted: 60 s. On a busy machine it may end after the time of its measurement.
const FIRST_MAX: Duration = Duration::from_secs(60);

/// Between two looks at whether one has.
const LOOK: Duration = Duration::from_millis(10);

/// Something that is measured.
pub(super) struct Quantity {
    name: &'static str,
    pub(super) what: &'static str,
}

/// In the order of [`Measured`].
pub(super) const QUANTITIES: [Quantity; 6] = [
    Quantity { name: "traces_per_s", what: "durable traces per s, many runs at once" },
    Quantity { name: "cpu_us", what: "  processor time of one, all threads, µs" },
    Quantity { name: "sequential_us", what: "  one durable trace after another, µs" },
    Quantity { name: "cache_hit_us", what: "  cache hit, µs" },
    Quantity { name: "replay_events_per_s", what: "  replay of the store's first run, events per s" },
    Quantity { name: "open_ms", what: "  open, ms" },
];

/// A value for each of [`QUANTITIES`].
pub(super) type Measured = [f64; QUANTITIES.len()];

impl Quantity {
    pub(super) fn key(&self, label: &str) -> String {
        format!("growth_{}_{label}", self.name)
    }

    pub(super) fn ratio_key(&self, label: &str) -> String {
        if self.is_throughput() { format!("growth_{label}") } else { format!("growth_{}_ratio_{label}", self.name) }
    }

    pub(super) fn is_throughput(&self) -> bool {
        self.name == "traces_per_s"
    }
}

/// A store with the few runs that measuring needs, whatever comes into it later.
pub(super) struct Subject {
    pub(super) path: PathBuf,
    /// The run that is replayed.
    run: RunId,
}

impl Subject {
    /// Makes the store.
    pub(super) fn make(setting: &Setting, runtime: &Runtime, path: &Path) -> Result<Self, Failure> {
        let store = open_store(path)?;
        let run = runtime.block_on(async {
            let engine = open(Engine::builder().durability(Durability::Buffered), &store).await?;
            fill(&engine, 0..CACHED).await?;
            let handle = engine.start(rope(setting.sizes.growth_traces)).await?;
            let run = handle.id();
            handle.await?;
            close(engine, &store).await?;
            Ok::<_, Failure>(run)
        })?;
        Ok(Self { path: path.to_owned(), run })
    }

    pub(super) fn measure(&self, setting: &Setting, runtime: &Runtime) -> Result<Measured, Failure> {
        // What was written last is read at the first open: as after every other, it does not count.
        drop(open_store(&self.path)?);
        let began = now();
        let store = open_store(&self.path)?;
        runtime.block_on(async {
            let (builder, _) = throughput::builder();
            let begins = Begins::default();
            let engine = open(builder.provide(begins.clone()), &store).await?;
            let open_ms = began.elapsed().as_secs_f64() * 1000.0;
            let hits = calls(&engine, scattered(CACHED)).await?;
            let replay = self.replayed(&engine, setting).await?;
            let sequential = begins.sequential(&engine, setting.sizes.growth_traces / 20).await?;
            let (traces_per_s, cpu_us) = loaded(&engine, setting).await?;
            close(engine, &store).await?;
            Ok([traces_per_s, cpu_us, sequential, hits.median(), replay, open_ms])
        })
    }

    /// Events per second.
    async fn replayed(&self, engine: &Engine, setting: &Setting) -> Result<f64, Failure> {
        let began = now();
        engine.replay(self.run).await?.ok_or("the run that is replayed has no end")?;
        // Two for each trace, one at each end of the run.
        Ok(f64::from(2 * setting.sizes.growth_traces + 2) / began.elapsed().as_secs_f64())
    }
}

/// Traces per second, and the processor time of one, µs.
async fn loaded(engine: &Engine, setting: &Setting) -> Result<(f64, f64), Failure> {
    // Numbers that no other measurement of the same store has: a run that is known answers from the cache.
    let load = throughput::started(engine, setting.sizes.runs_at_once, fresh_number() >> 1);
    pass(setting.sizes.warm_up).await;
    let (began, used, before) = (now(), Used::so_far()?, load.done());
    pass(setting.sizes.growth_load).await;
    // On a busy machine the first run may end after that time.
    while load.done() == before && began.elapsed() < FIRST_MAX {
        pass(LOOK).await;
    }
    let (seconds, used) = (began.elapsed().as_secs_f64(), Used::so_far()?.since(used));
    let traces = (load.done() - before) * u64::from(TRACES_PER_RUN);
    load.stop().await?;
    if traces == 0 {
        return Err(format!("no run has ended for {} s", FIRST_MAX.as_secs()).into());
    }
    let traces = traces as f64;
    Ok((traces / seconds, used.cpu_us as f64 / traces))
}
