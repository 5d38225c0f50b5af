//! What the log holds of one step: what the body must do in it again.
//!
//! Made by `replay` from the pieces of a step; a step with an iterator in it may grow while the body is polled.
//!
//! Invariant: each start, drop and inline answer is given out once; finding one takes constant time, in the log's order or
//! any other.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::event::{Event, TaskCompleted, TraceCompleted, TraceForm, TraceOutcome, TraceStarted, TraceYielded};
use crate::id::{InputHash, Sequence, Timestamp};
use crate::payload::Payload;

use super::ReplayError;
use super::body::NeedHistory;
use super::history::{Piece, Rest};

/// A step, taken apart.
pub(super) struct Step {
    pub(super) expected: Expected,
    /// The delivery that begins it, and its position.
    pub(super) delivery: Option<(Sequence, Delivery)>,
    /// The engine ended the attempt here.
    pub(super) imposed: Option<TaskCompleted>,
}

/// What is handed to the body.
pub(super) enum Delivery {
    Completed(TraceCompleted),
    Yielded(TraceYielded),
}

/// What the body must do in a step.
#[derive(Debug)]
pub(super) struct Expected {
    starts: Vec<Option<ExpectedStart>>,
    /// Bodies mostly start in the log's order: where the next is, if so.
    cursor: usize,
    /// All starts by key; made when the order is another.
    by_key: Option<FxHashMap<(InputHash, u32, String), usize>>,
    /// The position of each drop, by the trace that was dropped.
    drops: FxHashMap<Sequence, Sequence>,
    /// What inline traces answered, by their starts: in this step or an earlier one.
    inline: FxHashMap<Sequence, Answers>,
    pub(super) finish: Option<TaskCompleted>,
    pub(super) finish_at: Sequence,
    /// What is known of the rest of the step.
    pub(super) rest: Rest,
    /// Behind its last event.
    pub(super) end: Sequence,
}

#[derive(Debug)]
struct ExpectedStart {
    sequence: Sequence,
    call: TraceStarted,
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
    /// Takes a step's pieces apart.
    pub(super) fn of(pieces: Vec<Piece>, rest: Rest, first_of_attempt: bool) -> Result<Step, ReplayError> {
        let mut expected = Self {
            starts: Vec::new(),
            cursor: 0,
            by_key: None,
            drops: FxHashMap::default(),
            inline: FxHashMap::default(),
            finish: None,
            finish_at: Sequence(0),
            rest,
            end: Sequence(0),
        };
        let mut delivery = None;
        let mut imposed = None;
        let mut task_started = false;
        let mut is_first = true;
        for piece in pieces {
            for (at, event) in piece.events {
                let first = std::mem::replace(&mut is_first, false);
                match event {
                    Event::TaskStarted(_) if first && first_of_attempt => task_started = true,
                    Event::TraceCompleted(completed)
                        if first && piece.begins && completed.outcome != TraceOutcome::Dropped =>
                    {
                        delivery = Some((at, Delivery::Completed(completed)));
                    }
                    Event::TraceYielded(yielded) if first && piece.begins => {
                        delivery = Some((at, Delivery::Yielded(yielded)));
                    }
                    Event::TaskCompleted(completed) if completed.imposed => imposed = Some(completed),
                    other => {
                        if imposed.is_some() {
                            return Err(impossible(at, "it follows the end of the attempt"));
                        }
                        expected.add(at, other)?;
                    }
                }
                expected.end = Sequence(at.0 + 1);
            }
        }
        if first_of_attempt && !task_started {
            return Err(impossible(expected.end, "the attempt does not begin with a TaskStarted"));
        }
        Ok(Step { expected, delivery, imposed })
    }

    /// Takes one more piece of the step.
    pub(super) fn extend(&mut self, piece: Piece, rest: Rest) -> Result<(), ReplayError> {
        self.rest = rest;
        for (at, event) in piece.events {
            self.add(at, event)?;
            self.end = Sequence(at.0 + 1);
        }
        Ok(())
    }

