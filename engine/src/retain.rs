//! Deletes finished runs that nobody needs any more.
//!
//! Called by `engine` when somebody asks; what tasks and the engine say of how long runs are kept (`keep`) is done in the
//! `background`. The logs are the truth, so what is deleted is gone: a run goes whole, log and all
//! that stands beside it, in one write. Entries of the cache own copies, and stay.
//!
//! Invariants: an unfinished run stays, and so does every run that one called, or that those called; a child does not go
//! before those that called it; memory is bounded by the ids of the runs that are needed, and by the tasks.

mod background;
mod delete;
mod judge;
mod keep;
mod needed;
mod pass;
mod space;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use relive_storage::planted::{Planted, planted};
use relive_storage::{KeyRange, Operation, Order, PageLimit, Precondition, Write, after};
use rustc_hash::FxHashMap;

pub(crate) use self::background::{Duty, Retaining, keep};
use self::delete::Batch;
pub use self::keep::{KEEP_COUNT_MAX, Keep};
use self::needed::Needed;
use crate::cache::evict::commit;
use crate::engine::Inner;
use crate::error::{Result, storage_error};
use crate::id::{RunId, Timestamp};
use crate::index::{self, IdRow, RunRecord, RunState};
use crate::log::LOG;

/// Which finished runs are deleted: those that meet all of it.
#[derive(Clone, Debug, Default)]
pub struct Retention {
    /// Those that ended before this.
    pub finished_before: Option<Timestamp>,
    /// But of each task so many of the newest stay, of those with these states. Children go with those that called them.
    pub keep: u64,
    /// Only runs that stand so; empty: however they ended.
    pub states: Vec<RunState>,
    /// Only runs of this task.
    pub task: Option<String>,
    /// Count only: delete nothing.
    pub dry: bool,
}

/// What was deleted, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retained {
    /// Runs that are gone.
    pub deleted_count: u64,
    /// Runs that would have gone, but an unfinished run needs them.
    pub needed_count: u64,
    /// Runs that would have gone, but stay with the run that called them, which stays.
    pub with_caller_count: u64,
    /// Runs that stay, those included.
    pub kept_count: u64,
}

/// Runs that are looked at in one go.
const RUNS_PER_PAGE: usize = 256;

/// How far the newest runs of a task reach that are kept.
#[derive(Default)]
struct Newest {
    count: u64,
    /// The oldest of them; runs before it may go.
    oldest: Option<RunId>,
}

/// Deletes what a rule says. Runs on a thread where reading may block.
pub(crate) fn retain(inner: &Arc<Inner>, rule: &Retention) -> Result<Retained> {
    inner.retaining.asked.store(true, Ordering::Release);
    let needed = Needed::of(&inner.store()?)?;
    let newest = newest(inner, rule)?;
    let (mut retained, mut deleted) = (Retained::default(), Deleted::default());
    loop {
        let before = retained.deleted_count;
        pass(inner, rule, &needed, &newest, &mut retained, &mut deleted)?;
        // A child is younger than who called it, but for the milliseconds of its id and clocks that go back: then it is found
        // too early, and goes with the next pass.
        if retained.deleted_count == before {
            break;
        }
    }
    if let Some(range) = deleted.range().filter(|_| !rule.dry) {
        sweep_ids(inner)?;
        for keyspace in [LOG, index::RUNS] {
            inner.settings.committer.reclaim(keyspace, &range)?;
        }
    }
    Ok(retained)
}

/// Looks at all runs once, the oldest first: who called a run is gone when it is looked at.
fn pass(
    inner: &Arc<Inner>,
    rule: &Retention,
    needed: &Needed,
    newest: &FxHashMap<String, Newest>,
    retained: &mut Retained,
    deleted: &mut Deleted,
) -> Result<()> {
    (retained.kept_count, retained.needed_count, retained.with_caller_count) = (0, 0, 0);
    let mut range = KeyRange::all();
    let limit = PageLimit { row_count: RUNS_PER_PAGE, ..PageLimit::default() };
    let mut batch = Batch::new(inner);
    loop {
        inner.check_open()?;
        let page = inner.store()?.scan(index::RUNS, &range, Order::Ascending, limit).map_err(storage_error)?;
        for row in &page.rows {
            let run = index::run_of(index::RUNS, &row.key)?;
            if deleted.remembered.contains(&run) {
                continue;
            }
            let record: RunRecord = index::open(index::RUNS, &row.key, &row.value)?;
            if record.parent.is_some_and(|parent| batch.holds(parent)) {
                flush(&mut batch, retained, deleted)?;
            }
            let fate = goes(inner, rule, run, &record, newest, deleted)?;
            if fate != Fate::Goes {
                retained.kept_count += 1;
                retained.with_caller_count += u64::from(fate == Fate::StaysWithCaller);
            } else if needed.contains(run) && !planted(Planted::NeededDeleted) {
                (retained.kept_count, retained.needed_count) = (retained.kept_count + 1, retained.needed_count + 1);
            } else if rule.dry {
                deleted.add(run, true);
                retained.deleted_count += 1;
            } else if !batch.add(run, &record, row)? {
                retained.kept_count += 1;
            } else if batch.is_full() {
                flush(&mut batch, retained, deleted)?;
            }
        }
        flush(&mut batch, retained, deleted)?;
        match page.rows.last() {
            Some(last) if page.more => range.start = after(&last.key),
            _ => return Ok(()),
        }
    }
}

