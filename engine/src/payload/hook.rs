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
use crate::error::{Error, ErrorKind, Result, cut};
use crate::panic::{catch, drop_quietly};

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

type Named = (String, Arc<dyn PayloadHook>);

static HOOKS: RwLock<BTreeMap<u8, Named>> = RwLock::new(BTreeMap::new());

/// Makes payloads that this hook sealed readable in this process. A second of the same id and name takes its place.
///
/// # Errors
/// Of kind `Unsupported` if the id is below 128; of kind `DuplicateName` if another hook has it.
pub fn register(hook: &Arc<dyn PayloadHook>) -> Result<()> {
    let called = catch(|| (hook.id(), hook.name().to_owned()));
    let (id, name) = called.map_err(|why| {
        Error::new(
            ErrorKind::Unsupported,
            format!("a payload hook panicked when it was asked for its id and name: {why}"),
        )
    })?;
    if id < ID_MIN {
        let why = format!("payload hook `{name}` has id {id}: those from {ID_MIN} to 255 are for hooks");
        return Err(Error::new(ErrorKind::Unsupported, why));
    }
    let mut hooks = HOOKS.write();
    if let Some((other, _)) = hooks.get(&id)
        && *other != name
    {
        let why = format!(
            "two payload hooks have id {id}, `{other}` and `{name}`: logs tell them apart by it, so give one another \
             (hooks are registered for the whole process)"
        );
        return Err(Error::new(ErrorKind::DuplicateName, why));
    }
    let before = hooks.insert(id, (name, Arc::clone(hook)));
    drop(hooks);
    drop_quietly(before);
    Ok(())
}

pub(super) fn seal(hook: &dyn PayloadHook, bytes: &[u8]) -> Result<Vec<u8>, PayloadError> {
    called(|| hook.name().to_owned(), "seal", || hook.seal(bytes))
}

pub(super) fn open(id: u8, bytes: &[u8]) -> Result<Vec<u8>, PayloadError> {
    let Some((name, hook)) = HOOKS.read().get(&id).cloned() else {
        return Err(PayloadError::new(format!(
            "it is sealed by payload hook {id}, which this program does not have: give it to the engine's builder, by \
             payload_hook_for_reading(…)"
        )));
    };
    called(|| name, "open", || hook.open(bytes))
}

/// Calls a hook, which is the program's code: an error or a panic of it names it.
fn called(
    name: impl FnOnce() -> String,
    done: &str,
    call: impl FnOnce() -> Result<Vec<u8>, String>,
) -> Result<Vec<u8>, PayloadError> {
    let why = match catch(call) {
        Ok(Ok(bytes)) => return Ok(bytes),
        Ok(Err(why)) => format!("cannot {done} it: {why}"),
        Err(why) => format!("panicked when it was to {done} it: {why}"),
    };
    let name = catch(name).unwrap_or_else(|_| "(its name panics)".to_owned());
    Err(PayloadError::new(cut(format!("payload hook `{name}` {why}"))))
}
