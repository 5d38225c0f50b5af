//! Storage of Relive: bytes in, bytes out.
//!
//! A [`Store`] is an ordered map of bytes with atomic batches; [`Read`] is the half that a read-only view has too. What
//! is stored is the engine's business: nothing here knows an event.
//!
//! | | |
//! |---|---|
//! | `store` | the trait, and what is passed through it |
//! | `error` | why a call failed, by what to do about it |
//! | `schema` | which keyspaces there are, and how each is used |
//! | `memory` | [`MemoryStore`]: the reference model |
//! | `rocks` | [`RocksStore`], a directory of one process, and [`RocksReader`], a look into it from any other |
//! | `directory` | who may enter a directory, and whether it is ours |
//! | `held` | [`HeldDirectory`]: a directory that is found whatever becomes of its path |
//! | `guard` | that nothing acknowledged goes missing from the write-ahead log without a word |
//! | `fault` | [`FaultStore`]: fails on cue, for tests |
//! | `conformance` | the promises of a store as a test suite (feature `testing`) |
//!
//! ```
//! use relive_storage::{
//!     Durability, Keyspace, KeyspaceOptions, Operation, Outcome, Precondition, Read, RocksStore, Schema, Store, Usage,
//!     Write,
//! };
//!
//! const NAMES: Keyspace = Keyspace::new("names");
//! const SCHEMA: Schema =
//!     Schema { keyspaces: &[KeyspaceOptions { keyspace: NAMES, usage: Usage::Index }], format: 1 };
//!
//! let directory = tempfile::tempdir()?;
//! let store = RocksStore::open(directory.path(), &SCHEMA)?;
//! let first = Write {
//!     preconditions: vec![Precondition::Absent { keyspace: NAMES, key: b"ada".into() }],
//!     operations: vec![Operation::Put { keyspace: NAMES, key: b"ada".into(), value: b"1815".into() }],
//! };
//! let outcomes = store.commit(&[first.clone(), first], Durability::Sync).map_err(|failed| failed.error)?;
//! assert_eq!(outcomes, [Outcome::Applied, Outcome::Refused { precondition: 0 }]);
//! assert_eq!(store.get(NAMES, b"ada")?, Some(b"1815".into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "rocks")]
mod advice;
#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "rocks")]
mod directory;
mod error;
mod fault;
#[cfg(feature = "rocks")]
mod guard;
#[cfg(feature = "rocks")]
mod held;
mod memory;
#[doc(hidden)]
pub mod planted;
#[cfg(feature = "rocks")]
mod rocks;
mod schema;
mod store;

pub use error::{Error, ErrorKind};
pub use fault::{Fault, FaultStore, Survives};
#[cfg(feature = "rocks")]
pub use held::HeldDirectory;
pub use memory::MemoryStore;
#[cfg(feature = "rocks")]
pub use rocks::{RocksReader, RocksStore};
pub use schema::{KeyspaceOptions, Schema, Usage};
pub use store::{
    CommitError, Durability, Fate, KeyRange, Keyspace, Operation, Order, Outcome, Page, PageLimit, Precondition, Read,
    Row, Store, Write, after,
};
