//! Replays a run and keeps it replayable: history in, decisions out.
//!
//! Driven by `run`, which polls the body and runs effects; calls nothing. No I/O, no clock, no randomness, no tokio.
//!
//! The driver asks [`Replay::next`] what to do and does it. While it polls the body, the body's traces call
//! [`Replay::start`], [`Replay::ask`] and [`Replay::abandon`]. As long as there is history, deliveries come from it and
//! what the body starts must be what it started before; when it is used up, the run is live: deliveries come from
//! effects, and each step comes out as events to append.
//!
//! Invariants: the same history and the same answers of the body yield the same decisions; at most one trace is ready in
//! any poll; within a step the order of starts carries no meaning.

mod compare;
mod expected;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;

use crate::divergence::{CallSite, Divergence, Side};
use crate::event::{Batch, Event, TaskCompleted, TraceCompleted, TraceOutcome, TraceStarted};
use crate::id::{CodeHash, InputHash, RunId, Sequence};

use self::expected::Expected;

/// A trace of this pass over the body: its number, counted from 0 in the order of starts. Not on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceIndex(pub u64);

/// What the driver has to do next.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// Give the next batch to [`Replay::feed`], or say [`Replay::end_history`].
    NeedHistory,
    /// Wake this trace's waker, if any; poll the body until it rests; tell [`Replay::polled`].
    Poll {
        /// The trace whose result may now be taken.
        wake: Option<TraceIndex>,
    },
    /// Append these events as one settled batch; then ask again.
    Append {
        /// The position of the first.
        first: Sequence,
        /// What to append.
        events: Vec<Event>,
    },
    /// The run is live: wait for an effect and tell [`Replay::completed`].
    Wait,
    /// The attempt is over. Nothing follows.
    Finished(TaskCompleted),
}

/// Why a run cannot go on from its log. The log is as it was.
#[derive(Debug, PartialEq)]
pub enum ReplayError {
    /// The body does not do what the log holds.
    Diverged(Box<Divergence>),
    /// The log contradicts itself.
    Impossible {
        /// The event that cannot be there.
        sequence: Sequence,
        /// Why not.
        why: String,
    },
}

/// The answer to a start.
#[derive(Debug, PartialEq)]
pub struct Started {
    /// The trace's number.
    pub index: TraceIndex,
    /// The position of its `TraceStarted`; `None` if the log does not hold it where it should.
    pub sequence: Option<Sequence>,
    /// How many equal calls came before.
    pub occurrence: u32,
    /// Of an immediate trace, what it returned before.
    pub recorded: Option<TraceOutcome>,
}

/// One run, as far as it has come.
#[derive(Debug)]
pub struct Replay {
    run: RunId,
    task: Cow<'static, str>,
    history: VecDeque<Batch>,
    history_ended: bool,
    phase: Phase,
    /// What the log holds of the step under way; `None` once the run is live.
    expected: Option<Expected>,
    /// What the body did in the step under way that the log does not hold yet.
    pending: Vec<Event>,
    /// Starts and drops that the log should hold and does not.
    unexpected: Vec<Side>,
    next_sequence: u64,
    started_count: u64,
    open: FxHashMap<TraceIndex, Open>,
    /// Traces that await a delivery, by the position of their start. Only while there is history.
    by_sequence: FxHashMap<Sequence, TraceIndex>,
    occurrences: FxHashMap<(u32, InputHash), u32>,
    names: FxHashMap<Cow<'static, str>, u32>,
    /// The traces that the body called, by `names`, with the code they have now.
    used: Vec<(Cow<'static, str>, CodeHash)>,
    edited: bool,
    /// Delivered, not taken, and asked for: by the order of their deliveries.
    asked: BTreeMap<u64, TraceIndex>,
    delivered_count: u64,
}

/// A trace that the body holds.
#[derive(Debug)]
struct Open {
    sequence: Option<Sequence>,
    call: Option<Box<TraceStarted>>,
    outcome: Option<TraceOutcome>,
    delivered: Option<u64>,
    granted: bool,
}

#[derive(Debug, PartialEq)]
enum Phase {
    /// Between steps.
    Rest,
    /// The body is to be polled, and may take the result of this trace.
    Polling { granted: Option<TraceIndex> },
    /// The step is settled; its events are to be appended.
    Settled(Option<TaskCompleted>),
    /// The attempt is over.
    Over(Box<TaskCompleted>),
}

impl Replay {
    /// A run whose log is to be fed.
    pub fn new(run: RunId, task: Cow<'static, str>) -> Self {
        Self {
            run,
            task,
            history: VecDeque::new(),
            history_ended: false,
            phase: Phase::Rest,
            expected: None,
            pending: Vec::new(),
            unexpected: Vec::new(),
            next_sequence: 0,
            started_count: 0,
            open: FxHashMap::default(),
            by_sequence: FxHashMap::default(),
            occurrences: FxHashMap::default(),
            names: FxHashMap::default(),
            used: Vec::new(),
            edited: false,
            asked: BTreeMap::new(),
            delivered_count: 0,
        }
    }

