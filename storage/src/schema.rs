//! What a store holds: its keyspaces, how each is used, and the number of its format.
//!
//! Written down by the engine, read by `rocks`. A keyspace's use changes how fast it is, never what it returns.

use crate::Keyspace;

/// What a store holds.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// Every keyspace that is read or written. One that is not on disk yet is created at open; one on disk that is not
    /// listed here (an older version's) is left as it is.
    pub keyspaces: &'static [KeyspaceOptions],
    /// The format's number. A store with a higher one is refused at open; one with a lower one is opened.
    pub format: u32,
}

/// A keyspace and how it is used.
#[derive(Clone, Copy, Debug)]
pub struct KeyspaceOptions {
    /// Which.
    pub keyspace: Keyspace,
    /// How.
    pub usage: Usage,
}

/// How a keyspace is read and written, so that it can be tuned for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Appended to, hardly ever changed; scanned within one 16-byte prefix; values may be large.
    Log,
    /// Small values, looked up by their whole key.
    Index,
    /// Rows are put and deleted soon after; scanned whole when the store opens.
    Queue,
}
