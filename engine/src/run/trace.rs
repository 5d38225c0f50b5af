//! A trace, as the body sees it: a future that is ready when the run hands its outcome over.
//!
//! Lives in the body; does nothing but book-keeping in the run's shared state. The effect is polled by the run's loop.
//!
//! Invariants: it is ready only with a recorded outcome, or at once with what depends on nothing but the call itself;
//! dropping it removes the effect.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context as TaskContext, Poll};

use crate::definition::TraceDefinition;
use crate::error::{Error, ErrorKind, Result, payload_error};
use crate::event::{TraceCompleted, TraceOutcome, TraceStarted};
use crate::id::{InputHash, Sequence};
use crate::payload::{Payload, PayloadError};
use crate::replay::TraceIndex;

use super::context::{self, Context, EffectContext};
use super::shared::{BoxedFuture, Output, RunShared, TraceSlot};

/// The arguments of a call: as they are recorded, and their hash.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// As they are recorded: a map from name to value.
    pub payload: Payload,
    /// Hash of their canonical form.
    pub hash: InputHash,
}

/// A call of a trace.
pub struct TraceCall {
    /// Which trace.
    pub definition: &'static TraceDefinition,
    /// With what.
    pub arguments: std::result::Result<Arguments, PayloadError>,
    /// From which file.
    pub file: &'static str,
    /// From which line.
    pub line: u32,
    /// The effect. Polled by the run, once the start is durable.
    pub effect: BoxedFuture,
}

/// A call of a trace in a body.
pub struct TraceFuture(State);

enum State {
    /// Not polled yet: an inert call.
    Inert(Option<TraceCall>),
    /// A plain call outside a task.
    Outside(BoxedFuture),
    Open(Arc<RunShared>, TraceIndex),
    Done,
}

impl TraceFuture {
    /// An inert call.
    pub fn new(call: TraceCall) -> Self {
        Self(State::Inert(Some(call)))
    }

    fn begin(&mut self, call: TraceCall, cx: &mut TaskContext<'_>) -> Poll<Result<Output>> {
        let name = call.definition.name;
        let shared = match context::current() {
            Some(Context::Body(shared)) => shared,
            None if call.definition.outside_call => {
                self.0 = State::Outside(call.effect);
                return self.poll_open(cx);
            }
            None => {
                return Poll::Ready(Err(Error::new(
                    ErrorKind::OutsideTask,
                    format!(
                        "{}:{}: trace {name} is called outside a task: call it in a #[task] that an engine runs, or mark it \
                         #[trace(outside = \"call\")]",
                        call.file, call.line
                    ),
                )));
            }
            Some(Context::Effect(effect)) => {
                return Poll::Ready(Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "{}:{}: trace {name} is called inside trace {}: this version records traces only in a task's body",
                        call.file, call.line, effect.name
                    ),
                )));
            }
        };
        let arguments = match call.arguments {
            Ok(arguments) => arguments,
            Err(error) => {
                let what = format!("the arguments of trace {name} cannot be recorded");
                return Poll::Ready(Err(payload_error(what, &error)));
            }
        };
        let body_waker = cx.waker().clone();
        let mut state = shared.state.lock();
        let started = state.replay.start(TraceStarted {
            name: name.into(),
            code: call.definition.code,
            input_hash: arguments.hash,
            occurrence: 0,
            input: arguments.payload,
            file: call.file.into(),
            line: call.line,
            form: crate::event::TraceForm::Future,
            within: None,
            child: None,
            group: None,
            at: shared.environment.clock.now(),
        });
        let context = EffectContext {
            shared: Arc::clone(&shared),
            name: name.into(),
            input_hash: arguments.hash,
            occurrence: started.occurrence,
            idempotency_key: OnceLock::new(),
        };
        state.new_starts.push(started.index);
        state.awaited_count += 1;
        state.traces.insert(
            started.index,
            TraceSlot {
                effect: Some(call.effect),
                context: Arc::new(context),
                body_waker,
                waker: None,
                delivered: false,
                began: None,
            },
        );
        drop(state);
        self.0 = State::Open(shared, started.index);
        Poll::Pending
    }

    fn poll_open(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Output>> {
        match &mut self.0 {
            State::Outside(effect) => effect.as_mut().poll(cx).map(Ok),
            State::Open(shared, index) => {
                if !context::is_body_of(shared.run) {
                    let why = "a trace of its body is polled from elsewhere (a spawned task, another trace)";
                    shared.fail(Error::new(ErrorKind::ForeignAwait, format!("run {}: {why}", shared.run)));
                    return Poll::Pending;
                }
                // The user's wakers are cloned and dropped with the lock free.
                let mut waker = cx.waker().clone();
                let mut state = shared.state.lock();
                let Some(outcome) = state.replay.ask(*index) else {
                    if let Some(slot) = state.traces.get_mut(index)
                        && !slot.body_waker.will_wake(&waker)
                    {
                        std::mem::swap(&mut slot.body_waker, &mut waker);
                    }
                    drop(state);
                    return Poll::Pending;
                };
                let slot = state.traces.remove(index);
                drop(state);
                drop(slot);
                self.0 = State::Done;
                match outcome {
                    TraceOutcome::Ok(payload) => Poll::Ready(Ok(Ok(payload))),
                    TraceOutcome::Err(record) => Poll::Ready(Ok(Err(record))),
                    TraceOutcome::Dropped => Poll::Pending,
                }
            }
            State::Inert(_) | State::Done => Poll::Pending,
        }
    }
}

