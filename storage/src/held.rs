//! A directory that is held: what is in it is found whatever becomes of its path.
//!
//! Used by `directory`, `rocks` and `guard`, and by the engine's socket. On Linux all that is in it is opened through its descriptor
//! (`/proc/self/fd/N`), which stays with the directory when that is renamed, and is never led to another one that is made in
//! its place. Elsewhere, and where `/proc` is not mounted, by its path without links, as it was when it was opened.
//!
//! Invariant: nobody reads `/proc/self/fd/N` in a message: what goes out is told with the path that the user gave.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::directory::access;

/// A directory that is held for as long as this or a clone of it is there. It may be held by many; who may write in it is
/// another matter.
#[derive(Clone, Debug)]
pub struct HeldDirectory(Arc<Held>);

#[derive(Debug)]
struct Held {
    /// Keeps the descriptor. Where there is none, `None`.
    file: Option<File>,
    identity: Identity,
    names: Names,
    /// By what everything in it is opened.
    by: PathBuf,
    /// Where it was found, without links, as far as that can be told.
    path: PathBuf,
    /// Its path as the user gave it, from the root on.
    shown: PathBuf,
}

/// Which file or directory it is, whatever its name: never that of another one as long as it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    #[cfg(unix)]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Where files have no number that can be asked for, all are one. There the system lets nobody rename or remove what is
    /// open.
    #[cfg(not(unix))]
    pub(crate) fn of(_: &Metadata) -> Self {
        Self { device: 0, inode: 0 }
    }
}

/// When a file was written to last, and when it, its name or what is in it was changed last: in nanoseconds, by the clock of its
/// file system. `None` where that is not known.
#[cfg(unix)]
pub(crate) fn times(metadata: &Metadata) -> Option<(i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    let nanoseconds = |seconds: i64, more: i64| seconds.checked_mul(1_000_000_000)?.checked_add(more);
    Some((nanoseconds(metadata.mtime(), metadata.mtime_nsec())?, nanoseconds(metadata.ctime(), metadata.ctime_nsec())?))
}

#[cfg(not(unix))]
pub(crate) fn times(_: &Metadata) -> Option<(i64, i64)> {
    None
}

/// Whether the names of a file are counted. Some file systems, in user space, count none of any file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    are_counted: bool,
}

impl Names {
    /// As it is when the file is opened.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { are_counted: is_linked(metadata) }
    }

    /// Whether the file, which is open, had a name and has none left.
    pub(crate) fn are_gone(self, metadata: &Metadata) -> bool {
        self.are_counted && !is_linked(metadata)
    }
}

fn is_linked(metadata: &Metadata) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::nlink(metadata) > 0;
    #[cfg(not(unix))]
    {
        let _ = metadata;
        true
    }
}

