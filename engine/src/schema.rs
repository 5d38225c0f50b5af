//! What a store holds: every keyspace of the engine, and the number of its format.
//!
//! Given to whichever store is opened.

use relive_storage::{KeyspaceOptions, Schema, Usage};

pub use crate::error::storage_error;
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
