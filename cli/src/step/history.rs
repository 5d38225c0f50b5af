//! A run's log as one moves in it: any event, and the state behind it, in bounded memory.
//!
//! Used by `app` and `plain`. A log is read once, a slice at a time; on the way checkpoints of the state are kept, and any
//! other state is folded from the one before it. Events are read where they stand, as records are found by position.
//!
//! Invariant: memory is bounded by [`CHECKPOINTS_WEIGHT_MAX`] and [`EVENTS_BYTES_MAX`], whatever the log holds.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use relive_engine::error::{Error, ErrorKind, Result};
use relive_engine::event::Batch;
use relive_engine::id::{RunId, Sequence};
use relive_engine::inspect::LoggedEvent;
use relive_engine::log::{LogReader, event_bytes, last_event};
use relive_storage::{PageLimit, Read};

use super::state::State;

/// Between two checkpoints there are at least so many events: 4,096, which are folded in a few milliseconds.
const SPACING_MIN: u64 = 4_096;

/// What all checkpoints may weigh: a million references and open traces, some 50 MiB. Beyond, every second one goes.
const CHECKPOINTS_WEIGHT_MAX: usize = 1_000_000;

/// What the events that are kept at hand may take: 16 MiB, a few screens of them.
const EVENTS_BYTES_MAX: usize = 16 << 20;

/// A run's log.
pub(crate) struct History {
    store: Arc<dyn Read>,
    pub(super) run: RunId,
    /// How many events there are; of a log that turns out to be damaged, how many can be read.
    count: u64,
    /// Why the events behind those cannot be read.
    damage: Option<Error>,
    /// States by their number of events, rising; the first is of none.
    checkpoints: Vec<State>,
    spacing: u64,
    weight_max: usize,
    /// How far the log was read, and what reads on.
    front: State,
    reader: Option<LogReader>,
    /// What the reader found beyond `front`.
    ahead: Option<(Batch, usize)>,
    events: BTreeMap<Sequence, Rc<LoggedEvent>>,
    events_bytes: usize,
}

impl History {
    /// The log of a run, as long as it is now.
    ///
    /// # Errors
    /// If there is no such run, or nothing of its log can be read.
    pub(crate) fn open(store: Arc<dyn Read>, run: RunId) -> Result<Self> {
        let mut reader = LogReader::new(Arc::clone(&store), run);
        let missing = || Error::new(ErrorKind::UnknownRun, format!("there is no run {run}"));
        let first = reader.next_batch()?.ok_or_else(missing)?;
        // A damaged end is met when the log is read: until then it is as long as its last key says.
        let count = match last_event(store.as_ref(), run) {
            Ok(Some((at, _))) => at.0 + 1,
            Ok(None) => return Err(missing()),
            Err(_) => u64::MAX,
        };
        let mut history = Self {
            store,
            run,
            count,
            damage: None,
            checkpoints: vec![State::default()],
            spacing: SPACING_MIN,
            weight_max: CHECKPOINTS_WEIGHT_MAX,
            front: State::default(),
            reader: Some(reader),
            ahead: Some((first, 0)),
            events: BTreeMap::new(),
            events_bytes: 0,
        };
        while history.count == u64::MAX {
            history.read_on(u64::MAX);
        }
        Ok(history)
    }

    /// How many events can be read, as far as is known.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The position of the last event.
    pub(crate) fn last(&self) -> Sequence {
        Sequence(self.count.saturating_sub(1))
    }

    /// Why the log ends before its end, once that is known.
    pub(crate) fn damage(&self) -> Option<&Error> {
        self.damage.as_ref()
    }

    /// The same, to be reported.
    pub(crate) fn take_damage(&mut self) -> Option<Error> {
        self.damage.take()
    }

    /// Whether the log was read to this event, so that the state behind it is at hand.
    pub(crate) fn is_read_to(&self, at: Sequence) -> bool {
        self.front.events > at.0 || self.is_read()
    }

