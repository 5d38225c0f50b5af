//! Takes up what earlier lives of the process left unfinished.
//!
//! Called once, at open. Reads the `unfinished` index, and how a few runs of each task began: logs are read by the runs
//! themselves, when their turn comes.
//!
//! Invariants: the cost depends on how many runs are unfinished, not on how many are stored; all of them are entered before the
//! first goes on, so that a run finds those that it called.

use std::sync::Arc;

use relive_storage::planted::{Planted, planted};
use relive_storage::{KeyRange, Operation, Order, PageLimit, Precondition, Read, Write, after};

use crate::cache::{CallKey, CallsOfBefore};
use crate::commit::Committer;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result, storage_error};
use crate::event::{Event, TaskStarted};
use crate::execute::{self, Beginning};
use crate::handle::{CellState, Obstacle, RunCell};
use crate::id::{Epoch, RunId, Timestamp};
use crate::index::{self, BlockReason, Blocked, Standing, UnfinishedRecord};
use crate::log::LogReader;
use crate::observe::events::{self, Found};

/// How many rows are written in one commit: 1,000 of some 300 bytes and a message, so that none is large.
const ROWS_PER_COMMIT: usize = 1_000;

/// Where the epoch stands in `meta`.
pub(crate) const EPOCH_KEY: &[u8] = b"epoch";

/// Counts this opening of the store, durably, together with the store's redaction key if that was drawn just now. Says
/// also whether the life before ended in order.
pub(crate) async fn next_epoch(
    store: &dyn Read,
    committer: &Committer,
    drawn: Option<(Precondition, Operation)>,
) -> Result<(Epoch, bool)> {
    let old = store.get(index::META, EPOCH_KEY).map_err(storage_error)?;
    let last = match &old {
        Some(bytes) => index::open::<Epoch>(index::META, EPOCH_KEY, bytes)?,
        None => Epoch(0),
    };
    let in_order = crate::park::ended_in_order(store, last)?;
    let epoch = Epoch(last.0.wrapping_add(1));
    let key = EPOCH_KEY.to_vec();
    let unchanged = match old {
        Some(value) => Precondition::Equals { keyspace: index::META, key: key.clone(), value },
        None => Precondition::Absent { keyspace: index::META, key: key.clone() },
    };
    let operations = vec![index::put(index::META, key, &epoch)?, crate::cache::evict::unstore_size()];
    let mut write = Write { preconditions: vec![unchanged], operations };
    if let Some((absent, put)) = drawn {
        write.preconditions.push(absent);
        write.operations.push(put);
    }
    match committer.commit(write).await? {
        relive_storage::Outcome::Applied => Ok((epoch, in_order)),
        relive_storage::Outcome::Refused { .. } => {
            Err(Error::new(ErrorKind::InUse, "another engine opened the same store at the same time"))
        }
    }
}

/// The changes after which every life of the process to come is one after this: a store that takes in logs of another's.
pub(crate) fn counted_up_to(store: &dyn Read, epoch: Epoch) -> Result<Vec<Operation>> {
    let last = index::read::<Epoch>(store, index::META, EPOCH_KEY)?.unwrap_or_default();
    // The highest numbers are left to count on; no store was opened so often.
    let epoch = epoch.min(Epoch(u32::MAX / 2));
    if epoch <= last {
        return Ok(Vec::new());
    }
    let mut operations = vec![index::put(index::META, EPOCH_KEY.to_vec(), &epoch)?];
    if crate::park::ended_in_order(store, last)? {
        operations.push(crate::park::closed(epoch)?);
    }
    Ok(operations)
}

/// Spawns every unfinished run whose task is linked in; the others are blocked, with the reason, which is put on record.
/// Unless the life before ended in order, each that goes on counts that. What was blocked by its code is tried again, as
/// that may be another now.
pub(crate) async fn take_up(inner: &Arc<Inner>, in_order: bool) -> Result<()> {
    let mut range = KeyRange::all();
    let (mut entered, mut newly_blocked, mut found) = (Vec::new(), Vec::new(), Found::default());
    let mut calls = CallsOfBefore::default();
    loop {
        let page = inner
            .store()?
            .scan(index::UNFINISHED, &range, Order::Ascending, PageLimit::default())
            .map_err(storage_error)?;
        let (mut records, mut calls_of_today) = (Vec::with_capacity(page.rows.len()), Write::default());
        for row in &page.rows {
            let run = index::run_of(index::UNFINISHED, &row.key)?;
            let mut record = index::open::<UnfinishedRecord>(index::UNFINISHED, &row.key, &row.value)?;
            if inner.takes_up {
                calls_of_today.operations.extend(calls.reread(inner, run, &mut record)?);
            }
            records.push((run, record));
        }
        if !calls_of_today.operations.is_empty() {
            // Nothing else is written before all runs are entered.
            inner.settings.committer.commit(calls_of_today).await?;
        }
        for (run, record) in records {
            match enter(inner, run, record)? {
                Entered::ToGoOn(taken_up) => entered.push(taken_up),
                Entered::Asleep => found.asleep += 1,
                Entered::Blocked(reason, new) => {
                    if new.is_none() {
                        *found.blocked.entry(reason).or_default() += 1;
                    }
                    newly_blocked.extend(new);
                }
            }
        }
        match page.rows.last() {
            Some(last) if page.more => range.start = after(&last.key),
            _ => break,
        }
    }
    // Before anything goes on: nobody else writes these rows yet.
    for operations in newly_blocked.chunks(ROWS_PER_COMMIT) {
        let write = Write { preconditions: Vec::new(), operations: operations.to_vec() };
        inner.settings.committer.commit(write).await?;
    }
    found.taken_up = entered.len() as u64;
    events::opened(inner.settings.epoch, in_order, &found);
    let Some(alive) = inner.alive.lock().clone() else { return Ok(()) };
    for TakenUp { cell, mut record, key } in entered {
        events::taken_up(&cell);
        let (attempt_at, retry_at) = (record.attempt_at, record.retry_at);
        // While it was blocked it was not driven: that the process died says nothing of it.
        let blocked = match std::mem::replace(&mut record.standing, Standing::UnderWay) {
            Standing::Blocked(blocked) => Some(Box::new(blocked)),
            standing => {
                record.standing = standing;
                None
            }
        };
        let died = (!in_order && blocked.is_none()).then_some(record);
        if planted(Planted::TakenUpTwice) {
            let again = Beginning::TakenUp { attempt_at, retry_at, died: died.clone(), blocked: blocked.clone() };
            execute::spawn(inner, &cell, again, key, alive.clone());
        }
        execute::spawn(inner, &cell, Beginning::TakenUp { attempt_at, retry_at, died, blocked }, key, alive.clone());
    }
    Ok(())
}

