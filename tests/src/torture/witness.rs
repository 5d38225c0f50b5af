//! The witness: a file outside the store in which every effect says that it begins and that it ends.
//!
//! Written by the child's effects, one `write` per line; a file per life of the child, read by the parent.
//!
//! Invariant: a line is written before the effect does anything else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What an effect says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessLine {
    /// Orders this life's lines, also against those of its pipe.
    pub tick: u64,
    /// The trace.
    pub name: String,
    /// Which call: of one label there is one call, or some that are equal.
    pub label: String,
    /// The effect's idempotency key.
    pub key: String,
    /// Whether it begins, or ends.
    pub begins: bool,
}

/// The file.
#[derive(Debug)]
pub struct Witness {
    file: File,
}

/// Counts what this process tells to the outside, whichever way.
static TICKS: AtomicU64 = AtomicU64::new(0);

/// The next tick.
pub(crate) fn tick() -> u64 {
    TICKS.fetch_add(1, Ordering::SeqCst)
}

impl Witness {
    /// Opens the file to be appended to.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().create(true).append(true).open(path)? })
    }

    pub(crate) fn tell(&self, name: &str, label: &str, key: &str, begins: bool) -> io::Result<()> {
        let (name, label, key) = (name.to_owned(), label.to_owned(), key.to_owned());
        (&self.file).write_all(&encoded(&WitnessLine { tick: tick(), name, label, key, begins })?)
    }
}

/// A line, to be written at once.
pub(crate) fn encoded(line: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The whole lines of a file or pipe. The last may have been cut by the kill: then it was not said.
pub(crate) fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<Vec<T>> {
    let whole = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    whole.map(|line| Ok(serde_json::from_slice(line)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_the_kill_has_cut_was_not_said() {
        let line = WitnessLine { tick: 1, name: "a".into(), label: "b".into(), key: "c".into(), begins: true };
        let mut bytes = encoded(&line).unwrap();
        let whole = bytes.len();
        bytes.extend_from_within(..whole - 1);
        assert_eq!(decoded::<WitnessLine>(&bytes).unwrap(), [line]);
    }
}
