//! What is done to a run from outside while it waits or after it has ended: resume, signal.
//!
//! Called by `engine`.
//!
//! Invariant: a run has one loop at a time; a signal is durable before its sender is told.

use std::sync::Arc;

use relive_storage::planted::{Planted, planted};
use relive_storage::{Operation, Outcome, Precondition, Write};
use tokio::sync::oneshot;

use crate::child::under_way;
use crate::commit::{Submission, Waiter, gone};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Cause, Event, Parent, SignalReceived, TaskCompleted, TaskOutcome};
use crate::execute::{self, Beginning};
use crate::handle::{CellState, Handle, RunCell, Target};
use crate::id::RunId;
use crate::index;
use crate::inspect;
use crate::log::{LOG, LogReader};
use crate::payload::Payload;
use crate::post::Sending;
use crate::reserve::Running;
use crate::run::{self, Letter, closed};

/// How a run that no loop is driving is cancelled.
pub(crate) enum Cancelling {
    /// By this write.
    New(Write, TaskCompleted),
    /// Not at all: it had ended.
    Ended(TaskCompleted),
}

impl Inner {
    /// A run that an attempt may follow, as it is stored.
    ///
    /// # Errors
    /// Of kind `UnknownRun`; of kind `Ended` if it has completed; of kind `Unsupported` if it is under way.
    pub(crate) fn resumable(&self, run: RunId) -> Result<index::RunRecord> {
        self.check_open()?;
        let record = inspect::run(self.store()?.as_ref(), run)?
            .ok_or_else(|| Error::new(ErrorKind::UnknownRun, format!("there is no run {run} in this store")))?;
        if record.state == index::RunState::Completed {
            let why = format!("run {run} has completed: there is nothing to resume");
            return Err(Error::new(ErrorKind::Ended, why));
        }
        match self.known(run)? {
            Some(cell) if !matches!(cell.state(), CellState::Blocked(_)) => Err(under_way(run)),
            _ => Ok(record),
        }
    }

    /// Whether an attempt of a run is in its log, and has not ended.
    pub(crate) fn is_unfinished(&self, run: RunId) -> bool {
        let stored = self.store().map(|store| store.get(index::UNFINISHED, &index::run_key(run)));
        matches!(stored, Ok(Ok(Some(_))))
    }

    /// Begins a new attempt of a run that failed, was cancelled, or waits; for a call in another run's body, or for somebody
    /// outside.
    pub(crate) async fn begin_attempt(
        self: &Arc<Self>,
        run: RunId,
        cause: Cause,
        caller: Option<Parent>,
    ) -> Result<Handle> {
        // One that is being cancelled: after that.
        let known = self.runs.lock().get(&run).cloned();
        if let Some(cell) = known {
            cell.ending().await;
        }
        let record = self.resumable(run)?;
        let definition = self.registry.task(&record.task).ok_or_else(|| {
            let why = format!("run {run} is of task {}, which this program does not have", record.task);
            Error::new(ErrorKind::UnknownTask, why)
        })?;
        let started = crate::recover::first_event(self.store()?, run)?;
        let canonical = execute::unpanicked(|| (definition.canonical)(&started.input, &[]))
            .map_err(|error| crate::error::payload_error(format!("run {run}: its input cannot be read"), &error))?;
        let (cell, held, alive) = {
            // Held while the run is entered, so that a shutdown at the same time finds it.
            let alive = self.alive.lock();
            let Some(alive) = alive.clone() else { return Err(closed(run)) };
            let mut runs = self.runs.lock();
            let cell = match runs.get(&run) {
                Some(cell) => {
                    if !matches!(cell.state(), CellState::Blocked(_)) {
                        return Err(under_way(run));
                    }
                    // Under the lock: a cancel comes before it, and finds the run waiting, or after it, and stays.
                    cell.mailbox.renew();
                    cell.decides();
                    cell.set(CellState::Starting);
                    Arc::clone(cell)
                }
                // Somebody else was faster, and it fell asleep meanwhile.
                None if self.sleepers.contains(run) => return Err(under_way(run)),
                None => {
                    let cell = RunCell::new(run, definition.name, CellState::Starting, &self.environment.metrics);
                    runs.insert(run, Arc::clone(&cell));
                    cell
                }
            };
            let held = self.held(&cell);
            (cell, held, alive)
        };
        if record.parent.is_none() {
            let mut holders = cell.holders.lock();
            (holders.rooted, holders.rooted_on_record) = (true, true);
        }
        let _ = cell.input.set(canonical.clone().into());
        let counted = definition.counted(&started.input, &canonical.clone().into());
        let is_joinable = self.cache.is_for(definition) && !crate::fork::is_fork(&started);
        let key = counted.ok().filter(|_| is_joinable);
        let key = key.map(|counted| definition.call_key(&(self.cache.hasher)(&counted)));
        if let Some(key) = key {
            self.joinable_if_free(key, Running::taken_up(&cell));
        }
        execute::spawn(self, &cell, Beginning::Attempt(cause, caller), key, alive);
        match cell.started().await {
            Ok(()) => {
                if let CellState::Blocked(obstacle) = cell.state()
                    && inspect::run(self.store()?.as_ref(), run)?.is_none_or(|now| now.attempts == record.attempts)
                {
                    // The attempt never began: the run is blocked as before.
                    return Err(obstacle.error.duplicate());
                }
                if caller.is_none() {
                    self.root(&cell).await?;
                }
                Ok(Handle { run, target: Target::Live(held) })
            }
            Err(error) if error.kind() == ErrorKind::IdTaken => Err(under_way(run)),
            Err(error) => Err(error),
        }
    }

