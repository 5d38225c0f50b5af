//! What reaches a run from outside its own loop: durable batches, woken effects, signals, strangers' wakes, a stop.
//!
//! Written by the committer's thread, by effects' and the body's wakers, and by handles; emptied by the run's loop.
//!
//! Invariant: whoever writes wakes the loop after it has written.

use std::task::Waker;

use relive_storage::Operation;
use relive_storage::planted::{Planted, planted};

use crate::commit::{failed, wakes};
use crate::error::{Error, ErrorKind};
use crate::event::SignalReceived;
use crate::id::RunId;
use crate::replay::TraceIndex;
use crate::sync::{Condvar, Mutex};

use super::drive::closed;

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
    /// The engine was closed before.
    Unwritten,
}

impl BatchFailure {
    /// What it is to whoever waits for the run.
    pub(crate) fn error(&self, run: RunId) -> Error {
        match self {
            Self::Failed(why) => failed(why),
            Self::Unwritten => closed(run),
            Self::Refused => {
                let why = format!("run {run}: another run was started under its id at the same time");
                Error::new(ErrorKind::IdTaken, why)
            }
        }
    }
}

/// A signal that is durable in the inbox, and not yet in the log.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    /// Where it is in the inbox.
    pub(crate) key: Vec<u8>,
    pub(crate) signal: SignalReceived,
}

#[derive(Debug, Default)]
struct Letters {
    waker: Option<Waker>,
    woken: Vec<TraceIndex>,
    /// Behind the last durable event.
    durable: u64,
    /// Effects that wait until what they began is durable.
    barriers: Vec<(u64, Waker)>,
    stranger_count: u64,
    signals: Vec<Letter>,
    /// Signals that the loop took and has not yet put into the log.
    taken: Vec<Letter>,
    cancelled: bool,
    stop: Option<Stop>,
    failure: Option<BatchFailure>,
    /// The run's end is durable: what becomes of the disk is nothing to it any more.
    ended: bool,
    /// The attempt is over: nothing more becomes durable.
    over: bool,
    /// Memory of a batch that is durable, for the next one.
    spare: Vec<Operation>,
}

/// What the loop found.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) woken: Vec<TraceIndex>,
    pub(crate) durable: u64,
    pub(crate) stranger_count: u64,
    pub(crate) signals: Vec<Letter>,
    pub(crate) cancelled: bool,
    pub(crate) stop: Option<Stop>,
    pub(crate) failure: Option<BatchFailure>,
    /// Memory of a batch that is durable, for the next one.
    pub(crate) spare: Vec<Operation>,
}

impl Received {
    /// Why the run is not to go on in this life of the process, if so.
    pub(crate) fn halt(&self, run: RunId) -> Option<Error> {
        match &self.failure {
            Some(failure) => Some(failure.error(run)),
            None => self.stop.map(|_| closed(run)),
        }
    }
}

/// Letters to one run.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    letters: Mutex<Letters>,
    /// For a thread that waits in a plain function.
    changed: Condvar,
}

impl Mailbox {
    fn post(&self, write: impl FnOnce(&mut Letters)) {
        let waker = {
            let mut letters = self.letters.lock();
            write(&mut letters);
            letters.waker.take()
        };
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// All events before this position are durable. The memory of the batch that ends there goes back to the run: freed by
    /// the committer's thread, it would cost both threads more than writing it did.
    pub(crate) fn durable(&self, end: u64, spare: Vec<Operation>) {
        let mut passed = Vec::new();
        self.post(|letters| {
            letters.durable = letters.durable.max(end);
            if letters.spare.is_empty() {
                letters.spare = spare;
            }
            if !letters.barriers.is_empty() {
                let durable = letters.durable;
                passed = letters.barriers.extract_if(.., |(end, _)| *end <= durable).collect();
            }
        });
        passed.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// The run's end is durable, and all before it.
    pub(crate) fn ended(&self, end: u64, spare: Vec<Operation>) {
        self.letters.lock().ended = true;
        self.durable(end, spare);
    }

    pub(crate) fn refused(&self) {
        self.post(|letters| letters.failure = Some(BatchFailure::Refused));
    }

    pub(crate) fn failed(&self, why: &str) {
        self.post(|letters| letters.failure = Some(BatchFailure::Failed(why.to_owned())));
    }

    /// A commit failed that need not be of this run. `false` if the run's end is durable, so that this is nothing to it.
    pub(crate) fn all_failed(&self, why: &str) -> bool {
        let waker = {
            let mut letters = self.letters.lock();
            if letters.ended {
                return false;
            }
            letters.failure.get_or_insert_with(|| BatchFailure::Failed(why.to_owned()));
            letters.waker.take()
        };
        self.changed.notify_all();
        if let Some(waker) = waker {
            // Those that wait for the run are to be told all the same.
            wakes(|| waker.wake());
        }
        true
    }

    /// The engine was closed before a batch was written.
    pub(crate) fn unwritten(&self) {
        self.post(|letters| {
            letters.failure.get_or_insert(BatchFailure::Unwritten);
        });
    }

    /// An effect can go on.
    pub(crate) fn woken(&self, index: TraceIndex) {
        self.post(|letters| letters.woken.push(index));
    }

    /// Somebody who is not this run woke the body.
    pub(crate) fn stranger(&self) {
        self.post(|letters| letters.stranger_count += 1);
    }

    /// Somebody signalled the run.
    pub(crate) fn signal(&self, letter: Letter) {
        self.post(|letters| letters.signals.push(letter));
    }

    /// The signals that are not in the log yet, as far as the run was told of them.
    pub(crate) fn signals(&self) -> Vec<Letter> {
        let letters = self.letters.lock();
        letters.taken.iter().chain(&letters.signals).cloned().collect()
    }

    /// What the loop took is in the log.
    pub(crate) fn signals_logged(&self) {
        self.letters.lock().taken.clear();
    }

    /// The attempt ends, and takes all signals along.
    pub(crate) fn take_signals(&self) -> Vec<Letter> {
        let mut letters = self.letters.lock();
        let mut signals = std::mem::take(&mut letters.taken);
        signals.append(&mut letters.signals);
        signals
    }

    pub(crate) fn cancel(&self) {
        self.post(|letters| letters.cancelled = true);
    }

    /// Whether the run is to be cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.letters.lock().cancelled
    }

    /// Whether somebody wants something of the run, or it is to hear that a commit failed.
    pub(crate) fn is_called(&self) -> bool {
        let letters = self.letters.lock();
        letters.cancelled || letters.stop.is_some() || !letters.signals.is_empty() || letters.failure.is_some()
    }

    pub(crate) fn stop(&self, stop: Stop) {
        self.post(|letters| letters.stop = letters.stop.max(Some(stop)));
    }

    /// The run begins again: what an earlier attempt was told is over.
    pub(crate) fn renew(&self) {
        let mut letters = self.letters.lock();
        letters.cancelled = false;
        letters.failure = None;
        letters.ended = false;
    }

    /// An attempt's loop begins.
    pub(crate) fn begins(&self) {
        self.letters.lock().over = false;
    }

    /// An attempt's loop has ended: effects on other threads, which outlive it, must not wait for what it would append.
    pub(crate) fn ends(&self) {
        self.post(|letters| letters.over = true);
    }

    /// Takes what there is, and has `waker` woken for what comes after.
    pub(crate) fn receive(&self, waker: &Waker) -> Received {
        let mut letters = self.letters.lock();
        let signals = std::mem::take(&mut letters.signals);
        letters.taken.extend_from_slice(&signals);
        let received = Received {
            woken: std::mem::take(&mut letters.woken),
            durable: letters.durable,
            stranger_count: std::mem::take(&mut letters.stranger_count),
            signals,
            cancelled: letters.cancelled,
            stop: letters.stop,
            failure: letters.failure.clone(),
            spare: std::mem::take(&mut letters.spare),
        };
        if planted(Planted::LostWake) {
            drop(letters);
            letters = self.letters.lock();
        }
        if !letters.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            letters.waker = Some(waker.clone());
        }
        received
    }

