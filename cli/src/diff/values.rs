//! What differs in a pair of calls: their arguments, their outcomes, their items.
//!
//! Invariant: payloads are read for pairs whose hashes differ, a pair at a time.

use std::sync::Arc;

use relive::{Difference, Value};
use relive_engine::error::Result;
use relive_engine::event::{Event, TraceOutcome};
use relive_engine::id::{RunId, Sequence};
use relive_engine::inspect;
use relive_engine::log::event_at;
use relive_engine::payload::Payload;
use relive_engine::verdict::error_value;
use relive_storage::Read;

use super::align::Pair;
use super::calls::{Call, Outcome};

/// So many differences are told of one call.
const DIFFERENCES_EACH: usize = 8;

/// A difference between calls, ready to be shown.
pub(crate) struct Changed {
    pub(super) kind: Kind,
    pub(super) first: Option<Shown>,
    pub(super) second: Option<Shown>,
    pub(super) differences: Vec<Difference>,
}

/// What kind of difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Only,
    Argument,
    Outcome,
    Moved,
}

/// A call that is shown.
pub(super) struct Shown {
    pub(super) sequence: Sequence,
    pub(super) name: String,
    pub(super) input: Value,
    pub(super) nested: bool,
    /// `ok`, `err`, `dropped`, `open`.
    pub(super) outcome: &'static str,
}

/// What differs in a pair, if anything does.
pub(super) fn changed(store: &Arc<dyn Read>, runs: [RunId; 2], pair: &Pair) -> Result<Option<Changed>> {
    let show = |index: usize, call: &Call| shown(store, runs[index], call);
    Ok(match pair {
        Pair::First(call) => {
            Some(Changed { kind: Kind::Only, first: Some(show(0, call)?), second: None, differences: Vec::new() })
        }
        Pair::Second(call) => {
            Some(Changed { kind: Kind::Only, first: None, second: Some(show(1, call)?), differences: Vec::new() })
        }
        Pair::Argument(a, b) => {
            let (first, second) = (show(0, a)?, show(1, b)?);
            let differences = first.input.differences(&second.input, DIFFERENCES_EACH);
            Some(Changed { kind: Kind::Argument, first: Some(first), second: Some(second), differences })
        }
        Pair::Moved(a, b) => {
            let differences = outcomes(store, runs, a, b)?.unwrap_or_default();
            Some(Changed { kind: Kind::Moved, first: Some(show(0, a)?), second: Some(show(1, b)?), differences })
        }
        Pair::Same(a, b) => match outcomes(store, runs, a, b)? {
            None => None,
            Some(differences) => {
                Some(Changed { kind: Kind::Outcome, first: Some(show(0, a)?), second: Some(show(1, b)?), differences })
            }
        },
    })
}

fn shown(store: &Arc<dyn Read>, run: RunId, call: &Call) -> Result<Shown> {
    let input = match event_at(Arc::clone(store), run, call.sequence)? {
        Event::TraceStarted(started) => started.input.to_value(),
        _ => Value::Null,
    };
    let outcome = match call.end.map(|end| end.outcome) {
        Some(Outcome::Ok(_)) => "ok",
        Some(Outcome::Err(_)) => "err",
        Some(Outcome::Dropped) => "dropped",
        None => "open",
    };
    Ok(Shown { sequence: call.sequence, name: call.key.name.clone(), input, nested: call.key.nested, outcome })
}

/// Where the outcomes of two equal calls differ; `None` if they do not.
fn outcomes(store: &Arc<dyn Read>, runs: [RunId; 2], a: &Call, b: &Call) -> Result<Option<Vec<Difference>>> {
    if !a.is_whole || !b.is_whole {
        return Ok(None);
    }
    if a.items != b.items
        && let Some(difference) = items(store, runs, a, b)?
    {
        return Ok(Some(vec![difference]));
    }
    let (first, second) = match (a.end, b.end) {
        (None, None) => return Ok(None),
        (Some(a), Some(b)) if a.outcome == b.outcome => return Ok(None),
        (Some(a), Some(b)) => (value(store, runs[0], a.sequence)?, value(store, runs[1], b.sequence)?),
        // One of them is open: that is the difference, and is shown by its word.
        _ => return Ok(Some(Vec::new())),
    };
    if let ((_, Some(a)), (_, Some(b))) = (&first, &second)
        && a.is_like(b)
    {
        // The same to a reader: maps in another order.
        return Ok(None);
    }
    Ok(Some(first.0.differences(&second.0, DIFFERENCES_EACH)))
}

fn value(store: &Arc<dyn Read>, run: RunId, at: Sequence) -> Result<(Value, Option<Payload>)> {
    Ok(match event_at(Arc::clone(store), run, at)? {
        Event::TraceCompleted(completed) => match completed.outcome {
            TraceOutcome::Ok(payload) => (payload.to_value(), Some(payload)),
            TraceOutcome::Err(record) => (error_value(&record), None),
            _ => (Value::Null, None),
        },
        _ => (Value::Null, None),
    })
}

/// The first item of two streams that differs.
fn items(store: &Arc<dyn Read>, runs: [RunId; 2], a: &Call, b: &Call) -> Result<Option<Difference>> {
    let yielded = |run: RunId, call: &Call| -> Result<_> {
        let (trace, count) = (call.sequence, call.items.0);
        let events = inspect::events_from(Arc::clone(store), run, trace)?;
        let items = events.filter_map(move |logged| match logged {
            Ok(logged) => match logged.event {
                Event::TraceYielded(yielded) if yielded.trace == trace => Some(Ok(yielded.item)),
                _ => None,
            },
            Err(error) => Some(Err(error)),
        });
        Ok(items.take(usize::try_from(count).unwrap_or(usize::MAX)))
    };
    let (mut first, mut second) = (yielded(runs[0], a)?, yielded(runs[1], b)?);
    for index in 0u64.. {
        let (old, new) = (first.next().transpose()?, second.next().transpose()?);
        let is_same = match (&old, &new) {
            (None, None) => return Ok(None),
            (Some(old), Some(new)) => old.is_like(new),
            _ => false,
        };
        if !is_same {
            let value = |item: Option<Payload>| item.map(|item| item.to_value());
            return Ok(Some(Difference { path: format!("item {index}"), old: value(old), new: value(new) }));
        }
    }
    Ok(None)
}
