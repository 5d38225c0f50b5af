//! How long it takes to begin: a process to its first result, and an open of a store that holds many runs.
//!
//! The first result is measured around a process of its own (this program again), which says when it has it. The store with many finished runs is
//! filled by copying the rows of one real run under new ids, as running them all would take minutes.
//!
//! Invariant: what is copied is what an engine wrote, sealed anew for its key; the copies can be read like any run.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use relive::{Engine, RunId, Sequence, Timestamp, task, trace};
use relive_engine::codec::{self, Chain};
use relive_engine::event::Event;
use relive_engine::id::Epoch;
use relive_engine::index::RUNS;
use relive_engine::inspect;
use relive_engine::log::{LogReader, LogWriter};
use relive_storage::{Durability, Operation, RocksStore, Store, Write};
use tokio::runtime::Runtime;

use crate::meter::now;
use crate::samples::Samples;
use crate::setting::{close, open, open_store};
use crate::{Bound, Failure, Figure, Setting};

/// Runs in one commit while a store is filled.
const RUNS_PER_COMMIT: u32 = 10_000;

#[trace]
async fn greet(number: u64) -> relive::Result<u64> {
    Ok(number + 1)
}

#[task(cache = "off")]
pub(crate) async fn greeting(number: u64) -> relive::Result<u64> {
    greet(number).await
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let mut figures = first_results(setting)?;
    figures.push(opens(setting)?);
    Ok(figures)
}

fn first_results(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let (mut new, mut existing) = (Starts::default(), Starts::default());
    for _ in 0..setting.sizes.starts {
        let scratch = setting.scratch()?;
        let path = scratch.path().join("relive");
        for starts in [&mut new, &mut existing] {
            start(&path, starts)?;
        }
    }
    let (to_result, to_end) =
        ("a process, from its start to its first durable result, ms", "a process, from its start to its end");
    let (is_new, exists) = ("its store is new", "its store exists");
    Ok(vec![
        Figure::of("first_result_ms", format!("{to_result}; {is_new}"), &new.result).bound(Bound::AtMost(15.0)),
        Figure::of("first_result_existing_ms", format!("  {exists}"), &existing.result).bound(Bound::AtMost(15.0)),
        Figure::of("one_result_ms", format!("{to_end} with one result, ms; {is_new}"), &new.end),
        Figure::of("one_result_existing_ms", format!("  {exists}"), &existing.end),
    ])
}

/// How long processes took, ms.
#[derive(Default)]
struct Starts {
    /// To their first result.
    result: Samples,
    /// To their end.
    end: Samples,
}

fn start(path: &Path, starts: &mut Starts) -> Result<(), Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--first").arg("--dir").arg(path).stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = now();
    let mut child = command.spawn()?;
    let mut said = [0];
    let count = child.stdout.take().ok_or("its output is a pipe")?.read(&mut said)?;
    let result = began.elapsed();
    let output = child.wait_with_output()?;
    if !output.status.success() || count == 0 {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    starts.result.push(result.as_secs_f64() * 1000.0);
    starts.end.push(began.elapsed().as_secs_f64() * 1000.0);
    Ok(())
}

/// The process whose start is measured: opens a store, makes one result, says so by calling `told`, closes the store.
///
/// # Errors
/// If the store cannot be opened, the task fails, or nobody can be told.
pub fn first(directory: &Path, told: impl FnOnce() -> std::io::Result<()>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    runtime.block_on(async {
        let store = open_store(directory)?;
        let engine = open(Engine::builder(), &store).await?;
        engine.run(greeting(1)).await?;
        told()?;
        // In order: a process that ends while RocksDB is open may be aborted by its threads.
        close(engine, &store).await
    })
}

fn opens(setting: &Setting) -> Result<Figure, Failure> {
    let runtime = setting.runtime()?;
    let scratch = setting.scratch()?;
    let path = scratch.path().join("relive");
    let count = setting.sizes.finished_runs;
    fill(&runtime, &path, count)?;
    let mut times = Vec::new();
    // The first one has the write-ahead log of the copying to read, and does not count.
    for round in 0..=setting.sizes.opens {
        let began = now();
        let store = open_store(&path)?;
        let engine = runtime.block_on(open(Engine::builder(), &store))?;
        if round > 0 {
            times.push(began.elapsed());
        }
        runtime.block_on(close(engine, &store))?;
    }
    let mut samples = Samples::default();
    times.iter().for_each(|took| samples.push(took.as_secs_f64() * 1000.0));
    let figure = Figure::of("open_ms_1m_finished", format!("open of a store with {count} finished runs, ms"), &samples);
    Ok(figure.bound(Bound::AtMost(200.0)))
}

/// A store with so many finished runs.
pub(crate) fn fill(runtime: &Runtime, path: &Path, finished_runs: u32) -> Result<(), Failure> {
    let store = open_store(path)?;
    let run = runtime.block_on(async {
        let engine = open(Engine::builder(), &store).await?;
        let handle = engine.start(greeting(1)).await?;
        let run = handle.id();
        handle.await?;
        close(engine, &store).await?;
        Ok::<_, Failure>(run)
    })?;
    copy(&store, run, finished_runs)
}

/// Makes so many runs of one: its log and its record under other ids.
fn copy(store: &Arc<RocksStore>, run: RunId, count: u32) -> Result<(), Failure> {
    let mut reader = LogReader::new(Arc::clone(store) as Arc<dyn relive_storage::Read>, run);
    let mut events: Vec<Event> = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        events.extend(batch.events);
    }
    let record = inspect::run(store.as_ref(), run)?.ok_or("the run that is to be copied is not there")?;
    let mut writes = Vec::new();
    for number in 1..=count {
        let mut random = [0; 10];
        random[6..].copy_from_slice(&number.to_be_bytes());
        let copied = RunId::new(Timestamp(i64::from(number) * 1000), random);
        let (mut operations, _) = LogWriter::new(copied, Epoch(1)).append(Sequence(0), events.clone(), true)?;
        let key = copied.as_bytes().to_vec();
        let (value, _) = codec::seal(&key, Chain::default(), &record).map_err(|error| error.to_string())?;
        operations.push(Operation::Put { keyspace: RUNS, key, value });
        writes.push(Write { preconditions: Vec::new(), operations });
        if number.is_multiple_of(RUNS_PER_COMMIT) || number == count {
            store.commit(&writes, Durability::Buffered).map_err(|failed| failed.error)?;
            writes.clear();
        }
    }
    Ok(())
}
