//! Why a command failed.

use std::fmt;
use std::io;

use relive_engine::error::Error;

/// Why a command failed. `Display` is for an operator, on one line or, where candidates are listed, several.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The store could not be read, or does not hold what was asked for.
    Read(Error),
    /// The output could not be written.
    Write(io::Error),
}

impl Failure {
    /// Whether the reader of our output is gone (`relive log … | head`): no failure to speak of.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Write(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Write(error) => write!(f, "the output cannot be written: {error}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => error.source(),
            Self::Write(error) => Some(error),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}
