//! Kills a process with SIGKILL while it runs tasks, again and again, and compares what it acknowledged with what is left.
//!
//! `torture --kills 300` or `torture --seconds 60`. The last line of its output says what it came to; its exit status is 0
//! only if nothing was found. It starts itself as its own child.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use relive_tests::torture::{self, ChildOptions, Extent, Options, Report};

/// Kills a process with SIGKILL while it runs tasks, again and again, and compares what it acknowledged with what is left.
#[derive(Debug, Parser)]
#[command(name = "torture")]
struct Arguments {
    #[command(subcommand)]
    child: Option<Role>,
    /// How often to kill.
    #[arg(long, default_value_t = 300, conflicts_with = "seconds")]
    kills: u64,
    /// How long to go on, instead of a number of kills.
    #[arg(long)]
    seconds: Option<u64>,
    /// Decides what the tasks do and when they are killed [default: drawn].
    #[arg(long)]
    seed: Option<u64>,
    /// Runs at once.
    #[arg(long, default_value_t = 50)]
    runs: u32,
    /// Children at once.
    #[arg(long, default_value_t = 2)]
    jobs: u32,
    /// Where to put the stores [default: a temporary directory].
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Role {
    #[command(hide = true)]
    Child(Child),
}

#[derive(Debug, Args)]
struct Child {
    #[arg(long)]
    directory: PathBuf,
    #[arg(long)]
    witness: PathBuf,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    runs: u32,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    buffered: bool,
}

#[expect(clippy::print_stderr, clippy::print_stdout, reason = "a program for people")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.child {
        Some(Role::Child(child)) => torture::child(&child.into()).map(|()| true),
        None => campaign(&arguments).map(|report| {
            println!("{report}");
            report.is_clean()
        }),
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

impl From<Child> for ChildOptions {
    fn from(child: Child) -> Self {
        let Child { directory, witness, seed, runs, threads, buffered } = child;
        Self { directory, witness, seed, run_count: runs, buffered, thread_count: threads.max(1) }
    }
}

#[expect(clippy::print_stderr, reason = "progress, and what was found, beside the report")]
fn campaign(arguments: &Arguments) -> relive::Result<Report> {
    // Its name is not needed: a directory that is not clean is kept, and told.
    let directory = match &arguments.dir {
        Some(directory) => directory.clone(),
        None => tempfile::Builder::new().prefix("relive-torture-").tempdir()?.keep(),
    };
    let options = Options {
        extent: arguments.seconds.map_or(Extent::Kills(arguments.kills), |s| Extent::Time(Duration::from_secs(s))),
        seed: arguments.seed.map_or_else(drawn_seed, Ok)?,
        run_count: arguments.runs.max(1),
        job_count: arguments.jobs.max(1),
        program: std::env::current_exe()?,
        directory: directory.clone(),
        tamper: None,
        sabotage: None,
    };
    eprintln!("torture: seed={} directory={}", options.seed, directory.display());
    let shows = std::io::stderr().is_terminal();
    let report = torture::run(&options, |report| {
        if shows {
            eprint!("\r{report}");
        }
    })?;
    if shows {
        eprintln!();
    }
    let (kills, opening) = (report.kills, report.kills_while_opening);
    eprintln!("torture: {opening} of {kills} kills before the first word; {} directories", report.directories);
    if let Some(first) = report.violations.first() {
        eprintln!("torture: seed={}: {} violations, the first: {first}", options.seed, report.violations.len());
        eprintln!("torture: all that is left is in {}", directory.display());
    } else if arguments.dir.is_none() {
        std::fs::remove_dir_all(&directory)?;
    }
    Ok(report)
}

/// A seed from the operating system.
fn drawn_seed() -> relive::Result<u64> {
    let bytes = relive::Uuid::new_v4().as_u128();
    u64::try_from(bytes & u128::from(u64::MAX)).map_err(relive::Error::from)
}
