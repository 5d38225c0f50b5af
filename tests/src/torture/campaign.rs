//! The process that kills: starts the child, ends it at random moments, starts it again until all its runs have ended,
//! and hands what it saw to the oracle.
//!
//! Called by the `torture` binary and by the tests; the child is the same binary, with other arguments.
//!
//! Invariant: a campaign ends: after its kills or its time, and after at most a minute of silence.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use relive::{Error, Event, RunId, Sequence};
use relive_engine::inspect;
use relive_engine::schema::{SCHEMA, storage_error};
use relive_storage::{Read, RocksReader};

use super::chance::{Chance, mixed};
use super::child::ChildOptions;
use super::life::{Moment, Start, now};
use super::memory;
use super::oracle::{History, Life, RunExpectation, Violation, check};
use super::pipe::Line;
use super::power::Disk;
use super::program::Program;
use super::report::Report;
use super::witness::encoded;

/// The signal that nobody can catch.
pub(super) const SIGKILL: i32 = 9;

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
    /// What ends a life.
    pub cut: Cut,
    /// For controls.
    pub tamper: Option<Tamper>,
    /// For controls. Is given the directory that holds `store`.
    pub sabotage: Option<Sabotage>,
}

/// What ends a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// SIGKILL. A quarter of the stores are buffered.
    Kill,
    /// The store's disk loses its power; then SIGKILL.
    Power,
    /// The same, and no store is synced: the control, which must lose something.
    PowerUnsynced,
    /// A store in memory forgets what was not synced: where no power can be cut.
    Memory,
}

impl Cut {
    /// As it is called in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Power => "power",
            Self::PowerUnsynced => "power without syncs",
            Self::Memory => "power (a store in memory stands in)",
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
    store: PathBuf,
    disk: Option<Disk>,
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
        let cut = self.options.cut;
        let disk = if matches!(cut, Cut::Kill | Cut::Memory) { None } else { Some(Disk::make(&root)?) };
        let store = disk.as_ref().map_or(root.as_path(), Disk::path).join("store");
        let buffered = match cut {
            Cut::Kill => self.chance.below(4) == 0,
            Cut::Power | Cut::Memory => false,
            Cut::PowerUnsynced => true,
        };
        let mut setting = Setting { root, store, disk, seed, buffered };
        let expected = (0..self.options.run_count)
            .map(|number| RunExpectation { number, result: Program::draw(seed, number).result() });
        let mut history = History { expected: expected.collect(), ..History::default() };
        let mut found: Vec<_>;
        let read = if cut == Cut::Memory {
            found = Vec::new();
            let read = self.lives_in_memory(&setting, &mut history.lives, &mut found)?;
            logs_in(&read, &mut found)
        } else {
            found = self.all_lives(&mut setting, &mut history.lives)?.into_iter().collect();
            logs(&setting.store, &mut found)
        };
        match read {
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
        // Unmounts it.
        setting.disk = None;
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

    fn lives_in_memory(
        &mut self,
        setting: &Setting,
        lives: &mut Vec<Life>,
        found: &mut Vec<Violation>,
    ) -> relive::Result<Arc<dyn Read>> {
        let thread_count = usize::try_from(1 + self.chance.below(3)).unwrap_or(1);
        let (witness, directory) = (PathBuf::new(), PathBuf::new());
        let (seed, run_count, buffered) = (setting.seed, self.options.run_count, setting.buffered);
        let child = ChildOptions { directory, witness, seed, run_count, buffered, failing: false, thread_count };
        let mut chance = self.chance.clone();
        let (cuts, store) = memory::lives(&setting.root, &child, &mut chance, || self.goes_on(), lives, found)?;
        self.chance = chance;
        let (report, progress) = &mut *self.shared.report.lock();
        report.kills += cuts;
        progress(report);
        Ok(store)
    }

    /// Until all runs have ended; or the child has, by itself.
    fn all_lives(&mut self, setting: &mut Setting, lives: &mut Vec<Life>) -> relive::Result<Option<Violation>> {
        loop {
            let moment = if self.goes_on() { Moment::draw(&mut self.chance) } else { Moment::Never };
            let threads = 1 + self.chance.below(3);
            let life = lives.len();
            let start = self.start(setting, life, threads);
            let cut = || setting.disk.as_ref().map_or(Ok(()), Disk::cut);
            let lived = start.live(moment, cut)?;
            let done = lived.life.pipe.last() == Some(&Line::Done);
            // Without power it may also end by itself, just before it is killed.
            let cut = lived.cut && (setting.disk.is_some() || lived.status.signal() == Some(SIGKILL));
            let why = (lived.silent || !(done || cut)).then(|| start.last_words(&lived));
            let lines = lived.life;
            {
                let (report, progress) = &mut *self.shared.report.lock();
                report.kills += u64::from(cut);
                report.kills_while_opening += u64::from(cut && lines.pipe.is_empty());
                progress(report);
            }
            lives.push(lines);
            if let Some(disk) = setting.disk.as_mut().filter(|_| cut) {
                disk.restart()?;
            }
            if let Some(why) = why {
                return Ok(Some(Violation::Child { life, why }));
            }
            if done {
                return Ok(None);
            }
            if let Some(sabotage) = self.options.sabotage {
                sabotage(&setting.root)?;
            }
        }
    }

    fn start<'a>(&'a self, setting: &'a Setting, life: usize, thread_count: u64) -> Start<'a> {
        Start {
            wrapper: &[],
            program: &self.options.program,
            root: &setting.root,
            store: setting.store.clone(),
            life,
            seed: setting.seed,
            run_count: self.options.run_count,
            thread_count,
            buffered: setting.buffered,
            failing: false,
        }
    }
}

/// The logs of a store that nobody holds any more. One that cannot be read to its end is a violation, and is cut there.
pub(super) fn logs(
    directory: &Path,
    found: &mut Vec<Violation>,
) -> relive::Result<BTreeMap<RunId, Vec<(Sequence, Event)>>> {
    let reader = RocksReader::open(directory, SCHEMA.format).map_err(storage_error)?;
    logs_in(&(Arc::new(reader) as Arc<dyn Read>), found)
}

/// The same of any store.
pub(super) fn logs_in(
    reader: &Arc<dyn Read>,
    found: &mut Vec<Violation>,
) -> relive::Result<BTreeMap<RunId, Vec<(Sequence, Event)>>> {
    let mut logs = BTreeMap::new();
    for stored in inspect::runs(Arc::clone(reader)) {
        let run = stored?.run;
        let mut log = Vec::new();
        for logged in inspect::events(Arc::clone(reader), run) {
            match logged {
                Ok(logged) => log.push((logged.sequence, logged.event)),
                Err(error) => found.push(Violation::Unreadable { why: format!("{error:?}") }),
            }
        }
        logs.insert(run, log);
    }
    Ok(logs)
}
