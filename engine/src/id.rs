//! Names of things: runs, positions in a log, hashes, moments.
//!
//! Each is a newtype, so that none can be taken for another.
//!
//! Invariant: the bytes and the printed form of each are part of the format on disk (`docs/format.md`).

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Crockford's base 32: no I, L, O, U, so that a printed id can be read aloud.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Names one run: 48 bits of milliseconds since 1970, then 80 random bits, so that ids sort by when they were made.
///
/// Printed as 26 characters (a ULID).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId([u8; 16]);

impl RunId {
    /// A new id from a moment and 80 random bits.
    pub fn new(at: Timestamp, random: [u8; 10]) -> Self {
        let milliseconds = u64::try_from(at.0 / 1000).unwrap_or(0);
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&milliseconds.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        Self(bytes)
    }

    /// When it was made, in milliseconds since 1970.
    pub(crate) fn milliseconds(&self) -> u64 {
        self.0[..6].iter().fold(0, |milliseconds, byte| milliseconds << 8 | u64::from(*byte))
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes, as they stand in keys.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u128::from_be_bytes(self.0);
        let mut text = [0; 26];
        for (index, character) in text.iter_mut().enumerate() {
            let shift = 5 * (25 - index);
            *character = ALPHABET[(number >> shift) as usize & 31];
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunId({self})")
    }
}

/// A text that is no run id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseRunIdError(String);

impl fmt::Display for ParseRunIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no run id: expected 26 characters of 0-9 and A-Z without I, L, O, U", self.0)
    }
}

impl std::error::Error for ParseRunIdError {}

impl FromStr for RunId {
    type Err = ParseRunIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseRunIdError(text.to_owned());
        if text.len() != 26 {
            return Err(refuse());
        }
        let mut number: u128 = 0;
        for character in text.bytes() {
            let digit = ALPHABET.iter().position(|a| *a == character.to_ascii_uppercase()).ok_or_else(refuse)?;
            // The first of 26 digits holds 3 bits: 128 = 3 + 25 × 5.
            number = number.checked_mul(32).ok_or_else(refuse)? | digit as u128;
        }
        Ok(Self(number.to_be_bytes()))
    }
}

/// Position of an event within one run. The first is 0; no gaps. A trace is named by the one of its `TraceStarted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts how often a store was opened to write: which life of the process wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Epoch(pub u32);

/// 128 bits of blake3 over a function's tokens, and over what the predicates of `cfg` in it came to: which version of the code
/// it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CodeHash([u8; 16]);

/// 128 bits of blake3 over the canonical form of a call's input: the same for equal inputs, whatever the order of maps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InputHash([u8; 16]);

macro_rules! hash {
    ($name:ident) => {
        impl $name {
            /// The hash with these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}
hash!(CodeHash);
hash!(InputHash);

impl CodeHash {
    /// The code as a build takes it: with what each of its predicates of `cfg` came to. The order of `parts` carries no
    /// meaning.
    #[must_use]
    pub const fn mixed(self, parts: &[[u8; 16]]) -> Self {
        let Self(mut bytes) = self;
        let mut part = 0;
        while part < parts.len() {
            let mut at = 0;
            while at < bytes.len() {
                bytes[at] ^= parts[part][at];
                at += 1;
            }
            part += 1;
        }
        Self(bytes)
    }
}

impl InputHash {
    /// Hashes a canonical form.
    pub fn of(canonical: &[u8]) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&blake3::hash(canonical).as_bytes()[..16]);
        Self(bytes)
    }
}

/// A moment: microseconds since 1970 in UTC, by the wall clock of the machine that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The same moment for std; before 1970 too.
    pub fn to_system_time(self) -> SystemTime {
        let distance = Duration::from_micros(self.0.unsigned_abs());
        if self.0 < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }

    /// From std's; what does not fit 64 bits of microseconds (292,000 years) is cut.
    pub fn from_system_time(time: SystemTime) -> Self {
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(since) => micros(since),
            Err(before) => -micros(before.duration()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_id_prints_and_parses() {
        for bytes in [[0; 16], [255; 16], *b"0123456789abcdef"] {
            let run = RunId::from_bytes(bytes);
            assert_eq!(run.to_string().parse(), Ok(run));
            assert_eq!(run.to_string().to_lowercase().parse(), Ok(run));
        }
        for bad in ["", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "01J", "0000000000000000000000000U", "é0000000000000000000000000"]
        {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn run_ids_sort_by_time() {
        assert!(RunId::new(Timestamp(1_000), [255; 10]) < RunId::new(Timestamp(2_000), [0; 10]));
        assert_eq!(RunId::new(Timestamp(1_700_000_000_123_999), [9; 10]).milliseconds(), 1_700_000_000_123);
    }

    #[test]
    fn moments_survive_std() {
        for micros in [0, 1, -1, 1_700_000_000_000_000] {
            assert_eq!(Timestamp::from_system_time(Timestamp(micros).to_system_time()), Timestamp(micros));
        }
    }
}
