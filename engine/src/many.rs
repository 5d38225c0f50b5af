//! What is done to many runs at once: after a bad deploy, hundreds are blocked.
//!
//! Called by `engine`.
//!
//! Invariant: each run is told what became of it by itself; one that cannot be helped keeps none of the others.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use relive_storage::{Operation, Outcome, Write};
use rustc_hash::FxHashSet;

use crate::engine::{Engine, Inner};
use crate::error::Result;
use crate::event::{Rerun, TaskCompleted};
use crate::handle::{Cancellation, Ending, RunCell};
use crate::id::RunId;
use crate::post::Closed;
use crate::resume::Cancelling;

/// How many blocked runs are cancelled in one commit: 1,000, some 700 KB if nobody had signalled them.
const CANCELLED_PER_COMMIT: usize = 1_000;

/// How much is written in one such commit, less what the last of its runs adds: 4 MiB, half a group, as what was signalled
/// goes into the logs.
const BYTES_PER_COMMIT: usize = 4 << 20;

impl Engine {
    /// Cancels runs. Those that are blocked end in one commit, up to 1,000 of them, or 4 MiB; the others stop at their next await, all at
    /// the same time. When this returns, the replies are durable; they are in the order of the runs.
    pub async fn cancel_many(&self, runs: &[RunId]) -> Vec<Result<Cancellation>> {
        let cancelled = self.inner().cancel_blocked(runs).await;
        // The others: under way, ended, unknown, or it is told what keeps them.
        let cancel = |run: &RunId| {
            let (run, is_cancelled) = (*run, cancelled.contains(run));
            Box::pin(async move { if is_cancelled { Ok(Cancellation::Cancelled) } else { self.cancel(run).await } })
                as Pin<Box<dyn Future<Output = _> + Send + '_>>
        };
        together(runs.iter().map(cancel).collect()).await
    }

    /// Begins a new attempt of each of these runs, as [`Engine::resume`] does; all at the same time, so that they share commits.
    /// When this returns, the first events of the attempts are durable; what became of each is in the order of the runs.
    pub async fn resume_many(&self, runs: &[RunId], rerun: &Rerun) -> Vec<Result<()>> {
        let resume = |run: &RunId| {
            let run = *run;
            Box::pin(async move { self.resume(run, rerun.clone()).await.map(drop) })
                as Pin<Box<dyn Future<Output = _> + Send + '_>>
        };
        together(runs.iter().map(resume).collect()).await
    }
}

/// Blocked runs that end in one commit.
#[derive(Default)]
struct Group {
    write: Write,
    bytes: usize,
    ends: Vec<(Ending, TaskCompleted)>,
    /// Nobody signals them until they have ended.
    closed: Vec<Closed>,
}

impl Inner {
    /// Cancels those of these runs that are blocked, and says which. Those of one commit are left as they are if one of them
    /// moves meanwhile, or the store fails.
    async fn cancel_blocked(self: &Arc<Self>, runs: &[RunId]) -> FxHashSet<RunId> {
        let (mut cancelled, mut group) = (FxHashSet::default(), Group::default());
        // In one order, so that two such commands at the same time do not wait for each other.
        let runs: BTreeSet<RunId> = runs.iter().copied().collect();
        for run in runs {
            let ending = self.runs.lock().get(&run).and_then(RunCell::ends);
            let Some(ending) = ending else { continue };
            let closed = self.post.close(run).await;
            // One whose log cannot be read is told so when it is cancelled by itself.
            let Ok(Cancelling::New(own, completed)) = self.cancelling(run) else { continue };
            group.bytes += own.operations.iter().map(bytes).sum::<usize>();
            group.write.preconditions.extend(own.preconditions);
            group.write.operations.extend(own.operations);
            group.ends.push((ending, completed));
            group.closed.push(closed);
            if group.ends.len() >= CANCELLED_PER_COMMIT || group.bytes >= BYTES_PER_COMMIT {
                cancelled.extend(self.cancel_group(std::mem::take(&mut group)).await);
            }
            // Each is read from the disk: others get on in between.
            tokio::task::yield_now().await;
        }
        if !group.ends.is_empty() {
            cancelled.extend(self.cancel_group(group).await);
        }
        cancelled
    }

    async fn cancel_group(self: &Arc<Self>, group: Group) -> Vec<RunId> {
        let Group { write, ends, closed, .. } = group;
        if !matches!(self.settings.committer.commit(write).await, Ok(Outcome::Applied)) {
            return Vec::new();
        }
        drop(closed);
        let over = |(ending, completed): (Ending, TaskCompleted)| {
            let run = ending.cell().run;
            self.release_children(run);
            self.over(&ending, completed);
            run
        };
        ends.into_iter().map(over).collect()
    }
}

/// What an operation takes, roughly.
fn bytes(operation: &Operation) -> usize {
    match operation {
        Operation::Put { key, value, .. } => key.len() + value.len(),
        Operation::Delete { key, .. } => key.len(),
        Operation::DeleteRange { start, end, .. } => start.len() + end.len(),
    }
}

/// Polls all of them until all are done. Each wake polls those that are left: they are as many as one command asks for.
async fn together<T>(mut futures: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let mut outcomes: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut is_done = true;
        for (future, outcome) in futures.iter_mut().zip(&mut outcomes) {
            if outcome.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *outcome = Some(value),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outcomes.into_iter().flatten().collect()
}
