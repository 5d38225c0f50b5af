//! The program whose command this is: its tasks, ready to be replayed.
//!
//! Used by `replay` and `check`.
//!
//! Invariant: nothing is written, and no effect begins.

use std::sync::Arc;

use relive::{Replayed, Replayer};
use relive_engine::error::{Error, ErrorKind};
use relive_engine::id::RunId;
use relive_storage::Read;

use crate::context::Context;
use crate::failure::Failure;
use crate::text::escaped;
use crate::words::nearest;

/// So many of the program's tasks are named where one is missing.
const TASKS_NAMED_MAX: usize = 12;

/// The program's tasks over a store.
pub(crate) struct Program {
    runtime: tokio::runtime::Runtime,
    pub(crate) replayer: Replayer,
}

impl Program {
    /// With the program's own settings.
    pub(crate) fn open(context: &Context<'_>, store: &Arc<dyn Read>) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(|error| {
            Error::new(ErrorKind::Storage, "no runtime can be started to replay in").caused_by(error)
        })?;
        let replayer = {
            let _entered = runtime.enter();
            context.cli.engine().replay_store(Arc::clone(store))?
        };
        Ok(Self { runtime, replayer })
    }

    /// Replays a run; its last attempt if none is named.
    pub(crate) fn replay(&self, run: RunId, attempt: Option<u32>) -> Result<Replayed, Error> {
        let replayed = self.runtime.block_on(async {
            match attempt {
                Some(attempt) => self.replayer.replay_attempt(run, attempt).await,
                None => self.replayer.replay(run).await,
            }
        });
        replayed.map_err(|error| match error.kind() {
            ErrorKind::UnknownTask => {
                let task = self.replayer.last_started(run).map(|started| started.task).unwrap_or_default();
                Error::new(ErrorKind::UnknownTask, format!("run {run}: {}", self.lacks(&task)))
            }
            _ => error,
        })
    }

    /// Why there is no task of this name.
    pub(crate) fn lacks(&self, task: &str) -> String {
        let names: Vec<&str> = self.replayer.registry().task_names().collect();
        let has = match (names.len(), nearest(task, names.iter().copied())) {
            (0, _) => "this program has no tasks: give the command to the program whose tasks these are \
                       (its main() calls relive_cli::main())"
                .to_owned(),
            (_, Some(near)) => format!("this program does not have it (it has {})", escaped(near)),
            (count, None) => {
                let more = if count > TASKS_NAMED_MAX { ", …" } else { "" };
                let listed: Vec<String> = names.iter().take(TASKS_NAMED_MAX).map(|name| escaped(name)).collect();
                format!("this program does not have it (it has {}{more})", listed.join(", "))
            }
        };
        format!("its task is {}, and {has}", escaped(task))
    }
}
