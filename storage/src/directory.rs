//! The directory of a store: who may enter, and whether what is in there is ours.
//!
//! Used by `rocks` before it opens anything. Holds `RELIVE` (one line: `relive store format N`), `LOCK` (locked for as
//! long as the store is open, with the holder's process id), `high-water` (see `guard`) and `db/` (RocksDB's).
//!
//! Invariant: nothing is created or changed in a directory that is not ours, and nothing but `LOCK` before the lock is
//! held.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind as IoKind, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::{Error, ErrorKind};

const MARKER: &str = "RELIVE";
const MARKER_NEW: &str = "RELIVE.new";
const LOCK: &str = "LOCK";
const DATABASE: &str = "db";
const MARKER_PREFIX: &str = "relive store format ";
/// A marker is one short line; a longer file is somebody else's.
const MARKER_BYTES_MAX: u64 = 64;

/// A directory that this process holds for writing, until it is dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Locked by the operating system: freed however the process ends.
    lock: File,
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that another thread is just starting has a copy of it until it has
        // become its program. If it fails, the lock goes when the last copy does.
        let _ = self.lock.unlock();
    }
}

impl Directory {
    /// Takes the directory, and makes it a store if it is not there or empty. `format` is the newest that is known.
    pub(crate) fn take(path: &Path, format: u32) -> Result<Self, Error> {
        create(path)?;
        recognize(path, format)?;
        let lock = lock(path)?;
        // Again: another process may have made a store of it between the look and the lock. An older store gets the
        // new number before anything is written by it, so that an older Relive does not misread what follows.
        if recognize(path, format)? != Some(format) {
            write_marker(path, format)?;
        }
        make(&path.join(DATABASE))?;
        // The marker's name and the database's at once. Whichever of them a power cut leaves is taken up again; and nothing
        // is in the database before this.
        sync(path)?;
        Ok(Self { path: path.to_owned(), lock })
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where RocksDB lives.
    pub(crate) fn database(&self) -> PathBuf {
        database(&self.path)
    }
}

/// Where RocksDB lives in a store's directory.
pub(crate) fn database(path: &Path) -> PathBuf {
    path.join(DATABASE)
}

/// The format of the store that is there, at most `format`; `None` if the directory holds nothing but what an
/// interrupted creation leaves. Changes nothing.
pub(crate) fn recognize(path: &Path, format: u32) -> Result<Option<u32>, Error> {
    match read_marker(path)? {
        Some(found) if found <= format => Ok(Some(found)),
        Some(found) => Err(Error::new(
            ErrorKind::NewerFormat,
            format!(
                "the store has format {found}, and this Relive knows formats up to {format}: open it with a newer one"
            ),
        )
        .at(path)),
        None => {
            let entries = fs::read_dir(path).map_err(|error| access(path, "cannot be listed", error))?;
            for entry in entries {
                let entry = entry.map_err(|error| access(path, "cannot be listed", error))?;
                let name = entry.file_name();
                let ours = name == LOCK
                    || name == MARKER_NEW
                    || (name == DATABASE && fs::read_dir(entry.path()).is_ok_and(|mut inner| inner.next().is_none()));
                if !ours {
                    return Err(not_a_store(
                        path,
                        &format!(
                            "the directory holds {name:?} and no {MARKER} file, so it is not a Relive store: use an \
                             empty directory or one that does not exist"
                        ),
                    ));
                }
            }
            Ok(None)
        }
    }
}

/// That a store was expected here, and is not.
pub(crate) fn not_a_store(path: &Path, message: &str) -> Error {
    Error::new(ErrorKind::NotAStore, message).at(path)
}

/// An input or output error, by what can be done about it.
pub(crate) fn access(path: &Path, what: &str, error: io::Error) -> Error {
    let kind = match error.kind() {
        // A path that leads through a file can no more be created than one that is forbidden.
        IoKind::PermissionDenied | IoKind::ReadOnlyFilesystem | IoKind::NotADirectory => ErrorKind::Permission,
        _ => ErrorKind::Io,
    };
    let advice = match kind {
        ErrorKind::Permission => "use a directory that this user may create, read and write",
        _ => "look at the disk and its free space",
    };
    Error::new(kind, format!("{what} ({error}): {advice}")).at(path).caused_by(error)
}

/// Makes what was created, renamed or removed in this directory survive power loss.
pub(crate) fn sync(path: &Path) -> Result<(), Error> {
    // Only Unix lets a directory be opened and synced; elsewhere the file system orders it by itself.
    if cfg!(unix) {
        File::open(path).and_then(|file| file.sync_all()).map_err(|error| access(path, "cannot be synced", error))?;
    }
    Ok(())
}

/// Creates a directory and those above it, for this user alone, and makes their names survive power loss.
fn create(path: &Path) -> Result<(), Error> {
    if is_there(path)? {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create(parent)?;
    if make(path)? { sync(parent) } else { Ok(()) }
}

/// Whether there is such a directory; an error if something else is there, or if the path can lead to none.
pub(crate) fn is_there(path: &Path) -> Result<bool, Error> {
    if path.as_os_str().is_empty() {
        return Err(Error::new(ErrorKind::NotAStore, "the path of the store is empty: give a directory's, as ./data"));
    }
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(true),
        Ok(_) => Err(not_a_store(path, "this is a file: a store is a directory, so use another path")),
        Err(error) => match fs::read_link(path) {
            Ok(to) => {
                let why = format!("this is a link to {}, which leads to no directory ({error})", to.display());
                Err(not_a_store(path, &format!("{why}: make that directory, or use another path")).caused_by(error))
            }
            Err(_) if error.kind() == IoKind::NotFound => Ok(false),
            Err(_) if matches!(error.kind(), IoKind::InvalidInput | IoKind::InvalidFilename) => {
                let why = format!("no directory can have this path ({error}): use another");
                Err(not_a_store(path, &why).caused_by(error))
            }
            Err(_) => Err(access(path, "cannot be opened", error)),
        },
    }
}

/// Creates a directory, for this user alone, in one that is there. Says whether it was not there; then its name does not
/// survive power loss yet.
fn make(path: &Path) -> Result<bool, Error> {
    if is_there(path)? {
        return Ok(false);
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        // Somebody else was faster, and syncs it.
        Err(error) if error.kind() == IoKind::AlreadyExists => Ok(false),
        Err(error) => Err(access(path, "cannot be created", error)),
        Ok(()) => Ok(true),
    }
}

fn lock(path: &Path) -> Result<File, Error> {
    let lock = path.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock)
        .map_err(|error| access(&lock, "cannot be opened", error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message: the lock is what counts.
            let _ = file.take(32).read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                id => format!("process {id}"),
            };
            return Err(Error::new(
                ErrorKind::InUse,
                format!("{holder} has the store open: stop it, read the store without opening it, or use another one"),
            )
            .at(path));
        }
        Err(TryLockError::Error(error)) => return Err(access(&lock, "cannot be locked", error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|error| access(&lock, "cannot be written", error))?;
    Ok(file)
}

fn read_marker(path: &Path) -> Result<Option<u32>, Error> {
    let marker = path.join(MARKER);
    let mut line = Vec::new();
    match File::open(&marker) {
        Ok(file) => {
            file.take(MARKER_BYTES_MAX)
                .read_to_end(&mut line)
                .map_err(|error| access(&marker, "cannot be read", error))?;
        }
        Err(error) if error.kind() == IoKind::NotFound => return Ok(None),
        Err(error) => return Err(access(&marker, "cannot be opened", error)),
    }
    std::str::from_utf8(&line)
        .ok()
        .and_then(|line| line.strip_prefix(MARKER_PREFIX)?.strip_suffix('\n')?.parse().ok())
        .map(Some)
        .ok_or_else(|| {
            let expected = format!("{MARKER_PREFIX}N");
            not_a_store(
                path,
                &format!("{MARKER} does not say {expected:?}: use another directory, or restore the file"),
            )
        })
}

/// Writes the marker. That it has its name survives power loss once the directory is synced.
fn write_marker(path: &Path, format: u32) -> Result<(), Error> {
    let new = path.join(MARKER_NEW);
    File::create(&new)
        .and_then(|mut file| {
            writeln!(file, "{MARKER_PREFIX}{format}")?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path.join(MARKER)))
        .map_err(|error| access(&new, "cannot be written", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_forbids_is_about_permission_and_the_rest_about_the_disk() {
        let kind = |kind: IoKind| access(Path::new("/store"), "cannot be created", kind.into()).kind();
        for forbidden in [IoKind::PermissionDenied, IoKind::ReadOnlyFilesystem, IoKind::NotADirectory] {
            assert_eq!(kind(forbidden), ErrorKind::Permission);
        }
        for failed in [IoKind::StorageFull, IoKind::QuotaExceeded, IoKind::Other] {
            assert_eq!(kind(failed), ErrorKind::Io);
        }
    }

    #[test]
    fn a_directory_is_held_until_it_is_dropped() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let held = Directory::take(parent.path(), 1).expect("it is empty");
        assert_eq!(Directory::take(parent.path(), 1).expect_err("it is held").kind(), ErrorKind::InUse);
        drop(held);
        assert!(Directory::take(parent.path(), 1).is_ok());
        assert_eq!(recognize(parent.path(), 1).expect("it is a store"), Some(1));
    }

    #[test]
    fn a_path_that_leads_to_no_directory_is_said_to_and_the_disk_is_not_blamed() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let refused = |path: &Path, why: &str| {
            for error in [
                Directory::take(path, 1).map(drop).expect_err("there is none"),
                crate::RocksReader::open(path, 1).map(drop).expect_err("there is none"),
            ] {
                let text = error.to_string();
                assert!(text.contains(why) && !text.contains("free space"), "{text}");
                assert_eq!(error.kind(), ErrorKind::NotAStore, "{text}");
            }
        };
        refused(Path::new(""), "the path of the store is empty");
        refused(&parent.path().join("a\0b"), "no directory can have this path");
        refused(&parent.path().join("a\0b/c"), "no directory can have this path");
        refused(&parent.path().join("x".repeat(5000)), "no directory can have this path");
        #[cfg(unix)]
        for (name, to) in [("dangling", "nowhere"), ("loop", "loop")] {
            let link = parent.path().join(name);
            std::os::unix::fs::symlink(parent.path().join(to), &link).expect("made");
            refused(&link, "this is a link to ");
        }
    }
}