/// What becomes of an unfinished run when a store is opened.
enum Entered {
    ToGoOn(TakenUp),
    Asleep,
    /// It cannot go on, for this reason. If that was found just now: the change that puts it on record.
    Blocked(BlockReason, Option<Operation>),
}

/// A run that is to go on.
struct TakenUp {
    cell: Arc<RunCell>,
    record: Box<UnfinishedRecord>,
    key: Option<CallKey>,
}

/// Enters an unfinished run among those that are known.
fn enter(inner: &Arc<Inner>, run: RunId, record: UnfinishedRecord) -> Result<Entered> {
    let is_asleep = inner.stays_asleep(&record);
    if is_asleep && record.parent.is_none() {
        // Its row is all that is needed until it is due.
        inner.sleeps_on(run, &record);
        return Ok(Entered::Asleep);
    }
    let cell = RunCell::new(run, &record.task, CellState::Queued, &inner.environment.metrics);
    let holders = inner.recorded_holders(run, record.parent)?;
    let is_let_go = holders.calls.is_empty() && !holders.rooted;
    if is_let_go {
        // Whoever waited for it ended or let it go, and the process died before it was told.
        cell.mailbox.cancel();
    }
    *cell.holders.lock() = holders;
    inner.runs.lock().insert(run, Arc::clone(&cell));
    inner.heed_failure(&cell);
    let definition = inner.registry.task(&record.task);
    let joinable =
        definition.is_some_and(|definition| inner.cache.is_for(definition)) && record.call_key != crate::fork::NO_CALL;
    let key = joinable.then_some(record.call_key);
    if let Some(key) = key {
        inner.joinable(key, &cell);
    }
    if is_asleep && !is_let_go {
        // Its cell knows who waits for it.
        cell.sleeps();
        inner.sleeps_on(run, &record);
        return Ok(Entered::Asleep);
    }
    // Those that are on record are told of by their number.
    let stays = |error: Error, reason: BlockReason, since: Option<Timestamp>| {
        let obstacle = Obstacle { error, reason, since };
        events::still_blocked(&cell, &obstacle);
        cell.set(CellState::Blocked(Arc::new(obstacle)));
        Ok(Entered::Blocked(reason, None))
    };
    let (now, since) = (inner.environment.clock.now(), record.blocked_since());
    if let Some(error) = crate::park::parked(inner.store()?, run, &record) {
        return stays(error, record.block_reason().unwrap_or(BlockReason::Parked), since);
    }
    if definition.is_none() {
        let (error, reason) = (execute::unknown_task(&cell), BlockReason::UnknownTask);
        if record.block_reason() == Some(reason) {
            return stays(error, reason, since);
        }
        // An engine that was opened for one thing, as the command line's, need not have the tasks.
        if !inner.takes_up {
            return stays(error, reason, Some(now));
        }
        let record = UnfinishedRecord { standing: Standing::Blocked(Blocked::of(&error, reason, now)), ..record };
        let put = index::put(index::UNFINISHED, index::run_key(run), &record)?;
        execute::block(&cell, Obstacle { error, reason, since: Some(now) });
        return Ok(Entered::Blocked(reason, Some(put)));
    }
    if !inner.takes_up {
        return stays(held(run, &record), BlockReason::Held, Some(now));
    }
    if record.retry_at.is_none() {
        cell.is_to_decide();
    }
    Ok(Entered::ToGoOn(TakenUp { cell, record: Box::new(record), key }))
}

fn held(run: RunId, record: &UnfinishedRecord) -> Error {
    let why = format!("run {run} of task {} waits: this engine takes up no runs unless they are resumed", record.task);
    Error::new(ErrorKind::Unsupported, why)
}

/// How a run began.
pub(crate) fn first_event(store: Arc<dyn Read>, run: RunId) -> Result<TaskStarted> {
    let batch = LogReader::new(store, run).fetching(1).next_batch()?;
    match batch.map(|batch| batch.events.into_iter().next()) {
        Some(Some(Event::TaskStarted(started))) => Ok(started),
        _ => Err(Error::new(ErrorKind::Corrupt, format!("run {run}: its log is empty, or begins with another event"))),
    }
}
