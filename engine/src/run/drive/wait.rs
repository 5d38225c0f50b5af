//! A live run between two steps: starts effects whose starts are durable, polls those that were woken, and picks the next
//! thing to deliver.
//!
//! Called by the loop; polls the body only in lenient mode, when a stranger woke it.
//!
//! Invariants: no effect is polled before its start is durable; nothing is picked while the run is too far ahead of the
//! disk; what a stranger's wake brought about is found out before a delivery hides it; a run whose traces all wait holds no
//! turn.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use relive_storage::Operation;
use relive_storage::planted::{Planted, planted};

use crate::error::{ErrorKind, Result, storage_error};
use crate::event::{ErrorRecord, Event, TraceOutcome};
use crate::id::Sequence;
use crate::index;
use crate::replay::TraceIndex;

use super::super::mailbox::{Letter, Stop};
use super::super::poll::{Polled, Progress, bury, poll_body, poll_effect};
use super::super::shared::{RunState, Work};
use super::super::wait;
use super::{AHEAD_BYTES_MAX, Drive, closed, release, until};

/// Rounds of effects that wake each other before the runtime gets the thread back.
const ROUNDS_MAX: u32 = 64;

/// What ended a wait.
pub(super) enum Waited {
    Ready(TraceIndex, Progress),
    Cancelled,
    /// The body did what a task must not do.
    Foreign(ErrorRecord),
    /// The attempt took too long; and whether another may follow.
    TimedOut(ErrorRecord, bool),
}

/// When the attempt has taken too long.
pub(super) struct Alarm {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Whether another attempt may follow.
    retries: bool,
}

impl Drive {
    /// Live: waits for the next delivery.
    pub(super) async fn wait(&mut self) -> Result<Waited> {
        if !self.is_live {
            if self.keep_up().await? {
                return Ok(Waited::Cancelled);
            }
            self.go_live()?;
        }
        poll_fn(|cx| self.poll_wait(cx)).await
    }

    /// What the log holds as started and not completed runs again. Signals that came meanwhile are read.
    fn go_live(&mut self) -> Result<()> {
        self.is_live = true;
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        state.new_starts.clear();
        let known: BTreeSet<_> = self.waiting.iter().map(|(_, index)| *index).collect();
        let undelivered = state.traces.iter().filter(|(index, slot)| !slot.work.is_none() && !known.contains(index));
        // Behind what this life has appended to the log's last step, as everything that begins.
        let end = state.appender.end();
        // Sleeps that are over end in the order in which they would have.
        let mut undelivered: Vec<_> = undelivered.map(|(index, slot)| (slot.due, *index)).collect();
        undelivered.sort_unstable();
        for (_, index) in undelivered.into_iter().rev() {
            self.waiting.push_front((end, index));
        }
        self.released.extend(state.released.drain(..).map(|child| (end, child)));
        let letters = match &state.store {
            Some(store) => index::inbox(store.as_ref(), self.shared.run)?,
            None => Vec::new(),
        };
        let plan = &state.appender.plan;
        let clock = &self.shared.environment.clock;
        let at = |started: crate::id::Timestamp, span: Option<std::time::Duration>| {
            let due = crate::id::Timestamp(started.0.saturating_add(i64::try_from(span?.as_micros()).ok()?));
            let (now, elapsed) = plan.made_at;
            Some(elapsed.saturating_add(until(now, due)))
        };
        let attempt_end = at(plan.attempt_started_at, plan.definition.policy.timeout).map(|due| (due, true));
        let run_end = at(plan.series_started_at, plan.definition.policy.deadline).map(|due| (due, false));
        self.alarm = attempt_end
            .into_iter()
            .chain(run_end)
            .min()
            .map(|(due, retries)| Alarm { future: clock.sleep_until(due), retries });
        state.signals_seen = letters.iter().map(|letter| letter.key.clone()).collect();
        drop(guard);
        self.signalled(letters, true)
    }

    /// Signals go from the inbox into the log.
    fn signalled(&mut self, letters: Vec<Letter>, from_inbox: bool) -> Result<()> {
        if letters.is_empty() {
            return Ok(());
        }
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        for letter in letters {
            // Told of late, it may be in the log: by this attempt, or by the one before it.
            if !from_inbox && (state.signals_seen.remove(&letter.key) || !self.is_in_inbox(state, &letter)?) {
                continue;
            }
            state.appender.also(Operation::Delete { keyspace: index::INBOX, key: letter.key });
            state.replay.aside(Event::SignalReceived(letter.signal));
        }
        self.shared.append_aside(state, false)?;
        let waiting = state.traces.values().filter(|slot| slot.signal.is_some());
        let wakers: Vec<_> = waiting.filter_map(|slot| slot.waker.clone()).collect();
        drop(guard);
        wakers.into_iter().for_each(std::task::Wake::wake);
        Ok(())
    }

