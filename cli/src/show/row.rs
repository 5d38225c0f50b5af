//! What is kept of a log for each line of the drawing.
//!
//! Made by `timeline`; put in order by `tree`; drawn by `grid`.

use relive_engine::id::{Epoch, RunId, Sequence, Timestamp};
use relive_engine::inspect::Answered;

/// A line of the drawing, and the event that it is for.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) sequence: Sequence,
    /// Which attempt, from 0.
    pub(super) attempt: u32,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Trace(Box<Trace>),
    /// An attempt after the first began.
    Attempt(Box<Heading>),
    /// Somebody signalled the run: the signal and its value.
    Signal(String),
    /// A signal fitted no wait: why.
    SetAside(String),
}

/// The beginning of an attempt.
#[derive(Debug)]
pub(super) struct Heading {
    /// How the attempt before ended.
    pub(super) before: String,
    /// Its number and why there is one.
    pub(super) attempt: String,
    pub(super) at: Timestamp,
}

/// A trace.
#[derive(Debug)]
pub(super) struct Trace {
    /// The call, cut to what can be shown.
    pub(super) label: String,
    /// Whether it is one of `relive::now`, `random`, `uuid`.
    pub(super) immediate: bool,
    /// Whether it waits for a signal.
    pub(super) is_signal: bool,
    /// The trace whose effect called it.
    pub(super) within: Option<Sequence>,
    /// Which run it is, if it is a task.
    pub(super) child: Option<RunId>,
    /// Whether it only waits, for a time or a signal: then it took as long as it was open, whichever life saw its end.
    pub(super) waits: bool,
    /// Of a child that did not run: which run answered for it.
    pub(super) answered: Option<Answered>,
    /// Of a stream or an iterator: how many items it handed on.
    pub(super) items: Option<u64>,
    /// The last try that failed and was followed by another.
    pub(super) retry: Option<Retry>,
    /// Which life started it.
    pub(super) epoch: Epoch,
    pub(super) at: Timestamp,
    /// `None` if it is open.
    pub(super) end: Option<End>,
}

/// A try that failed.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) tries: u32,
    pub(super) error: String,
    pub(super) due: Timestamp,
}

/// How a trace ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    /// Which life completed it.
    pub(super) epoch: Epoch,
    /// Whether its effect had begun.
    pub(super) begun: bool,
    /// Whether it is what an earlier attempt found.
    pub(super) repeated: bool,
    pub(super) tries: u32,
    /// Which life began it: the one that completed it, unless it only waits.
    pub(super) since: Epoch,
    pub(super) at: Timestamp,
    pub(super) micros: u64,
}

/// What is shown of an outcome.
#[derive(Debug)]
pub(super) enum Outcome {
    /// For an immediate trace, with what it returned.
    Ok(String),
    /// With the error.
    Err(String),
    Dropped,
}

/// From the first to the last moment that one life of the process wrote about one attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) part: Part,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

/// A life of the process, and an attempt in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) epoch: Epoch,
    pub(super) attempt: u32,
}

/// How many traces of an attempt there are of a kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) started: u64,
    pub(super) ok: u64,
    pub(super) err: u64,
    pub(super) dropped: u64,
    /// What an earlier attempt had found.
    pub(super) repeated: u64,
    /// Ended in the run's last life.
    pub(super) executed: u64,
    pub(super) effect_micros: u64,
}

impl Totals {
    pub(super) fn ended(&self) -> u64 {
        self.ok + self.err + self.dropped
    }

    pub(super) fn open(&self) -> u64 {
        self.started - self.ended()
    }

    pub(super) fn replayed(&self) -> u64 {
        self.ended() - self.executed - self.repeated
    }
}
