//! What earlier attempts of a run found: what a new attempt need not find again.
//!
//! Filled from the events before the attempt's own; asked when the new attempt calls a trace. Holds where outcomes stand in
//! the log, not the outcomes.
//!
//! Invariant: by scope, name, input hash and occurrence, the latest success wins; a failure counts only if it is terminal,
//! or if a later call of the same kind succeeded, as the body has seen it and gone on.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::event::{Cause, Event, Rerun, TraceForm, TraceOutcome, TraceStarted};
use crate::id::{CodeHash, InputHash, RunId, Sequence};
use crate::payload::Payload;

/// What a call is made in: the body, or an effect. The same in every attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope([u8; 16]);

impl Scope {
    /// The scope of what the effect of this call calls.
    pub fn within(self, name: &str, input_hash: InputHash, occurrence: u32) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(input_hash.as_bytes());
        hasher.update(&occurrence.to_le_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Calls that differ in their occurrence only.
type Kind = (Scope, String, InputHash);

/// What is remembered of one call.
#[derive(Clone, Debug, Default)]
struct Remembered {
    /// Where its latest success stands.
    success: Option<Sequence>,
    /// Where its latest failure stands, and whether that is terminal.
    failure: Option<(Sequence, bool)>,
    /// Items that a stream or an iterator handed on: the start they belong to, how many, and where the first stands.
    items: Option<(Sequence, u64, Sequence)>,
    code: Option<CodeHash>,
    child: Option<RunId>,
}

/// A call of the attempt that is read.
#[derive(Debug)]
struct OpenCall {
    kind: Kind,
    occurrence: u32,
    form: TraceForm,
    code: CodeHash,
    item_count: u64,
    first_item: Sequence,
}

/// What is remembered of a call that a new attempt makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// An outcome stands here.
    Outcome(Sequence),
    /// Items of a stream or iterator: the start they belong to, and where the first stands. Its end may follow.
    Items {
        /// The start.
        start: Sequence,
        /// The first item.
        first: Sequence,
    },
    /// It began, and how it ended is not known.
    Began,
}

/// What earlier attempts found.
#[derive(Debug, Default)]
pub struct Memo {
    calls: FxHashMap<(Kind, u32), Remembered>,
    /// The highest occurrence of each kind that succeeded.
    succeeded: FxHashMap<Kind, u32>,
    open: FxHashMap<Sequence, OpenCall>,
    scopes: FxHashMap<Sequence, Scope>,
    signals: FxHashMap<String, VecDeque<Payload>>,
    /// Waits for signals: which name.
    signal_waits: FxHashMap<Sequence, String>,
    rerun_edited: bool,
}

/// The name on record of a wait for a signal.
pub const SIGNAL: &str = "relive::signal";

/// The name of the trace that waits for a time.
pub const SLEEP: &str = "relive::sleep";

impl Memo {
    /// Sees the next event of an earlier attempt.
    pub fn observe(&mut self, at: Sequence, event: &Event) {
        match event {
            Event::TaskStarted(started) => {
                self.end_attempt();
                self.begin_attempt(&started.cause);
            }
            Event::TaskCompleted(_) => self.end_attempt(),
            Event::TraceStarted(started) => self.started(at, started),
            Event::TraceYielded(yielded) => {
                if let Some(call) = self.open.get_mut(&yielded.trace) {
                    if call.item_count == 0 {
                        call.first_item = at;
                    }
                    call.item_count += 1;
                }
            }
            Event::TraceCompleted(completed) => self.completed(at, completed),
            Event::SignalReceived(received) => {
                self.signals.entry(received.name.clone()).or_default().push_back(received.value.clone());
            }
            Event::TraceRetried(_) => {}
        }
    }

    fn started(&mut self, at: Sequence, started: &TraceStarted) {
        let scope = started.within.and_then(|outer| self.scopes.get(&outer).copied()).unwrap_or_default();
        self.scopes.insert(at, scope.within(&started.name, started.input_hash, started.occurrence));
        if started.name == SIGNAL {
            self.signal_waits.insert(at, signal_name(&started.input));
        }
        let kind = (scope, started.name.to_string(), started.input_hash);
        let remembered = self.calls.entry((kind.clone(), started.occurrence)).or_default();
        if started.child.is_some() {
            remembered.child = started.child;
        }
        self.open.insert(
            at,
            OpenCall {
                kind,
                occurrence: started.occurrence,
                form: started.form,
                code: started.code,
                item_count: 0,
                first_item: at,
            },
        );
    }

