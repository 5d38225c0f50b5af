//! A run's log, as lives are compared by it and as people read it: what was handed over, and what the body did then.
//!
//! Invariant: nothing here differs between two runs that did the same: no ids, no times, no order within a step.

use std::collections::BTreeMap;

use relive_engine::error::ErrorKind;
use relive_engine::event::{ErrorRecord, Event, TaskOutcome, TraceOutcome};
use relive_engine::id::{RunId, Sequence};
use relive_engine::payload::Payload;
use relive_engine::value::Value;

use crate::engine::Engine;

/// What of a value is printed: enough to know it by.
const EXCERPT: usize = 120;

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ended {
    Ok(Value),
    Failed(ErrorRecord),
    Cancelled,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ok(value) => write!(f, "Ok({})", value.excerpt(EXCERPT)),
            Self::Failed(record) => write!(f, "Err({record})"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

/// A call, for people.
pub(crate) fn call(name: &str, input: &Payload) -> String {
    let arguments = match input.to_value() {
        // In the order in which the function takes them.
        Value::Map(entries) => {
            let entries: Vec<_> = entries.into_iter().map(|(_, value)| sorted(value).excerpt(EXCERPT)).collect();
            entries.join(", ")
        }
        other => sorted(other).excerpt(EXCERPT),
    };
    format!("{name}({arguments})")
}

/// A value whose maps are in order: two that are the same to a reader are the same.
fn value_of(payload: &Payload) -> Value {
    sorted(payload.to_value())
}

fn sorted(value: Value) -> Value {
    match value {
        Value::List(items) => Value::List(items.into_iter().map(sorted).collect()),
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries.into_iter().map(|(key, value)| (sorted(key), sorted(value))).collect();
            entries.sort_by_cached_key(|(key, _)| key.to_string());
            Value::Map(entries)
        }
        other => other,
    }
}

/// What became of a delivery, and what the body did then.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// What was handed over.
    pub(crate) delivered: String,
    /// What the body did, in no order.
    pub(crate) did: Vec<String>,
}

/// A log as steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Log {
    pub(crate) steps: Vec<Step>,
    pub(crate) ended: Option<Ended>,
    /// A trace that is `at_most_once` was not begun again: what came of it is another thing than it would have been.
    pub(crate) has_interrupted: bool,
    /// A child was under way beside something else: which of them ended first is not the kit's to say, as a child is a run
    /// of its own, which goes on by itself after an interruption.
    pub(crate) has_child_beside: bool,
    /// The calls that are under way, and whether each is a child.
    open: BTreeMap<Sequence, bool>,
}

impl Log {
    /// The log of a run.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn of(engine: &Engine, run: RunId) -> crate::Result<Self> {
        let events = engine.events(run).map(|logged| logged.map(|logged| (logged.sequence, logged.event)));
        Ok(Self::made(events.collect::<crate::Result<Vec<_>>>()?))
    }

    /// The log that these events are.
    pub(crate) fn made(events: impl IntoIterator<Item = (Sequence, Event)>) -> Self {
        let mut log = Self::default();
        let mut calls = BTreeMap::new();
        for (at, event) in events {
            log.add(at, &event, &mut calls);
        }
        for step in &mut log.steps {
            step.did.sort_unstable();
        }
        log
    }

    /// `calls`: what began, by position, and whether it is answered within its step.
    fn add(&mut self, at: Sequence, event: &Event, calls: &mut BTreeMap<Sequence, (String, bool)>) {
        let step = |delivered: String| Step { delivered, did: Vec::new() };
        match event {
            Event::TaskStarted(started) => {
                let attempt =
                    if started.attempt == 1 { String::new() } else { format!(", attempt {}", started.attempt) };
                self.steps.push(step(format!("{} starts{attempt}", call(&started.task, &started.input))));
                self.ended = None;
                self.open.clear();
            }
            Event::TraceStarted(started) if started.within.is_none() => {
                let shown = call(&started.name, &started.input);
                let nth = if started.occurrence == 0 { String::new() } else { format!(" #{}", started.occurrence + 1) };
                calls.insert(at, (format!("{shown}{nth}"), started.form.is_inline()));
                if !started.form.is_inline() {
                    self.open.insert(at, started.child.is_some());
                    self.has_child_beside |= self.open.len() > 1 && self.open.values().any(|is_child| *is_child);
                }
                self.did(format!("calls {shown}{nth}"));
            }
            Event::TraceCompleted(completed) => {
                let Some((shown, is_inline)) = calls.get(&completed.trace) else { return };
                self.open.remove(&completed.trace);
                let told = match &completed.outcome {
                    TraceOutcome::Ok(payload) => format!("{shown} = {}", value_of(payload).excerpt(EXCERPT)),
                    TraceOutcome::Err(record) => {
                        self.has_interrupted |= record.kind == ErrorKind::Interrupted;
                        format!("{shown} failed: {record}")
                    }
                    _ => {
                        self.did(format!("drops {shown}"));
                        return;
                    }
                };
                if *is_inline { self.did(told) } else { self.steps.push(step(told)) }
            }
            Event::TraceYielded(yielded) => {
                let Some((shown, is_inline)) = calls.get(&yielded.trace) else { return };
                let item = value_of(&yielded.item).excerpt(EXCERPT);
                let told = format!("{shown} yields item {}: {item}", yielded.index + 1);
                if *is_inline { self.did(told) } else { self.steps.push(step(told)) }
            }
            Event::TaskCompleted(completed) => {
                let ended = match &completed.outcome {
                    TaskOutcome::Ok(payload) => Ended::Ok(value_of(payload)),
                    TaskOutcome::Err(record) => Ended::Failed(record.clone()),
                    _ => Ended::Cancelled,
                };
                self.did(format!("ends: {ended}"));
                self.ended = completed.retry_at.is_none().then_some(ended);
            }
            // What stands beside the steps comes as it comes.
            _ => {}
        }
    }

    fn did(&mut self, what: String) {
        if let Some(step) = self.steps.last_mut() {
            step.did.push(what);
        }
    }

    /// Whether another life may rightly do other things: then each is compared with itself alone, by its replay.
    pub(crate) fn is_by_itself(&self) -> bool {
        self.has_interrupted || self.has_child_beside
    }

    /// The first step in which two logs differ.
    pub(crate) fn first_difference(&self, other: &Self) -> Option<usize> {
        let length = self.steps.len().max(other.steps.len());
        (0..length).find(|index| self.steps.get(*index) != other.steps.get(*index))
    }

    /// The log for people, a line for each thing.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            lines.push(format!("{:>3}. {}", index + 1, step.delivered));
            lines.extend(step.did.iter().map(|did| format!("       {did}")));
        }
        lines
    }
}
