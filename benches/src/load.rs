//! So many runs under way at once, for as long as somebody measures: as soon as one ends another one starts in its place.
//!
//! Used by what measures under load. Knows no task: which run is next is the caller's.
//!
//! Invariant: a run counts when its result was acknowledged; one that fails ends the load, and `stop` says so.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::task::JoinSet;

use crate::Failure;

/// Runs under way.
pub(crate) struct Load {
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<Result<(), Failure>>,
}

impl Load {
    /// Begins. `run` is called with a number of its own for each run, counted from `first`.
    pub(crate) fn start<R, F>(runs_at_once: u32, first: u64, run: R) -> Self
    where
        R: Fn(u64) -> F + Clone + Send + 'static,
        F: Future<Output = Result<(), Failure>> + Send,
    {
        let (next, done) = (Arc::new(AtomicU64::new(first)), Arc::new(AtomicU64::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..runs_at_once {
            let (run, next, done, stop) = (run.clone(), Arc::clone(&next), Arc::clone(&done), Arc::clone(&stop));
            clients.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    run(next.fetch_add(1, Ordering::Relaxed)).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Self { done, stop, clients }
    }

    /// Runs that have ended.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits for the runs under way, and starts no more. How many have ended in all.
    pub(crate) async fn stop(mut self) -> Result<u64, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client??;
        }
        Ok(self.done())
    }
}
