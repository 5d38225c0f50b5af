//! Traces that effects call: a memo of the effect, kept over its tries, over crashes and attempts.
//!
//! Inside an effect nothing is replayed and nothing compared: a call that ended well before returns what it found then, any
//! other runs.
//!
//! Invariant: such a call's effect begins only when its start is durable, unless it is pure.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Error, ErrorKind, Result, payload_error};
use crate::event::{Event, TraceCompleted, TraceForm, TraceOutcome, TraceStarted};
use crate::id::Sequence;
use crate::payload::Arguments;
use crate::replay::{Hit, NestedCall};

use super::context::{self, EffectContext, EffectOf, InContext};
use super::effect::{self, Effect};
use super::interpose;
use super::shared::Output;
use super::trace::{CallWork, TraceCall, micros};

/// A nested call under way.
pub(super) type NestedFuture = Pin<Box<dyn Future<Output = Result<Output>> + Send>>;

/// What becomes of a nested call.
enum Found {
    /// It ended before.
    Ended(TraceOutcome),
    /// It is to run.
    Run(Arc<EffectContext>, Sequence),
}

/// Calls a trace inside an effect.
pub(super) fn call(call: TraceCall, outer: Arc<EffectContext>) -> NestedFuture {
    Box::pin(async move {
        let TraceCall { definition, arguments, file, line, work } = call;
        let effect = match work {
            CallWork::Effect(effect) => effect,
            CallWork::Sleep { duration, .. } => {
                // The outer trace's own outcome is what is recorded.
                let clock = Arc::clone(&outer.shared.environment.clock);
                effect::waiting(&outer, clock.sleep_until(clock.elapsed().saturating_add(duration))).await;
                return Ok(crate::payload::Payload::encode(&())
                    .map_err(|error| crate::event::ErrorRecord::new(ErrorKind::Payload, error.to_string())));
            }
            CallWork::Child(_) => {
                return Err(refused(
                    file,
                    line,
                    &format!("task {} is called", definition.name),
                    &outer.name,
                    "a task runs tasks, a trace does not: call it in the task's body, and hand its result to the trace",
                ));
            }
            CallWork::Signal { .. } => {
                return Err(refused(
                    file,
                    line,
                    "a signal is awaited",
                    &outer.name,
                    "await it in the task's body, and hand its value to the trace",
                ));
            }
            CallWork::Stream(_) => {
                return Err(refused(
                    file,
                    line,
                    &format!("stream {} is called", definition.name),
                    &outer.name,
                    "its items are recorded in a task's body only: call it there, or call an untraced function here",
                ));
            }
        };
        let arguments = arguments.map_err(|error| {
            payload_error(format!("the arguments of trace {} cannot be recorded", definition.name), &error)
        })?;
        let started = start(definition, arguments, (file, line), TraceForm::Future, &outer)?;
        let input = interpose::input(&outer.shared.environment, &started.input);
        let occurrence = started.occurrence;
        let (context, end) = match find(&outer, definition, started) {
            Ok(Found::Ended(outcome)) => return Ok(ended(&outer, definition, occurrence, outcome)),
            Ok(Found::Run(context, end)) => (context, end),
            Err(error) => return Ok(effect::lost(&outer, error).await),
        };
        context.called();
        if !definition.policy.pure {
            effect::durable(&outer, end).await;
        }
        context.effect_begins();
        let clock = Arc::clone(&outer.shared.environment.clock);
        let (started_at, since) = (clock.now(), clock.elapsed());
        let effect = match interpose::effect(&context, definition, input, effect) {
            // A panic of a nested effect is its own failure, and not that of the one it is in.
            Effect::Once(future) => Effect::Once(Box::pin(effect::Caught { future, name: definition.name })),
            other => other,
        };
        let future = effect::whole(&context, definition, effect);
        let output = InContext { context: Arc::clone(&context), future }.await;
        let tries = context.tries.load(Ordering::Relaxed).max(1);
        complete(&context, &output, tries, started_at, micros(clock.elapsed().saturating_sub(since)));
        Ok(output)
    })
}

fn refused(file: &str, line: u32, what: &str, outer: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{file}:{line}: {what} inside trace {outer}: {why}"))
}

