//! What a body does while it is polled: it calls traces, asks for their results, drops them.
//!
//! Called by the traces in the body (`run/trace`, `run/inline`), between [`Decision::Poll`](super::Decision::Poll) and
//! [`Replay::polled`].
//!
//! Invariant: what the log holds of the step is answered from it; what it does not hold is a new event where the step may
//! go on, and a divergence at its end where it may not.

use std::borrow::Cow;

use relive_storage::planted::{Planted, planted};

use crate::divergence::{CallSite, Side};
use crate::event::{Event, TraceCompleted, TraceForm, TraceOutcome, TraceStarted, TraceYielded};
use crate::id::{CodeHash, InputHash, RunId, Sequence, Timestamp};
use crate::known;
use crate::payload::Payload;

use super::expected::Answer;
use super::history::Rest;
use super::{Called, Handed, Hit, Keeps, NestedCall, Open, Replay, ReplayError, Scope, TraceIndex, Tries};

/// The answer to a start.
#[derive(Debug, PartialEq)]
pub struct Started {
    /// The trace's number.
    pub index: TraceIndex,
    /// The position of its `TraceStarted`; `None` if the log does not hold it where it should.
    pub sequence: Option<Sequence>,
    /// How many equal calls came before.
    pub occurrence: u32,
    /// The hash of its input.
    pub input_hash: InputHash,
    /// When it was called: first, if the log holds it.
    pub at: Timestamp,
    /// Whether the log held it: its effect may have begun.
    pub logged: bool,
    /// Whether an earlier attempt made the call, and this one goes on from when it did.
    pub is_kept: bool,
    /// Which run it is, if it is a task.
    pub child: Option<RunId>,
    /// Whether an earlier attempt called that run.
    pub is_repeated: bool,
    /// Of an inline trace with one outcome, what it returned before.
    pub recorded: Option<TraceOutcome>,
    /// What earlier attempts found.
    pub hit: Option<Hit>,
}

/// More of the log must be fed to answer: ask again then.
#[derive(Debug, PartialEq)]
pub struct NeedHistory;

impl Replay {
    /// The body calls a trace. `call.occurrence` is filled in here. `at_most_once`: earlier attempts' failures count.
    ///
    /// # Errors
    /// The call, if more of the log must be fed to answer.
    pub fn start(
        &mut self,
        call: impl Into<Box<TraceStarted>>,
        at_most_once: bool,
    ) -> Result<Started, Box<TraceStarted>> {
        self.start_keeping(call, at_most_once, Keeps::Nothing)
    }