    /// What ends a run that no loop is driving, as cancelled, with what was signalled. Nobody may signal it meanwhile.
    pub(crate) fn cancelling(&self, run: RunId) -> Result<Cancelling> {
        // Its last record is enough: whether the others are whole is nothing to its end.
        let mut reader = LogReader::at_last(self.store()?, run)?;
        let mut last = None;
        while let Some(batch) = reader.next_batch()? {
            last = batch.events.into_iter().next_back();
        }
        if let Some(Event::TaskCompleted(completed)) = last
            && completed.retry_at.is_none()
        {
            return Ok(Cancelling::Ended(completed));
        }
        let started = crate::recover::first_event(self.store()?, run)?;
        let (at, first) = (self.environment.clock.now(), reader.position());
        let completed =
            TaskCompleted { outcome: TaskOutcome::Cancelled, imposed: true, code: started.code, retry_at: None, at };
        let mut writer = reader.into_writer(self.settings.epoch);
        let letters = index::inbox(self.store()?.as_ref(), run)?;
        let taken = letters.iter().map(|letter| Event::SignalReceived(letter.signal.clone()));
        let events = taken.chain([Event::TaskCompleted(completed.clone())]).collect();
        let (mut operations, _) = writer.append(first, events, true)?;
        let delivered = |letter: Letter| Operation::Delete { keyspace: index::INBOX, key: letter.key };
        operations.extend(letters.into_iter().map(delivered));
        if let Some(mut record) = inspect::run(self.store()?.as_ref(), run)? {
            record.state = index::RunState::Cancelled;
            record.finished_at = Some(at);
            operations.push(index::put(index::RUNS, index::run_key(run), &record)?);
        }
        operations.push(Operation::Delete { keyspace: index::UNFINISHED, key: index::run_key(run) });
        // Somebody else may be cancelling it, too: who appends first has cancelled it.
        let absent = Precondition::Absent { keyspace: LOG, key: crate::log::key(run, first) };
        Ok(Cancelling::New(Write { preconditions: vec![absent], operations }, completed))
    }

    /// Ends a run that no loop is driving, as cancelled.
    pub(crate) async fn cancel_unfinished(self: &Arc<Self>, run: RunId) -> Result<TaskCompleted> {
        // Nobody signals it until it has ended; what was signalled goes into its log.
        let _closed = self.post.close(run).await;
        let (write, completed) = match self.cancelling(run)? {
            Cancelling::New(write, completed) => (write, completed),
            Cancelling::Ended(completed) => return Ok(completed),
        };
        match self.settings.committer.commit(write).await? {
            Outcome::Applied => {
                self.release_children(run);
                Ok(completed)
            }
            Outcome::Refused { .. } => {
                Err(Error::new(ErrorKind::Storage, format!("run {run} moved while it was cancelled: try again")))
            }
        }
    }

