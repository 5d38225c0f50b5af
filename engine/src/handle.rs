//! A run, from outside: its status, its outcome, its cancellation.
//!
//! The cell is written by the run's task (`execute`) and read by handles.
//!
//! Invariant: an outcome that is shown is durable.

use std::ops::Deref;
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use relive_storage::planted::{Planted, planted};
use rustc_hash::FxHashMap;
use tokio::sync::watch;

use crate::cache::CallKey;
use crate::commit::failed;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::event::TaskOutcome;
use crate::id::{RunId, Timestamp};
use crate::index::BlockReason;
use crate::observe::{Metrics, TaskNumbers};
use crate::run::{Mailbox, RunShared, by_handle};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunStatus {
    /// It waits for its turn: as many runs as allowed are under way.
    Queued,
    /// It is under way, or only waits: for a time, a signal, another run.
    Running,
    /// It cannot go on until somebody does something about it. Its log is untouched.
    Blocked {
        /// What kind of reason.
        reason: BlockReason,
        /// The error, for an operator.
        message: String,
        /// Since when, if that is known: not of a run that was imported, or parked by a version that did not record it.
        since: Option<Timestamp>,
    },
    /// The engine stopped before it ended, or a commit of any run failed. It goes on when its store is opened again.
    Stopped {
        /// Why.
        message: String,
    },
    /// Its task returned `Ok`.
    Completed,
    /// Its task returned `Err` or panicked, or did what a task must not.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl std::fmt::Display for RunStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Blocked { .. } => "blocked",
            Self::Stopped { .. } => "stopped",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// How far a run has come.
#[derive(Clone, Debug)]
pub(crate) enum CellState {
    /// Its first event is not durable yet.
    Starting,
    Queued,
    Running,
    /// It was put to sleep: nobody drives it until it is due.
    Asleep,
    /// It cannot go on until somebody acts; the error is for whoever awaits it.
    Blocked(Arc<Obstacle>),
    /// It could not go on, and its end is being written: nobody resumes it meanwhile.
    Ending(Arc<Obstacle>),
    /// The engine stopped before it ended.
    Stopped(Arc<Error>),
    Done(Arc<TaskOutcome>),
}

/// What keeps a run from going on.
#[derive(Debug)]
pub(crate) struct Obstacle {
    pub(crate) error: Error,
    pub(crate) reason: BlockReason,
    pub(crate) since: Option<Timestamp>,
}

impl Obstacle {
    /// The reason is the error's own.
    pub(crate) fn of(error: Error, since: Option<Timestamp>) -> Arc<Self> {
        let reason = BlockReason::of(error.kind());
        Arc::new(Self { error, reason, since })
    }
}

/// What a run's task and its handles share.
pub(crate) struct RunCell {
    pub(crate) run: RunId,
    pub(crate) task: String,
    pub(crate) mailbox: Arc<Mailbox>,
    /// The canonical form of its input; read from the log when it is first asked for, if the run was taken up.
    pub(crate) input: OnceLock<Bytes>,
    /// Who waits for it.
    pub(crate) holders: Mutex<Holders>,
    /// The attempt that is driven.
    pub(crate) shared: Mutex<Weak<RunShared>>,
    /// Under which call equal ones find it.
    pub(crate) call: Mutex<Option<CallKey>>,
    /// A refresh started it: only its cell knows that.
    pub(crate) is_refresh: AtomicBool,
    /// How many [`Held`] there are.
    held_count: AtomicUsize,
    /// Not, while it is taken up and has yet to find out which of its waits are over: those that it calls wait for that.
    is_decided: AtomicBool,
    state: watch::Sender<CellState>,
    /// What is counted of its task's runs.
    numbers: Arc<TaskNumbers>,
}

/// Who waits for a run.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    /// Calls in other runs' bodies, by the ids that those logs fixed; and which runs these are.
    pub(crate) calls: FxHashMap<RunId, RunId>,
    /// Somebody started it from outside, so it is not cancelled with a parent.
    pub(crate) rooted: bool,
    /// A restart knows that.
    pub(crate) rooted_on_record: bool,
}

