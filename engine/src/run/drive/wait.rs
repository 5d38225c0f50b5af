//! A live run between two steps: starts effects whose starts are durable, polls those that were woken, and picks the next
//! thing to deliver. What is over ends before anything begins.
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

use crate::error::{Error, ErrorKind, Result};
use crate::event::{ErrorRecord, Event, TaskOutcome, TraceOutcome};
use crate::id::Sequence;
use crate::index;
use crate::replay::TraceIndex;

use super::super::mailbox::{Letter, Received, Stop};
use super::super::poll::{Polled, Progress, Why, bury, poll_body, poll_effect};
use super::super::rest::{self, Moment};
use super::super::shared::{RunState, Work};
use super::super::wait;
use super::{AHEAD_BYTES_MAX, Drive, Imposed, Over, closed, release};

/// Rounds of effects that wake each other before the runtime gets the thread back.
const ROUNDS_MAX: u32 = 64;

/// What ended a wait.
pub(super) enum Waited {
    /// Something was handed over to the body.
    Delivered,
    /// It has nothing to do until then, and need not be in memory.
    Rests(rest::Rest),
    /// The attempt ends, from outside its body.
    Ended(Box<Imposed>),
}

impl Waited {
    fn cancelled() -> Self {
        Self::Ended(Box::new(Imposed { outcome: TaskOutcome::Cancelled, may_retry: false }))
    }

    /// The body did what a task must not do, or (`may_retry`) took too long.
    fn failed(record: ErrorRecord, may_retry: bool) -> Self {
        Self::Ended(Box::new(Imposed { outcome: TaskOutcome::Err(record), may_retry }))
    }
}

/// How the run stands when it is looked at.
struct Seen {
    fatal: Option<Error>,
    /// Behind the last durable event.
    durable: Sequence,
    /// Whether a source may go on.
    is_hungry: bool,
}

/// What is left when all that could be done was done.
struct Rest {
    /// Something was done: there may be more to do.
    progressed: bool,
    is_running: bool,
    is_durable: bool,
    idle: Poll<Result<Waited>>,
}

/// When the attempt has taken too long.
pub(super) struct Alarm {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    due: Moment,
    /// Whether another attempt may follow.
    retries: bool,
}

