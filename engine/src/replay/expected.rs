//! What the log holds of one step: what the body must do in it again.
//!
//! Made by `replay` from the pieces of a step; a step with an iterator in it may grow while the body is polled. The events
//! stay where they were read to: moving them about would cost as much as comparing them.
//!
//! Invariant: each start, drop and inline answer is given out once; finding one takes constant time, in the log's order or
//! any other.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::event::{Event, TaskCompleted, TraceForm, TraceOutcome, TraceStarted};
use crate::id::{InputHash, Sequence, Timestamp};
use crate::payload::Payload;

use super::body::NeedHistory;
use super::history::{Piece, Rest};
use super::{Handed, ReplayError};

/// So many starts, drops and inline traces a step may have had for its memory to be used again: 1,024, a few kilobytes.
const KEPT_COUNT_MAX: usize = 1024;

/// How a step begins.
#[derive(Default)]
pub(super) struct Begun {
    /// The delivery that begins it, and its position.
    pub(super) delivery: Option<(Sequence, Delivery)>,
    /// The engine ended the attempt here.
    pub(super) imposed: Option<Box<TaskCompleted>>,
}

/// What is handed to the body.
pub(super) struct Delivery {
    pub(super) trace: Sequence,
    pub(super) handed: Handed,
    /// The event of an earlier attempt that it repeats.
    pub(super) repeats: Option<Sequence>,
}

/// What the body must do in a step.
#[derive(Debug)]
pub(super) struct Expected {
    /// The step's events; those that are no starts may be hollow.
    events: Vec<Event>,
    starts: Vec<ExpectedStart>,
    /// How many of them the body has not made yet.
    left_count: usize,
    /// Bodies mostly start in the log's order: where the next is, if so.
    cursor: usize,
    /// All starts by key; made when the order is another.
    by_key: Option<FxHashMap<Key, usize>>,
    /// The position of each drop, by the trace that was dropped.
    drops: FxHashMap<Sequence, Sequence>,
    /// What inline traces answered, by their starts: in this step or an earlier one.
    inline: FxHashMap<Sequence, Answers>,
    pub(super) finish: Option<Box<TaskCompleted>>,
    pub(super) finish_at: Sequence,
    /// What is known of the rest of the step.
    pub(super) rest: Rest,
    /// Behind its last event.
    pub(super) end: Sequence,
}

impl Default for Expected {
    /// Of no step.
    fn default() -> Self {
        Self {
            events: Vec::new(),
            starts: Vec::new(),
            left_count: 0,
            cursor: 0,
            by_key: None,
            drops: FxHashMap::default(),
            inline: FxHashMap::default(),
            finish: None,
            finish_at: Sequence(0),
            rest: Rest::Complete,
            end: Sequence(0),
        }
    }
}

/// What tells starts apart: input hash, occurrence, name.
type Key = (InputHash, u32, String);

fn key(call: &TraceStarted) -> Key {
    (call.input_hash, call.occurrence, call.name.to_string())
}

#[derive(Debug)]
struct ExpectedStart {
    sequence: Sequence,
    /// Which of the step's events it is.
    event: usize,
    /// The body has not made it yet.
    is_left: bool,
}

impl ExpectedStart {
    fn call<'a>(&self, events: &'a [Event]) -> &'a TraceStarted {
        match events.get(self.event) {
            Some(Event::TraceStarted(call)) => call,
            _ => unreachable!("a start is kept as long as its event"),
        }
    }
}

/// What an inline trace answered in a step.
#[derive(Debug, Default)]
struct Answers {
    items: VecDeque<Payload>,
    outcome: Option<TraceOutcome>,
}

/// What the log holds of a start that the body made again.
pub(super) struct Logged {
    pub(super) sequence: Sequence,
    /// Whether other code than today's was called.
    pub(super) edited: bool,
    /// When it was made.
    pub(super) at: Timestamp,
    /// The run it was, if it is a task.
    pub(super) child: Option<crate::id::RunId>,
    /// What an inline trace with one outcome returned.
    pub(super) outcome: Option<TraceOutcome>,
}

/// What an iterator answered next.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// An item.
    Item(Payload),
    /// The end, or the error that ended it.
    End(TraceOutcome),
}

