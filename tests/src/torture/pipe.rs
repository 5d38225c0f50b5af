//! What the child tells its parent, on its standard output: a line of JSON each.
//!
//! Written by `child` with one `write` per line, read by `campaign`.
//!
//! Invariant: an event is told before anyone in the child who waits for it goes on.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use parking_lot::Mutex;
use relive::{Event, RunId, Sequence};
use serde::{Deserialize, Serialize};

use super::witness::encoded;

/// A line of the pipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Line {
    /// An event is durable.
    Acknowledged(AcknowledgedLine),
    /// `start` returned: the run with this number has this id.
    Started(u32, RunId),
    /// The run with this number ended so: its result, or its error in words.
    Ended(u32, Result<u64, String>),
    /// The engine was shut down, all runs having ended.
    Done,
    /// Only where commits may fail: the run with this number was left by its engine, and whoever waited was told why.
    Left(u32, String),
    /// Only where commits may fail: the engine could not be opened, or took nothing more after it had failed.
    Refused(String),
    /// Only where commits may fail: the engine took another run after it had failed. It must not.
    Accepted,
}

/// An event is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgedLine {
    /// Orders this life's lines, also against those of its witness.
    pub tick: u64,
    /// The run.
    pub run: RunId,
    /// The event's position.
    pub sequence: Sequence,
    /// The event.
    #[serde(with = "hexadecimal")]
    pub event: Event,
}

/// An event as MessagePack in hexadecimal digits: JSON has no bytes, and payloads are bytes.
mod hexadecimal {
    use relive::Event;
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    const DIGITS: [u8; 16] = *b"0123456789abcdef";

    pub(super) fn serialize<S: Serializer>(event: &Event, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = rmp_serde::to_vec(event).map_err(S::Error::custom)?;
        let mut digits = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            digits.extend([byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)])));
        }
        serializer.serialize_str(&digits)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Event, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or_default(), 16);
        let bytes: Vec<u8> =
            text.as_bytes().chunks(2).map(digits).collect::<Result<_, _>>().map_err(D::Error::custom)?;
        rmp_serde::from_slice(&bytes).map_err(D::Error::custom)
    }
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Pipe(Mutex<File>);

impl Pipe {
    /// Standard output, without its buffer.
    pub(crate) fn stdout() -> io::Result<Self> {
        Ok(Self(Mutex::new(File::from(io::stdout().as_fd().try_clone_to_owned()?))))
    }

    /// A file, for a child that is no process of its own.
    pub(crate) fn file(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(File::create(path)?)))
    }

    /// Tells a line. Ends the process if nobody reads any more: a child without a parent is of no use.
    pub(crate) fn tell(&self, line: &Line) {
        let told = encoded(line).and_then(|bytes| self.0.lock().write_all(&bytes));
        if told.is_err() {
            std::process::exit(3);
        }
    }
}
