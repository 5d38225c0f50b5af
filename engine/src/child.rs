//! Child runs: what becomes of a task that another run's body calls.
//!
//! Called by the effect of the call (`run/child`).
//!
//! Invariants: the id that the parent's log fixes leads to one run, after any crash; runs never wait for each other in a
//! circle; a child that only its parent waits for ends with it.

use std::sync::Arc;

use crate::engine::{Inner, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Cause, ErrorRecord, Parent, Rerun, TaskOutcome, TraceStarted};
use crate::handle::{RunCell, Target};
use crate::id::RunId;
use crate::index::{self, IdRecord, Used};
use crate::payload::Payload;
use crate::run::Output;

/// Removes a wait when it is over.
struct Waits<'a> {
    engine: &'a Inner,
    parent: RunId,
    child: RunId,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut waits = self.engine.waits.lock();
        if let Some(children) = waits.get_mut(&self.parent) {
            if let Some(index) = children.iter().position(|child| *child == self.child) {
                children.swap_remove(index);
            }
            if children.is_empty() {
                waits.remove(&self.parent);
            }
        }
    }
}

impl Inner {
    /// Finds, joins or starts the run of a child's call, and waits for its outcome.
    pub(crate) async fn child(
        self: &Arc<Self>,
        parent: RunId,
        attempt: u32,
        child: RunId,
        mut request: Request,
    ) -> Result<Output> {
        let name = request.definition.name;
        request.child = Some((child, Parent { run: parent, attempt }));
        let known = self.known_child(child)?;
        let handle = match known {
            Some(run) if self.is_stale(run, child, parent, attempt)? => {
                // An earlier attempt of the parent saw it fail: now it is tried again, with what it has.
                self.resume(run, Rerun::default()).await?
            }
            Some(run) => self.handle(run)?,
            None => self.start(&request).await?,
        };
        let cell = match handle.target {
            Target::Done(outcome) => return Ok(child_output(name, handle.run, &outcome)),
            Target::Live(cell) => cell,
        };
        let Some(_waits) = self.wait_for(parent, cell.run) else {
            return Ok(Err(ErrorRecord {
                terminal: true,
                ..ErrorRecord::new(
                    ErrorKind::Cycle,
                    format!(
                        "task {name} is under way as run {}, which waits for run {parent}: neither would end",
                        cell.run
                    ),
                )
            }));
        };
        cell.holders.lock().parents.insert(parent);
        let outcome = cell.done().await?;
        Ok(child_output(name, cell.run, &outcome))
    }

    /// What a child's result depends on; `None` if that is not known.
    pub(crate) fn uses_of_child(&self, call: &TraceStarted, result: &Payload) -> Option<Vec<Used>> {
        let definition = self.registry.task(&call.name)?;
        let run = self.known_child(call.child?).ok()??;
        self.child_uses(definition, run, &call.input, result).ok()?
    }

    /// The run that a child's id leads to.
    pub(crate) fn known_child(&self, child: RunId) -> Result<Option<RunId>> {
        if self.runs.lock().contains_key(&child) {
            return Ok(Some(child));
        }
        let store = self.store()?;
        if crate::inspect::run(store.as_ref(), child)?.is_some() {
            return Ok(Some(child));
        }
        let record = index::read::<IdRecord>(store.as_ref(), index::IDS, &index::child_key(child))?;
        Ok(record.map(|record| record.run))
    }

    /// Whether a child ended without success for an earlier attempt of its parent.
    fn is_stale(&self, run: RunId, child: RunId, parent: RunId, attempt: u32) -> Result<bool> {
        if attempt == 1 || run != child || self.runs.lock().contains_key(&run) {
            return Ok(false);
        }
        let store = self.store()?;
        let Some(record) = crate::inspect::run(store.as_ref(), run)? else { return Ok(false) };
        let failed = matches!(record.state, index::RunState::Failed | index::RunState::Cancelled);
        if !failed {
            return Ok(false);
        }
        let past = crate::past::Past::of_attempt(store, run, record.attempt_at)?;
        Ok(past.last.parent.is_some_and(|last| last.run == parent && last.attempt < attempt))
    }

    /// Whose body the next attempt of a run is for.
    pub(crate) fn parent_of(&self, run: RunId, last: Option<Parent>) -> Option<Parent> {
        let last = last?;
        // The parent's attempt that is under way, if it is: that one waits for this.
        let cell = self.runs.lock().get(&last.run).cloned();
        let shared = cell.and_then(|cell| cell.shared.lock().upgrade());
        let attempt = shared.map_or(last.attempt, |shared| shared.attempt.max(last.attempt));
        let _ = run;
        Some(Parent { run: last.run, attempt })
    }

    /// Notes that one run waits for another. `None` if that one waits for it.
    fn wait_for(&self, parent: RunId, child: RunId) -> Option<Waits<'_>> {
        let mut waits = self.waits.lock();
        let mut seen = vec![child];
        let mut next = 0;
        while let Some(run) = seen.get(next).copied() {
            next += 1;
            if run == parent {
                return None;
            }
            for other in waits.get(&run).into_iter().flatten() {
                if !seen.contains(other) {
                    seen.push(*other);
                }
            }
        }
        waits.entry(parent).or_default().push(child);
        Some(Waits { engine: self, parent, child })
    }

    /// A parent does not wait for a child any more: if nobody does, the child is cancelled.
    pub(crate) fn release_child(&self, parent: RunId, child: RunId) {
        let run = match self.known_child(child) {
            Ok(Some(run)) => run,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(run = %child, %error, "a child run whose parent is gone cannot be found");
                return;
            }
        };
        let Some(cell) = self.runs.lock().get(&run).cloned() else { return };
        self.release(parent, &cell);
    }

    fn release(&self, parent: RunId, cell: &RunCell) {
        let mut holders = cell.holders.lock();
        holders.parents.remove(&parent);
        if holders.parents.is_empty() && !holders.rooted {
            drop(holders);
            cell.mailbox.cancel();
        }
    }

    /// Resumes a run: a new attempt, with what the earlier ones found.
    pub(crate) async fn resume(self: &Arc<Self>, run: RunId, rerun: Rerun) -> Result<crate::handle::Handle> {
        self.begin_attempt(run, Cause::Resumed(rerun)).await
    }
}

/// What a parent gets for its child's outcome.
fn child_output(name: &str, run: RunId, outcome: &TaskOutcome) -> Output {
    match outcome {
        TaskOutcome::Ok(payload) => Ok(payload.clone()),
        TaskOutcome::Err(record) => Err(record.clone()),
        TaskOutcome::Cancelled => {
            Err(ErrorRecord::new(ErrorKind::Cancelled, format!("task {name}, run {run}, was cancelled")))
        }
    }
}

/// For the error of a run that is under way.
pub(crate) fn under_way(run: RunId) -> Error {
    Error::new(ErrorKind::Unsupported, format!("run {run} is under way: there is nothing to resume"))
}
