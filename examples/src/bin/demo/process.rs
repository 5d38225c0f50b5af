//! The processes that the parent starts: the service and the pipeline.
//!
//! Their standard input is a pipe that closes when the parent ends, however it ends; then they end too.
//!
//! Invariants: a line is returned only if it was written to its end; a process that is dropped has ended.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use relive::{Error, Result};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::PipelineOptions;
use crate::corpus::Selection;
use crate::pipe::{self, Order, PipelineLine, ServiceLine};

/// Longest silence of a process: 60 s. Each says something every few hundred files.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A process that ends closes its sockets first: 200 ms later it has ended for everybody.
const BLAME_WAIT: Duration = Duration::from_millis(200);

/// A child process that writes lines.
struct Talker {
    child: Child,
    id: u32,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Talker {
    fn start(arguments: &[&str]) -> Result<Self> {
        let refuse = |error| Error::msg("the demo cannot start a process of its own").caused_by(error);
        let program = std::env::current_exe().map_err(refuse)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(refuse)?;
        let (Some(id), Some(input), Some(output)) = (child.id(), child.stdin.take(), child.stdout.take()) else {
            return Err(Error::msg("a process that was just started has no pipes"));
        };
        Ok(Self { child, id, input, output: BufReader::new(output) })
    }

    /// The next line, or `None` at the end. Half a line at the end is none.
    async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let mut line = String::new();
        match tokio::time::timeout(SILENCE_MAX, self.output.read_line(&mut line)).await {
            Ok(Ok(_)) if line.ends_with('\n') => pipe::decode(line.trim_end()).map(Some),
            Ok(Ok(_)) => Ok(None),
            Ok(Err(error)) => {
                Err(Error::msg(format!("the pipe of process {} cannot be read", self.id)).caused_by(error))
            }
            Err(_) => Err(Error::msg(format!("process {} has said nothing for {} s", self.id, SILENCE_MAX.as_secs()))),
        }
    }

    async fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }
}

impl Drop for Talker {
    /// Ends it, and waits until it has ended: only then may its files be removed.
    fn drop(&mut self) {
        if self.child.start_kill().is_ok() {
            // A killed process ends as soon as the operating system looks at it.
            while let Ok(None) = self.child.try_wait() {
                std::thread::yield_now();
            }
        }
    }
}

/// The summarizing service.
pub(crate) struct Service {
    talker: Talker,
    pub(crate) port: u16,
}

impl Service {
    /// Starts it, and waits until it listens. Port 0 is one that is free.
    ///
    /// # Errors
    /// If it does not listen: the port is taken.
    pub(crate) async fn start(port: u16, witness: &Path) -> Result<Self> {
        let mut talker = Talker::start(&["__service", "--port", &port.to_string(), "--witness", text(witness)?])?;
        match talker.next().await? {
            Some(ServiceLine::Listening { port }) => Ok(Self { talker, port }),
            Some(ServiceLine::Failed { message }) => Err(Error::msg(message)),
            None => Err(Error::msg(format!("the service ended at once: {}", talker.wait().await?))),
        }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.talker.id
    }

    /// Allows it so many more answers.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) async fn answer(&mut self, count: usize) -> Result<()> {
        let order = pipe::encode(&Order::Answer { count });
        if self.talker.input.write_all(&order).await.is_err() {
            return Err(self.ended().await);
        }
        Ok(())
    }

    /// Waits until it ends, which it does not by itself.
    pub(crate) async fn ended(&mut self) -> Error {
        let how = match self.talker.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Error::msg(format!(
            "the summarizing service (process {}) ended by itself ({how}), and the pipeline cannot go on without it",
            self.talker.id
        ))
    }

    /// Why something failed: because the service ended, if it did; else for its own reason.
    pub(crate) async fn blamed_for(&mut self, error: Error) -> Error {
        tokio::time::timeout(BLAME_WAIT, self.ended()).await.unwrap_or(error)
    }
}

/// The pipeline's process.
pub(crate) struct Pipeline(Talker);

impl Pipeline {
    /// Starts it.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub(crate) fn start(options: &PipelineOptions) -> Result<Self> {
        let selection = match options.selection {
            Selection::All => "all",
            Selection::Dependencies => "dependencies",
        };
        let talker = Talker::start(&[
            "__pipeline",
            &format!("--dir={}", options.dir),
            &format!("--selection={selection}"),
            &format!("--topic={}", options.topic),
            &format!("--hits={}", options.hits),
            &format!("--store={}", text(&options.store)?),
            &format!("--service={}", options.service),
        ])?;
        Ok(Self(talker))
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.0.id
    }

    /// What it says next, or `None` when it has ended.
    ///
    /// # Errors
    /// If the service ends first, or the process falls silent.
    pub(crate) async fn next(&mut self, service: &mut Service) -> Result<Option<PipelineLine>> {
        tokio::select! {
            line = self.0.next() => line,
            error = service.ended() => Err(error),
        }
    }

    /// Kills it with SIGKILL: no warning, nothing to catch.
    ///
    /// # Errors
    /// If it had ended before.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.0
            .child
            .start_kill()
            .map_err(|error| Error::msg("the pipeline had ended before it was killed").caused_by(error))
    }

    /// How it ended.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus> {
        self.0.wait().await
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::msg(format!("the name of {} is not UTF-8", path.display())))
}