impl RunCell {
    pub(crate) fn new(run: RunId, task: &str, state: CellState, metrics: &Arc<Metrics>) -> Arc<Self> {
        let numbers = metrics.task(task);
        numbers.run_state(None, Some(&state));
        let (state, _) = watch::channel(state);
        let mailbox = Arc::new(Mailbox::default());
        Arc::new(Self {
            run,
            task: task.to_owned(),
            mailbox,
            input: OnceLock::new(),
            holders: Mutex::default(),
            shared: Mutex::default(),
            call: Mutex::default(),
            is_refresh: AtomicBool::new(false),
            held_count: AtomicUsize::new(0),
            is_decided: AtomicBool::new(true),
            state,
            numbers,
        })
    }

    /// It is started new.
    pub(crate) fn count_start(&self) {
        self.numbers.started.increment(1);
    }

    /// Notes who waits for it: a call and its run, or somebody outside. `false` if it is about to be cancelled: then it has
    /// to be looked for again once it has ended.
    pub(crate) fn hold(&self, call: Option<(RunId, RunId)>) -> bool {
        let mut holders = self.holders.lock();
        match self.state() {
            CellState::Blocked(_) => {}
            CellState::Ending(_) => return false,
            _ if self.mailbox.is_cancelled() => return false,
            _ => {}
        }
        match call {
            Some(_) if planted(Planted::HolderForgotten) && !holders.calls.is_empty() => {}
            Some((call, parent)) => drop(holders.calls.insert(call, parent)),
            None => holders.rooted = true,
        }
        true
    }

    /// A call does not wait for it any more: if nobody does, it is cancelled.
    pub(crate) fn release(&self, call: RunId) {
        let mut holders = self.holders.lock();
        if holders.calls.remove(&call).is_some() && holders.calls.is_empty() && !holders.rooted {
            // Under the lock, so that nobody joins it in between.
            self.mailbox.cancel();
        }
    }

    pub(crate) fn set(&self, state: CellState) {
        self.state.send_modify(|before| {
            // Who was told that the engine stopped is told nothing else, but an outcome that is durable; and that stays.
            match before {
                CellState::Done(_) => return,
                CellState::Stopped(_) if !matches!(state, CellState::Done(_)) => return,
                _ => {}
            }
            self.numbers.run_state(Some(before), Some(&state));
            *before = state;
        });
    }

    /// A commit failed, of whatever run: tells the run's loop, and whoever waits for the run, also while the loop is in code
    /// of the user's that does not return.
    pub(crate) fn commit_failed(&self, why: &str) {
        let is_told = |state| matches!(state, CellState::Blocked(_) | CellState::Ending(_) | CellState::Done(_));
        if self.mailbox.all_failed(why) && !is_told(self.state()) {
            self.set(CellState::Stopped(Arc::new(failed(why))));
        }
    }

    pub(crate) fn state(&self) -> CellState {
        self.state.borrow().clone()
    }

    /// Begins to end a run that cannot go on. `None` if it is none, or somebody else is about to. Under the lock of the runs, so
    /// that it is not resumed at the same time.
    pub(crate) fn ends(self: &Arc<Self>) -> Option<Ending> {
        let mut is_ending = false;
        // Nobody is told of it: it counts and looks as before.
        self.state.send_if_modified(|state| {
            if let CellState::Blocked(obstacle) = state {
                *state = CellState::Ending(Arc::clone(obstacle));
                is_ending = true;
            }
            false
        });
        is_ending.then(|| Ending(Arc::clone(self)))
    }

    /// Waits while somebody is ending it.
    pub(crate) async fn ending(&self) {
        let mut receiver = self.state.subscribe();
        // The cell holds the sender, so this cannot fail.
        let _ = receiver.wait_for(|state| !matches!(state, CellState::Ending(_))).await;
    }

