//! The directory of a store: who may enter, and whether what is in there is ours.
//!
//! Used by `rocks` before it opens anything, and after each commit: is it still there? Holds `RELIVE` (one line: `relive store format N`), `LOCK` (locked for as
//! long as the store is open, with the holder's process id), `high-water` (see `guard`) and `db/` (RocksDB's).
//!
//! Invariant: nothing is created or changed in a directory that is not ours, and nothing but `LOCK` before the lock is
//! held. All that is in it is opened through `held`, so that lock and files are those of one directory.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind as IoKind, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::advice::advice;
use crate::held::{HeldDirectory, Identity, Names};
use crate::planted::{Planted, planted};
use crate::{Error, ErrorKind};

const MARKER: &str = "RELIVE";
const MARKER_NEW: &str = "RELIVE.new";
const LOCK: &str = "LOCK";
const DATABASE: &str = "db";
const MARKER_PREFIX: &str = "relive store format ";
/// A marker is one short line; a longer file is somebody else's.
const MARKER_BYTES_MAX: u64 = 64;

/// How many buffered commits do without a look at the path: 31. With it, each takes 8 µs longer, where one takes 21 to 33 µs;
/// without, no difference is to be seen (both on a busy machine, five levels below the root).
const LOOKS_LEFT_OUT: u32 = 31;

/// A file system's clock goes on by at least this much between two changes that it gives different times: 20 ms, twice the
/// longest tick of Linux.
const TICK_NANOSECONDS: i64 = 20_000_000;

/// A directory that was seen in its place.
#[derive(Debug)]
pub(crate) struct Seen {
    /// When it was changed last, long enough before that: another change has another time.
    changed: i64,
    left: u32,
}

/// A directory that this process holds for writing, until it is dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    held: HeldDirectory,
    database: HeldDirectory,
    /// Locked by the operating system: freed however the process ends.
    lock: File,
    lock_identity: Identity,
    lock_names: Names,
    /// Where the lock is found as long as the directory is in place.
    lock_path: PathBuf,
}

/// The directories that this process holds. A lock that is removed is no lock any more, and the one that RocksDB has keeps
/// only other processes away.
static TAKEN: Mutex<Vec<Identity>> = Mutex::new(Vec::new());

impl Drop for Directory {
    fn drop(&mut self) {
        let own = self.held.identity();
        TAKEN.lock().retain(|taken| *taken != own);
        // Closing the file is not enough: a child that another thread is just starting has a copy of it until it has
        // become its program. If it fails, the lock goes when the last copy does.
        let _ = self.lock.unlock();
    }
}

impl Directory {
    /// Takes the directory, and makes it a store if it is not there or empty. `format` is the newest that is known.
    pub(crate) fn take(path: &Path, format: u32) -> Result<Self, Error> {
        create(path)?;
        let held = HeldDirectory::open(path)?;
        let directory = Self::take_held(&held, format).map_err(|error| held.named(error))?;
        // Somebody may have moved it while it was opened: then another one may be at this path, and be taken beside it.
        directory.check()?;
        Ok(directory)
    }

    fn take_held(held: &HeldDirectory, format: u32) -> Result<Self, Error> {
        let path = held.by();
        recognize(path, format)?;
        let lock = lock(path)?;
        let metadata = lock.metadata().map_err(|error| access(&path.join(LOCK), "cannot be read", error))?;
        // Again: another process may have made a store of it between the look and the lock. An older store gets the
        // new number before anything is written by it, so that an older Relive does not misread what follows.
        if recognize(path, format)? != Some(format) {
            write_marker(path, format)?;
        }
        make(&path.join(DATABASE))?;
        // The marker's name and the database's at once. Whichever of them a power cut leaves is taken up again; and nothing
        // is in the database before this.
        sync(path)?;
        let database = database(held)?;
        take_alone(held)?;
        Ok(Self {
            held: held.clone(),
            database,
            lock,
            lock_identity: Identity::of(&metadata),
            lock_names: Names::of(&metadata),
            lock_path: held.path().join(LOCK),
        })
    }

    /// The directory itself.
    pub(crate) fn held(&self) -> &HeldDirectory {
        &self.held
    }

    /// Where RocksDB lives.
    pub(crate) fn database(&self) -> &HeldDirectory {
        &self.database
    }

    /// An error about something in it, told with the path that the user gave.
    pub(crate) fn named(&self, error: Error) -> Error {
        self.held.named(self.database.named(error))
    }

