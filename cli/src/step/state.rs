//! What was going on in a run when its log was so long: events → state.
//!
//! Folded by `history`, shown by `view` and `json`. No I/O, no clock; values stay in the log, and are referred to by the
//! positions of their events.
//!
//! Invariant: the same events give the same state. Its size is bounded by the traces that are open, not by the log.

use std::collections::{BTreeMap, VecDeque};

use relive_engine::event::{Event, TraceForm, TraceOutcome};
use relive_engine::id::{Epoch, RunId, Sequence, Timestamp};

use crate::log::facts::moment;
use crate::{time, words};

/// How many of the latest deliveries, values and signals are kept of each: 100, more than a screen has lines.
pub(super) const LATEST_MAX: usize = 100;

/// A run as it was behind an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// How many events led here.
    pub(super) events: u64,
    /// Which life of the process wrote the last of them.
    pub(super) epoch: Epoch,
    /// The latest moment that the events tell.
    pub(super) at: Option<Timestamp>,
    /// When the run began.
    pub(super) began_at: Option<Timestamp>,
    /// Which attempt, from 1.
    pub(super) attempt: u32,
    /// The start of the attempt.
    pub(super) attempt_at: Sequence,
    /// The traces that have started and not ended, by their start.
    pub(super) open: BTreeMap<Sequence, Open>,
    /// The latest ends of the body's traces: what it was given, or dropped.
    pub(super) delivered: Latest,
    /// The latest ends of traces that effects called.
    pub(super) nested: Latest,
    /// The latest answers of `now`, `random` and `uuid`.
    pub(super) values: Latest,
    /// The latest signals, in any attempt.
    pub(super) signals: Latest,
    /// Of the attempt.
    pub(super) totals: Totals,
    /// The end of the attempt.
    pub(super) ended: Option<Sequence>,
}

/// A trace that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// When it was called.
    pub(super) at: Timestamp,
    pub(super) form: TraceForm,
    /// The trace whose effect called it.
    pub(super) within: Option<Sequence>,
    pub(super) child: Option<RunId>,
    /// Whether it is `now`, `random` or `uuid`.
    immediate: bool,
    /// How many tries failed, and the last failure.
    pub(super) failed: u32,
    pub(super) retried: Option<Sequence>,
    /// When the next try is due, if one failed.
    pub(super) due: Option<Timestamp>,
    /// How many items it handed on, and the last.
    pub(super) items: u64,
    pub(super) yielded: Option<Sequence>,
}

/// The latest events of a kind, the newest last, and how many there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Latest {
    pub(super) count: u64,
    pub(super) at: VecDeque<Sequence>,
}

impl Latest {
    fn push(&mut self, at: Sequence) {
        self.count += 1;
        if self.at.len() == LATEST_MAX {
            self.at.pop_front();
        }
        self.at.push_back(at);
    }
}

/// Counts of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) started: u64,
    pub(super) ok: u64,
    pub(super) err: u64,
    pub(super) dropped: u64,
    /// Of these, taken from an earlier attempt.
    pub(super) repeated: u64,
    /// Failed tries that another one followed.
    pub(super) retried: u64,
    /// Items of streams and iterators.
    pub(super) items: u64,
}

impl State {
    /// The state one event later.
    pub(super) fn take(&mut self, at: Sequence, epoch: Epoch, event: &Event) {
        self.events = at.0 + 1;
        self.epoch = epoch;
        if let Some(moment) = moment(event) {
            self.at = Some(self.at.map_or(moment, |at| at.max(moment)));
        }
        match event {
            Event::TaskStarted(started) => {
                self.began_at.get_or_insert(started.at);
                (self.attempt, self.attempt_at, self.ended) = (started.attempt, at, None);
                self.totals = Totals::default();
                // What an earlier attempt left open never ends, and its body's values went with it.
                self.open.clear();
                (self.delivered, self.nested, self.values) = Default::default();
            }
            Event::TraceStarted(started) => {
                self.totals.started += 1;
                let open = Open {
                    at: started.at,
                    form: started.form,
                    within: started.within,
                    child: started.child,
                    immediate: words::is_immediate(started),
                    failed: 0,
                    retried: None,
                    due: None,
                    items: 0,
                    yielded: None,
                };
                self.open.insert(at, open);
            }
            Event::TraceRetried(retried) => {
                self.totals.retried += 1;
                if let Some(open) = self.open.get_mut(&retried.trace) {
                    (open.failed, open.retried, open.due) = (retried.tries, Some(at), Some(retried.due));
                }
            }
            Event::TraceYielded(yielded) => {
                self.totals.items += 1;
                if let Some(open) = self.open.get_mut(&yielded.trace) {
                    (open.items, open.yielded) = (yielded.index.saturating_add(1), Some(at));
                }
            }
            Event::TraceCompleted(completed) => {
                match self.open.remove(&completed.trace) {
                    Some(open) if open.immediate => &mut self.values,
                    Some(open) if open.within.is_some() => &mut self.nested,
                    _ => &mut self.delivered,
                }
                .push(at);
                self.totals.repeated += u64::from(completed.repeats.is_some());
                *match completed.outcome {
                    TraceOutcome::Ok(_) => &mut self.totals.ok,
                    TraceOutcome::Err(_) => &mut self.totals.err,
                    _ => &mut self.totals.dropped,
                } += 1;
            }
            Event::SignalReceived(_) => self.signals.push(at),
            Event::TaskCompleted(_) => self.ended = Some(at),
            // Events of versions to come change nothing that is shown here.
            _ => {}
        }
    }

