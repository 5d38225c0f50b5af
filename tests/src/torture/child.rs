//! The process that is killed: opens an engine, starts all runs under their ids, waits for them, tells its parent.
//!
//! Started by `campaign`. Which of its lives this is it does not need to know: that is the point.
//!
//! Invariant: each acknowledged event is in the pipe before the child goes on by it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use relive::{Durability, Engine, Error, ErrorKind};
use relive_storage::Store;
use tokio::runtime::{Builder, Runtime};

use super::life::SILENCE_MAX;
use super::pipe::{AcknowledgedLine, Line, Pipe};
use super::task::{Input, torture_run};
use super::witness::{Witness, tick};

/// What a child is told.
#[derive(Clone, Debug)]
pub struct ChildOptions {
    /// The store.
    pub directory: PathBuf,
    /// The witness of this life.
    pub witness: PathBuf,
    /// Decides the programs.
    pub seed: u64,
    /// How many runs there are.
    pub run_count: u32,
    /// Whether the log is only buffered: that, too, survives a SIGKILL.
    pub buffered: bool,
    /// Whether commits may fail: then it tells what comes of that, and ends in order.
    pub failing: bool,
    /// Threads of the runtime.
    pub thread_count: usize,
}

/// Runs until all runs have ended.
///
/// # Errors
/// If the engine cannot be opened or does not do what it is asked to; a run's own error is told to the parent.
pub fn child(options: &ChildOptions) -> relive::Result<()> {
    runtime(options)?.block_on(live(options, None, Pipe::stdout()?))
}

/// The same in this process, on a store that forgets in a crash what was not synced; the lines go to a file. `None` if it
/// takes too long.
///
/// # Errors
/// If the pipe or the runtime cannot be made; what came of the life is in the value.
pub(super) fn child_on(
    options: &ChildOptions,
    store: Arc<dyn Store>,
    pipe: &Path,
) -> relive::Result<Option<relive::Result<()>>> {
    let runtime = runtime(options)?;
    let life = live(options, Some(store), Pipe::file(pipe)?);
    let ended = runtime.block_on(async { tokio::time::timeout(SILENCE_MAX, life).await });
    if ended.is_err() {
        // What hangs must not hang this, too. Else it is waited for, so that nothing is told after it was read.
        runtime.shutdown_background();
    }
    Ok(ended.ok())
}

fn runtime(options: &ChildOptions) -> relive::Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(options.thread_count).enable_all().build()?)
}

async fn live(options: &ChildOptions, store: Option<Arc<dyn Store>>, pipe: Pipe) -> relive::Result<()> {
    let pipe = Arc::new(pipe);
    let listener = Arc::clone(&pipe);
    let builder = Engine::builder()
        // It is not the runs that kill it.
        .crashes_max(u32::MAX)
        // Whoever naps leaves memory, and comes back from its log.
        .sleep_out_after(Duration::ZERO)
        .durability(if options.buffered { Durability::Buffered } else { Durability::Sync })
        .provide(Witness::open(&options.witness)?)
        .on_durable(move |acknowledged| {
            let (run, sequence, event) = (acknowledged.run, acknowledged.sequence, acknowledged.event.clone());
            listener.tell(&Line::Acknowledged(AcknowledgedLine { tick: tick(), run, sequence, event }));
        });
    let opened = match store {
        Some(store) => builder.open_store(store).await,
        None => builder.open(&options.directory).await,
    };
    let engine = match opened {
        Err(error) if options.failing => {
            pipe.tell(&Line::Refused(error.to_string()));
            return Ok(());
        }
        opened => opened?,
    };
    if options.failing {
        return live_failing(&engine, &pipe, options).await;
    }
    try_join_all((0..options.run_count).map(|number| one(&engine, &pipe, options.seed, number))).await?;
    engine.shutdown().await?;
    pipe.tell(&Line::Done);
    Ok(())
}

/// As a life whose commits may fail: everyone who waits is told, and after that the engine takes nothing more.
async fn live_failing(engine: &Engine, pipe: &Pipe, options: &ChildOptions) -> relive::Result<()> {
    let all = (0..options.run_count).map(|number| async move {
        let left = one(engine, pipe, options.seed, number).await.err();
        if let Some(error) = &left {
            pipe.tell(&Line::Left(number, error.to_string()));
        }
        left.is_some()
    });
    let has_failed = join_all(all).await.contains(&true);
    if has_failed {
        let number = options.run_count;
        let call = torture_run(Input { seed: options.seed, number }).id(run_id(number));
        pipe.tell(&match engine.start(call).await {
            Ok(_) => Line::Accepted,
            Err(error) => Line::Refused(error.to_string()),
        });
    }
    let closed = engine.shutdown().await;
    if !has_failed {
        pipe.tell(&closed.map_or_else(|error| Line::Refused(error.to_string()), |()| Line::Done));
    }
    Ok(())
}

async fn one(engine: &Engine, pipe: &Pipe, seed: u64, number: u32) -> relive::Result<()> {
    let call = torture_run(Input { seed, number }).id(run_id(number));
    let handle = engine.start(call).await?;
    pipe.tell(&Line::Started(number, handle.id()));
    let ended = handle.await;
    if let Err(error) = &ended
        && matches!(error.kind(), ErrorKind::Storage | ErrorKind::Closed)
    {
        return Err(Error::msg(format!("run {number} was left by its engine: {error}")));
    }
    pipe.tell(&Line::Ended(number, ended.map_err(|error| error.to_string())));
    Ok(())
}

/// The id under which a run is started.
pub(crate) fn run_id(number: u32) -> String {
    format!("torture-{number}")
}
