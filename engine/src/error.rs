//! The one error of Relive: what kind, what happened where, and what caused it.
//!
//! Taken by `?` from any `std::error::Error`; recorded in logs as an `ErrorRecord` and rebuilt from it.
//!
//! Invariant: kind, message and the messages of the sources survive the log, in bounds; of a typed error, also the value.

mod bounded;
mod typed;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;

use relive_storage as storage;
use serde::{Deserialize, Serialize};

use crate::divergence::Divergence;
use crate::event::ErrorRecord;
use crate::payload::{Payload, PayloadError};

pub use bounded::{MESSAGE_BYTES_MAX, SOURCE_BYTES_MAX, SOURCES_MAX, cut, debugged, displayed};
pub(crate) use bounded::{cut_panic, cut_sources, cut_to, is_cut_of, sources_of};
pub use typed::{TypedError, TypedErrorEntry};

/// `Result` with Relive's error, unless another is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of error, by what the caller should do about it. The order is part of the format on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The user's own function returned an error.
    Failed,
    /// The user's own function panicked.
    Panicked,
    /// Somebody cancelled the run.
    Cancelled,
    /// A trace was called outside a task. Call it in one, or mark it `outside = "call"`.
    OutsideTask,
    /// A task awaited something that is not a trace, or never came to rest. Put what it awaits into a trace.
    ForeignAwait,
    /// The task's code no longer fits its log. Resume the run under the new code, bring the old code back, or cancel it.
    Diverged,
    /// A value could not be written to, or read back from, its recorded form. Fix the type.
    Payload,
    /// `provided::<T>()` without `builder.provide(T)`.
    NotProvided,
    /// What was asked for is not possible here; the message says what is.
    Unsupported,
    /// Two tasks or two traces have one name. Rename one with `name = "…"`.
    DuplicateName,
    /// No task of this name is linked into this program.
    UnknownTask,
    /// No run has this id.
    UnknownRun,
    /// The id belongs to a run with another input or task. Use another id.
    IdTaken,
    /// The engine was shut down. The run goes on when the store is opened again.
    Closed,
    /// The disk or the operating system refused. Look at it, then open the engine again.
    Storage,
    /// Another process holds the directory.
    InUse,
    /// The directory cannot be read or written by this user.
    Permission,
    /// There is something else than a Relive store in the directory.
    NotAStore,
    /// A newer Relive wrote the store. Use that one.
    NewerFormat,
    /// Stored bytes are damaged or missing. Restore them from a copy.
    Corrupt,
    /// It took longer than it may.
    TimedOut,
    /// An effect that is not to be repeated had begun, and how it ended is not known. Look, then decide.
    Interrupted,
    /// A stream's source, called again, yields other items than those that were handed on.
    SourceChanged,
    /// A task waits for a run that waits for it.
    Cycle,
    /// The run has ended, and takes no more of this.
    Ended,
    /// The run took the process down several times without getting on. Look at it, then resume or cancel it.
    Parked,
}

/// Why something failed. `Display` is for an operator; [`Error::kind`] for the program.
///
/// Any `std::error::Error` becomes one by `?`, with its message and sources; a [`TypedError`] also with its value. It dereferences to `dyn std::error::Error`
/// (as it cannot be one itself, for the sake of that `?`).
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    type_name: Cow<'static, str>,
    terminal: bool,
    value: Option<Payload>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    divergence: Option<Divergence>,
}

