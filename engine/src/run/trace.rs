//! A trace, as the body sees it: a future or a stream that is ready when the run hands something over.
//!
//! Lives in the body; does nothing but book-keeping in the run's shared state. The effect is polled by the run's loop.
//!
//! Invariants: it is ready only with what is recorded, or at once with what depends on nothing but the call itself; dropping
//! it removes the effect.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use relive_storage::planted::{Planted, planted};

use crate::definition::TraceDefinition;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{TraceCompleted, TraceForm, TraceOutcome, TraceStarted};
use crate::id::{CodeHash, RunId, Sequence, Timestamp};
use crate::panic::drop_quietly;
use crate::payload::{Arguments, Payload, PayloadError};
use crate::replay::{Handed, HandedOn, Hit, Keeps, TraceIndex};

use super::child::{self, ChildCall};
use super::context::{self, Context, EffectContext};
use super::effect::{self, Effect};
use super::inline::{effect_of, outside, read_more, recordable};
use super::interpose;
use super::nested::{self, NestedFuture};
use super::shared::{BoxedFuture, Output, RunShared, RunState, TraceSlot, Work};
use super::source::{MakeSource, Source, Sourced};
use super::wait;

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
    /// What it does once the start is durable.
    pub work: CallWork,
}

/// What a trace does.
pub enum CallWork {
    /// An effect with one outcome.
    Effect(Effect),
    /// A source of items.
    Stream(MakeSource),
    /// It waits so long from when it was called first.
    Sleep {
        /// How long.
        duration: Duration,
        /// It is how long something else may take: called again because that has to begin again, it begins again, too.
        is_limit: bool,
    },
    /// It waits for a signal.
    Signal(wait::SignalWait),
    /// It is a run of its own.
    Child(Box<ChildCall>),
}

/// A call of a trace in a body or in an effect.
pub struct TraceFuture(State);

enum State {
    /// Not polled yet: an inert call.
    Inert(Option<TraceCall>),
    /// A plain call outside a task.
    Outside(BoxedFuture),
    /// A plain stream outside a task.
    OutsideStream(Box<Source>),
    /// Called by an effect.
    Nested(NestedFuture),
    Open(Arc<RunShared>, TraceIndex),
    Done,
}

impl TraceFuture {
    /// An inert call.
    pub fn new(call: TraceCall) -> Self {
        Self(State::Inert(Some(call)))
    }

