//! Durable execution in one crate: mark functions, and what they have done survives a crash.
//!
//! A [`#[task]`](macro@task) function orchestrates; a [`#[trace]`](macro@trace) function is one operation worth a
//! checkpoint: a call of a service, a computation. Each run of a task is an append-only log of events in RocksDB. After a
//! crash the engine runs the task's body again against its log: every completed trace returns its recorded result at
//! once, and execution goes on at the first unfinished one. A second call with the same input is answered from a cache.
//!
//! ```standalone_crate
//! use relive::{Engine, task, trace};
//!
//! #[trace]
//! async fn fetch(url: String) -> relive::Result<String> {
//!     Ok(format!("contents of {url}")) // any effect: a request, a file, a computation
//! }
//!
//! #[task]
//! async fn digest(urls: Vec<String>) -> relive::Result<usize> {
//!     let pages = futures::future::try_join_all(urls.into_iter().map(fetch)).await?;
//!     Ok(pages.iter().map(String::len).sum())
//! }
//!
//! #[tokio::main]
//! async fn main() -> relive::Result<()> {
//!     let directory = tempfile::tempdir()?;
//!     let engine = Engine::open(directory.path()).await?; // unfinished runs go on from here
//!     let urls = vec!["a".to_owned(), "b".to_owned()];
//!     assert_eq!(engine.run(digest(urls.clone())).await?, 26);
//!     assert_eq!(engine.run(digest(urls)).await?, 26); // from the cache: no trace runs
//!     engine.shutdown().await
//! }
//! ```
//!
//! Effects are *at-least-once*: one that was under way when the process ended runs again. Results are *recorded once*: a
//! trace whose completion was acknowledged never runs again in its run. [`idempotency_key`] gives an effect a name that
//! stays the same, for services that can use one.
//!
//! The library prints nothing. Runs, attempts, traces and tries are spans of `tracing`, numbers go to the `metrics` facade:
//! `docs/guide.md` lists them.
//!
//! In a task's body, await traces and other tasks, and nothing else: what is neither cannot be replayed, and is found out.

mod builder;
mod builtin;
mod cache;
mod engine;
mod error;
mod exported;
mod fork;
mod handle;
mod inline;
#[doc(hidden)]
pub mod lint;
#[cfg(feature = "rocks")]
pub mod live;
mod recorded;
mod resume;
#[cfg(feature = "rocks")]
mod store;
mod stream;
mod task;
mod tested;
#[cfg(feature = "testing")]
pub mod testing;
mod trace;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

pub use relive_engine::cache::{Entries, Entry, EntryKey, Explanation, Reason, Rebuilt, Version};
pub use relive_engine::clock::Clock;
pub use relive_engine::commit::Acknowledged;
pub use relive_engine::definition::CacheDefault;
pub use relive_engine::divergence::{CallSite, Divergence, Side};
pub use relive_engine::entropy::Entropy;
pub use relive_engine::error::{Error, ErrorKind, Result, TypedError};
pub use relive_engine::event::{
    Cause, ErrorRecord, Event, Parent, Rerun, SignalReceived, TaskCompleted, TaskOutcome, TaskStarted, TraceCompleted,
    TraceForm, TraceOutcome, TraceRetried, TraceStarted, TraceYielded,
};
pub use relive_engine::export;
pub use relive_engine::handle::{Cancellation, RunStatus};
pub use relive_engine::id::{CodeHash, Epoch, InputHash, RunId, Sequence, Timestamp};
pub use relive_engine::index::{BlockReason, RunRecord, RunState, Used};
pub use relive_engine::inspect::{Events, LoggedEvent, Runs, StoredRun};
pub use relive_engine::payload::unordered::{self, Unordered, unordered};
pub use relive_engine::payload::{Payload, PayloadCodec, PayloadError, PayloadHook};
pub use relive_engine::replayer::Replayer;
pub use relive_engine::retain::{KEEP_COUNT_MAX, Keep, Retained, Retention};
pub use relive_engine::run::{Grouped, grouped as group, idempotency_key, provided};
pub use relive_engine::value::{Difference, Value};
pub use relive_engine::verdict::{Change, Diagnosis, LikelyCause, Replayed, ResultChange, SoFar, Verdict};
#[cfg(feature = "testing")]
pub use relive_macros::test;
pub use relive_macros::{TypedError, task, trace};
pub use relive_storage::Durability;
pub use uuid::Uuid;

pub use crate::builder::Builder;
pub use crate::builtin::{Random, Timeout, now, random, signal, sleep, timeout, uuid};
pub use crate::cache::Cache;
pub use crate::engine::Engine;
pub use crate::exported::replay_export;
pub use crate::fork::Fork;
pub use crate::handle::RunHandle;
pub use crate::resume::{Preview, Resume};
pub use crate::stream::{TraceIterator, TraceStream};
pub use crate::task::{Call, ID_BYTES_MAX, TAG_BYTES_MAX};
pub use crate::trace::Trace;

/// `tokio::select!`, with its branches polled in the order they are written: what a task needs, as the order is otherwise
/// drawn by chance.
#[macro_export]
macro_rules! select {
    (biased; $($branches:tt)*) => { $crate::__private::tokio_select! { biased; $($branches)* } };
    ($($branches:tt)*) => { $crate::__private::tokio_select! { biased; $($branches)* } };
}
