//! RocksDB's list of its files, the MANIFEST: which one counts, and how long it is.
//!
//! Used by `guard`. A MANIFEST is a row of frames as a log is (`frames`), and one that is shorter than it was names fewer
//! files: RocksDB by itself opens without the others, and removes them.
//!
//! Invariant: a length that was told was synced before.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::removed;
use crate::directory::access;
use crate::held::Names;
use crate::{Error, ErrorKind};

const CURRENT: &str = "CURRENT";
const PREFIX: &str = "MANIFEST-";
/// `CURRENT` is one short line; a longer file was not written by RocksDB.
const CURRENT_BYTES_MAX: u64 = 64;

/// The MANIFEST that counts: its number and where it is. `None` in a directory whose database was never completed.
pub(super) fn current(database: &Path) -> Result<Option<(u64, PathBuf)>, Error> {
    let path = database.join(CURRENT);
    let mut line = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(CURRENT_BYTES_MAX).read_to_end(&mut line),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(access(&path, "cannot be opened", error)),
    }
    .map_err(|error| access(&path, "cannot be read", error))?;
    let name = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix('\n'));
    let number = name.and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
    match (name, number) {
        (Some(name), Some(number)) => Ok(Some((number, database.join(name)))),
        _ => Err(Error::new(ErrorKind::Corrupt, "it names no MANIFEST: restore the store from a copy").at(&path)),
    }
}

/// The MANIFEST of an open database.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) number: u64,
    /// So many bytes are synced.
    pub(super) bytes: u64,
    file: File,
    names: Names,
    path: PathBuf,
}

impl Manifest {
    /// The one that counts now.
    pub(super) fn open(database: &Path) -> Result<Self, Error> {
        let (number, path) = current(database)?.ok_or_else(|| removed(&database.join(CURRENT)))?;
        let file = File::open(&path).map_err(|error| access(&path, "cannot be opened", error))?;
        let metadata = file.metadata().map_err(|error| access(&path, "cannot be read", error))?;
        let mut manifest = Self { number, bytes: 0, file, names: Names::of(&metadata), path };
        manifest.follow(database)?;
        Ok(manifest)
    }

    /// An error if it was removed, and no other one counts.
    pub(super) fn check(&self, database: &Path) -> Result<(), Error> {
        let metadata = self.file.metadata().map_err(|error| access(&self.path, "cannot be read", error))?;
        if self.names.are_gone(&metadata) { self.is_followed(database) } else { Ok(()) }
    }

    /// RocksDB replaces one that has become too long.
    fn is_followed(&self, database: &Path) -> Result<(), Error> {
        let next = current(database)?.filter(|(number, path)| *number > self.number && path.exists());
        next.map_or_else(|| Err(removed(&self.path)), |_| Ok(()))
    }

    /// Takes note of what was appended since. It is synced here: RocksDB may be about to, and a mark that is ahead of what
    /// a power cut leaves would call a whole store damaged. That happens once per flush or compaction.
    pub(super) fn follow(&mut self, database: &Path) -> Result<(), Error> {
        let metadata = self.file.metadata().map_err(|error| access(&self.path, "cannot be read", error))?;
        if self.names.are_gone(&metadata) {
            self.is_followed(database)?;
        }
        let bytes = metadata.len();
        if bytes != self.bytes {
            self.file.sync_data().map_err(|error| access(&self.path, "cannot be synced", error))?;
            self.bytes = bytes;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_that_counts_is_the_one_that_current_names() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let named = || current(directory.path());
        assert_eq!(named().expect("no error"), None);
        std::fs::write(directory.path().join(CURRENT), "MANIFEST-000012\n").expect("writable");
        assert_eq!(named().expect("no error"), Some((12, directory.path().join("MANIFEST-000012"))));
        for damaged in ["", "\n", "MANIFEST-000012", "MANIFEST-\n", "MANIFEST-00001x\n", "NANIFEST-000012\n"] {
            std::fs::write(directory.path().join(CURRENT), damaged).expect("writable");
            let error = named().expect_err("it names none");
            assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(&*directory.path().join(CURRENT))));
        }
    }

    #[test]
    fn a_manifest_is_followed_as_it_grows() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join(CURRENT), "MANIFEST-000007\n").expect("writable");
        assert!(Manifest::open(directory.path()).is_err(), "there is none");
        std::fs::write(directory.path().join("MANIFEST-000007"), "frames").expect("writable");
        let mut manifest = Manifest::open(directory.path()).expect("it is there");
        assert_eq!((manifest.number, manifest.bytes), (7, 6));
        std::fs::write(directory.path().join("MANIFEST-000007"), "frames and more").expect("writable");
        manifest.follow(directory.path()).expect("it is there");
        assert_eq!(manifest.bytes, 15);
        let other = directory.path().join("MANIFEST-000009");
        std::fs::write(&other, "frames").expect("writable");
        std::fs::remove_file(directory.path().join("MANIFEST-000007")).expect("it was there");
        assert_eq!(manifest.check(directory.path()).expect_err("it is gone").kind(), ErrorKind::Displaced);
        assert_eq!(manifest.follow(directory.path()).expect_err("it is gone").kind(), ErrorKind::Displaced);
        std::fs::write(directory.path().join(CURRENT), "MANIFEST-000009\n").expect("writable");
        manifest.check(directory.path()).expect("another one counts");
    }
}