impl Error {
    /// An error of this kind, with a message for an operator.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            type_name: Cow::Borrowed(""),
            terminal: false,
            value: None,
            source: None,
            divergence: None,
        }))
    }

    /// A failure of the user's own, with nothing but a message: at most [`MESSAGE_BYTES_MAX`] of it, the rest is cut.
    pub fn msg(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Failed, displayed(&message))
    }

    /// Keeps the error that caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error as a decision: no try follows it, and a resumed run meets it again.
    #[must_use]
    pub fn terminal(mut self) -> Self {
        self.0.terminal = true;
        self
    }

    /// Whether another try is of no use.
    pub fn is_terminal(&self) -> bool {
        self.0.terminal
    }

    /// What to do about it, roughly.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What differs, if the kind is [`ErrorKind::Diverged`].
    pub fn divergence(&self) -> Option<&Divergence> {
        self.0.divergence.as_ref()
    }

    pub(crate) fn diverged(divergence: Divergence) -> Self {
        let mut error = Self::new(ErrorKind::Diverged, divergence.to_string());
        error.0.divergence = Some(divergence);
        error
    }

    /// The same error, with something more to know.
    #[must_use]
    pub(crate) fn with_note(mut self, note: &str) -> Self {
        self.0.message = format!("{} ({note})", self.0.message).into();
        self
    }

    /// The form that is recorded. A message of more than [`MESSAGE_BYTES_MAX`] is cut, and more than [`SOURCES_MAX`] sources are,
    /// with a word that says so.
    pub fn to_record(&self) -> ErrorRecord {
        ErrorRecord {
            kind: self.0.kind,
            message: cut(self.0.message.to_string()),
            sources: sources_of(self.0.source()),
            type_name: self.0.type_name.clone(),
            terminal: self.0.terminal,
            value: self.0.value.clone(),
        }
    }

    /// From the form that is recorded.
    pub fn from_record(record: ErrorRecord) -> Self {
        let source = record.sources.into_iter().rev().fold(None, |source, message| {
            Some(Box::new(RecordedSource { message, source }) as Box<dyn StdError + Send + Sync>)
        });
        Self(Box::new(Inner {
            kind: record.kind,
            message: record.message.into(),
            type_name: record.type_name,
            terminal: record.terminal,
            value: record.value,
            source,
            divergence: None,
        }))
    }

    /// The same error for one more reader: kind, message, and the messages of its sources.
    pub(crate) fn duplicate(&self) -> Self {
        let mut error = Self::from_record(self.to_record());
        error.0.divergence.clone_from(&self.0.divergence);
        error
    }
}

/// A source as it came out of a log.
#[derive(Debug)]
struct RecordedSource {
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl fmt::Display for RecordedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for RecordedSource {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)?;
        sources_of(self.source()).iter().try_for_each(|source| write!(f, "\n  caused by: {source}"))
    }
}

impl StdError for Inner {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Deref for Error {
    type Target = dyn StdError + Send + Sync + 'static;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self::from_record(typed::recognized(&error).unwrap_or_else(|| ErrorRecord::of(&error)))
    }
}

impl From<Error> for Box<dyn StdError + Send + Sync> {
    fn from(error: Error) -> Self {
        error.0
    }
}

impl From<Error> for Box<dyn StdError> {
    fn from(error: Error) -> Self {
        error.0
    }
}

/// A storage error under the engine's kinds.
pub fn storage_error(error: storage::Error) -> Error {
    let kind = match error.kind() {
        storage::ErrorKind::InUse => ErrorKind::InUse,
        storage::ErrorKind::Permission => ErrorKind::Permission,
        storage::ErrorKind::NotAStore => ErrorKind::NotAStore,
        storage::ErrorKind::NewerFormat => ErrorKind::NewerFormat,
        storage::ErrorKind::Corrupt => ErrorKind::Corrupt,
        _ => ErrorKind::Storage,
    };
    let message = error.to_string();
    let mut wrapped = Error::new(kind, message);
    wrapped.0.source = sources_of(error.source()).into_iter().rev().fold(None, |source, message| {
        Some(Box::new(RecordedSource { message, source }) as Box<dyn StdError + Send + Sync>)
    });
    wrapped
}

/// A value of ours that could not be written or read, told with what it is.
pub(crate) fn payload_error(what: impl fmt::Display, error: &PayloadError) -> Error {
    Error::new(ErrorKind::Payload, format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_is_taken_by_question_mark_and_survives_its_record() {
        fn parse() -> Result<u8> {
            Ok("x".parse::<u8>()?)
        }
        let error = parse().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        let outer = Error::msg("no number").caused_by(error);
        let again = Error::from_record(outer.to_record());
        assert_eq!(again.to_record(), outer.to_record());
        assert_eq!(again.source().map(ToString::to_string), Some("invalid digit found in string".to_owned()));
    }

    #[test]
    fn becomes_a_boxed_error() {
        fn boxed() -> std::result::Result<(), Box<dyn StdError>> {
            Err(Error::msg("no"))?
        }
        assert_eq!(boxed().unwrap_err().to_string(), "no");
    }
}
