//! Which calls are the same, and where the result of a call lies.
//!
//! Used by `start` (to join and to look up), `plan` (to enter a result) and the rest of the cache.
//!
//! Invariant: two calls have one [`CallKey`] if the task, the part of the input that counts, the salt and the user's
//! version are the same, and (but for collisions, which who looks up has to find out) only then. Code plays no part in
//! it: an unfinished run is joined after an edit, too, as a second one would repeat its effects.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::definition::{CacheMode, CachePolicy, TaskDefinition};
use crate::error::{Error, ErrorKind};
use crate::execute::unpanicked;
use crate::id::CodeHash;
use crate::index::CacheRecord;
use crate::payload::{Payload, PayloadError};

/// Hashes the canonical form of an input. Another than blake3 is for tests: one that collides.
pub type InputHasher = fn(&[u8]) -> [u8; 32];

/// The hash of inputs that a store is made with.
pub(crate) fn blake3_of(form: &[u8]) -> [u8; 32] {
    *blake3::hash(form).as_bytes()
}

/// What identical calls have in common, whatever the code.
pub(crate) type CallKey = [u8; 32];

/// Names an entry of the cache. Printed as 128 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKey([u8; 64]);

impl EntryKey {
    /// Bytes that the entries of one task begin with.
    const TASK_BYTES: usize = 16;
    /// Bytes that the entries of one input of one task begin with.
    const INPUT_BYTES: usize = 48;

    pub(crate) fn new(task: &str, input_hash: &[u8; 32], version: &CodeHash) -> Self {
        let mut bytes = [0; 64];
        bytes[..Self::TASK_BYTES].copy_from_slice(&Self::task(task));
        bytes[Self::TASK_BYTES..Self::INPUT_BYTES].copy_from_slice(input_hash);
        bytes[Self::INPUT_BYTES..].copy_from_slice(version.as_bytes());
        Self(bytes)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// What the keys of all entries of a task begin with.
    pub(crate) fn task(task: &str) -> [u8; Self::TASK_BYTES] {
        let mut bytes = [0; Self::TASK_BYTES];
        bytes.copy_from_slice(&blake3::hash(task.as_bytes()).as_bytes()[..Self::TASK_BYTES]);
        bytes
    }

    /// What the key of this entry and those of the same input and other versions begin with.
    pub(crate) fn input(&self) -> &[u8] {
        &self.0[..Self::INPUT_BYTES]
    }

    /// The bytes, as they are stored.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Display for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for EntryKey {
    type Err = Error;

    /// From its 128 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Error> {
        let digit = |at: usize| text.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let bytes: Option<Vec<u8>> = (0..64).map(|index| digit(2 * index)).collect();
        let key = bytes.filter(|_| text.len() == 128).and_then(|bytes| Self::from_bytes(&bytes));
        key.ok_or_else(|| {
            let why = format!("`{text}` is no key of an entry: that has 128 hexadecimal digits");
            Error::new(ErrorKind::Unsupported, why)
        })
    }
}

impl fmt::Debug for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryKey({self})")
    }
}

/// What tells one version of a task from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// A hash of its code.
    Code(CodeHash),
    /// The user's.
    User(String),
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "code {code}"),
            Self::User(version) => write!(f, "version {version:?}"),
        }
    }
}

impl CachePolicy {
    /// The user's version, if that counts and not the code.
    pub(crate) fn version(&self) -> Option<&'static str> {
        match self.mode {
            CacheMode::Version(version) => Some(version),
            _ => None,
        }
    }
}

impl TaskDefinition {
    /// What stands for this task in the entries of those that call it: its code, or a hash of the user's version.
    pub fn version_hash(&self) -> CodeHash {
        match self.cache.version() {
            None => self.code,
            Some(version) => short(&[b"version", version.as_bytes()]),
        }
    }

    /// Where the result of a call is, by the hash of the part of its input that counts.
    pub(crate) fn entry_key(&self, input_hash: &[u8; 32]) -> EntryKey {
        of_version(self, &self.version_hash(), input_hash)
    }

    /// The version of today, for people.
    pub(crate) fn shown_version(&self) -> Version {
        self.cache.version().map_or(Version::Code(self.code), |version| Version::User(version.to_owned()))
    }

    /// Which call it is, by the hash of the part of its input that counts.
    pub(crate) fn call_key(&self, input_hash: &[u8; 32]) -> CallKey {
        let version = self.cache.version();
        let (kind, version) = (u8::from(version.is_some()), version.unwrap_or_default());
        let parts = [self.name.as_bytes(), input_hash, self.cache.salt.as_bytes(), &[kind], version.as_bytes()];
        *hash(&parts).as_bytes()
    }

    /// The canonical form of the part of an input that counts: all but the ignored arguments. `whole` is that of all.
    pub(crate) fn counted(&self, input: &Payload, whole: &Bytes) -> Result<Bytes, PayloadError> {
        if self.cache.ignored.is_empty() {
            return Ok(whole.clone());
        }
        self.counted_of(input)
    }

    /// The canonical form of the part of a recorded input that counts.
    pub(crate) fn counted_of(&self, input: &Payload) -> Result<Bytes, PayloadError> {
        unpanicked(|| (self.canonical)(input, self.cache.ignored)).map(Bytes::from)
    }
}

/// Where the result of a call is that some version of a task found.
pub(super) fn of_version(definition: &TaskDefinition, version: &CodeHash, input_hash: &[u8; 32]) -> EntryKey {
    let version = short(&[definition.cache.salt.as_bytes(), version.as_bytes()]);
    EntryKey::new(definition.name, input_hash, &version)
}

