//! Reading runs and logs: for people, programs and the command line.
//!
//! Works on a live engine's store and on a read-only view of one.
//!
//! Invariant: memory is bounded by a page, whatever is stored; nothing is written.

use std::sync::Arc;

use relive_storage::{KeyRange, Keyspace, Order, PageLimit, Read, Row, after};

use crate::error::{Error, ErrorKind, Result, storage_error};
use crate::event::{Batch, Cause, Event, TaskStarted};
use crate::id::{Epoch, RunId, Sequence};
use crate::index::{self, IdRecord, RunRecord, UnfinishedRecord};
use crate::log::LogReader;

/// A run, as it is stored.
#[derive(Clone, Debug)]
pub struct StoredRun {
    /// Its id.
    pub run: RunId,
    /// The rest.
    pub record: RunRecord,
}

/// An event and where it stands.
#[derive(Clone, Debug)]
pub struct LoggedEvent {
    /// Its position.
    pub sequence: Sequence,
    /// Which life of the process appended it: counts the times the store was opened to write.
    pub epoch: Epoch,
    /// The event.
    pub event: Event,
}

/// Runs, the newest first, a page at a time. After an error it ends.
pub struct Runs {
    store: Result<Arc<dyn Read>, Option<Error>>,
    /// Where the runs are found: all, those that have not ended, or those of a tag.
    keyspace: Keyspace,
    range: Option<KeyRange>,
    rows: std::vec::IntoIter<Row>,
}

/// All runs of a store.
pub fn runs(store: Arc<dyn Read>) -> Runs {
    Runs { store: Ok(store), keyspace: index::RUNS, range: Some(KeyRange::all()), rows: Vec::new().into_iter() }
}

/// The runs of a store that have this tag.
pub fn runs_tagged(store: Arc<dyn Read>, name: &str, value: &str) -> Runs {
    let range = Some(KeyRange::prefix(&index::tag_key(name, value, None)));
    Runs { store: Ok(store), keyspace: index::TAGS, range, rows: Vec::new().into_iter() }
}

/// The runs of a store that have not ended: what it costs depends on how many these are.
pub fn runs_unfinished(store: Arc<dyn Read>) -> Runs {
    Runs { store: Ok(store), keyspace: index::UNFINISHED, range: Some(KeyRange::all()), rows: Vec::new().into_iter() }
}

impl From<Error> for Runs {
    /// No runs, but why there are none.
    fn from(error: Error) -> Self {
        Self { store: Err(Some(error)), keyspace: index::RUNS, range: None, rows: Vec::new().into_iter() }
    }
}

impl Runs {
    fn fill(&mut self) -> Result<()> {
        let store = match &mut self.store {
            Ok(store) => store,
            Err(error) => return error.take().map_or(Ok(()), Err),
        };
        while self.rows.len() == 0
            && let Some(range) = self.range.take()
        {
            let page = store.scan(self.keyspace, &range, Order::Descending, PageLimit::default());
            let page = page.map_err(storage_error)?;
            if page.more
                && let Some(last) = page.rows.last()
            {
                self.range = Some(KeyRange { start: range.start, end: Some(last.key.clone()) });
            }
            self.rows = page.rows.into_iter();
        }
        Ok(())
    }
}

impl Runs {
    /// The run that a key ends with; `None` if it was deleted meanwhile.
    fn named(&self, row: &Row) -> Result<Option<StoredRun>> {
        let id = row.key.len().checked_sub(16).and_then(|at| row.key.get(at..)).unwrap_or_default();
        let run = index::run_of(self.keyspace, id)?;
        let Ok(store) = &self.store else { return Ok(None) };
        if let Some(record) = self::run(store.as_ref(), run)? {
            return Ok(Some(StoredRun { run, record }));
        }
        let is_there =
            |keyspace, key: &[u8]| -> Result<bool> { Ok(store.get(keyspace, key).map_err(storage_error)?.is_some()) };
        let is_tag = self.keyspace == index::TAGS;
        // Of a call that joined it as it was deleted: the next deletion of runs removes it.
        if !is_there(self.keyspace, &row.key)? || (is_tag && is_there(index::IDS, &index::joined_tag_key_of(&row.key))?)
        {
            return Ok(None);
        }
        let by = if is_tag { "a tag" } else { "the list of unfinished runs" };
        Err(Error::new(ErrorKind::Corrupt, format!("{by} names run {run}, which is not in this store")))
    }
}

