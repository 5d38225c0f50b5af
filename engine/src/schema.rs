//! What a store holds: every keyspace of the engine, and the number of its format.
//!
//! Given to whichever store is opened.

use relive_storage::{KeyspaceOptions, Read, Schema, Usage};

use crate::codec;
pub use crate::error::storage_error;
use crate::error::{Error, ErrorKind};
use crate::id::Epoch;
use crate::index::{CACHE, CACHE_USE, IDS, INBOX, META, RUNS, TAGS, UNFINISHED};
use crate::log::LOG;

/// What an engine's store holds.
pub const SCHEMA: Schema = Schema {
    keyspaces: &[
        KeyspaceOptions { keyspace: LOG, usage: Usage::Log },
        KeyspaceOptions { keyspace: RUNS, usage: Usage::Index },
        KeyspaceOptions { keyspace: UNFINISHED, usage: Usage::Queue },
        KeyspaceOptions { keyspace: IDS, usage: Usage::Index },
        KeyspaceOptions { keyspace: INBOX, usage: Usage::Queue },
        KeyspaceOptions { keyspace: TAGS, usage: Usage::Index },
        KeyspaceOptions { keyspace: CACHE, usage: Usage::Index },
        KeyspaceOptions { keyspace: CACHE_USE, usage: Usage::Index },
        KeyspaceOptions { keyspace: META, usage: Usage::Index },
    ],
    format: crate::codec::FORMAT_VERSION as u32,
};

/// The error of a store that could not be opened. One bit that flips in the file `RELIVE` makes another number of the format: if
/// it is above what this program knows, `read` opens the store all the same, to see which format was last written by.
pub fn opening_error<R: Read>(
    error: relive_storage::Error,
    read: impl FnOnce() -> Result<R, relive_storage::Error>,
) -> Error {
    let error = storage_error(error);
    if error.kind() != ErrorKind::NewerFormat {
        return error;
    }
    let key = crate::recover::EPOCH_KEY;
    // Written each time when a store is opened to write.
    let last = read().ok().and_then(|store| store.get(META, key).ok().flatten());
    match last {
        Some(record) if codec::open::<Epoch>(key, &record).is_ok() => {
            let known = SCHEMA.format;
            let why = format!(
                "{error}. But what opened it last knew no such format: its file RELIVE is damaged, unless a newer Relive was \
                 stopped just as it opened the store for the first time. Restore the file from a copy, or write `relive \
                 store format {known}` into it"
            );
            Error::new(ErrorKind::Corrupt, why)
        }
        _ => error,
    }
}
