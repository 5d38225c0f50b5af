//! What stands in a log beside its steps: never compared, kept while somebody may need it.
//!
//! Nested traces (called by effects, not by the body) are a memo of the effect they are in; retries say how often a trace
//! was tried; signals wait for who asks for them.
//!
//! Invariant: memory is bounded by what is open: what an effect called is forgotten when the effect's trace is over.

use std::borrow::Cow;
use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::event::{ErrorRecord, Event, SignalReceived, TraceOutcome, TraceRetried, TraceStarted};
use crate::id::{CodeHash, InputHash, Sequence, Timestamp};
use crate::payload::Payload;

/// What a nested call is known by, within one effect.
type NestedKey = (Cow<'static, str>, InputHash, u32);

/// A nested call.
#[derive(Debug)]
struct Nested {
    start: Sequence,
    outcome: Option<TraceOutcome>,
}

/// How often a trace was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    /// Tries that failed and were to be followed by another.
    pub count: u32,
    /// When the next one is due.
    pub due: Timestamp,
}

/// What was there before of a nested call.
#[derive(Debug, PartialEq)]
pub enum NestedCall {
    /// It ended; this is what came of it.
    Ended(TraceOutcome),
    /// It ended with an error that another try may mend: it runs again, under the start it has, unless it is
    /// `at_most_once`.
    Failed(Sequence, ErrorRecord),
    /// It began, and how it ended is not known: it runs again, under the start it has.
    Began(Sequence),
    /// It is new.
    New,
}

/// Signals that nobody took, by name, in the order in which they came, and when they were sent.
pub(super) type Signals = FxHashMap<String, VecDeque<(Payload, Timestamp)>>;

/// Everything beside the steps.
#[derive(Debug, Default)]
pub(super) struct Asides {
    /// What each open effect called.
    nested: FxHashMap<Sequence, FxHashMap<NestedKey, Nested>>,
    /// Which call a nested start is: its effect, and its key there.
    starts: FxHashMap<Sequence, (Sequence, NestedKey)>,
    tries: FxHashMap<Sequence, Tries>,
    /// What effects called since this was last asked: counts as used by the run.
    pub(super) called: Vec<(Cow<'static, str>, CodeHash)>,
    signals: Signals,
    /// Open waits for signals, by their starts: for which name.
    signal_waits: FxHashMap<Sequence, String>,
}

impl Asides {
    /// Takes an event that is beside the steps; gives back one that is not.
    pub(super) fn observe(&mut self, at: Sequence, event: Event) -> Option<Event> {
        match event {
            Event::TraceStarted(started) if started.within.is_some() => {
                self.started(at, &started);
                None
            }
            Event::TraceCompleted(completed) if !self.starts.is_empty() && self.is_nested(completed.trace) => {
                self.completed(completed.trace, completed.outcome);
                None
            }
            Event::TraceYielded(yielded) if !self.starts.is_empty() && self.is_nested(yielded.trace) => None,
            Event::TraceRetried(retried) => {
                self.retried(&retried);
                None
            }
            Event::SignalReceived(received) => {
                self.received(received);
                None
            }
            other => Some(other),
        }
    }

    /// Whether [`Asides::observe`] would take this event.
    pub(super) fn is_beside(&self, event: &Event) -> bool {
        match event {
            Event::TraceStarted(started) => started.within.is_some(),
            Event::TraceCompleted(completed) => !self.starts.is_empty() && self.is_nested(completed.trace),
            Event::TraceYielded(yielded) => !self.starts.is_empty() && self.is_nested(yielded.trace),
            Event::TraceRetried(_) | Event::SignalReceived(_) => true,
            Event::TaskStarted(_) | Event::TaskCompleted(_) => false,
        }
    }

    fn is_nested(&self, trace: Sequence) -> bool {
        self.starts.contains_key(&trace)
    }

    /// A nested call began.
    pub(super) fn started(&mut self, at: Sequence, call: &TraceStarted) {
        let Some(outer) = call.within else { return };
        self.called.push((call.name.clone(), call.code));
        let key = (call.name.clone(), call.input_hash, call.occurrence);
        self.starts.insert(at, (outer, key.clone()));
        self.nested.entry(outer).or_default().insert(key, Nested { start: at, outcome: None });
    }

