//! What earlier attempts of a run found: what a new attempt need not find again.
//!
//! Filled from the events before the attempt's own; asked when the new attempt calls a trace. Holds where outcomes stand in
//! the log, not the outcomes.
//!
//! Invariant: by scope, name, input hash and occurrence, the latest success wins; a failure counts only if it is terminal,
//! or if a later call of the same kind succeeded, as the body has seen it and gone on.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::event::{Cause, Event, Rerun, TraceForm, TraceOutcome, TraceStarted};
use crate::id::{CodeHash, InputHash, RunId, Sequence, Timestamp};
use crate::payload::Payload;

use super::aside::Signals;

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
    /// Its latest success.
    success: Option<Found>,
    /// Its latest failure, and whether that is terminal.
    failure: Option<(Found, bool)>,
    /// Items that a stream or an iterator handed on before it was interrupted, and how many.
    interrupted: Option<(Found, u64)>,
    child: Option<RunId>,
    /// When it was made, if it has not come to its end since.
    made: Option<Made>,
}

/// When a call was made that has not ended.
#[derive(Clone, Copy, Debug)]
struct Made {
    at: Timestamp,
    /// The body dropped it: something else was faster, or failed.
    is_dropped: bool,
}

/// Which moment of an earlier attempt a call goes on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeps {
    /// None: it is made now.
    #[default]
    Nothing,
    /// That of the same call, if that had not ended: what had ended begins anew, and so does its time.
    Unended,
    /// That of the same call, also if the body dropped it: a term is a term.
    First,
}

impl Remembered {
    /// Forgets what other code than this found.
    fn keep_code(&mut self, code: CodeHash) {
        self.success = self.success.filter(|found| found.code == code);
        self.failure = self.failure.filter(|(found, _)| found.code == code);
        self.interrupted = self.interrupted.filter(|(found, _)| found.code == code);
    }
}

/// Something that an earlier attempt found.
#[derive(Clone, Copy, Debug)]
struct Found {
    hit: Hit,
    /// The code that found it first.
    code: CodeHash,
}

/// A call of the attempt that is read.
#[derive(Clone, Debug)]
struct OpenCall {
    kind: Kind,
    occurrence: u32,
    form: TraceForm,
    /// The code that was called; of what is repeated, the code that found it.
    code: CodeHash,
    item_count: u64,
    first_item: Sequence,
    is_nested: bool,
    /// Some of what it handed on was an earlier attempt's.
    repeats: bool,
}

