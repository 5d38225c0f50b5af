//! Blocking effects that outlive their traces: a thread cannot be stopped.
//!
//! Counted per try and per run, so that no next try and no next attempt begins before they end.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use crate::id::RunId;
use crate::sync::Mutex;

/// How many blocking effects are on their threads: of one trace under the run's own id, or of all runs.
#[derive(Debug, Default)]
pub(crate) struct Lingering {
    counts: Mutex<FxHashMap<RunId, usize>>,
    ended: Notify,
}

/// Counted until it is dropped.
pub(crate) struct Linger {
    lingering: Arc<Lingering>,
    run: RunId,
}

impl Drop for Linger {
    fn drop(&mut self) {
        let mut counts = self.lingering.counts.lock();
        if let Some(count) = counts.get_mut(&self.run) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.run);
            }
        }
        drop(counts);
        self.lingering.ended.notify_waiters();
    }
}

impl Lingering {
    /// One more.
    pub(crate) fn begin(self: &Arc<Self>, run: RunId) -> Linger {
        *self.counts.lock().entry(run).or_insert(0) += 1;
        Linger { lingering: Arc::clone(self), run }
    }

    /// Whether a run has any.
    pub(crate) fn is_any(&self, run: RunId) -> bool {
        self.counts.lock().contains_key(&run)
    }

    /// Waits until a run has none.
    pub(crate) async fn none(&self, run: RunId) {
        loop {
            let ended = self.ended.notified();
            if !self.is_any(run) {
                return;
            }
            ended.await;
        }
    }
}