    /// A nested call ended.
    pub(super) fn completed(&mut self, start: Sequence, outcome: TraceOutcome) {
        if matches!(&outcome, TraceOutcome::Err(record) if !record.terminal) {
            // It may run again, under this start: what it called is called again then.
            self.tries.remove(&start);
        } else {
            self.forget(start);
        }
        let Some((outer, key)) = self.starts.get(&start) else { return };
        if let Some(nested) = self.nested.get_mut(outer).and_then(|calls| calls.get_mut(key)) {
            nested.outcome = Some(outcome);
        }
    }

    /// What was there before of a call in this effect.
    pub(super) fn nested(&self, outer: Sequence, call: &TraceStarted) -> NestedCall {
        let key = (call.name.clone(), call.input_hash, call.occurrence);
        match self.nested.get(&outer).and_then(|calls| calls.get(&key)) {
            None => NestedCall::New,
            Some(Nested { outcome: Some(TraceOutcome::Ok(payload)), .. }) => {
                NestedCall::Ended(TraceOutcome::Ok(payload.clone()))
            }
            Some(Nested { outcome: Some(TraceOutcome::Err(record)), .. }) if record.terminal => {
                NestedCall::Ended(TraceOutcome::Err(record.clone()))
            }
            Some(Nested { start, outcome: Some(TraceOutcome::Err(record)) }) => {
                NestedCall::Failed(*start, record.clone())
            }
            Some(nested) => NestedCall::Began(nested.start),
        }
    }

    /// A trace is over: what its effect called is of no use any more.
    pub(super) fn forget(&mut self, outer: Sequence) {
        if !self.tries.is_empty() {
            self.tries.remove(&outer);
        }
        if !self.signal_waits.is_empty() {
            self.signal_waits.remove(&outer);
        }
        if self.nested.is_empty() {
            return;
        }
        let Some(calls) = self.nested.remove(&outer) else { return };
        for nested in calls.into_values() {
            self.starts.remove(&nested.start);
            self.forget(nested.start);
        }
    }

    /// A try failed. Of a wait for a signal: the oldest one was none for it, and is set aside.
    pub(super) fn retried(&mut self, retried: &TraceRetried) {
        if !self.signal_waits.is_empty()
            && let Some(name) = self.signal_waits.get(&retried.trace).cloned()
        {
            self.take_signal(&name);
        }
        self.tries.insert(retried.trace, Tries { count: retried.tries, due: retried.due });
    }

    /// How often a trace was tried before.
    pub(super) fn tries(&self, trace: Sequence) -> Option<Tries> {
        self.tries.get(&trace).copied()
    }

    /// The body waits for a signal. What the log says that the wait set aside is taken: which events were fed before this
    /// call plays no part, as signals of a name are taken in their order, whoever takes them.
    pub(super) fn awaits_signal(&mut self, start: Sequence, name: &str) {
        for _ in 0..self.tries(start).map_or(0, |tries| tries.count) {
            self.take_signal(name);
        }
        self.signal_waits.insert(start, name.to_owned());
    }

    /// Somebody signalled the run.
    pub(super) fn received(&mut self, received: SignalReceived) {
        self.signals.entry(received.name).or_default().push_back((received.value, received.at));
    }

    /// Whether a signal of this name waits to be taken.
    pub(super) fn signal(&self, name: &str) -> Option<&Payload> {
        self.signals.get(name)?.front().map(|(value, _)| value)
    }

    /// When that signal was sent.
    pub(super) fn signalled_at(&self, name: &str) -> Option<Timestamp> {
        self.signals.get(name)?.front().map(|(_, at)| *at)
    }

    /// All signals of this name that nobody took, the oldest first.
    pub(super) fn signals(&self, name: &str) -> impl Iterator<Item = &Payload> {
        self.signals.get(name).into_iter().flatten().map(|(value, _)| value)
    }

    /// The oldest signal of this name is handed over, or set aside.
    pub(super) fn take_signal(&mut self, name: &str) {
        if let Some(values) = self.signals.get_mut(name) {
            values.pop_front();
            if values.is_empty() {
                self.signals.remove(name);
            }
        }
    }

    /// Carries the signals of earlier attempts over that nobody took.
    pub(super) fn with_signals(signals: Signals) -> Self {
        Self { signals, ..Self::default() }
    }
}