impl HeldDirectory {
    /// Holds the directory at a path. A relative path is taken from the process's current directory, this once; also if that is
    /// in one which this user may not search.
    ///
    /// # Errors
    /// If there is none, or it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        // A path that cannot be told from the root on, such as an empty one, cannot be opened, either.
        let shown = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let failed = |error| access(path, "cannot be opened", error);
        match fs::canonicalize(path) {
            Ok(found) => Self::hold(&found.clone(), Ok(found), shown),
            // It may be there all the same: the system asks for each directory from the root on.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Self::hold(path, Err(error), shown),
            Err(error) => Err(error),
        }
        .map_err(failed)
    }

    /// Holds a directory in this one, also if its name is a link.
    pub(crate) fn child(&self, name: &str) -> Result<Self, Error> {
        Self::hold(&self.by().join(name), Ok(self.path().join(name)), self.shown().join(name))
            .map_err(|error| access(&self.by().join(name), "cannot be opened", error))
    }

    /// Where no path was found, only one that has a descriptor is held.
    #[cfg(unix)]
    fn hold(at: &Path, path: io::Result<PathBuf>, shown: PathBuf) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;
        let file = File::open(at)?;
        let metadata = file.metadata()?;
        let (identity, names) = (Identity::of(&metadata), Names::of(&metadata));
        let descriptor = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let is_there = |by: &Path| fs::metadata(by).is_ok_and(|metadata| Identity::of(&metadata) == identity);
        let (by, path) = if cfg!(target_os = "linux") && is_there(&descriptor) {
            // The system tells the path of what is open to whoever has it open.
            let path = path.or_else(|_| fs::read_link(&descriptor))?;
            (descriptor, path)
        } else {
            let path = path?;
            (path.clone(), path)
        };
        Ok(Self(Arc::new(Held { file: Some(file), identity, names, by, path, shown })))
    }

    #[cfg(not(unix))]
    fn hold(at: &Path, path: io::Result<PathBuf>, shown: PathBuf) -> io::Result<Self> {
        let path = path?;
        let metadata = fs::metadata(at)?;
        let (identity, names) = (Identity::of(&metadata), Names::of(&metadata));
        Ok(Self(Arc::new(Held { file: None, identity, names, by: path.clone(), path, shown })))
    }

    /// By what everything in it is to be opened, and nothing is to be shown: valid as long as it is held.
    pub fn by(&self) -> &Path {
        &self.0.by
    }

    /// Where it was found, without links, as far as that can be told.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Its path as the user gave it, from the root on: for messages.
    pub fn shown(&self) -> &Path {
        &self.0.shown
    }

    pub(crate) fn identity(&self) -> Identity {
        self.0.identity
    }

    /// Whether its files are found whatever becomes of its path.
    pub(crate) fn is_by_descriptor(&self) -> bool {
        self.0.by != self.0.path
    }

    /// Whether it is still where it was found. One call of the system's.
    pub(crate) fn is_in_place(&self) -> io::Result<bool> {
        self.has_at(self.path(), self.identity(), self.0.names, || match &self.0.file {
            Some(file) => file.metadata(),
            None => fs::metadata(self.by()),
        })
    }

    /// Whether what is at a path is this, which is in this directory, or is it, and at which `held` looks by its descriptor.
    ///
    /// A user may not, or not any more, be let through to a path, and all goes on by descriptors: then it counts as there for
    /// as long as it has a name.
    pub(crate) fn has_at(
        &self,
        path: &Path,
        it: Identity,
        names: Names,
        held: impl Fn() -> io::Result<Metadata>,
    ) -> io::Result<bool> {
        match is_at(path, it, &held) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && self.is_by_descriptor() => {
                Ok(!names.are_gone(&held()?))
            }
            is_at => is_at,
        }
    }

    /// When its name, or that of something in it, was changed last, if it has a name left. One call of the system's, and quicker
    /// than a look at its path.
    pub(crate) fn changed_at(&self) -> Option<i64> {
        let metadata = self.0.file.as_ref()?.metadata().ok().filter(is_linked)?;
        times(&metadata).map(|(_, changed)| changed)
    }

    /// Where it is now, if that is known and not where it was found.
    pub(crate) fn moved_to(&self) -> Option<PathBuf> {
        // The system marks one that is gone in its name; somebody else's may be at that.
        let now = fs::read_link(self.by()).ok()?;
        let is_it = fs::metadata(&now).is_ok_and(|metadata| Identity::of(&metadata) == self.identity());
        (is_it && now != self.path()).then_some(now)
    }

    /// A text in which it has the name that people know.
    pub(crate) fn told(&self, text: &str) -> String {
        let (by, shown) = (self.by().to_string_lossy(), self.shown().to_string_lossy());
        let mut told = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(&*by) {
            let (before, from) = rest.split_at(at);
            let behind = &from[by.len()..];
            // `/proc/self/fd/1` also begins the name of descriptor 12.
            let is_whole = !behind.starts_with(|next: char| next.is_alphanumeric());
            told.push_str(before);
            told.push_str(if is_whole { &shown } else { &by });
            rest = behind;
        }
        told.push_str(rest);
        told
    }

    /// An error about something in it, told with the path that the user gave.
    pub(crate) fn named(&self, error: Error) -> Error {
        let shown = |path: &Path| match path.strip_prefix(self.by()).ok()? {
            // Joined with nothing, it would end in a slash.
            inside if inside.as_os_str().is_empty() => Some(self.shown().to_owned()),
            inside => Some(self.shown().join(inside)),
        };
        error.renamed(shown, |text| self.told(text))
    }
}

/// Whether what is at a path is this, which `held` looks at by its descriptor: asked only if it seems to be another, as a file
/// system of layers may give a directory another number when something in it is changed first.
fn is_at(path: &Path, it: Identity, held: impl FnOnce() -> io::Result<Metadata>) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) if Identity::of(&metadata) == it => Ok(true),
        Ok(metadata) => Ok(Identity::of(&metadata) == Identity::of(&held()?)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn what_is_held_is_found_after_it_was_renamed_and_another_took_its_place() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let (path, away) = (parent.path().join("store"), parent.path().join("away"));
        fs::create_dir(&path).expect("writable");
        fs::write(path.join("which"), "first").expect("writable");
        let held = HeldDirectory::open(&path).expect("it is there");
        assert!(held.is_in_place().expect("it can be looked at"));
        assert_eq!(held.moved_to(), None);
        fs::rename(&path, &away).expect("writable");
        assert!(!held.is_in_place().expect("nothing is there"));
        fs::create_dir(&path).expect("writable");
        assert!(!held.is_in_place().expect("another is there"));
        if cfg!(target_os = "linux") {
            assert_eq!(fs::read_to_string(held.by().join("which")).expect("readable"), "first");
            assert_eq!(held.moved_to(), Some(away.canonicalize().expect("it is there")));
            fs::remove_dir_all(&away).expect("writable");
            assert_eq!(held.moved_to(), None);
        }
    }

    #[test]
    fn messages_name_the_path_that_was_given() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let held = HeldDirectory::open(parent.path()).expect("it is there");
        let (by, shown) = (held.by().display(), held.shown().display());
        assert_eq!(held.shown(), parent.path());
        let text = format!("While open: {by}/000012.log, in {by}, not {by}7/x");
        let told = format!("While open: {shown}/000012.log, in {shown}, not {by}7/x");
        assert_eq!(held.told(&text), told);
        let error = held.named(Error::new(ErrorKind::Io, text).at(&held.by().join("000012.log")));
        assert_eq!(error.path(), Some(&*parent.path().join("000012.log")));
        assert_eq!(error.to_string(), format!("{shown}/000012.log: {told}"));
    }
}