    /// As [`Replay::start`], of a call whose time may have begun in an earlier attempt.
    ///
    /// # Errors
    /// As for [`Replay::start`].
    pub fn start_keeping(
        &mut self,
        call: impl Into<Box<TraceStarted>>,
        at_most_once: bool,
        keeps: Keeps,
    ) -> Result<Started, Box<TraceStarted>> {
        let mut call = call.into();
        let logged = if self.expected.is_some() {
            let key = self.key(&call);
            call.occurrence = key.map_or(0, |key| self.occurrences.get(&key).copied().unwrap_or(0));
            let logged = match self.expected.as_mut().map(|expected| expected.take(&call)) {
                Some(Ok(logged)) => logged,
                Some(Err(NeedHistory)) => return Err(call),
                None => None,
            };
            self.count(&call);
            // The log's next starts are probably like it.
            known::note(&call.name);
            known::note(&call.file);
            logged
        } else {
            // Nothing more is to be fed, so it is counted at once.
            call.occurrence = self.count(&call);
            None
        };
        let hit = if self.memo.is_empty() { None } else { self.remembered(Scope::default(), &call, at_most_once) };
        let (form, occurrence, is_live) = (call.form, call.occurrence, self.is_live());
        let index = TraceIndex(self.started_count);
        self.started_count += 1;
        let mut started = Started {
            index,
            sequence: None,
            occurrence,
            input_hash: call.input_hash,
            at: call.at,
            logged: logged.is_some(),
            is_kept: false,
            child: call.child,
            is_repeated: false,
            recorded: None,
            hit,
        };
        // Kept while there is history: to say what was dropped, if the body drops it and the log does not.
        // And of children: to say what the run depends on.
        let is_kept = (!form.is_inline() && !is_live) || call.child.is_some();
        let is_iterator = form == TraceForm::Iterator;
        let earlier = call.child.and_then(|_| self.memo.child(&call));
        let mut kept = match logged {
            Some(logged) => {
                self.edited |= logged.edited;
                started.sequence = Some(logged.sequence);
                started.at = logged.at;
                started.child = logged.child;
                started.recorded = logged.outcome;
                if started.recorded.is_some() {
                    self.asides.forget(logged.sequence);
                }
                Some(call)
            }
            None if self.may_append() => {
                if let Some(child) = earlier {
                    call.child = Some(child);
                    started.child = Some(child);
                }
                if let Some(at) = self.memo.made(Scope::default(), &call, keeps) {
                    (call.at, started.at, started.is_kept) = (at, at, true);
                }
                let kept = (is_kept || is_iterator).then(|| call.clone());
                started.sequence = Some(self.push(Event::TraceStarted(*call)));
                kept
            }
            None => {
                self.unexpected.push(Side::Call(CallSite::of(&call)));
                Some(call)
            }
        };
        started.is_repeated = earlier.is_some() && started.child == earlier;
        if let Some(kept) = &mut kept {
            kept.child = started.child;
        }
        if is_iterator
            && let Some(sequence) = started.sequence
            && let Some(call) = kept.take()
        {
            self.iterators.insert(sequence, call);
        }
        let kept = kept.filter(|_| is_kept);
        if !form.is_inline() {
            if let Some(sequence) = started.sequence
                && !is_live
            {
                self.by_sequence.insert(sequence, index);
            }
            let recall = match hit {
                Some(Hit::Outcome(at) | Hit::Items { first: at, .. }) => Some(at),
                Some(Hit::Began) | None => None,
            };
            self.recalls.extend(recall.map(|at| (at, index)));
            let sequence = started.sequence;
            let open = Open { sequence, call: kept, handed: None, granted: false, ended: false, recall, items: None };
            self.open.insert(index, open);
        }
        Ok(started)
    }

    /// An inline trace with one outcome, that was started live, returns this.
    pub fn completed_at_once(&mut self, completed: TraceCompleted) {
        self.asides.forget(completed.trace);
        self.iterators.remove(&completed.trace);
        self.push(Event::TraceCompleted(completed));
    }

    /// An iterator that is live hands this item on.
    pub fn yielded_at_once(&mut self, yielded: TraceYielded) {
        self.push(Event::TraceYielded(yielded));
    }

    /// What the log holds as an iterator's next answer; `None` if it is live.
    ///
    /// # Errors
    /// If more of the log must be fed to answer.
    pub fn answer(&mut self, trace: Sequence) -> Result<Option<Answer>, NeedHistory> {
        let Some(expected) = &mut self.expected else { return Ok(None) };
        match expected.take_answer(trace) {
            None if expected.rest == Rest::More => Err(NeedHistory),
            answer => {
                if let Some(Answer::End(_)) = answer {
                    self.asides.forget(trace);
                    self.iterators.remove(&trace);
                }
                Ok(answer)
            }
        }
    }

    /// Whether a plain function of the body's may run now, for the first time: the log holds nothing more that the body
    /// would have had to do before it.
    ///
    /// # Errors
    /// If the body does not fit the log. If this says `false`, the step may not go on beyond the log.
    pub fn may_run_inline(&mut self) -> Result<bool, ReplayError> {
        if !self.may_append() || !self.unexpected.is_empty() {
            return Ok(false);
        }
        if let Some(expected) = &self.expected
            && !expected.is_done()
        {
            self.compare(expected, None)?;
        }
        Ok(true)
    }

    /// Whether the step under way is read as far as the log goes.
    ///
    /// # Errors
    /// If the log contradicts itself.
    pub fn extend_step(&mut self) -> Result<bool, ReplayError> {
        let Some(expected) = &mut self.expected else { return Ok(true) };
        if expected.rest != Rest::More {
            return Ok(true);
        }
        match self.history.take_more() {
            Err(()) => return Ok(false),
            Ok(Some((piece, rest))) => expected.extend(piece, rest)?,
            // No more of this step: either the log ends in it, or the next step begins.
            Ok(None) if self.history.is_used() => expected.rest = Rest::OpenEnded,
            Ok(None) => expected.rest = Rest::Complete,
        }
        let end = expected.end.0;
        self.next_sequence = self.next_sequence.max(end);
        self.catch_up();
        Ok(true)
    }

