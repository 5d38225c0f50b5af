//! The log of an attempt, cut into pieces of steps; what stands beside the steps is kept apart.
//!
//! Fed by `replay` a batch at a time.
//!
//! Invariant: a piece holds events of one step only, and says whether it begins that step; events that are no part of any
//! step (retries, signals, what effects call) are in no piece.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::event::{Batch, Event, TraceForm, TraceOutcome};
use crate::id::Sequence;

use super::aside::Asides;

/// Events of one step that stand in one batch.
#[derive(Debug)]
pub(super) struct Piece {
    /// Whether its first event begins a step.
    pub(super) begins: bool,
    /// Whether the step is complete with it.
    pub(super) settled: bool,
    /// Whether an iterator is in the middle of its items: the step may be long, and is taken a piece at a time.
    pub(super) in_iterator: bool,
    positions: Positions,
    pub(super) events: Vec<Event>,
}

/// Where a piece's events stand.
#[derive(Debug)]
enum Positions {
    /// One behind the other, from here on.
    From(Sequence),
    /// Here, one by one.
    Each(Vec<Sequence>),
}

impl Piece {
    /// The position of one of its events.
    pub(super) fn at(&self, index: usize) -> Sequence {
        match &self.positions {
            Positions::From(first) => Sequence(first.0 + index as u64),
            Positions::Each(each) => each[index],
        }
    }

    /// Its events, each with its position.
    pub(super) fn into_events(self) -> impl Iterator<Item = (Sequence, Event)> {
        let (first, each) = match self.positions {
            Positions::From(first) => (first, Vec::new()),
            Positions::Each(each) => (Sequence(0), each),
        };
        let at = move |index: usize| each.get(index).copied().unwrap_or(Sequence(first.0 + index as u64));
        self.events.into_iter().enumerate().map(move |(index, event)| (at(index), event))
    }
}

/// What was fed and not yet used.
#[derive(Debug, Default)]
pub(super) struct History {
    pieces: VecDeque<Piece>,
    ended: bool,
    /// Inline traces that are not completed, by their starts.
    inline: FxHashMap<Sequence, TraceForm>,
    /// Behind the last event that was fed.
    end: Sequence,
}

impl History {
    /// A history of nothing, for a log that begins here.
    pub(super) fn ended() -> Self {
        Self { ended: true, ..Self::default() }
    }

    /// Takes a batch. What is no part of a step goes to the asides.
    pub(super) fn feed(&mut self, batch: Batch, asides: &mut Asides) {
        let Batch { first, settled, events, .. } = batch;
        self.end = Sequence(first.0 + events.len() as u64);
        // Most batches are one step, or part of one: their events stay where they are.
        let is_one_piece = |(index, event)| !asides.is_beside(event) && (index == 0 || never_begins_step(event));
        let is_one_piece = events.iter().enumerate().all(is_one_piece);
        let last = if is_one_piece { self.one_piece(first, events) } else { self.cut(first, events, asides) };
        if let Some(mut piece) = last {
            piece.settled = settled;
            piece.in_iterator = !settled && self.inline.values().any(|form| *form == TraceForm::Iterator);
            self.pieces.push_back(piece);
        }
    }

    /// The piece that all events of a batch are.
    fn one_piece(&mut self, first: Sequence, events: Vec<Event>) -> Option<Piece> {
        let mut begins = false;
        for (at, event) in (first.0..).map(Sequence).zip(&events) {
            begins |= self.begins_step(at, event);
        }
        let positions = Positions::From(first);
        (!events.is_empty()).then_some(Piece { begins, settled: false, in_iterator: false, positions, events })
    }

    /// Cuts a batch into pieces, and gives the last.
    fn cut(&mut self, first: Sequence, events: Vec<Event>, asides: &mut Asides) -> Option<Piece> {
        let mut last: Option<Piece> = None;
        for (at, event) in (first.0..).map(Sequence).zip(events) {
            let Some(event) = asides.observe(at, event) else { continue };
            let begins = self.begins_step(at, &event);
            if begins && let Some(piece) = last.take() {
                // A delivery follows, so the step before it was complete; unless the engine ended the attempt in its first.
                let settled = !matches!(piece.events[..], [Event::TaskStarted(_)]);
                self.pieces.push_back(Piece { settled, ..piece });
            }
            let piece = last.get_or_insert_with(|| Piece {
                begins,
                settled: false,
                in_iterator: false,
                positions: Positions::Each(Vec::with_capacity(2)),
                events: Vec::with_capacity(2),
            });
            if let Positions::Each(each) = &mut piece.positions {
                each.push(at);
            }
            piece.events.push(event);
        }
        last
    }

