//! Runs and effects as tasks of the runtime: the only file that spawns any.
//!
//! A run's task goes through its `life`, attempt after `attempt`, and tells its cell what came of it; `prepared` is what an
//! attempt is driven with.
//!
//! Invariant: at most `runs_max` bodies are under way at once; a queued run is durable already.

mod attempt;
mod life;
mod prepared;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tracing::{Instrument, Span};

use crate::cache::CallKey;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Cause, ErrorRecord, Parent, TaskCompleted, TaskStarted};
use crate::handle::{CellState, Obstacle, RunCell};
use crate::id::{Sequence, Timestamp};
use crate::index::{BlockReason, Blocked, UnfinishedRecord};
use crate::observe::{events, spans};
use crate::run::{BoxedFuture, Output, Plan};

use self::life::life;
pub(crate) use self::prepared::{body, next_attempt, recorded, share, unknown_task, unpanicked};

/// How a run's task begins.
pub(crate) enum Beginning {
    /// It is new.
    Fresh(Box<(Plan, TaskStarted)>),
    /// An earlier life of the process left it unfinished.
    TakenUp {
        /// Where its last attempt begins.
        attempt_at: Sequence,
        /// If that has failed, when the next is due.
        retry_at: Option<Timestamp>,
        /// If that life did not end in order: what the run has to count.
        died: Option<Box<UnfinishedRecord>>,
        /// Why it could not go on then, if that was so.
        blocked: Option<Box<Blocked>>,
    },
    /// It slept, in this life of the process.
    Woken {
        /// When it was due, by elapsed time in microseconds.
        due: i64,
        /// Its turn, if it was woken as it is due.
        permit: Option<OwnedSemaphorePermit>,
    },
    /// A new attempt, for this reason; and whose body it is for, if somebody's.
    Attempt(Cause, Option<Parent>),
}

/// Spawns a run.
pub(crate) fn spawn(
    inner: &Arc<Inner>,
    cell: &Arc<RunCell>,
    beginning: Beginning,
    key: Option<CallKey>,
    alive: mpsc::Sender<()>,
) {
    let (engine, cell) = (Arc::clone(inner), Arc::clone(cell));
    if let Beginning::Fresh(_) = &beginning {
        cell.count_start();
    }
    inner.heed_failure(&cell);
    let span = spans::run(cell.run, &cell.task, || cell.holders.lock().calls.values().next().copied());
    let before = match &beginning {
        Beginning::TakenUp { blocked, .. } => blocked.clone(),
        _ => None,
    };
    let mut conclusion = Conclusion { engine, cell, key, since: None, alive: Some(alive) };
    let whole = async move {
        let result = life(&conclusion.engine, &conclusion.cell, beginning, key).await;
        match &result {
            Ok(Some(completed)) => spans::ended(&Span::current(), &completed.outcome),
            Ok(None) => {}
            Err(error) => {
                if !conclusion.is_stopped_by(error) {
                    // On record before anybody is told, who may look.
                    conclusion.since =
                        Box::pin(conclusion.engine.put_blocked(conclusion.cell.run, error, before)).await;
                }
            }
        }
        conclusion.is(result);
    };
    let whole = whole.instrument(span);
    match &inner.environment.run_wrapper {
        None => spawn_on(&inner.runtime, whole),
        Some(wrap) => spawn_on(&inner.runtime, wrap(Box::pin(whole))),
    }
}

/// Spawns what wakes the runs that sleep.
pub(crate) fn spawn_watch(inner: &Arc<Inner>) {
    let Some(alive) = inner.alive.lock().clone() else { return };
    let (clock, turns) = (Arc::clone(&inner.environment.clock), Arc::clone(&inner.turns));
    spawn_on(&inner.runtime, crate::asleep::watch(Arc::downgrade(inner), clock, turns, alive));
}

#[cfg(not(feature = "shuttle"))]
fn spawn_on(runtime: &tokio::runtime::Handle, task: impl Future<Output = ()> + Send + 'static) {
    runtime.spawn(task);
}

#[cfg(feature = "shuttle")]
fn spawn_on(_: &tokio::runtime::Handle, task: impl Future<Output = ()> + Send + 'static) {
    shuttle::future::spawn(task);
}

/// Spawns what deletes runs when their time is over.
pub(crate) fn spawn_retention(inner: &Arc<Inner>, duty: crate::retain::Duty) {
    let Some(alive) = inner.alive.lock().clone() else { return };
    inner.runtime.spawn(crate::retain::keep(Arc::downgrade(inner), duty, alive));
}

