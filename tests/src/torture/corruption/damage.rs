//! What is done to which file of a store: a flipped bit, a cut, a deletion.
//!
//! Used by `corruption`.
//!
//! Invariant: a case changes the bytes of one file, and of nothing else.

use std::fmt;
use std::path::{Path, PathBuf};

use super::CorruptionOptions;
use super::base::{Base, is_log};
use crate::torture::chance::Chance;

/// So many bytes and lengths at both ends of a file are always taken: headers and footers. Fewer in a short sweep.
const ENDS_MAX: usize = 8;

/// One case.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// Relative to the store.
    pub(super) file: PathBuf,
    pub(super) damage: Damage,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Damage {
    Flip { byte: usize, bit: u8 },
    Cut { length: usize },
    Delete,
}

impl Damage {
    /// The bytes of the damaged file; `None` if it is gone.
    pub(super) fn apply(self, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Self::Flip { byte, bit } => bytes[byte] ^= 1 << bit,
            Self::Cut { length } => bytes.truncate(length),
            Self::Delete => return None,
        }
        Some(bytes)
    }
}

impl Case {
    /// The kind of the file, for the report.
    pub(super) fn kind(&self) -> &'static str {
        kind(&self.file)
    }
}

fn kind(file: &Path) -> &'static str {
    let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let extension = file.extension().map(|extension| extension.to_string_lossy()).unwrap_or_default();
    match (extension.as_ref(), name.split('-').next().unwrap_or_default()) {
        ("log", _) => "write-ahead log",
        ("sst", _) => "table",
        ("blob", _) => "blob file",
        (_, "MANIFEST") => "MANIFEST",
        (_, "OPTIONS") => "OPTIONS",
        (_, "high") => "high-water",
        (_, "RELIVE") => "RELIVE",
        (_, "CURRENT") => "CURRENT",
        _ => "other files (LOCK, LOG, IDENTITY)",
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match self.damage {
            Damage::Flip { byte, bit } => write!(f, "{file}: bit {bit} of byte {byte} flipped"),
            Damage::Cut { length } => write!(f, "{file}: cut to {length} bytes"),
            Damage::Delete => write!(f, "{file}: deleted"),
        }
    }
}

/// All cases of a store.
pub(super) fn cases(base: &Base, options: &CorruptionOptions) -> relive::Result<Vec<Case>> {
    let mut chance = Chance::new(options.seed);
    let mut cases = Vec::new();
    let ends = ENDS_MAX.min(2 * options.other_count);
    for (file, bytes) in base.files()? {
        let every = if is_log(&file) { options.log_every } else { bytes / options.other_count.max(1) };
        let every = every.max(1);
        // Not always the same ones of those between; and both ends, where headers and footers are.
        let first = usize::try_from(chance.below(every as u64)).unwrap_or(0);
        let mut places: Vec<usize> = (first..bytes).step_by(every).collect();
        places.extend((0..ends.min(bytes)).chain(bytes.saturating_sub(ends)..bytes));
        places.sort_unstable();
        places.dedup();
        for byte in &places {
            let bit = u8::try_from(chance.below(8)).unwrap_or(0);
            cases.push(Case { file: file.clone(), damage: Damage::Flip { byte: *byte, bit } });
        }
        cases.extend(places.iter().map(|length| Case { file: file.clone(), damage: Damage::Cut { length: *length } }));
        cases.push(Case { file, damage: Damage::Delete });
    }
    Ok(cases)
}
