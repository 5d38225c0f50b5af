//! Polls user code: a body until it rests, an effect once.
//!
//! Called by `drive`. Sets the context, catches panics, keeps a body inside the decoy runtime in strict mode.
//!
//! Invariant: user code never runs with the run's lock held, and its panics go no further.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};

use tokio::task::coop::Unconstrained;

use crate::error::ErrorKind;
use crate::event::{ErrorRecord, TraceCompleted, TraceOutcome};
use crate::replay::TraceIndex;

use super::context::{self, Context};
use super::shared::{BoxedFuture, EffectWaker, Output, RunShared};
use super::trace::{Unwind, micros};

/// Polls of a body within one step: 1,000,000. A body that moves that many messages between its own branches at once is
/// less likely than one that wakes itself for ever.
const POLLS_PER_STEP_MAX: u32 = 1_000_000;

/// What became of polling a body.
pub(super) enum Polled {
    /// It waits, and did not wake itself.
    Rests,
    /// It returned or panicked.
    Finished(Output),
    /// An immediate trace found no answer in the log; the body is of no use any more.
    Unwound,
    /// It did what a task must not do; the body is of no use any more.
    Foreign(ErrorRecord),
}

/// Polls a body until it rests.
pub(super) fn poll_body(shared: &Arc<RunShared>, body: &mut Unconstrained<BoxedFuture>, waker: &Waker) -> Polled {
    let mut cx = TaskContext::from_waker(waker);
    for _ in 0..POLLS_PER_STEP_MAX {
        shared.woke_itself.store(false, Ordering::Relaxed);
        let polled = {
            let _entered = context::enter(Context::Body(Arc::clone(shared)));
            let _decoy = shared.environment.decoy.as_ref().map(tokio::runtime::Handle::enter);
            catch_unwind(AssertUnwindSafe(|| Pin::new(&mut *body).poll(&mut cx)))
        };
        match polled {
            Ok(Poll::Ready(output)) => return Polled::Finished(output),
            Ok(Poll::Pending) if shared.woke_itself.load(Ordering::Relaxed) => {}
            Ok(Poll::Pending) => return Polled::Rests,
            Err(panic) if panic.is::<Unwind>() => return Polled::Unwound,
            Err(panic) => return panicked_body(shared, panic.as_ref()),
        }
    }
    Polled::Foreign(ErrorRecord::new(
        ErrorKind::ForeignAwait,
        format!(
            "the task woke itself {POLLS_PER_STEP_MAX} times without waiting for a trace: it would never come to rest"
        ),
    ))
}

fn panicked_body(shared: &RunShared, panic: &(dyn Any + Send)) -> Polled {
    let message = panic_message(panic);
    // What tokio says when a timer or a socket is made in a runtime without time or I/O: in strict mode, that is the
    // decoy, and the body awaited what is no trace.
    if shared.environment.decoy.is_some() && message.contains("Tokio 1.x context was found, but") {
        return Polled::Foreign(ErrorRecord::new(
            ErrorKind::ForeignAwait,
            format!(
                "the task used a timer or a socket of tokio in its body, which replay cannot repeat: put it into a trace \
                 (tokio: {message})"
            ),
        ));
    }
    Polled::Finished(Err(ErrorRecord::new(ErrorKind::Panicked, format!("the task panicked: {message}"))))
}

/// Wakes the branch of the body that holds a trace, as the run's own doing.
pub(super) fn wake_body(shared: &Arc<RunShared>, index: TraceIndex) {
    let waker = {
        let mut state = shared.state.lock();
        let state = &mut *state;
        let Some(slot) = state.traces.get_mut(&index) else { return };
        if !slot.delivered {
            slot.delivered = true;
            state.awaited_count -= 1;
            state.graveyard.extend(slot.effect.take());
        }
        slot.body_waker.clone()
    };
    let _entered = context::enter(Context::Body(Arc::clone(shared)));
    waker.wake();
}

/// Drops what the body dropped, outside its poll.
pub(super) fn bury(shared: &RunShared) {
    let graveyard = std::mem::take(&mut shared.state.lock().graveyard);
    for effect in graveyard {
        drop_quietly(shared, effect);
    }
}

/// Drops user code's values; a destructor that panics is reported and goes no further.
pub(super) fn drop_quietly<T>(shared: &RunShared, value: T) {
    if catch_unwind(AssertUnwindSafe(|| drop(value))).is_err() {
        tracing::warn!(run = %shared.run, "a destructor in a task or trace panicked");
    }
}

/// Polls an effect once; says what it came to, if it ended.
pub(super) fn poll_effect(shared: &Arc<RunShared>, index: TraceIndex) -> Option<TraceCompleted> {
    let clock = &shared.environment.clock;
    let (mut effect, context, waker, (started_at, since)) = {
        let mut state = shared.state.lock();
        let state = &mut *state;
        let slot = state.traces.get_mut(&index)?;
        let effect = slot.effect.take()?;
        let began = *slot.began.get_or_insert_with(|| {
            state.running_count += 1;
            (clock.now(), clock.elapsed())
        });
        let waker = slot.waker.get_or_insert_with(|| {
            Arc::new(EffectWaker { mailbox: Arc::clone(&shared.mailbox), index, posted: AtomicBool::new(false) })
        });
        (effect, Arc::clone(&slot.context), Arc::clone(waker), began)
    };
    // From here on a wake counts for the next poll.
    waker.posted.store(false, Ordering::Release);
    let name = context.name.clone();
    let output = {
        let _entered = context::enter(Context::Effect(context));
        let waker = Waker::from(waker);
        let mut cx = TaskContext::from_waker(&waker);
        match catch_unwind(AssertUnwindSafe(|| effect.as_mut().poll(&mut cx))) {
            Ok(Poll::Pending) => None,
            Ok(Poll::Ready(output)) => Some(output),
            Err(panic) => {
                let message = panic_message(panic.as_ref());
                Some(Err(ErrorRecord::new(ErrorKind::Panicked, format!("trace {name} panicked: {message}"))))
            }
        }
    };
    let Some(output) = output else {
        if let Some(slot) = shared.state.lock().traces.get_mut(&index) {
            slot.effect = Some(effect);
        }
        return None;
    };
    drop_quietly(shared, effect);
    let mut state = shared.state.lock();
    state.running_count -= 1;
    let trace = state.replay.awaited(index)?;
    Some(TraceCompleted {
        trace,
        outcome: match output {
            Ok(payload) => TraceOutcome::Ok(payload),
            Err(record) => TraceOutcome::Err(record),
        },
        tries: 1,
        started_at,
        duration_micros: micros(clock.elapsed().saturating_sub(since)),
        repeats: None,
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(a panic without a message)".to_owned())
}
