//! Plain functions that are traces: they run in place, within the step of the body that calls them.
//!
//! What the step has appended before is made durable first, for which this thread blocks; unless the function is pure.
//!
//! Invariants: on replay the function does not run; its effect begins only when its start is durable, and only if the body
//! has done all that the log holds before it.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::definition::TraceDefinition;
use crate::error::{Error, ErrorKind, Result, payload_error};
use crate::event::{Event, TraceCompleted, TraceForm, TraceOutcome, TraceRetried, TraceStarted};
use crate::id::Sequence;
use crate::observe::spans;
use crate::payload::{Arguments, PayloadError};
use crate::replay::{Hit, Started};
use crate::sync::MutexGuard;

use super::context::{self, Context, EffectContext, EffectOf};
use super::drive::Dry;
use super::effect;
use super::interpose;
use super::shared::{Output, RunShared, RunState};
use super::trace::{Unwind, micros};

/// A call of a plain function.
pub struct InlineCall {
    /// Which trace.
    pub definition: &'static TraceDefinition,
    /// With what.
    pub arguments: std::result::Result<Arguments, PayloadError>,
    /// From which file.
    pub file: &'static str,
    /// From which line.
    pub line: u32,
}

/// Calls a plain function as a trace. `run` is called once per try.
///
/// # Errors
/// Of kind `OutsideTask` outside tasks and traces, unless the trace is a plain call there; of kind `Payload` if the
/// arguments cannot be recorded. The inner result is recorded.
///
/// # Panics
/// Unwinds out of the body, without a message, if the body must not go on: it does not fit its log, a commit failed, the
/// engine shuts down.
pub fn inline(call: InlineCall, run: &mut dyn FnMut() -> Output) -> Result<Output> {
    let InlineCall { definition, arguments, file, line } = call;
    let shared = match context::current() {
        Some(Context::Body(shared)) => shared,
        Some(Context::Effect(outer)) => {
            return super::nested::call_inline(
                definition,
                recordable(definition, arguments)?,
                (file, line),
                &outer,
                run,
            );
        }
        None if definition.outside_call => return Ok(run()),
        None => return Err(outside(definition, file, line)),
    };
    let arguments = recordable(definition, arguments)?;
    let input = interpose::input(&shared.environment, &arguments.payload);
    let mut state = shared.state.lock();
    let started = begin(&shared, &mut state, definition, arguments, (file, line), TraceForm::Inline);
    let Some(sequence) = started.sequence else { leave(state) };
    if let Some(outcome) = started.recorded {
        drop(state);
        replayed(&shared, definition, Some(sequence), started.occurrence, &outcome);
        return Ok(output(outcome));
    }
    if let Some(Hit::Outcome(at)) = started.hit {
        let outcome = recall(&shared, &mut state, sequence, at);
        let Some(outcome) = outcome else { leave(state) };
        drop(state);
        replayed(&shared, definition, Some(sequence), started.occurrence, &outcome);
        return Ok(output(outcome));
    }
    if definition.policy.at_most_once && (started.logged || started.hit == Some(Hit::Began)) {
        let record = effect::interrupted(definition.name);
        let at = shared.environment.clock.now();
        let outcome = TraceOutcome::Err(record.clone());
        let completed =
            TraceCompleted { trace: sequence, outcome, tries: 0, started_at: at, duration_micros: 0, repeats: None };
        state.replay.completed_at_once(completed);
        return Ok(Err(record));
    }
    if needs_barrier(&shared, definition) {
        state = barrier(&shared, state, definition, &started);
    }
    drop(state);
    // It may take long; what is over ends after it.
    shared.decides();
    let context = context_of(&shared, definition, sequence, &started);
    context.effect_begins();
    let clock = &shared.environment.clock;
    let (started_at, since) = (clock.now(), clock.elapsed());
    let ran = interpose::inline(&context, definition, input, run, |run| self::run(&context, definition, run));
    let (output, tries) = match ran {
        Ok(ran) if !shared.mailbox.is_over() => ran,
        // What it found may be that the store failed, which the body must not be told.
        _ => lost(&shared, shared.state.lock()),
    };
    let completed = TraceCompleted {
        trace: sequence,
        outcome: match &output {
            Ok(payload) => TraceOutcome::Ok(payload.clone()),
            Err(record) => TraceOutcome::Err(record.clone()),
        },
        tries,
        started_at,
        duration_micros: micros(clock.elapsed().saturating_sub(since)),
        repeats: None,
    };
    context.effect_ended(&completed.outcome, completed.tries, Some(completed.duration_micros));
    shared.state.lock().replay.completed_at_once(completed);
    Ok(output)
}

/// Says that a call was answered from the log.
pub(super) fn replayed(
    shared: &RunShared,
    definition: &TraceDefinition,
    sequence: Option<Sequence>,
    occurrence: u32,
    outcome: &TraceOutcome,
) {
    let span = spans::trace(shared.run, sequence, definition.name, occurrence);
    spans::replayed(Some(&span), outcome);
    shared.environment.metrics.traces_replayed.increment(1);
}

