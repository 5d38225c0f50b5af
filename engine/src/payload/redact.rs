//! Arguments that are not written: they count in a call's key, by a hash that only this store can make, and are masked
//! in its record.
//!
//! Invariant: what is redacted leaves no trace in a payload, a message or a hash that could be guessed at.

use std::fmt;

use relive_storage::{Operation, Precondition, Read};

use super::PayloadError;
use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::id::InputHash;
use crate::index::{self, META};
use crate::value::Value;

/// What stands in the place of a redacted value.
pub const MASK: &str = "[redacted]";

/// Masks what the paths name (`token`, `user.password`). A path goes through the elements of a list, and ends where there
/// is nothing (`None`, an empty list).
///
/// # Errors
/// If a path names nothing: it is misspelled, or the field was not written.
pub fn mask(value: &mut Value, paths: &[&str]) -> Result<(), PayloadError> {
    paths.iter().try_for_each(|path| {
        let parts: Vec<_> = path.split('.').collect();
        if mask_one(value, &parts) {
            return Ok(());
        }
        Err(PayloadError::new(format!(
            "redact(…) names `{path}`, and there is no such argument or field: nothing is recorded rather than a secret"
        )))
    })
}

fn mask_one(value: &mut Value, path: &[&str]) -> bool {
    match (path, value) {
        ([], value) => {
            *value = Value::Text(MASK.to_owned());
            true
        }
        (_, Value::List(items)) => items.iter_mut().all(|item| mask_one(item, path)),
        ([name, rest @ ..], Value::Map(entries)) => {
            let named = entries.iter_mut().find(|(key, _)| matches!(key, Value::Text(text) if text == name));
            named.is_some_and(|(_, value)| mask_one(value, rest))
        }
        (_, Value::Null) => true,
        _ => false,
    }
}

/// 32 random bytes of a store's own: hashes of redacted arguments are made with them, so that nobody finds a value by
/// hashing guesses. Kept in the store itself: whoever has the whole store has it, too.
#[derive(Clone)]
pub struct RedactionKey([u8; 32]);

impl RedactionKey {
    /// A key of these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash of a canonical form under this key.
    pub fn hash(&self, canonical: &[u8]) -> InputHash {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&blake3::keyed_hash(&self.0, canonical).as_bytes()[..16]);
        InputHash::from_bytes(bytes)
    }
}

impl fmt::Debug for RedactionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedactionKey(…)")
    }
}

/// Where a store keeps its key, in the keyspace `meta`.
const KEY: &[u8] = b"redaction-key";

/// A store's key, if it has one.
///
/// # Errors
/// If the store cannot be read.
pub(crate) fn stored_key(store: &dyn Read) -> Result<Option<[u8; 32]>> {
    index::read(store, META, KEY)
}

/// The change that gives another store the key of this one, if it has one: for a copy in memory.
///
/// # Errors
/// If the store cannot be read.
pub fn copied_key(store: &dyn Read) -> Result<Option<Operation>> {
    stored_key(store)?.map(|key| put_key(&key)).transpose()
}

/// The change that gives a store this key.
pub(crate) fn put_key(key: &[u8; 32]) -> Result<Operation> {
    index::put(META, KEY.to_vec(), key)
}

/// A store's key, and what is to be written to keep it if it was drawn just now: with the write that counts the opening,
/// so that nothing is hashed with a key that is not durable.
///
/// # Errors
/// If the store cannot be read, or the operating system has no randomness.
pub fn redaction_key(
    store: &dyn Read,
    entropy: &dyn Entropy,
) -> Result<(RedactionKey, Option<(Precondition, Operation)>)> {
    if let Some(bytes) = stored_key(store)? {
        return Ok((RedactionKey(bytes), None));
    }
    let mut bytes = [0; 32];
    entropy
        .fill(&mut bytes)
        .map_err(|why| Error::new(ErrorKind::Storage, format!("no randomness for the store's redaction key: {why}")))?;
    let absent = Precondition::Absent { keyspace: META, key: KEY.to_vec() };
    let put = put_key(&bytes)?;
    Ok((RedactionKey(bytes), Some((absent, put))))
}
