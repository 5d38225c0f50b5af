//! The process that kills: starts the child, ends it at random moments, starts it again until all its runs have ended,
//! and hands what it saw to the oracle.
//!
//! Called by the `torture` binary and by the tests; the child is the same binary, with other arguments.
//!
//! Invariant: a campaign ends: after its kills or its time, and after at most a minute of silence.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use relive::{Error, Event, RunId, Sequence};
use relive_engine::inspect;
use relive_engine::schema::{SCHEMA, storage_error};
use relive_storage::{Read, RocksReader};

use super::chance::{Chance, mixed};
use super::oracle::{History, Life, RunExpectation, Violation, check};
use super::pipe::Line;
use super::program::Program;
use super::report::Report;
use super::witness::{decoded, encoded};

/// Silence of a child after which it counts as hung: 60 s. Its slowest effect takes milliseconds.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How far a campaign goes. It always finishes the directory it is in, undisturbed if it has to.
#[derive(Clone, Copy, Debug)]
pub enum Extent {
    /// So many SIGKILLs.
    Kills(u64),
    /// So long.
    Time(Duration),
}

/// Does something to a directory after a kill, before the child starts again: a disk that lies, for controls.
pub type Sabotage = fn(&Path) -> io::Result<()>;

/// Changes a history before it is judged: how tests see that the judge can tell.
pub type Tamper = fn(&mut History);

/// A campaign.
#[derive(Clone, Debug)]
pub struct Options {
    /// How far it goes.
    pub extent: Extent,
    /// Decides programs and moments; the machine's timing has its say, too.
    pub seed: u64,
    /// Runs per directory.
    pub run_count: u32,
    /// Children at once, each in a directory of its own: the disk's latency is most of the time.
    pub job_count: u32,
    /// The binary that is a child when it is called with `child`.
    pub program: PathBuf,
    /// Where the directories are made. What is clean is removed.
    pub directory: PathBuf,
    /// For controls.
    pub tamper: Option<Tamper>,
    /// For controls. Is given the directory that holds `store`.
    pub sabotage: Option<Sabotage>,
}

/// When a child is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
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
    fn draw(chance: &mut Chance) -> Self {
        let micros = |chance: &mut Chance, bound| Duration::from_micros(chance.below(bound));
        match chance.below(10) {
            0..4 => Self::Acknowledged(1 + chance.below(500)),
            4..7 => Self::Delay(micros(chance, 60_000)),
            _ => Self::AfterFirst(micros(chance, 20_000)),
        }
    }
}

/// Runs a campaign until it is through, or until a directory was not clean. That directory is kept.
///
/// `progress` is told after every life of a child.
///
/// # Errors
/// If the harness itself cannot go on: the child cannot be started, files cannot be made or read.
pub fn run(options: &Options, progress: impl FnMut(&Report) + Send) -> relive::Result<Report> {
    let shared = Shared { report: Mutex::new((Report::default(), progress)), begun: AtomicU64::new(0) };
    let deadline = match options.extent {
        Extent::Time(duration) => Some(now() + duration),
        Extent::Kills(_) => None,
    };
    let job = |number: u32| {
        let chance = Chance::new(mixed(options.seed.wrapping_add(number.into())));
        let mut job = Job { options, shared: &shared, deadline, chance };
        while job.goes_on() {
            job.one_directory()?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..options.job_count).map(|number| scope.spawn(move || job(number))).collect();
        let panicked = |_| Err(Error::msg("a thread of the campaign panicked"));
        jobs.into_iter().try_for_each(|job| job.join().unwrap_or_else(panicked))
    })?;
    Ok(shared.report.into_inner().0)
}

#[expect(clippy::disallowed_methods, reason = "when to kill, and when to call a child hung")]
fn now() -> Instant {
    Instant::now()
}

/// What the jobs of a campaign share.
struct Shared<P> {
    report: Mutex<(Report, P)>,
    /// Directories so far.
    begun: AtomicU64,
}

/// One child after the other.
struct Job<'a, P> {
    options: &'a Options,
    shared: &'a Shared<P>,
    deadline: Option<Instant>,
    chance: Chance,
}

/// What is the same for all lives in a directory.
struct Setting {
    root: PathBuf,
    seed: u64,
    buffered: bool,
}