    /// Whether this event begins a step: a delivery, the start of an attempt, an end that the engine imposed.
    fn begins_step(&mut self, at: Sequence, event: &Event) -> bool {
        match event {
            Event::TaskStarted(_) => true,
            Event::TaskCompleted(completed) => completed.imposed,
            Event::TraceStarted(started) => {
                if started.form.is_inline() {
                    self.inline.insert(at, started.form);
                }
                false
            }
            Event::TraceYielded(yielded) => self.inline.is_empty() || !self.inline.contains_key(&yielded.trace),
            Event::TraceCompleted(completed) => {
                let is_inline = !self.inline.is_empty() && self.inline.remove(&completed.trace).is_some();
                !is_inline && completed.outcome != TraceOutcome::Dropped
            }
            Event::TraceRetried(_) | Event::SignalReceived(_) => false,
        }
    }

    /// Says that the log holds no more.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether all of the log was fed and used.
    pub(super) fn is_used(&self) -> bool {
        self.ended && self.pieces.is_empty()
    }

    /// Behind the last event that was fed.
    pub(super) fn end_of_log(&self) -> Sequence {
        self.end
    }

    /// Whether the next piece begins a step that the engine ended the attempt with.
    pub(super) fn next_is_imposed(&self) -> Option<&crate::event::TaskCompleted> {
        match self.pieces.front()?.events.first() {
            Some(Event::TaskCompleted(completed)) if completed.imposed => Some(completed),
            _ => None,
        }
    }

    /// Puts the pieces of the next step, as far as they are needed to begin it, into `taken`; says whether more belong to
    /// it. `None` if more must be fed to know.
    pub(super) fn take_step(&mut self, taken: &mut Vec<Piece>) -> Option<Rest> {
        let mut count = 0;
        let mut rest = None;
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 && piece.begins {
                rest = Some(Rest::Complete);
                break;
            }
            count = index + 1;
            if piece.settled {
                rest = Some(Rest::Complete);
                break;
            }
            if piece.in_iterator {
                rest = Some(Rest::More);
                break;
            }
        }
        let rest = match rest {
            Some(rest) => rest,
            None if self.ended => Rest::OpenEnded,
            None => return None,
        };
        taken.extend(self.pieces.drain(..count));
        Some(self.known(rest))
    }

    /// The next piece of a step that was begun. `Err` if more must be fed to know.
    pub(super) fn take_more(&mut self) -> Result<Option<(Piece, Rest)>, ()> {
        match self.pieces.front() {
            None if self.ended => Ok(None),
            None => Err(()),
            Some(piece) if piece.begins => Ok(None),
            Some(_) => {
                let Some(piece) = self.pieces.pop_front() else { return Ok(None) };
                let rest = if piece.settled { Rest::Complete } else { Rest::More };
                Ok(Some((piece, self.known(rest))))
            }
        }
    }

    /// What is known of a step's rest once its pieces were taken.
    fn known(&self, rest: Rest) -> Rest {
        match (rest, self.pieces.front()) {
            (Rest::More, Some(piece)) if piece.begins => Rest::Complete,
            (Rest::More, None) if self.ended => Rest::OpenEnded,
            (rest, _) => rest,
        }
    }
}

/// Whether an event begins no step, whatever precedes it.
fn never_begins_step(event: &Event) -> bool {
    match event {
        Event::TraceStarted(_) => true,
        Event::TraceCompleted(completed) => completed.outcome == TraceOutcome::Dropped,
        Event::TaskCompleted(completed) => !completed.imposed,
        _ => false,
    }
}

/// What is known of the rest of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// There is none.
    Complete,
    /// There may be some in the log.
    More,
    /// The log ends within the step: the body may go on with it.
    OpenEnded,
}
