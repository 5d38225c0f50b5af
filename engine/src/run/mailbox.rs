//! What reaches a run from outside its own loop: durable batches, woken effects, strangers' wakes, a stop.
//!
//! Written by the committer's thread, by effects' and the body's wakers, and by handles; emptied by the run's loop.
//!
//! Invariant: whoever writes wakes the loop after it has written.

use std::task::Waker;

use parking_lot::Mutex;

use crate::replay::TraceIndex;

/// Why a run is to end without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// Start no effect; go on until those that run have ended.
    Drain,
    /// End now, without a trace in the log.
    Abort,
}

/// What became of a batch that did not become durable.
#[derive(Clone, Debug)]
pub(crate) enum BatchFailure {
    /// A precondition did not hold: somebody else made this run first.
    Refused,
    /// The commit failed.
    Failed(String),
}

#[derive(Debug, Default)]
struct Letters {
    waker: Option<Waker>,
    woken: Vec<TraceIndex>,
    durable_batch: u64,
    stranger_count: u64,
    cancelled: bool,
    stop: Option<Stop>,
    failure: Option<BatchFailure>,
}

/// What the loop found.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) woken: Vec<TraceIndex>,
    pub(crate) durable_batch: u64,
    pub(crate) stranger_count: u64,
    pub(crate) cancelled: bool,
    pub(crate) stop: Option<Stop>,
    pub(crate) failure: Option<BatchFailure>,
}

/// Letters to one run.
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<Letters>);

impl Mailbox {
    fn post(&self, write: impl FnOnce(&mut Letters)) {
        let waker = {
            let mut letters = self.0.lock();
            write(&mut letters);
            letters.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// All batches up to this one are durable.
    pub(crate) fn durable(&self, batch: u64) {
        self.post(|letters| letters.durable_batch = letters.durable_batch.max(batch));
    }

    pub(crate) fn refused(&self) {
        self.post(|letters| letters.failure = Some(BatchFailure::Refused));
    }

    pub(crate) fn failed(&self, why: &str) {
        self.post(|letters| letters.failure = Some(BatchFailure::Failed(why.to_owned())));
    }

    /// An effect can go on.
    pub(crate) fn woken(&self, index: TraceIndex) {
        self.post(|letters| letters.woken.push(index));
    }

    /// Somebody who is not this run woke the body.
    pub(crate) fn stranger(&self) {
        self.post(|letters| letters.stranger_count += 1);
    }

    pub(crate) fn cancel(&self) {
        self.post(|letters| letters.cancelled = true);
    }

    pub(crate) fn stop(&self, stop: Stop) {
        self.post(|letters| letters.stop = letters.stop.max(Some(stop)));
    }

    /// Takes what there is, and has `waker` woken for what comes after.
    pub(crate) fn receive(&self, waker: &Waker) -> Received {
        let mut letters = self.0.lock();
        if !letters.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            letters.waker = Some(waker.clone());
        }
        Received {
            woken: std::mem::take(&mut letters.woken),
            durable_batch: letters.durable_batch,
            stranger_count: std::mem::take(&mut letters.stranger_count),
            cancelled: letters.cancelled,
            stop: letters.stop,
            failure: letters.failure.clone(),
        }
    }

    /// How often strangers woke the body since this was last asked.
    pub(crate) fn take_strangers(&self) -> u64 {
        std::mem::take(&mut self.0.lock().stranger_count)
    }

    /// Whether there is something new for the loop: all batches up to this one durable, something woken, a failure. Not: a
    /// cancellation or a stop, which stay.
    pub(crate) fn has_news(&self, batch: u64) -> bool {
        let letters = self.0.lock();
        letters.durable_batch >= batch
            || !letters.woken.is_empty()
            || letters.stranger_count > 0
            || letters.failure.is_some()
    }

    /// Whether the run is to end now.
    pub(crate) fn is_aborted(&self) -> bool {
        self.0.lock().stop == Some(Stop::Abort)
    }
}
