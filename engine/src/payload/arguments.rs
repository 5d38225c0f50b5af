//! A trace's arguments, as they are recorded and as they tell its call from others.
//!
//! Made where the trace is called, before it is known in which store it will be recorded.

use std::fmt;

use serde::Serialize;

use super::redact::{self, RedactionKey};
use super::{Encoding, Payload, PayloadCodec, PayloadError};
use crate::canonical::canonical;
use crate::id::InputHash;
use crate::value::Exact;

/// A trace's arguments, or the reason why they cannot be recorded.
#[derive(Clone)]
pub struct Arguments {
    /// As a map from name to value, masked where the trace says so.
    pub payload: Payload,
    identity: Identity,
}

/// What tells calls of one trace apart.
#[derive(Clone)]
enum Identity {
    Hash(InputHash),
    /// The canonical form of arguments of which some are redacted: hashed with the store's key, once that is known.
    Keyed(Vec<u8>),
}

impl Arguments {
    /// Encodes arguments (a map from name to value), less what these paths name.
    ///
    /// A masked record is written in MessagePack if the codec is bincode, which could not read it.
    ///
    /// # Errors
    /// As for [`Payload::encode_with`]; if one nests more than [`LEVELS_MAX`](super::LEVELS_MAX) levels deep, which is named; if a
    /// path names nothing.
    pub fn of<T: Serialize + ?Sized>(value: &T, encoding: &Encoding, redact: &[&str]) -> Result<Self, PayloadError> {
        let form = canonical(value)?;
        if redact.is_empty() {
            let payload = Payload::encode_measured(encoding, value)?;
            return Ok(Self { payload, identity: Identity::Hash(InputHash::of(&form)) });
        }
        let is_json = encoding.codec() == PayloadCodec::JSON;
        let codec = if is_json { PayloadCodec::JSON } else { PayloadCodec::MESSAGE_PACK };
        let mut plain = Payload::encode_measured(&Encoding::IN_MEMORY.with_codec(Some(codec)), value)?.to_value();
        redact::mask(&mut plain, redact)?;
        let encoding = encoding.clone().with_codec(Some(codec));
        let payload = if is_json {
            Payload::encode_measured(&encoding, &plain)?
        } else {
            Payload::encode_measured(&encoding, &Exact(&plain))?
        };
        Ok(Self { payload, identity: Identity::Keyed(form) })
    }

    /// Arguments that are encoded already, and their canonical form.
    pub fn encoded(payload: Payload, canonical: &[u8]) -> Self {
        Self { payload, identity: Identity::Hash(InputHash::of(canonical)) }
    }

    /// The same arguments, told from others by a key of the trace's own.
    ///
    /// # Errors
    /// If the key's own `Serialize` fails.
    pub fn keyed<K: Serialize + ?Sized>(mut self, key: &K) -> Result<Self, PayloadError> {
        let form = canonical(key)?;
        self.identity = match self.identity {
            Identity::Hash(_) => Identity::Hash(InputHash::of(&form)),
            // The key may be made of what is redacted.
            Identity::Keyed(_) => Identity::Keyed(form),
        };
        Ok(self)
    }

    /// The hash that tells calls apart, in the store with this key.
    pub fn hash(&self, key: &RedactionKey) -> InputHash {
        match &self.identity {
            Identity::Hash(hash) => *hash,
            Identity::Keyed(form) => key.hash(form),
        }
    }

    /// Whether some of them are redacted, so that the hash depends on the store's key.
    pub fn is_redacted(&self) -> bool {
        matches!(self.identity, Identity::Keyed(_))
    }
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the identity, which may hold what is redacted.
        f.debug_tuple("Arguments").field(&self.payload).finish()
    }
}
