//! A run in this life of the process: attempt after attempt, the waits and sleeps between them, and its turns.
//!
//! Invariant: a run that waits for a time or for its turn ends the wait for a cancellation, for a shutdown, and when a commit
//! failed.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use crate::asleep::Woken;
use crate::cache::CallKey;
use crate::engine::Inner;
use crate::error::Result;
use crate::event::{Cause, TaskCompleted};
use crate::handle::{CellState, RunCell};
use crate::log::LogWriter;
use crate::observe::events;
use crate::replay::Memo;
use crate::run::{Ended, Rest, Turn, closed, elapsed_of, until};

use super::Beginning;
use super::attempt::{Attempt, Begun, attempt, begin, in_its_turn, taken_up};

/// A run from its beginning in this life of the process to its end: attempt after attempt. `None`: it was put to sleep.
///
/// What most runs never come to is boxed: each run that is under way holds this future in memory.
pub(super) async fn life(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    beginning: Beginning,
    key: Option<CallKey>,
) -> Result<Option<TaskCompleted>> {
    let mut ended = match beginning {
        Beginning::Fresh(fresh) => {
            let (plan, started) = *fresh;
            let writer = LogWriter::new(plan.run, engine.settings.epoch);
            match begin(engine, cell, Box::new(Attempt { plan, started, memo: Memo::default(), writer }), None)? {
                Begun::UnderWay { drive, body, turn } => drive.run(body, turn).await?.into(),
                Begun::Queued(queued) => Box::pin(queued.run(engine, cell)).await?.into(),
            }
        }
        // Reckoned by the wall clock, as it was decided in another life.
        Beginning::TakenUp { retry_at: Some(due), blocked, .. } => {
            if blocked.is_some() {
                Box::pin(engine.unblock(cell.run)).await?;
            }
            let left = until(engine.environment.clock.now(), due);
            Box::pin(between(engine, cell, left, key)).await?
        }
        Beginning::TakenUp { attempt_at, died, blocked, .. } => {
            Box::pin(taken_up(engine, cell, attempt_at, died, blocked.is_some())).await?
        }
        Beginning::Woken { due, permit } => Box::pin(woken(engine, cell, due, permit, key)).await?,
        Beginning::Attempt(cause, caller) => Box::pin(attempt(engine, cell, cause, caller, None)).await?.into(),
    };
    loop {
        ended = match ended {
            Next::Ended(completed) => match completed.retry_at {
                // Decided in this life: whatever the wall clock says by now.
                Some(due) => {
                    events::ended(cell.run, &cell.task, &completed);
                    Box::pin(between(engine, cell, until(completed.at, due), key)).await?
                }
                None => return Ok(Some(completed)),
            },
            Next::Rests(rest) => match Box::pin(engine.fall_asleep(cell, key, rest)).await? {
                Some(woken) => Box::pin(goes_on(engine, cell, woken, None)).await?,
                None => return Ok(None),
            },
            Next::Sleeps => return Ok(None),
        };
    }
}

/// Where a run has come to.
pub(super) enum Next {
    /// An attempt is over.
    Ended(TaskCompleted),
    /// It could be put to sleep.
    Rests(Rest),
    /// It was put to sleep.
    Sleeps,
}

impl From<Ended> for Next {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Completed(completed) => Self::Ended(completed),
            Ended::Rests(rest) => Self::Rests(rest),
        }
    }
}

/// Between two attempts: waits until the next is due, asleep if that is long.
async fn between(engine: &Arc<Inner>, cell: &Arc<RunCell>, left: Duration, key: Option<CallKey>) -> Result<Next> {
    let due = engine.environment.clock.elapsed().saturating_add(left);
    next_attempt_at(engine, cell, due, key, None).await
}