/// Takes a turn out of circulation as soon as one is free: one that was lent.
pub(crate) fn spawn_taking_back(runtime: &tokio::runtime::Handle, turns: Arc<Semaphore>) {
    runtime.spawn(async move {
        // The semaphore is never closed.
        if let Ok(permit) = turns.acquire_owned().await {
            permit.forget();
        }
    });
}

/// An effect on a task of its own. Dropping it ends the task.
pub(crate) fn spawn_effect(
    runtime: &tokio::runtime::Handle,
    effect: impl Future<Output = Output> + Send + 'static,
) -> BoxedFuture {
    Box::pin(Spawned(runtime.spawn(effect)))
}

/// An effect on a thread that may block. Dropping it does not end the effect.
pub(crate) fn spawn_blocking(
    runtime: &tokio::runtime::Handle,
    effect: impl FnOnce() -> Output + Send + 'static,
) -> BoxedFuture {
    Box::pin(Spawned(runtime.spawn_blocking(effect)))
}

struct Spawned(JoinHandle<Output>);

impl Future for Spawned {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        match std::task::ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(output) => Poll::Ready(output),
            // Nobody here cancels a task that is still awaited: the runtime goes away, and the run with it. That is no
            // outcome of the effect's, so it must not be recorded as one.
            Err(error) if error.is_cancelled() => Poll::Pending,
            Err(error) => {
                let why = error.try_into_panic().map_or_else(|error| error.to_string(), crate::panic::describe);
                Poll::Ready(Err(ErrorRecord::new(ErrorKind::Panicked, format!("the effect's task panicked: {why}"))))
            }
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells a run's cell what came of it, however its task ends: also if user code panics where nobody catches it, or the
/// runtime goes away.
struct Conclusion {
    engine: Arc<Inner>,
    cell: Arc<RunCell>,
    key: Option<CallKey>,
    /// Since when it cannot go on, as that is on record.
    since: Option<Timestamp>,
    /// Dropped last: who waits for all runs finds everything told.
    alive: Option<mpsc::Sender<()>>,
}

impl Conclusion {
    /// `None`: it sleeps, and whoever asks is told so already.
    fn is(mut self, result: Result<Option<TaskCompleted>>) {
        match result.transpose() {
            Some(result) => self.tell(result),
            None => self.alive = None,
        }
    }

    fn tell(&mut self, result: Result<TaskCompleted>) {
        if self.alive.is_none() {
            return;
        }
        match result {
            Ok(completed) => {
                events::ended(self.cell.run, &self.cell.task, &completed);
                // Out of the maps first: who is woken by the outcome and calls again finds the cache.
                self.engine.forget(&self.cell, self.key);
                self.cell.set(CellState::Done(Arc::new(completed.outcome)));
            }
            // It stays known: whoever asks for it hears why it stands still.
            Err(error) if self.engine.settings.committer.failure().is_some() => {
                self.cell.set(CellState::Stopped(Arc::new(error)));
            }
            Err(error) if self.is_stopped_by(&error) => {
                self.engine.forget(&self.cell, self.key);
                self.cell.set(CellState::Stopped(Arc::new(error)));
            }
            // A run whose log stands is blocked, and is joined, so that no second one repeats its effects.
            Err(error) => {
                let since = self.since.unwrap_or_else(|| self.engine.environment.clock.now());
                let reason = BlockReason::of(error.kind());
                block(&self.cell, Obstacle { error, reason, since: Some(since) });
            }
        }
        self.alive = None;
    }

    /// Whether the run is over for this engine with this error: that is closed or broken, or the run never began.
    fn is_stopped_by(&self, error: &Error) -> bool {
        // Its first batch was refused, whatever its cell was told meanwhile; or it came to none.
        let never_began = || {
            error.kind() == ErrorKind::IdTaken
                || (matches!(self.cell.state(), CellState::Starting) && !self.engine.is_unfinished(self.cell.run))
        };
        error.kind() == ErrorKind::Closed || self.engine.settings.committer.failure().is_some() || never_began()
    }
}

/// Tells a run's cell, and whoever watches the program, that the run cannot go on until somebody acts.
pub(crate) fn block(cell: &RunCell, obstacle: Obstacle) {
    events::blocked(cell, &obstacle);
    cell.set(CellState::Blocked(Arc::new(obstacle)));
}

impl Drop for Conclusion {
    fn drop(&mut self) {
        let run = self.cell.run;
        let why = format!("run {run} was cut off: code of the task panicked outside its body, or the runtime ended");
        self.tell(Err(Error::new(ErrorKind::Panicked, why)));
    }
}
