//! Makes the cache again from the logs alone.
//!
//! The newest runs first, and an entry only where none is: so the newest result wins, as it does when runs end, and what
//! a run enters meanwhile stays.
//!
//! Invariant: an entry is made only if a log proves it (`uses`). Memory is bounded by a page and by one entry per run in
//! it.

use std::sync::Arc;

use relive_storage::{KeyRange, Order, Outcome, PageLimit, Precondition, Write};

use crate::engine::Inner;
use crate::error::{Result, storage_error};
use crate::event::TaskOutcome;
use crate::id::RunId;
use crate::index::{self, CacheRecord, RunRecord, RunState};

use super::uses::proof;
use super::{evict, key};

/// Runs that are looked at in one go: their entries are held until they are durable.
const RUNS_PER_PAGE: usize = 64;

/// What became of a rebuilding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebuilt {
    /// Entries that were made.
    pub entries: u64,
    /// Runs that succeeded, of tasks that are not in this program.
    pub unknown_tasks: u64,
    /// Runs that succeeded, and whose logs do not prove enough.
    pub not_proven: u64,
}

pub(super) async fn rebuild(inner: &Arc<Inner>) -> Result<Rebuilt> {
    evict::tending(inner, |inner| {
        evict::remove_all(inner, &[])?;
        let mut rebuilt = Rebuilt::default();
        let mut range = KeyRange::all();
        let limit = PageLimit { row_count: RUNS_PER_PAGE, ..PageLimit::default() };
        loop {
            inner.check_open()?;
            let page = inner.store()?.scan(index::RUNS, &range, Order::Descending, limit).map_err(storage_error)?;
            let mut writes = Vec::new();
            for row in &page.rows {
                let record: RunRecord = index::open(index::RUNS, &row.key, &row.value)?;
                if record.state == RunState::Completed {
                    let run = index::run_of(index::RUNS, &row.key)?;
                    writes.extend(entry(inner, run, &record, &mut rebuilt)?);
                }
            }
            let made = evict::commit(inner, writes)?;
            rebuilt.entries += made.iter().filter(|outcome| **outcome == Outcome::Applied).count() as u64;
            match page.rows.last() {
                Some(last) if page.more => range.end = Some(last.key.clone()),
                _ => break,
            }
        }
        Ok(rebuilt)
    })
    .await
}

/// The write that makes a run's entry, if its log proves one.
fn entry(inner: &Arc<Inner>, run: RunId, record: &RunRecord, rebuilt: &mut Rebuilt) -> Result<Option<Write>> {
    let Some(definition) = inner.registry.task(&record.task) else {
        rebuilt.unknown_tasks += 1;
        return Ok(None);
    };
    if !inner.cache.is_for(definition) {
        return Ok(None);
    }
    // Under which version or salt a run was begun, no log says.
    let proof = match definition.cache.version().is_none() && definition.cache.salt.is_empty() {
        true => proof(&inner.store()?, &inner.registry, run)?,
        false => None,
    };
    let counted = proof.as_ref().map(|proof| definition.counted_of(&proof.started.input));
    let (Some(proof), Some(Ok(counted))) = (proof, counted) else {
        rebuilt.not_proven += 1;
        return Ok(None);
    };
    let TaskOutcome::Ok(result) = proof.completed.outcome else { return Ok(None) };
    let code = proof.started.code;
    let record = CacheRecord {
        task: record.task.clone(),
        code,
        version: None,
        salt: String::new(),
        input: proof.started.input,
        result,
        uses: proof.uses,
        run,
        created_at: proof.completed.at,
    };
    let key = key::of_version(definition, &code, &(inner.cache.hasher)(&counted));
    let operations = inner.cache.insertion(key, &record)?;
    if operations.is_empty() {
        return Ok(None);
    }
    let absent = Precondition::Absent { keyspace: index::CACHE, key: key.as_bytes().to_vec() };
    Ok(Some(Write { preconditions: vec![absent], operations }))
}