impl Expected {
    /// Takes a step's pieces; what was there before is forgotten.
    pub(super) fn begin(
        &mut self,
        pieces: impl Iterator<Item = Piece>,
        rest: Rest,
        first_of_attempt: bool,
    ) -> Result<Begun, ReplayError> {
        self.clear();
        self.rest = rest;
        let mut begun = Begun::default();
        let (mut task_started, mut begins_at) = (false, None);
        for mut piece in pieces {
            let from = self.events.len();
            for index in 0..piece.events.len() {
                let (at, begins) = (piece.at(index), piece.begins);
                let event = &mut piece.events[index];
                let is_first = begins_at.is_none();
                begins_at.get_or_insert(at);
                self.end = Sequence(at.0 + 1);
                match event {
                    Event::TaskStarted(_) if is_first && first_of_attempt => task_started = true,
                    event if is_first && begins && is_delivery(event) => {
                        begun.delivery = delivery(event).map(|delivery| (at, delivery));
                    }
                    Event::TaskCompleted(completed) if completed.imposed => {
                        begun.imposed = Some(Box::new(completed.clone()));
                    }
                    _ if begun.imposed.is_some() => return Err(impossible(at, "it follows the end of the attempt")),
                    event => self.add(at, event, from + index)?,
                }
            }
            if from == 0 {
                self.events = piece.events;
            } else {
                self.events.append(&mut piece.events);
            }
        }
        if first_of_attempt && !task_started {
            let begins_at = begins_at.unwrap_or_default();
            return Err(impossible(begins_at, "the attempt does not begin with a TaskStarted"));
        }
        Ok(begun)
    }

    /// Forgets the step; keeps memory for the next, unless that was much.
    pub(super) fn clear(&mut self) {
        let kept = self.starts.capacity().max(self.drops.capacity()).max(self.inline.capacity());
        if kept > KEPT_COUNT_MAX {
            *self = Self::default();
            return;
        }
        self.events = Vec::new();
        self.forget_starts();
        self.left_count = 0;
        self.drops.clear();
        self.inline.clear();
        self.finish = None;
    }

    fn forget_starts(&mut self) {
        self.events.clear();
        self.starts.clear();
        self.cursor = 0;
        self.by_key = None;
    }

    /// Takes one more piece of the step.
    pub(super) fn extend(&mut self, piece: Piece, rest: Rest) -> Result<(), ReplayError> {
        self.rest = rest;
        if self.left_count == 0 {
            // A step of an iterator may be as long as the iterator: what was found again is forgotten.
            self.forget_starts();
        }
        for (at, mut event) in piece.into_events() {
            self.add(at, &mut event, self.events.len())?;
            self.end = Sequence(at.0 + 1);
            if let Event::TraceStarted(_) = event {
                self.events.push(event);
            }
        }
        Ok(())
    }

    /// Takes note of an event, which is or will be the step's `index`th; what it holds of an answer is taken out of it.
    fn add(&mut self, at: Sequence, event: &mut Event, index: usize) -> Result<(), ReplayError> {
        if self.finish.is_some() {
            return Err(impossible(at, "it follows the end of the attempt"));
        }
        match event {
            Event::TaskStarted(_) => return Err(impossible(at, "a TaskStarted in the middle of an attempt")),
            Event::TraceStarted(call) => {
                if let Some(by_key) = &mut self.by_key {
                    by_key.insert(key(call), self.starts.len());
                }
                if call.form.is_inline() {
                    self.inline.entry(at).or_default();
                }
                self.left_count += 1;
                self.starts.push(ExpectedStart { sequence: at, event: index, is_left: true });
            }
            Event::TraceCompleted(completed) if completed.outcome == TraceOutcome::Dropped => {
                self.drops.insert(completed.trace, at);
            }
            Event::TraceCompleted(completed) => {
                // The history says that it is no delivery, so its trace is inline and open.
                let answers = self.inline.entry(completed.trace).or_default();
                let outcome = std::mem::replace(&mut completed.outcome, TraceOutcome::Dropped);
                if answers.outcome.replace(outcome).is_some() {
                    return Err(impossible(at, format!("it completes event {} once more", completed.trace)));
                }
            }
            Event::TraceYielded(yielded) => {
                self.inline.entry(yielded.trace).or_default().items.push_back(yielded.item.clone());
            }
            Event::TaskCompleted(completed) => {
                self.finish = Some(Box::new(completed.clone()));
                self.finish_at = at;
            }
            Event::TraceRetried(_) | Event::SignalReceived(_) => {}
        }
        Ok(())
    }