impl OpenCall {
    /// What was found: the outcome at this position, behind its items if there are any.
    fn found(&self, start: Sequence, at: Sequence) -> Found {
        let has_items = matches!(self.form, TraceForm::Stream | TraceForm::Iterator) && self.item_count > 0;
        let hit = if has_items { Hit::Items { start, first: self.first_item } } else { Hit::Outcome(at) };
        Found { hit, code: self.code }
    }
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
    /// What the effects of this attempt's calls call in, and the call that theirs is in.
    scopes: FxHashMap<Sequence, (Scope, Option<Sequence>)>,
    /// What was called in a scope, or in what was called there: each trace once, with each code it had.
    called: FxHashMap<Scope, Vec<(Cow<'static, str>, CodeHash)>>,
    signals: Signals,
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
                self.repeats(yielded.trace, yielded.repeats);
                if let Some(call) = self.open.get_mut(&yielded.trace) {
                    if call.item_count == 0 {
                        call.first_item = at;
                    }
                    call.item_count += 1;
                }
            }
            Event::TraceCompleted(completed) => self.completed(at, completed),
            Event::SignalReceived(received) => {
                self.signals.entry(received.name.clone()).or_default().push_back((received.value.clone(), received.at));
            }
            Event::TraceRetried(retried) => {
                // A wait for a signal set the oldest one aside.
                if let Some(name) = self.signal_waits.get(&retried.trace) {
                    Self::take_signal(&mut self.signals, name);
                }
            }
        }
    }

    fn started(&mut self, at: Sequence, started: &TraceStarted) {
        let (scope, _) = started.within.and_then(|outer| self.scopes.get(&outer).copied()).unwrap_or_default();
        let own = scope.within(&started.name, started.input_hash, started.occurrence);
        self.scopes.insert(at, (own, started.within));
        let mut outer = started.within;
        while let Some((scope, next)) = outer.and_then(|outer| self.scopes.get(&outer)) {
            let called = self.called.entry(*scope).or_default();
            if !called.iter().any(|(name, code)| *name == started.name && *code == started.code) {
                called.push((started.name.clone(), started.code));
            }
            outer = *next;
        }
        if started.name == SIGNAL {
            self.signal_waits.insert(at, signal_name(&started.input));
        }
        let kind = (scope, started.name.to_string(), started.input_hash);
        let remembered = self.calls.entry((kind.clone(), started.occurrence)).or_default();
        if self.rerun_edited {
            remembered.keep_code(started.code);
        }
        if started.child.is_some() {
            remembered.child = started.child;
        }
        // If it went on from an earlier attempt's moment, that is what it says.
        remembered.made = Some(Made { at: started.at, is_dropped: false });
        self.open.insert(
            at,
            OpenCall {
                kind,
                occurrence: started.occurrence,
                form: started.form,
                code: started.code,
                item_count: 0,
                first_item: at,
                is_nested: started.within.is_some(),
                repeats: false,
            },
        );
    }

    /// What a call repeats was found by the code that found it first.
    fn repeats(&mut self, trace: Sequence, repeated: Option<Sequence>) {
        let (Some(_), Some(call)) = (repeated, self.open.get_mut(&trace)) else { return };
        if let Some(remembered) = self.calls.get(&(call.kind.clone(), call.occurrence)) {
            let failure = remembered.failure.map(|(found, _)| found);
            let interrupted = remembered.interrupted.map(|(found, _)| found);
            call.repeats = true;
            call.code = remembered.success.or(failure).or(interrupted).map_or(call.code, |found| found.code);
        }
    }

    fn completed(&mut self, at: Sequence, completed: &crate::event::TraceCompleted) {
        self.repeats(completed.trace, completed.repeats);
        let Some(call) = self.open.remove(&completed.trace) else { return };
        if call.is_nested {
            // Called again in the next try of its effect, it ends once more.
            self.open.insert(completed.trace, call.clone());
        }
        if completed.outcome != TraceOutcome::Dropped
            && completed.repeats.is_none()
            && let Some(name) = self.signal_waits.remove(&completed.trace)
        {
            Self::take_signal(&mut self.signals, &name);
        }
        let key = (call.kind.clone(), call.occurrence);
        let remembered = self.calls.entry(key).or_default();
        match &completed.outcome {
            TraceOutcome::Dropped => remembered.made = remembered.made.map(|made| Made { is_dropped: true, ..made }),
            _ => remembered.made = None,
        }
        match &completed.outcome {
            TraceOutcome::Ok(_) => {
                remembered.success = Some(call.found(completed.trace, at));
                let highest = self.succeeded.entry(call.kind).or_default();
                *highest = (*highest).max(call.occurrence);
            }
            TraceOutcome::Err(record) => {
                remembered.failure = Some((call.found(completed.trace, at), record.terminal));
                // A stream that failed starts anew.
                remembered.interrupted = None;
            }
            TraceOutcome::Dropped => Self::interrupted(remembered, completed.trace, &call),
        }
    }

    fn take_signal(signals: &mut Signals, name: &str) {
        if let Some(values) = signals.get_mut(name) {
            values.pop_front();
        }
    }

    /// A call that ended without an outcome: what a stream handed on stays.
    fn interrupted(remembered: &mut Remembered, start: Sequence, call: &OpenCall) {
        let known = remembered.interrupted.map_or(0, |(_, count)| count);
        // Interrupted while it repeated a failure, it is that failure still.
        let is_failure = call.repeats && remembered.failure.is_some();
        if call.item_count > 0 && call.item_count >= known && !is_failure {
            remembered.interrupted = Some((call.found(start, start), call.item_count));
            remembered.failure = None;
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
        if *cause != Cause::Retried {
            // An attempt that follows by itself is of the same request.
            self.rerun_edited = false;
        }
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
        let (hit, code) = self.find(scope, call, at_most_once)?;
        let is_edited = code.is_some_and(|code| code != call.code);
        (!self.rerun_edited || !is_edited).then_some(hit)
    }

    /// Whether what [`Memo::hit`] gives for a call was found by other code than today's.
    pub fn is_edited(&self, scope: Scope, call: &TraceStarted, at_most_once: bool) -> bool {
        let found = self.find(scope, call, at_most_once);
        found.and_then(|(_, code)| code).is_some_and(|code| code != call.code)
    }

    fn find(&self, scope: Scope, call: &TraceStarted, at_most_once: bool) -> Option<(Hit, Option<CodeHash>)> {
        let kind = (scope, call.name.to_string(), call.input_hash);
        let succeeded = self.succeeded.get(&kind).copied();
        let remembered = self.calls.get(&(kind, call.occurrence))?;
        let counts = |terminal| terminal || at_most_once || succeeded.is_some_and(|latest| latest > call.occurrence);
        let failure = remembered.failure.filter(|(_, terminal)| counts(*terminal)).map(|(found, _)| found);
        let interrupted = remembered.interrupted.map(|(found, _)| found);
        match remembered.success.or(failure).or(interrupted) {
            Some(found) => Some((found.hit, Some(found.code))),
            None => at_most_once.then_some((Hit::Began, None)),
        }
    }

    /// When an earlier attempt made a call, if this one goes on from there.
    pub fn made(&self, scope: Scope, call: &TraceStarted, keeps: Keeps) -> Option<Timestamp> {
        if keeps == Keeps::Nothing || self.calls.is_empty() {
            return None;
        }
        let kind = (scope, call.name.to_string(), call.input_hash);
        let made = self.calls.get(&(kind, call.occurrence))?.made?;
        (keeps == Keeps::First || !made.is_dropped).then_some(made.at)
    }

    /// What the effect of a call called, and what that called, with the code it had then.
    pub(super) fn called_within(&self, scope: Scope, call: &TraceStarted) -> Vec<(Cow<'static, str>, CodeHash)> {
        let own = scope.within(&call.name, call.input_hash, call.occurrence);
        self.called.get(&own).cloned().unwrap_or_default()
    }

    /// The run that a child's call was in an earlier attempt.
    pub fn child(&self, call: &TraceStarted) -> Option<RunId> {
        let kind = (Scope::default(), call.name.to_string(), call.input_hash);
        self.calls.get(&(kind, call.occurrence))?.child
    }

    /// Takes the signals that nobody took.
    pub(super) fn take_signals(&mut self) -> Signals {
        std::mem::take(&mut self.signals)
    }
}

/// Which signal a wait is for.
pub(super) fn signal_name(input: &Payload) -> String {
    // A map in every codec: bincode reads no struct from what was written as a map.
    let mut arguments = input.decode::<BTreeMap<String, String>>().unwrap_or_default();
    arguments.remove("name").unwrap_or_default()
}
