//! Runs: one future and one log each.
//!
//! `drive` is the loop; `poll` runs user code for it; `append` writes the log; `shared` is what they share. What a body can
//! call: `trace` (futures and streams), `inline` and `iterator` (plain functions), `wait` (a time, a signal), `child` (a task).
//! What runs for a call: `effect` (with its tries), `source` (of a stream), `nested` (what effects call), or what a test puts in
//! its place (`interpose`); `awaits` is how an effect waits for another run. `context` tells code
//! which run it is in; `mailbox` is what comes from outside; `plan` what a run writes beside its log; `turn`, `alone` and
//! `linger` when it may run; `rest` when it need not be in memory.

mod alone;
mod append;
mod awaits;
mod child;
mod context;
mod drive;
mod effect;
mod inline;
mod interpose;
mod iterator;
mod linger;
mod mailbox;
mod nested;
mod plan;
mod poll;
mod rest;
mod shared;
mod source;
mod trace;
mod turn;
mod wait;

pub use crate::payload::Arguments;
pub(crate) use alone::Company;
pub(crate) use awaits::by_handle;
pub use child::ChildCall;
pub use context::{
    Grouped, clock_and_entropy, current_encoding, effect_codec, effect_scope, grouped, idempotency_key, is_strict,
    provided,
};
pub(crate) use drive::{Drive, Dry, Ended, Fit, Settings, closed, until};
pub use effect::{Blocking, Effect};
pub use inline::{InlineCall, inline};
pub use interpose::{Interposed, Interposer};
pub use iterator::IteratorCall;
pub(crate) use mailbox::{Letter, Mailbox, Stop};
pub(crate) use plan::Plan;
pub use rest::SLEEP_OUT_AFTER_DEFAULT;
pub(crate) use rest::{Anchor, Moment, Rest, elapsed_of, micros_down};
#[cfg(all(test, feature = "shuttle"))]
pub(crate) use shared::EffectWaker;
pub(crate) use shared::{Body, Environment, Parts, Provided, RunShared};
pub use shared::{BoxedFuture, Output};
pub use source::{MakeSource, Sink};
pub(crate) use trace::Unwind;
pub use trace::{BUILT_IN, CallWork, Item, TraceCall, TraceFuture, refuse, refuse_inline};
pub(crate) use turn::Turn;
pub use wait::SignalWait;
pub(crate) use wait::{admits, open_waits};
