//! The process that is killed: opens an engine, starts all runs under their ids, waits for them, tells its parent.
//!
//! Started by `campaign`. Which of its lives this is it does not need to know: that is the point.
//!
//! Invariant: each acknowledged event is in the pipe before the child goes on by it.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::try_join_all;
use relive::{Durability, Engine, Error, ErrorKind};

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
    /// Threads of the runtime.
    pub thread_count: usize,
}

/// Runs until all runs have ended.
///
/// # Errors
/// If the engine cannot be opened or does not do what it is asked to; a run's own error is told to the parent.
pub fn child(options: &ChildOptions) -> relive::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(options.thread_count).enable_all().build()?;
    runtime.block_on(live(options))
}

async fn live(options: &ChildOptions) -> relive::Result<()> {
    let pipe = Arc::new(Pipe::stdout()?);
    let listener = Arc::clone(&pipe);
    let engine = Engine::builder()
        // It is not the runs that kill it.
        .crashes_max(u32::MAX)
        .durability(if options.buffered { Durability::Buffered } else { Durability::Sync })
        .provide(Witness::open(&options.witness)?)
        .on_durable(move |acknowledged| {
            let (run, sequence, event) = (acknowledged.run, acknowledged.sequence, acknowledged.event.clone());
            listener.tell(&Line::Acknowledged(AcknowledgedLine { tick: tick(), run, sequence, event }));
        })
        .open(&options.directory)
        .await?;
    try_join_all((0..options.run_count).map(|number| one(&engine, &pipe, options.seed, number))).await?;
    engine.shutdown().await?;
    pipe.tell(&Line::Done);
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