async fn next_attempt_at(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    due: Duration,
    key: Option<CallKey>,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<Next> {
    let sleep_out_after = engine.settings.sleep_out_after;
    let left = due.saturating_sub(engine.environment.clock.elapsed());
    if sleep_out_after < Duration::MAX && left > sleep_out_after && engine.sleeps_between(cell, key, due)? {
        return Ok(Next::Sleeps);
    }
    let mut is_cancelled = pause(engine, cell, due).await?;
    let mut permit = permit;
    if !is_cancelled && !engine.undecided_callers(cell).is_empty() {
        permit = None;
        callers_decide(engine, cell).await;
        // One of them may have let it go.
        is_cancelled = pause(engine, cell, due).await?;
    }
    match is_cancelled {
        true => Ok(Next::Ended(engine.cancel_unfinished(cell.run).await?)),
        false => Ok(attempt(engine, cell, Cause::Retried, None, permit).await?.into()),
    }
}

/// Goes on where a run was put to sleep.
async fn woken(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    due: i64,
    permit: Option<OwnedSemaphorePermit>,
    key: Option<CallKey>,
) -> Result<Next> {
    let woken = engine.woken(cell.run, due)?;
    if woken.record.retry_at.is_some() {
        return next_attempt_at(engine, cell, elapsed_of(due), key, permit).await;
    }
    goes_on(engine, cell, woken, permit).await
}

/// Takes up an attempt that slept, or was about to.
async fn goes_on(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    woken: Woken,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<Next> {
    cell.set(CellState::Queued);
    let permit = match engine.undecided_callers(cell).is_empty() {
        true => permit,
        false => {
            drop(permit);
            callers_decide(engine, cell).await;
            None
        }
    };
    let permit = permit.map(|permit| Turn::held(&engine.turns, permit));
    let turn = match permit {
        // Cancelled or stopped, it needs no body. A signal it finds when it goes on; to wait for another turn, with this one in
        // hand, could be to wait for ever.
        Some(turn) if !cell.mailbox.is_cancelled() && !cell.mailbox.is_stopping() => turn,
        _ => match turn(engine, cell).await? {
            Got::Turn(turn) => turn,
            Got::Cancelled => return Ok(Next::Ended(engine.cancel_unfinished(cell.run).await?)),
        },
    };
    cell.set(CellState::Running);
    let attempt_at = woken.record.attempt_at;
    let anchor = engine.gets_up(cell.run, woken).await?;
    in_its_turn(engine, cell, attempt_at, anchor, turn).await
}

/// Waits until the next attempt is due, by elapsed time. Says whether the run was cancelled instead.
async fn pause(engine: &Inner, cell: &RunCell, due: Duration) -> Result<bool> {
    // Not queued: it waits for a time, and for nobody's turn.
    cell.set(CellState::Running);
    let clock = &engine.environment.clock;
    let is_due = clock.elapsed() >= due;
    let mut alarm = clock.sleep_until(due);
    poll_fn(|cx| {
        let received = cell.mailbox.look(cx.waker());
        if let Some(error) = received.halt(cell.run) {
            return Poll::Ready(Err(error));
        }
        if received.cancelled {
            return Poll::Ready(Ok(true));
        }
        if is_due {
            return Poll::Ready(Ok(false));
        }
        alarm.as_mut().poll(cx).map(|()| Ok(false))
    })
    .await
}

/// What a run that waits for its turn gets.
pub(super) enum Got {
    Turn(Turn),
    Cancelled,
}

/// Waits until those that wait for the run know what is over for them: one whose time is over lets it go, and then it does not
/// go on. It holds no turn meanwhile, as they need one.
pub(super) async fn callers_decide(engine: &Inner, cell: &RunCell) {
    for caller in engine.undecided_callers(cell) {
        let mut decided = std::pin::pin!(caller.decided());
        poll_fn(|cx| {
            let received = cell.mailbox.look(cx.waker());
            if received.halt(cell.run).is_some() || received.cancelled {
                return Poll::Ready(());
            }
            decided.as_mut().poll(cx)
        })
        .await;
    }
}

pub(super) async fn turn(engine: &Inner, cell: &RunCell) -> Result<Got> {
    let mut permit = std::pin::pin!(Arc::clone(&engine.turns).acquire_owned());
    poll_fn(|cx| {
        let received = cell.mailbox.look(cx.waker());
        if let Some(error) = received.halt(cell.run) {
            return Poll::Ready(Err(error));
        }
        if received.cancelled {
            return Poll::Ready(Ok(Got::Cancelled));
        }
        // The semaphore is never closed.
        let permit = std::task::ready!(permit.as_mut().poll(cx)).map_err(|_| closed(cell.run));
        Poll::Ready(permit.map(|permit| Got::Turn(Turn::held(&engine.turns, permit))))
    })
    .await
}
