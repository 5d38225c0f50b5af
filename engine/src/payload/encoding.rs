//! How values are written: in which codec, of what size at most, sealed by which hook.
//!
//! Made by `options` for an engine, changed by a function's attribute, given to whoever writes a payload.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::hook::{self, PayloadHook};
use super::{PayloadCodec, PayloadError};

/// Largest payload, if the engine is told nothing else: 4 MiB. A log is for what happened, not for bulk data.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;

/// The most that an engine can be told to take: 32 MiB, so that a step and an entry of the cache fit into a record. What a
/// hook makes smaller must not be larger before, either.
pub const PAYLOAD_BYTES_LIMIT: usize = 32 << 20;

/// How values are written. Clones are cheap.
#[derive(Clone)]
pub struct Encoding {
    codec: PayloadCodec,
    bytes_max: usize,
    hook: Option<Arc<dyn PayloadHook>>,
}

impl Encoding {
    /// MessagePack of at most 4 MiB, not sealed.
    pub const DEFAULT: Self = Self { codec: PayloadCodec::MESSAGE_PACK, bytes_max: PAYLOAD_BYTES_MAX, hook: None };

    /// For values that stay in memory until the engine writes them: MessagePack, as large as any engine could take.
    pub const IN_MEMORY: Self = Self { bytes_max: PAYLOAD_BYTES_LIMIT, ..Self::DEFAULT };

    /// The same in another codec; `None`: as it is. What an attribute says goes before what the engine says.
    #[must_use]
    pub fn with_codec(mut self, codec: Option<PayloadCodec>) -> Self {
        self.codec = codec.unwrap_or(self.codec);
        self
    }

    /// The same with another limit on a payload's size: 1 byte to [`PAYLOAD_BYTES_LIMIT`]; what is beyond is cut to it.
    #[must_use]
    pub fn with_bytes_max(mut self, bytes_max: usize) -> Self {
        self.bytes_max = bytes_max.clamp(1, PAYLOAD_BYTES_LIMIT);
        self
    }

    /// The same, sealed by a hook.
    #[must_use]
    pub fn with_hook(mut self, hook: Arc<dyn PayloadHook>) -> Self {
        self.hook = Some(hook);
        self
    }

    /// The codec that writes.
    pub fn codec(&self) -> PayloadCodec {
        self.codec
    }

    /// Largest payload, in bytes as they are stored.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// The hook that seals, if there is one.
    pub fn hook(&self) -> Option<&dyn PayloadHook> {
        self.hook.as_deref()
    }

    pub(crate) fn shared_hook(&self) -> Option<&Arc<dyn PayloadHook>> {
        self.hook.as_ref()
    }

    /// Seals bytes that are no payload, but as private as one: the canonical form of an input.
    ///
    /// # Errors
    /// If the hook fails.
    pub fn seal_bytes(&self, bytes: &Bytes) -> Result<SealedBytes, PayloadError> {
        Ok(match self.hook() {
            None => SealedBytes { hook: 0, bytes: bytes.clone() },
            Some(hook) => SealedBytes { hook: hook.id(), bytes: hook::seal(hook, bytes)?.into() },
        })
    }

    /// Refuses what is too large even if a hook makes it smaller.
    pub(super) fn writable(&self, length: usize) -> Result<(), PayloadError> {
        if length <= PAYLOAD_BYTES_LIMIT {
            return Ok(());
        }
        let why = format!(
            "it takes {length} bytes, more than the {PAYLOAD_BYTES_LIMIT} that can be recorded: store it elsewhere and \
             record where"
        );
        Err(PayloadError::new(why))
    }

    /// The bytes, if they are not too many.
    pub(super) fn fitting<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], PayloadError> {
        if bytes.len() <= self.bytes_max {
            return Ok(bytes);
        }
        let more = if self.bytes_max < PAYLOAD_BYTES_LIMIT {
            format!(", or raise payload_bytes_max on the engine's builder (up to {PAYLOAD_BYTES_LIMIT})")
        } else {
            String::new()
        };
        Err(PayloadError::new(format!(
            "it takes {} bytes, more than the {} that are recorded: store it elsewhere and record where{more}",
            bytes.len(),
            self.bytes_max
        )))
    }
}

impl Default for Encoding {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Debug for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoding")
            .field("codec", &self.codec)
            .field("bytes_max", &self.bytes_max)
            .field("hook", &self.hook().map(PayloadHook::name))
            .finish()
    }
}

/// Bytes that are no payload, sealed by the engine's hook if it has one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedBytes {
    hook: u8,
    bytes: Bytes,
}

impl SealedBytes {
    /// The bytes that were sealed.
    ///
    /// # Errors
    /// If the hook is not known to this program, or fails.
    pub fn open(&self) -> Result<Cow<'_, [u8]>, PayloadError> {
        match self.hook {
            0 => Ok(Cow::Borrowed(&self.bytes)),
            id => hook::open(id, &self.bytes).map(Cow::Owned),
        }
    }

    /// The id of the hook that sealed them, if one did.
    pub fn hook(&self) -> Option<u8> {
        (self.hook != 0).then_some(self.hook)
    }
}

impl fmt::Debug for SealedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedBytes(hook {}, {} bytes)", self.hook, self.bytes.len())
    }
}
