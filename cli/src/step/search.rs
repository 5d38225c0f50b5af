//! Looks through a log for an event, a slice at a time.
//!
//! Used by `app`, which shows how far it got, and may give it up between two slices.
//!
//! Invariant: every event but the one it began at is looked at once, then it ends.

use std::collections::BTreeMap;

use relive_engine::error::Result;
use relive_engine::event::{Event, TraceOutcome};
use relive_engine::id::Sequence;
use relive_engine::inspect::LoggedEvent;

use super::history::History;
use crate::call::{OneLine, call};
use crate::text::{cut_display, escaped};

/// An event's text is looked through up to here: 2,000 columns, more than a screen shows.
const COLUMNS_MAX: usize = 2_000;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A text in what an event says, in any case.
    Text(String),
    /// The end of a trace.
    End(Sequence),
}

/// How a slice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There, and whether the search had come to an end of the log and gone on at the other.
    Found(Sequence, bool),
    /// Nowhere.
    Nowhere,
    /// Not yet known.
    Further,
}

/// A search under way.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) wanted: Wanted,
    forward: bool,
    /// Where the next slice begins; backward, where it ends.
    next: u64,
    /// How many events there are still to look at.
    pub(super) left: u64,
    turned: bool,
    /// The names of traces whose start was met.
    names: BTreeMap<Sequence, String>,
}

impl Search {
    /// From behind an event on, or before it and back, around the whole log.
    pub(super) fn new(wanted: Wanted, at: Sequence, forward: bool, count: u64) -> Self {
        let count = count.max(1);
        let next = if forward { (at.0 + 1) % count } else { at.0.checked_sub(1).unwrap_or(count - 1) };
        let turned = if forward { at.0 + 1 >= count } else { at.0 == 0 };
        Self { wanted: Wanted::lowered(wanted), forward, next, left: count - 1, turned, names: BTreeMap::new() }
    }

    /// Looks at so many events.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn step(&mut self, history: &History, events_max: u64) -> Result<Step> {
        let count = history.count();
        if self.left == 0 || self.next >= count {
            return Ok(Step::Nowhere);
        }
        let most = events_max.min(self.left).max(1);
        let (from, to) = if self.forward {
            (self.next, (self.next + most - 1).min(count - 1))
        } else {
            ((self.next + 1).saturating_sub(most), self.next)
        };
        self.names.clear();
        let mut found = None;
        for logged in history.between(Sequence(from), Sequence(to))? {
            let logged = logged?;
            if self.matches(history, &logged) {
                found = Some(logged.sequence);
                if self.forward {
                    break;
                }
            }
        }
        if let Some(at) = found {
            return Ok(Step::Found(at, self.turned));
        }
        self.left -= to - from + 1;
        // The end of a trace is behind its start.
        if self.left == 0 || matches!(self.wanted, Wanted::End(_)) && to + 1 == count {
            return Ok(Step::Nowhere);
        }
        let (end, next) = if self.forward { (to + 1 == count, to + 1) } else { (from == 0, from.wrapping_sub(1)) };
        self.turned |= end;
        self.next = match (end, self.forward) {
            (false, _) => next,
            (true, true) => 0,
            (true, false) => count - 1,
        };
        Ok(Step::Further)
    }

    fn matches(&mut self, history: &History, logged: &LoggedEvent) -> bool {
        match &self.wanted {
            Wanted::End(trace) => matches!(&logged.event, Event::TraceCompleted(end) if end.trace == *trace),
            Wanted::Text(_) => {
                let text = self.text(history, logged).to_lowercase();
                matches!(&self.wanted, Wanted::Text(wanted) if text.contains(wanted.as_str()))
            }
        }
    }

    /// What an event says, with the name of its trace.
    fn text(&mut self, history: &History, logged: &LoggedEvent) -> String {
        let name = match &logged.event {
            Event::TraceStarted(started) => {
                self.names.insert(logged.sequence, escaped(&started.name));
                String::new()
            }
            _ => History::trace_of(logged).map(|trace| self.name(history, trace)).unwrap_or_default(),
        };
        let said = match &logged.event {
            Event::TaskStarted(started) => call(&started.task, &started.input, COLUMNS_MAX),
            Event::TraceStarted(started) => {
                let call = call(&started.name, &started.input, COLUMNS_MAX);
                format!("{call} {}:{}", escaped(&started.file), started.line)
            }
            Event::TraceRetried(retried) => cut_display(&OneLine(&retried.error), COLUMNS_MAX),
            Event::TraceYielded(yielded) => cut_display(&yielded.item.to_value(), COLUMNS_MAX),
            Event::TraceCompleted(completed) => match &completed.outcome {
                TraceOutcome::Ok(output) => cut_display(&output.to_value(), COLUMNS_MAX),
                TraceOutcome::Err(error) => cut_display(&OneLine(error), COLUMNS_MAX),
                _ => "dropped".to_owned(),
            },
            Event::SignalReceived(received) => {
                format!("{} {}", escaped(&received.name), cut_display(&received.value.to_value(), COLUMNS_MAX))
            }
            Event::TaskCompleted(completed) => match &completed.outcome {
                relive_engine::event::TaskOutcome::Ok(output) => cut_display(&output.to_value(), COLUMNS_MAX),
                relive_engine::event::TaskOutcome::Err(error) => cut_display(&OneLine(error), COLUMNS_MAX),
                _ => "cancelled".to_owned(),
            },
            _ => String::new(),
        };
        format!("{} {name} {said}", logged.event.name())
    }

    /// The name of a trace that started in this slice or before it.
    fn name(&mut self, history: &History, trace: Sequence) -> String {
        if let Some(name) = self.names.get(&trace) {
            return name.clone();
        }
        let started = history.between(trace, trace).ok().and_then(|mut events| events.next()?.ok());
        let name = match started.map(|logged| logged.event) {
            Some(Event::TraceStarted(started)) => escaped(&started.name),
            _ => String::new(),
        };
        self.names.insert(trace, name.clone());
        name
    }
}

