//! Why a store could not do what it was asked.
//!
//! Made by the implementations of `Store`; the engine wraps it in its own error.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

/// What went wrong, by what the caller should do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Another process (or another engine in this one) holds the directory: stop it, or use another directory.
    InUse,
    /// The directory cannot be created, read or written by this user: change its permissions or use another.
    Permission,
    /// There is something in the directory, and it is not a Relive store: use another directory.
    NotAStore,
    /// A newer Relive wrote it: use that one.
    NewerFormat,
    /// The directory was moved, replaced or removed while the store was open, or files in it were: put back what is missing, and
    /// open the store where it is now.
    Displaced,
    /// Bytes are damaged or missing: restore from a copy. The message names the file and the byte.
    Corrupt,
    /// The disk or the operating system refused: free space, look at the disk, and open the store again.
    Io,
    /// An earlier commit failed, and nothing is written until the store is opened again.
    Poisoned,
    /// This view only reads.
    ReadOnly,
}

/// A failed storage call. `Display` says what, where and what to do.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    path: Option<PathBuf>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of this kind; the message is for an operator.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), path: None, source: None }
    }

    /// Says which file or directory it is about.
    #[must_use]
    pub fn at(mut self, path: &Path) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// Keeps the error that caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Gives path and message other words, where there are any for the path.
    #[cfg(feature = "rocks")]
    #[must_use]
    pub(crate) fn renamed(
        mut self,
        path: impl FnOnce(&Path) -> Option<PathBuf>,
        message: impl FnOnce(&str) -> String,
    ) -> Self {
        self.path = self.path.map(|is| path(&is).unwrap_or(is));
        self.message = message(&self.message);
        self
    }

    /// What to do about it, roughly.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file or directory it is about.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
