//! Values that can be read back, and no others: what cannot is refused when it is recorded.
//!
//! Then it is known where it came from; later, the effect is done and its record useless.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::depth::Depth;
use super::survey::{Form, survey, survey_within};
use super::{Encoding, Payload, PayloadCodec, PayloadError};
use crate::canonical::canonical_of_read;

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
        let form = survey(value, encoding.codec())?;
        let payload = Self::encode_measured(encoding, value)?;
        if check == RoundTrip::Checked || form == Form::Depends {
            match payload.decode::<T>() {
                Err(error) => return in_json(value, encoding, form).ok_or_else(|| unreadable(&error)),
                Ok(read) if check == RoundTrip::Checked && canonical_of_read(value)? != canonical_of_read(&read)? => {
                    return Err(changed(value, &read));
                }
                Ok(_) => {}
            }
        }
        Ok(payload)
    }

    /// Writes arguments as [`Payload::encode_with`] does, but in JSON where their type could not read MessagePack. It is known
    /// how deep they nest: [`canonical`](crate::canonical::canonical) has walked them, or a payload's reader made them.
    ///
    /// # Errors
    /// As there. A type that can read neither is not found out here.
    pub fn readable<T: Serialize + DeserializeOwned>(encoding: &Encoding, value: &T) -> Result<Self, PayloadError> {
        // In another codec a type may have another form than the one that was walked.
        if encoding.codec() != PayloadCodec::MESSAGE_PACK {
            return Self::encode_with(encoding, value);
        }
        let payload = Self::encode_measured(encoding, value)?;
        // What it refuses is refused elsewhere, with its name.
        let form = survey_within(value, encoding.codec(), Depth::ARGUMENTS).unwrap_or(Form::Same);
        if form == Form::Same || payload.decode::<T>().is_ok() {
            return Ok(payload);
        }
        Ok(in_json(value, encoding, form).unwrap_or(payload))
    }

    /// Writes a value whose reader is not known, if the codec loses nothing of it.
    ///
    /// # Errors
    /// As for [`Payload::encode_with`]; and if the codec lacks something of the value (JSON has no infinity).
    pub fn surveyed<T: Serialize + ?Sized>(encoding: &Encoding, value: &T) -> Result<Self, PayloadError> {
        survey(value, encoding.codec())?;
        Self::encode_measured(encoding, value)
    }
}

/// The value in JSON, where MessagePack has given it a form that its type cannot read (an address in an untagged enum), and
/// JSON gives it one that comes back the same.
fn in_json<T: Serialize + DeserializeOwned>(value: &T, encoding: &Encoding, form: Form) -> Option<Payload> {
    if form == Form::Same || encoding.codec() != PayloadCodec::MESSAGE_PACK {
        return None;
    }
    let payload = Payload::surveyed(&encoding.clone().with_codec(Some(PayloadCodec::JSON)), value).ok()?;
    let read = payload.decode::<T>().ok()?;
    (canonical_of_read(value).ok()? == canonical_of_read(&read).ok()?).then_some(payload)
}

fn unreadable(error: &PayloadError) -> PayloadError {
    PayloadError::at(error.field().unwrap_or_default(), format!("it cannot be read back: {}", error.why()))
}

/// Says where a value and what was read back of it part.
fn changed<T: Serialize>(value: &T, read: &T) -> PayloadError {
    let plain = |value| Payload::encode_measured(&Encoding::IN_MEMORY, value).map(|payload| payload.to_value());
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
