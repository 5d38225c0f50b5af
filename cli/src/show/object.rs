//! `relive show RUN --json`: a run as one object.
//!
//! Invariant: events are counted as they are read; what is kept is how the run began and how it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

use relive_engine::error::{Error, ErrorKind};
use relive_engine::event::Event;
use relive_engine::id::RunId;
use relive_engine::inspect::{self, StoredRun};
use relive_engine::replay::SIGNAL;
use relive_engine::value::Value;
use relive_storage::Read;
use serde::Serialize;

use crate::failure::Failure;
use crate::json::{self, OutcomeObject, RunLine};

/// A run, with how it began and ended.
#[derive(Serialize)]
struct RunObject<'a> {
    #[serde(flatten)]
    run: RunLine<'a>,
    input: Option<Value>,
    /// Name and value of tags of calls that joined the run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    joined_tags: Vec<(String, String)>,
    events: u64,
    /// Calls of the last attempt, by name.
    calls: BTreeMap<String, u64>,
    /// Signals that fitted no wait, in all attempts.
    set_aside: u64,
    #[serde(flatten)]
    outcome: Option<OutcomeObject<'a>>,
}

/// Prints a run.
pub(super) fn object(store: &Arc<dyn Read>, run: RunId, out: &mut (impl Write + ?Sized)) -> Result<(), Failure> {
    let record = inspect::run(store.as_ref(), run)?
        .ok_or_else(|| Error::new(ErrorKind::UnknownRun, format!("there is no run {run} in this store")))?;
    let stored = StoredRun { run, record };
    let unfinished = inspect::unfinished(store.as_ref(), run)?;
    let (mut input, mut completed, mut events, mut calls) = (None, None, 0, BTreeMap::new());
    let (mut waits, mut set_aside) = (BTreeSet::new(), 0);
    for logged in inspect::events(Arc::clone(store), run) {
        events += 1;
        let logged = logged?;
        match logged.event {
            Event::TaskStarted(started) => {
                input.get_or_insert_with(|| started.input.to_value());
                calls.clear();
                completed = None;
            }
            Event::TraceRetried(retried) => set_aside += u64::from(waits.contains(&retried.trace)),
            Event::TraceStarted(started) => {
                if started.name == SIGNAL {
                    waits.insert(logged.sequence);
                }
                *calls.entry(started.name.into_owned()).or_default() += 1;
            }
            Event::TraceCompleted(completed) => drop(waits.remove(&completed.trace)),
            Event::TaskCompleted(ended) => completed = Some(ended),
            _ => {}
        }
    }
    let outcome = completed.as_ref().map(|completed| OutcomeObject::of_task(&completed.outcome));
    let joined_tags = inspect::joined_tags(store.as_ref(), run)?;
    let run = RunLine::of(&stored, unfinished.as_ref());
    json::line(out, &RunObject { run, input, joined_tags, events, calls, set_aside, outcome })?;
    Ok(())
}