    fn add(&mut self, at: Sequence, event: Event) -> Result<(), ReplayError> {
        if self.finish.is_some() {
            return Err(impossible(at, "it follows the end of the attempt"));
        }
        match event {
            Event::TaskStarted(_) => return Err(impossible(at, "a TaskStarted in the middle of an attempt")),
            Event::TraceStarted(call) => {
                if let Some(by_key) = &mut self.by_key {
                    by_key.insert((call.input_hash, call.occurrence, call.name.to_string()), self.starts.len());
                }
                if call.form.is_inline() {
                    self.inline.entry(at).or_default();
                }
                self.starts.push(Some(ExpectedStart { sequence: at, call }));
            }
            Event::TraceCompleted(completed) if completed.outcome == TraceOutcome::Dropped => {
                self.drops.insert(completed.trace, at);
            }
            Event::TraceCompleted(completed) => {
                // The history says that it is no delivery, so its trace is inline and open.
                let answers = self.inline.entry(completed.trace).or_default();
                if answers.outcome.replace(completed.outcome).is_some() {
                    return Err(impossible(at, format!("it completes event {} once more", completed.trace)));
                }
            }
            Event::TraceYielded(yielded) => {
                self.inline.entry(yielded.trace).or_default().items.push_back(yielded.item);
            }
            Event::TaskCompleted(completed) => {
                self.finish = Some(completed);
                self.finish_at = at;
            }
            Event::TraceRetried(_) | Event::SignalReceived(_) => {}
        }
        Ok(())
    }

    /// Takes the start with the call's name, input hash and occurrence.
    ///
    /// # Errors
    /// If it, or what it returned, may stand in a part of the step that is not read yet.
    pub(super) fn take(&mut self, call: &TraceStarted) -> Result<Option<Logged>, NeedHistory> {
        let is_partial = self.rest == Rest::More;
        match self.position(call) {
            None if is_partial => Err(NeedHistory),
            Some(index) if is_partial && !self.is_answered(index) => Err(NeedHistory),
            position => Ok(position.and_then(|index| self.take_at(index, call))),
        }
    }

    fn position(&mut self, call: &TraceStarted) -> Option<usize> {
        let fits = |start: &ExpectedStart| {
            start.call.input_hash == call.input_hash
                && start.call.occurrence == call.occurrence
                && start.call.name == call.name
        };
        match self.starts.get(self.cursor) {
            Some(Some(start)) if fits(start) => Some(self.cursor),
            _ => self.find(call),
        }
    }

    /// Whether it is known what a start's trace returned in this step, if it is one that does.
    fn is_answered(&self, index: usize) -> bool {
        self.starts[index].as_ref().is_none_or(|start| {
            let answers = || self.inline.get(&start.sequence);
            start.call.form != TraceForm::Inline || answers().is_some_and(|answers| answers.outcome.is_some())
        })
    }

    fn take_at(&mut self, index: usize, call: &TraceStarted) -> Option<Logged> {
        self.cursor = index + 1;
        let start = self.starts[index].take()?;
        if let Some(by_key) = &mut self.by_key {
            by_key.remove(&(call.input_hash, call.occurrence, call.name.to_string()));
        }
        let outcome = if start.call.form == TraceForm::Inline {
            self.inline.remove(&start.sequence).and_then(|answers| answers.outcome)
        } else {
            None
        };
        Some(Logged {
            sequence: start.sequence,
            edited: start.call.code != call.code,
            at: start.call.at,
            child: start.call.child,
            outcome,
        })
    }

    fn find(&mut self, call: &TraceStarted) -> Option<usize> {
        let by_key = self.by_key.get_or_insert_with(|| {
            let key = |call: &TraceStarted| (call.input_hash, call.occurrence, call.name.to_string());
            let starts = self.starts.iter().enumerate();
            starts.filter_map(|(index, start)| Some((key(&start.as_ref()?.call), index))).collect()
        });
        by_key.get(&(call.input_hash, call.occurrence, call.name.to_string())).copied()
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
        self.drops.remove(&trace).is_some()
    }

    /// The first start that the body did not make.
    pub(super) fn first_left(&self) -> Option<(Sequence, &TraceStarted)> {
        self.starts.iter().flatten().map(|start| (start.sequence, &start.call)).next()
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

fn impossible(sequence: Sequence, why: impl Into<String>) -> ReplayError {
    ReplayError::Impossible { sequence, why: why.into() }
}
