//! Replays runs of a store that is only read: an engine without a committer, without recovery, without effects.
//!
//! Works beside a live engine, over a read-only view of a directory, and over stores in memory.
//!
//! Invariant: nothing is written and no effect begins; what a replay finds is told with the evidence for it.

use std::sync::Arc;

use relive_storage::Read;

use crate::definition::Registry;
use crate::diagnose::Diverged;
use crate::divergence::CallSite;
use crate::dry::{self, Attempt};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, TaskStarted};
use crate::id::{RunId, Sequence};
use crate::inspect;
use crate::log::event_at;
use crate::options::Options;
use crate::verdict::{NEXT_MAX, Replayed, SoFar, Verdict};

/// Replays runs against the code of this program. Clones are the same replayer.
#[derive(Clone)]
pub struct Replayer(Arc<Inner>);

impl std::fmt::Debug for Replayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replayer").finish_non_exhaustive()
    }
}

impl Replayer {
    /// Of a store that is read and not written: also while an engine has it open.
    ///
    /// # Errors
    /// If there is no tokio runtime, or the store cannot be read.
    pub fn open(store: Arc<dyn Read>, registry: Registry, options: Options) -> Result<Self> {
        Ok(Self(Inner::reading(store, registry, options)?))
    }

    pub(crate) fn of(inner: Arc<Inner>) -> Self {
        Self(inner)
    }

    /// The store.
    ///
    /// # Errors
    /// Of kind `Closed` if it is that of an engine that was shut down.
    pub fn store(&self) -> Result<Arc<dyn Read>> {
        self.0.store()
    }

    /// The tasks and traces of this program.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Runs a task's body against the last attempt in the log of one of its runs. If it does not fit, it is run some more
    /// times to find out why.
    ///
    /// # Errors
    /// Of kind `UnknownRun`; of kind `UnknownTask` if this program does not have its task; of kind `Payload` if today's types
    /// cannot read its input or a recorded result; of kind `Corrupt` if the log is damaged.
    pub async fn replay(&self, run: RunId) -> Result<Replayed> {
        self.examine(run, dry::last_attempt(&self.0, run)?).await
    }

    /// As [`Replayer::replay`], for an attempt of the caller's choice, from 1.
    ///
    /// # Errors
    /// As for [`Replayer::replay`]; of kind `UnknownRun` if the run has no such attempt.
    pub async fn replay_attempt(&self, run: RunId, attempt: u32) -> Result<Replayed> {
        dry::last_attempt(&self.0, run)?;
        let attempts = inspect::attempts(self.0.store()?, run)?;
        let Some(index) = attempts.iter().position(|(_, started)| started.attempt == attempt) else {
            let count = attempts.last().map_or(0, |(_, started)| started.attempt);
            let why = format!("run {run} has no attempt {attempt}: they are counted from 1, and its last is {count}");
            return Err(Error::new(ErrorKind::UnknownRun, why));
        };
        let end = attempts.get(index + 1).map(|(at, _)| *at);
        self.examine(run, Attempt { at: attempts[index].0, end }).await
    }

    async fn examine(&self, run: RunId, attempt: Attempt) -> Result<Replayed> {
        let started = self.started(run, attempt.at)?;
        let redacted = crate::export::redacted(self.0.store()?.as_ref(), run)?;
        let replayed = |end: Sequence, verdict| Replayed {
            redacted: redacted.clone(),
            run,
            task: started.task.to_string(),
            attempt: started.attempt,
            event_count: end.0.saturating_sub(attempt.at.0),
            verdict,
        };
        let fit = match dry::replay(&self.0, run, attempt).await {
            Ok(fit) => fit,
            Err(error) => {
                let Some(divergence) = error.divergence().cloned() else { return Err(error) };
                let at = divergence.sequence;
                let diverged = Diverged { engine: &self.0, run, attempt, started: &started };
                return Ok(replayed(at, diverged.explain(divergence).await?));
            }
        };
        let completed = match attempt.end {
            // That the run was cancelled later is no part of this attempt.
            Some(_) => fit.completed,
            None => dry::ended(&self.0, run, fit.completed)?,
        };
        let verdict = match completed {
            Some(completed) => Verdict::Same(completed.outcome),
            None => {
                let call = |event| match event {
                    Event::TraceStarted(call) => Some(CallSite::of(&call)),
                    _ => None,
                };
                let next = fit.next.into_iter().filter_map(call).take(NEXT_MAX).collect();
                Verdict::SameSoFar(SoFar { end: fit.end, next, stuck: fit.stuck })
            }
        };
        Ok(replayed(fit.end, verdict))
    }

    fn started(&self, run: RunId, at: Sequence) -> Result<TaskStarted> {
        match event_at(self.0.store()?, run, at)? {
            Event::TaskStarted(started) => Ok(started),
            other => {
                let why = format!("run {run} at event {at}: an attempt begins with {}", other.name());
                Err(Error::new(ErrorKind::Corrupt, why))
            }
        }
    }

    /// How the last attempt of a run began, without reading its whole log: which code it is of.
    ///
    /// # Errors
    /// As for [`Replayer::replay`].
    pub fn last_started(&self, run: RunId) -> Result<TaskStarted> {
        let attempt = dry::last_attempt(&self.0, run)?;
        self.started(run, attempt.at)
    }
}