    /// Takes the start with the call's name, input hash and occurrence.
    ///
    /// # Errors
    /// If the rest of the step is needed to say whether there is one, or what it returned.
    pub(super) fn take(&mut self, call: &TraceStarted) -> Result<Option<Logged>, NeedHistory> {
        let events = &self.events;
        let fits = |start: &ExpectedStart| {
            let logged = start.call(events);
            start.is_left
                && logged.input_hash == call.input_hash
                && logged.occurrence == call.occurrence
                && logged.name == call.name
        };
        let index = match self.starts.get(self.cursor) {
            Some(start) if fits(start) => self.cursor,
            _ => match self.find(call) {
                Some(index) => index,
                None if self.rest == Rest::More => return Err(NeedHistory),
                None => return Ok(None),
            },
        };
        let start = &self.starts[index];
        if !start.is_left {
            return Ok(None);
        }
        let (sequence, logged) = (start.sequence, start.call(&self.events));
        let (edited, at, child) = (logged.code != call.code, logged.at, logged.child);
        let is_inline = logged.form == TraceForm::Inline;
        if is_inline && self.rest == Rest::More && !self.is_answered(sequence) {
            // A plain function cuts the step: what it returned stands in the next record.
            return Err(NeedHistory);
        }
        if let Some(by_key) = &mut self.by_key {
            by_key.remove(&key(logged));
        }
        self.starts[index].is_left = false;
        self.left_count -= 1;
        self.cursor = index + 1;
        let answers = if is_inline { self.inline.remove(&sequence) } else { None };
        Ok(Some(Logged { sequence, edited, at, child, outcome: answers.and_then(|answers| answers.outcome) }))
    }

    /// Whether an inline trace's outcome is known.
    fn is_answered(&self, trace: Sequence) -> bool {
        self.inline.get(&trace).is_some_and(|answers| answers.outcome.is_some())
    }

    fn find(&mut self, call: &TraceStarted) -> Option<usize> {
        let by_key = self.by_key.get_or_insert_with(|| {
            let starts = self.starts.iter().enumerate().filter(|(_, start)| start.is_left);
            starts.map(|(index, start)| (key(start.call(&self.events)), index)).collect()
        });
        by_key.get(&key(call)).copied()
    }

    /// How much it holds in memory.
    #[cfg(test)]
    pub(super) fn held_count(&self) -> usize {
        self.events.len() + self.inline.len()
    }

    /// Takes the next answer of an iterator.
    pub(super) fn take_answer(&mut self, trace: Sequence) -> Option<Answer> {
        let answers = self.inline.get_mut(&trace)?;
        if let Some(item) = answers.items.pop_front() {
            return Some(Answer::Item(item));
        }
        let outcome = answers.outcome.take()?;
        self.inline.remove(&trace);
        Some(Answer::End(outcome))
    }

    /// Takes the drop of this trace.
    pub(super) fn take_drop(&mut self, trace: Sequence) -> bool {
        let is_dropped = self.drops.remove(&trace).is_some();
        if is_dropped && self.inline.get(&trace).is_some_and(|answers| answers.items.is_empty()) {
            self.inline.remove(&trace);
        }
        is_dropped
    }

    /// The first start that the body did not make.
    pub(super) fn first_left(&self) -> Option<(Sequence, &TraceStarted)> {
        if self.left_count == 0 {
            return None;
        }
        let start = self.starts.iter().find(|start| start.is_left)?;
        Some((start.sequence, start.call(&self.events)))
    }

    /// The first drop that the body did not repeat: its position, and the trace.
    pub(super) fn first_drop_left(&self) -> Option<(Sequence, Sequence)> {
        self.drops.iter().map(|(trace, at)| (*at, *trace)).min()
    }

    /// An iterator that answered more than the body asked for.
    pub(super) fn first_answer_left(&self) -> Option<Sequence> {
        let left = |answers: &Answers| !answers.items.is_empty() || answers.outcome.is_some();
        self.inline.iter().filter(|(_, answers)| left(answers)).map(|(trace, _)| *trace).min()
    }

    /// Whether the body has done all that the log holds of the step.
    pub(super) fn is_done(&self) -> bool {
        self.rest != Rest::More
            && self.first_left().is_none()
            && self.drops.is_empty()
            && self.first_answer_left().is_none()
    }
}

/// Whether an event that begins a step hands something to the body.
fn is_delivery(event: &Event) -> bool {
    match event {
        Event::TraceCompleted(completed) => completed.outcome != TraceOutcome::Dropped,
        Event::TraceYielded(_) => true,
        _ => false,
    }
}

/// Takes what an event hands to the body out of it.
fn delivery(event: &mut Event) -> Option<Delivery> {
    match event {
        Event::TraceCompleted(completed) => {
            let outcome = std::mem::replace(&mut completed.outcome, TraceOutcome::Dropped);
            Some(Delivery { trace: completed.trace, handed: Handed::Outcome(outcome), repeats: completed.repeats })
        }
        Event::TraceYielded(yielded) => {
            let handed = Handed::Item(yielded.item.clone());
            Some(Delivery { trace: yielded.trace, handed, repeats: yielded.repeats })
        }
        _ => None,
    }
}

fn impossible(sequence: Sequence, why: impl Into<String>) -> ReplayError {
    ReplayError::Impossible { sequence, why: why.into() }
}
