//! Runs as tasks of the runtime: the only file that spawns any.
//!
//! Each waits for its turn, drives the run, and tells its cell what came of it.
//!
//! Invariant: at most `runs_max` bodies are under way at once; a queued run is durable already.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::definition::TaskDefinition;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result, payload_error};
use crate::event::{Batch, Event, TaskCompleted, TaskStarted};
use crate::handle::{CellState, RunCell};
use crate::id::{RunId, Sequence};
use crate::log::LogReader;
use crate::payload::{Payload, PayloadError};
use crate::replay::Replay;
use crate::run::{BoxedFuture, Drive, Mailbox, Plan, RunShared, closed};

/// Spawns a run that is new.
pub(crate) fn spawn_fresh(
    inner: &Arc<Inner>,
    cell: &Arc<RunCell>,
    plan: Plan,
    started: TaskStarted,
    key: Option<[u8; 32]>,
    alive: mpsc::Sender<()>,
) {
    let (engine, cell) = (Arc::clone(inner), Arc::clone(cell));
    let conclusion = Conclusion { engine, cell, key, alive: Some(alive) };
    inner.runtime.spawn(async move {
        let result = fresh(&conclusion.engine, &conclusion.cell, plan, started).await;
        conclusion.is(result);
    });
}

/// Spawns a run that an earlier life of the process left unfinished.
pub(crate) fn spawn_resumed(inner: &Arc<Inner>, cell: &Arc<RunCell>, key: Option<[u8; 32]>, alive: mpsc::Sender<()>) {
    let (engine, cell) = (Arc::clone(inner), Arc::clone(cell));
    let conclusion = Conclusion { engine, cell, key, alive: Some(alive) };
    inner.runtime.spawn(async move {
        let result = resumed(&conclusion.engine, &conclusion.cell).await;
        conclusion.is(result);
    });
}

/// Tells a run's cell what came of it, however its task ends: also if user code panics where nobody catches it, or the
/// runtime goes away.
struct Conclusion {
    engine: Arc<Inner>,
    cell: Arc<RunCell>,
    key: Option<[u8; 32]>,
    /// Dropped last: who waits for all runs finds everything told.
    alive: Option<mpsc::Sender<()>>,
}

impl Conclusion {
    fn is(mut self, result: Result<TaskCompleted>) {
        self.tell(result);
    }

    fn tell(&mut self, result: Result<TaskCompleted>) {
        if self.alive.is_none() {
            return;
        }
        let Self { engine, cell, key, .. } = self;
        match result {
            Ok(completed) => {
                // Out of the maps first: who is woken by the outcome and calls again finds the cache.
                engine.forget(cell, *key);
                cell.set(CellState::Done(Arc::new(completed.outcome)));
            }
            Err(error) => {
                // A run whose log stands waits, and is joined, so that no second one repeats its effects.
                let stopped = error.kind() == ErrorKind::Closed
                    || engine.settings.committer.failure().is_some()
                    || matches!(cell.state(), CellState::Starting);
                if stopped {
                    engine.forget(cell, *key);
                    cell.set(CellState::Stopped(Arc::new(error)));
                } else {
                    tracing::error!(run = %cell.run, task = %cell.task, %error, "the run cannot go on and waits");
                    cell.set(CellState::Waiting(Arc::new(error)));
                }
            }
        }
        self.alive = None;
    }
}

impl Drop for Conclusion {
    fn drop(&mut self) {
        let run = self.cell.run;
        let why = format!("run {run} was cut off: code of the task panicked outside its body, or the runtime ended");
        self.tell(Err(Error::new(ErrorKind::Panicked, why)));
    }
}

/// What a run that waits for its turn gets.
enum Turn {
    Go(OwnedSemaphorePermit),
    Cancelled,
}

async fn turn(engine: &Inner, cell: &RunCell) -> Result<Turn> {
    let mut permit = std::pin::pin!(Arc::clone(&engine.turns).acquire_owned());
    poll_fn(|cx| {
        let received = cell.mailbox.receive(cx.waker());
        if received.stop.is_some() {
            return Poll::Ready(Err(closed(cell.run)));
        }
        if received.cancelled {
            return Poll::Ready(Ok(Turn::Cancelled));
        }
        // The semaphore is never closed.
        permit.as_mut().poll(cx).map(|permit| permit.map(Turn::Go).map_err(|_| closed(cell.run)))
    })
    .await
}

