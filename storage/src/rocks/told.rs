//! What RocksDB says went wrong, told for people: which file it is about, and what to do.
//!
//! Used by `database` for every error of RocksDB's. Names no RocksDB: it reads what it said.
//!
//! Invariant: a file that is named is one that is damaged or missing.

use std::path::Path;

use crate::advice::advice;
use crate::directory::access;
use crate::guard::DamagedBlob;
use crate::{Error, ErrorKind};

/// The error for what RocksDB said. `shown` is the directory as people know it, `by` as it is opened;
/// `damaged` is what is known of its blob files.
pub(super) fn told(said: &str, is_damage: bool, shown: &Path, by: &Path, damaged: &DamagedBlob) -> Error {
    // It says so also where the directory could not be looked at.
    if said.contains("exists but is not a directory") {
        return match std::fs::metadata(by) {
            Err(error) => access(shown, "cannot be opened", error),
            Ok(metadata) if metadata.is_dir() => {
                let why = "it could not be looked at a moment ago (Input/output error, or the like)";
                Error::new(ErrorKind::Io, format!("{why}: {}", advice("Input/output error"))).at(shown)
            }
            Ok(_) => Error::new(ErrorKind::Io, format!("RocksDB: {said}: put the directory back")).at(shown),
        };
    }
    let is_missing = said.contains("No such file or directory");
    let file = file(said).map(|name| shown.join(name)).filter(|_| is_damage || is_missing);
    // Of a blob it says no more than that.
    let file = file.or_else(|| match is_damage && is_of_blob(said) {
        true => damaged.name(by).map(|name| shown.join(name)),
        false => None,
    });
    let (kind, what) = match (is_damage, is_missing) {
        (true, false) => (ErrorKind::Corrupt, "it is damaged: restore the store from a copy"),
        (true, true) => (ErrorKind::Corrupt, "it is missing: restore the store from a copy"),
        (false, _) => (ErrorKind::Io, "it is missing: if nobody has the store open, restore it from a copy"),
    };
    match file {
        Some(file) => Error::new(kind, format!("{what} (RocksDB: {})", without_guess(said))).at(&file),
        None if without_guess(said) != said => {
            let said = without_guess(said);
            let why =
                format!("a table is damaged, it is not said which (RocksDB: {said}): restore the store from a copy");
            Error::new(ErrorKind::Corrupt, why).at(shown)
        }
        None if is_damage && is_of_blob(said) => {
            let why = format!(
                "a blob file is damaged, it is not said which (RocksDB: {said}): restore the store from a copy"
            );
            Error::new(ErrorKind::Corrupt, why).at(shown)
        }
        None if is_damage => {
            Error::new(ErrorKind::Corrupt, format!("RocksDB: {said}: restore the store from a copy")).at(shown)
        }
        None => {
            let advice = advice(said);
            Error::new(ErrorKind::Io, format!("RocksDB: {said}: {advice}, and open the store again")).at(shown)
        }
    }
}

fn is_of_blob(said: &str) -> bool {
    ["blob", "Blob", "Column family ID mismatch"].iter().any(|words| said.contains(words))
}

/// The table or blob file that is named.
fn file(said: &str) -> Option<&str> {
    let is_data = |name: &&str| name.ends_with(".sst") || name.ends_with(".blob");
    said.split(|letter: char| letter.is_whitespace() || "/:;,'\"`".contains(letter)).find(is_data)
}

/// Whatever it was reading when it found a damaged table, RocksDB adds that the MANIFEST, which lists the table, may be
/// damaged. That is whole: `guard` has read it.
fn without_guess(said: &str) -> &str {
    match said.find(" The file ") {
        Some(at) if said[at..].trim_end().ends_with("may be corrupted.") => said[..at].trim_end(),
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// For tests: the file that an error is about.
    fn named(said: &str, is_damage: bool) -> (ErrorKind, PathBuf, String) {
        let nowhere = Path::new("/nowhere/db");
        let error = told(said, is_damage, nowhere, nowhere, &DamagedBlob::default());
        (error.kind(), error.path().map(Path::to_owned).unwrap_or_default(), error.to_string())
    }

    #[test]
    fn a_damaged_table_is_named_and_the_list_of_tables_is_not() {
        // As RocksDB 11.8.1 says it.
        let said = "Corruption: block checksum mismatch: stored = 1, computed = 2, type = 4  in /s/db/000008.sst offset 172 \
                    size 1098, block_type = Properties  The file /s/db/MANIFEST-000017 may be corrupted.";
        let (kind, path, message) = named(said, true);
        assert_eq!((kind, path.as_path()), (ErrorKind::Corrupt, Path::new("/nowhere/db/000008.sst")));
        assert!(message.contains("block_type = Properties") && !message.contains("MANIFEST"), "{message}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let said = "IO error: No such file or directory: While open a file for random read: /s/db/000009.blob: No such file \
                    or directory";
        let (kind, path, message) = named(said, false);
        assert_eq!((kind, path.as_path()), (ErrorKind::Io, Path::new("/nowhere/db/000009.blob")));
        assert!(message.contains("missing") && !message.contains("free space"), "{message}");
    }

    #[test]
    fn what_the_system_refused_has_its_advice() {
        for (said, expected) in [
            (
                "IO error: No space left on device: While appending to file: /s/db/000004.log: No space left on device",
                "df",
            ),
            (
                "IO error: Too many open files: While open a file for appending: /s/db/000012.sst: Too many open files",
                "ulimit -n",
            ),
            ("IO error: File too large: While appending to file: /s/db/000004.log: File too large", "ulimit -f"),
            ("IO error: Disk quota exceeded: While appending to file: /s/db/000004.log: Disk quota exceeded", "quota"),
            ("IO error: While fsync: /s/db/000004.log: Input/output error", "system's log"),
            ("IO error: something else", "free space"),
        ] {
            let (kind, path, message) = named(said, false);
            assert_eq!((kind, path.as_path()), (ErrorKind::Io, Path::new("/nowhere/db")));
            assert!(message.contains(expected) && message.contains("open the store again"), "{message}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_looked_at_is_not_told_as_a_file() {
        let said = "IO error: `/nowhere/db' exists but is not a directory";
        let (_, _, message) = named(said, false);
        assert!(message.contains("No such file or directory"), "{message}");
        let there = tempfile::tempdir().expect("a temporary directory");
        let error = told(said, false, there.path(), there.path(), &DamagedBlob::default());
        assert!(error.to_string().contains("could not be looked at"), "{error}");
    }
}