impl Iterator for Runs {
    type Item = Result<StoredRun>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Err(error) = self.fill() {
                return Some(Err(error));
            }
            let row = self.rows.next()?;
            if self.keyspace == index::RUNS {
                return Some(stored(&row));
            }
            if let Some(named) = self.named(&row).transpose() {
                return Some(named);
            }
        }
    }
}

fn stored(row: &Row) -> Result<StoredRun> {
    let run = index::run_of(index::RUNS, &row.key)?;
    Ok(StoredRun { run, record: index::open(index::RUNS, &row.key, &row.value)? })
}

/// One run, or `None`.
///
/// # Errors
/// If the store cannot be read, or the record is damaged.
pub fn run(store: &dyn Read, run: RunId) -> Result<Option<RunRecord>> {
    index::read(store, index::RUNS, &index::run_key(run))
}

/// The run that a child's id, as its parent's log has it, leads to: that run, or the one that it joined or that had the result.
/// `None` if it has not begun.
///
/// # Errors
/// If the store cannot be read, or a record is damaged.
pub fn child(store: &dyn Read, child: RunId) -> Result<Option<RunId>> {
    if run(store, child)?.is_some() {
        return Ok(Some(child));
    }
    let record = index::read::<IdRecord>(store, index::IDS, &index::child_key(child))?;
    Ok(record.map(|record| record.run))
}

/// Which run answered a call of a child, where the child did not run for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// That run was under way, and the call joined it.
    Joined(RunId),
    /// Its result was in the cache. Which run that was is known since version 3 of the format.
    Cached(Option<RunId>),
}

/// Which run answered the call of a child, as its parent's log has it; `None` if the child ran itself, or has not begun.
///
/// # Errors
/// If the store cannot be read, or a record is damaged.
pub fn answered(store: &Arc<dyn Read>, child: RunId) -> Result<Option<Answered>> {
    match self::child(store.as_ref(), child)? {
        Some(run) if run != child => Ok(Some(Answered::Joined(run))),
        Some(_) => Ok(match crate::recover::first_event(Arc::clone(store), child)?.cause {
            Cause::Cached => Some(Answered::Cached(None)),
            Cause::CachedFrom { run } => Some(Answered::Cached(Some(run))),
            _ => None,
        }),
        None => Ok(None),
    }
}

/// Tags of calls that joined a run, or whose ids name it, beside its own.
///
/// # Errors
/// If the store cannot be read, or a key is damaged.
pub fn joined_tags(store: &dyn Read, run: RunId) -> Result<Vec<(String, String)>> {
    let mut tags = Vec::new();
    let mut range = KeyRange::prefix(&index::joined_tags(run));
    loop {
        let page = store.scan(index::IDS, &range, Order::Ascending, PageLimit::default()).map_err(storage_error)?;
        tags.extend(page.rows.iter().filter_map(|row| index::tag_of(&index::tag_key_of(&row.key))));
        match page.rows.last() {
            Some(last) if page.more => range.start = after(&last.key),
            _ => return Ok(tags),
        }
    }
}

/// What a restart needs to know of a run, or `None` if there is no such run or it has ended.
///
/// # Errors
/// If the store cannot be read, or the record is damaged.
pub fn unfinished(store: &dyn Read, run: RunId) -> Result<Option<UnfinishedRecord>> {
    index::read(store, index::UNFINISHED, &index::run_key(run))
}

