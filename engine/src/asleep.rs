//! Runs that are put to sleep, and woken: what only waits for a time leaves memory, and is rebuilt from its log when it is due.
//!
//! A run sleeps when its row in `unfinished` says so, durably, and it is among the [`Sleepers`](crate::sleepers::Sleepers).
//! Its cell stays in `runs` for as long as somebody holds it; who looks for it later gets a new one. It wakes when it is due
//! or is cancelled: then its attempt is taken up from its log as after a crash, which is none. A signal does not wake it: it
//! waits for none, and finds it in its inbox.
//!
//! Called by `execute` (to sleep, and at its time), `engine`, `start` and `child` (who look for it).
//!
//! Invariants: an unfinished run that this engine can go on with is in `runs` or among the sleepers, at any time; it wakes
//! once; before its body is polled, its row says again that it is under way, so that a death of the process counts.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use relive_storage::planted::{Planted, planted};
use relive_storage::{Operation, Outcome, Precondition, Write};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::cache::CallKey;
use crate::clock::Clock;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result, storage_error};
use crate::execute::{self, Beginning};
use crate::handle::{CellState, Held, Obstacle, RunCell};
use crate::id::{RunId, Timestamp};
use crate::index::{self, Standing, UnfinishedRecord};
use crate::reserve::Running;
use crate::run::{Anchor, Moment, Rest, closed, elapsed_of, micros_down};
use crate::sleepers::{Next, Sleepers};

/// How often a run is looked for when others put it to sleep and wake it at the same time: each time it got on.
const TRIES_MAX: u32 = 1_000;

/// A run that goes on after it slept, or was about to.
pub(crate) struct Woken {
    pub(crate) record: UnfinishedRecord,
    /// What its waits are waited for by.
    pub(crate) anchor: Option<Anchor>,
    /// Its row, if that says that it sleeps.
    row: Option<Vec<u8>>,
}

impl UnfinishedRecord {
    /// Until when it need not be taken up, if it only waits: for its times, or for its next attempt.
    pub(crate) fn sleeps_until(&self) -> Option<Timestamp> {
        match self.standing {
            Standing::Asleep { until, .. } => Some(until),
            Standing::UnderWay => self.retry_at,
            Standing::Parked | Standing::Blocked(_) => None,
        }
    }

    /// The same by elapsed time, in microseconds, in a life of the process in which it was not awake: by the wall clock, but
    /// for no longer than it had left.
    pub(crate) fn due(&self, clock: &dyn Clock) -> Option<i64> {
        let until = self.sleeps_until()?;
        let left = until.0.saturating_sub(clock.now().0);
        let left = match self.standing {
            Standing::Asleep { since, .. } if until.0 < i64::MAX => left.min(until.0.saturating_sub(since.0)),
            _ => left,
        };
        Some(if until.0 == i64::MAX { i64::MAX } else { micros_down(clock.elapsed()).saturating_add(left) })
    }
}

impl Inner {
    pub(crate) fn unfinished_row(&self, run: RunId) -> Result<Option<(UnfinishedRecord, Vec<u8>)>> {
        let key = index::run_key(run);
        let Some(bytes) = self.store()?.get(index::UNFINISHED, &key).map_err(storage_error)? else { return Ok(None) };
        Ok(Some((index::open(index::UNFINISHED, &key, &bytes)?, bytes)))
    }

    /// Puts a run to sleep whose body is dropped already. `None`: it sleeps. Else somebody wants something of it, and it goes
    /// on.
    pub(crate) async fn fall_asleep(
        &self,
        cell: &Arc<RunCell>,
        key: Option<CallKey>,
        rest: Rest,
    ) -> Result<Option<Woken>> {
        let run = cell.run;
        let missing = || Error::new(ErrorKind::Corrupt, format!("run {run}: it is under way, and not in `unfinished`"));
        let (mut record, before) = self.unfinished_row(run)?.ok_or_else(missing)?;
        record.standing = Standing::Asleep { since: rest.since, until: rest.until };
        let anchor = Anchor::of(rest.until, rest.due);
        let Some(row) = self.replace_row(run, before, &record).await? else {
            record.standing = Standing::UnderWay;
            return Ok(Some(Woken { record, anchor, row: None }));
        };
        if self.lie_down(cell, key, &record, rest.due) {
            return Ok(None);
        }
        Ok(Some(Woken { record, anchor, row: Some(row) }))
    }

    /// Puts a run to sleep whose row says until when. `false` if somebody wants something of it.
    pub(crate) fn lie_down(
        &self,
        cell: &Arc<RunCell>,
        key: Option<CallKey>,
        record: &UnfinishedRecord,
        due: i64,
    ) -> bool {
        let joins = key.is_some_and(|key| self.is_call_of(&key, cell));
        {
            let mut runs = self.runs.lock();
            // Whoever writes after this sees that it sleeps.
            if cell.mailbox.is_called() && !planted(Planted::SleptThrough) {
                return false;
            }
            cell.sleeps();
            self.sleepers.enter(&record.call_key, cell.run, due, joins);
            if !cell.is_needed() {
                runs.remove(&cell.run);
            }
        }
        if joins && !cell.is_needed() {
            self.let_go(cell);
        }
        true
    }

