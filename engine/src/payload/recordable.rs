//! Values that can be read back, and no others: what cannot is refused when it is recorded.
//!
//! Then it is known where it came from; later, the effect is done and its record useless.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::survey::survey;
use super::{Encoding, Payload, PayloadError};
use crate::canonical::canonical;

/// How closely a value is looked at before it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundTrip {
    /// It is read back, and must be the same again, as far as its `Serialize` tells.
    Checked,
    /// Only what a codec is known to lose without a word is refused (`Some(None)`). Costs next to nothing.
    Surveyed,
}

impl RoundTrip {
    /// Closely in debug builds, and wherever an engine is strict.
    pub fn of(strict: bool) -> Self {
        if strict || cfg!(debug_assertions) { Self::Checked } else { Self::Surveyed }
    }
}

impl Payload {
    /// Writes a value that somebody will read back.
    ///
    /// A field that neither `Serialize` nor `Deserialize` sees (`#[serde(skip)]`) cannot be missed.
    ///
    /// # Errors
    /// As for [`Payload::encode_with`]; and if the value would not be the same when it is read back: names the first
    /// field that differs, and what to do.
    pub fn recordable<T: Serialize + DeserializeOwned>(
        value: &T,
        encoding: &Encoding,
        check: RoundTrip,
    ) -> Result<Self, PayloadError> {
        survey(value, encoding.codec())?;
        let payload = Self::encode_with(encoding, value)?;
        if check == RoundTrip::Checked {
            let read = payload.decode::<T>().map_err(|error| {
                PayloadError::at(error.field().unwrap_or_default(), format!("it cannot be read back: {}", error.why()))
            })?;
            if canonical(value)? != canonical(&read)? {
                return Err(changed(value, &read));
            }
        }
        Ok(payload)
    }
}

/// Says where a value and what was read back of it part.
fn changed<T: Serialize>(value: &T, read: &T) -> PayloadError {
    let plain = |value| Payload::encode_with(&Encoding::IN_MEMORY, value).map(|payload| payload.to_value());
    let field = match (plain(value), plain(read)) {
        (Ok(value), Ok(read)) => value.first_difference(&read),
        _ => None,
    };
    PayloadError::at(
        field.unwrap_or_default(),
        "it is not the same when it is read back: a field that is written and not read (skip_deserializing), or a \
         HashSet, whose order changes (use a BTreeSet, or relive::unordered)",
    )
}
