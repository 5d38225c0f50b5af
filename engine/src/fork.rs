//! A new run that shares another's log up to an event, and goes its own way from there.
//!
//! Called by `engine`; also for a look into a store that is only read ([`copy`] into one in memory).
//!
//! Invariants: the run that is forked is left as it is; a fork is joined by nobody and answers no call from the cache, as
//! what it holds may have been changed; effects of the two have different idempotency keys.

mod target;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use relive_storage::{Operation, Precondition, Read, Write};
use serde::Serialize;

use self::target::Target;
use crate::codec::{self, Chain};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Batch, Cause, Event, TaskStarted, TraceOutcome};
use crate::execute::{self, Beginning};
use crate::follows::Follows;
use crate::handle::{CellState, Handle, RunCell, Target as HandleTarget};
use crate::id::{RunId, Sequence};
use crate::index::{self, Standing};
use crate::log::{LOG, LogReader};
use crate::payload::{Encoding, Payload, PayloadCodec, PayloadError};
use crate::run::closed;

/// Where a run is forked, and what is changed.
#[derive(Clone, Debug, Default)]
pub struct Fork {
    /// The last event that is shared. Without it, that in which the changed trace ended.
    pub at: Option<Sequence>,
    /// A recorded result that is another in the fork.
    pub set: Option<Set>,
}

/// A recorded result that is to be another.
#[derive(Clone, Debug)]
pub struct Set {
    /// Which trace of the last attempt that is shared: the position of its start or end, its name if one call has it, or
    /// `name#2` for the second call.
    pub trace: String,
    /// What it returns in the fork. Whether it is of the trace's type is only known when the body reads it.
    pub value: Substitute,
}

/// What a trace returns in a fork.
#[derive(Clone, Debug)]
pub struct Substitute(Written);

#[derive(Clone, Debug)]
enum Written {
    /// In the codec that it came in.
    Given(Payload),
    /// In each that the trace's results could be written in.
    Each([(PayloadCodec, Result<Payload, PayloadError>); 3]),
}

impl Substitute {
    /// A value of a program's: written in the codec of the trace's own results.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        let codecs = [PayloadCodec::MESSAGE_PACK, PayloadCodec::JSON, PayloadCodec::BINCODE];
        let written =
            codecs.map(|codec| (codec, Payload::surveyed(&Encoding::IN_MEMORY.with_codec(Some(codec)), value)));
        Self(Written::Each(written))
    }

    /// A value that is written already: it stays in its codec.
    pub fn given(payload: Payload) -> Self {
        Self(Written::Given(payload))
    }

    /// The value as it is recorded in the place of a result in this codec.
    fn recorded(&self, codec: PayloadCodec, encoding: &Encoding) -> Result<Payload, PayloadError> {
        let payload = match &self.0 {
            Written::Given(payload) => payload.clone(),
            Written::Each(written) => match written.iter().find(|(of, _)| *of == codec) {
                Some((_, payload)) => payload.clone()?,
                None => {
                    return Err(PayloadError::new(format!("it would be written in {codec}, which is not known here")));
                }
            },
        };
        payload.recorded_as(encoding)
    }
}

/// A fork, as it is to be written.
#[derive(Debug)]
pub struct Copied {
    /// The new run.
    pub run: RunId,
    /// How it begins.
    pub started: TaskStarted,
    /// The last event that is shared. Before the one that was asked for, if that ended an attempt: a fork goes on.
    pub at: Sequence,
    /// Where its last attempt begins.
    pub attempt_at: Sequence,
    /// When its next attempt is due, if the last has failed and another follows by itself.
    retry_at: Option<crate::id::Timestamp>,
    operations: Vec<Operation>,
}

impl Copied {
    /// What is to be written, at once.
    pub fn into_write(self) -> Write {
        let absent = Precondition::Absent { keyspace: LOG, key: crate::log::key(self.run, Sequence(0)) };
        Write { preconditions: vec![absent], operations: self.operations }
    }
}

/// What the log is found to hold before it is copied.
struct Survey {
    /// The first event that is not shared.
    end: Sequence,
    /// Children's ids, and what stands for those that have not succeeded in what is shared.
    children: BTreeMap<RunId, RunId>,
    /// The event whose outcome is changed.
    set: Option<Sequence>,
}