    /// Puts a run to sleep until its next attempt: its row says already when that is due. `false` if somebody wants something
    /// of it.
    pub(crate) fn sleeps_between(&self, cell: &Arc<RunCell>, key: Option<CallKey>, due: Duration) -> Result<bool> {
        match self.unfinished_row(cell.run)? {
            Some((record, _)) if record.retry_at.is_some() => {
                Ok(self.lie_down(cell, key, &record, Moment::new(Timestamp(0), due).elapsed))
            }
            _ => Ok(false),
        }
    }

    /// Whether a run that an earlier life of the process left need not be taken up yet. What was put to sleep sleeps on.
    pub(crate) fn stays_asleep(&self, record: &UnfinishedRecord) -> bool {
        let is_enabled = self.settings.sleep_out_after < Duration::MAX;
        self.takes_up
            && self.registry.task(&record.task).is_some()
            && match record.standing {
                Standing::Asleep { .. } => true,
                Standing::UnderWay => record.retry_at.is_some() && is_enabled,
                Standing::Parked | Standing::Blocked(_) => false,
            }
    }

    /// A run that slept in an earlier life of the process sleeps on.
    pub(crate) fn sleeps_on(&self, run: RunId, record: &UnfinishedRecord) {
        let due = record.due(self.environment.clock.as_ref()).unwrap_or(i64::MAX);
        self.sleepers.enter(&record.call_key, run, due, self.is_joinable(record));
    }

    /// Changes a run's row; gives it, or `None` if it was another one meanwhile.
    pub(crate) async fn replace_row(
        &self,
        run: RunId,
        before: Vec<u8>,
        record: &UnfinishedRecord,
    ) -> Result<Option<Vec<u8>>> {
        let key = index::run_key(run);
        let put = index::put(index::UNFINISHED, key.clone(), record)?;
        let row = match &put {
            Operation::Put { value, .. } => value.clone(),
            _ => Vec::new(),
        };
        let equals = Precondition::Equals { keyspace: index::UNFINISHED, key, value: before };
        let write = Write { preconditions: vec![equals], operations: vec![put] };
        let outcome = self.settings.committer.commit(write).await?;
        Ok((outcome == Outcome::Applied).then_some(row))
    }

    /// Nobody holds the cell of a sleeper any more: what stays is among the sleepers.
    pub(crate) fn let_go(&self, cell: &Arc<RunCell>) {
        {
            let mut runs = self.runs.lock();
            if !cell.is_asleep() || (cell.is_needed() && !planted(Planted::LetGoTooSoon)) {
                return;
            }
            if runs.get(&cell.run).is_some_and(|known| Arc::ptr_eq(known, cell)) {
                runs.remove(&cell.run);
            }
        }
        self.release_call(cell);
    }

    /// The cell of a run that this engine can go on with, also of one that sleeps.
    pub(crate) fn known(&self, run: RunId) -> Result<Option<Held>> {
        let mut last = None;
        for _ in 0..TRIES_MAX {
            if let Some(cell) = self.runs.lock().get(&run) {
                return Ok(Some(self.held(cell)));
            }
            let Some((record, row)) = self.unfinished_row(run)? else { return Ok(None) };
            if let Some(held) = self.rouse(run, &record)? {
                return Ok(Some(held));
            }
            // It is not here at all, unless it has moved meanwhile.
            if last.replace(row.clone()) == Some(row) && !self.runs.lock().contains_key(&run) {
                return Ok(None);
            }
        }
        Err(Error::new(ErrorKind::Storage, format!("run {run} keeps moving while it is looked for: try again")))
    }

    /// Gives a sleeper a cell. `None` if it does not sleep, or has one.
    fn rouse(&self, run: RunId, record: &UnfinishedRecord) -> Result<Option<Held>> {
        if !self.sleepers.contains(run) {
            return Ok(None);
        }
        let cell = RunCell::new(run, &record.task, CellState::Asleep, &self.environment.metrics);
        *cell.holders.lock() = self.recorded_holders(run, record.parent)?;
        let held = {
            let mut runs = self.runs.lock();
            if runs.contains_key(&run) || !self.sleepers.contains(run) {
                return Ok(None);
            }
            runs.insert(run, Arc::clone(&cell));
            self.held(&cell)
        };
        self.heed_failure(&cell);
        if self.is_joinable(record) && self.sleepers.is_joined(&record.call_key, run) {
            self.joinable_if_free(record.call_key, Running::taken_up(&cell));
        }
        Ok(Some(held))
    }

    fn is_joinable(&self, record: &UnfinishedRecord) -> bool {
        let is_call = record.call_key != crate::fork::NO_CALL;
        is_call && self.registry.task(&record.task).is_some_and(|definition| self.cache.is_for(definition))
    }

