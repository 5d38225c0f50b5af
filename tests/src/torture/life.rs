//! One life of a child: starts it, listens to it, ends it at its moment, and reads what it left.
//!
//! Used by every part of the campaign that has a child; the child is the same binary, with other arguments.
//!
//! Invariant: a life ends: at its moment, by itself, or after a minute of silence.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use relive::Error;

use super::chance::Chance;
use super::oracle::Life;
use super::pipe::Line;
use super::power::call;
use super::witness::decoded;

/// Silence of a child after which it counts as hung: 60 s. Its slowest effect takes milliseconds.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(60);

/// When a child is ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    /// After so many acknowledged events.
    Acknowledged(u64),
    /// So long after it was started: while it opens its engine, if early.
    Delay(Duration),
    /// So long after its first acknowledged event.
    AfterFirst(Duration),
    /// Not at all.
    Never,
}

impl Moment {
    pub(super) fn draw(chance: &mut Chance) -> Self {
        let micros = |chance: &mut Chance, bound| Duration::from_micros(chance.below(bound));
        match chance.below(10) {
            0..4 => Self::Acknowledged(1 + chance.below(500)),
            4..7 => Self::Delay(micros(chance, 60_000)),
            _ => Self::AfterFirst(micros(chance, 20_000)),
        }
    }
}

/// How a child is started.
#[derive(Clone, Debug)]
pub(super) struct Start<'a> {
    /// What starts the program and sees to it that it fails; empty for nothing.
    pub(super) wrapper: &'a [OsString],
    /// The program.
    pub(super) program: &'a Path,
    /// Where the witness and the last words go.
    pub(super) root: &'a Path,
    /// The store.
    pub(super) store: PathBuf,
    /// Which life it is.
    pub(super) life: usize,
    pub(super) seed: u64,
    pub(super) run_count: u32,
    pub(super) thread_count: u64,
    pub(super) buffered: bool,
    /// Whether a commit may fail, and what comes of that is to be told.
    pub(super) failing: bool,
}

/// A life that is over.
#[derive(Debug)]
pub(super) struct Lived {
    pub(super) life: Life,
    pub(super) status: ExitStatus,
    /// It was ended at its moment, or had just ended by itself.
    pub(super) cut: bool,
    /// It said nothing for too long.
    pub(super) silent: bool,
}

impl Start<'_> {
    /// Sees a child to its end. `cut` is called at its moment, just before it is killed.
    pub(super) fn live(&self, moment: Moment, cut: impl FnOnce() -> relive::Result<()>) -> relive::Result<Lived> {
        let witness = self.root.join(format!("witness-{:04}", self.life));
        let mut child = self.command(&witness)?.spawn().map_err(|error| {
            Error::msg(format!("{}: the child cannot be started", self.program.display())).caused_by(error)
        })?;
        let lines = read(&mut child)?;
        let (mut pipe, ending) = watch(&lines, moment)?;
        let cutting = if ending == Ending::Moment { cut() } else { Ok(()) };
        if ending == Ending::Silence {
            // With what wraps it: the group, of which the wrapper is the first.
            call(Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]))?;
        } else if ending == Ending::Moment {
            // No error if it has ended by itself.
            child.kill()?;
        }
        let status = child.wait()?;
        cutting?;
        for line in lines {
            pipe.push(line?);
        }
        let witness = match fs::read(&witness) {
            Ok(bytes) => decoded(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let life = Life { pipe, witness };
        Ok(Lived { life, status, cut: ending == Ending::Moment, silent: ending == Ending::Silence })
    }

    fn command(&self, witness: &Path) -> relive::Result<Command> {
        let mut words = self.wrapper.iter().cloned().chain([self.program.as_os_str().to_owned()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command.arg("child").arg("--directory").arg(&self.store).arg("--witness").arg(witness);
        command.arg("--seed").arg(self.seed.to_string()).arg("--runs").arg(self.run_count.to_string());
        command.arg("--threads").arg(self.thread_count.to_string());
        if self.buffered {
            command.arg("--buffered");
        }
        if self.failing {
            command.arg("--failing");
        }
        let words = File::create(self.stderr_path())?;
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(words);
        Ok(command)
    }

    fn stderr_path(&self) -> PathBuf {
        self.root.join(format!("stderr-{:04}", self.life))
    }

    /// Why a life that should have been ended was not.
    pub(super) fn last_words(&self, lived: &Lived) -> String {
        let words = fs::read(self.stderr_path()).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        let what = if lived.silent {
            "the child fell silent".to_owned()
        } else {
            format!("the child ended by itself ({})", lived.status)
        };
        format!("{what}; its last words: {:?}", words.trim())
    }
}

#[expect(clippy::disallowed_methods, reason = "when to kill, and when to call a child hung")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Reads the child's pipe on a thread of its own, so that a full pipe never holds the child up.
fn read(child: &mut Child) -> relive::Result<Receiver<io::Result<Line>>> {
    let stdout = child.stdout.take().ok_or_else(|| Error::msg("the child has no pipe"))?;
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        loop {
            let mut bytes = Vec::new();
            let line = match reader.read_until(b'\n', &mut bytes) {
                // At the end, or a line that was cut by the kill.
                Ok(_) if !bytes.ends_with(b"\n") => return,
                Ok(_) => serde_json::from_slice(&bytes).map_err(io::Error::from),
                Err(error) => Err(error),
            };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Why a child is no longer listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Moment,
    Silence,
    Itself,
}

/// Takes lines until it is time to kill, or the child has ended.
fn watch(lines: &Receiver<io::Result<Line>>, moment: Moment) -> io::Result<(Vec<Line>, Ending)> {
    let mut pipe = Vec::new();
    let mut acknowledged = 0;
    let mut deadline = match moment {
        Moment::Delay(delay) => Some(now() + delay),
        _ => None,
    };
    loop {
        let wait = deadline.map_or(SILENCE_MAX, |deadline| deadline.saturating_duration_since(now()));
        match lines.recv_timeout(wait) {
            Ok(line) => pipe.push(line?),
            Err(RecvTimeoutError::Timeout) if deadline.is_none() => return Ok((pipe, Ending::Silence)),
            Err(RecvTimeoutError::Timeout) => return Ok((pipe, Ending::Moment)),
            Err(RecvTimeoutError::Disconnected) => return Ok((pipe, Ending::Itself)),
        }
        if !matches!(pipe.last(), Some(Line::Acknowledged(_))) {
            continue;
        }
        acknowledged += 1;
        match moment {
            Moment::Acknowledged(count) if acknowledged >= count => return Ok((pipe, Ending::Moment)),
            Moment::AfterFirst(delay) if deadline.is_none() => deadline = Some(now() + delay),
            _ => {}
        }
    }
}
