//! A run's log as calls, each with how it ended: step by step, and within a step, where order carries no meaning, by key.
//!
//! Invariant: of a call its name, its hashes and where it stands are kept, never a payload.

use std::collections::VecDeque;
use std::sync::Arc;

use relive_engine::error::{Error, ErrorKind, Result};
use relive_engine::event::{Event, TaskOutcome, TaskStarted, TraceOutcome};
use relive_engine::id::{InputHash, RunId, Sequence};
use relive_engine::inspect::{self, Events};
use relive_storage::Read;

/// A call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Where it starts.
    pub(super) sequence: Sequence,
    /// Where the first call of its step starts.
    step: Sequence,
    pub(super) key: Key,
    /// How it ended; `None` if it is open.
    pub(super) end: Option<End>,
    /// Of a stream or an iterator: how many items, and a hash of all of them.
    pub(super) items: (u64, Option<InputHash>),
    /// Whether that is all: what comes too long after its start is not waited for.
    pub(super) is_whole: bool,
}

/// What tells calls apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) input: InputHash,
    /// Whether an effect made it.
    pub(super) nested: bool,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) sequence: Sequence,
    pub(super) outcome: Outcome,
}

/// An outcome, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok(InputHash),
    Err(InputHash),
    Dropped,
}

/// The calls of the last attempt of a run.
pub(super) struct Calls {
    pub(super) started: TaskStarted,
    events: Events,
    /// Read and not taken.
    window: VecDeque<Call>,
    /// Where the step under way begins, if a call began one.
    step: Option<Sequence>,
    /// How the attempt ended.
    pub(super) ended: Option<TaskOutcome>,
    is_read: bool,
}

impl Calls {
    pub(super) fn read(store: &Arc<dyn Read>, run: RunId) -> Result<Self> {
        let at = inspect::run(store.as_ref(), run)?.map_or(Sequence(0), |record| record.attempt_at);
        let mut events = inspect::events_from(Arc::clone(store), run, at)?;
        match events.next().transpose()?.map(|logged| logged.event) {
            Some(Event::TaskStarted(started)) => {
                Ok(Self { started, events, window: VecDeque::new(), step: None, ended: None, is_read: false })
            }
            _ => {
                let why = format!("run {run} at event {at}: its last attempt does not begin there");
                Err(Error::new(ErrorKind::Corrupt, why))
            }
        }
    }

    /// Reads until so many calls are in the window, if there are so many.
    pub(super) fn fill(&mut self, count: usize) -> Result<()> {
        while self.window.len() < count && self.advance()? {}
        Ok(())
    }

    /// Reads until it is known how the first call of the window ended, at most so many calls ahead. `None` at the end.
    pub(super) fn first(&mut self, ahead_max: usize) -> Result<Option<&Call>> {
        while self.window.front().is_none_or(|call| call.end.is_none())
            && self.window.len() < ahead_max
            && self.advance()?
        {}
        Ok(self.window.front())
    }

    pub(super) fn window(&self) -> &VecDeque<Call> {
        &self.window
    }

    /// Takes the first call of the window.
    pub(super) fn take(&mut self) -> Option<Call> {
        let mut call = self.window.pop_front()?;
        call.is_whole = self.is_read || call.end.is_some();
        Some(call)
    }

    /// Reads an event; `false` at the end.
    fn advance(&mut self) -> Result<bool> {
        if self.is_read {
            return Ok(false);
        }
        let Some(logged) = self.events.next().transpose()? else {
            self.is_read = true;
            return Ok(false);
        };
        if !matches!(logged.event, Event::TraceStarted(_)) {
            self.step = None;
        }
        match logged.event {
            Event::TraceStarted(started) => {
                let nested = started.within.is_some();
                let key = Key { name: started.name.into_owned(), input: started.input_hash, nested };
                let step = *self.step.get_or_insert(logged.sequence);
                let is_before = |other: &Call| other.step < step || other.key <= key;
                let behind = self.window.iter().rev().take_while(|other| !is_before(other)).count();
                let call = Call { sequence: logged.sequence, step, key, end: None, items: (0, None), is_whole: false };
                self.window.insert(self.window.len() - behind, call);
            }
            Event::TraceYielded(yielded) => {
                if let Some(call) = self.call(yielded.trace) {
                    let (count, hash) = call.items;
                    let mut bytes = hash.map_or_else(Vec::new, |hash| hash.as_bytes().to_vec());
                    bytes.extend_from_slice(InputHash::of(yielded.item.bytes()).as_bytes());
                    call.items = (count + 1, Some(InputHash::of(&bytes)));
                }
            }
            Event::TraceCompleted(completed) => {
                let outcome = match &completed.outcome {
                    TraceOutcome::Ok(payload) => Outcome::Ok(InputHash::of(payload.bytes())),
                    TraceOutcome::Err(record) => {
                        let parts = (record.kind, &record.message, &record.sources, &record.value);
                        Outcome::Err(InputHash::of(format!("{parts:?}").as_bytes()))
                    }
                    _ => Outcome::Dropped,
                };
                if let Some(call) = self.call(completed.trace) {
                    call.end = Some(End { sequence: logged.sequence, outcome });
                }
            }
            Event::TaskCompleted(completed) => self.ended = Some(completed.outcome),
            _ => {}
        }
        Ok(true)
    }

    /// A call of the window: in the last step that begins before it, or with it.
    fn call(&mut self, trace: Sequence) -> Option<&mut Call> {
        let end = self.window.partition_point(|call| call.step <= trace);
        let index = (0..end).rev().find(|index| self.window[*index].sequence == trace)?;
        self.window.get_mut(index)
    }
}
