//! Polls user code: a body until it rests, an effect once.
//!
//! Called by `drive`. Sets the context, catches panics, keeps a body inside the decoy runtime in strict mode.
//!
//! Invariant: user code never runs with the run's lock held, and its panics go no further.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use tokio::task::coop::Unconstrained;

use crate::error::ErrorKind;
use crate::event::{ErrorRecord, TraceCompleted, TraceOutcome};
use crate::payload::Payload;
use crate::replay::TraceIndex;
use crate::sync::MutexGuard;
use crate::sync::atomic::{AtomicBool, Ordering};

use super::context::{self, Context, EffectContext};
use super::effect;
use super::shared::{BoxedFuture, EffectWaker, Output, RunShared, RunState, Work};
use super::source::{Source, Sourced};
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
    /// A plain function found no answer in the log, or must not run; the body is of no use any more.
    Unwound,
    /// It did what a task must not do; the body is of no use any more.
    Foreign(ErrorRecord),
}

/// Polls a body until it rests.
pub(super) fn poll_body(shared: &Arc<RunShared>, body: &mut Unconstrained<BoxedFuture>, waker: &Waker) -> Polled {
    let mut cx = TaskContext::from_waker(waker);
    let _watch = crate::panic::watch();
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
            Err(panic) => return panicked_body(shared, panic),
        }
    }
    Polled::Foreign(ErrorRecord::new(
        ErrorKind::ForeignAwait,
        format!(
            "the task woke itself {POLLS_PER_STEP_MAX} times without waiting for a trace: it would never come to rest"
        ),
    ))
}

fn panicked_body(shared: &RunShared, panic: Box<dyn Any + Send>) -> Polled {
    let message = crate::panic::describe(panic);
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
            if state.replay.awaited(index).is_none() {
                let work = slot.work.take();
                if !work.is_none() {
                    state.graveyard.push(work);
                }
                state.running_count -= usize::from(std::mem::take(&mut slot.running));
            }
        }
        slot.body_waker.clone()
    };
    let _entered = context::enter(Context::Body(Arc::clone(shared)));
    waker.wake();
}

/// Drops what the body dropped, outside its poll. Gives the run's lock, as whoever calls this needs it next.
pub(super) fn bury(shared: &RunShared) -> MutexGuard<'_, RunState> {
    loop {
        let mut state = shared.state.lock();
        if state.graveyard.is_empty() {
            return state;
        }
        let graveyard = std::mem::take(&mut state.graveyard);
        drop(state);
        for work in graveyard {
            drop_quietly(shared, work);
        }
    }
}

/// Drops user code's values; a destructor that panics is reported and goes no further.
pub(super) fn drop_quietly<T>(shared: &RunShared, value: T) {
    if let Err(why) = crate::panic::drop_caught(value) {
        // Whoever listens may panic in turn.
        let _ =
            crate::panic::catch(|| tracing::warn!(run = %shared.run, %why, "a destructor in a task or trace panicked"));
    }
}

/// What an effect came to.
pub(super) enum Progress {
    Completed(TraceCompleted),
    Item(Payload),
}

/// Something to hand over to the body.
pub(super) struct Ready {
    pub(super) index: TraceIndex,
    pub(super) progress: Progress,
    pub(super) context: Arc<EffectContext>,
    /// Whether it did something, rather than wait.
    pub(super) is_work: bool,
}

/// Why an effect is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its start is durable: it may begin.
    MayBegin,
    /// The body took the item before. A source that has yet to begin waits for its start to be durable.
    ItemTaken,
    /// It was woken. A waker that an earlier attempt's effect left somewhere begins nothing.
    Woken,
}

/// Polls an effect once; says what it came to, if to anything. `Err` if it may not be polled.
pub(super) fn poll_effect(shared: &Arc<RunShared>, index: TraceIndex, why: Why) -> Result<Option<Ready>, ()> {
    let mut state = shared.state.lock();
    let slot = state.traces.get_mut(&index).ok_or(())?;
    let may_be_polled = match why {
        Why::MayBegin => true,
        Why::ItemTaken => slot.may_begin,
        Why::Woken => slot.waker.is_some(),
    };
    if !may_be_polled {
        return Err(());
    }
    slot.may_begin |= why == Why::MayBegin;
    let is_work = slot.is_work();
    Ok(poll_slot(shared, state, index).map(|(progress, context)| Ready { index, progress, context, is_work }))
}