    /// Whether all of it was read.
    pub(crate) fn is_read(&self) -> bool {
        self.front.events >= self.count
    }

    /// How far the log was read.
    pub(crate) fn read(&self) -> u64 {
        self.front.events
    }

    /// Reads on by so many events. Damage is where the log ends from then on.
    pub(crate) fn read_on(&mut self, events_max: u64) {
        let until = self.front.events.saturating_add(events_max);
        while self.front.events < until && !self.is_read() {
            let (batch, next) = match self.ahead.take() {
                Some(ahead) => ahead,
                None => match self.reader.as_mut().map_or(Ok(None), LogReader::next_batch) {
                    Ok(Some(batch)) => (batch, 0),
                    Ok(None) => return self.end(None),
                    Err(error) => return self.end(Some(error)),
                },
            };
            // What an engine appends meanwhile is for the next look.
            let room = until.min(self.count) - self.front.events;
            let upto = batch.events.len().min(next.saturating_add(usize::try_from(room).unwrap_or(usize::MAX)));
            for (index, event) in batch.events.iter().enumerate().take(upto).skip(next) {
                self.front.take(Sequence(batch.first.0 + index as u64), batch.epoch, event);
                self.keep_checkpoint();
            }
            if upto < batch.events.len() {
                self.ahead = Some((batch, upto));
            }
        }
    }

    /// The log ends where it was read to.
    fn end(&mut self, damage: Option<Error>) {
        self.count = self.front.events;
        self.damage = damage;
        self.reader = None;
    }

