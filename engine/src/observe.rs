//! What the engine lets a program watch: spans and events for `tracing`, numbers for `metrics`. The library itself prints nothing.
//!
//! `spans`, `events` and `metrics` hold every name, with what it means, `guarded` keeps a recorder's panics from the engine; the
//! rest of the engine calls them where something happens.
//!
//! Invariants: nothing here decides anything; a subscriber's code never runs with a run's lock held; where nobody listens,
//! nothing is allocated and nothing formatted.

pub(crate) mod events;
mod guarded;
pub(crate) mod metrics;
pub(crate) mod spans;

pub(crate) use self::guarded::Counted;
pub(crate) use self::metrics::{Metrics, TaskNumbers, TraceNumbers};

use crate::event::TraceOutcome;

/// How an outcome is called in fields and labels.
fn word(outcome: &TraceOutcome) -> &'static str {
    match outcome {
        TraceOutcome::Ok(_) => "ok",
        TraceOutcome::Err(_) => "error",
        TraceOutcome::Dropped => "dropped",
    }
}