fn poll_slot(
    shared: &Arc<RunShared>,
    mut state: MutexGuard<'_, RunState>,
    index: TraceIndex,
) -> Option<(Progress, Arc<EffectContext>)> {
    let clock = &shared.environment.clock;
    let (work, context, definition, waker, (started_at, since), handed_on, begins) = {
        let state = &mut *state;
        let slot = state.traces.get_mut(&index)?;
        let is_stream = matches!(slot.work, Work::Unopened(_) | Work::Source(_));
        if is_stream && (slot.is_item_out || !state.replay.wants_item(index)) {
            return None;
        }
        // Boxed: a hasher is large, and only a stream that begins needs it.
        let handed_on = matches!(slot.work, Work::Unopened(_)).then(|| Box::new(state.replay.handed_on(index)));
        let work = slot.work.take();
        if work.is_none() {
            return None;
        }
        let begins = slot.began.is_none();
        let began = *slot.began.get_or_insert_with(|| (clock.now(), clock.elapsed()));
        if !slot.running && !is_stream {
            slot.running = true;
            state.running_count += 1;
        }
        let waker = slot.waker.get_or_insert_with(|| {
            Arc::new(EffectWaker { mailbox: Arc::clone(&shared.mailbox), index, posted: AtomicBool::new(false) })
        });
        (work, Arc::clone(&slot.context), slot.definition, Arc::clone(waker), began, handed_on, begins)
    };
    drop(state);
    if begins {
        context.effect_begins();
    }
    // From here on a wake counts for the next poll.
    waker.posted.store(false, Ordering::Release);
    let waker = Waker::from(waker);
    let mut cx = TaskContext::from_waker(&waker);
    let entered = context::enter(Context::Effect(Arc::clone(&context)));
    let polled = crate::panic::catch(|| poll_work(work, definition, handed_on, &mut cx));
    drop(entered);
    let (sourced, rest) = match polled {
        Ok(Ok((sourced, rest))) => (sourced, Some(rest)),
        Ok(Err(work)) => {
            let is_waiting = context.wait_count.load(Ordering::Relaxed) > 0;
            let mut state = shared.state.lock();
            let state = &mut *state;
            if let Some(slot) = state.traces.get_mut(&index) {
                slot.work = work;
                if slot.running && is_waiting {
                    slot.running = false;
                    state.running_count -= 1;
                }
            } else {
                // Dropped with the lock free.
                state.graveyard.push(work);
            }
            return None;
        }
        Err(why) => (Sourced::End(Err(effect::panicked(&context.name, &why))), None),
    };
    let output = match sourced {
        Sourced::Item(item) => {
            let mut state = shared.state.lock();
            let state = &mut *state;
            match (state.traces.get_mut(&index), rest) {
                (Some(slot), Some(rest)) => {
                    slot.work = rest;
                    slot.is_item_out = true;
                }
                (None, Some(rest)) => state.graveyard.push(rest),
                (_, None) => {}
            }
            return Some((Progress::Item(item), context));
        }
        Sourced::End(output) => output,
    };
    if let Some(rest) = rest {
        let _entered = context::enter(Context::Effect(Arc::clone(&context)));
        drop_quietly(shared, rest);
    }
    let mut state = shared.state.lock();
    let state = &mut *state;
    if let Some(slot) = state.traces.get_mut(&index)
        && std::mem::take(&mut slot.running)
    {
        state.running_count -= 1;
    }
    let trace = state.replay.awaited(index)?;
    let completed = TraceCompleted {
        trace,
        outcome: match output {
            Ok(payload) => TraceOutcome::Ok(payload),
            Err(record) => TraceOutcome::Err(record),
        },
        tries: context.tries.load(Ordering::Relaxed).max(1),
        started_at,
        duration_micros: micros(clock.elapsed().saturating_sub(since)),
        repeats: None,
    };
    Some((Progress::Completed(completed), context))
}

/// Polls what a trace does. `Err` gives it back, pending; `Ok` what it came to, and what is left of it.
fn poll_work(
    work: Work,
    definition: &'static crate::definition::TraceDefinition,
    handed_on: Option<Box<crate::replay::HandedOn>>,
    cx: &mut TaskContext<'_>,
) -> Result<(Sourced, Work), Work> {
    let mut source = match work {
        Work::None => return Err(Work::None),
        Work::Effect(mut effect) => {
            return match effect.as_mut().poll(cx) {
                Poll::Pending => Err(Work::Effect(effect)),
                Poll::Ready(output) => Ok((Sourced::End(output), Work::Effect(effect))),
            };
        }
        Work::Unopened(make) => {
            Box::new(Source::open(definition.name, make, *handed_on.unwrap_or_default(), definition.policy.resumes))
        }
        Work::Source(source) => source,
    };
    match source.poll(cx) {
        Poll::Pending => Err(Work::Source(source)),
        Poll::Ready(sourced) => Ok((sourced, Work::Source(source))),
    }
}
