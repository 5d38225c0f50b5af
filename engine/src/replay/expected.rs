//! What the log holds of one step: what the body must do in it again.
//!
//! Made by `replay` from the batches of a step.
//!
//! Invariant: each start and drop is given out once; finding one takes constant time, in the log's order or any other.

use rustc_hash::FxHashMap;

use crate::event::{Batch, Event, TaskCompleted, TraceCompleted, TraceOutcome, TraceStarted};
use crate::id::{InputHash, Sequence};

use super::ReplayError;

/// A step, taken apart.
pub(super) struct Step {
    pub(super) expected: Expected,
    /// The delivery that begins it, and its position.
    pub(super) delivery: Option<(Sequence, TraceCompleted)>,
    /// The engine ended the attempt here.
    pub(super) imposed: Option<TaskCompleted>,
    pub(super) next_sequence: Sequence,
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
    pub(super) finish: Option<TaskCompleted>,
    pub(super) finish_at: Sequence,
    /// Whether the log holds the whole step.
    pub(super) settled: bool,
}

#[derive(Debug)]
struct ExpectedStart {
    sequence: Sequence,
    call: TraceStarted,
    /// What an immediate trace returned.
    outcome: Option<TraceOutcome>,
}

/// What the log holds of a start that the body made again.
pub(super) struct Logged {
    pub(super) sequence: Sequence,
    /// Whether other code than today's was called.
    pub(super) edited: bool,
    /// What an immediate trace returned.
    pub(super) outcome: Option<TraceOutcome>,
}

/// Whether a batch that starts with this event begins a step, whatever came before it.
pub(super) fn begins_step(event: &Event) -> bool {
    match event {
        Event::TaskStarted(_) => true,
        Event::TraceCompleted(completed) => completed.outcome != TraceOutcome::Dropped,
        Event::TaskCompleted(completed) => completed.imposed,
        Event::TraceYielded(_) => true,
        Event::TraceStarted(_) | Event::TraceRetried(_) | Event::SignalReceived(_) => false,
    }
}

impl Expected {
    /// Takes a step's batches apart. `from` is where the first must begin.
    pub(super) fn of(
        batches: impl Iterator<Item = Batch>,
        from: Sequence,
        first_of_log: bool,
    ) -> Result<Step, ReplayError> {
        let mut expected = Self {
            starts: Vec::new(),
            cursor: 0,
            by_key: None,
            drops: FxHashMap::default(),
            finish: None,
            finish_at: from,
            settled: false,
        };
        let mut step_delivery = None;
        let mut imposed = None;
        let mut sequence = from;
        let mut task_started = false;
        for batch in batches {
            if batch.first != sequence {
                return Err(impossible(sequence, format!("the log goes on with event {}", batch.first)));
            }
            expected.settled |= batch.settled;
            for event in batch.events {
                let at = sequence;
                sequence.0 += 1;
                if imposed.is_some() || expected.finish.is_some() {
                    return Err(impossible(at, "it follows the end of the attempt"));
                }
                match event {
                    Event::TaskStarted(_) if at == from && first_of_log => task_started = true,
                    Event::TaskStarted(_) => return Err(impossible(at, "a TaskStarted in the middle of an attempt")),
                    Event::TraceStarted(call) => {
                        expected.starts.push(Some(ExpectedStart { sequence: at, call, outcome: None }));
                    }
                    Event::TraceCompleted(completed) if completed.outcome == TraceOutcome::Dropped => {
                        expected.drops.insert(completed.trace, at);
                    }
                    Event::TraceCompleted(completed) if at == from => step_delivery = Some((at, completed)),
                    Event::TraceCompleted(completed) => expected.complete(at, completed)?,
                    Event::TaskCompleted(completed) if completed.imposed => imposed = Some(completed),
                    Event::TaskCompleted(completed) => {
                        expected.finish = Some(completed);
                        expected.finish_at = at;
                    }
                    Event::TraceRetried(_) | Event::TraceYielded(_) | Event::SignalReceived(_) => {}
                }
            }
        }
        if first_of_log && !task_started {
            return Err(impossible(from, "the log does not begin with a TaskStarted"));
        }
        Ok(Step { expected, delivery: step_delivery, imposed, next_sequence: sequence })
    }

    /// An immediate trace's result: within the step that started it.
    fn complete(&mut self, at: Sequence, completed: TraceCompleted) -> Result<(), ReplayError> {
        let start = self
            .starts
            .binary_search_by_key(&Some(completed.trace), |start| start.as_ref().map(|start| start.sequence))
            .ok()
            .and_then(|index| self.starts[index].as_mut())
            .filter(|start| start.call.form.is_inline() && start.outcome.is_none());
        match start {
            Some(start) => {
                start.outcome = Some(completed.outcome);
                Ok(())
            }
            None => Err(impossible(at, format!("it completes event {} in the middle of a step", completed.trace))),
        }
    }

    /// Takes the start with the call's name, input hash and occurrence.
    pub(super) fn take(&mut self, call: &TraceStarted) -> Option<Logged> {
        let fits = |start: &ExpectedStart| {
            start.call.input_hash == call.input_hash
                && start.call.occurrence == call.occurrence
                && start.call.name == call.name
        };
        let index = match self.starts.get(self.cursor) {
            Some(Some(start)) if fits(start) => self.cursor,
            _ => self.find(call)?,
        };
        self.cursor = index + 1;
        let start = self.starts[index].take()?;
        Some(Logged { sequence: start.sequence, edited: start.call.code != call.code, outcome: start.outcome })
    }

    fn find(&mut self, call: &TraceStarted) -> Option<usize> {
        let by_key = self.by_key.get_or_insert_with(|| {
            let key = |call: &TraceStarted| (call.input_hash, call.occurrence, call.name.to_string());
            let starts = self.starts.iter().enumerate();
            starts.filter_map(|(index, start)| Some((key(&start.as_ref()?.call), index))).collect()
        });
        by_key.remove(&(call.input_hash, call.occurrence, call.name.to_string()))
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
}

fn impossible(sequence: Sequence, why: impl Into<String>) -> ReplayError {
    ReplayError::Impossible { sequence, why: why.into() }
}
