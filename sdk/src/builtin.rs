//! Traces that come with Relive: the moment, chance, unique ids.
//!
//! They are answered within the step that calls them, without waiting for the disk: what they returned is recorded with
//! the step, before any effect that depends on it begins.
//!
//! Invariant: in a task's body, the same call returns the same on every replay.

use std::panic::Location;
use std::time::SystemTime;

use relive_engine::clock::Clock;
use relive_engine::definition::{TraceDefinition, TracePolicy};
use relive_engine::entropy::Entropy;
use relive_engine::error::{Error, ErrorKind, Result};
use relive_engine::id::{CodeHash, Timestamp};
use relive_engine::payload::Payload;
use relive_engine::run::immediate;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::__private::{Arguments, TraceEntry, inventory};

/// A version for each, raised if what it returns changes its meaning.
const fn definition(name: &'static str, line: u32) -> TraceDefinition {
    TraceDefinition {
        name,
        code: CodeHash::from_bytes([1; 16]),
        file: file!(),
        line,
        module: module_path!(),
        outside_call: false,
        policy: TracePolicy::DEFAULT,
    }
}

static NOW: TraceDefinition = definition("now", line!());
static RANDOM: TraceDefinition = definition("random", line!());
static UUID: TraceDefinition = definition("uuid", line!());

inventory::submit! { TraceEntry(&NOW) }
inventory::submit! { TraceEntry(&RANDOM) }
inventory::submit! { TraceEntry(&UUID) }

fn recorded<T: Serialize + DeserializeOwned>(
    definition: &'static TraceDefinition,
    location: &'static Location<'static>,
    effect: impl FnOnce(&dyn Clock, &dyn Entropy) -> Result<T>,
) -> Result<T> {
    let unreadable = |error| Error::new(ErrorKind::Payload, format!("{}(): {error}", definition.name));
    let arguments = Arguments::encode(&()).map_err(unreadable)?;
    let place = (location.file(), location.line());
    let payload = immediate(definition, arguments, place, |clock, entropy| {
        Payload::encode(&effect(clock, entropy)?).map_err(unreadable)
    })?;
    payload.decode().map_err(unreadable)
}

fn no_entropy(why: String) -> Error {
    Error::new(ErrorKind::Storage, format!("the operating system has no randomness: {why}"))
}

/// The moment, by the wall clock when it was first asked for; microseconds. A trace: replay returns the same.
///
/// Inside a trace's effect it just reads the clock.
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
/// Inside a trace's effect it just draws one.
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
/// Inside a trace's effect it just makes one.
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