    /// A run without a log: its first batch begins with `first`.
    pub fn fresh(run: RunId, task: Cow<'static, str>, first: Event) -> Self {
        let mut replay = Self::new(run, task);
        replay.history_ended = true;
        replay.pending.push(first);
        replay.phase = Phase::Polling { granted: None };
        replay
    }

    /// Gives the next batch of the log.
    pub fn feed(&mut self, batch: Batch) {
        self.history.push_back(batch);
    }

    /// Says that the log holds no more.
    pub fn end_history(&mut self) {
        self.history_ended = true;
    }

    /// Whether deliveries come from effects: all of the log has been used.
    pub fn is_live(&self) -> bool {
        self.expected.is_none() && self.history_ended && self.history.is_empty()
    }

    /// Whether the body did something since the last settled step.
    pub fn is_dirty(&self) -> bool {
        !self.pending.is_empty() || !self.unexpected.is_empty() || !self.asked.is_empty()
    }

    /// Where the engine may end the attempt, and what has to go before that: of a fresh run, its beginning. Whatever else
    /// the body did since the last step is forgotten.
    pub fn imposed(&mut self) -> (Sequence, Vec<Event>) {
        let mut events = std::mem::take(&mut self.pending);
        events.truncate(usize::from(self.next_sequence == 0));
        (Sequence(self.next_sequence), events)
    }

    /// Whether the step under way may go on beyond the log: it is live, or the log's last and not whole.
    pub fn is_open_ended(&self) -> bool {
        self.may_append() && self.history_ended && self.history.is_empty()
    }

    /// The position of the next event to be appended.
    pub fn next_sequence(&self) -> Sequence {
        Sequence(self.next_sequence)
    }

    /// What to do next.
    ///
    /// # Errors
    /// If the body does not fit the log, or the log contradicts itself. The replay is of no use then.
    #[expect(clippy::should_implement_trait, reason = "it fails, and it never ends by itself")]
    pub fn next(&mut self) -> Result<Decision, ReplayError> {
        let is_live = self.is_live();
        match &mut self.phase {
            Phase::Rest if is_live => Ok(Decision::Wait),
            Phase::Rest => self.begin_step(),
            Phase::Polling { granted } => Ok(Decision::Poll { wake: *granted }),
            Phase::Settled(finish) => {
                self.phase = match finish.take() {
                    Some(completed) => Phase::Over(Box::new(completed)),
                    None => Phase::Rest,
                };
                let events = std::mem::take(&mut self.pending);
                if events.is_empty() {
                    return self.next();
                }
                Ok(Decision::Append { first: Sequence(self.next_sequence - events.len() as u64), events })
            }
            Phase::Over(completed) => Ok(Decision::Finished(completed.as_ref().clone())),
        }
    }