/// Makes the rows of a fork. `id` draws ids of runs: its own, and of children that it has to run anew. `is_parked`: no engine is
/// to take it up by itself.
///
/// # Errors
/// Of kind `UnknownRun`; of kind `Unsupported` if there is no such event, or nothing to go on with; if the trace whose result is
/// changed is not there, or not just one, or the value cannot be written in its codec.
pub fn copy(
    store: &Arc<dyn Read>,
    run: RunId,
    fork: &Fork,
    encoding: &Encoding,
    is_parked: bool,
    mut id: impl FnMut() -> Result<RunId>,
) -> Result<Copied> {
    let survey = survey(store, run, fork, &mut id)?;
    let own = id()?;
    let cause = Cause::Forked { run, at: Sequence(survey.end.0 - 1) };
    let (mut follows, mut operations, mut chain) = (Follows::default(), Vec::new(), Chain::default());
    let mut reader = LogReader::new(Arc::clone(store), run);
    while let Some(batch) = reader.next_batch()?
        && batch.first < survey.end
    {
        let mut batch = shared(batch, &survey);
        for (at, event) in (batch.first.0..).map(Sequence).zip(&mut batch.events) {
            alter(at, event, &survey, &cause);
            if survey.set == Some(at)
                && let Some(set) = &fork.set
            {
                target::replace(event, &set.value, encoding)?;
            }
            follows.observe(own, batch.epoch, event)?;
        }
        let key = crate::log::key(own, batch.first);
        let (value, next) = codec::seal(&key, chain, &batch)
            .map_err(|error| Error::new(ErrorKind::Payload, format!("run {run} at event {}: {error}", batch.first)))?;
        chain = next;
        operations.push(Operation::Put { keyspace: LOG, key, value });
    }
    let whole = follows.first().cloned().zip(follows.record()).zip(follows.unfinished(NO_CALL));
    let Some(((started, record), mut unfinished)) = whole else {
        return Err(Error::new(ErrorKind::Corrupt, format!("run {run}: its log is empty")));
    };
    if is_parked {
        (unfinished.standing, unfinished.crashed_at) = (Standing::Parked, Sequence(survey.end.0 - 1));
    }
    let key = index::run_key(own);
    operations.push(index::put(index::RUNS, key.clone(), &record)?);
    operations.push(index::put(index::UNFINISHED, key, &unfinished)?);
    for (name, value) in &started.tags {
        operations.push(index::tag(own, name, value)?);
    }
    let redacted = crate::export::redacted(store.as_ref(), run)?;
    if !redacted.is_empty() {
        operations.push(index::put(index::META, crate::export::mark_key(own), &redacted)?);
    }
    let (at, attempt_at, retry_at) = (Sequence(survey.end.0 - 1), unfinished.attempt_at, unfinished.retry_at);
    Ok(Copied { run: own, started, at, attempt_at, retry_at, operations })
}

/// The call key of a fork: no call has it, so nobody joins the fork, and its result is not cached.
pub(crate) const NO_CALL: [u8; 32] = [0; 32];

/// Whether a run that began so may hold results that nothing found.
pub(crate) fn is_fork(first: &TaskStarted) -> bool {
    matches!(first.cause, Cause::Forked { .. })
}

fn refused<T>(run: RunId, why: &str) -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, format!("run {run} is not forked: {why}")))
}

/// Where the log is cut, if that is known, and which event is another.
fn resolve(store: &Arc<dyn Read>, run: RunId, fork: &Fork) -> Result<(Sequence, Option<Sequence>)> {
    let Some(set) = &fork.set else {
        return match fork.at {
            Some(at) => Ok((at, None)),
            None => refused(run, "say at which event, or which trace's result is another"),
        };
    };
    let mut target = Target::parse(&set.trace);
    for logged in crate::inspect::events(Arc::clone(store), run) {
        let logged = logged?;
        if fork.at.is_some_and(|at| logged.sequence > at) {
            break;
        }
        target.observe(logged.sequence, &logged.event);
    }
    match target.found() {
        Ok(found) => Ok((fork.at.unwrap_or(found), Some(found))),
        Err(why) => refused(run, &why),
    }
}

