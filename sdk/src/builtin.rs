//! Traces that come with Relive: the moment, chance, unique ids; waiting for a time or a signal.
//!
//! The first three are answered within the step that calls them, without waiting for the disk: what they returned is
//! recorded with the step, before any effect that depends on it begins.
//!
//! Invariant: in a task's body, the same call returns the same on every replay.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use relive_engine::clock::Clock;
use relive_engine::definition::{TraceDefinition, TracePolicy};
use relive_engine::entropy::Entropy;
use relive_engine::error::{Error, ErrorKind, Result};
use relive_engine::id::Timestamp;
use relive_engine::run::{BUILT_IN, CallWork, SignalWait, TraceCall, clock_and_entropy};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::__private::{Arguments, TraceEntry, inventory};
use crate::inline::inline;
use crate::trace::{Trace, place};

/// `pure`: answered within the step, without a barrier.
const fn definition(name: &'static str, line: u32, pure: bool) -> TraceDefinition {
    TraceDefinition {
        name,
        code: BUILT_IN,
        file: file!(),
        line,
        module: module_path!(),
        outside_call: false,
        policy: TracePolicy { pure, ..TracePolicy::DEFAULT },
    }
}

static NOW: TraceDefinition = definition("relive::now", line!(), true);
static RANDOM: TraceDefinition = definition("relive::random", line!(), true);
static UUID: TraceDefinition = definition("relive::uuid", line!(), true);
static SLEEP: TraceDefinition = definition(relive_engine::replay::SLEEP, line!(), false);
static SIGNAL: TraceDefinition = definition(relive_engine::replay::SIGNAL, line!(), false);

inventory::submit! { TraceEntry(&NOW) }
inventory::submit! { TraceEntry(&RANDOM) }
inventory::submit! { TraceEntry(&UUID) }
inventory::submit! { TraceEntry(&SLEEP) }
inventory::submit! { TraceEntry(&SIGNAL) }

fn recorded<T: Serialize + DeserializeOwned>(
    definition: &'static TraceDefinition,
    location: &'static Location<'static>,
    effect: impl FnOnce(&dyn Clock, &dyn Entropy) -> Result<T>,
) -> Result<T> {
    inline(definition, Arguments::of(definition, &()), location, || {
        let (clock, entropy) = clock_and_entropy().map_err(|error| error.to_record())?;
        effect(clock.as_ref(), entropy.as_ref()).map_err(|error| error.to_record())
    })
}

fn no_entropy(why: String) -> Error {
    Error::new(ErrorKind::Storage, format!("the operating system has no randomness: {why}"))
}

/// The moment, by the wall clock when it was first asked for; microseconds. A trace: replay returns the same.
///
/// # Errors
/// Of kind `OutsideTask` outside tasks and traces.
#[track_caller]
pub fn now() -> Result<SystemTime> {
    let micros = recorded(&NOW, Location::caller(), |clock, _| Ok(clock.now().0))?;
    Ok(Timestamp(micros).to_system_time())
}

/// A random value of an integer type (all values alike), of `f64` (0 to below 1) or `bool`. A trace: replay returns the
/// same.
///
/// # Errors
/// Of kind `OutsideTask` outside tasks and traces; of kind `Storage` if the operating system has no randomness.
#[track_caller]
pub fn random<T: Random>() -> Result<T> {
    let bytes = recorded(&RANDOM, Location::caller(), |_, entropy| {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes).map_err(no_entropy)?;
        Ok(bytes)
    })?;
    Ok(T::from_bytes(bytes))
}

/// A random unique id (version 4). A trace: replay returns the same.
///
/// # Errors
/// As for [`random`].
#[track_caller]
pub fn uuid() -> Result<Uuid> {
    let bytes = recorded(&UUID, Location::caller(), |_, entropy| {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes).map_err(no_entropy)?;
        Ok(bytes)
    })?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// Waits so long, from when it is first polled. A trace: after a crash, what is left of it, by the wall clock; nothing on
