//! The fault campaign: a part per sub-command, all parts shortly without one. `docs/reliability.md` says what each shows.
//!
//! `torture kill --kills 300`, `torture corruption --log-every 1`. The last line of a part's output says what it came to; the
//! exit status is 0 only if nothing was found. It starts itself as its own child.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use relive_tests::torture::{
    self, CallOptions, CallReport, ChildOptions, CorruptionOptions, Cut, Extent, Options, Progress, Report,
};

/// Breaks what Relive runs on, again and again, and compares what was acknowledged with what is left.
#[derive(Debug, Parser)]
#[command(name = "torture")]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Debug, Args)]
struct Common {
    /// Decides what the tasks do and when they are disturbed [default: drawn].
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// Where to put the stores [default: a temporary directory, removed if nothing was found].
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
enum Part {
    /// SIGKILL at random moments.
    Kill(Kill),
    /// Power cuts at random moments; where they cannot be made, a store in memory that forgets what was not synced.
    Power(Kill),
    /// SIGKILL at every write, sync and rename.
    Calls(Calls),
    /// An error from every write, sync and rename, and disks that are full.
    Errors(Calls),
    /// Each byte and each length of each file of a store.
    Corruption(Corruption),
    /// Chosen moments: clocks that jump, callers that go away, edits, shutdowns.
    Laws,
    /// Plants faults, and sees that the other parts find each. Prints a table.
    #[cfg(feature = "planted-faults")]
    Planted {
        /// Only this one.
        #[arg(long)]
        only: Option<String>,
    },
    #[command(hide = true)]
    Child(Child),
}

#[derive(Clone, Debug, Args)]
struct Kill {
    /// How often to kill.
    #[arg(long, default_value_t = 300, conflicts_with = "seconds")]
    kills: u64,
    /// How long to go on, instead of a number of kills.
    #[arg(long)]
    seconds: Option<u64>,
    /// Runs at once.
    #[arg(long, default_value_t = 50)]
    runs: u32,
    /// Children at once: more than there are processors, as each waits for its disk, its effects and its end.
    #[arg(long, default_value_t = 4)]
    jobs: u32,
    /// Of power cuts: on a store in memory that forgets what was not synced, as where no power can be cut.
    #[arg(long)]
    in_memory: bool,
}

#[derive(Clone, Debug, Args)]
struct Calls {
    /// Of the calls, every so many; 1 for all.
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// Runs at once. With one, a life has about 50 events.
    #[arg(long, default_value_t = 1)]
    runs: u32,
}

#[derive(Clone, Debug, Args)]
struct Corruption {
    /// Of the write-ahead log, every so many bytes; 1 for all.
    #[arg(long, default_value_t = 1)]
    log_every: usize,
    /// Of each other file, about so many bytes and lengths.
    #[arg(long, default_value_t = 2000)]
    others: usize,
    /// Of the logs of runs, the records of every so many.
    #[arg(long, default_value_t = 1)]
    run_every: usize,
    /// Seconds after which an open counts as one that hangs.
    #[arg(long, default_value_t = 5)]
    hang: u64,
}

#[derive(Clone, Debug, Args)]
struct Child {
    #[arg(long)]
    directory: PathBuf,
    #[arg(long)]
    witness: PathBuf,
    #[arg(long)]
    runs: u32,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    buffered: bool,
    #[arg(long)]
    failing: bool,
}

/// The parts of a campaign without a name, and how short each is.
fn all() -> [Part; 6] {
    [
        Part::Laws,
        Part::Kill(Kill { kills: 300, seconds: None, runs: 50, jobs: 4, in_memory: false }),
        Part::Power(Kill { kills: 50, seconds: None, runs: 50, jobs: 4, in_memory: false }),
        Part::Calls(Calls { every: 11, runs: 1 }),
        Part::Errors(Calls { every: 11, runs: 1 }),
        Part::Corruption(Corruption { log_every: 499, others: 4, run_every: 7, hang: 60 }),
    ]
}

#[expect(clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    let Arguments { part, common } = Arguments::parse();
    let result = match part {
        Some(part) => run(&part, &common),
        None => all().iter().try_fold(true, |clean, part| Ok(run(part, &common)? && clean)),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("torture: {error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a part. Says whether it was clean.
fn run(part: &Part, common: &Common) -> relive::Result<bool> {
    if let Part::Child(child) = part {
        return torture::child(&child.options(common.seed.unwrap_or(0))).map(|()| true);
    }
    let seed = common.seed.map_or_else(drawn_seed, Ok)?;
    // Its name is not needed: a directory that is not clean is kept, and told.
    let directory = match &common.dir {
        Some(directory) => directory.clone(),
        None => tempfile::Builder::new().prefix("relive-torture-").tempdir()?.keep(),
    };
    say(&format!("torture: seed={seed} directory={}", directory.display()));
    let clean = match part {
        Part::Kill(kill) => kill.run(seed, &directory, Cut::Kill)?,
        Part::Power(kill) => kill.power(seed, &directory)?,
        Part::Calls(calls) => {
            let mut shown = Shown::default();
            calls.run(seed, &directory, |options| torture::kills(options, |report| shown.of_calls(report)))?
        }
        Part::Errors(calls) => {
            let mut shown = Shown::default();
            calls.run(seed, &directory, |options| torture::errors(options, |report| shown.of_calls(report)))?
        }
        Part::Corruption(corruption) => corruption.run(seed, &directory)?,
        Part::Laws => {
            let (count, broken) = torture::laws()?;
            broken.iter().for_each(|law| result(&format!("laws: violation: {law}")));
            result(&format!("laws: laws={count} broken={}", broken.len()));
            broken.is_empty()
        }
        #[cfg(feature = "planted-faults")]
        Part::Planted { only } => {
            let program = std::env::current_exe()?;
            let found = torture::planted(&program, seed, only.as_deref(), result)?;
            found.iter().all(torture::Found::is_right) && !found.is_empty()
        }
        Part::Child(_) => true,
    };
    if !clean {
        say(&format!("torture: all that is left is in {}", directory.display()));
    } else if common.dir.is_none() {
        std::fs::remove_dir_all(&directory)?;
    }
    Ok(clean)
}

impl Child {
    fn options(&self, seed: u64) -> ChildOptions {
        let Self { directory, witness, runs, threads, buffered, failing } = self.clone();
        ChildOptions { directory, witness, seed, run_count: runs, buffered, failing, thread_count: threads.max(1) }
    }
}

impl Kill {
    fn run(&self, seed: u64, directory: &Path, cut: Cut) -> relive::Result<bool> {
        told(&self.report(seed, directory, cut)?, cut.name())
    }

    /// Power cuts, and a control: without syncs they must lose something, else they show nothing.
    fn power(&self, seed: u64, directory: &Path) -> relive::Result<bool> {
        let able = if self.in_memory { Err("asked for".to_owned()) } else { torture::can_cut_power(directory) };
        if let Err(why) = able {
            result(&format!("power: no power is cut ({why}): a store in memory stands in"));
            return self.run(seed, directory, Cut::Memory);
        }
        let control = Self { kills: 20, seconds: None, ..self.clone() };
        let lost = control.report(seed, &directory.join("control"), Cut::PowerUnsynced)?.lost;
        std::fs::remove_dir_all(directory.join("control"))?;
        result(&format!("power: control without syncs: lost={lost}"));
        Ok(self.run(seed, directory, Cut::Power)? && lost > 0)
    }

    fn report(&self, seed: u64, directory: &Path, cut: Cut) -> relive::Result<Report> {
        let options = Options {
            extent: self.seconds.map_or(Extent::Kills(self.kills), |s| Extent::Time(Duration::from_secs(s))),
            seed,
            run_count: self.runs.max(1),
            job_count: self.jobs.max(1),
            program: std::env::current_exe()?,
            directory: directory.to_owned(),
            cut,
            tamper: None,
            sabotage: None,
        };
        let mut shown = Shown::default();
        let all = self.seconds.is_none().then_some(self.kills);
        torture::run(&options, |report| shown.shows(report.kills, all, &format!("{}: {report}", cut.name())))
    }
}

/// Says what a campaign of kills came to.
fn told(report: &Report, part: &str) -> relive::Result<bool> {
    let (kills, opening) = (report.kills, report.kills_while_opening);
    say(&format!("torture: {opening} of {kills} kills before the first word; {} directories", report.directories));
    if let Some(first) = report.violations.first() {
        result(&format!("{part}: violation: {first} (the first of {})", report.violations.len()));
    }
    result(&format!("{part}: {report}"));
    Ok(report.is_clean())
}

impl Calls {
    fn run(
        &self,
        seed: u64,
        directory: &Path,
        part: impl FnOnce(&CallOptions) -> relive::Result<CallReport>,
    ) -> relive::Result<bool> {
        if let Err(why) = torture::can_trace() {
            result(&format!("calls: skipped: {why}"));
            return Ok(true);
        }
        let (program, directory) = (std::env::current_exe()?, directory.canonicalize()?);
        let report = part(&CallOptions { every: self.every, seed, run_count: self.runs.max(1), program, directory })?;
        report.notes.iter().for_each(|note| result(&format!("{}: {note}", report.part)));
        report.violations.iter().take(20).for_each(|found| result(&format!("{}: violation: {found}", report.part)));
        result(&report);
        Ok(report.is_clean())
    }
}

impl Corruption {
    fn run(&self, seed: u64, directory: &Path) -> relive::Result<bool> {
        let options = CorruptionOptions {
            log_every: self.log_every,
            other_count: self.others,
            run_every: self.run_every,
            seed,
            directory: directory.to_owned(),
            hang: Duration::from_secs(self.hang),
        };
        let mut shown = Shown::default();
        let report = torture::corruption(&options, |report| {
            let violations = report.violations.len();
            shown.shows(report.cases(), Some(report.planned), &format!("corruption: violations={violations}"));
        })?;
        for violation in report.violations.iter().take(20) {
            result(&format!("corruption: violation: {violation}"));
        }
        result(&report);
        Ok(report.is_clean())
    }
}

/// What is shown while a part goes on: always the last line on a terminal, now and then one elsewhere.
#[derive(Default)]
struct Shown(Progress);

impl Shown {
    #[expect(clippy::print_stderr, reason = "progress, beside the report")]
    fn shows(&mut self, done: u64, all: Option<u64>, words: &impl std::fmt::Display) {
        if std::io::stderr().is_terminal() {
            eprint!("\r{}\x1b[K", self.0.line(done, all, words));
        } else if self.0.is_due() {
            eprintln!("{}", self.0.line(done, all, words));
        }
    }

    fn of_calls(&mut self, report: &CallReport) {
        self.shows(report.cases, Some(report.planned), report);
    }
}

#[expect(clippy::print_stderr, reason = "what was found, beside the report")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stdout, reason = "the report")]
fn result(line: &impl std::fmt::Display) {
    println!("{line}");
}

/// A seed from the operating system.
fn drawn_seed() -> relive::Result<u64> {
    let bytes = relive::Uuid::new_v4().as_u128();
    u64::try_from(bytes & u128::from(u64::MAX)).map_err(relive::Error::from)
}
