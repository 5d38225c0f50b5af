//! Deletes runs: each goes whole, in one write with all that stands beside its log.
//!
//! Used by `retain`, and by `pass` in the background. So many runs share a commit that a sync does not pay for one alone, and
//! so few that no other run's write waits for them.
//!
//! Invariants: a run that has moved since it was looked at stays; nobody resumes or joins one while it is deleted; what leads
//! to it from `ids` goes in the same write.

use std::sync::Arc;

use relive_storage::planted::{Planted, planted};
use relive_storage::{KeyRange, Operation, Outcome, Precondition, Row, Write, after};

use crate::cache::evict::{commit, each_page};
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result, storage_error};
use crate::handle::{CellState, RunCell};
use crate::id::RunId;
use crate::index::{self, IdRecord, RunRecord};
use crate::log::LOG;

/// Runs that go in one commit: 128, some 30 KiB.
const RUNS_PER_COMMIT: usize = 128;

/// Runs that are about to go.
pub(super) struct Batch<'a> {
    inner: &'a Arc<Inner>,
    leaving: Vec<(Leaving<'a>, Write)>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(inner: &'a Arc<Inner>) -> Self {
        Self { inner, leaving: Vec::with_capacity(RUNS_PER_COMMIT) }
    }

    pub(super) fn is_full(&self) -> bool {
        self.leaving.len() >= RUNS_PER_COMMIT
    }

    pub(super) fn len(&self) -> u64 {
        self.leaving.len() as u64
    }

    /// Whether a run is among them: it is still there until they are flushed.
    pub(super) fn holds(&self, run: RunId) -> bool {
        self.leaving.iter().any(|(leaving, _)| leaving.cell.run == run)
    }

    /// One more. `false` if somebody has it in hand: then it stays.
    pub(super) fn add(&mut self, run: RunId, record: &RunRecord, row: &Row) -> Result<bool> {
        let Some(leaving) = Leaving::enter(self.inner, run, record) else { return Ok(false) };
        let equals = Precondition::Equals { keyspace: index::RUNS, key: row.key.clone(), value: row.value.clone() };
        let unfinished = Precondition::Absent { keyspace: index::UNFINISHED, key: row.key.clone() };
        let operations = rows(self.inner, run, record)?;
        self.leaving.push((leaving, Write { preconditions: vec![equals, unfinished], operations }));
        Ok(true)
    }

    /// Deletes them, durably. Gives those that are gone, in the order in which they were added.
    pub(super) fn flush(&mut self) -> Result<Vec<RunId>> {
        let (leaving, writes): (Vec<_>, Vec<_>) = self.leaving.drain(..).unzip();
        let outcomes = commit(self.inner, writes)?;
        let gone = leaving.iter().zip(outcomes).filter(|(_, outcome)| *outcome == Outcome::Applied);
        let gone: Vec<_> = gone.map(|(leaving, _)| leaving.cell.run).collect();
        self.inner.environment.metrics.runs_deleted.increment(gone.len() as u64);
        // Tags that a call gave since the rows were looked for. No more come: each is written only if its run is listed.
        let mut late = Vec::new();
        for run in &gone {
            joined_tags(self.inner, *run, &mut late)?;
        }
        if !late.is_empty() {
            commit(self.inner, vec![Write { preconditions: Vec::new(), operations: late }])?;
        }
        Ok(gone)
    }
}

/// A run while it is deleted: entered as one that is under way, so that nobody resumes it meanwhile. Who meets it waits for
/// the end of that, and looks again.
struct Leaving<'a> {
    inner: &'a Arc<Inner>,
    cell: Arc<RunCell>,
}

impl<'a> Leaving<'a> {
    fn enter(inner: &'a Arc<Inner>, run: RunId, record: &RunRecord) -> Option<Self> {
        let cell = RunCell::new(run, &record.task, CellState::Starting, &inner.environment.metrics);
        let mut runs = inner.runs.lock();
        if runs.contains_key(&run) {
            return None;
        }
        runs.insert(run, Arc::clone(&cell));
        drop(runs);
        Some(Self { inner, cell })
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let run = self.cell.run;
        self.inner.runs.lock().remove(&run);
        let why = format!("run {run} was deleted");
        self.cell.set(CellState::Stopped(Arc::new(Error::new(ErrorKind::UnknownRun, why))));
    }
}

/// What removes all of a run. It has ended, so nothing is added to it while its row in `runs` is what it was.
fn rows(inner: &Inner, run: RunId, record: &RunRecord) -> Result<Vec<Operation>> {
    let store = inner.store()?;
    let key = index::run_key(run);
    let log = if planted(Planted::RangeTooWide) { &key[..6] } else { &key[..] };
    // An id of 16 bytes of 255 is none that a clock gives.
    let end = KeyRange::prefix(log).end.unwrap_or_else(|| after(&[u8::MAX; 64]));
    let mut operations = vec![
        // However long its log is, this costs the same.
        Operation::DeleteRange { keyspace: LOG, start: log.to_vec(), end },
        Operation::Delete { keyspace: index::RUNS, key: key.clone() },
    ];
    // Hardly ever there: looked for, as a deletion of nothing would cost those who read there later.
    each_page(inner, index::INBOX, &key, |rows| {
        operations.extend(rows.into_iter().map(|row| Operation::Delete { keyspace: index::INBOX, key: row.key }));
        Ok(())
    })?;
    let mark = crate::export::mark_key(run);
    if store.get(index::META, &mark).map_err(storage_error)?.is_some() {
        operations.push(Operation::Delete { keyspace: index::META, key: mark });
    }
    for (name, value) in &record.tags {
        let key = index::tag_key(name, value, Some(run));
        operations.push(Operation::Delete { keyspace: index::TAGS, key });
    }
    joined_tags(inner, run, &mut operations)?;
    let mut names: Vec<Vec<u8>> = record.id.iter().map(|id| id.as_bytes().to_vec()).collect();
    for prefix in [index::holder_key(run, None), index::joined_key(run, &[])] {
        each_page(inner, index::IDS, &prefix, |rows| {
            for row in rows {
                // Of who waited outside there is no name.
                names.extend(index::name_of(&row.key)?);
                operations.push(Operation::Delete { keyspace: index::IDS, key: row.key });
            }
            Ok(())
        })?;
    }
    for key in names {
        if let Some(named) = index::read::<IdRecord>(store.as_ref(), index::IDS, &key)?
            && named.run == run
        {
            operations.push(Operation::Delete { keyspace: index::IDS, key });
        }
    }
    Ok(operations)
}

/// What removes the tags that calls gave which joined a run.
fn joined_tags(inner: &Inner, run: RunId, operations: &mut Vec<Operation>) -> Result<()> {
    each_page(inner, index::IDS, &index::joined_tags(run), |rows| {
        for row in rows {
            operations.push(Operation::Delete { keyspace: index::TAGS, key: index::tag_key_of(&row.key) });
            operations.push(Operation::Delete { keyspace: index::IDS, key: row.key });
        }
        Ok(())
    })
}
