//! Asks an engine that has a directory open.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use relive_engine::error::{Error, ErrorKind, Result};
use relive_storage::HeldDirectory;

use super::place;
use super::protocol::{Command, LINE_BYTES_MAX, Reply, Request};

/// How long a command may take to be sent: 10 s. How long it may take to be done nobody can say.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A way to an engine that is open.
#[derive(Debug)]
pub struct Client {
    directory: PathBuf,
    stream: UnixStream,
}

impl Client {
    /// Reaches the engine that has a directory open; `None` if none does, or it has no socket.
    pub fn connect(directory: &Path) -> Option<Self> {
        let held = HeldDirectory::open(directory).ok()?;
        let stream = UnixStream::connect(place::socket(&held, false).ok()?).ok()?;
        Some(Self { directory: held.shown().to_owned(), stream })
    }

    /// Has a command done. When this returns, what it did is durable.
    ///
    /// # Errors
    /// The engine's; of kind `Closed` if it went away meanwhile: then nobody knows whether it was done.
    pub fn ask(mut self, command: &Command) -> Result<serde_json::Value> {
        let lost = |error: std::io::Error| {
            let why = format!(
                "the engine at {} went away before it answered ({error}): look whether it was done",
                self.directory.display()
            );
            Error::new(ErrorKind::Closed, why)
        };
        let mut line = serde_json::to_vec(&Request::new(command.clone()))?;
        line.push(b'\n');
        self.stream.set_write_timeout(Some(WRITE_TIMEOUT)).map_err(lost)?;
        self.stream.write_all(&line).map_err(lost)?;
        let mut reply = Vec::new();
        BufReader::new(&self.stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut reply).map_err(lost)?;
        if reply.last() != Some(&b'\n') {
            return Err(lost(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let reply: Reply = serde_json::from_slice(&reply).map_err(|error| {
            Error::new(ErrorKind::Unsupported, format!("the engine's answer is not understood: {error}"))
        })?;
        reply.into_result()
    }
}
