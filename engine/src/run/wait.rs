//! Traces that only wait: for a time, for a signal.
//!
//! Invariant: they do no work of their own, so a run whose traces all wait gives its turn to another.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::error::ErrorKind;
use crate::event::ErrorRecord;
use crate::id::Timestamp;
use crate::payload::{Payload, PayloadError};

use super::context::EffectContext;
use super::effect;
use super::rest::{Moment, Resting};
use super::shared::{BoxedFuture, Output};
use super::trace::micros;

/// A wait for a signal.
#[derive(Clone, Debug)]
pub struct SignalWait {
    /// Its name.
    pub name: String,
    /// Whether a value is of the type that is waited for.
    pub accepts: fn(&Payload) -> Result<(), PayloadError>,
    /// The type's name, for people.
    pub type_name: &'static str,
}

fn unit() -> Output {
    Payload::encode(&()).map_err(|error| ErrorRecord::new(ErrorKind::Payload, error.to_string()))
}

/// Waits until so long after the call; also over a crash.
pub(super) fn sleep(context: Arc<EffectContext>, duration: Duration) -> BoxedFuture {
    Box::pin(async move {
        let clock = Arc::clone(&context.shared.environment.clock);
        let left = effect::left(&context, context.called_at, duration);
        let due = clock.elapsed().saturating_add(left);
        let ends = Timestamp(context.called_at.0.saturating_add_unsigned(micros(duration)));
        let resting = Resting { due: Moment::new(ends, due), deadline: None };
        effect::resting(&context, resting, clock.sleep_until(due)).await;
        unit()
    })
}

/// Waits for the next signal of this name. Which one is decided when it is handed over.
pub(super) fn signal(context: Arc<EffectContext>, wait: SignalWait) -> BoxedFuture {
    Box::pin(async move {
        let shared = Arc::clone(&context.shared);
        let name = wait.name;
        // The loop wakes it when a signal comes: it knows by the slot that it waits.
        let value = poll_fn(|_| match shared.state.lock().replay.signal(&name) {
            Some(value) => Poll::Ready(value.clone()),
            None => Poll::Pending,
        });
        let value = effect::waiting(&context, value).await;
        match (wait.accepts)(&value) {
            Ok(()) => Ok(value),
            // The signal was handed over: a resumed run waits for the next.
            Err(error) => Err(ErrorRecord::new(
                ErrorKind::Payload,
                format!(
                    "signal {name} of run {} came with {}, which is no {}: {error}",
                    shared.run,
                    value.to_value().excerpt(120),
                    wait.type_name
                ),
            )),
        }
    })
}
