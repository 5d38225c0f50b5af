//! Inputs and results as bytes: opaque to the log, readable by people.
//!
//! `message_pack`, `json` and (in `codec.rs`) bincode are the codecs; `encoding` says which of them writes, `hook` seals
//! what they wrote; `arguments` and `redact` make a call's record, `recordable` a result's.
//!
//! Invariant: bytes carry the codec and the hook that wrote them, and are never read by another.

mod arguments;
mod bounded;
mod depth;
mod encoding;
mod error;
pub mod hook;
mod json;
mod message_pack;
mod recordable;
pub mod redact;
mod shared_bytes;
mod survey;
pub mod unordered;

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::canonical::canonical_of_read;
use crate::codec;
use crate::panic::catch;
use crate::value::Value;

pub use arguments::Arguments;
pub(crate) use bounded::InBounds;
pub(crate) use depth::{Depth, TooDeep};
pub use depth::{LEVELS_MAX, within_levels};
pub use encoding::{Encoding, PAYLOAD_BYTES_LIMIT, PAYLOAD_BYTES_MAX, SealedBytes};
pub use error::PayloadError;
pub(crate) use error::{exact, explain};
pub use hook::PayloadHook;
pub use recordable::RoundTrip;

/// Which format the bytes of a payload have. The number is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PayloadCodec(u8);

impl PayloadCodec {
    /// MessagePack; structs as maps with their fields' names. Survives fields that are added, and people can read it.
    pub const MESSAGE_PACK: Self = Self(1);
    /// JSON. Larger and slower; for logs that other programs read. It has no bytes and no NaN.
    pub const JSON: Self = Self(2);
    /// bincode 2: small and fast, and it says nothing of what it holds. `relive show` prints bytes, and a value is only
    /// as good as the type it is read into: one of the same shape (a `u32` that has become an `f32`) is read as another
    /// value without an error, so change such a type together with its function's name. Types that serde reads by looking
    /// ahead (`flatten`, `untagged`, `tag`) cannot be read back.
    pub const BINCODE: Self = Self(3);

    /// Its number on disk.
    pub const fn id(self) -> u8 {
        self.0
    }
}

impl fmt::Display for PayloadCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MESSAGE_PACK => f.write_str("MessagePack"),
            Self::JSON => f.write_str("JSON"),
            Self::BINCODE => f.write_str("bincode"),
            Self(other) => write!(f, "codec {other}"),
        }
    }
}

/// A value in the bytes of a codec, perhaps sealed by a hook. Clones share the bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    codec: PayloadCodec,
    /// Which hook sealed the bytes; 0 for none.
    hook: u8,
    #[serde(with = "shared_bytes")]
    bytes: Arc<[u8]>,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hook {
            0 => write!(f, "Payload({})", self.to_value()),
            // Sealed perhaps for a reason.
            hook => write!(f, "Payload(sealed by hook {hook}, {} bytes)", self.bytes.len()),
        }
    }
}

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Largest buffer that a thread keeps: 64 KiB.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

impl Payload {
    /// Writes a value as [`Encoding::DEFAULT`] says.
    ///
    /// # Errors
    /// If the value's own `Serialize` fails, or it is larger than [`PAYLOAD_BYTES_MAX`].
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, PayloadError> {
        Self::encode_with(&Encoding::DEFAULT, value)
    }

    /// Writes a value: in the encoding's codec, sealed by its hook.
    ///
    /// # Errors
    /// If the value's own `Serialize` or the hook fails or panics, the payload is larger than the encoding allows, or the value
    /// nests deeper than any codec reads.
    pub fn encode_with<T: Serialize + ?Sized>(encoding: &Encoding, value: &T) -> Result<Self, PayloadError> {
        survey::measured(value, encoding.codec(), Depth::READ)?;
        Self::encode_measured(encoding, value)
    }