impl<P: FnMut(&Report)> Job<'_, P> {
    fn goes_on(&self) -> bool {
        let report = &self.shared.report.lock().0;
        report.is_clean()
            && match self.options.extent {
                Extent::Kills(kills) => report.kills < kills,
                Extent::Time(_) => self.deadline.is_none_or(|deadline| now() < deadline),
            }
    }

    fn one_directory(&mut self) -> relive::Result<()> {
        let number = self.shared.begun.fetch_add(1, Ordering::Relaxed);
        let root = self.options.directory.join(format!("{number:04}"));
        fs::create_dir_all(&root).map_err(|error| {
            Error::msg(format!("{}: the campaign's directory cannot be made", root.display())).caused_by(error)
        })?;
        let seed = self.chance.next();
        let setting = Setting { root, seed, buffered: self.chance.below(4) == 0 };
        let expected = (0..self.options.run_count)
            .map(|number| RunExpectation { number, result: Program::draw(seed, number).result() });
        let mut history = History { expected: expected.collect(), ..History::default() };
        let mut found: Vec<_> = self.all_lives(&setting, &mut history.lives)?.into_iter().collect();
        match logs(&setting.root.join("store"), &mut found) {
            Ok(logs) => history.logs = logs,
            Err(error) => found.push(Violation::Unreadable { why: format!("{error:?}") }),
        }
        if let Some(tamper) = self.options.tamper {
            tamper(&mut history);
        }
        let mut verdict = check(&history);
        verdict.violations.splice(0..0, found);
        let clean = verdict.violations.is_empty();
        self.shared.report.lock().0.add(verdict);
        if clean {
            fs::remove_dir_all(&setting.root)?;
        } else {
            // Witnesses and last words are there already.
            for (life, lines) in history.lives.iter().enumerate() {
                let bytes: io::Result<Vec<_>> = lines.pipe.iter().map(encoded).collect();
                fs::write(setting.root.join(format!("pipe-{life:04}")), bytes?.concat())?;
            }
        }
        Ok(())
    }

    /// Until all runs have ended; or the child has, by itself.
    fn all_lives(&mut self, setting: &Setting, lives: &mut Vec<Life>) -> relive::Result<Option<Violation>> {
        loop {
            let moment = if self.goes_on() { Moment::draw(&mut self.chance) } else { Moment::Never };
            let threads = 1 + self.chance.below(3);
            let life = lives.len();
            let (lines, status, silent) = self.one_life(setting, life, threads, moment)?;
            let killed = status.signal() == Some(9) && !silent;
            let done = lines.pipe.last() == Some(&Line::Done);
            {
                let (report, progress) = &mut *self.shared.report.lock();
                report.kills += u64::from(killed);
                report.kills_while_opening += u64::from(killed && lines.pipe.is_empty());
                progress(report);
            }
            lives.push(lines);
            if silent || !(done || killed) {
                return Ok(Some(Violation::Child { life, why: last_words(&setting.root, life, status, silent) }));
            }
            if done {
                return Ok(None);
            }
            if let Some(sabotage) = self.options.sabotage {
                sabotage(&setting.root)?;
            }
        }
    }

    /// Starts a child and sees it to its end. The last value says that it fell silent.
    fn one_life(
        &self,
        setting: &Setting,
        life: usize,
        threads: u64,
        moment: Moment,
    ) -> relive::Result<(Life, ExitStatus, bool)> {
        let witness = setting.root.join(format!("witness-{life:04}"));
        let mut command = Command::new(&self.options.program);
        command.arg("child").arg("--directory").arg(setting.root.join("store")).arg("--witness").arg(&witness);
        command.arg("--seed").arg(setting.seed.to_string()).arg("--runs").arg(self.options.run_count.to_string());
        command.arg("--threads").arg(threads.to_string());
        if setting.buffered {
            command.arg("--buffered");
        }
        let words = File::create(stderr_path(&setting.root, life))?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(words).spawn().map_err(|error| {
            Error::msg(format!("{}: the child cannot be started", self.options.program.display())).caused_by(error)
        })?;
        let lines = read(&mut child)?;
        let (mut pipe, silent) = watch(&lines, moment)?;
        // No error if it has ended by itself.
        child.kill()?;
        let status = child.wait()?;
        for line in lines {
            pipe.push(line?);
        }
        let witness = match fs::read(&witness) {
            Ok(bytes) => decoded(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        Ok((Life { pipe, witness }, status, silent))
    }
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

/// Takes lines until it is time to kill, or the child has ended. The second value says that it fell silent.
fn watch(lines: &Receiver<io::Result<Line>>, moment: Moment) -> io::Result<(Vec<Line>, bool)> {
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
            Err(RecvTimeoutError::Timeout) => return Ok((pipe, deadline.is_none())),
            Err(RecvTimeoutError::Disconnected) => return Ok((pipe, false)),
        }
        if !matches!(pipe.last(), Some(Line::Acknowledged(_))) {
            continue;
        }
        acknowledged += 1;
        match moment {
            Moment::Acknowledged(count) if acknowledged >= count => return Ok((pipe, false)),
            Moment::AfterFirst(delay) if deadline.is_none() => deadline = Some(now() + delay),
            _ => {}
        }
    }
}

fn stderr_path(root: &Path, life: usize) -> PathBuf {
    root.join(format!("stderr-{life:04}"))
}

fn last_words(root: &Path, life: usize, status: ExitStatus, silent: bool) -> String {
    let words = fs::read(stderr_path(root, life)).unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    let what =
        if silent { "the child fell silent".to_owned() } else { format!("the child ended by itself ({status})") };
    format!("{what}; its last words: {:?}", words.trim())
}

/// The logs of a store that nobody holds any more. One that cannot be read to its end is a violation, and is cut there.
fn logs(directory: &Path, found: &mut Vec<Violation>) -> relive::Result<BTreeMap<RunId, Vec<(Sequence, Event)>>> {
    let reader = RocksReader::open(directory, SCHEMA.format).map_err(storage_error)?;
    let reader: Arc<dyn Read> = Arc::new(reader);
    let mut logs = BTreeMap::new();
    for stored in inspect::runs(Arc::clone(&reader)) {
        let run = stored?.run;
        let mut log = Vec::new();
        for logged in inspect::events(Arc::clone(&reader), run) {
            match logged {
                Ok(logged) => log.push((logged.sequence, logged.event)),
                Err(error) => found.push(Violation::Unreadable { why: format!("{error:?}") }),
            }
        }
        logs.insert(run, log);
    }
    Ok(logs)
}
