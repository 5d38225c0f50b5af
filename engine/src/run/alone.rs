//! A run that is alone stays awake for the disk.
//!
//! Used by `drive`. A sync of a fast disk takes about as long as two threads take to fall asleep and be woken again. With
//! one run under way there is nothing else that its thread could do for it: so it looks for the sync's end, for as long as
//! syncs take of late, and a little longer. With more runs, or on a runtime of one thread, it sleeps as usual.
//!
//! Invariant: a thread of the runtime is kept for at most [`AWAKE_MAX`] at a time, and only by the one run under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::clock::SystemClock;

use super::mailbox::Mailbox;

/// Longest that a thread is kept: 400 µs, twice what a sync takes on the disks where this matters.
const AWAKE_MAX: Duration = Duration::from_micros(400);

/// What all runs of an engine know of each other and of the disk.
#[derive(Debug, Default)]
pub(crate) struct Company {
    /// Runs whose bodies are under way.
    run_count: AtomicUsize,
    /// How long the last waits for a sync took, in µs: a moving average.
    sync_micros: AtomicU64,
    /// The system's, whatever the engine's: it times this thread's own waiting.
    clock: SystemClock,
}

/// Counted in a company until it is dropped.
pub(crate) struct Present(Arc<Company>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.run_count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Company {
    /// Joins.
    pub(crate) fn join(self: &Arc<Self>) -> Present {
        self.run_count.fetch_add(1, Ordering::Relaxed);
        Present(Arc::clone(self))
    }

    /// Whether there is one run under way.
    pub(crate) fn is_alone(&self) -> bool {
        self.run_count.load(Ordering::Relaxed) <= 1
    }

    /// The time, for [`Company::waited`]; `None` in company, where nobody stays awake and so nobody needs to know how long
    /// a sync takes.
    pub(crate) fn now(&self) -> Option<Duration> {
        self.is_alone().then(|| self.clock.elapsed())
    }

    /// A batch was durable this long after it was submitted.
    pub(crate) fn waited(&self, since: Duration) {
        let micros = super::trace::micros(self.clock.elapsed().saturating_sub(since)).min(1_000_000);
        let old = self.sync_micros.load(Ordering::Relaxed);
        self.sync_micros.store((old * 7 + micros) / 8, Ordering::Relaxed);
    }

    /// Stays awake for news about this batch, if that is likely to come soon. Says whether it came.
    pub(crate) fn stay_awake(&self, mailbox: &Mailbox, batch: u64) -> bool {
        let expected = Duration::from_micros(self.sync_micros.load(Ordering::Relaxed));
        if expected > AWAKE_MAX || !self.is_alone() {
            return false;
        }
        let began = self.clock.elapsed();
        while self.clock.elapsed().saturating_sub(began) < AWAKE_MAX {
            if mailbox.has_news(batch) {
                return true;
            }
            (0..64).for_each(|_| std::hint::spin_loop());
        }
        false
    }
}