impl CacheRecord {
    /// Whether the entry can lie under this key, as far as that is known without its task: the input's part is not.
    pub(crate) fn fits(&self, key: &EntryKey) -> bool {
        let version = match &self.version {
            None => self.code,
            Some(version) => short(&[b"version", version.as_bytes()]),
        };
        let version = short(&[self.salt.as_bytes(), version.as_bytes()]);
        *key == EntryKey::new(&self.task, &counted_part(key), &version)
    }

    /// The version that found the result, for people.
    pub(crate) fn shown_version(&self) -> Version {
        self.version.clone().map_or(Version::Code(self.code), Version::User)
    }
}

/// The part of a key that stands for the input.
fn counted_part(key: &EntryKey) -> [u8; 32] {
    let mut counted = [0; 32];
    counted.copy_from_slice(&key.0[16..48]);
    counted
}

/// A hash of several parts, of which none can be taken for a piece of its neighbour.
fn hash(parts: &[&[u8]]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize()
}

fn short(parts: &[&[u8]]) -> CodeHash {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash(parts).as_bytes()[..16]);
    CodeHash::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::TaskPolicy;

    fn task(name: &'static str, cache: CachePolicy, code: u8) -> TaskDefinition {
        TaskDefinition {
            name,
            code: CodeHash::from_bytes([code; 16]),
            file: "",
            line: 0,
            module: "",
            cache,
            policy: TaskPolicy::DEFAULT,
            canonical: |payload, _| Ok(payload.bytes().to_vec()),
            body: |_| Err(PayloadError::new("is not run")),
        }
    }

    const VERSION_1: CachePolicy = CachePolicy { mode: CacheMode::Version("1"), ..CachePolicy::DEFAULT };
    const SALTED: CachePolicy = CachePolicy { salt: "1", ..CachePolicy::DEFAULT };
    const INPUT: [u8; 32] = [7; 32];

    #[test]
    fn calls_are_told_apart_by_task_input_salt_and_version_but_not_by_code() {
        let keys = [
            task("a", CachePolicy::DEFAULT, 0).call_key(&INPUT),
            task("b", CachePolicy::DEFAULT, 0).call_key(&INPUT),
            task("a", CachePolicy::DEFAULT, 0).call_key(&[8; 32]),
            task("a", VERSION_1, 0).call_key(&INPUT),
            task("a", CachePolicy { mode: CacheMode::Version(""), ..VERSION_1 }, 0).call_key(&INPUT),
            task("a", SALTED, 0).call_key(&INPUT),
            task("a", CachePolicy { salt: "1", ..VERSION_1 }, 0).call_key(&INPUT),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key), "{index}");
        }
        assert_eq!(task("a", CachePolicy::DEFAULT, 1).call_key(&INPUT), keys[0]);
    }

    #[test]
    fn entries_are_told_apart_by_code_unless_there_is_a_version() {
        let entry = |policy, code| task("a", policy, code).entry_key(&INPUT);
        assert_ne!(entry(CachePolicy::DEFAULT, 0), entry(CachePolicy::DEFAULT, 1));
        assert_ne!(entry(CachePolicy::DEFAULT, 0), entry(SALTED, 0));
        assert_eq!(entry(VERSION_1, 0), entry(VERSION_1, 1));
        assert_eq!(entry(CachePolicy::DEFAULT, 0).input(), entry(VERSION_1, 1).input());
    }

    #[test]
    fn inputs_are_hashed_with_blake3() {
        let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(blake3_of(b"").iter().map(|byte| format!("{byte:02x}")).collect::<String>(), empty);
    }

    #[test]
    fn a_key_is_read_as_it_is_printed() {
        let key = EntryKey::new("a", &std::array::from_fn(|index| index as u8), &CodeHash::from_bytes([0xf0; 16]));
        let text = key.to_string();
        assert_eq!((text.len(), text.parse::<EntryKey>().unwrap()), (128, key));
        assert_eq!(format!("{key:?}"), format!("EntryKey({text})"));
        assert_eq!(EntryKey::from_bytes(key.as_bytes()), Some(key));
        assert_eq!((key.input(), &key.input()[16..]), (&key.as_bytes()[..48], &counted_part(&key)[..]));
        for wrong in [&text[..126], &format!("{text}00"), &format!("x{}", &text[1..]), ""] {
            assert!(wrong.parse::<EntryKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_entry_fits_the_key_under_which_its_version_lies_and_no_other() {
        let record = |policy: CachePolicy, code| CacheRecord {
            task: "a".to_owned(),
            code: CodeHash::from_bytes([code; 16]),
            version: policy.version().map(str::to_owned),
            salt: policy.salt.to_owned(),
            input: Payload::encode(&1).unwrap(),
            result: Payload::encode(&2).unwrap(),
            uses: Vec::new(),
            run: crate::id::RunId::from_bytes([1; 16]),
            created_at: crate::id::Timestamp(0),
        };
        let policies = [(CachePolicy::DEFAULT, 0), (CachePolicy::DEFAULT, 1), (SALTED, 0), (VERSION_1, 0)];
        for (at, (policy, code)) in policies.into_iter().enumerate() {
            for (under, (other, other_code)) in policies.into_iter().enumerate() {
                let key = task("a", other, other_code).entry_key(&INPUT);
                assert_eq!(record(policy, code).fits(&key), at == under, "{at} under the key of {under}");
            }
            assert!(!record(policy, code).fits(&task("b", policy, code).entry_key(&INPUT)), "of another task");
        }
        assert_eq!(record(VERSION_1, 0).shown_version(), task("a", VERSION_1, 0).shown_version());
        assert_eq!(record(SALTED, 7).shown_version().to_string(), format!("code {}", CodeHash::from_bytes([7; 16])));
    }
}