    /// As [`Payload::encode_with`], of a value of which it is known how deep it nests: it was walked already, by
    /// [`canonical`](crate::canonical::canonical), or a payload's reader made it.
    ///
    /// # Errors
    /// As there.
    pub fn encode_measured<T: Serialize + ?Sized>(encoding: &Encoding, value: &T) -> Result<Self, PayloadError> {
        // Written into a buffer that is used again, so that the payload itself is allocated once, at its size.
        let mut scratch = SCRATCH.take();
        scratch.clear();
        write(encoding.codec(), value, &mut scratch)?;
        encoding.writable(scratch.len())?;
        let payload = match encoding.hook() {
            None => Self { codec: encoding.codec(), hook: 0, bytes: encoding.fitting(&scratch)?.into() },
            Some(hook) => {
                let sealed = hook::seal(hook, &scratch)?;
                Self { codec: encoding.codec(), hook: hook.id(), bytes: encoding.fitting(&sealed)?.into() }
            }
        };
        if scratch.capacity() <= SCRATCH_BYTES_MAX {
            SCRATCH.set(scratch);
        }
        Ok(payload)
    }

    /// A value that somebody gives as JSON, kept as it is given: whatever type reads it reads JSON. So nothing of it depends on
    /// what an engine writes in: a number of any width, an id or an address as text, a map whose keys are numbers.
    ///
    /// # Errors
    /// If it is no JSON, or a number in it is none that a float could hold. JSON has no infinity and no NaN.
    pub fn json(text: &str) -> Result<Self, PayloadError> {
        let text = text.trim_matches([' ', '\t', '\n', '\r']);
        // Its errors tell where, and not in terms of a type.
        if let Err(error) = serde_json::from_str::<Value>(text) {
            return Err(PayloadError::new(error.to_string()));
        }
        Ok(Self { codec: PayloadCodec::JSON, hook: 0, bytes: text.as_bytes().into() })
    }

