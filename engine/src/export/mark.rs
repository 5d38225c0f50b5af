//! The mark on a run whose fields were replaced when it was exported: whoever replays it is told.
//!
//! Written by `import` beside the run; read where a replay does not fit.
//!
//! Invariant: a run without a mark is as it was recorded.

use relive_storage::Read;

use crate::error::{Error, ErrorKind, Result};
use crate::id::RunId;
use crate::index::{self, META};

/// What the keys of marks begin with, in the keyspace `meta`; the run's id follows.
pub(crate) const MARK: &[u8] = b"redacted:";

/// The key of a run's mark.
pub(crate) fn mark_key(run: RunId) -> Vec<u8> {
    [MARK, run.as_bytes()].concat()
}

/// The fields of a run whose values were replaced when it was exported, as they were named then. Empty for a run that is as
/// it was recorded.
///
/// # Errors
/// If the store cannot be read.
pub fn redacted(store: &dyn Read, run: RunId) -> Result<Vec<String>> {
    Ok(index::read(store, META, &mark_key(run))?.unwrap_or_default())
}

/// An error of a replay, with what may be the reason: that the run is not as it was recorded.
pub(crate) fn excuse(store: &dyn Read, run: RunId, error: Error) -> Error {
    if !matches!(error.kind(), ErrorKind::Diverged | ErrorKind::Payload) {
        return error;
    }
    match redacted(store, run) {
        Ok(fields) if !fields.is_empty() => {
            let fields = fields.join("`, `");
            error.with_note(&format!(
                "the fields `{fields}` of this run were redacted when it was exported, so the code may well fit what was \
                 recorded"
            ))
        }
        _ => error,
    }
}