async fn fresh(engine: &Inner, cell: &Arc<RunCell>, plan: Plan, started: TaskStarted) -> Result<TaskCompleted> {
    let run = plan.run;
    let body = body(&plan, &started.input)?;
    let task = started.task.clone();
    let event = Event::TaskStarted(started);
    let tell = {
        let cell = Arc::clone(cell);
        move || {
            if matches!(cell.state(), CellState::Starting) {
                cell.set(CellState::Running);
            }
        }
    };
    let permit = Arc::clone(&engine.turns).try_acquire_owned();
    let replay = match &permit {
        Ok(_) => Replay::fresh(run, task, event.clone()),
        Err(_) => Replay::new(run, task),
    };
    let shared = RunShared::new(run, Arc::clone(&engine.environment), Arc::clone(&cell.mailbox), replay);
    let mut drive = Drive::fresh(Arc::clone(&shared), engine.settings.clone(), plan, tell);
    let _permit = match permit {
        Ok(permit) => permit,
        Err(_) => {
            // No turn yet: durable first, so that the caller need not wait for one.
            drive.append_first(event.clone()).await?;
            cell.set(CellState::Queued);
            let permit = match turn(engine, cell).await? {
                Turn::Go(permit) => permit,
                Turn::Cancelled => return drive.cancel_queued().await,
            };
            cell.set(CellState::Running);
            let batch = Batch { first: Sequence(0), epoch: engine.settings.epoch, settled: false, events: vec![event] };
            let mut state = shared.state.lock();
            state.replay.feed(batch);
            state.replay.end_history();
            permit
        }
    };
    drive.run(body).await
}

async fn resumed(engine: &Inner, cell: &Arc<RunCell>) -> Result<TaskCompleted> {
    let Some(definition) = engine.registry.task(&cell.task) else {
        return Err(unknown_task(cell));
    };
    cell.set(CellState::Queued);
    let turn = turn(engine, cell).await?;
    cell.set(CellState::Running);
    let (drive, body) = prepare(engine, cell.run, definition, &cell.mailbox)?;
    match turn {
        Turn::Go(_permit) => drive.run(body).await,
        Turn::Cancelled => drive.cancel_queued().await,
    }
}

/// Runs a task's body against its log, without effects and without writes.
pub(crate) async fn replay(engine: &Inner, run: RunId) -> Result<Option<TaskCompleted>> {
    let started = crate::recover::first_event(engine.store()?, run)?;
    let task = &started.task;
    let definition = engine.registry.task(task).ok_or_else(|| {
        Error::new(ErrorKind::UnknownTask, format!("run {run} is of task {task}, which this program does not have"))
    })?;
    let (drive, body) = prepare(engine, run, definition, &Arc::default())?;
    drive.replay(body).await
}

/// A run as its log has it: the loop, fed with the first batch, and the body for the recorded input.
fn prepare(
    engine: &Inner,
    run: RunId,
    definition: &'static TaskDefinition,
    mailbox: &Arc<Mailbox>,
) -> Result<(Drive, BoxedFuture)> {
    let mut reader = LogReader::new(engine.store()?, run);
    let missing =
        || Error::new(ErrorKind::Corrupt, format!("run {run}: its log is empty, or begins with another event"));
    let batch = reader.next_batch()?.ok_or_else(missing)?;
    let Some(Event::TaskStarted(started)) = batch.events.first().cloned() else { return Err(missing()) };
    let plan = Plan::of_recorded(engine, run, definition, &started)?;
    let body = body(&plan, &started.input)?;
    let mut replay = Replay::new(run, started.task.clone());
    replay.feed(batch);
    let shared = RunShared::new(run, Arc::clone(&engine.environment), Arc::clone(mailbox), replay);
    Ok((Drive::resumed(shared, engine.settings.clone(), plan, reader), body))
}

/// Calls code of the user's that reads a value back; a panic in it is an error like any other.
pub(crate) fn unpanicked<T>(read: impl FnOnce() -> Result<T, PayloadError>) -> Result<T, PayloadError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(PayloadError::new("its type's own code panicked when it was read back")))
}

fn body(plan: &Plan, input: &Payload) -> Result<BoxedFuture> {
    unpanicked(|| (plan.definition.body)(input)).map_err(|error| {
        let (run, task) = (plan.run, plan.definition.name);
        payload_error(format!("run {run}: the input of task {task} cannot be read back"), &error)
    })
}

/// No task of this name is linked in.
pub(crate) fn unknown_task(cell: &RunCell) -> Error {
    Error::new(
        ErrorKind::UnknownTask,
        format!(
            "run {} is of task {}, which this program does not have: it waits for one that does (a renamed task keeps its \
             runs by #[task(name = \"{}\")])",
            cell.run, cell.task, cell.task
        ),
    )
}
