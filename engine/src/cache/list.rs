//! What the cache holds, for people.
//!
//! Invariant: memory is bounded by a page, whatever is stored; nothing is written.

use std::sync::Arc;

use relive_storage::{KeyRange, Order, PageLimit, Read, Row, after};

use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result, storage_error};
use crate::id::{RunId, Timestamp};
use crate::index::{self, CacheRecord, CacheUse, Used};
use crate::value::Value;

use super::key::{EntryKey, Version};
use super::lookup::expiry;

/// A result that equal calls get.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// Names it, to throw it out.
    pub key: EntryKey,
    /// The task's name.
    pub task: String,
    /// The version of the task that found the result.
    pub version: Version,
    /// The task's salt then; mostly empty.
    pub salt: String,
    /// The arguments of the call that found it, by their names.
    pub input: Value,
    /// How large the result is, as it is stored.
    pub result_bytes: u64,
    /// How much the entry takes of the cache's size.
    pub bytes: u64,
    /// When the result was found.
    pub created_at: Timestamp,
    /// When it last answered a call, or was found if it never did. May lag by some seconds, as hits wait for no disk.
    pub used_at: Timestamp,
    /// From when on it no longer holds, by the time to live that the task has in this program.
    pub expires_at: Option<Timestamp>,
    /// The run that found it.
    pub run: RunId,
    /// What that run called, and what its child runs did.
    pub uses: Vec<Used>,
}

/// Entries of the cache, a page at a time. After an error it ends.
pub struct Entries {
    source: Result<Source, Option<Error>>,
    range: Option<KeyRange>,
    rows: std::vec::IntoIter<Row>,
}

struct Source {
    store: Arc<dyn Read>,
    /// Knows what is used and not written down yet, and how long entries live.
    inner: Arc<Inner>,
}

/// All entries of a store.
pub(super) fn entries(store: Arc<dyn Read>, inner: &Arc<Inner>) -> Entries {
    under(store, inner, &[])
}

/// The entries whose keys begin so.
pub(super) fn under(store: Arc<dyn Read>, inner: &Arc<Inner>, prefix: &[u8]) -> Entries {
    let range = Some(KeyRange::prefix(prefix));
    Entries { source: Ok(Source { store, inner: Arc::clone(inner) }), range, rows: Vec::new().into_iter() }
}

impl From<Error> for Entries {
    /// No entries, but why there are none.
    fn from(error: Error) -> Self {
        Self { source: Err(Some(error)), range: None, rows: Vec::new().into_iter() }
    }
}

impl Entries {
    /// The next record, as it is stored.
    pub(super) fn next_record(&mut self) -> Result<Option<(EntryKey, CacheRecord, u64)>> {
        let store = match &mut self.source {
            Ok(source) => Arc::clone(&source.store),
            Err(error) => return error.take().map_or(Ok(None), Err),
        };
        if self.rows.len() == 0
            && let Some(range) = self.range.take()
        {
            let page = store.scan(index::CACHE, &range, Order::Ascending, PageLimit::default());
            let page = page.map_err(storage_error)?;
            if page.more
                && let Some(last) = page.rows.last()
            {
                self.range = Some(KeyRange { start: after(&last.key), end: range.end });
            }
            self.rows = page.rows.into_iter();
        }
        let Some(row) = self.rows.next() else { return Ok(None) };
        let key = EntryKey::from_bytes(&row.key).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("index cache: a key of {} bytes is no entry's", row.key.len()))
        })?;
        let record = index::open(index::CACHE, &row.key, &row.value)?;
        Ok(Some((key, record, (row.key.len() + row.value.len()) as u64)))
    }

    fn next_entry(&mut self) -> Result<Option<Entry>> {
        let Some((key, record, bytes)) = self.next_record()? else { return Ok(None) };
        let Ok(source) = &self.source else { return Ok(None) };
        entry(source.store.as_ref(), &source.inner, key, record, bytes).map(Some)
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_entry();
        if next.is_err() {
            (self.range, self.rows) = (None, Vec::new().into_iter());
        }
        next.transpose()
    }
}

/// An entry as people see it.
pub(super) fn entry(store: &dyn Read, inner: &Inner, key: EntryKey, record: CacheRecord, bytes: u64) -> Result<Entry> {
    let written = || index::read::<CacheUse>(store, index::CACHE_USE, key.as_bytes());
    let used_at = match inner.cache.used_at(&key) {
        Some(at) => at,
        None => written()?.map_or(record.created_at, |usage| usage.used_at),
    };
    let expires_at = inner.registry.task(&record.task).and_then(|task| expiry(task, record.created_at));
    Ok(Entry {
        key,
        version: record.shown_version(),
        task: record.task,
        salt: record.salt,
        input: record.input.to_value(),
        result_bytes: record.result.bytes().len() as u64,
        bytes,
        created_at: record.created_at,
        used_at,
        expires_at,
        run: record.run,
        uses: record.uses,
    })
}
