//! Replays a run and keeps it replayable: history in, decisions out.
//!
//! Driven by `run`, which polls the body and runs effects; calls nothing. No I/O, no clock, no randomness, no tokio.
//!
//! The driver asks [`Replay::next`] what to do and does it. While it polls the body, the body's traces call
//! [`Replay::start`], [`Replay::ask`] and [`Replay::abandon`] (`replay/body.rs`). As long as there is history, deliveries
//! come from it and what the body starts must be what it started before; when it is used up, the run is live: deliveries
//! come from earlier attempts ([`Memo`]), then from effects, and each step comes out as events to append.
//!
//! Invariants: the same history and the same answers of the body yield the same decisions; at most one trace is ready in
//! any poll; within a step the order of starts carries no meaning.

mod aside;
mod body;
mod compare;
mod expected;
mod history;
mod memo;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::divergence::{Divergence, Side};
use crate::event::{Batch, Event, TaskCompleted, TraceCompleted, TraceOutcome, TraceStarted, TraceYielded};
use crate::few::Few;
use crate::id::{CodeHash, InputHash, RunId, Sequence};
use crate::payload::Payload;

pub use self::aside::{NestedCall, Tries};
pub use self::body::{NeedHistory, Started};
pub use self::expected::Answer;
use self::expected::{Begun, Delivery, Expected};
use self::history::{History, Piece, Rest};
use self::memo::signal_name;
pub use self::memo::{Hit, Keeps, Memo, SIGNAL, SLEEP, Scope};

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
    /// Append what [`Replay::take_pending`] gives as the end of a step; then ask again.
    Append,
    /// The run is live: read this event of an earlier attempt and tell [`Replay::completed`] or [`Replay::yielded`] that it
    /// happened again.
    Recall {
        /// Which trace it is for.
        index: TraceIndex,
        /// Which event.
        at: Sequence,
    },
    /// The run is live: wait for an effect and tell [`Replay::completed`] or [`Replay::yielded`].
    Wait,
    /// The attempt is over. Nothing follows.
    Finished(Box<TaskCompleted>),
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

/// What is handed to the body.
#[derive(Clone, Debug, PartialEq)]
pub enum Handed {
    /// The trace is over.
    Outcome(TraceOutcome),
    /// An item of a stream.
    Item(Payload),
}

/// One attempt of a run, as far as it has come.
#[derive(Debug)]
pub struct Replay {
    run: RunId,
    task: Cow<'static, str>,
    history: History,
    phase: Phase,
    /// Whether the attempt's first step was begun.
    begun: bool,
    /// What the log holds of the step under way; `None` once the run is live.
    expected: Option<Box<Expected>>,
    /// Memory of the step before, for the next one.
    spare: Option<Box<Expected>>,
    /// Memory for the pieces of a step; empty between calls.
    pieces: Vec<Piece>,
    /// What is not appended yet: what the body did in the step under way that the log does not hold, and what came beside.
    pending: Vec<Event>,
    /// How many of them the body did.
    own_count: usize,
    /// Starts and drops that the log should hold and does not.
    unexpected: Vec<Side>,
    next_sequence: u64,
    started_count: u64,
    open: Few<TraceIndex, Open>,
    /// Traces that await a delivery, by the position of their start. Only while there is history.
    by_sequence: Few<Sequence, TraceIndex>,
    /// Iterators that are not at their end.
    iterators: FxHashMap<Sequence, Box<TraceStarted>>,
    occurrences: FxHashMap<(u32, InputHash), u32>,
    names: FxHashMap<Cow<'static, str>, u32>,
    /// The traces and tasks that the body called, by `names`, with the code they have now.
    used: Vec<Called>,
    /// The number of the name that was called last.
    last_used: u32,
    edited: bool,
    /// Children whose results were handed over since this was last asked: their calls and results.
    children: Vec<(TraceStarted, Payload)>,
    /// Whether a child failed, or was cancelled: what that depends on is not known.
    child_failed: bool,
    /// Delivered, not taken, and asked for: by the order of their deliveries.
    asked: BTreeMap<u64, TraceIndex>,
    delivered_count: u64,
    asides: aside::Asides,
    memo: Memo,
    /// What earlier attempts delivered and this one asked for, in their order.
    recalls: BTreeSet<(Sequence, TraceIndex)>,
}