    /// Those of these sleepers that are this call, with cells of their own, so that it can join one.
    pub(crate) fn rouse_call(&self, key: &CallKey, runs: &[RunId]) -> Result<Vec<Held>> {
        let mut found = Vec::new();
        for run in runs {
            if let Some((record, _)) = self.unfinished_row(*run)?
                && record.call_key == *key
            {
                let Some(held) = self.known(*run)? else { continue };
                // Its cell may have been let go in between, and be another now.
                self.joinable_if_free(*key, Running::taken_up(held.cell()));
                found.push(held);
            }
        }
        Ok(found)
    }

    /// Has a sleeper taken up again. Nothing happens if it does not sleep any more.
    ///
    /// # Errors
    /// If the engine is closed, or its row cannot be read.
    pub(crate) fn wake(self: &Arc<Self>, run: RunId, permit: Option<OwnedSemaphorePermit>) -> Result<()> {
        let Some(cell) = self.known(run)? else { return Ok(()) };
        let Some((record, _)) = self.unfinished_row(run)? else { return Ok(()) };
        let (alive, due) = {
            // Held while it leaves the sleepers, so that a shutdown at the same time finds it.
            let alive = self.alive.lock();
            let Some(alive) = alive.clone() else { return Err(closed(run)) };
            let _runs = self.runs.lock();
            let Some(due) = self.sleepers.leave(&record.call_key, run) else { return Ok(()) };
            cell.set(CellState::Queued);
            (alive, due)
        };
        let key = self.is_joinable(&record).then_some(record.call_key);
        execute::spawn(self, cell.cell(), Beginning::Woken { due, permit }, key, alive);
        Ok(())
    }

    /// After a change of who waits for a run: one that sleeps is woken if it is to be cancelled, and let go if nobody holds it.
    pub(crate) fn tend(self: &Arc<Self>, cell: &Arc<RunCell>) -> Result<()> {
        if !cell.is_asleep() {
            return Ok(());
        }
        if cell.mailbox.is_called() {
            return self.wake(cell.run, None);
        }
        self.let_go(cell);
        Ok(())
    }

    /// What a run that was woken goes on with. It was due then, by elapsed time.
    pub(crate) fn woken(&self, run: RunId, due: i64) -> Result<Woken> {
        let (record, row) = self.unfinished_row(run)?.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("run {run}: it slept, and is not in `unfinished` any more"))
        })?;
        let until = record.sleeps_until().filter(|_| !planted(Planted::AnchorLost));
        let anchor = until.and_then(|until| Anchor::of(until, due));
        let is_asleep = matches!(record.standing, Standing::Asleep { .. });
        let row = (is_asleep && !planted(Planted::StaysAsleep)).then_some(row);
        Ok(Woken { record, anchor, row })
    }

    /// Notes that a run is under way again, durably.
    pub(crate) async fn gets_up(&self, run: RunId, woken: Woken) -> Result<Option<Anchor>> {
        let Woken { mut record, anchor, row } = woken;
        if let Some(row) = row {
            record.standing = Standing::UnderWay;
            if self.replace_row(run, row, &record).await?.is_none() {
                return Err(Error::new(ErrorKind::Storage, format!("run {run} moved while it was woken: resume it")));
            }
        }
        Ok(anchor)
    }
}

/// Wakes every sleeper when it is due: one task for all of them. A run that is due waits here for its turn, so that many that
/// are due at once do not come into memory at once.
pub(crate) async fn watch(inner: Weak<Inner>, clock: Arc<dyn Clock>, turns: Arc<Semaphore>, _alive: mpsc::Sender<()>) {
    let Some(sleepers) = inner.upgrade().map(|inner| Arc::clone(&inner.sleepers)) else { return };
    loop {
        let (due, run) = match sleepers.next() {
            Next::Closed => return,
            Next::Nobody => {
                sleepers.changed.notified().await;
                continue;
            }
            Next::At(due, run) => (due, run),
        };
        if micros_down(clock.elapsed()) < due {
            unless_changed(&sleepers, clock.sleep_until(elapsed_of(due))).await;
            continue;
        }
        let Some(Ok(permit)) = unless_changed(&sleepers, Arc::clone(&turns).acquire_owned()).await else { continue };
        let Some(inner) = inner.upgrade() else { return };
        match inner.wake(run, Some(permit)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Closed => return,
            Err(error) => {
                tracing::error!(%run, %error, "a run that sleeps cannot be woken: its row cannot be read");
                let cell = inner.runs.lock().get(&run).cloned();
                if let Some(cell) = cell {
                    let since = inner.environment.clock.now();
                    cell.set(CellState::Blocked(Obstacle::of(error, Some(since))));
                }
            }
        }
        if planted(Planted::WokenTwice) {
            let _ = inner.wake(run, None);
        }
        // It does not sleep any more, or cannot be woken at all.
        sleepers.give_up(due, run);
    }
}

/// Waits, unless another is to be woken first, or none any more.
async fn unless_changed<F: Future>(sleepers: &Arc<Sleepers>, future: F) -> Option<F::Output> {
    let (mut future, mut changed) = (pin!(future), pin!(sleepers.changed.notified()));
    poll_fn(|cx| {
        if changed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}