pub(super) fn recordable(
    definition: &TraceDefinition,
    arguments: std::result::Result<Arguments, PayloadError>,
) -> Result<Arguments> {
    arguments.map_err(|error| {
        payload_error(format!("the arguments of trace {} cannot be recorded", definition.name), &error)
    })
}

pub(super) fn outside(definition: &TraceDefinition, file: &str, line: u32) -> Error {
    let name = definition.name;
    if name.starts_with("relive::") {
        let why = format!("{file}:{line}: {name}() is recorded by a run: call it in a #[task]");
        return Error::new(ErrorKind::OutsideTask, why);
    }
    Error::new(
        ErrorKind::OutsideTask,
        format!(
            "{file}:{line}: trace {name} is called outside a task: call it in a #[task] that an engine runs, or mark it \
             #[trace(outside = \"call\")]"
        ),
    )
}

/// Leaves the body by unwinding: it must not be told why.
pub(super) fn leave(state: MutexGuard<'_, RunState>) -> ! {
    drop(state);
    resume_unwind(Box::new(Unwind))
}

/// Leaves the body because nothing more becomes durable.
pub(super) fn lost(shared: &RunShared, mut state: MutexGuard<'_, RunState>) -> ! {
    let received = shared.mailbox.look(std::task::Waker::noop());
    let failed = state.appender.note(received.durable, received.failure.as_ref()).err();
    state.fatal.get_or_insert(failed.unwrap_or_else(|| super::drive::closed(shared.run)));
    leave(state)
}

/// Tells the replay of the call.
pub(super) fn begin(
    shared: &Arc<RunShared>,
    state: &mut RunState,
    definition: &'static TraceDefinition,
    arguments: Arguments,
    (file, line): (&'static str, u32),
    form: TraceForm,
) -> Started {
    let at_most_once = definition.policy.at_most_once;
    let mut call = Box::new(TraceStarted {
        name: definition.name.into(),
        code: definition.code,
        input_hash: arguments.hash(&shared.environment.redaction),
        occurrence: 0,
        input: arguments.payload,
        file: file.into(),
        line,
        form,
        within: None,
        child: None,
        group: context::group().map(|group| group.to_string()),
        at: shared.environment.clock.now(),
    });
    loop {
        match state.replay.start(call, at_most_once) {
            Ok(started) => return started,
            Err(again) => {
                call = again;
                if !read_more(shared, state) {
                    resume_unwind(Box::new(Unwind));
                }
            }
        }
    }
}

/// Reads more of the step under way. `false`: the log cannot be read, and the run ends.
pub(super) fn read_more(shared: &RunShared, state: &mut RunState) -> bool {
    let read = shared.read_step(state);
    read.map_err(|error| state.fatal.get_or_insert(error)).is_ok()
}

/// Repeats what an earlier attempt found.
fn recall(shared: &RunShared, state: &mut RunState, trace: Sequence, at: Sequence) -> Option<TraceOutcome> {
    match shared.event_at(at) {
        Ok(Event::TraceCompleted(earlier)) => {
            let completed = TraceCompleted { trace, repeats: Some(at), ..earlier };
            let outcome = completed.outcome.clone();
            state.replay.completed_at_once(completed);
            Some(outcome)
        }
        Ok(_) => {
            let why = format!("run {} at event {at}: an outcome was expected there", shared.run);
            state.fatal.get_or_insert(Error::new(ErrorKind::Corrupt, why));
            None
        }
        Err(error) => {
            state.fatal.get_or_insert(error);
            None
        }
    }
}

/// Leaves the body if the step must not go on beyond what the log holds.
pub(super) fn may_go_on<'a>(shared: &RunShared, mut state: MutexGuard<'a, RunState>) -> MutexGuard<'a, RunState> {
    match state.replay.may_run_inline() {
        Ok(true) => state,
        Ok(false) => leave(state),
        Err(error) => {
            state.fatal.get_or_insert(shared.replay_error(error));
            leave(state)
        }
    }
}

/// Whether a function that has no answer yet must not just run: what was appended before is to be durable first; or it must
/// not run at all, as nothing does in a replay. What Relive itself answers (`now`) is no effect: a preview goes on with it.
pub(super) fn needs_barrier(shared: &RunShared, definition: &TraceDefinition) -> bool {
    match shared.dry {
        Dry::No => !definition.policy.pure,
        Dry::Preview => !definition.policy.pure || !definition.name.starts_with("relive::"),
        Dry::Replay => true,
    }
}