    /// The next item of a stream, or its end: `Ok` with anything is the end behind the last item.
    pub fn poll_item(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Item>> {
        let handed = match self.poll_handed(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(handed) => handed,
        };
        Poll::Ready(match handed {
            Ok(Handed::Item(item)) => Ok(Item::Next(item)),
            Ok(Handed::Outcome(outcome)) => {
                self.0 = State::Done;
                match outcome {
                    TraceOutcome::Ok(_) => Ok(Item::End),
                    TraceOutcome::Err(record) => Ok(Item::Failed(record)),
                    TraceOutcome::Dropped => return Poll::Pending,
                }
            }
            Err(error) => {
                self.0 = State::Done;
                Err(error)
            }
        })
    }

    fn poll_handed(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Handed>> {
        if let State::Inert(call) = &mut self.0
            && let Some(call) = call.take()
        {
            return self.begin(call, cx);
        }
        self.poll_open(cx)
    }

    fn begin(&mut self, call: TraceCall, cx: &mut TaskContext<'_>) -> Poll<Result<Handed>> {
        let definition = call.definition;
        let shared = match context::current() {
            Some(Context::Body(shared)) => shared,
            None if definition.outside_call => {
                self.0 = match call.work {
                    CallWork::Effect(effect) => State::Outside(effect::outside(definition, effect)),
                    CallWork::Stream(make) => {
                        State::OutsideStream(Box::new(Source::open(definition.name, make, HandedOn::default(), true)))
                    }
                    _ => return Poll::Ready(Err(outside(definition, call.file, call.line))),
                };
                return self.poll_open(cx);
            }
            None => return Poll::Ready(Err(outside(definition, call.file, call.line))),
            Some(Context::Effect(outer)) => {
                self.0 = State::Nested(nested::call(call, outer));
                return self.poll_open(cx);
            }
        };
        let arguments = match recordable(definition, call.arguments) {
            Ok(arguments) => arguments,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let child = match &call.work {
            CallWork::Child(_) => match child::new_id(&shared) {
                Ok(run) => Some(run),
                Err(error) => {
                    // The body must not be told what is not recorded.
                    shared.state.lock().fatal.get_or_insert(error);
                    return Poll::Pending;
                }
            },
            _ => None,
        };
        let start = Box::new(TraceStarted {
            name: definition.name.into(),
            code: definition.code,
            input_hash: arguments.hash(&shared.environment.redaction),
            occurrence: 0,
            input: arguments.payload,
            file: call.file.into(),
            line: call.line,
            form: if matches!(call.work, CallWork::Stream(_)) { TraceForm::Stream } else { TraceForm::Future },
            within: None,
            child,
            group: context::group().map(|group| group.to_string()),
            at: shared.environment.clock.now(),
        });
        let body_waker = cx.waker().clone();
        let begun = open(&shared, definition, start, call.work, body_waker);
        if let Some((index, context)) = begun {
            context.called();
            self.0 = State::Open(shared, index);
        }
        Poll::Pending
    }

    fn poll_open(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Handed>> {
        let outcome = |output| {
            Handed::Outcome(match output {
                Ok(payload) => TraceOutcome::Ok(payload),
                Err(record) => TraceOutcome::Err(record),
            })
        };
        match &mut self.0 {
            State::Outside(effect) => effect.as_mut().poll(cx).map(|output| Ok(outcome(output))),
            State::OutsideStream(source) => source.poll(cx).map(|sourced| {
                Ok(match sourced {
                    Sourced::Item(item) => Handed::Item(item),
                    Sourced::End(output) => outcome(output),
                })
            }),
            State::Nested(nested) => nested.as_mut().poll(cx).map(|output| output.map(outcome)),
            State::Open(shared, index) => {
                if !context::is_body_of(shared.run) {
                    let why = "a trace of its body is polled from elsewhere (a spawned task, another trace)";
                    shared.fail(Error::new(ErrorKind::ForeignAwait, format!("run {}: {why}", shared.run)));
                    return Poll::Pending;
                }
                // The user's wakers are cloned and dropped with the lock free.
                let mut waker = cx.waker().clone();
                let mut state = shared.state.lock();
                let Some(handed) = state.replay.ask(*index) else {
                    if let Some(slot) = state.traces.get_mut(index)
                        && !slot.body_waker.will_wake(&waker)
                    {
                        std::mem::swap(&mut slot.body_waker, &mut waker);
                    }
                    drop(state);
                    return Poll::Pending;
                };
                if let Handed::Item(_) = handed {
                    let RunState { replay, traces, awaited_count, hungry, .. } = &mut *state;
                    if let Some(slot) = traces.get_mut(index) {
                        slot.delivered = false;
                        *awaited_count += 1;
                        // In the past nobody goes on; what is open then is polled when the run goes live.
                        if replay.is_live() {
                            hungry.push(*index);
                        }
                    }
                    return Poll::Ready(Ok(handed));
                }
                let slot = state.traces.remove(index);
                drop(state);
                // What an effect of this attempt found was told when it ended.
                if let (Some(slot), Handed::Outcome(outcome)) = (&slot, &handed)
                    && slot.began.is_none()
                {
                    slot.context.replayed(outcome);
                }
                drop(slot);
                self.0 = State::Done;
                Poll::Ready(Ok(handed))
            }
            State::Inert(_) | State::Done => Poll::Pending,
        }
    }
}

/// What a stream gives.
pub enum Item {
    /// An item.
    Next(Payload),
    /// The end.
    End,
    /// An error, which is the end, too.
    Failed(crate::event::ErrorRecord),
}

/// Enters a trace into the run's books. `None`: the run cannot go on.
fn open(
    shared: &Arc<RunShared>,
    definition: &'static TraceDefinition,
    mut start: Box<TraceStarted>,
    work: CallWork,
    body_waker: std::task::Waker,
) -> Option<(TraceIndex, Arc<EffectContext>)> {
    let at_most_once = definition.policy.at_most_once;
    let input = interpose::input(&shared.environment, &start.input);
    let keeps = match &work {
        CallWork::Sleep { is_limit: false, .. } => Keeps::First,
        CallWork::Sleep { is_limit: true, .. } => Keeps::Unended,
        _ if definition.policy.deadline.is_some() => Keeps::Unended,
        _ => Keeps::Nothing,
    };
    let mut state = shared.state.lock();
    let started = loop {
        match state.replay.start_keeping(start, at_most_once, keeps) {
            Ok(started) => break started,
            Err(again) => {
                start = again;
                if !read_more(shared, &mut state) {
                    return None;
                }
            }
        }
    };
    let context = EffectContext::new(
        shared,
        definition,
        effect_of(started.sequence.unwrap_or(Sequence(u64::MAX)), &started),
        None,
        false,
    );
    if at_most_once && !started.logged {
        state.appender.sync_next();
    }
    let signal = match &work {
        CallWork::Signal(signal) => {
            if let Some(start) = started.sequence {
                state.replay.awaits_signal(start, &signal.name);
            }
            Some(Box::new(signal.clone()))
        }
        _ => None,
    };
    let child = started.child;
    let due = match &work {
        CallWork::Sleep { duration, .. } => started.at.0.saturating_add_unsigned(micros(*duration)),
        _ => i64::MAX,
    };
    let is_known = started.logged || started.is_kept;
    let work = if at_most_once && (started.logged || started.hit == Some(Hit::Began)) {
        Work::Effect(Box::pin(std::future::ready(Err(effect::interrupted(definition.name)))))
    } else {
        match work {
            CallWork::Effect(effect) => {
                let effect = interpose::effect(&context, definition, input, effect);
                Work::Effect(effect::whole(&context, definition, effect))
            }
            CallWork::Stream(make) => Work::Unopened(interpose::source(&context, definition, input, make)),
            CallWork::Sleep { duration, .. } => Work::Effect(wait::sleep(Arc::clone(&context), duration)),
            CallWork::Signal(signal) => Work::Effect(wait::signal(Arc::clone(&context), signal)),
            CallWork::Child(call) => {
                let run = started.child.unwrap_or(RunId::from_bytes([0; 16]));
                Work::Effect(child::effect(Arc::clone(&context), run, started.is_repeated, *call))
            }
        }
    };
    let remembered = match started.hit {
        Some(Hit::Items { start, .. }) => Some(start),
        _ => None,
    };
    state.new_starts.push(started.index);
    state.awaited_count += 1;
    state.traces.insert(
        started.index,
        TraceSlot {
            work,
            definition,
            context: Arc::clone(&context),
            body_waker,
            waker: None,
            delivered: false,
            is_item_out: false,
            began: None,
            may_begin: false,
            running: false,
            remembered,
            signal,
            child,
            due: Timestamp(due),
            is_known,
        },
    );
    Some((started.index, context))
}

impl Future for TraceFuture {
    /// The outer error is the engine's own, and the same for every such call; the inner result is recorded.
    type Output = Result<Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match self.poll_handed(cx) {
            Poll::Pending | Poll::Ready(Ok(Handed::Item(_) | Handed::Outcome(TraceOutcome::Dropped))) => Poll::Pending,
            Poll::Ready(Ok(Handed::Outcome(TraceOutcome::Ok(payload)))) => Poll::Ready(Ok(Ok(payload))),
            Poll::Ready(Ok(Handed::Outcome(TraceOutcome::Err(record)))) => Poll::Ready(Ok(Err(record))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl Drop for TraceFuture {
    fn drop(&mut self) {
        let State::Open(shared, index) = &self.0 else {
            // A call that was never begun, or one that an effect makes: what it holds is the engine's to drop.
            if matches!(self.0, State::Inert(_) | State::Nested(_)) {
                drop_quietly(std::mem::replace(&mut self.0, State::Done));
            }
            return;
        };
        let is_closing = shared.closing.load(Ordering::Relaxed);
        let is_own = is_closing || context::is_body_of(shared.run);
        let mut state = shared.state.lock();
        let slot = state.traces.remove(index);
        let mut told = false;
        if let Some(slot) = &slot {
            if let Some(wait) = slot.signal.as_ref().filter(|_| !is_closing) {
                wait::look_again(shared, &state, &wait.name);
            }
            let (began, tries) = (slot.began, slot.context.tries.load(Ordering::Relaxed));
            state.awaited_count -= usize::from(!slot.delivered);
            state.running_count -= usize::from(slot.running);
            if is_own && !is_closing {
                told = began.is_some();
                state.released.extend(slot.child);
                let clock = &shared.environment.clock;
                while state.replay.abandon(*index, |trace| dropped(trace, began, tries, clock.as_ref())).is_err() {
                    if !read_more(shared, &mut state) {
                        break;
                    }
                }
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
            let work = slot.work.take();
            if !work.is_none() {
                state.graveyard.push(work);
            }
            slot
        });
        drop(state);
        if let Some(slot) = waker.as_ref().filter(|_| told) {
            slot.context.effect_ended(&TraceOutcome::Dropped, slot.context.tries.load(Ordering::Relaxed).max(1), None);
        }
        drop(waker);
        if !is_own {
            shared.mailbox.stranger();
        }
    }
}

fn dropped(
    trace: Sequence,
    began: Option<(Timestamp, Duration)>,
    tries: u32,
    clock: &dyn crate::clock::Clock,
) -> TraceCompleted {
    let (started_at, since) = began.unwrap_or_else(|| (clock.now(), clock.elapsed()));
    TraceCompleted {
        trace,
        outcome: if planted(Planted::DropCompleted) {
            Payload::encode(&()).map_or(TraceOutcome::Dropped, TraceOutcome::Ok)
        } else {
            TraceOutcome::Dropped
        },
        tries: tries.max(u32::from(began.is_some())),
        started_at,
        duration_micros: micros(clock.elapsed().saturating_sub(since)),
        repeats: None,
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
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

/// As [`refuse`], where there is nothing to wait for: leaves the body by unwinding.
///
/// # Errors
/// The error itself, outside a body.
///
/// # Panics
/// Unwinds out of the body, without a message.
pub fn refuse_inline(error: Error) -> Error {
    match refuse(error) {
        Ok(()) => std::panic::resume_unwind(Box::new(Unwind)),
        Err(error) => error,
    }
}

/// Thrown through the body when a plain function has no answer, as the body must not be told why.
pub(crate) struct Unwind;

/// A code hash for what has no code of the user's: a version, raised if its meaning changes.
pub const BUILT_IN: CodeHash = CodeHash::from_bytes([1; 16]);