    /// What there is and stays: how much is durable, a failure, a stop, a cancellation. Takes nothing.
    pub(crate) fn look(&self, waker: &Waker) -> Received {
        let mut letters = self.letters.lock();
        if !letters.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            letters.waker = Some(waker.clone());
        }
        Received {
            woken: Vec::new(),
            durable: letters.durable,
            stranger_count: 0,
            signals: Vec::new(),
            cancelled: letters.cancelled,
            stop: letters.stop,
            failure: letters.failure.clone(),
            spare: Vec::new(),
        }
    }

    /// Whether all events before this position are durable, and more may follow; has `waker` woken when they are. Never after
    /// a failure: then the run ends, and whoever asks with it.
    pub(crate) fn is_durable(&self, end: u64, waker: &Waker) -> bool {
        let mut letters = self.letters.lock();
        if letters.failure.is_some() {
            return false;
        }
        if letters.durable >= end {
            return true;
        }
        let known = |(other, old): &(u64, Waker)| *other == end && old.will_wake(waker);
        if !letters.barriers.iter().any(known) {
            letters.barriers.push((end, waker.clone()));
        }
        false
    }

    /// Blocks this thread until all events before this position are durable. `false` if they will not be: a commit failed,
    /// or the run is to end or has ended.
    pub(crate) fn block_until(&self, end: u64) -> bool {
        let mut letters = self.letters.lock();
        loop {
            if letters.failure.is_some() || letters.stop == Some(Stop::Abort) {
                return false;
            }
            if letters.durable >= end {
                return true;
            }
            if letters.over {
                return false;
            }
            self.changed.wait(&mut letters);
        }
    }

    /// How often strangers woke the body since this was last asked.
    pub(crate) fn take_strangers(&self) -> u64 {
        std::mem::take(&mut self.letters.lock().stranger_count)
    }

    /// Whether there is something new for the loop: all events before this position durable, something woken, a failure.
    /// Not: a cancellation or a stop, which stay.
    pub(crate) fn has_news(&self, end: u64) -> bool {
        let letters = self.letters.lock();
        letters.durable >= end
            || !letters.woken.is_empty()
            || letters.stranger_count > 0
            || !letters.signals.is_empty()
            || letters.failure.is_some()
    }

    /// Whether the run is to start nothing new.
    pub(crate) fn is_stopping(&self) -> bool {
        self.letters.lock().stop.is_some()
    }

    /// Whether nothing more becomes durable: a commit failed, or the run is to end now.
    pub(crate) fn is_over(&self) -> bool {
        let letters = self.letters.lock();
        letters.failure.is_some() || letters.stop == Some(Stop::Abort)
    }

    /// Whether the run is to end now.
    pub(crate) fn is_aborted(&self) -> bool {
        self.letters.lock().stop == Some(Stop::Abort)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn nobody_waits_for_an_attempt_that_is_over() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.durable(3, Vec::new());
        let waiting = {
            let mailbox = Arc::clone(&mailbox);
            std::thread::spawn(move || mailbox.block_until(5))
        };
        mailbox.ends();
        assert!(!waiting.join().unwrap());
        assert!(mailbox.block_until(3), "what is durable is durable");
    }
}