/// Makes everything durable that was appended before an effect. Unwinds if the effect must not begin: also then what plain
/// functions before it found is durable, so that they are not called again.
pub(super) fn barrier<'a>(
    shared: &'a Arc<RunShared>,
    mut state: MutexGuard<'a, RunState>,
    definition: &TraceDefinition,
    started: &Started,
) -> MutexGuard<'a, RunState> {
    state = may_go_on(shared, state);
    if shared.dry != Dry::No {
        leave(state);
    }
    if let Some(error) = why_not(shared, &state) {
        if let Some(sequence) = started.sequence
            && !started.logged
        {
            state.replay.take_back(sequence);
        }
        if state.replay.pending_count() > 0 {
            state = append_before(shared, state);
        }
        state.fatal.get_or_insert(error);
        leave(state);
    }
    if started.logged && state.replay.pending_count() == 0 {
        return state;
    }
    if definition.policy.at_most_once {
        state.appender.sync_next();
    }
    append_before(shared, state)
}

/// Why a function must not begin any more.
fn why_not(shared: &RunShared, state: &RunState) -> Option<Error> {
    if shared.mailbox.is_stopping() {
        return Some(super::drive::closed(shared.run));
    }
    let plan = &state.appender.plan;
    let limit = plan.time_limit().filter(|limit| shared.environment.clock.elapsed() >= limit.due)?;
    Some(plan.out_of_time(limit.retries).to_error())
}

/// Appends what the step has done so far, and blocks until it is durable. Unwinds if it will not be.
fn append_before<'a>(shared: &'a Arc<RunShared>, mut state: MutexGuard<'a, RunState>) -> MutexGuard<'a, RunState> {
    let RunState { replay, appender, .. } = &mut *state;
    let end = match appender.append_now(replay, false) {
        Ok(end) => end,
        Err(error) => {
            state.fatal.get_or_insert(error);
            leave(state)
        }
    };
    drop(state);
    let is_durable = shared.mailbox.block_until(end.0);
    let mut state = shared.state.lock();
    if !is_durable {
        let received = shared.mailbox.look(std::task::Waker::noop());
        let failed = state.appender.note(received.durable, received.failure.as_ref()).err();
        state.fatal.get_or_insert(failed.unwrap_or_else(|| super::drive::closed(shared.run)));
        leave(state);
    }
    // The loop notes it too; here it bounds how far a long step is ahead.
    let _ = state.appender.note(end.0, None);
    state
}

/// What a call of the body's is, for its effect.
pub(super) fn effect_of(sequence: Sequence, started: &Started) -> EffectOf {
    EffectOf { input_hash: started.input_hash, occurrence: started.occurrence, sequence, called_at: started.at }
}

/// The context of an effect that runs in place.
pub(super) fn context_of(
    shared: &Arc<RunShared>,
    definition: &'static TraceDefinition,
    sequence: Sequence,
    started: &Started,
) -> Arc<EffectContext> {
    let context = EffectContext::new(shared, definition, effect_of(sequence, started), None, true);
    context.called();
    context
}

/// Runs a function with its tries, one right after the other. Gives the outcome and how many tries it took.
///
/// # Errors
/// If a failed try cannot be recorded.
pub(super) fn run(
    context: &Arc<EffectContext>,
    definition: &'static TraceDefinition,
    run: &mut dyn FnMut() -> Output,
) -> Result<(Output, u32)> {
    let shared = &context.shared;
    let clock = &shared.environment.clock;
    let mut tries = shared.state.lock().replay.tries(context.sequence).map_or(0, |tries| tries.count);
    loop {
        tries = tries.saturating_add(1);
        context.begin_try();
        context.tries.store(tries, Ordering::Relaxed);
        let (started_at, since) = (clock.now(), clock.elapsed());
        let output = {
            let _entered = context::enter(Context::Effect(Arc::clone(context)));
            let _runtime = shared.environment.runtime.enter();
            let span = spans::attempted(tries);
            let output = span.in_scope(|| effect::unpanicked(definition.name, &mut *run).unwrap_or_else(Err));
            spans::try_ended(&span, &output);
            output
        };
        let record = match output {
            Err(record) if tries <= definition.policy.retry.retries && !record.terminal => record,
            output => return Ok((output, tries)),
        };
        let due = clock.now();
        context.is_tried_again((due, std::time::Duration::ZERO), &record);
        let retried = TraceRetried {
            trace: context.sequence,
            tries,
            error: record,
            due,
            started_at,
            duration_micros: micros(clock.elapsed().saturating_sub(since)),
        };
        let end = {
            let mut state = shared.state.lock();
            if state.is_over {
                return Err(super::drive::closed(shared.run));
            }
            state.replay.aside(Event::TraceRetried(retried));
            shared.append_aside(&mut state, context.is_inline)?
        };
        if !shared.block_until(end) {
            return Err(super::drive::closed(shared.run));
        }
    }
}

fn output(outcome: TraceOutcome) -> Output {
    match outcome {
        TraceOutcome::Ok(payload) => Ok(payload),
        TraceOutcome::Err(record) => Err(record),
        TraceOutcome::Dropped => resume_unwind(Box::new(Unwind)),
    }
}
