//! What the macros' expansions name. No part of the public interface: it changes with the macros.

use std::borrow::ToOwned;

pub use relive_engine::definition::{
    CacheMode, CachePolicy, RetryPolicy, TaskDefinition as TaskMeta, TaskPolicy, TraceDefinition as TraceMeta,
    TracePolicy,
};
pub use relive_engine::error::{Error, TypedError, TypedErrorEntry};
pub use relive_engine::event::ErrorRecord;
pub use relive_engine::id::CodeHash;
pub use relive_engine::payload::PayloadCodec;
pub use relive_engine::retain::Keep;
pub use relive_engine::run::Sink;
pub use std::time::Duration;
pub use tokio::select as tokio_select;
pub use {inventory, serde};

pub use crate::__record_error as record_error;
pub use crate::__tested as tested;
pub use crate::error::{RecordDebug, RecordDisplay, RecordRelive, RecordStd, RecordTyped, Recorded};
pub use crate::inline::{inline, inline_again};
pub use crate::lint;
pub use crate::recorded::{Arguments, keyed, recordable};
pub use crate::stream::{forward_iterator, forward_stream, iterator, resumed_at, stream};
pub use crate::task::{call, canonical_input, task_body};
pub use crate::trace::{blocking, blocking_again, trace, trace_again};

/// A task, registered at link time.
#[derive(Debug)]
pub struct TaskEntry(pub &'static TaskMeta);
inventory::collect!(TaskEntry);

/// A trace, registered at link time.
#[derive(Debug)]
pub struct TraceEntry(pub &'static TraceMeta);
inventory::collect!(TraceEntry);

/// What a `#[task]` or `#[trace]` function returns.
#[diagnostic::on_unimplemented(
    message = "a #[task] or #[trace] function returns a `Result<T, E>`",
    label = "`{Self}` is no `Result`",
    note = "the engine reports its own errors through it: return `relive::Result<T>`, or a `Result<T, E>` with `E: From<relive::Error>`"
)]
pub trait ReturnsResult {
    /// The value.
    type Value;
    /// The error.
    type Error;
}

impl<T, E> ReturnsResult for Result<T, E> {
    type Value = T;
    type Error = E;
}

/// What an effect owns in place of a reference argument.
pub fn own<T: ToOwned + ?Sized>(value: &T) -> T::Owned {
    value.to_owned()
}