/// replay. Its first poll in a task is what starts it. A new attempt of the run goes on with it, too: it ends when it would
/// have ended, whatever the body did with it, unless `rerun("relive::sleep")` asks for new ones.
///
/// In a trace's effect it waits, and nothing is recorded.
///
/// # Errors
/// Awaiting it gives an error of kind `OutsideTask` outside tasks and traces.
#[track_caller]
pub fn sleep(duration: Duration) -> Trace<(), Error> {
    slept(duration, false)
}

/// `is_limit`: it is how long something else may take.
#[track_caller]
fn slept(duration: Duration, is_limit: bool) -> Trace<(), Error> {
    let (file, line) = place(&SLEEP, Location::caller());
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let arguments = Arguments::of(&SLEEP, &(("micros", &micros), ()));
    Trace::new(TraceCall { definition: &SLEEP, arguments, file, line, work: CallWork::Sleep { duration, is_limit } })
}

/// Waits for the next value that somebody sends the run by [`Engine::signal`](crate::Engine::signal) under this name. A
/// trace. Signals that came early are kept; each is handed to one wait, in the order in which they came: to the first that it
/// fits, if several wait at once.
///
/// One that is of another type is refused to its sender if it comes while this waits. One that came early is set aside: that
/// is a warning, stands in the log as a try of this trace that failed, and this waits for the next.
///
/// Wait no longer than so long by [`timeout`].
///
/// # Errors
/// Of kind `OutsideTask` outside a task, of kind `Unsupported` in a trace. In a log of a version before, of kind `Payload` if
/// a signal that came early was of another type.
#[track_caller]
pub fn signal<T: Serialize + DeserializeOwned>(name: impl Into<String>) -> Trace<T, Error> {
    let name = name.into();
    let (file, line) = place(&SIGNAL, Location::caller());
    let arguments = Arguments::of(&SIGNAL, &(("name", &name), ()));
    let wait =
        SignalWait { name, accepts: |payload| payload.decode::<T>().map(drop), type_name: std::any::type_name::<T>() };
    Trace::new(TraceCall { definition: &SIGNAL, arguments, file, line, work: CallWork::Signal(wait) })
}

/// The future's output, or an error of kind `TimedOut` if that takes longer. The time is a [`sleep`]: recorded, and kept
/// over a crash. What the future has under way is then dropped.
///
/// In a new attempt of the run, the time goes on if the earlier attempt ended before the future did (it was cancelled, it
/// diverged). Where the future ended, or was dropped, and is called again, its time begins again, too.
///
/// # Errors
/// Of kind `TimedOut`; of kind `OutsideTask` outside tasks and traces.
#[track_caller]
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout { future: Some(Box::pin(future)), sleep: slept(duration, true), duration }
}

/// Made by [`timeout`].
#[derive(Debug)]
#[must_use = "futures do nothing until they are awaited"]
pub struct Timeout<F> {
    future: Option<Pin<Box<F>>>,
    sleep: Trace<(), Error>,
    duration: Duration,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(future) = &mut this.future else { return Poll::Pending };
        // The future first: in one step both may be there, and the result counts.
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            this.future = None;
            return Poll::Ready(Ok(output));
        }
        match Pin::new(&mut this.sleep).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => {
                // Dropped here, so that the log says in which step.
                this.future = None;
                let why = format!("it took longer than {:?}", this.duration);
                Poll::Ready(Err(Error::new(ErrorKind::TimedOut, why)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

/// What [`random`] can return.
pub trait Random: sealed::Sealed {
    /// Made of 128 random bits.
    #[doc(hidden)]
    fn from_bytes(bytes: [u8; 16]) -> Self;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! random_integer {
    ($($type:ty),*) => {$(
        impl sealed::Sealed for $type {}
        impl Random for $type {
            fn from_bytes(bytes: [u8; 16]) -> Self {
                u128::from_le_bytes(bytes) as $type
            }
        }
    )*};
}
random_integer!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

impl sealed::Sealed for bool {}
impl Random for bool {
    fn from_bytes(bytes: [u8; 16]) -> Self {
        bytes[0] & 1 == 1
    }
}

impl sealed::Sealed for f64 {}
impl Random for f64 {
    fn from_bytes(bytes: [u8; 16]) -> Self {
        // 53 bits: all that a float between 0 and 1 can hold evenly.
        (u64::from_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64
    }
}
