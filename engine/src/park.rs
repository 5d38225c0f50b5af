//! Parks runs that take the process down again and again.
//!
//! A shutdown in order leaves a mark. Where it is missing, the process died, and each run that is taken up counts that
//! before its body is polled: a run that got no further since the last count may have been the reason. After
//! `crashes_max` such counts it is parked: it waits until somebody resumes or cancels it.
//!
//! Called by `recover` (the mark, runs parked before) and `execute` (the count, when a run's turn has come).
//!
//! Invariants: a count is durable before the body is polled; after a shutdown in order nothing is counted or read.

use std::collections::BTreeMap;
use std::sync::Arc;

use relive_storage::{Operation, Read, Write};
use serde::Deserialize;

use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, TraceStarted};
use crate::id::{Epoch, RunId, Sequence, Timestamp};
use crate::index::{self, BlockReason, Blocked, RunState, Standing, UnfinishedRecord};
use crate::log::{LogReader, event_at, last_event};
use crate::replay::{SIGNAL, SLEEP};

/// Under which key `meta` says which life of the process ended in order.
const CLOSED_KEY: &[u8] = b"closed";

/// The change that says that this life of the process ended in order.
pub(crate) fn closed(epoch: Epoch) -> Result<Operation> {
    index::put(index::META, CLOSED_KEY.to_vec(), &epoch)
}

/// Whether that life of the process ended in order.
pub(crate) fn ended_in_order(store: &dyn Read, last: Epoch) -> Result<bool> {
    Ok(last == Epoch(0) || index::read(store, index::META, CLOSED_KEY)? == Some(last))
}

/// Why a run is not taken up, if it is parked.
pub(crate) fn parked(store: Arc<dyn Read>, run: RunId, record: &UnfinishedRecord) -> Option<Error> {
    if let Some(message) = record.block_message().filter(|_| record.is_parked()) {
        return Some(Error::new(ErrorKind::Parked, message.to_owned()));
    }
    // A log that cannot be read is one run's trouble: the others go on.
    record
        .is_parked()
        .then(|| event_at(store, run, record.crashed_at).map_or_else(|e| e, |event| error(run, record, &event)))
}

/// Whether a run waits because it was imported, and for nothing else.
pub(crate) fn imported(store: &dyn Read, run: RunId) -> Result<bool> {
    let record = crate::inspect::unfinished(store, run)?;
    Ok(record.is_some_and(|record| record.is_parked() && record.crashes == 0))
}

/// Counts for a run that is about to go on that the process died. Says why, if it is parked for it.
pub(crate) async fn count(engine: &Inner, run: RunId, mut record: UnfinishedRecord) -> Result<Option<Error>> {
    let Some((at, event)) = last_event(engine.store()?.as_ref(), run)? else { return Ok(None) };
    let got_on = record.crashes == 0 || record.crashed_at < at;
    record.crashes = if got_on { 1 } else { record.crashes.saturating_add(1) };
    record.crashed_at = at;
    let is_parked = record.crashes >= engine.crashes_max;
    let parked = is_parked.then(|| error(run, &record, &event));
    record.standing = match &parked {
        Some(error) => Standing::Blocked(Blocked::of(error, BlockReason::Parked, engine.environment.clock.now())),
        None => Standing::UnderWay,
    };
    // Whether it only waits is in its log, which is not read for a first count that has no consequence.
    if (!got_on || is_parked) && only_waits(engine, run, record.attempt_at)? {
        return Ok(None);
    }
    let put = index::put(index::UNFINISHED, index::run_key(run), &record)?;
    engine.settings.committer.commit(Write { preconditions: Vec::new(), operations: vec![put] }).await?;
    Ok(parked)
}

fn error(run: RunId, record: &UnfinishedRecord, event: &Event) -> Error {
    let event = match event {
        Event::TraceStarted(started) => {
            format!("{} of {} at {}:{}", event.name(), started.name, started.file, started.line)
        }
        other => other.name().to_owned(),
    };
    if record.crashes == 0 {
        let why = format!(
            "run {run} of task {} was imported unfinished: resume it to have it go on here, or cancel it",
            record.task
        );
        return Error::new(ErrorKind::Parked, why);
    }
    let times = if record.crashes == 1 { "once".to_owned() } else { format!("{} times", record.crashes) };
    Error::new(
        ErrorKind::Parked,
        format!(
            "run {run} of task {} is parked: the process died {times} while the run was under way, and its log got no \
             further than event {}, {event}. Look at what it does behind that; then resume it, or cancel it",
            record.task, record.crashed_at
        ),
    )
}

/// Whether an attempt still waits for something from outside, and so had nothing to do when the process died.
fn only_waits(engine: &Inner, run: RunId, attempt_at: Sequence) -> Result<bool> {
    let mut open = BTreeMap::new();
    let mut is_settled = true;
    let mut reader = LogReader::starting_at(engine.store()?, run, attempt_at)?;
    while let Some(batch) = reader.next_batch()? {
        is_settled = batch.settled;
        for (at, event) in (batch.first.0..).map(Sequence).zip(batch.events) {
            match event {
                // What an effect calls is part of that: the effect is under way.
                Event::TraceStarted(started) if started.within.is_none() => {
                    open.insert(at, Wait::of(&started));
                }
                Event::TraceRetried(retried) => {
                    // One that set a signal aside waits for the next.
                    if let Some(wait) = open.get_mut(&retried.trace).filter(|wait| !matches!(wait, Wait::Signal)) {
                        *wait = Wait::Until(retried.due);
                    }
                }
                Event::TraceCompleted(completed) => drop(open.remove(&completed.trace)),
                _ => {}
            }
        }
    }
    if open.is_empty() || !is_settled {
        return Ok(false);
    }
    for wait in open.values() {
        if wait.is_over(engine, run)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What an open trace waits for.
enum Wait {
    /// Nothing: its effect is under way.
    Nothing,
    Until(Timestamp),
    Signal,
    Child(RunId),
}

impl Wait {
    fn of(started: &TraceStarted) -> Self {
        match (started.name.as_ref(), started.child) {
            (_, Some(child)) => Self::Child(child),
            (SIGNAL, _) => Self::Signal,
            // One that cannot be read may still wait.
            (SLEEP, _) => match started.input.decode::<Slept>() {
                Ok(slept) => Self::Until(Timestamp(started.at.0.saturating_add_unsigned(slept.micros))),
                Err(_) => Self::Until(Timestamp(i64::MAX)),
            },
            _ => Self::Nothing,
        }
    }

    /// Whether the run may have gone on since.
    fn is_over(&self, engine: &Inner, run: RunId) -> Result<bool> {
        match self {
            Self::Nothing => Ok(true),
            Self::Until(due) => Ok(*due <= engine.environment.clock.now()),
            Self::Signal => Ok(!index::inbox(engine.store()?.as_ref(), run)?.is_empty()),
            Self::Child(child) => {
                let Some(child) = engine.known_child(*child)? else { return Ok(true) };
                let record = crate::inspect::run(engine.store()?.as_ref(), child)?;
                Ok(record.is_none_or(|record| record.state != RunState::Unfinished))
            }
        }
    }
}

/// The arguments of a sleep.
#[derive(Deserialize)]
struct Slept {
    micros: u64,
}