/// A trace or task that a body called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// Its name.
    pub name: Cow<'static, str>,
    /// The code it has now.
    pub code: CodeHash,
    /// Whether it is a task: a child run.
    pub is_task: bool,
}

/// A trace that the body holds.
#[derive(Debug)]
struct Open {
    sequence: Option<Sequence>,
    call: Option<Box<TraceStarted>>,
    /// What was delivered and not taken, with its number among all deliveries.
    handed: Option<(u64, Handed)>,
    granted: bool,
    /// Its outcome was delivered.
    ended: bool,
    /// What an earlier attempt delivered next.
    recall: Option<Sequence>,
    /// Of a stream: how far it has come.
    items: Option<Box<Items>>,
}

/// How far a stream has come.
#[derive(Debug, Default)]
struct Items {
    count: u64,
    /// Over all items that did not come from this life's source.
    digest: blake3::Hasher,
}

/// What a source must skip, if it cannot be told where to go on.
#[derive(Clone, Debug, Default)]
pub struct HandedOn {
    /// How many items were handed on.
    pub count: u64,
    /// Over them, as [`digest`] adds each.
    pub digest: blake3::Hasher,
}

/// Adds an item to a digest over the items of a stream.
pub fn digest(hasher: &mut blake3::Hasher, item: &Payload) {
    hasher.update(&(item.bytes().len() as u64).to_le_bytes());
    hasher.update(item.bytes());
}

#[derive(Debug, PartialEq)]
enum Phase {
    /// Between steps.
    Rest,
    /// The body is to be polled, and may take the result of this trace.
    Polling { granted: Option<TraceIndex> },
    /// The step is settled; what is pending is to be appended.
    Settled(Option<Box<TaskCompleted>>),
    /// The attempt is over.
    Over(Box<TaskCompleted>),
}

impl Replay {
    /// An attempt whose part of the log is to be fed.
    pub fn new(run: RunId, task: Cow<'static, str>, memo: Memo) -> Self {
        let mut memo = memo;
        Self {
            run,
            task,
            history: History::default(),
            phase: Phase::Rest,
            begun: false,
            expected: None,
            spare: None,
            pieces: Vec::new(),
            pending: Vec::new(),
            own_count: 0,
            unexpected: Vec::new(),
            next_sequence: 0,
            started_count: 0,
            open: Few::default(),
            by_sequence: Few::default(),
            iterators: FxHashMap::default(),
            occurrences: FxHashMap::default(),
            names: FxHashMap::default(),
            used: Vec::new(),
            last_used: 0,
            edited: false,
            children: Vec::new(),
            child_failed: false,
            asked: BTreeMap::new(),
            delivered_count: 0,
            asides: aside::Asides::with_signals(memo.take_signals()),
            memo,
            recalls: BTreeSet::new(),
        }
    }

    /// An attempt that is not in the log yet: its first batch begins with `first`, at this position.
    pub fn fresh(run: RunId, task: Cow<'static, str>, memo: Memo, at: Sequence, first: Event) -> Self {
        let mut replay = Self::new(run, task, memo);
        replay.history = History::ended();
        replay.next_sequence = at.0;
        replay.begun = true;
        replay.push(first);
        replay.phase = Phase::Polling { granted: None };
        replay
    }

    /// Gives the next batch of the log.
    pub fn feed(&mut self, batch: Batch) {
        self.history.feed(batch, &mut self.asides);
        for (name, code) in std::mem::take(&mut self.asides.called) {
            self.note_used(&name, code, false);
        }
    }

    /// Says that the log holds no more.
    pub fn end_history(&mut self) {
        self.history.end();
        self.catch_up();
    }

    /// Once all is used, what is appended stands behind all of it.
    fn catch_up(&mut self) {
        if self.history.is_used() {
            self.next_sequence = self.next_sequence.max(self.history.end_of_log().0);
        }
    }

