//! Has something done to a store: by the engine that has it open, or by one that is opened for it.
//!
//! Used by the commands that write. An engine that is opened for one command takes up no other run.
//!
//! Invariant: when a command returns, what it says was done is durable.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget};
use relive::live::{Client, Command, perform};
use relive::{Builder, Engine, RunId, TaskOutcome};
use relive_engine::error::{Error, ErrorKind};
use relive_engine::log::last_event;
use relive_storage::{MemoryStore, Read, Store};
use serde_json::Value;

use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;
use crate::look::{BAD, GOOD};
use crate::text::{cut_display, escaped};

/// How often the progress of a run is looked at: 5 times a second, faster than people read.
const LOOK: Duration = Duration::from_millis(200);

impl Context<'_> {
    /// Has a command done that needs no code of the user's: by the live engine, or by one that is opened for it.
    pub(crate) fn ask(&self, command: &Command) -> Result<Value, Failure> {
        if let Some(client) = Client::connect(self.directory) {
            return Ok(client.ask(command)?);
        }
        let command = command.clone();
        self.with_engine(Engine::builder(), |engine| async move { Ok(perform(&engine, command).await?) })
    }

    /// Opens the directory for one thing, and closes it again.
    pub(crate) fn with_engine<T, F>(&self, builder: Builder, what: impl FnOnce(Engine) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        runtime()?.block_on(async {
            let engine = builder.takes_up(false).open(self.directory).await.map_err(held)?;
            let result = what(engine.clone()).await;
            let closed = engine.shutdown().await;
            let result = result?;
            closed?;
            Ok(result)
        })
    }

    /// Opens an engine with the program's tasks over a store in memory: to look, where nothing may be written.
    pub(crate) fn with_memory<T, F>(&self, store: MemoryStore, what: impl FnOnce(Engine) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        runtime()?.block_on(async {
            let engine = self.cli.engine().takes_up(false).open_store(Arc::new(store) as Arc<dyn Store>).await?;
            let result = what(engine.clone()).await;
            engine.shutdown().await?;
            result
        })
    }

    /// Tells how a run ended that this command saw to its end.
    pub(crate) fn ended(&mut self, run: RunId, outcome: &TaskOutcome) -> Result<Status, Failure> {
        let (word, style, text) = match outcome {
            TaskOutcome::Ok(output) => ("completed", GOOD, cut_display(&output.to_value(), self.look.width)),
            TaskOutcome::Err(error) => ("failed", BAD, escaped(&error.to_string())),
            _ => ("cancelled", BAD, String::new()),
        };
        if self.json {
            let line = match outcome {
                TaskOutcome::Ok(output) => {
                    serde_json::json!({ "run": run.to_string(), "state": word, "output": output.to_value() })
                }
                TaskOutcome::Err(error) => {
                    serde_json::json!({ "run": run.to_string(), "state": word, "error": error.to_string() })
                }
                _ => serde_json::json!({ "run": run.to_string(), "state": word }),
            };
            json::line(self.out, &line)?;
        } else {
            let word = self.look.paint(style, word);
            writeln!(self.out, "run {run} {word}{}{text}", if text.is_empty() { "" } else { ": " })?;
        }
        Ok(if matches!(outcome, TaskOutcome::Ok(_)) { Status::Success } else { Status::Differs })
    }
}

/// Waits for a run to end, and shows on a terminal how far it is.
pub(crate) async fn watched(engine: &Engine, run: RunId) -> Result<TaskOutcome, Failure> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.enable_steady_tick(LOOK);
    let ended = engine.outcome(run);
    let mut ended = std::pin::pin!(ended);
    let outcome = loop {
        #[expect(clippy::disallowed_methods, reason = "people watch this")]
        let tick = tokio::time::sleep(LOOK);
        tokio::select! {
            biased;
            outcome = &mut ended => break outcome?,
            () = tick => {
                let store: Arc<dyn Read> = engine.store()?;
                if let Some((at, event)) = last_event(store.as_ref(), run)? {
                    bar.set_message(format!("run {run}: event {at}, {}", event.name()));
                }
            }
        }
    };
    bar.finish_and_clear();
    Ok(outcome)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| {
        Error::new(ErrorKind::Storage, format!("no runtime can be started: {error}")).caused_by(error).into()
    })
}

/// A directory that is held is one whose engine could not be reached.
fn held(error: Error) -> Error {
    match error.kind() {
        ErrorKind::InUse => {
            Error::new(ErrorKind::InUse, format!("{error}; and it does not answer on the directory's socket"))
        }
        _ => error,
    }
}

/// Says what a program without the user's tasks can do about that.
pub(crate) fn own_program(failure: Failure) -> Failure {
    match failure {
        Failure::Read(error) if error.kind() == ErrorKind::UnknownTask => {
            let why =
                format!("{error}. Use the command of the program that has it (`relive_cli::main()` in it makes one)");
            Error::new(ErrorKind::UnknownTask, why).into()
        }
        other => other,
    }
}