    /// Reads a value, by the codec and the hook that wrote it; all bytes must be used.
    ///
    /// # Errors
    /// If the bytes are not of this type (the error names the field, where that can be told), or this program does not
    /// know their codec or hook.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        match self.hook {
            0 => read(self.codec, &self.bytes),
            id => read(self.codec, &hook::open(id, &self.bytes)?),
        }
    }

    /// As [`Payload::decode`], of a type that borrows from the payload.
    ///
    /// # Errors
    /// As there; and if a hook has sealed the payload, as what is opened has no owner.
    pub fn decode_borrowed<'a, T: Deserialize<'a>>(&'a self) -> Result<T, PayloadError> {
        match (self.hook, self.codec) {
            (0, PayloadCodec::MESSAGE_PACK) => message_pack::read_borrowed(&self.bytes),
            (0, PayloadCodec::JSON) => json::read_borrowed(&self.bytes),
            (0, PayloadCodec::BINCODE) => codec::read_payload_borrowed(&self.bytes),
            (0, unknown) => Err(unknown_codec(unknown)),
            _ => Err(PayloadError::new("it is sealed by a hook, and nothing can borrow from it")),
        }
    }

    /// The value without its type, for people. What does not say what it holds (bincode, damaged or foreign bytes) shows
    /// as bytes, what is sealed by a hook that is not at hand as sealed.
    pub fn to_value(&self) -> Value {
        let opened = match self.hook {
            0 => None,
            id => match hook::open(id, &self.bytes) {
                Ok(bytes) => Some(bytes),
                Err(_) => {
                    // All of it, so that two payloads that differ show differently.
                    let content = (Value::Text("content".into()), Value::Bytes(self.bytes.to_vec()));
                    return Value::Map(vec![(Value::Text("sealed_by".into()), Value::Unsigned(id.into())), content]);
                }
            },
        };
        let bytes = opened.as_deref().unwrap_or(&self.bytes);
        let read = if self.codec == PayloadCodec::BINCODE { None } else { read(self.codec, bytes).ok() };
        read.unwrap_or_else(|| Value::Bytes(bytes.to_vec()))
    }

    /// Whether a reader would get the same of both, as far as that can be told without their type: maps in any order. Of
    /// bincode, in which maps cannot be told, only whether both consist of the same bytes; values of different codecs
    /// (the engine was set up anew between them) pass for the same.
    pub fn is_like(&self, other: &Self) -> bool {
        if self == other || self.codec != other.codec {
            return true;
        }
        let (a, b) = (self.to_value(), other.to_value());
        match (&a, &b) {
            (Value::Bytes(a), Value::Bytes(b)) if self.codec == PayloadCodec::BINCODE => {
                let sorted = |bytes: &[u8]| {
                    let mut bytes = bytes.to_vec();
                    bytes.sort_unstable();
                    bytes
                };
                sorted(a) == sorted(b)
            }
            _ => canonical_of_read(&a).is_ok_and(|a| canonical_of_read(&b).is_ok_and(|b| a == b)),
        }
    }

    /// The same payload, sealed by the encoding's hook if it has one and nothing has sealed the payload yet.
    ///
    /// # Errors
    /// If the hook fails, or the payload is then larger than the encoding allows.
    pub fn sealed(self, encoding: &Encoding) -> Result<Self, PayloadError> {
        match encoding.hook() {
            Some(hook) if self.hook == 0 => {
                let sealed = hook::seal(hook, &self.bytes)?;
                Ok(Self { codec: self.codec, hook: hook.id(), bytes: encoding.fitting(&sealed)?.into() })
            }
            _ => Ok(self),
        }
    }

    /// The same payload as an engine records it: sealed, if it is not yet, and no larger than allowed. In its own codec.
    ///
    /// # Errors
    /// If the hook fails, or the payload is larger than the encoding allows.
    pub fn recorded_as(self, encoding: &Encoding) -> Result<Self, PayloadError> {
        if encoding.hook().is_none() || self.hook != 0 {
            encoding.fitting(&self.bytes)?;
        }
        self.sealed(encoding)
    }

    /// A payload as it is stored.
    pub(crate) fn stored(codec: u8, hook: u8, bytes: &[u8]) -> Self {
        Self { codec: PayloadCodec(codec), hook, bytes: bytes.into() }
    }

    /// The codec that wrote it.
    pub fn codec(&self) -> PayloadCodec {
        self.codec
    }

    /// The id of the hook that sealed it, if one did.
    pub fn hook(&self) -> Option<u8> {
        (self.hook != 0).then_some(self.hook)
    }

    /// The bytes, as they are stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn write<T: Serialize + ?Sized>(codec: PayloadCodec, value: &T, out: &mut Vec<u8>) -> Result<(), PayloadError> {
    let written = catch(|| match codec {
        PayloadCodec::MESSAGE_PACK => message_pack::write(value, out),
        PayloadCodec::JSON => json::write(value, out),
        PayloadCodec::BINCODE => codec::write_payload(value, out),
        unknown => Err(unknown_codec(unknown)),
    });
    written.unwrap_or_else(|why| Err(PayloadError::panicked("written", &why)))
}

fn read<T: DeserializeOwned>(codec: PayloadCodec, bytes: &[u8]) -> Result<T, PayloadError> {
    let value = catch(|| match codec {
        PayloadCodec::MESSAGE_PACK => message_pack::read(bytes),
        PayloadCodec::JSON => json::read(bytes),
        PayloadCodec::BINCODE => codec::read_payload(bytes),
        unknown => Err(unknown_codec(unknown)),
    });
    value.unwrap_or_else(|why| Err(PayloadError::panicked("read back", &why)))
}

fn unknown_codec(codec: PayloadCodec) -> PayloadError {
    PayloadError::new(format!("it is written in codec {}, which this version does not know: use a newer one", codec.0))
}

#[cfg(test)]
mod tests;
