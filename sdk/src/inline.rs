//! A call of a `#[trace]` function on a plain `fn`: it returns when it has run, or at once from the log.
//!
//! Made by the macro's expansion.

use std::panic::Location;

use relive_engine::definition::TraceDefinition;
use relive_engine::error::{Error, ErrorKind};
use relive_engine::event::ErrorRecord;
use relive_engine::panic::Contained;
use relive_engine::payload::PayloadError;
use relive_engine::run::{self, InlineCall};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::recorded::{encoded, unreadable};
use crate::trace::place;

/// Calls a plain function as a trace. Called by the macro's expansion.
///
/// # Errors
/// The function's own, as it is recorded; the engine's, if the call cannot be recorded.
#[doc(hidden)]
pub fn inline<T, E>(
    definition: &'static TraceDefinition,
    arguments: Result<run::Arguments, PayloadError>,
    location: &'static Location<'static>,
    effect: impl FnOnce() -> Result<T, ErrorRecord>,
) -> Result<T, E>
where
    T: Serialize + DeserializeOwned,
    E: From<Error>,
{
    // If the log answers, its arguments are dropped here, and not in the function: their destructors must not tell the body so.
    let mut effect = Contained::new(effect);
    inline_again(definition, arguments, location, move || match effect.take() {
        Some(effect) => effect(),
        None => Err(ErrorRecord::new(ErrorKind::Unsupported, "it was tried already")),
    })
}

/// Calls a plain function that may be tried again as a trace. Called by the macro's expansion.
///
/// # Errors
/// As for [`inline`].
#[doc(hidden)]
pub fn inline_again<T, E>(
    definition: &'static TraceDefinition,
    arguments: Result<run::Arguments, PayloadError>,
    location: &'static Location<'static>,
    mut effect: impl FnMut() -> Result<T, ErrorRecord>,
) -> Result<T, E>
where
    T: Serialize + DeserializeOwned,
    E: From<Error>,
{
    let (file, line) = place(definition, location);
    let call = InlineCall { definition, arguments, file, line };
    let output = run::inline(call, &mut || encoded(definition.name, definition.policy.codec, effect()))?;
    let payload = output.map_err(|record| record.to_error())?;
    payload.decode().map_err(|error| run::refuse_inline(unreadable::<T>(definition.name, &error)).into())
}
