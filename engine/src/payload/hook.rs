//! Hooks that seal payloads: to compress, to encrypt.
//!
//! An engine's hooks are registered when it opens, for the whole process and for good: payloads are also read where no
//! engine is at hand (`Payload::decode`, `inspect`).
//!
//! Invariant: one id, one name.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::PayloadError;
use crate::error::{Error, ErrorKind, Result};

/// Seals the bytes of payloads before they are stored, and opens them again: a compression, an encryption.
///
/// Hashes are made before: sealing need not give the same bytes twice.
pub trait PayloadHook: Send + Sync + 'static {
    /// Its number, which stands beside each payload that it sealed: 128 to 255. Never give it to another hook.
    fn id(&self) -> u8;

    /// What it is, and whatever else tells it from others: two hooks of one id and one name are taken for the same, so a
    /// name says which key it uses (`aes-gcm, key 7`), though not the key.
    fn name(&self) -> &str;

    /// Seals bytes.
    ///
    /// # Errors
    /// A message for an operator, if it cannot. The value is then not recorded.
    fn seal(&self, bytes: &[u8]) -> Result<Vec<u8>, String>;

    /// The bytes that were sealed.
    ///
    /// # Errors
    /// A message for an operator, if these are not what it sealed. Let it find that out itself (a checksum, an
    /// authenticated cipher): what it returns is taken for the value.
    fn open(&self, bytes: &[u8]) -> Result<Vec<u8>, String>;
}

/// Ids below are for what Relive itself may come to do.
const ID_MIN: u8 = 128;

static HOOKS: RwLock<BTreeMap<u8, Arc<dyn PayloadHook>>> = RwLock::new(BTreeMap::new());

/// Makes payloads that this hook sealed readable in this process. A second of the same id and name takes its place.
///
/// # Errors
/// Of kind `Unsupported` if the id is below 128; of kind `DuplicateName` if another hook has it.
pub fn register(hook: &Arc<dyn PayloadHook>) -> Result<()> {
    let (id, name) = (hook.id(), hook.name());
    if id < ID_MIN {
        let why = format!("payload hook `{name}` has id {id}: those from {ID_MIN} to 255 are for hooks");
        return Err(Error::new(ErrorKind::Unsupported, why));
    }
    let mut hooks = HOOKS.write();
    if let Some(other) = hooks.get(&id)
        && other.name() != name
    {
        let other = other.name();
        let why = format!(
            "two payload hooks have id {id}, `{other}` and `{name}`: logs tell them apart by it, so give one another \
             (hooks are registered for the whole process)"
        );
        return Err(Error::new(ErrorKind::DuplicateName, why));
    }
    hooks.insert(id, Arc::clone(hook));
    Ok(())
}

pub(super) fn seal(hook: &dyn PayloadHook, bytes: &[u8]) -> Result<Vec<u8>, PayloadError> {
    hook.seal(bytes).map_err(|why| PayloadError::new(format!("payload hook `{}` cannot seal it: {why}", hook.name())))
}

pub(super) fn open(id: u8, bytes: &[u8]) -> Result<Vec<u8>, PayloadError> {
    let Some(hook) = HOOKS.read().get(&id).map(Arc::clone) else {
        return Err(PayloadError::new(format!(
            "it is sealed by payload hook {id}, which this program does not have: give it to the engine's builder, by \
             payload_hook_for_reading(…)"
        )));
    };
    hook.open(bytes).map_err(|why| PayloadError::new(format!("payload hook `{}` cannot open it: {why}", hook.name())))
}