    /// Whether it cannot go on, also if it is being ended.
    pub(crate) fn is_blocked(&self) -> bool {
        matches!(*self.state.borrow(), CellState::Blocked(_) | CellState::Ending(_))
    }

    /// Nobody drives it from now on. Under the lock of the runs.
    pub(crate) fn sleeps(&self) {
        *self.shared.lock() = Weak::new();
        self.set(CellState::Asleep);
    }

    pub(crate) fn is_asleep(&self) -> bool {
        matches!(*self.state.borrow(), CellState::Asleep)
    }

    /// Whether it holds what is not on record, or somebody holds it.
    pub(crate) fn is_needed(&self) -> bool {
        let holders = self.holders.lock();
        self.held_count.load(Ordering::Acquire) > 0
            || self.is_refresh.load(Ordering::Relaxed)
            || !holders.calls.is_empty()
            || !holders.rooted_on_record
    }

    /// Waits until the run's first event is durable, or it is known that it never will be.
    pub(crate) async fn started(&self) -> Result<()> {
        let mut receiver = self.state.subscribe();
        // The cell holds the sender, so this cannot fail.
        let state = receiver.wait_for(|state| !matches!(state, CellState::Starting)).await.map(|state| state.clone());
        match state {
            Ok(CellState::Stopped(error)) => Err(error.duplicate()),
            _ => Ok(()),
        }
    }

    /// Whether it stands for a run that is being deleted: waits for the end of that. The run is to be looked for again.
    pub(crate) async fn is_deleted(&self) -> bool {
        self.started().await.is_err_and(|error| error.kind() == ErrorKind::UnknownRun)
    }

    /// The attempt that is driven from now on.
    pub(crate) fn drive(&self, shared: &Arc<RunShared>) {
        *self.shared.lock() = Arc::downgrade(shared);
    }

    /// It is taken up, and has yet to find out what is over.
    pub(crate) fn is_to_decide(&self) {
        self.is_decided.store(false, Ordering::Release);
    }

    pub(crate) fn is_decided(&self) -> bool {
        self.is_decided.load(Ordering::Acquire)
    }

    /// What was over has ended: whom it has not let go, it goes on waiting for.
    pub(crate) fn decides(&self) {
        self.is_decided.store(true, Ordering::Release);
        self.state.send_modify(|_| {});
    }

    /// Waits until what was over has ended, or it is known that nobody drives the run.
    pub(crate) async fn decided(&self) {
        let mut receiver = self.state.subscribe();
        let is_at_rest = |state: &CellState| !matches!(state, CellState::Queued | CellState::Running);
        // The cell holds the sender, so this cannot fail.
        let _ = receiver.wait_for(|state| self.is_decided() || is_at_rest(state)).await;
    }

    /// Waits until the run has ended, however long it has to wait itself.
    pub(crate) async fn done(&self) -> Result<Arc<TaskOutcome>> {
        let mut receiver = self.state.subscribe();
        let over = |state: &CellState| matches!(state, CellState::Done(_) | CellState::Stopped(_));
        match receiver.wait_for(over).await.map(|state| state.clone()) {
            Ok(CellState::Done(outcome)) => Ok(outcome),
            Ok(CellState::Stopped(error)) => Err(error.duplicate()),
            _ => Err(Error::new(ErrorKind::Closed, format!("run {}: its engine is gone", self.run))),
        }
    }

    /// Waits until the run has ended, or cannot go on.
    pub(crate) async fn ended(&self) -> Result<Arc<TaskOutcome>> {
        let mut receiver = self.state.subscribe();
        let over =
            |state: &CellState| matches!(state, CellState::Done(_) | CellState::Stopped(_) | CellState::Blocked(_));
        match receiver.wait_for(over).await.map(|state| state.clone()) {
            Ok(CellState::Done(outcome)) => Ok(outcome),
            Ok(CellState::Stopped(error)) => Err(error.duplicate()),
            Ok(CellState::Blocked(obstacle)) => Err(obstacle.error.duplicate()),
            _ => Err(Error::new(ErrorKind::Closed, format!("run {}: its engine is gone", self.run))),
        }
    }
}

