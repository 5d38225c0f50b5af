//! The cache by itself: an entry lies where its record says, and has its small row beside it; the size is their sum.

use relive_storage::{KeyRange, Row};

use super::{Found, Look};
use crate::cache::EntryKey;
use crate::index::{CACHE, CACHE_USE, CacheRecord, CacheSize, CacheUse, META};

pub(super) fn all(look: &mut Look<'_>) {
    look.each(CACHE, KeyRange::all(), entry);
    let mut bytes = 0;
    look.each(CACHE_USE, KeyRange::all(), |look, row| {
        let Some(usage) = look.open::<CacheUse>(CACHE_USE, row, None) else { return };
        bytes = u64::saturating_add(bytes, usage.bytes);
        if matches!(look.store.get(CACHE, &row.key), Ok(None)) {
            look.problem(CACHE_USE, &row.key, None, "it counts an entry that is not in the cache");
        }
    });
    // There only after a shutdown in order.
    if let Found::Record(CacheSize { bytes: stored }) = look.read::<CacheSize>(META, b"cache")
        && stored != bytes
        && !look.over
    {
        look.problem(META, b"cache", None, format!("the cache's size is {bytes} bytes, and not {stored}"));
    }
}

fn entry(look: &mut Look<'_>, row: &Row) {
    let Some(key) = EntryKey::from_bytes(&row.key) else {
        return look.problem(CACHE, &row.key, None, "the key is no entry's");
    };
    let Some(record) = look.open::<CacheRecord>(CACHE, row, None) else { return };
    if !record.fits(&key) {
        let why = format!("the entry is of task {}, and lies under a key of another task or version", record.task);
        look.problem(CACHE, &row.key, Some(record.run), why);
    }
    match look.read::<CacheUse>(CACHE_USE, &row.key) {
        Found::Record(usage) => {
            let bytes = (row.key.len() + row.value.len()) as u64;
            if usage.bytes != bytes || usage.created_at != record.created_at {
                look.problem(CACHE_USE, &row.key, Some(record.run), "its size or age is not that of the entry");
            }
        }
        Found::Nothing => {
            look.problem(CACHE_USE, &row.key, Some(record.run), "an entry of the cache is not counted in its size");
        }
        Found::Damaged => {}
    }
}
