//! Runs: one future and one log each.
//!
//! `drive` is the loop; `poll` runs user code for it; `trace` is what the body holds; `shared` what they share; `mailbox`
//! what comes from outside; `context` tells code which run it is in; `alone` keeps a
//! single run awake for the disk; `plan` what a run writes beside its log.

mod alone;
mod context;
mod drive;
mod mailbox;
mod plan;
mod poll;
mod shared;
mod trace;

pub(crate) use alone::Company;
pub use context::{idempotency_key, provided};
pub(crate) use drive::{Drive, Settings, closed};
pub(crate) use mailbox::{Mailbox, Stop};
pub(crate) use plan::Plan;
pub use shared::{BoxedFuture, Output};
pub(crate) use shared::{Environment, Provided, RunShared};
pub use trace::{Arguments, TraceCall, TraceFuture, immediate, refuse};