    /// Whether a signal is not in the log yet.
    fn is_in_inbox(&self, state: &RunState, letter: &Letter) -> Result<bool> {
        let store = state.store.as_ref().ok_or_else(|| closed(self.shared.run))?;
        Ok(store.get(index::INBOX, &letter.key).map_err(storage_error)?.is_some())
    }

    fn poll_wait(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Waited>> {
        for _ in 0..ROUNDS_MAX {
            let received = self.shared.mailbox.receive(cx.waker());
            self.note(&received)?;
            if received.stop == Some(Stop::Abort) {
                return Poll::Ready(Err(closed(self.shared.run)));
            }
            if let Some(error) = self.shared.state.lock().fatal.take() {
                return Poll::Ready(match error.kind() {
                    ErrorKind::ForeignAwait => Ok(Waited::Foreign(error.to_record())),
                    _ => Err(error),
                });
            }
            if received.cancelled {
                return Poll::Ready(Ok(Waited::Cancelled));
            }
            if let Some(alarm) = &mut self.alarm
                && alarm.future.as_mut().poll(cx).is_ready()
            {
                let retries = alarm.retries;
                return Poll::Ready(Ok(Waited::TimedOut(self.out_of_time(retries), retries)));
            }
            let mut progressed = received.stranger_count > 0 || !received.signals.is_empty();
            self.signalled(received.signals, false)?;
            // What needs the processor needs the run's turn.
            for index in received.woken {
                self.woken.push_back(index);
            }
            self.stranger_count += received.stranger_count;
            if self.has_work() && self.turn.poll_take(cx).is_pending() {
                return Poll::Pending;
            }
            if std::mem::take(&mut self.stranger_count) > 0
                && let Some(record) = self.stranger()
            {
                return Poll::Ready(Ok(Waited::Foreign(record)));
            }
            let durable = self.release_and_flush(received.stop)?;
            if received.stop.is_none() {
                while let Some((end, index)) = self.waiting.front().copied()
                    && (end <= durable || planted(Planted::NoBarrier))
                {
                    self.waiting.pop_front();
                    if let Some(slot) = self.shared.state.lock().traces.get_mut(&index) {
                        slot.may_begin = true;
                    }
                    self.poll_effect(index);
                    progressed = true;
                }
                let hungry = std::mem::take(&mut self.shared.state.lock().hungry);
                for index in hungry {
                    // Where all items so far are from the log or an earlier attempt, the source has yet to begin: it still
                    // waits for its start to be durable.
                    if self.shared.state.lock().traces.get(&index).is_none_or(|slot| !slot.may_begin) {
                        continue;
                    }
                    self.poll_effect(index);
                    progressed = true;
                }
            }
            while let Some(index) = self.woken.pop_front() {
                // A waker that an earlier attempt's effect left somewhere begins nothing.
                if self.shared.state.lock().traces.get(&index).is_none_or(|slot| slot.waker.is_none()) {
                    continue;
                }
                self.poll_effect(index);
                progressed = true;
            }
            if !self.shared.state.lock().appender.is_ahead(AHEAD_BYTES_MAX) {
                while let Some((index, progress)) = self.ready.pop_front() {
                    // An effect that woke the body by another way than its result is found out before the result hides it.
                    if self.shared.mailbox.take_strangers() > 0
                        && let Some(record) = self.stranger()
                    {
                        return Poll::Ready(Ok(Waited::Foreign(record)));
                    }
                    if self.is_wanted(index, &progress) {
                        return Poll::Ready(Ok(Waited::Ready(index, progress)));
                    }
                }
            }
            if self.shared.state.lock().replay.pending_count() > 0 {
                // An effect on another thread called a trace meanwhile.
                let mut state = self.shared.state.lock();
                self.shared.append_aside(&mut state, false)?;
                progressed = true;
            }
            if progressed {
                continue;
            }
            {
                let mut state = self.shared.state.lock();
                let RunState { replay, appender, .. } = &mut *state;
                appender.flush(replay)?;
            }
            let idle = self.idle(received.stop);
            if idle.is_pending() {
                let is_running = self.shared.state.lock().running_count > 0;
                if !is_running && self.stays_awake() {
                    continue;
                }
                if !is_running && self.waiting.is_empty() && self.shared.state.lock().appender.is_durable() {
                    self.turn.give_back();
                }
            }
            return idle;
        }
        // Effects that keep waking each other must not keep the thread.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether there is something to poll or to deliver.
    fn has_work(&self) -> bool {
        let state = self.shared.state.lock();
        let durable = state.appender.durable();
        self.stranger_count > 0
            || !self.ready.is_empty()
            || !self.woken.is_empty()
            || !state.hungry.is_empty()
            || self.waiting.front().is_some_and(|(end, _)| *end <= durable)
    }

    /// Children that were dropped, durably, are let go. Gives how much is durable.
    fn release_and_flush(&mut self, stop: Option<Stop>) -> Result<Sequence> {
        let durable = self.shared.state.lock().appender.durable();
        while let Some((end, child)) = self.released.front().copied()
            && end <= durable
        {
            self.released.pop_front();
            if stop.is_none() {
                release(&self.shared, child);
            }
        }
        Ok(durable)
    }

    /// Whether the body still awaits this. Of signals: whether this one is still to be had.
    fn is_wanted(&self, index: TraceIndex, progress: &Progress) -> bool {
        let mut state = self.shared.state.lock();
        let state = &mut *state;
        if state.replay.awaited(index).is_none() {
            return false;
        }
        let Some(slot) = state.traces.get_mut(&index) else { return false };
        let Some(signal) = &slot.signal else { return true };
        let Progress::Completed(completed) = progress else { return true };
        let is_first = match (&completed.outcome, state.replay.signal(&signal.name)) {
            (TraceOutcome::Ok(value), Some(first)) => value == first,
            (TraceOutcome::Err(_), first) => first.is_some(),
            _ => false,
        };
        if !is_first {
            // Another wait was handed it: this one goes on waiting.
            slot.work = Work::Effect(wait::signal(Arc::clone(&slot.context), signal.as_ref().clone()));
            self.shared.mailbox.woken(index);
        }
        is_first
    }

    fn out_of_time(&self, retries: bool) -> ErrorRecord {
        let state = self.shared.state.lock();
        let definition = state.appender.plan.definition;
        let (span, what) = if retries {
            (definition.policy.timeout, "an attempt may take")
        } else {
            (definition.policy.deadline, "all its attempts may take")
        };
        let span = span.unwrap_or_default();
        ErrorRecord::new(
            ErrorKind::TimedOut,
            format!("task {} took longer than the {span:?} that {what}", definition.name),
        )
    }

    /// Nothing to do for now: or for ever?
    fn idle(&self, stop: Option<Stop>) -> Poll<Result<Waited>> {
        let state = self.shared.state.lock();
        if stop == Some(Stop::Drain) && state.running_count == 0 && self.ready.is_empty() && state.appender.is_durable()
        {
            return Poll::Ready(Err(closed(self.shared.run)));
        }
        if state.awaited_count == 0 && self.ready.is_empty() {
            return Poll::Ready(Ok(Waited::Foreign(ErrorRecord::new(
                ErrorKind::ForeignAwait,
                format!(
                    "task {} waits for something that is not a trace, and no trace is under way: put what it awaits into a \
                     trace",
                    state.appender.plan.definition.name
                ),
            ))));
        }
        Poll::Pending
    }

    fn poll_effect(&mut self, index: TraceIndex) {
        if let Some(progress) = poll_effect(&self.shared, index) {
            self.ready.push_back((index, progress));
        }
    }

    /// Somebody who is not this run woke the body. Strict: that fails the run. Lenient: the body is polled once, and may
    /// not get on by it.
    fn stranger(&mut self) -> Option<ErrorRecord> {
        let name = self.shared.state.lock().appender.plan.definition.name;
        let why = format!(
            "task {name} awaits something that is not a trace (a timer, a socket, a spawned task, a channel that is fed from \
             outside): replay could not repeat when it was ready; put it into a trace"
        );
        if let Some(error) = self.shared.state.lock().fatal.take() {
            // What woke the loop was an error of its own.
            self.shared.fail(error);
            return None;
        }
        if self.settings.strict {
            return Some(ErrorRecord::new(ErrorKind::ForeignAwait, why));
        }
        tracing::warn!(run = %self.shared.run, "{why}");
        let body = self.body.as_mut()?;
        let polled = poll_body(&self.shared, body, &self.body_waker);
        bury(&self.shared);
        let moved = !matches!(polled, Polled::Rests) || self.shared.state.lock().replay.is_dirty();
        moved.then(|| ErrorRecord::new(ErrorKind::ForeignAwait, why))
    }
}