    /// The body rests (`None`), or has finished.
    ///
    /// # Errors
    /// As for [`Replay::next`]: at the end of a step, what the body did is compared with the log.
    pub fn polled(&mut self, finish: Option<TaskCompleted>) -> Result<(), ReplayError> {
        let Phase::Polling { granted } = self.phase else {
            unreachable!("the body is polled only when that was decided")
        };
        if let Some(open) = granted.and_then(|index| self.open.get_mut(&index)) {
            open.granted = false;
        }
        if finish.is_none()
            && let Some((_, index)) = self.asked.pop_first()
        {
            self.grant(index);
            return Ok(());
        }
        self.settle(finish)
    }

    /// The body calls a trace. `call.occurrence` is filled in here.
    pub fn start(&mut self, mut call: TraceStarted) -> Started {
        let occurrence = self.count(&call);
        call.occurrence = occurrence;
        let index = TraceIndex(self.started_count);
        self.started_count += 1;
        let (immediate, is_live) = (call.form.is_inline(), self.is_live());
        let logged = self.expected.as_mut().and_then(|expected| expected.take(&call));
        // Kept while there is history: to say what was dropped, if the body drops it and the log does not.
        let kept = (!immediate && !is_live).then(|| Box::new(call.clone()));
        let (sequence, recorded) = match logged {
            Some(logged) => {
                self.edited |= logged.edited;
                (Some(logged.sequence), logged.outcome)
            }
            None if self.may_append() => {
                let sequence = Sequence(self.next_sequence + self.pending.len() as u64);
                self.pending.push(Event::TraceStarted(call));
                (Some(sequence), None)
            }
            None => {
                self.unexpected.push(Side::Call(CallSite::of(&call)));
                (None, None)
            }
        };
        if !immediate {
            if let Some(sequence) = sequence
                && !is_live
            {
                self.by_sequence.insert(sequence, index);
            }
            self.open.insert(index, Open { sequence, call: kept, outcome: None, delivered: None, granted: false });
        }
        Started { index, sequence, occurrence, recorded }
    }

    /// An immediate trace that was started live returns this.
    pub fn completed_at_once(&mut self, completed: TraceCompleted) {
        self.pending.push(Event::TraceCompleted(completed));
    }

    /// The body polls a trace: its outcome, if it may be taken now.
    pub fn ask(&mut self, index: TraceIndex) -> Option<TraceOutcome> {
        let open = self.open.get_mut(&index)?;
        if open.granted {
            let outcome = open.outcome.take();
            self.open.remove(&index);
            return outcome;
        }
        if let Some(delivered) = open.delivered {
            self.asked.insert(delivered, index);
        }
        None
    }

    /// The body drops a trace that it has not taken the outcome of. `completed` is called if that is to be recorded.
    pub fn abandon(&mut self, index: TraceIndex, completed: impl FnOnce(Sequence) -> TraceCompleted) {
        let Some(open) = self.open.remove(&index) else { return };
        if let Some(delivered) = open.delivered {
            self.asked.remove(&delivered);
            return;
        }
        let Some(sequence) = open.sequence else { return };
        self.by_sequence.remove(&sequence);
        if self.expected.as_mut().is_some_and(|expected| expected.take_drop(sequence)) {
            return;
        }
        if self.may_append() {
            self.pending.push(Event::TraceCompleted(completed(sequence)));
        } else if let Some(call) = open.call {
            self.unexpected.push(Side::Drop(CallSite::of(&call)));
        }
    }

    /// An effect ended: hands its outcome to the body. Only when the run is live and between steps.
    pub fn completed(&mut self, index: TraceIndex, completed: TraceCompleted) {
        assert!(self.is_live() && self.phase == Phase::Rest, "a delivery begins a step of a live run");
        let outcome = completed.outcome.clone();
        self.pending.push(Event::TraceCompleted(completed));
        self.hand_over(index, outcome);
    }

    /// The position of the start of a trace, as long as the body awaits its delivery.
    pub fn awaited(&self, index: TraceIndex) -> Option<Sequence> {
        self.open.get(&index).filter(|open| open.delivered.is_none())?.sequence
    }

