//! Child runs: what becomes of a task that another run's body calls.
//!
//! Called by the effect of the call (`run/child`).
//!
//! Invariants: the id that the parent's log fixes leads to one run, after any crash; runs never wait for each other in a
//! circle; a child that only its parent waits for ends with it.

use std::sync::{Arc, Weak};

use relive_storage::Write;
use rustc_hash::FxHashSet;

use crate::engine::{Inner, Request};
use crate::error::{Error, ErrorKind, Result, storage_error};
use crate::event::{Cause, ErrorRecord, Parent, Rerun, TaskOutcome, TraceStarted};
use crate::handle::{CellState, Holders, RunCell, Target};
use crate::id::{RunId, Timestamp};
use crate::index::{self, Used};
use crate::payload::Payload;
use crate::run::Output;

/// Removes a wait when it is over.
pub(crate) struct Waits {
    engine: Weak<Inner>,
    parent: RunId,
    child: RunId,
}

impl Drop for Waits {
    fn drop(&mut self) {
        let Some(engine) = self.engine.upgrade() else { return };
        let mut waits = engine.waits.lock();
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
    /// Finds, joins or starts the run of a child's call, and waits for its outcome. `is_repeated`: an earlier attempt of the
    /// parent made the call.
    pub(crate) async fn child(
        self: &Arc<Self>,
        parent: RunId,
        attempt: u32,
        child: RunId,
        is_repeated: bool,
        mut request: Request,
    ) -> Result<Output> {
        let name = request.definition.name;
        let caller = Parent { run: parent, attempt };
        request.child = Some((child, caller));
        let cell = loop {
            let handle = match self.known_child(child)? {
                Some(run) if is_repeated && self.is_stale(run, caller)? => {
                    // An earlier attempt of the parent saw it fail, or it was imported with its parent: now it is tried
                    // again, with what it has.
                    match self.begin_attempt(run, Cause::Resumed(Rerun::default()), Some(caller)).await {
                        // Somebody else was faster.
                        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Ended) => continue,
                        begun => begun?,
                    }
                }
                Some(run) => self.handle(run)?,
                None => self.start(&request).await?,
            };
            match handle.target {
                Target::Done(outcome) => return Ok(child_output(name, handle.run, &outcome)),
                Target::Live(cell) if cell.is_deleted().await => {}
                Target::Live(cell) if cell.hold(Some((child, parent))) => break cell,
                // It is being cancelled, as nobody waited for it.
                Target::Live(cell) => drop(cell.ended().await),
            }
        };
        let Some(_waits) = self.wait_for(parent, cell.run) else {
            cell.holders.lock().calls.remove(&child);
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
        crate::inspect::child(self.store()?.as_ref(), child)
    }

    /// Whether a run ended without success before this attempt of the parent called it, or waits as it was imported.
    fn is_stale(&self, run: RunId, caller: Parent) -> Result<bool> {
        let store = self.store()?;
        if let Some(cell) = self.runs.lock().get(&run).cloned() {
            return Ok(matches!(cell.state(), CellState::Blocked(_))
                && (!self.takes_up || crate::park::imported(store.as_ref(), run)?));
        }
        let Some(record) = crate::inspect::run(store.as_ref(), run)? else { return Ok(false) };
        if !matches!(record.state, index::RunState::Failed | index::RunState::Cancelled) {
            return Ok(false);
        }
        let past = crate::past::Past::of_attempt(store, run, record.attempt_at)?;
        Ok(past.last.parent != Some(caller))
    }

    /// Whose body the next attempt of a run is for.
    pub(crate) fn parent_of(&self, last: Option<Parent>) -> Option<Parent> {
        let last = last?;
        // The parent's attempt that is under way, if it is: that one waits for this.
        let cell = self.runs.lock().get(&last.run).cloned();
        let shared = cell.and_then(|cell| cell.shared.lock().upgrade());
        let attempt = shared.map_or(last.attempt, |shared| shared.attempt.max(last.attempt));
        Some(Parent { run: last.run, attempt })
    }

    /// Notes that one run waits for another. `None` if that one waits for it.
    pub(crate) fn wait_for(self: &Arc<Self>, parent: RunId, child: RunId) -> Option<Waits> {
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
        Some(Waits { engine: Arc::downgrade(self), parent, child })
    }

    /// The runs that this one waits for before it goes on: those that wait for it and have yet to find out what is over for
    /// them, if nobody else waits for it. Where calls lead in a circle, which is on record as the calls were, it does not wait
    /// for those of the circle, but for those that wait for one of them.
    pub(crate) fn undecided_callers(&self, cell: &RunCell) -> Vec<Arc<RunCell>> {
        let mut unseen = self.direct_undecided_callers(cell);
        let (mut seen, mut callers) = (FxHashSet::default(), Vec::new());
        while let Some(caller) = unseen.pop() {
            if !seen.insert(caller.run) {
                continue;
            }
            if self.is_called_by(&caller, cell.run) {
                unseen.extend(self.direct_undecided_callers(&caller));
            } else {
                callers.push(caller);
            }
        }
        callers
    }

    fn direct_undecided_callers(&self, cell: &RunCell) -> Vec<Arc<RunCell>> {
        let callers: Vec<_> = {
            let holders = cell.holders.lock();
            if holders.rooted { Vec::new() } else { holders.calls.values().copied().collect() }
        };
        if callers.is_empty() {
            return Vec::new();
        }
        let runs = self.runs.lock();
        callers.iter().filter_map(|run| runs.get(run)).filter(|caller| !caller.is_decided()).cloned().collect()
    }

    /// Whether `caller` is this run or waits for it, itself or through others that have yet to decide.
    fn is_called_by(&self, cell: &Arc<RunCell>, caller: RunId) -> bool {
        let mut unseen = vec![Arc::clone(cell)];
        let mut seen = FxHashSet::default();
        while let Some(one) = unseen.pop() {
            if one.run == caller {
                return true;
            }
            if seen.insert(one.run) {
                unseen.extend(self.direct_undecided_callers(&one));
            }
        }
        false
    }

    /// When the run that a child's call is ended, if it has.
    pub(crate) fn child_ended_at(&self, child: RunId) -> Option<Timestamp> {
        let run = self.known_child(child).ok()??;
        let record = crate::inspect::run(self.store().ok()?.as_ref(), run).ok()??;
        record.finished_at.filter(|_| record.state != index::RunState::Unfinished)
    }

    /// A call does not wait for its child any more: if nobody does, the child is cancelled.
    pub(crate) fn release_child(self: &Arc<Self>, child: RunId) {
        let run = match self.known_child(child) {
            Ok(Some(run)) => run,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(run = %child, %error, "a child run whose parent is gone cannot be found");
                return;
            }
        };
        let cell = self.runs.lock().get(&run).cloned();
        if let Some(cell) = cell {
            self.release(&cell, child);
        }
    }

