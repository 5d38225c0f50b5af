//! Inputs and results as bytes: opaque to the log, readable by people.
//!
//! MessagePack with field names, because logs outlive the structs that wrote them.
//!
//! Invariant: bytes carry the codec that wrote them, and are never read by another.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::value::Value;

/// Which format the bytes of a payload have. The number is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PayloadCodec(u8);

impl PayloadCodec {
    /// MessagePack; structs as maps with their fields' names.
    pub const MESSAGE_PACK: Self = Self(1);
}

/// A value in the bytes of a codec. Clones share the bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    codec: PayloadCodec,
    #[serde(with = "shared_bytes")]
    bytes: Arc<[u8]>,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({})", self.to_value())
    }
}

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Largest buffer that a thread keeps: 64 KiB.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

/// A value that could not be written as a payload or read back; `Display` says why and, where known, which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadError(String);

impl PayloadError {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PayloadError {}

impl Payload {
    /// Writes a value of at most [`PAYLOAD_BYTES_MAX`].
    ///
    /// # Errors
    /// If the value's own `Serialize` fails, or it is larger.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, PayloadError> {
        // Written into a buffer that is used again, so that the payload itself is allocated once, at its size.
        let mut bytes = SCRATCH.take();
        bytes.clear();
        let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
        value.serialize(&mut serializer).map_err(|error| PayloadError(error.to_string()))?;
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(PayloadError(format!(
                "it takes {} bytes, more than the {PAYLOAD_BYTES_MAX} that are recorded: store it elsewhere and record where",
                bytes.len()
            )));
        }
        let payload = Self { codec: PayloadCodec::MESSAGE_PACK, bytes: bytes.as_slice().into() };
        if bytes.capacity() <= SCRATCH_BYTES_MAX {
            SCRATCH.set(bytes);
        }
        Ok(payload)
    }

    /// Reads a value; all bytes must be used.
    ///
    /// # Errors
    /// If the bytes are not of this type, or another codec wrote them.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        if self.codec != PayloadCodec::MESSAGE_PACK {
            return Err(PayloadError(format!("codec {} is not known to this version", self.codec.0)));
        }
        let mut deserializer = rmp_serde::Deserializer::new(&self.bytes[..]);
        deserializer.set_max_depth(DEPTH_MAX);
        let value = T::deserialize(&mut deserializer).map_err(|error| PayloadError(error.to_string()))?;
        let rest = deserializer.get_ref().len();
        if rest > 0 {
            return Err(PayloadError(format!("{rest} bytes are left over behind the value")));
        }
        Ok(value)
    }

    /// The value without its type, for people; damaged or foreign bytes show as bytes.
    pub fn to_value(&self) -> Value {
        self.decode().unwrap_or_else(|_| Value::Bytes(self.bytes.to_vec()))
    }

    /// The codec that wrote it.
    pub fn codec(&self) -> PayloadCodec {
        self.codec
    }

    /// The bytes, as they are stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Largest payload: 4 MiB. A log is for what happened, not for bulk data.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;

/// Deepest nesting that is read: 128, so that hostile bytes cannot exhaust the stack.
const DEPTH_MAX: usize = 128;

/// Bytes as serde's bytes, not as a sequence of numbers.
mod shared_bytes {
    use std::fmt;
    use std::sync::Arc;

    use serde::de::{Deserializer, Error, SeqAccess, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[u8]>, D::Error> {
        struct Bytes;

        impl<'de> Visitor<'de> for Bytes {
            type Value = Arc<[u8]>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(bytes.into())
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Self::Value, E> {
                Ok(bytes.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                // What formats without bytes, such as JSON, make of them.
                let mut bytes = Vec::new();
                while let Some(byte) = access.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes.into())
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Page {
        url: String,
        bytes: u32,
    }

    #[test]
    fn a_value_comes_back() {
        let page = Page { url: "a".into(), bytes: 7 };
        assert_eq!(Payload::encode(&page).unwrap().decode::<Page>(), Ok(page));
    }

    #[test]
    fn a_changed_type_is_an_error_that_names_the_field() {
        #[derive(Debug, Deserialize)]
        struct Page2 {
            #[expect(dead_code)]
            title: String,
        }
        let page = Payload::encode(&Page { url: "a".into(), bytes: 7 }).unwrap();
        assert!(page.decode::<Page2>().unwrap_err().to_string().contains("title"));
    }

    #[test]
    fn bytes_behind_the_value_are_an_error() {
        let mut bytes = Payload::encode(&1u8).unwrap().bytes().to_vec();
        bytes.push(0);
        let payload = Payload { codec: PayloadCodec::MESSAGE_PACK, bytes: bytes.into() };
        assert!(payload.decode::<u8>().is_err());
    }
}