impl Wanted {
    fn lowered(self) -> Self {
        match self {
            Self::Text(text) => Self::Text(text.to_lowercase()),
            end => end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::testing::{RUN, digest, reader, stored};

    /// Where searches for a text end, in slices of so many events.
    fn found(text: &str, at: u64, forward: bool, slice: u64) -> Option<(u64, bool)> {
        let history = History::open(reader(stored(RUN, digest())), RUN).unwrap();
        let mut search = Search::new(Wanted::Text(text.to_owned()), Sequence(at), forward, history.count());
        loop {
            match search.step(&history, slice).unwrap() {
                Step::Found(at, turned) => return Some((at.0, turned)),
                Step::Nowhere => return None,
                Step::Further => {}
            }
        }
    }

    #[test]
    fn a_text_is_found_in_both_directions_in_slices_of_any_size() {
        for slice in [1, 2, 3, 5, 100] {
            assert_eq!(found("SUMMARIZE", 0, true, slice), Some((7, false)), "{slice}");
            assert_eq!(found("summarize", 7, true, slice), Some((10, false)), "by the name of its trace");
            assert_eq!(found("summarize", 10, true, slice), Some((7, true)), "from the beginning again");
            assert_eq!(found("summarize", 8, false, slice), Some((7, false)));
            assert_eq!(found("summarize", 7, false, slice), Some((10, true)), "from the end again");
            assert_eq!(found("10.0.0.7", 0, false, slice), Some((12, true)));
            assert_eq!(found("no such text", 5, true, slice), None);
            assert_eq!(found("no such text", 5, false, slice), None);
        }
    }

    #[test]
    fn the_end_of_a_trace_is_found_behind_it_or_not_at_all() {
        let history = History::open(reader(stored(RUN, digest())), RUN).unwrap();
        let step = |trace: u64| {
            let trace = Sequence(trace);
            Search::new(Wanted::End(trace), trace, true, history.count()).step(&history, 100).unwrap()
        };
        assert_eq!(step(3), Step::Found(Sequence(9), false));
        assert_eq!(step(13), Step::Nowhere);
    }
}
