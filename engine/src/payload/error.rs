//! Why a value could not be recorded or read back, and which of its fields is to blame.

use std::fmt;

/// A value that could not be written as a payload or read back; `Display` says why and, where known, which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadError {
    field: Option<String>,
    why: String,
}

/// Longest path of a field that is told: 200 characters. Deeper ones are of types that repeat themselves.
const FIELD_CHARACTERS_MAX: usize = 200;

impl PayloadError {
    /// A value that cannot be written or read back, for this reason.
    pub fn new(why: impl Into<String>) -> Self {
        Self { field: None, why: why.into() }
    }

    /// An error within a field: `user.tags[3]`. Empty: the value itself.
    pub(crate) fn at(field: impl Into<String>, why: impl Into<String>) -> Self {
        let mut field = field.into();
        if let Some((at, _)) = field.char_indices().nth(FIELD_CHARACTERS_MAX) {
            field.truncate(at);
            field.push('…');
        }
        Self { field: Some(field).filter(|field| !field.is_empty()), why: why.into() }
    }

    /// Code of the value's type panicked when it was `done` something to (`read back`); `why` is what it said.
    pub fn panicked(done: &str, why: &str) -> Self {
        Self::new(format!("its type's own code panicked when it was {done}: {why}"))
    }

    pub(crate) fn why(&self) -> &str {
        &self.why
    }

    /// The path of the field that is to blame (`user.tags[3]`), where it is known and is not the value itself.
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "field `{field}`: ")?;
        }
        f.write_str(&self.why)
    }
}

impl std::error::Error for PayloadError {}

/// Reads once more, with an eye on where it fails. Only after a failure, so that reading costs nothing more.
pub(crate) fn explain<'de, D, T>(deserializer: D, failed: &impl fmt::Display) -> PayloadError
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    match serde_path_to_error::deserialize::<D, T>(deserializer) {
        Ok(_) => PayloadError::new(failed.to_string()),
        Err(error) => {
            let path = error.path().to_string();
            // Without a field, serde's path is a dot; a part it does not know is a question mark, and no help.
            let known = !path.split('.').any(|part| part.is_empty() || part == "?");
            PayloadError::at(if known { path } else { String::new() }, error.inner().to_string())
        }
    }
}

/// Refuses a value behind which bytes are left over: they were not of its type.
pub(crate) fn exact<T>(value: T, rest: usize) -> Result<T, PayloadError> {
    if rest == 0 {
        return Ok(value);
    }
    let bytes = if rest == 1 { "byte is" } else { "bytes are" };
    Err(PayloadError::new(format!("{rest} {bytes} left over behind the value: it was written as another type")))
}