    /// Whether deliveries come from effects: all of the log has been used.
    pub fn is_live(&self) -> bool {
        self.begun && self.expected.is_none() && self.history.is_used()
    }

    /// Whether the body did something since the last settled step.
    pub fn is_dirty(&self) -> bool {
        self.own_count > 0 || !self.unexpected.is_empty() || !self.asked.is_empty()
    }

    /// Whether the step under way may go on beyond the log: it is live, or the log's last and not whole.
    pub fn is_open_ended(&self) -> bool {
        self.history.is_used() && self.expected.as_ref().is_none_or(|expected| expected.rest == Rest::OpenEnded)
    }

    /// Whether no step is under way: what is pending can be appended by itself.
    pub fn is_between_steps(&self) -> bool {
        self.phase == Phase::Rest && self.is_live()
    }

    /// The position of the next event to be appended.
    pub fn next_sequence(&self) -> Sequence {
        Sequence(self.next_sequence + self.pending.len() as u64)
    }

    /// Where the attempt may be ended by the engine: what has to go before that is the attempt's beginning, if it is not
    /// appended. Whatever else the body did since the last step is forgotten.
    pub fn impose(&mut self, completed: TaskCompleted) {
        let begins = matches!(self.pending.first(), Some(Event::TaskStarted(_)));
        self.pending.truncate(usize::from(begins));
        self.own_count = self.pending.len();
        self.push(Event::TaskCompleted(completed.clone()));
        // What effects do from here on is not appended: nothing follows the end.
        self.phase = Phase::Over(Box::new(completed));
    }

    /// Takes back the start of a call at this position, if nothing followed it: it is not to begin.
    pub fn take_back(&mut self, start: Sequence) {
        if Sequence(self.next_sequence + self.pending.len() as u64) == Sequence(start.0 + 1)
            && matches!(self.pending.last(), Some(Event::TraceStarted(_)))
        {
            self.pending.pop();
            self.own_count = self.own_count.saturating_sub(1);
        }
    }

    /// Whether what is to be appended ends the attempt.
    pub fn ends(&self) -> bool {
        matches!(self.pending.last(), Some(Event::TaskCompleted(_)))
    }

    /// Has these events appended before the end of the attempt, which is pending: what came beside the steps up to then.
    pub fn before_end(&mut self, asides: Vec<Event>) {
        let end = self.pending.len().saturating_sub(1);
        self.pending.splice(end..end, asides);
    }

    /// Takes what is to be appended: the position of the first event, and all of them.
    pub fn take_pending(&mut self) -> (Sequence, Vec<Event>) {
        let first = Sequence(self.next_sequence);
        self.next_sequence += self.pending.len() as u64;
        self.own_count = 0;
        (first, std::mem::take(&mut self.pending))
    }

    /// Whether the body may hold an iterator that is not at its end: what it stands on is not on record.
    pub fn holds_iterators(&self) -> bool {
        !self.iterators.is_empty()
    }

