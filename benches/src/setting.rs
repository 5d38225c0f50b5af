//! What all parts share: where they write, how much they do, the runtime, and how a store is opened and closed.
//!
//! Invariant: everything is written below one temporary directory, which is gone when its part ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use relive::{Builder, Engine};
use relive_engine::schema::SCHEMA;
use relive_storage::RocksStore;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Why nothing was measured. Says what failed.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where and how much to measure.
#[derive(Debug)]
pub struct Setting {
    /// Temporary directories are made here: its file system is what is measured.
    pub directory: PathBuf,
    /// Threads of the runtime that runs the tasks.
    pub worker_count: usize,
    /// How much to do.
    pub sizes: Sizes,
    /// How large a store may get in `growth`.
    pub gigabytes: u64,
    /// What a trace returns that fills it there.
    pub payload_bytes: usize,
}

/// How much to do.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Blocks of each side of `sequential`.
    pub sequential_rounds: u32,
    /// Operations in a block.
    pub sequential_block: u32,
    /// Runs under way at once in `throughput`.
    pub runs_at_once: u32,
    /// How long RocksDB alone writes batches, before `throughput` and after it.
    pub bare: Duration,
    /// Not counted, before `throughput` counts.
    pub warm_up: Duration,
    /// One sample of `throughput`.
    pub slice: Duration,
    /// How many of them follow one another without a pause.
    pub slice_count: u32,
    /// Traces that one run calls at once.
    pub traces_at_once: u32,
    /// How often it is run.
    pub wide_rounds: u32,
    /// Processes that are started.
    pub starts: u32,
    /// Finished runs in the store that is opened.
    pub finished_runs: u32,
    /// How often it is opened.
    pub opens: u32,
    /// How often a process under load is killed, and its store opened then.
    pub kills: u32,
    /// Longest that its write-ahead log is watched until then.
    pub watch_log: Duration,
    /// For how long traces of one size of payload are measured.
    pub payloads: Duration,
    /// Traces of the run that is replayed.
    pub replay_traces: u32,
    /// How often it is.
    pub replay_rounds: u32,
    /// Traces of the finished runs that are replayed.
    pub long_traces: [u32; 3],
    /// Items of the stream.
    pub stream_items: u64,
    /// Runs that wait at once in `many`.
    pub waiting_runs: u32,
    /// Runs that sleep at once in `sleepers`.
    pub sleeping_runs: u32,
    /// Distinct inputs in the cache.
    pub cache_inputs: u32,
    /// Calls that miss it, one after the other.
    pub cache_misses: u32,
    /// What stands for a gigabyte in `growth`, bytes.
    pub gigabyte: u64,
    /// How often everything is measured at one size of the store.
    pub growth_rounds: u32,
    /// Of these, how long the throughput is.
    pub growth_load: Duration,
    /// Traces of the run that is replayed there, and of those in sequence.
    pub growth_traces: u32,
}

impl Sizes {
    /// The figures that count: some minutes.
    pub fn full() -> Self {
        Self {
            sequential_rounds: 30,
            sequential_block: 100,
            runs_at_once: 1000,
            bare: Duration::from_secs(1),
            warm_up: Duration::from_secs(1),
            slice: Duration::from_millis(100),
            slice_count: 100,
            traces_at_once: 10_000,
            wide_rounds: 7,
            starts: 20,
            finished_runs: 1_000_000,
            opens: 7,
            kills: 7,
            watch_log: Duration::from_secs(40),
            payloads: Duration::from_secs(5),
            replay_traces: 100_000,
            replay_rounds: 7,
            // 1,000, 100,000 and 1,000,000 events.
            long_traces: [499, 49_999, 499_999],
            stream_items: 10_000_000,
            waiting_runs: 10_000,
            sleeping_runs: 1_000_000,
            cache_inputs: 5000,
            cache_misses: 2050,
            gigabyte: 1_000_000_000,
            growth_rounds: 3,
            growth_load: Duration::from_secs(6),
            growth_traces: 10_000,
        }
    }

    /// A few seconds, to see that all parts work. Its figures say little.
    pub fn quick() -> Self {
        Self {
            sequential_rounds: 3,
            sequential_block: 10,
            runs_at_once: 20,
            bare: Duration::from_millis(100),
            warm_up: Duration::from_millis(50),
            slice: Duration::from_millis(50),
            slice_count: 5,
            traces_at_once: 100,
            wide_rounds: 2,
            starts: 2,
            finished_runs: 1000,
            opens: 2,
            kills: 2,
            watch_log: Duration::from_millis(200),
            payloads: Duration::from_millis(200),
            replay_traces: 500,
            replay_rounds: 3,
            long_traces: [49, 99, 499],
            stream_items: 20_000,
            waiting_runs: 100,
            sleeping_runs: 10_000,
            cache_inputs: 100,
            cache_misses: 150,
            gigabyte: 1_000_000,
            growth_rounds: 1,
            growth_load: Duration::from_millis(100),
            growth_traces: 200,
        }
    }
}

impl Setting {
    /// A directory for one part, removed when it is dropped.
    pub(crate) fn scratch(&self) -> Result<TempDir, Failure> {
        tempfile::Builder::new().prefix("relive-bench-").tempdir_in(&self.directory).map_err(|error| {
            let directory = self.directory.display();
            format!("no temporary directory can be made in {directory}: {error}; choose another with --dir").into()
        })
    }

    /// The runtime that runs the tasks.
    pub(crate) fn runtime(&self) -> Result<Runtime, Failure> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(self.worker_count).enable_time().build();
        runtime.map_err(|error| format!("no runtime with {} threads: {error}", self.worker_count).into())
    }
}

/// Opens an engine's store in a directory.
pub(crate) fn open_store(directory: &std::path::Path) -> Result<Arc<RocksStore>, Failure> {
    Ok(Arc::new(RocksStore::open(directory, &SCHEMA)?))
}

/// Opens an engine on a store, as users do but for the directory.
pub(crate) async fn open(builder: Builder, store: &Arc<RocksStore>) -> Result<Engine, Failure> {
    Ok(builder.open_store(Arc::clone(store) as Arc<dyn relive_storage::Store>).await?)
}

/// Shuts an engine down, and waits until its last run has let go of the store.
pub(crate) async fn close(engine: Engine, store: &Arc<RocksStore>) -> Result<(), Failure> {
    engine.shutdown().await?;
    drop(engine);
    while Arc::strong_count(store) > 1 {
        tokio::task::yield_now().await;
    }
    Ok(())
}
