//! Traces that only wait: for a time, for a signal.
//!
//! Invariants: they do no work of their own, so a run whose traces all wait gives its turn to another; signals of a name are
//! handed over, or set aside, in the order in which they came.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use crate::error::ErrorKind;
use crate::event::{ErrorRecord, Event, TraceRetried};
use crate::execute;
use crate::id::Timestamp;
use crate::payload::{Payload, PayloadError};
use crate::replay::TraceIndex;

use super::context::EffectContext;
use super::effect;
use super::rest::{Moment, Resting};
use super::shared::{BoxedFuture, Output, RunShared, RunState, TraceSlot};
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

/// A wait that takes a signal still, and whose it is.
type OpenWait = (Arc<EffectContext>, SignalWait);

/// The waits of the body for signals of this name that nothing was handed to yet, in the order of their starts.
pub(crate) fn open_waits(state: &RunState, name: &str) -> Vec<OpenWait> {
    let mut waits: Vec<_> = of_name(state, name).filter(|(index, _)| state.replay.takes_signal(*index)).collect();
    waits.sort_unstable_by_key(|(index, _)| *index);
    let open = |(_, slot): (TraceIndex, &TraceSlot)| Some((Arc::clone(&slot.context), slot.signal.as_deref()?.clone()));
    waits.into_iter().filter_map(open).collect()
}

fn of_name<'a>(state: &'a RunState, name: &'a str) -> impl Iterator<Item = (TraceIndex, &'a TraceSlot)> {
    let is_of = move |slot: &TraceSlot| slot.signal.as_ref().is_some_and(|wait| wait.name == name);
    state.traces.iter().filter(move |(_, slot)| is_of(slot)).map(|(index, slot)| (*index, slot))
}

/// Has the waits for this name look at the oldest signal, if there is one: it was another's, or was to be.
pub(super) fn look_again(shared: &RunShared, state: &RunState, name: &str) {
    if state.replay.signal(name).is_some() {
        of_name(state, name).for_each(|(index, _)| shared.mailbox.woken(index));
    }
}

impl SignalWait {
    /// Whether a value is of its type. Runs the user's code: not to be called with the run's lock held.
    ///
    /// # Errors
    /// Why it is not.
    fn check(&self, value: &Payload) -> Result<(), PayloadError> {
        execute::unpanicked(|| (self.accepts)(value))
    }
}

/// Which of these waits a value goes to: the first that it fits. `Err`: none, and why not the first.
fn first_fit(waits: &[OpenWait], value: &Payload) -> Result<usize, Option<PayloadError>> {
    let mut why = None;
    for (number, (_, wait)) in waits.iter().enumerate() {
        match wait.check(value) {
            Ok(()) => return Ok(number),
            Err(error) => drop(why.get_or_insert(error)),
        }
    }
    Err(why)
}

/// Whether a signal may be sent to a run that has these waits, and signals before it that nobody took. It goes to a wait
/// that they leave; if they leave none, to one that is still to come, of which nothing is known. Runs the user's code.
///
/// # Errors
/// The wait that it would come to, and why it does not fit.
pub(crate) fn admits(
    mut waits: Vec<OpenWait>,
    before: &[Payload],
    value: &Payload,
) -> Result<(), (SignalWait, PayloadError)> {
    for earlier in before {
        if let Ok(number) = first_fit(&waits, earlier) {
            waits.remove(number);
        }
    }
    match first_fit(&waits, value) {
        Ok(_) | Err(None) => Ok(()),
        Err(Some(why)) => Err((waits.swap_remove(0).1, why)),
    }
}

/// Waits for the next signal of this name. Which one is decided when it is handed over. The oldest goes to the first wait
/// that it fits; one that fits none of those that are open is set aside, and the waits go on for the next.
pub(super) fn signal(context: Arc<EffectContext>, wait: SignalWait) -> BoxedFuture {
    Box::pin(async move {
        let before = context.shared.state.lock().replay.tries(context.sequence);
        if let Some(before) = before {
            // In another life of the process it set signals aside.
            context.tries.fetch_max(before.count.saturating_add(1), Ordering::Relaxed);
        }
        // The loop wakes it when a signal comes, or was not another's: it knows by the slot that it waits.
        let value = poll_fn(|_| match next(&context, &wait.name) {
            Ok(Some(value)) => Poll::Ready(value),
            Ok(None) => Poll::Pending,
            Err(error) => {
                context.shared.fail(error);
                Poll::Pending
            }
        });
        Ok(effect::waiting(&context, value).await)
    })
}

/// The oldest signal of this name, if it is this wait's. Sets those aside that are nobody's.
fn next(context: &Arc<EffectContext>, name: &str) -> crate::error::Result<Option<Payload>> {
    loop {
        let (value, waits) = {
            let state = context.shared.state.lock();
            let Some(value) = state.replay.signal(name).cloned() else { return Ok(None) };
            (value, open_waits(&state, name))
        };
        match first_fit(&waits, &value) {
            Ok(number) => {
                let is_own = waits.get(number).is_some_and(|(taker, _)| Arc::ptr_eq(taker, context));
                return Ok(is_own.then_some(value));
            }
            Err(None) => return Ok(None),
            Err(Some(why)) => {
                let Some((first, wait)) = waits.first() else { return Ok(None) };
                if !set_aside(first, wait, &value, &why)? {
                    return Ok(None);
                }
            }
        }
    }
}

/// Records that the oldest signal fits no wait, as a try of this one, the first, that failed. `false` if the attempt is over.
fn set_aside(
    context: &EffectContext,
    wait: &SignalWait,
    value: &Payload,
    why: &PayloadError,
) -> crate::error::Result<bool> {
    let (shared, name) = (&context.shared, &wait.name);
    let message = format!(
        "signal {name} came with {}, which is no {}: {why}; it is set aside, and the wait goes on",
        value.to_value().excerpt(120),
        wait.type_name
    );
    let now = shared.environment.clock.now();
    let mut state = shared.state.lock();
    if state.is_over {
        return Ok(false);
    }
    if state.replay.signal(name) != Some(value) {
        // Meanwhile it went another way.
        return Ok(true);
    }
    let tries = state.replay.tries(context.sequence).map_or(0, |tries| tries.count).saturating_add(1);
    state.replay.aside(Event::TraceRetried(TraceRetried {
        trace: context.sequence,
        tries,
        error: ErrorRecord::new(ErrorKind::Payload, &message),
        due: now,
        started_at: now,
        duration_micros: 0,
    }));
    context.tries.store(tries.saturating_add(1), Ordering::Relaxed);
    shared.append_aside(&mut state, false)?;
    look_again(shared, &state, name);
    drop(state);
    tracing::warn!(target: "relive", run = %shared.run, signal = %name, "{message}");
    Ok(true)
}
