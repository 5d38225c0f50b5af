//! Deletes finished runs that nobody needs any more.
//!
//! Called by `engine` when somebody asks. The logs are the truth, so what is deleted is gone: a run goes whole, log and all
//! that stands beside it, in one write. Entries of the cache own copies, and stay.
//!
//! Invariants: an unfinished run stays, and so does every run that one called, or that those called; a child does not go
//! before those that called it; memory is bounded by the ids of the runs that are needed, and by the tasks.

mod needed;

use std::sync::Arc;

use relive_storage::planted::{Planted, planted};
use relive_storage::{KeyRange, Operation, Order, Outcome, PageLimit, Precondition, Row, Write, after};
use rustc_hash::FxHashMap;

use self::needed::Needed;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result, storage_error};
use crate::handle::{CellState, RunCell};
use crate::id::{RunId, Timestamp};
use crate::index::{self, IdRecord, RunRecord, RunState};
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
    (retained.kept_count, retained.needed_count) = (0, 0);
    let mut range = KeyRange::all();
    let limit = PageLimit { row_count: RUNS_PER_PAGE, ..PageLimit::default() };
    loop {
        inner.check_open()?;
        let page = inner.store()?.scan(index::RUNS, &range, Order::Ascending, limit).map_err(storage_error)?;
        for row in &page.rows {
            let run = index::run_of(index::RUNS, &row.key)?;
            if deleted.remembered.contains(&run) {
                continue;
            }
            let record: RunRecord = index::open(index::RUNS, &row.key, &row.value)?;
            if !goes(inner, rule, run, &record, newest, deleted)? {
                retained.kept_count += 1;
            } else if needed.contains(run) && !planted(Planted::NeededDeleted) {
                (retained.kept_count, retained.needed_count) = (retained.kept_count + 1, retained.needed_count + 1);
            } else if rule.dry || delete(inner, run, &record, row)? {
                deleted.add(run, rule.dry);
                retained.deleted_count += 1;
            } else {
                retained.kept_count += 1;
            }
        }
        match page.rows.last() {
            Some(last) if page.more => range.start = after(&last.key),
            _ => return Ok(()),
        }
    }
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
        Some(KeyRange { start: index::run_key(first), end: KeyRange::prefix(last.as_bytes()).end })
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

/// Whether a run is to go, unless an unfinished one needs it.
fn goes(
    inner: &Inner,
    rule: &Retention,
    run: RunId,
    record: &RunRecord,
    newest: &FxHashMap<String, Newest>,
    deleted: &Deleted,
) -> Result<bool> {
    let is_old = match (rule.finished_before, record.finished_at) {
        (_, None) => false,
        (None, _) => true,
        (Some(before), Some(at)) => at < before,
    };
    if record.state == RunState::Unfinished || !is_old {
        return Ok(false);
    }
    let Some(parent) = record.parent else {
        let is_kept = newest.get(&record.task).and_then(|task| task.oldest).is_some_and(|oldest| run >= oldest);
        return Ok(is_meant(rule, record) && !is_kept);
    };
    let store = inner.store()?;
    let is_there = |run: RunId| -> Result<bool> {
        let stored = store.get(index::RUNS, run.as_bytes()).map_err(storage_error)?;
        Ok(stored.is_some() && !deleted.remembered.contains(&run))
    };
    if is_there(parent)? {
        return Ok(false);
    }
    for (call, by) in index::holders(store.as_ref(), run)? {
        if call.is_some() && is_there(by)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Deletes a run, unless it has moved. Says whether it is gone.
fn delete(inner: &Arc<Inner>, run: RunId, record: &RunRecord, row: &Row) -> Result<bool> {
    // Entered as a run that is under way, so that nobody resumes it meanwhile.
    let cell = RunCell::new(run, &record.task, CellState::Starting, &inner.environment.metrics);
    {
        let mut runs = inner.runs.lock();
        if runs.contains_key(&run) {
            return Ok(false);
        }
        runs.insert(run, Arc::clone(&cell));
    }
    let written = rows(inner, run, record).and_then(|operations| {
        let equals = Precondition::Equals { keyspace: index::RUNS, key: row.key.clone(), value: row.value.clone() };
        let unfinished = Precondition::Absent { keyspace: index::UNFINISHED, key: row.key.clone() };
        commit(inner, Write { preconditions: vec![equals, unfinished], operations })
    });
    inner.runs.lock().remove(&run);
    let why = format!("run {run} was deleted");
    cell.set(CellState::Stopped(Arc::new(Error::new(ErrorKind::UnknownRun, why))));
    Ok(written? == Outcome::Applied)
}

/// What removes all of a run.
fn rows(inner: &Inner, run: RunId, record: &RunRecord) -> Result<Vec<Operation>> {
    let store = inner.store()?;
    let key = index::run_key(run);
    let all_of = |keyspace, prefix: &[u8]| {
        // An id of 16 bytes of 255 is none that a clock gives.
        let end = KeyRange::prefix(prefix).end.unwrap_or_else(|| after(&[u8::MAX; 64]));
        Operation::DeleteRange { keyspace, start: prefix.to_vec(), end }
    };
    let mut operations = vec![
        all_of(LOG, if planted(Planted::RangeTooWide) { &key[..6] } else { &key }),
        all_of(index::INBOX, &key),
        all_of(index::IDS, &index::holder_key(run, None)),
        Operation::Delete { keyspace: index::RUNS, key },
        Operation::Delete { keyspace: index::META, key: crate::export::mark_key(run) },
    ];
    for (name, value) in &record.tags {
        let key = index::tag_key(name, value, Some(run));
        operations.push(Operation::Delete { keyspace: index::TAGS, key });
    }
    if let Some(id) = &record.id
        && let Some(named) = index::read::<IdRecord>(store.as_ref(), index::IDS, id.as_bytes())?
        && named.run == run
    {
        operations.push(Operation::Delete { keyspace: index::IDS, key: id.as_bytes().to_vec() });
    }
    Ok(operations)
}

/// Removes ids of callers and of children that lead to runs that are gone: those that a run was joined under.
fn sweep_ids(inner: &Arc<Inner>) -> Result<()> {
    let mut range = KeyRange::all();
    loop {
        inner.check_open()?;
        let store = inner.store()?;
        let page = store.scan(index::IDS, &range, Order::Ascending, PageLimit::default()).map_err(storage_error)?;
        for row in page.rows.iter().filter(|row| row.key.first() != Some(&0xfe)) {
            let named: IdRecord = index::open(index::IDS, &row.key, &row.value)?;
            if store.get(index::RUNS, named.run.as_bytes()).map_err(storage_error)?.is_none() {
                let (keyspace, key) = (index::IDS, row.key.clone());
                let equals = Precondition::Equals { keyspace, key: key.clone(), value: row.value.clone() };
                commit(
                    inner,
                    Write { preconditions: vec![equals], operations: vec![Operation::Delete { keyspace, key }] },
                )?;
            }
        }
        match page.rows.last() {
            Some(last) if page.more => range.start = after(&last.key),
            _ => return Ok(()),
        }
    }
}

/// Commits from a thread that may block.
fn commit(inner: &Inner, write: Write) -> Result<Outcome> {
    let outcomes = crate::cache::evict::commit(inner, vec![write])?;
    Ok(outcomes.first().copied().unwrap_or(Outcome::Refused { precondition: 0 }))
}
