//! A live run between two steps: starts effects whose starts are durable, polls those that were woken, and picks the next
//! outcome to deliver.
//!
//! Called by the loop; polls the body only in lenient mode, when a stranger woke it.
//!
//! Invariants: no effect is polled before its start is durable; no outcome is picked while the run is too far ahead of the
//! disk; what a stranger's wake brought about is found out before a delivery hides it.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::task::{Context as TaskContext, Poll};

use crate::error::{ErrorKind, Result};
use crate::event::{ErrorRecord, TraceCompleted};
use crate::replay::TraceIndex;

use super::super::mailbox::Stop;
use super::super::poll::{Polled, bury, poll_body, poll_effect};
use super::{AHEAD_BYTES_MAX, Drive, closed};

/// Rounds of effects that wake each other before the runtime gets the thread back.
const ROUNDS_MAX: u32 = 64;

/// What ended a wait.
pub(super) enum Waited {
    Delivery(TraceIndex, TraceCompleted),
    Cancelled,
    /// The body did what a task must not do.
    Foreign(ErrorRecord),
}

impl Drive {
    /// Live: waits for the next delivery.
    pub(super) async fn wait(&mut self) -> Result<Waited> {
        if !self.is_live {
            self.go_live();
        }
        poll_fn(|cx| self.poll_wait(cx)).await
    }

    /// What the log holds as started and not completed runs again.
    fn go_live(&mut self) {
        self.is_live = true;
        let mut state = self.shared.state.lock();
        state.new_starts.clear();
        let known: BTreeSet<_> = self.waiting.iter().map(|(_, index)| *index).collect();
        let undelivered = state.traces.iter().filter(|(index, slot)| !slot.delivered && !known.contains(index));
        let mut undelivered: Vec<_> = undelivered.map(|(index, _)| (0, *index)).collect();
        undelivered.sort_unstable();
        for entry in undelivered.into_iter().rev() {
            self.waiting.push_front(entry);
        }
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
            if received.stranger_count > 0
                && let Some(record) = self.stranger()
            {
                return Poll::Ready(Ok(Waited::Foreign(record)));
            }
            let mut progressed = received.stranger_count > 0;
            if received.stop.is_none() {
                while let Some((batch, index)) = self.waiting.front().copied()
                    && batch <= self.durable_batch
                {
                    self.waiting.pop_front();
                    self.poll_effect(index);
                    progressed = true;
                }
            }
            for index in received.woken {
                self.poll_effect(index);
                progressed = true;
            }
            if self.in_flight_bytes < AHEAD_BYTES_MAX {
                while let Some((index, completed)) = self.ready.pop_front() {
                    // An effect that woke the body by another way than its result is found out before the result hides it.
                    if self.shared.mailbox.take_strangers() > 0
                        && let Some(record) = self.stranger()
                    {
                        return Poll::Ready(Ok(Waited::Foreign(record)));
                    }
                    if self.shared.state.lock().replay.awaited(index).is_some() {
                        return Poll::Ready(Ok(Waited::Delivery(index, completed)));
                    }
                }
            }
            if progressed {
                continue;
            }
            let idle = self.idle(received.stop);
            if idle.is_pending() && self.shared.state.lock().running_count == 0 && self.stays_awake() {
                continue;
            }
            return idle;
        }
        // Effects that keep waking each other must not keep the thread.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits on this thread for the disk, if that is all there is to do. Says whether there is news.
    pub(super) fn stays_awake(&self) -> bool {
        let company = self.settings.company.as_ref().filter(|_| !self.in_flight.is_empty());
        company.is_some_and(|company| company.stay_awake(&self.shared.mailbox, self.batch_count))
    }

    /// Nothing to do for now: or for ever?
    fn idle(&self, stop: Option<Stop>) -> Poll<Result<Waited>> {
        let state = self.shared.state.lock();
        if stop == Some(Stop::Drain) && state.running_count == 0 && self.ready.is_empty() && self.in_flight.is_empty() {
            return Poll::Ready(Err(closed(self.shared.run)));
        }
        if state.awaited_count == 0 && self.ready.is_empty() {
            return Poll::Ready(Ok(Waited::Foreign(ErrorRecord::new(
                ErrorKind::ForeignAwait,
                format!(
                    "task {} waits for something that is not a trace, and no trace is under way: put what it awaits into a \
                     trace",
                    self.plan.definition.name
                ),
            ))));
        }
        Poll::Pending
    }

    fn poll_effect(&mut self, index: TraceIndex) {
        if let Some(completed) = poll_effect(&self.shared, index) {
            self.ready.push_back((index, completed));
        }
    }

    /// Somebody who is not this run woke the body. Strict: that fails the run. Lenient: the body is polled once, and may
    /// not get on by it.
    fn stranger(&mut self) -> Option<ErrorRecord> {
        let name = self.plan.definition.name;
        let why = format!(
            "task {name} awaits something that is not a trace (a timer, a socket, a spawned task, a channel that is fed from \
             outside): replay could not repeat when it was ready; put it into a trace"
        );
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