    /// Signals a run. When this returns, the signal is durable.
    pub(crate) async fn signal(&self, run: RunId, name: &str, value: Payload) -> Result<()> {
        self.check_open()?;
        self.admits(run, name, &value)?;
        let key = index::run_key(run);
        // As often as others change the run's record meanwhile; each time it got on.
        for _ in 0..1_000 {
            let sending = self.post.send(run).await;
            // From here to `submit` without a wait: the run's end waits for what is sent, and may be what keeps this from
            // being polled.
            let stored = self.store()?.get(index::UNFINISHED, &key).map_err(crate::error::storage_error)?;
            let Some(unfinished) = stored else {
                return Err(match inspect::run(self.store()?.as_ref(), run)? {
                    Some(_) => Error::new(ErrorKind::Ended, format!("run {run} has ended: it takes no signal {name}")),
                    None => Error::new(ErrorKind::UnknownRun, format!("there is no run {run} in this store")),
                });
            };
            let at = self.environment.clock.now();
            let number = self.signal_count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let inbox = index::inbox_key(run, self.settings.epoch, number);
            let signal = SignalReceived { name: name.to_owned(), value: value.clone(), at };
            let put = index::put(index::INBOX, inbox.clone(), &signal)?;
            let equals = Precondition::Equals { keyspace: index::UNFINISHED, key: key.clone(), value: unfinished };
            let write = Write { preconditions: vec![equals], operations: vec![put] };
            let write = if planted(Planted::LostSignal) { Write::default() } else { write };
            if self.send(write, Letter { key: inbox, signal }, sending).await? == Outcome::Applied {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Storage, format!("run {run} keeps moving while it is signalled: try again")))
    }

    /// Gives a signal to the committer at once, which tells the run of it, also if nobody awaits what this gives.
    fn send(&self, write: Write, letter: Letter, sending: Sending) -> impl Future<Output = Result<Outcome>> + use<> {
        let (sender, receiver) = oneshot::channel();
        let (runs, run) = (Arc::downgrade(&self.runs), sending.run());
        let call = move |result: Result<Outcome>| {
            let runs = runs.upgrade().filter(|_| matches!(result, Ok(Outcome::Applied)));
            let mailbox = runs.and_then(|runs| runs.lock().get(&run).map(|cell| Arc::clone(&cell.mailbox)));
            if let Some(mailbox) = mailbox {
                mailbox.signal(letter);
            }
            drop(sending);
            // Nobody waits any more: the signal is sent all the same.
            let _ = sender.send(result);
        };
        let waiter = Waiter::Call(Box::new(call));
        self.settings.committer.submit(Submission { write, bytes: 0, events: Vec::new(), waiter, sync: false });
        async { receiver.await.unwrap_or_else(|_| Err(gone())) }
    }

    /// Refuses a signal that is of another type than the wait it would come to. As long as the run has signals of this name
    /// that nobody took, these come first; and of a run that is not in memory, or has not come to the end of its log,
    /// nothing is known.
    fn admits(&self, run: RunId, name: &str, value: &Payload) -> Result<()> {
        let cell = self.runs.lock().get(&run).cloned();
        let Some(shared) = cell.as_ref().and_then(|cell| cell.shared.lock().upgrade()) else { return Ok(()) };
        let (waits, mut before, letters) = {
            let state = shared.state.lock();
            if !state.knows_signals || state.is_over {
                return Ok(());
            }
            let before: Vec<_> = state.replay.signals(name).cloned().collect();
            let mut letters = shared.mailbox.signals();
            letters.retain(|letter| letter.signal.name == name && !state.signals_seen.contains(&letter.key));
            (run::open_waits(&state, name), before, letters)
        };
        if waits.is_empty() {
            return Ok(());
        }
        for letter in letters {
            // The run may be told of it late.
            if index::is_in_inbox(self.store()?.as_ref(), &letter.key)? {
                before.push(letter.signal.value);
            }
        }
        run::admits(waits, &before, value).map_err(|(wait, why)| {
            Error::new(
                ErrorKind::Payload,
                format!(
                    "run {run} waits for signal {name} as a {}, and {} is none: {why}. Nothing was recorded",
                    wait.type_name,
                    value.to_value().excerpt(120)
                ),
            )
        })
    }
}
