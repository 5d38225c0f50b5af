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
    pub(super) events: Vec<(Sequence, Event)>,
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
        let mut at = batch.first;
        let mut piece: Option<Piece> = None;
        for event in batch.events {
            let sequence = at;
            at.0 += 1;
            let Some(event) = asides.observe(sequence, event) else { continue };
            let begins = self.begins_step(sequence, &event);
            if begins && let Some(piece) = piece.take() {
                // A delivery follows, so the step before it was complete; unless the engine ended the attempt in its first.
                let settled = !matches!(piece.events[..], [(_, Event::TaskStarted(_))]);
                self.pieces.push_back(Piece { settled, ..piece });
            }
            let piece = piece.get_or_insert_with(|| Piece {
                begins,
                settled: batch.settled,
                in_iterator: false,
                events: Vec::with_capacity(2),
            });
            piece.events.push((sequence, event));
        }
        self.end = at;
        if let Some(mut piece) = piece {
            piece.in_iterator = !piece.settled && self.inline.values().any(|form| *form == TraceForm::Iterator);
            self.pieces.push_back(piece);
        }
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
            Some((_, Event::TaskCompleted(completed))) if completed.imposed => Some(completed),
            _ => None,
        }
    }

    /// The pieces of the next step, as far as they are needed to begin it; and whether more belong to it. `None` if more
    /// must be fed to know.
    pub(super) fn take_step(&mut self) -> Option<(Vec<Piece>, Rest)> {
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
        Some((self.pieces.drain(..count).collect(), self.known(rest)))
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