    /// The traces that the body has called, with their code; `None` if the log holds a call of other code than today's.
    pub fn used_traces(&self) -> Option<&[(Cow<'static, str>, CodeHash)]> {
        (!self.edited).then_some(&self.used)
    }

    fn count(&mut self, call: &TraceStarted) -> u32 {
        let next = self.names.len() as u32;
        let name = match self.names.get(&call.name) {
            Some(name) => *name,
            None => {
                self.used.push((call.name.clone(), call.code));
                self.names.insert(call.name.clone(), next);
                next
            }
        };
        let counter = self.occurrences.entry((name, call.input_hash)).or_insert(0);
        let occurrence = *counter;
        *counter += 1;
        occurrence
    }

    /// Whether the step under way may hold more than the log does.
    fn may_append(&self) -> bool {
        self.expected.as_ref().is_none_or(|expected| !expected.settled)
    }

    /// Takes the next step from the history.
    fn begin_step(&mut self) -> Result<Decision, ReplayError> {
        // A step is whole when it is settled, when the next batch begins another, or when there is no more.
        let begins = |batch: &Batch| batch.events.first().is_some_and(expected::begins_step);
        let settled = self.history.iter().position(|batch| batch.settled).map(|index| index + 1);
        let next = self.history.iter().skip(1).position(begins).map(|index| index + 1);
        let batch_count = match (settled, next) {
            (Some(settled), Some(next)) => settled.min(next),
            (Some(count), None) | (None, Some(count)) => count,
            (None, None) if self.history_ended => self.history.len(),
            (None, None) => return Ok(Decision::NeedHistory),
        };
        let first_of_log = self.next_sequence == 0;
        let step = Expected::of(self.history.drain(..batch_count), Sequence(self.next_sequence), first_of_log)?;
        let expected::Step { expected, delivery, imposed, next_sequence } = step;
        self.next_sequence = next_sequence.0;
        if let Some(completed) = imposed {
            self.phase = Phase::Over(Box::new(completed));
            return self.next();
        }
        if !expected.settled
            && let Some(Batch { events, .. }) = self.history.front()
            && let Some(Event::TaskCompleted(completed)) = events.first()
            && completed.imposed
        {
            // The body was never polled, or its step never ended.
            self.phase = Phase::Over(Box::new(completed.clone()));
            return self.next();
        }
        self.expected = Some(expected);
        let Some((at, completed)) = delivery else {
            self.phase = Phase::Polling { granted: None };
            return self.next();
        };
        let Some(index) = self.by_sequence.remove(&completed.trace) else {
            return Err(ReplayError::Impossible {
                sequence: at,
                why: format!("it completes event {}, which is no trace that awaits its result", completed.trace),
            });
        };
        self.hand_over(index, completed.outcome);
        self.next()
    }

    fn hand_over(&mut self, index: TraceIndex, outcome: TraceOutcome) {
        if let Some(open) = self.open.get_mut(&index) {
            open.outcome = Some(outcome);
            open.delivered = Some(self.delivered_count);
            open.call = None;
            self.delivered_count += 1;
        }
        self.grant(index);
    }

    fn grant(&mut self, index: TraceIndex) {
        if let Some(open) = self.open.get_mut(&index) {
            open.granted = true;
        }
        self.phase = Phase::Polling { granted: Some(index) };
    }

    /// The end of a step: compares what the body did with what the log holds.
    fn settle(&mut self, finish: Option<TaskCompleted>) -> Result<(), ReplayError> {
        self.asked.clear();
        if let Some(expected) = self.expected.take() {
            self.compare(&expected, finish.as_ref())?;
            if let Some(completed) = expected.finish {
                self.phase = Phase::Over(Box::new(completed));
                return Ok(());
            }
        }
        if let Some(completed) = &finish {
            self.pending.push(Event::TaskCompleted(completed.clone()));
        }
        if self.is_live() {
            // No more deliveries come from the log.
            self.by_sequence = FxHashMap::default();
        }
        self.next_sequence += self.pending.len() as u64;
        self.phase = Phase::Settled(finish);
        Ok(())
    }
}
