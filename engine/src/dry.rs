//! Runs a task's body without effects and without writes: against its log, or as a new attempt would begin.
//!
//! Called by the engine, and by `replayer` over stores that are only read.
//!
//! Invariant: nothing is written and no effect begins, whatever the body does.

use std::sync::Arc;

use crate::definition::TaskDefinition;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Cause, Event, Rerun, TaskCompleted};
use crate::execute::{body, next_attempt, recorded, share};
use crate::id::{RunId, Sequence};
use crate::inspect;
use crate::log::last_event;
use crate::past::Past;
use crate::replay::Replay;
use crate::run::{Drive, Dry, Fit};

/// An attempt in a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Where it begins.
    pub(crate) at: Sequence,
    /// Where the next one begins, if another follows.
    pub(crate) end: Option<Sequence>,
}

/// The last attempt of a run.
///
/// # Errors
/// Of kind `UnknownRun` if there is no such run.
pub(crate) fn last_attempt(engine: &Inner, run: RunId) -> Result<Attempt> {
    let store = engine.store()?;
    if last_event(store.as_ref(), run)?.is_none() {
        return Err(Error::new(ErrorKind::UnknownRun, format!("there is no run {run} in this store")));
    }
    let at = inspect::run(store.as_ref(), run)?.map_or(Sequence(0), |record| record.attempt_at);
    Ok(Attempt { at, end: None })
}

/// Runs a task's body against an attempt in its log.
pub(crate) async fn replay(engine: &Arc<Inner>, run: RunId, attempt: Attempt) -> Result<Fit> {
    let definition = definition_of(engine, run)?;
    let mut past = Past::of_attempt(engine.store()?, run, attempt.at)?;
    past.reader.end_before(attempt.end);
    let (shared, body) = recorded(engine, definition, &Arc::default(), past, attempt.at, Dry::Replay, None)?;
    let fit = Drive::new(shared, Arc::clone(&engine.settings), None).replay(body).await;
    match (fit, engine.store()) {
        (Err(error), Ok(store)) => Err(crate::export::excuse(store.as_ref(), run, error)),
        (fit, _) => fit,
    }
}

/// How the last attempt of a run ended, if its body fits the log: `None` if it is unfinished.
pub(crate) async fn replay_last(engine: &Arc<Inner>, run: RunId) -> Result<Option<TaskCompleted>> {
    let fit = replay(engine, run, last_attempt(engine, run)?).await?;
    ended(engine, run, fit.completed)
}

/// How a run ended whose last attempt ended so: it may have been cancelled while it waited for the next.
pub(crate) fn ended(engine: &Inner, run: RunId, completed: Option<TaskCompleted>) -> Result<Option<TaskCompleted>> {
    if completed.as_ref().is_some_and(|completed| completed.retry_at.is_some())
        && let Some((_, Event::TaskCompleted(last))) = last_event(engine.store()?.as_ref(), run)?
    {
        return Ok(Some(last));
    }
    Ok(completed)
}

/// What a new attempt would append before it begins an effect.
///
/// # Errors
/// If a new attempt may not follow, or cannot begin.
pub(crate) async fn preview(engine: &Arc<Inner>, run: RunId, rerun: Rerun) -> Result<Vec<(Sequence, Event)>> {
    engine.resumable(run)?;
    rehearse(engine, run, rerun).await
}

/// As [`preview`], also of a run that is under way or has completed.
pub(crate) async fn rehearse(engine: &Arc<Inner>, run: RunId, rerun: Rerun) -> Result<Vec<(Sequence, Event)>> {
    let definition = definition_of(engine, run)?;
    let (plan, started, past) = next_attempt(engine, run, definition, Cause::Resumed(rerun), None)?;
    let body = body(&plan, &started.input)?;
    let (task, at) = (started.task.clone(), plan.attempt_at);
    let replay = Replay::fresh(run, task, past.memo, at, Event::TaskStarted(started));
    let shared = share(engine, &Arc::default(), plan, replay, None, (None, Dry::Preview), None)?;
    let writer = past.reader.into_writer(engine.settings.epoch);
    Drive::new(shared, Arc::clone(&engine.settings), Some((writer, at))).preview(body).await
}

fn definition_of(engine: &Inner, run: RunId) -> Result<&'static TaskDefinition> {
    let started = crate::recover::first_event(engine.store()?, run)?;
    let task = &started.task;
    engine.registry.task(task).ok_or_else(|| {
        Error::new(ErrorKind::UnknownTask, format!("run {run} is of task {task}, which this program does not have"))
    })
}