    /// An error if the directory is no longer the one at its path, or what makes it this process's own is not: nobody
    /// would find what is written to it, or others would write there, too. Where this user may not look at the path, it is enough
    /// that it was not removed.
    ///
    /// Two calls of the system's. The database's directory is in its place only if the one around it is, and the lock is what
    /// another process would take.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if planted(Planted::Unwatched) {
            return Ok(());
        }
        let is_locked = self.held.has_at(&self.lock_path, self.lock_identity, self.lock_names, || self.lock.metadata());
        match (is_locked, self.database.is_in_place()) {
            (Ok(true), Ok(true)) => Ok(()),
            (Err(error), _) | (_, Err(error)) => {
                Err(access(self.held.shown(), "it cannot be seen whether the store is still here", error))
            }
            (Ok(is_locked), _) => Err(self.displaced(is_locked)),
        }
    }

    /// The same at a commit that is only buffered, and which took a few microseconds: as long as the directory itself tells of no
    /// change, its path is looked at now and then. It tells when it is renamed or removed, and when what is in it is; not when
    /// one above it is renamed: then what is written is whole, and where that one is now.
    ///
    /// `written` is when the log was written just now, by the file system's clock.
    pub(crate) fn check_often(&self, seen: &mut Option<Seen>, written: Option<i64>) -> Result<(), Error> {
        let changed = if self.database.is_by_descriptor() { self.held.changed_at() } else { None };
        match seen {
            Some(seen) if seen.left > 0 && changed == Some(seen.changed) => {
                seen.left -= 1;
                return Ok(());
            }
            _ => {}
        }
        self.check()?;
        *seen = match (changed, written) {
            (Some(changed), Some(written)) if written.saturating_sub(changed) > TICK_NANOSECONDS => {
                Some(Seen { changed, left: LOOKS_LEFT_OUT })
            }
            _ => None,
        };
        Ok(())
    }

    /// What has happened to it, and what to do.
    fn displaced(&self, is_locked: bool) -> Error {
        let name = self.held.path().file_name().unwrap_or_default().to_string_lossy();
        let message = match (self.held.is_in_place(), self.held.moved_to()) {
            (Ok(true), _) if !is_locked => format!(
                "the file {LOCK} in it was removed or replaced while the store was open, so another process could open the \
                 store beside this one: see that none has, and open it again"
            ),
            (Ok(true), _) => format!(
                "the directory {DATABASE:?} in it was moved, replaced or removed while the store was open: put it back, or \
                 restore the store from a copy, and open it again"
            ),
            (_, Some(now)) => format!(
                "the directory was moved to {} while the store was open{}: open it there, or move it back and open it \
                 again",
                now.display(),
                if self.held.path().exists() { ", and another one is in its place" } else { "" }
            ),
            _ if self.held.path().exists() => format!(
                "the directory was moved away, removed or mounted over while the store was open, and another {name:?} is in \
                 its place: open the store where it is now, or restore it from a copy"
            ),
            _ => {
                "the directory was removed or moved away while the store was open: restore it from a copy, or open the \
                  store where it is now"
                    .to_owned()
            }
        };
        Error::new(ErrorKind::Displaced, message).at(self.held.shown())
    }
}

/// Where RocksDB lives in a store's directory.
pub(crate) fn database(directory: &HeldDirectory) -> Result<HeldDirectory, Error> {
    directory.child(DATABASE)
}

/// Takes note that this process has the directory, unless it has already.
fn take_alone(directory: &HeldDirectory) -> Result<(), Error> {
    let mut taken = TAKEN.lock();
    if cfg!(unix) && taken.contains(&directory.identity()) {
        let message =
            format!("this process has the store open, although its {LOCK} was replaced: shut that down first");
        return Err(Error::new(ErrorKind::InUse, message).at(directory.by()));
    }
    taken.push(directory.identity());
    Ok(())
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
        _ => advice(&error.to_string()),
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
    let said = std::str::from_utf8(&line).ok();
    let format = said.and_then(|line| line.strip_prefix(MARKER_PREFIX)?.strip_suffix('\n')?.parse().ok());
    match format {
        // There is no format 0, and each has one way to be written.
        Some(format) if format > 0 && said == Some(&marker_line(format)) => Ok(Some(format)),
        _ if path.join(DATABASE).join("CURRENT").exists() => {
            let why = format!(
                "it is damaged: there is a store, and this does not say which format it has. Restore the file from a copy, or \
                 write `{MARKER_PREFIX}N` into it, where N is the format of the Relive that wrote the store"
            );
            Err(Error::new(ErrorKind::Corrupt, why).at(&marker))
        }
        _ => {
            let expected = format!("{MARKER_PREFIX}N");
            let why = format!("{MARKER} does not say {expected:?}: use another directory, or restore the file");
            Err(not_a_store(path, &why))
        }
    }
}

fn marker_line(format: u32) -> String {
    format!("{MARKER_PREFIX}{format}\n")
}

/// Writes the marker. That it has its name survives power loss once the directory is synced.
fn write_marker(path: &Path, format: u32) -> Result<(), Error> {
    let new = path.join(MARKER_NEW);
    File::create(&new)
        .and_then(|mut file| {
            file.write_all(marker_line(format).as_bytes())?;
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

    #[cfg(target_os = "linux")]
    #[test]
    fn each_refusal_of_the_system_has_an_advice_of_its_own() {
        // As Linux numbers them.
        for (number, name, expected) in [
            (23, "ENFILE", "fs.file-max"),
            (24, "EMFILE", "ulimit -n"),
            (27, "EFBIG", "ulimit -f"),
            (28, "ENOSPC", "df -i"),
            (122, "EDQUOT", "quota"),
            (5, "EIO", "system's log"),
            (12, "ENOMEM", "memory"),
            (110, "ETIMEDOUT", "free space"),
        ] {
            let error = access(Path::new("/store"), "cannot be written", io::Error::from_raw_os_error(number));
            assert_eq!(error.kind(), ErrorKind::Io, "{name}");
            assert!(error.to_string().contains(expected), "{name}: {error}");
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
