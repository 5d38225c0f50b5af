//! One attempt of a run: begun, or taken up where its log ends, and driven when it is its turn.
//!
//! Invariant: an attempt that has to wait for its turn is durable before it waits.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::OwnedSemaphorePermit;

use crate::engine::Inner;
use crate::error::{ErrorKind, Result};
use crate::event::{Batch, Cause, Event, Parent, Rerun, TaskStarted};
use crate::handle::{CellState, RunCell};
use crate::id::Sequence;
use crate::index::UnfinishedRecord;
use crate::log::LogWriter;
use crate::past::Past;
use crate::replay::{Memo, Replay};
use crate::run::{Anchor, Body, Drive, Dry, Ended, Plan, RunShared, Turn};
use crate::sync::atomic::Ordering;

use super::life::{Got, Next, callers_decide, turn};
use super::prepared::{attempt_span, body, definition, next_attempt, recorded, share};

/// An attempt that is not in the log yet.
pub(super) struct Attempt {
    pub(super) plan: Plan,
    pub(super) started: TaskStarted,
    pub(super) memo: Memo,
    pub(super) writer: LogWriter,
}

/// An attempt that was begun.
pub(super) enum Begun {
    UnderWay { drive: Box<Drive>, body: Body, turn: Turn },
    Queued(Box<Queued>),
}

/// An attempt that waits for its turn.
pub(super) struct Queued {
    drive: Box<Drive>,
    shared: Arc<RunShared>,
    body: Body,
    writer: LogWriter,
    at: Sequence,
    event: Event,
}

/// Begins an attempt that is not in the log yet: at once, if there is a turn for it.
pub(super) fn begin(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    attempt: Box<Attempt>,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<Begun> {
    let Attempt { plan, started, memo, writer } = *attempt;
    let body = body(&plan, &started.input)?;
    let (run, at, task) = (plan.run, plan.attempt_at, started.task.clone());
    let span = attempt_span(&plan, &started.cause);
    let event = Event::TaskStarted(started);
    let tell = {
        let cell = Arc::clone(cell);
        move || {
            if matches!(cell.state(), CellState::Starting) {
                cell.set(CellState::Running);
            }
        }
    };
    let settings = Arc::clone(&engine.settings);
    Ok(match permit.or_else(|| Arc::clone(&engine.turns).try_acquire_owned().ok()) {
        Some(permit) => {
            let replay = Replay::fresh(run, task, memo, at, event);
            let shared = share(engine, &cell.mailbox, plan, replay, None, (Some(span), Dry::No), None)?;
            cell.drive(&shared);
            let drive = Drive::new(shared, settings, Some((writer, at))).on_started(tell);
            Begun::UnderWay { drive, body, turn: Turn::held(&engine.turns, permit) }
        }
        None => {
            let replay = Replay::new(run, task, memo);
            let shared = share(engine, &cell.mailbox, plan, replay, None, (Some(span), Dry::No), None)?;
            cell.drive(&shared);
            let drive = Drive::new(Arc::clone(&shared), settings, None).on_started(tell);
            Begun::Queued(Box::new(Queued { drive, shared, body, writer, at, event }))
        }
    })
}

/// Begins an attempt that is not in the log yet, and drives it.
async fn first_or_next(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    attempt: Box<Attempt>,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<Ended> {
    match begin(engine, cell, attempt, permit)? {
        Begun::UnderWay { drive, body, turn } => drive.run(body, turn).await,
        Begun::Queued(queued) => queued.run(engine, cell).await,
    }
}

impl Queued {
    /// Durable first, so that the caller need not wait for a turn; then the turn is waited for.
    pub(super) async fn run(self, engine: &Arc<Inner>, cell: &Arc<RunCell>) -> Result<Ended> {
        let Self { mut drive, shared, body, writer, at, event } = self;
        drive.append_first(writer, at, event.clone()).await?;
        cell.set(CellState::Queued);
        let turn = match turn(engine, cell).await? {
            Got::Turn(turn) => turn,
            Got::Cancelled => {
                let completed = drive.cancel_queued().await?;
                engine.release_children(cell.run);
                return Ok(Ended::Completed(completed));
            }
        };
        cell.set(CellState::Running);
        let batch = Batch { first: at, epoch: engine.settings.epoch, settled: false, events: vec![event] };
        {
            let mut state = shared.state.lock();
            state.replay.feed(batch);
            state.replay.end_history();
        }
        drop(shared);
        drive.run(body, turn).await
    }
}

/// Takes an attempt up where its log ends.
pub(super) async fn taken_up(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    attempt_at: Sequence,
    died: Option<Box<UnfinishedRecord>>,
    was_blocked: bool,
) -> Result<Next> {
    cell.set(CellState::Queued);
    callers_decide(engine, cell).await;
    let turn = match turn(engine, cell).await? {
        Got::Turn(turn) => turn,
        // Without its body: its log is not held in memory for that.
        Got::Cancelled => return Ok(Next::Ended(engine.cancel_unfinished(cell.run).await?)),
    };
    cell.set(CellState::Running);
    if let Some(record) = died
        && let Some(error) = crate::park::count(engine, cell.run, *record).await?
    {
        return Err(error);
    }
    if was_blocked {
        engine.unblock(cell.run).await?;
    }
    in_its_turn(engine, cell, attempt_at, None, turn).await
}

/// Goes on with an attempt from its log.
pub(super) async fn in_its_turn(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    attempt_at: Sequence,
    anchor: Option<Anchor>,
    turn: Turn,
) -> Result<Next> {
    let definition = definition(engine, cell)?;
    let past = Past::of_attempt(engine.store()?, cell.run, attempt_at)?;
    let (shared, body) = recorded(engine, definition, &cell.mailbox, past, attempt_at, Dry::No, anchor)?;
    cell.drive(&shared);
    shared.is_undecided.store(!cell.is_decided(), Ordering::Relaxed);
    let drive = Drive::new(shared, Arc::clone(&engine.settings), None);
    let ended = match drive.run(body, turn).await {
        Err(error) if error.kind() == ErrorKind::Diverged && definition.policy.new_attempt_on_divergence => {
            tracing::warn!(run = %cell.run, %error, "the run diverged, and goes on as a new attempt");
            attempt(engine, cell, Cause::Resumed(Rerun::default()), None, None).await?
        }
        result => result?,
    };
    Ok(ended.into())
}

/// Begins a new attempt with what the earlier ones found.
pub(super) async fn attempt(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    cause: Cause,
    caller: Option<Parent>,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<Ended> {
    let mut ended = std::pin::pin!(engine.environment.lingering.none(cell.run));
    poll_fn(|cx| {
        // A thread that never ends must not keep a shutdown waiting.
        if let Some(error) = cell.mailbox.look(cx.waker()).halt(cell.run) {
            return Poll::Ready(Err(error));
        }
        ended.as_mut().poll(cx).map(Ok)
    })
    .await?;
    let definition = definition(engine, cell)?;
    let (plan, started, past) = next_attempt(engine, cell.run, definition, cause, caller)?;
    let writer = past.reader.into_writer(engine.settings.epoch);
    first_or_next(engine, cell, Box::new(Attempt { plan, started, memo: past.memo, writer }), permit).await
}