    fn completed(&mut self, at: Sequence, completed: &crate::event::TraceCompleted) {
        let Some(call) = self.open.remove(&completed.trace) else { return };
        if completed.outcome != TraceOutcome::Dropped
            && completed.repeats.is_none()
            && let Some(name) = self.signal_waits.remove(&completed.trace)
            && let Some(values) = self.signals.get_mut(&name)
        {
            values.pop_front();
        }
        let key = (call.kind.clone(), call.occurrence);
        let remembered = self.calls.entry(key).or_default();
        let has_items = matches!(call.form, TraceForm::Stream | TraceForm::Iterator);
        match &completed.outcome {
            TraceOutcome::Ok(_) => {
                remembered.success = Some(at);
                remembered.code = Some(call.code);
                remembered.items =
                    (has_items && call.item_count > 0).then_some((completed.trace, call.item_count, call.first_item));
                let highest = self.succeeded.entry(call.kind).or_default();
                *highest = (*highest).max(call.occurrence);
            }
            TraceOutcome::Err(record) => {
                remembered.failure = Some((at, record.terminal));
                remembered.code = Some(call.code);
                if remembered.success.is_none() {
                    // A stream that failed starts anew.
                    remembered.items = None;
                }
            }
            TraceOutcome::Dropped => Self::interrupted(remembered, completed.trace, &call),
        }
    }

    /// A call that ended without an outcome: what a stream handed on stays.
    fn interrupted(remembered: &mut Remembered, start: Sequence, call: &OpenCall) {
        let known = remembered.items.map_or(0, |(_, count, _)| count);
        if remembered.success.is_none() && call.item_count > 0 && call.item_count >= known {
            remembered.items = Some((start, call.item_count, call.first_item));
            remembered.code = Some(call.code);
        }
    }

    fn end_attempt(&mut self) {
        for (start, call) in std::mem::take(&mut self.open) {
            let remembered = self.calls.entry((call.kind.clone(), call.occurrence)).or_default();
            Self::interrupted(remembered, start, &call);
        }
        self.scopes.clear();
        self.signal_waits.clear();
    }

    /// An attempt begins that is not to use some of what was found before it.
    fn begin_attempt(&mut self, cause: &Cause) {
        self.rerun_edited = false;
        if let Cause::Resumed(Rerun { names, edited }) = cause {
            self.rerun_edited = *edited;
            if !names.is_empty() {
                self.calls.retain(|((_, name, _), _), _| !names.contains(name));
                self.succeeded.retain(|(_, name, _), _| !names.contains(name));
            }
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.signals.is_empty()
    }

    /// What is remembered of a call. `at_most_once`: any failure counts, and that it began.
    pub fn hit(&self, scope: Scope, call: &TraceStarted, at_most_once: bool) -> Option<Hit> {
        let kind = (scope, call.name.to_string(), call.input_hash);
        let succeeded = self.succeeded.get(&kind).copied();
        let remembered = self.calls.get(&(kind, call.occurrence))?;
        let is_edited = remembered.code.is_some_and(|code| code != call.code);
        if self.rerun_edited && is_edited {
            return None;
        }
        if let Some((start, _, first)) = remembered.items {
            return Some(Hit::Items { start, first });
        }
        if let Some(at) = remembered.success {
            return Some(Hit::Outcome(at));
        }
        match remembered.failure {
            Some((at, terminal)) => {
                let superseded = succeeded.is_some_and(|occurrence| occurrence > call.occurrence);
                (terminal || superseded || at_most_once).then_some(Hit::Outcome(at))
            }
            None => at_most_once.then_some(Hit::Began),
        }
    }

    /// Whether what is remembered of a call was found by other code than today's.
    pub fn is_edited(&self, scope: Scope, call: &TraceStarted) -> bool {
        let key = ((scope, call.name.to_string(), call.input_hash), call.occurrence);
        self.calls.get(&key).and_then(|remembered| remembered.code).is_some_and(|code| code != call.code)
    }

    /// The run that a child's call was in an earlier attempt.
    pub fn child(&self, call: &TraceStarted) -> Option<RunId> {
        let kind = (Scope::default(), call.name.to_string(), call.input_hash);
        self.calls.get(&(kind, call.occurrence))?.child
    }

    /// Takes the signals that nobody took.
    pub(super) fn take_signals(&mut self) -> FxHashMap<String, VecDeque<Payload>> {
        std::mem::take(&mut self.signals)
    }
}

/// Which signal a wait is for.
pub(super) fn signal_name(input: &Payload) -> String {
    #[derive(serde::Deserialize)]
    struct Wait {
        name: String,
    }
    input.decode::<Wait>().map(|wait| wait.name).unwrap_or_default()
}
