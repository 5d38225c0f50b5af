//! Hands something over to the body: what an effect came to, or what an earlier attempt found.
//!
//! Invariant: each is one delivery, and begins a step.

use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, TraceCompleted, TraceOutcome, TraceYielded};
use crate::id::Sequence;
use crate::log::LogReader;
use crate::replay::TraceIndex;

use super::super::iterator::LogCursor;
use super::super::poll::{Progress, Ready};
use super::super::wait;
use super::Drive;

impl Drive {
    /// Hands over what an effect came to.
    pub(super) fn deliver(&mut self, ready: Ready) {
        let Ready { index, progress, context, is_work } = ready;
        if let Progress::Completed(completed) = &progress {
            // Whoever watches is told with the run's lock free.
            let micros = is_work.then_some(completed.duration_micros);
            context.effect_ended(&completed.outcome, completed.tries, micros);
        }
        let mut state = self.shared.state.lock();
        let state = &mut *state;
        match progress {
            Progress::Completed(completed) => {
                let signal = state.traces.get(&index).and_then(|slot| slot.signal.as_ref());
                let name = signal.filter(|_| !matches!(completed.outcome, TraceOutcome::Dropped));
                let name = name.map(|signal| signal.name.clone());
                if let Some(name) = &name {
                    state.replay.take_signal(name);
                }
                state.replay.completed(index, completed);
                if let Some(name) = &name {
                    wait::look_again(&self.shared, state, name);
                }
            }
            Progress::Item(item) => {
                if let Some(slot) = state.traces.get_mut(&index) {
                    slot.is_item_out = false;
                }
                let Some(trace) = state.replay.awaited(index) else { return };
                let number = state.replay.item_count(index);
                let yielded = TraceYielded { trace, index: number, item, repeats: None };
                state.replay.yielded(index, yielded, None);
            }
        }
    }

    /// Hands over what an earlier attempt found.
    pub(super) fn recall(&mut self, index: TraceIndex, at: Sequence) -> Result<()> {
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        let Some(trace) = state.replay.awaited(index) else {
            state.replay.forgotten(index);
            return Ok(());
        };
        let Some(start) = state.traces.get(&index).and_then(|slot| slot.remembered) else {
            let event = self.shared.event_at(at)?;
            let Event::TraceCompleted(earlier) = event else {
                let why = format!("run {} at event {at}: an outcome was expected there", self.shared.run);
                return Err(Error::new(ErrorKind::Corrupt, why));
            };
            state.replay.completed(index, TraceCompleted { trace, repeats: Some(at), ..earlier });
            return Ok(());
        };
        if !self.cursors.contains_key(&index) {
            let reader = LogReader::starting_at(self.shared.store()?, self.shared.run, at)?;
            self.cursors.insert(index, LogCursor::new(reader, at));
        }
        let next = match self.cursors.get_mut(&index) {
            Some(cursor) => cursor.next_of(start)?,
            None => None,
        };
        match next {
            Some((at, Event::TraceYielded(earlier))) => {
                // The next one is looked for when the body has taken this one.
                let yielded = TraceYielded { trace, repeats: Some(at), ..earlier };
                state.replay.yielded(index, yielded, Some(Sequence(at.0 + 1)));
            }
            Some((at, Event::TraceCompleted(earlier))) => {
                self.cursors.remove(&index);
                state.replay.completed(index, TraceCompleted { trace, repeats: Some(at), ..earlier });
            }
            _ => {
                // The earlier attempt had come no further: the source goes on.
                self.cursors.remove(&index);
                state.replay.forgotten(index);
                if let Some(slot) = state.traces.get_mut(&index) {
                    slot.remembered = None;
                    slot.may_begin = false;
                }
                self.waiting.push_back((state.appender.end(), index));
            }
        }
        Ok(())
    }
}