fn flush(batch: &mut Batch<'_>, retained: &mut Retained, deleted: &mut Deleted) -> Result<()> {
    let before = batch.len();
    let gone = batch.flush()?;
    gone.iter().for_each(|run| deleted.add(*run, false));
    retained.deleted_count += gone.len() as u64;
    // Those that have moved meanwhile.
    retained.kept_count += before - gone.len() as u64;
    Ok(())
}

/// What is gone: for those that it called, and for the space that is given back.
#[derive(Default)]
struct Deleted {
    first: Option<RunId>,
    last: Option<RunId>,
    /// In a dry pass they are still there, so that they have to be remembered.
    remembered: std::collections::BTreeSet<RunId>,
}

impl Deleted {
    fn add(&mut self, run: RunId, dry: bool) {
        self.first = Some(self.first.map_or(run, |first| first.min(run)));
        self.last = self.last.max(Some(run));
        if dry {
            self.remembered.insert(run);
        }
    }

    fn range(&self) -> Option<KeyRange> {
        let (first, last) = (self.first?, self.last?);
        Some(space::range(first, last))
    }
}

/// Of each task, where those begin that are kept.
fn newest(inner: &Inner, rule: &Retention) -> Result<FxHashMap<String, Newest>> {
    let mut newest: FxHashMap<String, Newest> = FxHashMap::default();
    if rule.keep == 0 {
        return Ok(newest);
    }
    for stored in crate::inspect::runs(inner.store()?) {
        let stored = stored?;
        if stored.record.parent.is_some() || !is_meant(rule, &stored.record) {
            continue;
        }
        let task = newest.entry(stored.record.task).or_default();
        if task.count < rule.keep {
            (task.count, task.oldest) = (task.count + 1, Some(stored.run));
        }
    }
    Ok(newest)
}

/// Whether the rule is about a run.
fn is_meant(rule: &Retention, record: &RunRecord) -> bool {
    record.state != RunState::Unfinished
        && (rule.states.is_empty() || rule.states.contains(&record.state))
        && rule.task.as_ref().is_none_or(|task| *task == record.task)
}

/// What a rule says of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Goes,
    Stays,
    /// It is finished and old enough, but what called it is there.
    StaysWithCaller,
}

/// Whether a run is to go, unless an unfinished one needs it.
fn goes(
    inner: &Inner,
    rule: &Retention,
    run: RunId,
    record: &RunRecord,
    newest: &FxHashMap<String, Newest>,
    deleted: &Deleted,
) -> Result<Fate> {
    let is_old = match (rule.finished_before, record.finished_at) {
        (_, None) => false,
        (None, _) => true,
        (Some(before), Some(at)) => at < before,
    };
    if record.state == RunState::Unfinished || !is_old {
        return Ok(Fate::Stays);
    }
    let Some(parent) = record.parent else {
        let is_kept = newest.get(&record.task).and_then(|task| task.oldest).is_some_and(|oldest| run >= oldest);
        return Ok(if is_meant(rule, record) && !is_kept { Fate::Goes } else { Fate::Stays });
    };
    let store = inner.store()?;
    let is_there = |run: RunId| -> Result<bool> {
        let stored = store.get(index::RUNS, run.as_bytes()).map_err(storage_error)?;
        Ok(stored.is_some() && !deleted.remembered.contains(&run))
    };
    if is_there(parent)? {
        return Ok(Fate::StaysWithCaller);
    }
    for (call, by) in index::holders(store.as_ref(), run)? {
        if call.is_some() && is_there(by)? {
            return Ok(Fate::StaysWithCaller);
        }
    }
    Ok(Fate::Goes)
}

/// Removes rows of runs that are gone: those that were written while their run was deleted, and what older programs left.
fn sweep_ids(inner: &Arc<Inner>) -> Result<()> {
    let mut range = KeyRange::all();
    loop {
        inner.check_open()?;
        let store = inner.store()?;
        let page = store.scan(index::IDS, &range, Order::Ascending, PageLimit::default()).map_err(storage_error)?;
        for row in &page.rows {
            let run = index::run_of_id(&row.key, &row.value)?;
            if store.get(index::RUNS, run.as_bytes()).map_err(storage_error)?.is_none() {
                let (keyspace, key) = (index::IDS, row.key.clone());
                let equals = Precondition::Equals { keyspace, key: key.clone(), value: row.value.clone() };
                let mut operations = vec![Operation::Delete { keyspace, key }];
                if IdRow::of(&row.key) == IdRow::JoinedTag {
                    operations.push(Operation::Delete { keyspace: index::TAGS, key: index::tag_key_of(&row.key) });
                }
                commit(inner, vec![Write { preconditions: vec![equals], operations }])?;
            }
        }
        match page.rows.last() {
            Some(last) if page.more => range.start = after(&last.key),
            _ => return Ok(()),
        }
    }
}
