//! What an attempt is driven with: its plan, the body for its recorded input, what its log and earlier attempts say.
//!
//! Used by `attempt`, and by `dry` for what runs without effects and writes.
//!
//! Invariant: nothing is written here, and a type's own code that panics is an error.

use std::sync::Arc;

use tracing::Span;

use crate::definition::TaskDefinition;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result, payload_error};
use crate::event::{Cause, Event, Parent, TaskStarted};
use crate::handle::RunCell;
use crate::id::{RunId, Sequence};
use crate::log::LogReader;
use crate::observe::spans;
use crate::past::Past;
use crate::payload::{Payload, PayloadError};
use crate::replay::Replay;
use crate::run::{Anchor, Body, Dry, Mailbox, Parts, Plan, RunShared};

/// What a new attempt begins with.
pub(crate) fn next_attempt(
    engine: &Inner,
    run: RunId,
    definition: &'static TaskDefinition,
    cause: Cause,
    caller: Option<Parent>,
) -> Result<(Plan, TaskStarted, Past)> {
    let mut past = Past::whole(engine.store()?, run)?;
    let at = past.reader.position();
    let now = engine.environment.clock.now();
    let started = TaskStarted {
        code: definition.code,
        attempt: past.last.attempt.saturating_add(1),
        cause,
        parent: caller.or_else(|| engine.parent_of(past.last.parent)),
        at: now,
        ..past.last.clone()
    };
    past.memo.observe(at, &Event::TaskStarted(started.clone()));
    let mut plan = Plan::of_recorded(engine, run, definition, &past, &started, at)?;
    (plan.tries, plan.series_started_at) = past.series(&started);
    Ok((plan, started, past))
}

pub(super) fn definition(engine: &Inner, cell: &RunCell) -> Result<&'static TaskDefinition> {
    engine.registry.task(&cell.task).ok_or_else(|| unknown_task(cell))
}

/// An attempt whose past is read: fed with its first batch, and the body for the recorded input.
pub(crate) fn recorded(
    engine: &Arc<Inner>,
    definition: &'static TaskDefinition,
    mailbox: &Arc<Mailbox>,
    mut past: Past,
    attempt_at: Sequence,
    dry: Dry,
    anchor: Option<Anchor>,
) -> Result<(Arc<RunShared>, Body)> {
    let run = past.run;
    let mut plan = Plan::of_recorded(engine, run, definition, &past, &past.last, attempt_at)?;
    if let Some(anchor) = anchor {
        plan.made_at.0 = anchor.at(plan.made_at.1);
    }
    let body = body(&plan, &past.last.input)?;
    let mut replay = Replay::new(run, past.last.task.clone(), past.memo);
    if let Some(batch) = past.batch.take() {
        replay.feed(batch);
    }
    let span = (dry == Dry::No).then(|| attempt_span(&plan, &past.last.cause));
    let shared = share(engine, mailbox, plan, replay, Some(past.reader), (span, dry), anchor)?;
    Ok((shared, body))
}

/// The span of an attempt, in that of its run.
pub(super) fn attempt_span(plan: &Plan, cause: &Cause) -> Span {
    spans::identify(plan.id.as_deref());
    spans::attempt(plan.run, plan.attempt, cause)
}

/// `span` is `None` where nothing is written or started.
pub(crate) fn share(
    engine: &Arc<Inner>,
    mailbox: &Arc<Mailbox>,
    plan: Plan,
    replay: Replay,
    reader: Option<LogReader>,
    (span, dry): (Option<Span>, Dry),
    anchor: Option<Anchor>,
) -> Result<Arc<RunShared>> {
    Ok(RunShared::new(Parts {
        plan,
        environment: Arc::clone(&engine.environment),
        engine: Arc::downgrade(engine),
        settings: Arc::clone(&engine.settings),
        mailbox: Arc::clone(mailbox),
        replay,
        reader,
        dry,
        span: span.unwrap_or_else(Span::none),
        anchor,
    }))
}

/// Calls code of the user's that reads a value back; a panic in it is an error like any other.
pub(crate) fn unpanicked<T>(read: impl FnOnce() -> Result<T, PayloadError>) -> Result<T, PayloadError> {
    crate::panic::catch(read).unwrap_or_else(|why| Err(PayloadError::panicked("read back", &why)))
}

/// The body for a recorded input.
pub(crate) fn body(plan: &Plan, input: &Payload) -> Result<Body> {
    unpanicked(|| (plan.definition.body)(input)).map(Body::new).map_err(|error| {
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