impl Future for TraceFuture {
    /// The outer error is the engine's own, and the same for every such call; the inner result is recorded.
    type Output = Result<Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if let State::Inert(call) = &mut self.0
            && let Some(call) = call.take()
        {
            return self.begin(call, cx);
        }
        self.poll_open(cx)
    }
}

impl Drop for TraceFuture {
    fn drop(&mut self) {
        let State::Open(shared, index) = &self.0 else { return };
        let is_closing = shared.closing.load(Ordering::Relaxed);
        let is_own = is_closing || context::is_body_of(shared.run);
        let mut state = shared.state.lock();
        let slot = state.traces.remove(index);
        if let Some(slot) = &slot {
            let began = slot.began;
            state.awaited_count -= usize::from(!slot.delivered);
            // An effect that has ended is gone from its slot and no longer counted.
            state.running_count -= usize::from(began.is_some() && slot.effect.is_some());
            if is_own && !is_closing {
                let clock = &shared.environment.clock;
                state.replay.abandon(*index, |trace| dropped(trace, began, clock.as_ref()));
            }
        }
        if !is_own {
            // Before the lock is free: the loop must not take it for the body's own doing.
            let why = "a trace of its body is dropped from elsewhere (a spawned task, another trace)";
            let error = || Error::new(ErrorKind::ForeignAwait, format!("run {}: {why}", shared.run));
            state.fatal.get_or_insert_with(error);
        }
        // The user's wakers are dropped with the lock free, the effect by the run's loop.
        let waker = slot.map(|mut slot| {
            state.graveyard.extend(slot.effect.take());
            slot
        });
        drop(state);
        drop(waker);
        if !is_own {
            shared.mailbox.stranger();
        }
    }
}

fn dropped(
    trace: Sequence,
    began: Option<(crate::id::Timestamp, std::time::Duration)>,
    clock: &dyn crate::clock::Clock,
) -> TraceCompleted {
    let (started_at, since) = began.unwrap_or_else(|| (clock.now(), clock.elapsed()));
    TraceCompleted {
        trace,
        outcome: TraceOutcome::Dropped,
        tries: u32::from(began.is_some()),
        started_at,
        duration_micros: micros(clock.elapsed().saturating_sub(since)),
        repeats: None,
    }
}

pub(super) fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Ends the run whose body is polled on this thread: with what the body must not see, such as a recorded result that
/// today's types cannot read. The caller then stays pending.
///
/// # Errors
/// The error itself, outside a body.
pub fn refuse(error: Error) -> Result<()> {
    let Some(Context::Body(shared)) = context::current() else { return Err(error) };
    shared.state.lock().fatal.get_or_insert(Error::new(error.kind(), format!("run {}: {error}", shared.run)));
    Ok(())
}

/// Thrown through the body when an immediate trace has no answer, as the body must not be told why.
pub(super) struct Unwind;

/// A trace that is answered within its step, without a barrier: `now`, `random`, `uuid`.
///
/// In a body it is recorded, and answered from the record ever after. In an effect it is just called: the effect's own
/// result is what is recorded.
///
/// # Errors
/// Of kind `OutsideTask` outside tasks and traces, and whatever `effect` fails with.
///
/// # Panics
/// Unwinds out of the body, without a message, if the log holds no such call: the run ends with a divergence.
pub fn immediate(
    definition: &'static TraceDefinition,
    arguments: Arguments,
    (file, line): (&'static str, u32),
    effect: impl FnOnce(&dyn crate::clock::Clock, &dyn crate::entropy::Entropy) -> Result<Payload>,
) -> Result<Payload> {
    let name = definition.name;
    let shared = match context::current() {
        Some(Context::Body(shared)) => shared,
        Some(Context::Effect(context)) => {
            let environment = &context.shared.environment;
            return effect(environment.clock.as_ref(), environment.entropy.as_ref());
        }
        None => {
            return Err(Error::new(
                ErrorKind::OutsideTask,
                format!("{name}() is recorded by a run: call it in a #[task]"),
            ));
        }
    };
    let environment = Arc::clone(&shared.environment);
    let mut state = shared.state.lock();
    let started = state.replay.start(TraceStarted {
        name: name.into(),
        code: definition.code,
        input_hash: arguments.hash,
        occurrence: 0,
        input: arguments.payload,
        file: file.into(),
        line,
        form: crate::event::TraceForm::Inline,
        within: None,
        child: None,
        group: None,
        at: environment.clock.now(),
    });
    match (started.recorded, started.sequence) {
        (Some(TraceOutcome::Ok(payload)), _) => Ok(payload),
        (Some(TraceOutcome::Err(record)), _) => Err(record.to_error()),
        (None, Some(trace)) => {
            let result = effect(environment.clock.as_ref(), environment.entropy.as_ref());
            let outcome = match &result {
                Ok(payload) => TraceOutcome::Ok(payload.clone()),
                Err(error) => TraceOutcome::Err(error.to_record()),
            };
            state.replay.completed_at_once(TraceCompleted {
                trace,
                outcome,
                tries: 1,
                started_at: environment.clock.now(),
                duration_micros: 0,
                repeats: None,
            });
            result
        }
        (Some(TraceOutcome::Dropped), _) | (None, None) => {
            drop(state);
            resume_unwind(Box::new(Unwind))
        }
    }
}