    /// How many events wait to be appended.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    fn push(&mut self, event: Event) -> Sequence {
        self.own_count += 1;
        self.push_aside(event)
    }

    fn push_aside(&mut self, event: Event) -> Sequence {
        let at = Sequence(self.next_sequence + self.pending.len() as u64);
        self.pending.push(event);
        at
    }

    /// What to do next.
    ///
    /// # Errors
    /// If the body does not fit the log, or the log contradicts itself. The replay is of no use then.
    #[expect(clippy::should_implement_trait, reason = "it fails, and it never ends by itself")]
    pub fn next(&mut self) -> Result<Decision, ReplayError> {
        let is_live = self.is_live();
        match &mut self.phase {
            Phase::Rest if is_live && !self.pending.is_empty() => Ok(Decision::Append),
            Phase::Rest if is_live => Ok(match self.recalls.first() {
                Some((at, index)) => Decision::Recall { index: *index, at: *at },
                None => Decision::Wait,
            }),
            Phase::Rest => self.begin_step(),
            Phase::Polling { granted } => Ok(Decision::Poll { wake: *granted }),
            Phase::Settled(_) if !self.pending.is_empty() => Ok(Decision::Append),
            Phase::Settled(finish) => {
                self.phase = match finish.take() {
                    Some(completed) => Phase::Over(completed),
                    None => Phase::Rest,
                };
                self.next()
            }
            Phase::Over(completed) => Ok(Decision::Finished(completed.clone())),
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
        self.settle(finish.map(Box::new))
    }

    /// An effect ended, or an earlier attempt's outcome is recalled: hands it to the body. Only when the run is live and
    /// between steps.
    pub fn completed(&mut self, index: TraceIndex, completed: TraceCompleted) {
        assert!(self.is_live() && self.phase == Phase::Rest, "a delivery begins a step of a live run");
        let outcome = completed.outcome.clone();
        self.forget_recall(index);
        self.asides.forget(completed.trace);
        self.push(Event::TraceCompleted(completed));
        self.hand_over(index, Handed::Outcome(outcome), true);
    }

    /// A stream has an item, or an earlier attempt's is recalled: hands it to the body. `next`: where that attempt's next
    /// event of this stream stands. Only when the run is live and between steps.
    pub fn yielded(&mut self, index: TraceIndex, yielded: TraceYielded, next: Option<Sequence>) {
        assert!(self.is_live() && self.phase == Phase::Rest, "a delivery begins a step of a live run");
        let item = yielded.item.clone();
        self.forget_recall(index);
        let recalled = yielded.repeats.is_some();
        self.push(Event::TraceYielded(yielded));
        if let Some(open) = self.open.get_mut(&index) {
            // Asked for once the body has taken this one.
            open.recall = next;
        }
        self.hand_over(index, Handed::Item(item), !recalled);
    }

    fn remember(&mut self, index: TraceIndex, at: Option<Sequence>) {
        if let Some(at) = at
            && let Some(open) = self.open.get_mut(&index)
        {
            open.recall = Some(at);
        }
    }

    /// A stream's earlier attempts hold no more of it: its source goes on.
    pub fn forgotten(&mut self, index: TraceIndex) {
        self.forget_recall(index);
    }

    fn forget_recall(&mut self, index: TraceIndex) {
        if let Some(open) = self.open.get_mut(&index)
            && let Some(at) = open.recall.take()
        {
            self.recalls.remove(&(at, index));
        }
    }

    /// The position of the start of a trace, as long as the body awaits something of it.
    pub fn awaited(&self, index: TraceIndex) -> Option<Sequence> {
        self.open.get(&index).filter(|open| !open.ended)?.sequence
    }

    /// Whether a stream's next item can be handed over: the body took the one before, and no earlier attempt has it.
    pub fn wants_item(&self, index: TraceIndex) -> bool {
        self.open.get(&index).is_some_and(|open| open.handed.is_none() && open.recall.is_none() && !open.ended)
    }

    /// Which item of a stream is next.
    pub fn item_count(&self, index: TraceIndex) -> u64 {
        self.open.get(&index).and_then(|open| open.items.as_ref()).map_or(0, |items| items.count)
    }

    /// What a stream handed on before this life's source began.
    pub fn handed_on(&self, index: TraceIndex) -> HandedOn {
        let items = self.open.get(&index).and_then(|open| open.items.as_deref());
        items.map(|items| HandedOn { count: items.count, digest: items.digest.clone() }).unwrap_or_default()
    }

    /// The traces and tasks that the body has called, with their code; `None` if the log holds a call of other code than
    /// today's.
    pub fn used(&self) -> Option<&[Called]> {
        (!self.edited && !self.child_failed).then_some(&self.used)
    }

    /// The children whose results were handed over since this was last asked.
    pub fn take_children(&mut self) -> Vec<(TraceStarted, Payload)> {
        std::mem::take(&mut self.children)
    }

    /// Takes the next step from the history.
    fn begin_step(&mut self) -> Result<Decision, ReplayError> {
        let Some(rest) = self.history.take_step(&mut self.pieces) else { return Ok(Decision::NeedHistory) };
        let first = !std::mem::replace(&mut self.begun, true);
        let Some(begins_at) = self.pieces.first().map(|piece| piece.at(0)) else {
            return Err(ReplayError::Impossible {
                sequence: self.history.end_of_log(),
                why: "the log holds no attempt".to_owned(),
            });
        };
        let cut_off = self.pieces.last().is_some_and(|piece| !piece.settled);
        let mut expected = self.spare.take().unwrap_or_default();
        let Begun { delivery, imposed } = expected.begin(self.pieces.drain(..), rest, first)?;
        self.next_sequence = expected.end.0;
        self.catch_up();
        if let Some(completed) = imposed {
            self.phase = Phase::Over(completed);
            return self.next();
        }
        if cut_off && let Some(completed) = self.history.next_is_imposed() {
            // The body was never polled, or its step never ended.
            self.phase = Phase::Over(Box::new(completed.clone()));
            return self.next();
        }
        self.expected = Some(expected);
        let Some((at, delivery)) = delivery else {
            if !first {
                let why = "it begins a step, and hands nothing over".to_owned();
                return Err(ReplayError::Impossible { sequence: begins_at, why });
            }
            self.phase = Phase::Polling { granted: None };
            return self.next();
        };
        let Delivery { trace, handed, repeats } = delivery;
        let index = match &handed {
            Handed::Outcome(_) => self.by_sequence.remove(&trace),
            Handed::Item(_) => self.by_sequence.get(&trace).copied(),
        };
        let Some(index) = index else {
            return Err(ReplayError::Impossible {
                sequence: at,
                why: format!("it completes event {trace}, which is no trace that awaits its result"),
            });
        };
        if self.open.get(&index).is_some_and(|open| open.handed.is_some()) {
            let why = format!("event {trace} handed something on that nobody took");
            return Err(ReplayError::Impossible { sequence: at, why });
        }
        self.forget_recall(index);
        match &handed {
            Handed::Outcome(_) => {
                self.asides.forget(trace);
                if repeats.is_none()
                    && let Some(call) = self.open.get(&index).and_then(|open| open.call.as_ref())
                    && call.name == SIGNAL
                {
                    let name = signal_name(&call.input);
                    self.asides.take_signal(&name);
                }
            }
            // Behind what was recalled, the earlier attempt may hold more.
            Handed::Item(_) => self.remember(index, repeats.map(|at| Sequence(at.0 + 1))),
        }
        self.hand_over(index, handed, false);
        self.next()
    }

    fn hand_over(&mut self, index: TraceIndex, handed: Handed, from_effect: bool) {
        if let Some(open) = self.open.get_mut(&index) {
            match &handed {
                Handed::Outcome(outcome) => {
                    open.ended = true;
                    if let Some(call) = open.call.take()
                        && call.child.is_some()
                    {
                        match outcome {
                            TraceOutcome::Ok(result) => self.children.push((*call, result.clone())),
                            TraceOutcome::Err(_) => self.child_failed = true,
                            TraceOutcome::Dropped => {}
                        }
                    }
                }
                Handed::Item(item) => {
                    let items = open.items.get_or_insert_default();
                    items.count += 1;
                    if !from_effect {
                        digest(&mut items.digest, item);
                    }
                }
            }
            open.handed = Some((self.delivered_count, handed));
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
    fn settle(&mut self, finish: Option<Box<TaskCompleted>>) -> Result<(), ReplayError> {
        self.asked.clear();
        if let Some(mut expected) = self.expected.take() {
            self.compare(&expected, finish.as_deref())?;
            self.next_sequence = self.next_sequence.max(expected.end.0);
            if let Some(completed) = expected.finish.take() {
                self.phase = Phase::Over(completed);
                return Ok(());
            }
            expected.clear();
            self.spare = Some(expected);
        }
        if let Some(completed) = &finish {
            self.push(Event::TaskCompleted(TaskCompleted::clone(completed)));
        }
        if self.is_live() {
            // No more deliveries come from the log.
            self.by_sequence = Few::default();
        }
        self.phase = Phase::Settled(finish);
        Ok(())
    }
}