impl Drive {
    /// Live: waits for the next delivery.
    pub(super) async fn wait(&mut self) -> Result<Waited> {
        if !self.is_live {
            if self.keep_up().await? {
                return Ok(Waited::cancelled());
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
        Self::part_over(&mut self.waiting, &mut self.over, state);
        self.released.extend(state.released.drain(..).map(|child| (end, child)));
        // Who signals a run looks for it in the store first. As long as nothing of it is there, nobody can have; what comes
        // from here on, the mailbox tells.
        let is_stored = state.appender.durable() > Sequence(0);
        let letters = match is_stored {
            true => index::inbox(self.shared.store()?.as_ref(), self.shared.run)?,
            false => Vec::new(),
        };
        let clock = &self.shared.environment.clock;
        self.alarm = state.appender.plan.time_limit().map(|limit| Alarm {
            future: clock.sleep_until(limit.due),
            due: Moment::new(limit.wall, limit.due),
            retries: limit.retries,
        });
        state.signals_seen = letters.iter().map(|letter| letter.key.clone()).collect();
        drop(guard);
        self.came_first(&letters);
        self.signalled(letters, true)
    }

    /// What came while the process was down counts by when it came: a signal that was sent, a child that ended, before some of
    /// what is over was.
    fn came_first(&mut self, letters: &[Letter]) {
        if self.over.is_empty() {
            return;
        }
        let known: Vec<_> = {
            let state = self.shared.state.lock();
            let came = |(at, (end, index)): (usize, &(Sequence, TraceIndex))| {
                let slot = state.traces.get(index).filter(|slot| slot.is_known)?;
                let sent = slot.signal.as_ref().and_then(|signal| {
                    // Those in the log came before those in the inbox.
                    let in_inbox = || letters.iter().find(|letter| letter.signal.name == signal.name);
                    state.replay.signalled_at(&signal.name).or_else(|| in_inbox().map(|letter| letter.signal.at))
                });
                (sent.is_some() || slot.child.is_some()).then_some((
                    at,
                    *end,
                    *index,
                    slot.context.sequence,
                    sent,
                    slot.child,
                ))
            };
            self.waiting.iter().enumerate().filter_map(came).collect()
        };
        let Some(engine) = self.shared.engine.upgrade() else { return };
        for (at, end, index, start, sent, child) in known.into_iter().rev() {
            if let Some(since) = sent.or_else(|| engine.child_ended_at(child?)) {
                self.waiting.remove(at);
                self.over.push_back(Over { since, start, end, index });
            }
        }
        self.over.make_contiguous().sort_unstable_by_key(|over| (over.since, over.start));
    }

    /// Signals go from the inbox into the log.
    fn signalled(&mut self, letters: Vec<Letter>, from_inbox: bool) -> Result<()> {
        if letters.is_empty() && !from_inbox {
            return Ok(());
        }
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        for event in self.enter(state, letters, from_inbox)? {
            state.replay.aside(event);
        }
        state.knows_signals = true;
        self.shared.mailbox.signals_logged();
        if state.replay.pending_count() == 0 {
            return Ok(());
        }
        self.shared.append_aside(state, false)?;
        let waiting = state.traces.values().filter(|slot| slot.signal.is_some());
        let wakers: Vec<_> = waiting.filter_map(|slot| slot.waker.clone()).collect();
        drop(guard);
        wakers.into_iter().for_each(std::task::Wake::wake);
        Ok(())
    }

    /// The events of letters that are not in the log yet; with the next batch they leave the inbox.
    fn enter(&self, state: &mut RunState, letters: Vec<Letter>, from_inbox: bool) -> Result<Vec<Event>> {
        let mut events = Vec::with_capacity(letters.len());
        for letter in letters {
            // Told of late, it may be in the log: by this attempt, or by the one before it.
            if !from_inbox
                && (state.signals_seen.remove(&letter.key)
                    || !index::is_in_inbox(self.shared.store()?.as_ref(), &letter.key)?)
            {
                continue;
            }
            state.appender.also(Operation::Delete { keyspace: index::INBOX, key: letter.key });
            events.push(Event::SignalReceived(letter.signal));
        }
        Ok(events)
    }

    /// Before the attempt's last batch: nobody signals the run any more until that is durable, and what was signalled is
    /// what this gives, to be in that batch. So a signal that was acknowledged is in the log.
    pub(super) async fn last_signals(&mut self) -> Result<Vec<Event>> {
        let run = self.shared.run;
        let Some(engine) = self.shared.engine.upgrade() else { return Err(closed(run)) };
        let post = Arc::clone(&engine.post);
        drop(engine);
        self.closed = Some(post.close(run).await);
        let told = self.shared.mailbox.take_signals();
        let letters = if self.is_live { told } else { index::inbox(self.shared.store()?.as_ref(), run)? };
        let mut state = self.shared.state.lock();
        self.enter(&mut state, letters, !self.is_live)
    }

    fn poll_wait(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Waited>> {
        for _ in 0..ROUNDS_MAX {
            let mut received = self.shared.mailbox.receive(cx.waker());
            let stop = received.stop;
            let seen = self.see(&mut received)?;
            if stop == Some(Stop::Abort) {
                return Poll::Ready(Err(closed(self.shared.run)));
            }
            if let Some(error) = seen.fatal {
                return Poll::Ready(match error.kind() {
                    ErrorKind::ForeignAwait => Ok(Waited::failed(error.to_record(), false)),
                    _ => Err(error),
                });
            }
            if received.cancelled {
                return Poll::Ready(Ok(Waited::cancelled()));
            }
            if let Some(alarm) = &mut self.alarm
                && alarm.future.as_mut().poll(cx).is_ready()
            {
                let retries = alarm.retries;
                let record = self.shared.state.lock().appender.plan.out_of_time(retries);
                return Poll::Ready(Ok(Waited::failed(record, retries)));
            }
            let mut progressed = received.stranger_count > 0 || !received.signals.is_empty();
            self.signalled(received.signals, false)?;
            // What needs the processor needs the run's turn.
            self.woken.extend(received.woken);
            self.stranger_count += received.stranger_count;
            if self.has_work(&seen) && self.turn.poll_take(cx).is_pending() {
                return Poll::Pending;
            }
            if std::mem::take(&mut self.stranger_count) > 0
                && let Some(record) = self.stranger()
            {
                return Poll::Ready(Ok(Waited::failed(record, false)));
            }
            self.release_durable(seen.durable, stop);
            progressed |= self.poll_effects(&seen, stop);
            if self.over.is_empty() && self.ending.is_none() && self.released.is_empty() {
                self.shared.decides();
            }
            if !self.ready.is_empty()
                && let Some(waited) = self.deliver_next()
            {
                return Poll::Ready(Ok(waited));
            }
            let rest = self.rest(progressed, stop)?;
            if rest.progressed {
                continue;
            }
            if rest.idle.is_pending() && !rest.is_running {
                if self.stays_awake() {
                    continue;
                }
                if self.waiting.is_empty() && self.over.is_empty() && rest.is_durable {
                    if stop.is_none()
                        && let Some(rest) = self.rests_until()
                    {
                        return Poll::Ready(Ok(Waited::Rests(rest)));
                    }
                    self.turn.give_back();
                }
            }
            return rest.idle;
        }
        // Effects that keep waking each other must not keep the thread.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes note of what was received, and looks how the run stands.
    fn see(&mut self, received: &mut Received) -> Result<Seen> {
        let mut state = self.shared.state.lock();
        let before = state.appender.durable();
        state.appender.reuse(std::mem::take(&mut received.spare));
        state.appender.note(received.durable, received.failure.as_ref())?;
        let durable = state.appender.durable();
        let seen = Seen { fatal: state.fatal.take(), durable, is_hungry: !state.hungry.is_empty() };
        drop(state);
        self.tell_started(durable > before);
        Ok(seen)
    }

    /// Whether there is something to poll or to deliver.
    fn has_work(&self, seen: &Seen) -> bool {
        self.stranger_count > 0
            || !self.ready.is_empty()
            || !self.woken.is_empty()
            || seen.is_hungry
            || self.waiting.front().is_some_and(|(end, _)| *end <= seen.durable)
            || self.over.front().is_some_and(|over| over.end <= seen.durable)
    }

    /// Children that were dropped, durably, are let go.
    fn release_durable(&mut self, durable: Sequence, stop: Option<Stop>) {
        while let Some((end, child)) = self.released.front().copied()
            && end <= durable
        {
            self.released.pop_front();
            if stop.is_none() {
                release(&self.shared, child);
            }
        }
    }

    /// Polls effects that may begin, that may go on, and that were woken. Says whether there were any.
    fn poll_effects(&mut self, seen: &Seen, stop: Option<Stop>) -> bool {
        let mut progressed = false;
        if stop.is_none() && self.ends_first(seen.durable, &mut progressed) {
            while let Some((end, index)) = self.waiting.front().copied()
                && (end <= seen.durable || planted(Planted::NoBarrier))
            {
                self.waiting.pop_front();
                self.poll_effect(index, Why::MayBegin);
                progressed = true;
            }
            if seen.is_hungry {
                let hungry = std::mem::take(&mut self.shared.state.lock().hungry);
                for index in hungry {
                    progressed |= self.poll_effect(index, Why::ItemTaken);
                }
            }
        }
        while let Some(index) = self.woken.pop_front() {
            progressed |= self.poll_effect(index, Why::Woken);
        }
        progressed
    }

    /// Ends the first of those whose time is over; one at a time, as the body may drop others when it is told. Says whether
    /// there is none left, and none to hand over: then what waits may begin.
    fn ends_first(&mut self, durable: Sequence, progressed: &mut bool) -> bool {
        if let Some(index) = self.ending {
            if self.ready.iter().any(|ready| ready.index == index) {
                return false;
            }
            self.ending = None;
        }
        while let Some(over) = self.over.front().copied() {
            if over.end > durable {
                return false;
            }
            self.over.pop_front();
            *progressed = true;
            let before = self.ready.len();
            self.poll_effect(over.index, Why::MayBegin);
            if self.ready.len() > before {
                self.ending = Some(over.index);
                return false;
            }
        }
        true
    }

    /// Hands over the first thing that the body still wants, unless the run is too far ahead of the disk.
    fn deliver_next(&mut self) -> Option<Waited> {
        if self.shared.state.lock().appender.is_ahead(AHEAD_BYTES_MAX) {
            return None;
        }
        while let Some(ready) = self.ready.pop_front() {
            // An effect that woke the body by another way than its result is found out before the result hides it.
            if self.shared.mailbox.take_strangers() > 0
                && let Some(record) = self.stranger()
            {
                return Some(Waited::failed(record, false));
            }
            if self.is_wanted(ready.index, &ready.progress) {
                self.deliver(ready);
                if planted(Planted::TwoAtOnce)
                    && let Some(ready) = self.ready.pop_front()
                {
                    self.deliver(ready);
                }
                return Some(Waited::Delivered);
            }
        }
        None
    }

    /// Appends what came beside the steps; if nothing else happened either, there is nothing to do for now.
    fn rest(&self, progressed: bool, stop: Option<Stop>) -> Result<Rest> {
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        // An effect on another thread may have called a trace meanwhile.
        let came_beside = state.replay.pending_count() > 0;
        if came_beside {
            self.shared.append_aside(state, false)?;
        } else if !progressed {
            state.appender.flush(&state.replay)?;
        }
        let (is_running, is_durable) = (state.running_count > 0, state.appender.is_durable());
        let idle = if progressed || came_beside { Poll::Pending } else { self.idle(state, stop) };
        Ok(Rest { progressed: progressed || came_beside, is_running, is_durable, idle })
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

    /// Nothing to do for now: or for ever?
    fn idle(&self, state: &RunState, stop: Option<Stop>) -> Poll<Result<Waited>> {
        if stop == Some(Stop::Drain) && state.running_count == 0 && self.ready.is_empty() && state.appender.is_durable()
        {
            return Poll::Ready(Err(closed(self.shared.run)));
        }
        if state.awaited_count == 0 && self.ready.is_empty() {
            let why = ErrorRecord::new(
                ErrorKind::ForeignAwait,
                format!(
                    "task {} waits for something that is not a trace, and no trace is under way: put what it awaits into a \
                     trace",
                    state.appender.plan.definition.name
                ),
            );
            return Poll::Ready(Ok(Waited::failed(why, false)));
        }
        Poll::Pending
    }

    /// Until when the run has nothing to do, if it need not be in memory until then: all that it has is on record, and what
    /// it waits for are times.
    fn rests_until(&self) -> Option<rest::Rest> {
        let environment = &self.shared.environment;
        let has_more = !self.released.is_empty() || !self.cursors.is_empty() || !self.ready.is_empty();
        if has_more || environment.lingering.is_any(self.shared.run) {
            return None;
        }
        let (elapsed, alarm) = (environment.clock.elapsed(), self.alarm.as_ref().map(|alarm| alarm.due));
        let state = self.shared.state.lock();
        if !state.released.is_empty() || state.replay.holds_iterators() {
            return None;
        }
        let threshold = rest::threshold(self.settings.sleep_out_after, state.appender.end())?;
        rest::rest(&rest::waits(&state, elapsed, threshold)?, alarm, elapsed, threshold)
    }

    /// Says whether it could be polled.
    fn poll_effect(&mut self, index: TraceIndex, why: Why) -> bool {
        let polled = poll_effect(&self.shared, index, why);
        let was_polled = polled.is_ok();
        self.ready.extend(polled.ok().flatten());
        was_polled
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
        let moved = bury(&self.shared).replay.is_dirty() || !matches!(polled, Polled::Rests);
        moved.then(|| ErrorRecord::new(ErrorKind::ForeignAwait, why))
    }
}