    /// Whether the step under way is not read as far as the log goes.
    pub fn needs_more(&self) -> bool {
        self.expected.as_ref().is_some_and(|expected| expected.rest == Rest::More)
    }

    /// The body polls a trace: what it is handed, if it may be taken now.
    pub fn ask(&mut self, index: TraceIndex) -> Option<Handed> {
        let open = self.open.get_mut(&index)?;
        if open.granted {
            open.granted = false;
            let handed = open.handed.take().map(|(_, handed)| handed);
            if open.ended {
                self.open.remove(&index);
            } else if let Some(at) = open.recall {
                self.recalls.insert((at, index));
            }
            return handed;
        }
        if let Some((number, _)) = open.handed {
            self.asked.insert(number, index);
        }
        None
    }

    /// The body drops a trace that is not over. `completed` is called if that is to be recorded. Says whether the trace was
    /// awaited.
    ///
    /// # Errors
    /// If more of the log must be fed to answer.
    pub fn abandon(
        &mut self,
        index: TraceIndex,
        completed: impl FnOnce(Sequence) -> TraceCompleted,
    ) -> Result<(), NeedHistory> {
        let Some(open) = self.open.get(&index) else { return Ok(()) };
        if !open.ended
            && let (Some(sequence), Some(expected)) = (open.sequence, &mut self.expected)
        {
            if expected.take_drop(sequence) {
                self.asides.forget(sequence);
                self.close(index);
                return Ok(());
            }
            if expected.rest == Rest::More {
                return Err(NeedHistory);
            }
        }
        let Some(open) = self.close(index) else { return Ok(()) };
        let Some(sequence) = open.sequence.filter(|_| !open.ended) else { return Ok(()) };
        self.asides.forget(sequence);
        if self.may_append() {
            self.push(Event::TraceCompleted(completed(sequence)));
        } else if let Some(call) = open.call {
            self.unexpected.push(Side::Drop(CallSite::of(&call)));
        }
        Ok(())
    }

    fn close(&mut self, index: TraceIndex) -> Option<Open> {
        let open = self.open.remove(&index)?;
        if let Some((number, _)) = open.handed {
            self.asked.remove(&number);
        }
        if let Some(at) = open.recall {
            self.recalls.remove(&(at, index));
        }
        if let Some(sequence) = open.sequence {
            self.by_sequence.remove(&sequence);
        }
        Some(open)
    }

    /// The body drops an iterator that is not at its end.
    ///
    /// # Errors
    /// If more of the log must be fed to answer.
    pub fn abandon_inline(
        &mut self,
        trace: Sequence,
        completed: impl FnOnce(Sequence) -> TraceCompleted,
    ) -> Result<(), NeedHistory> {
        if let Some(expected) = &mut self.expected {
            if expected.take_drop(trace) {
                self.asides.forget(trace);
                self.iterators.remove(&trace);
                return Ok(());
            }
            if expected.rest == Rest::More {
                return Err(NeedHistory);
            }
        }
        let Some(call) = self.iterators.remove(&trace) else { return Ok(()) };
        self.asides.forget(trace);
        if self.may_append() {
            self.push(Event::TraceCompleted(completed(trace)));
        } else {
            self.unexpected.push(Side::Drop(CallSite::of(&call)));
        }
        Ok(())
    }

    /// How often a trace was tried before, if a try failed.
    pub fn tries(&self, trace: Sequence) -> Option<Tries> {
        self.asides.tries(trace)
    }

    /// Appends what is no part of a step: a retry, a signal.
    pub fn aside(&mut self, event: Event) -> Sequence {
        match &event {
            Event::TraceRetried(retried) => self.asides.retried(retried),
            Event::SignalReceived(received) => self.asides.received(received.clone()),
            _ => {}
        }
        self.push_aside(event)
    }

    /// The oldest signal of this name that nobody took.
    pub fn signal(&self, name: &str) -> Option<&Payload> {
        self.asides.signal(name)
    }