/// The runs whose printed id begins with this text, at most `count_max`.
///
/// # Errors
/// If the text cannot begin an id, or the store cannot be read.
pub fn runs_by_prefix(store: &dyn Read, prefix: &str, count_max: usize) -> Result<Vec<RunId>> {
    const SMALLEST: &str = "00000000000000000000000000";
    const LARGEST: &str = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ";
    let prefix = prefix.to_ascii_uppercase();
    let filled = |filler: &str| -> Result<RunId> {
        let rest = filler.get(prefix.len()..).unwrap_or_default();
        Ok(format!("{prefix}{rest}").parse::<RunId>()?)
    };
    let (first, last) = (filled(SMALLEST)?, filled(LARGEST)?);
    let range = KeyRange { start: index::run_key(first), end: Some(after(last.as_bytes())) };
    let limit = PageLimit { row_count: count_max, ..PageLimit::default() };
    let page = store.scan(index::RUNS, &range, Order::Ascending, limit).map_err(storage_error)?;
    page.rows.iter().map(|row| index::run_of(index::RUNS, &row.key)).collect()
}

/// The events of a run, a page at a time. After an error it ends.
pub struct Events {
    reader: Option<LogReader>,
    error: Option<Error>,
    at: Sequence,
    epoch: Epoch,
    batch: std::vec::IntoIter<Event>,
}

/// The events of a run, from its first. A run that is not there has none.
pub fn events(store: Arc<dyn Read>, run: RunId) -> Events {
    Events {
        reader: Some(LogReader::new(store, run)),
        error: None,
        at: Sequence(0),
        epoch: Epoch(0),
        batch: Vec::new().into_iter(),
    }
}

/// The events of a run from this one on. None if the log ends before it.
///
/// # Errors
/// If the store cannot be read.
pub fn events_from(store: Arc<dyn Read>, run: RunId, at: Sequence) -> Result<Events> {
    let mut reader = LogReader::starting_at(store, run, at)?;
    let Some(Batch { first, epoch, events, .. }) = reader.next_batch()? else { return Ok(Events::default()) };
    let skipped = at.0.saturating_sub(first.0).min(events.len() as u64);
    let mut batch = events.into_iter();
    if let Some(last) = usize::try_from(skipped).ok().and_then(|skipped| skipped.checked_sub(1)) {
        batch.nth(last);
    }
    Ok(Events { reader: Some(reader), error: None, at: Sequence(first.0 + skipped), epoch, batch })
}

/// Where the attempts of a run begin, and how. Reads all of its log.
///
/// # Errors
/// If the store cannot be read, or the log is damaged.
pub fn attempts(store: Arc<dyn Read>, run: RunId) -> Result<Vec<(Sequence, TaskStarted)>> {
    let mut attempts = Vec::new();
    for logged in events(store, run) {
        let logged = logged?;
        if let Event::TaskStarted(started) = logged.event {
            attempts.push((logged.sequence, started));
        }
    }
    Ok(attempts)
}

impl Default for Events {
    /// None.
    fn default() -> Self {
        Self { reader: None, error: None, at: Sequence(0), epoch: Epoch(0), batch: Vec::new().into_iter() }
    }
}

impl From<Error> for Events {
    /// No events, but why there are none.
    fn from(error: Error) -> Self {
        Self { error: Some(error), ..Self::default() }
    }
}

impl Iterator for Events {
    type Item = Result<LoggedEvent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.batch.next() {
                let sequence = self.at;
                self.at.0 += 1;
                return Some(Ok(LoggedEvent { sequence, epoch: self.epoch, event }));
            }
            if let Some(error) = self.error.take() {
                return Some(Err(error));
            }
            match self.reader.as_mut()?.next_batch() {
                Ok(Some(Batch { first, epoch, events, .. })) => {
                    (self.at, self.epoch, self.batch) = (first, epoch, events.into_iter());
                }
                Ok(None) => return None,
                Err(error) => {
                    self.reader = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