/// Reads the log up to where it is cut.
fn survey(store: &Arc<dyn Read>, run: RunId, fork: &Fork, id: &mut impl FnMut() -> Result<RunId>) -> Result<Survey> {
    if crate::log::last_event(store.as_ref(), run)?.is_none() {
        return Err(Error::new(ErrorKind::UnknownRun, format!("there is no run {run} in this store")));
    }
    let (cut, set) = resolve(store, run, fork)?;
    let (mut end, mut ends_attempt) = (Sequence(0), false);
    let mut open: BTreeMap<Sequence, RunId> = BTreeMap::new();
    let mut children: BTreeMap<RunId, Option<RunId>> = BTreeMap::new();
    for logged in crate::inspect::events(Arc::clone(store), run).take_while(|logged| {
        // An error is to be seen.
        logged.as_ref().is_ok_and(|logged| logged.sequence <= cut) || logged.is_err()
    }) {
        let logged = logged?;
        end = Sequence(logged.sequence.0 + 1);
        ends_attempt = matches!(&logged.event, Event::TaskCompleted(completed) if completed.retry_at.is_none());
        match logged.event {
            Event::TraceStarted(started) => {
                if let Some(child) = started.child {
                    open.insert(logged.sequence, child);
                    if let Entry::Vacant(vacant) = children.entry(child) {
                        vacant.insert(Some(id()?));
                    }
                }
            }
            Event::TraceCompleted(completed) => {
                if let Some(child) = open.remove(&completed.trace)
                    && matches!(completed.outcome, TraceOutcome::Ok(_))
                {
                    // What is shared has its result, and no later attempt asks the child again.
                    children.insert(child, None);
                }
            }
            _ => {}
        }
    }
    if end.0 <= cut.0 {
        return refused(run, &format!("it has no event {cut}: the last one is {}", end.0.saturating_sub(1)));
    }
    if ends_attempt {
        // Before it, the body has yet to end.
        end.0 -= 1;
    }
    let children = children.into_iter().filter_map(|(child, other)| other.map(|other| (child, other))).collect();
    Ok(Survey { end, children, set })
}

/// The part of a batch that is shared. Where it is cut, the body may go on with the step.
fn shared(batch: Batch, survey: &Survey) -> Batch {
    let count = usize::try_from(survey.end.0 - batch.first.0).unwrap_or(usize::MAX);
    if count >= batch.events.len() {
        return batch;
    }
    let mut events = batch.events;
    events.truncate(count);
    Batch { settled: false, events, ..batch }
}

/// What is not the same in the fork.
fn alter(at: Sequence, event: &mut Event, survey: &Survey, cause: &Cause) {
    match event {
        Event::TaskStarted(started) => {
            (started.id, started.parent) = (None, None);
            if at == Sequence(0) {
                started.cause = cause.clone();
            }
        }
        Event::TraceStarted(started) => {
            if let Some(other) = started.child.and_then(|child| survey.children.get(&child)) {
                started.child = Some(*other);
            }
        }
        _ => {}
    }
}

impl Inner {
    /// See `Engine::fork`.
    pub(crate) async fn fork(self: &Arc<Self>, run: RunId, fork: Fork) -> Result<(Handle, Sequence)> {
        self.check_open()?;
        let engine = Arc::clone(self);
        let store = self.store()?;
        // A log may be long: not on a thread that runs tasks.
        let copied = self.runtime.spawn_blocking(move || {
            let id = || {
                let mut random = [0; 10];
                let why = |why| Error::new(ErrorKind::Storage, format!("no randomness for a run's id: {why}"));
                engine.environment.entropy.fill(&mut random).map_err(why)?;
                Ok(RunId::new(engine.environment.clock.now(), random))
            };
            copy(&store, run, &fork, &engine.environment.encoding, false, id)
        });
        let cut_off = |why| Error::new(ErrorKind::Storage, format!("the fork of run {run} was cut off: {why}"));
        let copied = copied.await.map_err(cut_off)??;
        let (own, at, attempt_at, retry_at) = (copied.run, copied.at, copied.attempt_at, copied.retry_at);
        let task = copied.started.task.to_string();
        if self.registry.task(&task).is_none() {
            let why = format!("run {run} is of task {task}, which this program does not have: it cannot go on here");
            return Err(Error::new(ErrorKind::UnknownTask, why));
        }
        self.settings.committer.commit(copied.into_write()).await?;
        let cell = RunCell::new(own, &task, CellState::Queued, &self.environment.metrics);
        {
            let mut holders = cell.holders.lock();
            (holders.rooted, holders.rooted_on_record) = (true, true);
        }
        let alive = {
            // Held while the run is entered, so that a shutdown at the same time finds it.
            let guard = self.alive.lock();
            let Some(alive) = guard.clone() else { return Err(closed(own)) };
            self.runs.lock().insert(own, Arc::clone(&cell));
            alive
        };
        let held = self.held(&cell);
        let beginning = Beginning::TakenUp { attempt_at, retry_at, died: None, blocked: None };
        execute::spawn(self, &cell, beginning, None, alive);
        Ok((Handle { run: own, target: HandleTarget::Live(held) }, at))
    }
}