    /// When that signal was sent.
    pub fn signalled_at(&self, name: &str) -> Option<Timestamp> {
        self.asides.signalled_at(name)
    }

    /// All signals of this name that nobody took, the oldest first.
    pub fn signals(&self, name: &str) -> impl Iterator<Item = &Payload> {
        self.asides.signals(name)
    }

    /// A trace that the body called at this position waits for a signal of this name.
    pub fn awaits_signal(&mut self, start: Sequence, name: &str) {
        self.asides.awaits_signal(start, name);
    }

    /// Whether a wait takes a signal still: nothing was handed to it, and no earlier attempt has something for it.
    pub fn takes_signal(&self, index: TraceIndex) -> bool {
        self.open.get(&index).is_some_and(|open| !open.ended && open.recall.is_none())
    }

    /// A signal is handed to who waits for it.
    pub fn take_signal(&mut self, name: &str) {
        self.asides.take_signal(name);
    }

    /// An effect calls a trace: what was there before of that call.
    pub fn nested(&self, outer: Sequence, call: &TraceStarted) -> NestedCall {
        self.asides.nested(outer, call)
    }

    /// What earlier attempts found of a call in an effect.
    pub fn nested_hit(
        &mut self,
        scope: impl FnOnce() -> Scope,
        call: &TraceStarted,
        at_most_once: bool,
    ) -> Option<Hit> {
        if self.memo.is_empty() { None } else { self.remembered(scope(), call, at_most_once) }
    }

    /// When an earlier attempt made a call in an effect that had not ended.
    pub fn nested_made(&self, scope: impl FnOnce() -> Scope, call: &TraceStarted) -> Option<Timestamp> {
        if self.memo.is_empty() { None } else { self.memo.made(scope(), call, Keeps::Unended) }
    }

    /// What earlier attempts found of a call. If it is used, so is what they called for it.
    fn remembered(&mut self, scope: Scope, call: &TraceStarted, at_most_once: bool) -> Option<Hit> {
        let hit = self.memo.hit(scope, call, at_most_once)?;
        self.edited |= self.memo.is_edited(scope, call, at_most_once);
        for (name, code) in self.memo.called_within(scope, call) {
            self.note_used(&name, code, false);
        }
        Some(hit)
    }

    /// An effect calls a trace for the first time.
    pub fn nested_started(&mut self, call: TraceStarted) -> Sequence {
        let at = self.next_sequence();
        self.asides.started(at, &call);
        self.asides.called.clear();
        self.note_used(&call.name, call.code, false);
        self.push_aside(Event::TraceStarted(call))
    }

    /// What an effect called is over.
    pub fn nested_completed(&mut self, completed: TraceCompleted) {
        self.asides.completed(completed.trace, completed.outcome.clone());
        self.push_aside(Event::TraceCompleted(completed));
    }

    /// The name and input of a call, if such a call was made before.
    fn key(&self, call: &TraceStarted) -> Option<(u32, InputHash)> {
        Some((*self.names.get(&call.name)?, call.input_hash))
    }

    /// Counts a call; gives how many equal ones came before.
    fn count(&mut self, call: &TraceStarted) -> u32 {
        let name = self.note_used(&call.name, call.code, call.child.is_some());
        let count = self.occurrences.entry((name, call.input_hash)).or_insert(0);
        let before = *count;
        *count += u32::from(!planted(Planted::ReusedOccurrence));
        before
    }

    /// The number of a call's name. What effects call is used by the run, too.
    #[expect(clippy::ptr_arg, reason = "a name that the program holds is cloned without a copy")]
    pub(super) fn note_used(&mut self, name: &Cow<'static, str>, code: CodeHash, is_task: bool) -> u32 {
        // Most calls are of the same trace as the one before.
        if self.used.get(self.last_used as usize).is_some_and(|last| last.name == *name) {
            return self.last_used;
        }
        if let Some(number) = self.names.get(name) {
            self.last_used = *number;
            return *number;
        }
        let next = self.names.len() as u32;
        self.used.push(Called { name: name.clone(), code, is_task });
        self.names.insert(name.clone(), next);
        self.last_used = next;
        next
    }

    /// Whether the step under way may hold more than the log does.
    pub(super) fn may_append(&self) -> bool {
        self.is_open_ended()
    }
}