    fn keep_checkpoint(&mut self) {
        let since = self.front.events - self.checkpoints.last().map_or(0, |state| state.events);
        // A state that is large is copied the more rarely.
        if since < self.spacing.max(self.front.weight() as u64) {
            return;
        }
        self.checkpoints.push(self.front.clone());
        if self.checkpoints.iter().map(State::weight).sum::<usize>() > self.weight_max {
            self.spacing *= 2;
            let mut index = 0;
            self.checkpoints.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    /// The state behind an event. Reads the log up to there if it was not: call [`Self::read_on`] before where that may
    /// take long. Of a log that ends before, the state at its end.
    ///
    /// # Errors
    /// If what was read before cannot be read again.
    pub(crate) fn state(&mut self, at: Sequence) -> Result<State> {
        let wanted = at.0.saturating_add(1);
        self.read_on(wanted.saturating_sub(self.front.events));
        if self.front.events <= wanted {
            return Ok(self.front.clone());
        }
        let behind = self.checkpoints.partition_point(|state| state.events <= wanted);
        let mut state = self.checkpoints[behind.saturating_sub(1)].clone();
        if state.events == wanted {
            return Ok(state);
        }
        let mut reader = LogReader::starting_at(Arc::clone(&self.store), self.run, Sequence(state.events))?;
        while state.events < wanted
            && let Some(batch) = reader.next_batch()?
        {
            let next = state.events;
            for (at, event) in (batch.first.0..wanted).zip(&batch.events).filter(|(at, _)| *at >= next) {
                state.take(Sequence(at), batch.epoch, event);
            }
        }
        Ok(state)
    }

    /// An event.
    ///
    /// # Errors
    /// If it cannot be read, or there is none.
    pub(crate) fn event(&mut self, at: Sequence) -> Result<Rc<LoggedEvent>> {
        if let Some(event) = self.events.get(&at) {
            return Ok(Rc::clone(event));
        }
        self.load(at, at)?;
        self.events.get(&at).cloned().ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("run {} at event {at}: the log does not hold it", self.run))
        })
    }

    /// Has these events at hand, as far as there is room: reads them at once.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn load(&mut self, from: Sequence, to: Sequence) -> Result<()> {
        if (from.0..=to.0).all(|at| self.events.contains_key(&Sequence(at))) {
            return Ok(());
        }
        if self.events_bytes > EVENTS_BYTES_MAX {
            self.events.clear();
            self.events_bytes = 0;
        }
        let mut bytes = 0;
        for logged in self.between(from, to)? {
            let logged = logged?;
            bytes += event_bytes(&logged.event);
            if bytes > EVENTS_BYTES_MAX {
                break;
            }
            self.events_bytes += event_bytes(&logged.event);
            self.events.insert(logged.sequence, Rc::new(logged));
        }
        Ok(())
    }

    /// These events, one after the other, from the log.
    ///
    /// # Errors
    /// If no record holds the first.
    pub(crate) fn between(
        &self,
        from: Sequence,
        to: Sequence,
    ) -> Result<impl Iterator<Item = Result<LoggedEvent>> + use<>> {
        // No more records than there are events.
        let count = usize::try_from(to.0.saturating_sub(from.0)).unwrap_or(usize::MAX).saturating_add(1);
        let reader = LogReader::starting_at(Arc::clone(&self.store), self.run, from)?;
        let mut reader = reader.fetching(count.min(PageLimit::default().row_count));
        let mut batch = Vec::new().into_iter();
        let (mut at, mut epoch) = (from, Default::default());
        Ok(std::iter::from_fn(move || {
            loop {
                if at > to {
                    return None;
                }
                if let Some(event) = batch.next() {
                    let sequence = at;
                    at.0 += 1;
                    return Some(Ok(LoggedEvent { sequence, epoch, event }));
                }
                let Batch { first, epoch: life, events, .. } = match reader.next_batch().transpose()? {
                    Ok(next) => next,
                    Err(error) => {
                        at = Sequence(u64::MAX);
                        return Some(Err(error));
                    }
                };
                epoch = life;
                batch = events.into_iter();
                // The first record may begin before what is asked for.
                if let Some(before) = at.0.checked_sub(first.0 + 1)
                    && let Ok(before) = usize::try_from(before)
                {
                    batch.nth(before);
                }
            }
        }))
    }

    /// The event that started the trace which an event is about, if it is about one.
    pub(crate) fn trace_of(logged: &LoggedEvent) -> Option<Sequence> {
        use relive_engine::event::Event;
        match &logged.event {
            Event::TraceStarted(_) => Some(logged.sequence),
            Event::TraceRetried(retried) => Some(retried.trace),
            Event::TraceYielded(yielded) => Some(yielded.trace),
            Event::TraceCompleted(completed) => Some(completed.trace),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use relive_engine::event::Event;

    use super::*;
    use crate::step::testing::{RUN, completed, damage, digest, reader, started, stored, task_completed, task_started};

    /// A log of so many traces, one after the other.
    fn long(traces: u64) -> Vec<Vec<Event>> {
        let mut batches = vec![vec![task_started(1), started("fetch")]];
        for trace in 0..traces {
            batches.push(vec![completed(trace * 2 + 1, "page"), started("fetch")]);
        }
        batches.push(vec![task_completed()]);
        batches
    }

    /// The state behind each event, folded from the first on.
    fn folded(batches: &[Vec<Event>]) -> Vec<State> {
        let mut state = State::default();
        let events = batches.iter().flatten().enumerate();
        events
            .map(|(at, event)| {
                state.take(Sequence(at as u64), relive_engine::id::Epoch(1), event);
                state.clone()
            })
            .collect()
    }

    #[test]
    fn every_state_is_what_its_events_say_from_wherever_one_comes() {
        let batches = digest();
        let states = folded(&batches);
        let open = || History::open(reader(stored(RUN, batches.clone())), RUN).unwrap();
        let (mut forward, mut back) = (open(), open());
        assert_eq!(forward.count(), states.len() as u64);
        for at in 0..states.len() {
            let from_the_end = states.len() - 1 - at;
            assert_eq!(forward.state(Sequence(at as u64)).unwrap(), states[at], "{at}");
            assert_eq!(back.state(Sequence(from_the_end as u64)).unwrap(), states[from_the_end], "{from_the_end}");
        }
    }

    #[test]
    fn states_of_a_long_log_come_from_checkpoints() {
        let batches = long(10_000);
        let states = folded(&batches);
        let mut history = History::open(reader(stored(RUN, batches)), RUN).unwrap();
        assert!(!history.is_read());
        for at in [20_002, 0, 4_095, 4_096, 4_097, 12_345, 8_191, 20_001, 1] {
            assert_eq!(history.state(Sequence(at)).unwrap(), states[at as usize], "{at}");
        }
        assert!(history.is_read() && history.checkpoints.len() == 5, "{}", history.checkpoints.len());
    }

    #[test]
    fn checkpoints_are_thinned_where_they_would_take_too_much() {
        let batches = long(20_000);
        let states = folded(&batches);
        let mut history = History::open(reader(stored(RUN, batches)), RUN).unwrap();
        history.weight_max = 1_000;
        history.read_on(u64::MAX);
        assert!(history.spacing > SPACING_MIN);
        assert!(history.checkpoints.iter().map(State::weight).sum::<usize>() <= 1_000);
        assert_eq!(history.checkpoints[0], State::default());
        for at in [30_001, 100, 39_999, 0] {
            assert_eq!(history.state(Sequence(at)).unwrap(), states[at as usize], "{at}");
        }
    }

    #[test]
    fn a_state_that_is_large_is_copied_rarely() {
        let mut batches = vec![vec![task_started(1)]];
        batches.extend((0..30).map(|_| (0..1_000).map(|_| started("held")).collect()));
        let mut history = History::open(reader(stored(RUN, batches)), RUN).unwrap();
        history.read_on(u64::MAX);
        // Each weighs four times its open traces, and the next is that many events later.
        assert!(history.checkpoints.len() <= 3, "{}", history.checkpoints.len());
    }

    #[test]
    fn a_log_is_read_a_slice_at_a_time() {
        let mut history = History::open(reader(stored(RUN, long(100))), RUN).unwrap();
        for read in [7, 14, 21] {
            history.read_on(7);
            assert_eq!(history.read(), read);
        }
        assert!(history.is_read_to(Sequence(20)) && !history.is_read_to(Sequence(21)));
        history.read_on(u64::MAX);
        assert!(history.is_read() && history.read() == history.count());
    }

    #[test]
    fn any_event_is_read_where_it_stands() {
        let batches = digest();
        let events: Vec<Event> = batches.iter().flatten().cloned().collect();
        let mut history = History::open(reader(stored(RUN, batches)), RUN).unwrap();
        for at in (0..events.len()).rev().chain(0..events.len()) {
            let logged = history.event(Sequence(at as u64)).unwrap();
            assert_eq!((logged.sequence.0, &logged.event), (at as u64, &events[at]));
        }
        assert!(history.event(Sequence(99)).is_err());
    }

    #[test]
    fn damage_is_where_the_log_ends() {
        let store = stored(RUN, digest());
        damage(&store, RUN, 5);
        let mut history = History::open(reader(store), RUN).unwrap();
        assert_eq!((history.count(), history.damage().is_none()), (14, true));
        let state = history.state(history.last()).unwrap();
        assert_eq!((history.count(), state.events), (5, 5));
        assert!(history.damage().unwrap().to_string().contains("at event 5"));

        // Also where the damage is the last record: its length is not known before all was read.
        let store = stored(RUN, digest());
        damage(&store, RUN, 12);
        let history = History::open(reader(store), RUN).unwrap();
        assert_eq!((history.count(), history.damage().is_some()), (12, true));
    }

    #[test]
    fn there_is_no_history_of_a_run_that_is_not_there() {
        let error = History::open(reader(stored(RUN, vec![])), RUN).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::UnknownRun);
    }
}