fn start(
    definition: &'static crate::definition::TraceDefinition,
    arguments: Arguments,
    (file, line): (&'static str, u32),
    form: TraceForm,
    outer: &Arc<EffectContext>,
) -> Result<TraceStarted> {
    let name = definition.name.into();
    let input_hash = arguments.hash(&outer.shared.environment.redaction);
    let occurrence = outer.count(&name, input_hash);
    Ok(TraceStarted {
        name,
        code: definition.code,
        input_hash,
        occurrence,
        input: arguments.payload,
        file: file.into(),
        line,
        form,
        within: Some(outer.sequence),
        child: None,
        group: context::group().map(|group| group.to_string()),
        at: outer.shared.environment.clock.now(),
    })
}

/// What is known of a call; if nothing is, it is begun.
fn find(
    outer: &Arc<EffectContext>,
    definition: &'static crate::definition::TraceDefinition,
    mut call: TraceStarted,
) -> Result<Found> {
    let shared = &outer.shared;
    let mut guard = shared.state.lock();
    let state = &mut *guard;
    if state.is_over {
        return Err(super::drive::closed(shared.run));
    }
    let at_most_once = definition.policy.at_most_once;
    let context = |sequence: Sequence, call: &TraceStarted| {
        EffectContext::new(
            shared,
            definition,
            EffectOf { input_hash: call.input_hash, occurrence: call.occurrence, sequence, called_at: call.at },
            Some(outer),
            outer.is_inline,
        )
    };
    match state.replay.nested(outer.sequence, &call) {
        NestedCall::Ended(outcome) => return Ok(Found::Ended(outcome)),
        // How it ended is known, and it is not begun again.
        NestedCall::Failed(_, record) if at_most_once => return Ok(Found::Ended(TraceOutcome::Err(record))),
        NestedCall::Began(_) if at_most_once => return Ok(interrupted(&call.name)),
        NestedCall::Began(sequence) | NestedCall::Failed(sequence, _) => {
            // Its start may be on its way to the disk still.
            return Ok(Found::Run(context(sequence, &call), Sequence(sequence.0 + 1)));
        }
        NestedCall::New => {}
    }
    let hit = state.replay.nested_hit(|| outer.scope(), &call, at_most_once);
    if let Some(Hit::Began) = hit {
        return Ok(interrupted(&call.name));
    }
    let recalled = match hit {
        Some(Hit::Outcome(at)) => match shared.event_at(at)? {
            Event::TraceCompleted(completed) => Some((at, completed)),
            _ => None,
        },
        _ => None,
    };
    if recalled.is_none()
        && definition.policy.deadline.is_some()
        && let Some(at) = state.replay.nested_made(|| outer.scope(), &call)
    {
        call.at = at;
    }
    if at_most_once {
        state.appender.sync_next();
    }
    let context = context(state.replay.next_sequence(), &call);
    let sequence = state.replay.nested_started(call);
    if let Some((at, earlier)) = recalled {
        let completed = TraceCompleted { trace: sequence, repeats: Some(at), ..earlier };
        let outcome = completed.outcome.clone();
        state.replay.nested_completed(completed);
        shared.append_aside(state, outer.is_inline)?;
        return Ok(Found::Ended(outcome));
    }
    let end = shared.append_aside(state, outer.is_inline)?;
    Ok(Found::Run(context, end))
}

/// Records what became of a nested call.
fn complete(
    context: &Arc<EffectContext>,
    output: &Output,
    tries: u32,
    started_at: crate::id::Timestamp,
    duration_micros: u64,
) {
    let outcome = match output {
        Ok(payload) => TraceOutcome::Ok(payload.clone()),
        Err(record) => TraceOutcome::Err(record.clone()),
    };
    context.effect_ended(&outcome, tries, Some(duration_micros));
    let shared = &context.shared;
    let appended = {
        let mut state = shared.state.lock();
        if state.is_over {
            return;
        }
        state.replay.nested_completed(TraceCompleted {
            trace: context.sequence,
            outcome,
            tries,
            started_at,
            duration_micros,
            repeats: None,
        });
        shared.append_aside(&mut state, context.is_inline)
    };
    if let Err(error) = appended {
        shared.fail(error);
    }
}

fn interrupted(name: &str) -> Found {
    Found::Ended(TraceOutcome::Err(effect::interrupted(name)))
}

/// Says that a call ended before.
fn ended(
    outer: &EffectContext,
    definition: &'static crate::definition::TraceDefinition,
    occurrence: u32,
    outcome: TraceOutcome,
) -> Output {
    super::inline::replayed(&outer.shared, definition, None, occurrence, &outcome);
    output(outcome)
}

fn output(outcome: TraceOutcome) -> Output {
    match outcome {
        TraceOutcome::Ok(payload) => Ok(payload),
        TraceOutcome::Err(record) => Err(record),
        TraceOutcome::Dropped => Err(crate::event::ErrorRecord::new(ErrorKind::Interrupted, "it was dropped")),
    }
}

/// Calls a plain function inside an effect: blocks until its start is durable.
pub(super) fn call_inline(
    definition: &'static crate::definition::TraceDefinition,
    arguments: Arguments,
    place: (&'static str, u32),
    outer: &Arc<EffectContext>,
    run: &mut dyn FnMut() -> Output,
) -> Result<Output> {
    let call = start(definition, arguments, place, TraceForm::Inline, outer)?;
    let input = interpose::input(&outer.shared.environment, &call.input);
    let occurrence = call.occurrence;
    let (context, end) = match find(outer, definition, call)? {
        Found::Ended(outcome) => return Ok(ended(outer, definition, occurrence, outcome)),
        Found::Run(context, end) => {
            context.called();
            (context, end)
        }
    };
    if !definition.policy.pure && !outer.shared.block_until(end) {
        return Err(super::drive::closed(outer.shared.run));
    }
    context.effect_begins();
    let clock = &outer.shared.environment.clock;
    let (started_at, since) = (clock.now(), clock.elapsed());
    let (output, tries) =
        interpose::inline(&context, definition, input, run, |run| super::inline::run(&context, definition, run))?;
    complete(&context, &output, tries, started_at, micros(clock.elapsed().saturating_sub(since)));
    Ok(output)
}