    fn release(self: &Arc<Self>, cell: &Arc<RunCell>, call: RunId) {
        cell.release(call);
        if let Err(error) = self.tend(cell) {
            tracing::warn!(run = %cell.run, %error, "a child run that sleeps cannot be woken to be cancelled");
        }
    }

    /// A parent ended without its body: all that it called is let go.
    pub(crate) fn release_children(self: &Arc<Self>, parent: RunId) {
        let cells: Vec<_> = self.runs.lock().values().cloned().collect();
        for cell in cells {
            let of_parent = |(call, by): (&RunId, &RunId)| (*by == parent).then_some(*call);
            let calls: Vec<_> = cell.holders.lock().calls.iter().filter_map(of_parent).collect();
            calls.into_iter().for_each(|call| self.release(&cell, call));
        }
    }

    /// Somebody outside waits for a run: a restart is to know that, if it would not.
    pub(crate) async fn root(&self, cell: &RunCell) -> Result<()> {
        {
            let mut holders = cell.holders.lock();
            holders.rooted = true;
            if holders.rooted_on_record {
                return Ok(());
            }
        }
        let put = index::put(index::IDS, index::holder_key(cell.run, None), &cell.run)?;
        self.settings.committer.commit(Write { preconditions: Vec::new(), operations: vec![put] }).await?;
        cell.holders.lock().rooted_on_record = true;
        Ok(())
    }

    /// Who waits for a run that was taken up, as far as that is on record: calls in runs that are unfinished themselves, and
    /// whoever started it.
    pub(crate) fn recorded_holders(&self, run: RunId, parent: Option<RunId>) -> Result<Holders> {
        let Some(parent) = parent else {
            return Ok(Holders { rooted: true, rooted_on_record: true, ..Holders::default() });
        };
        let store = self.store()?;
        let mut holders = Holders::default();
        let mut calls = vec![(run, parent)];
        for (call, parent) in index::holders(store.as_ref(), run)? {
            match call {
                Some(call) => calls.push((call, parent)),
                None => (holders.rooted, holders.rooted_on_record) = (true, true),
            }
        }
        // A run that called itself was told so: it does not wait for that.
        for (call, parent) in calls.into_iter().filter(|(_, parent)| *parent != run) {
            let unfinished = store.get(index::UNFINISHED, &index::run_key(parent)).map_err(storage_error)?;
            if unfinished.is_some() {
                holders.calls.insert(call, parent);
            }
        }
        Ok(holders)
    }

    /// Resumes a run: a new attempt, with what the earlier ones found.
    pub(crate) async fn resume(self: &Arc<Self>, run: RunId, rerun: Rerun) -> Result<crate::handle::Handle> {
        self.begin_attempt(run, Cause::Resumed(rerun), None).await
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