    /// The position of the last event, if there is one.
    pub(super) fn last(&self) -> Option<Sequence> {
        self.events.checked_sub(1).map(Sequence)
    }

    /// How long ago a moment was.
    pub(super) fn since(&self, moment: Timestamp) -> u64 {
        self.at.map_or(0, |at| time::between(moment, at))
    }

    /// What a copy of it takes, roughly: in open traces and references.
    pub(super) fn weight(&self) -> usize {
        let latest = [&self.delivered, &self.nested, &self.values, &self.signals];
        self.open.len() * 4 + latest.iter().map(|latest| latest.at.len()).sum::<usize>() + 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::testing::{completed, retried, signal, started, task_completed, task_started, yielded};

    /// The state behind these events.
    fn folded(events: &[Event]) -> State {
        let mut state = State::default();
        for (at, event) in events.iter().enumerate() {
            state.take(Sequence(at as u64), Epoch(1), event);
        }
        state
    }

    #[test]
    fn a_trace_is_open_from_its_start_to_its_end() {
        let events = [task_started(1), started("fetch"), started("parse"), completed(1, "page"), completed(2, "tree")];
        let open = |count: usize| folded(&events[..count]).open.into_keys().map(|at| at.0).collect::<Vec<_>>();
        assert_eq!([open(1), open(2), open(3), open(4), open(5)], [vec![], vec![1], vec![1, 2], vec![2], vec![]]);
        let end = folded(&events);
        assert_eq!(end.delivered.at, [Sequence(3), Sequence(4)]);
        assert_eq!((end.totals.started, end.totals.ok, end.last()), (2, 2, Some(Sequence(4))));
        // Each event is a second after the one before it.
        assert_eq!(folded(&events[..3]).since(folded(&events[..3]).open[&Sequence(1)].at), 0);
    }

    #[test]
    fn tries_and_items_are_counted_where_they_happen() {
        let events = [task_started(1), started("fetch"), retried(1, 1), retried(1, 2), yielded(1, 0), yielded(1, 1)];
        let state = folded(&events);
        let open = &state.open[&Sequence(1)];
        assert_eq!((open.failed, open.retried, open.items, open.yielded), (2, Some(Sequence(3)), 2, Some(Sequence(5))));
        assert!(open.due.is_some());
        assert_eq!((state.totals.retried, state.totals.items), (2, 2));
    }

    #[test]
    fn what_an_effect_called_is_not_delivered_to_the_body() {
        let Event::TraceStarted(mut nested) = started("rate") else { unreachable!() };
        nested.within = Some(Sequence(1));
        let nested = Event::TraceStarted(nested);
        let state = folded(&[task_started(1), started("charge"), nested, completed(2, "3"), completed(1, "120")]);
        assert_eq!((state.nested.at, state.delivered.at), ([Sequence(3)].into(), [Sequence(4)].into()));
    }

    #[test]
    fn values_and_signals_have_places_of_their_own() {
        let state = folded(&[task_started(1), started("relive::now"), completed(1, "x"), signal("approve")]);
        assert_eq!((state.values.at.len(), state.delivered.at.len(), state.signals.count), (1, 0, 1));
    }

    #[test]
    fn an_attempt_begins_with_nothing_but_the_signals() {
        let mut events = vec![task_started(1), started("fetch"), signal("go"), started("parse"), task_completed()];
        assert_eq!(folded(&events).ended, Some(Sequence(4)));
        events.push(task_started(2));
        let state = folded(&events);
        assert_eq!((state.attempt, state.attempt_at, state.ended), (2, Sequence(5), None));
        assert!(state.open.is_empty() && state.totals == Totals::default());
        assert_eq!(state.signals.count, 1);
    }

    #[test]
    fn memory_is_bounded_by_what_is_open() {
        let mut state = State::default();
        for at in 0..10_000u64 {
            let event = if at.is_multiple_of(2) { started("fetch") } else { completed(at - 1, "page") };
            state.take(Sequence(at), Epoch(1), &event);
        }
        assert_eq!((state.delivered.count, state.delivered.at.len()), (5_000, LATEST_MAX));
        assert!(state.weight() < 1_000);
    }
}