impl Drop for RunCell {
    fn drop(&mut self) {
        self.numbers.run_state(Some(&self.state.borrow()), None);
    }
}

/// A run that cannot go on, while its end is written. If that comes to nothing, it is blocked as before.
pub(crate) struct Ending(Arc<RunCell>);

impl Ending {
    pub(crate) fn cell(&self) -> &Arc<RunCell> {
        &self.0
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.state.send_if_modified(|state| {
            let CellState::Ending(obstacle) = state else { return false };
            *state = CellState::Blocked(Arc::clone(obstacle));
            true
        });
    }
}

/// What became of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// The run is cancelled; that is durable.
    Cancelled,
    /// The run had ended before.
    AlreadyEnded,
}

/// A run's cell that somebody outside the run holds: as long as there is one, the cell is the run's also while it sleeps.
/// Not dropped under the lock of the runs.
pub(crate) struct Held {
    cell: Arc<RunCell>,
    engine: Weak<Inner>,
}

impl Held {
    /// Under the lock of the runs, where it is found; or before the run is spawned.
    pub(crate) fn new(cell: &Arc<RunCell>, engine: &Weak<Inner>) -> Self {
        cell.held_count.fetch_add(1, Ordering::AcqRel);
        Self { cell: Arc::clone(cell), engine: Weak::clone(engine) }
    }

    pub(crate) fn cell(&self) -> &Arc<RunCell> {
        &self.cell
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        Self::new(&self.cell, &self.engine)
    }
}

impl Deref for Held {
    type Target = RunCell;

    fn deref(&self) -> &RunCell {
        &self.cell
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let is_last = self.cell.held_count.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last
            && self.cell.is_asleep()
            && let Some(engine) = self.engine.upgrade()
        {
            engine.let_go(&self.cell);
        }
    }
}

/// A run that was started, joined, or found.
#[derive(Clone)]
pub struct Handle {
    pub(crate) run: RunId,
    pub(crate) target: Target,
}

#[derive(Clone)]
pub(crate) enum Target {
    /// It is known to the engine.
    Live(Held),
    /// It ended before.
    Done(Arc<TaskOutcome>),
}

impl Handle {
    /// The run's id.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// How it stands now.
    pub fn status(&self) -> RunStatus {
        let of = |outcome: &TaskOutcome| match outcome {
            TaskOutcome::Ok(_) => RunStatus::Completed,
            TaskOutcome::Err(_) => RunStatus::Failed,
            TaskOutcome::Cancelled => RunStatus::Cancelled,
        };
        match &self.target {
            Target::Done(outcome) => of(outcome),
            Target::Live(cell) => match cell.state() {
                CellState::Starting | CellState::Running | CellState::Asleep => RunStatus::Running,
                CellState::Queued => RunStatus::Queued,
                CellState::Blocked(obstacle) | CellState::Ending(obstacle) => RunStatus::Blocked {
                    reason: obstacle.reason,
                    message: obstacle.error.to_string(),
                    since: obstacle.since,
                },
                CellState::Stopped(error) => RunStatus::Stopped { message: error.to_string() },
                CellState::Done(outcome) => of(&outcome),
            },
        }
    }

    /// Waits for the outcome. It is durable.
    ///
    /// # Errors
    /// If the run cannot go on (divergence, unknown task, damage), or the engine stops before it ends. Of kind `Cycle` if a
    /// trace awaits it, and it waits for that trace's run.
    pub async fn outcome(&self) -> Result<Arc<TaskOutcome>> {
        match &self.target {
            Target::Live(cell) => by_handle(&cell.engine, cell.run, cell.ended()).await?,
            Target::Done(outcome) => Ok(Arc::clone(outcome)),
        }
    }
}
