//! `relive check`: whether a new build still fits the logs that exist.
//!
//! `file` opens exports as stores; `report` counts and tells what was found.
//!
//! Invariant: memory is bounded by the ids of the runs that are replayed, and by one replay at a time.

mod file;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use relive::{CodeHash, Replayed};
use relive_engine::error::{Error, ErrorKind};
use relive_engine::id::RunId;
use relive_engine::index::RunState;
use relive_storage::Read;

use self::report::Report;
use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::filter::{Filter, Selected};
use crate::program::Program;
use crate::time;

/// Replay runs against the code at hand: will the new build still fit the logs that exist?
///
/// Every unfinished run is replayed, as it would be when the new build takes it up, and the newest of the finished ones by
/// task and version of its code. Given files, the runs that `relive export` wrote into them are replayed instead: recorded
/// where a run failed, kept with the tests. Needs the program whose tasks they are; no effect runs and nothing is written, also while
/// an engine has the store open.
///
/// A run fits, or its result changed, or it diverged; or it cannot be replayed, as today's types cannot read what it holds
/// (unreadable), this program does not have its task (missing), or its log is damaged.
///
/// Exit status: 0 if all fit; 3 if one does not, or an unfinished one's task is missing; 1 if a log is damaged or the store
/// cannot be read.
#[derive(Args, Debug)]
#[command(after_long_help = HELP)]
pub(crate) struct Check {
    /// Exported runs, instead of those of the store
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only these: `task=digest status=failed since=2h`
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    runs: Option<Filter>,
    /// How many finished runs of each task and version of its code, the newest first
    #[arg(long, value_name = "N", default_value_t = 10)]
    sample: u64,
    /// All finished runs
    #[arg(long, conflicts_with = "sample")]
    all: bool,
}

const HELP: &str = "\
A filter has parts name=value, parted by spaces; all must hold; a value with spaces is put in quotes:
  task=NAME        runs of this task
  status=STATUS    unfinished, completed, failed, cancelled, parked
  since=WHEN       started since then: 2h, 3d, 2026-01-31, 2026-01-31T08:00
  until=WHEN       started before then
  input=TEXT       whose input, as `relive log` prints it, contains this
  tag=NAME=VALUE   with this tag
  limit=N          so many

With --json, a line per run with run, task, state, attempt, events, verdict, and what `relive replay --json` says of it; or
with verdict unreadable, missing or damaged, and why. The last line is the summary: checked, fit, result_changed, diverged,
unreadable, missing, damaged, left_out (finished runs that were not in the sample).";

fn filter(text: &str) -> Result<Filter, String> {
    text.parse()
}

/// What became of one run.
pub(crate) enum Found {
    Replayed(Box<Replayed>),
    /// Today's types cannot read its input, or a result in its log.
    Unreadable(String),
    /// This program does not have its task.
    Missing(String),
    /// Its log cannot be read.
    Damaged(String),
}

/// A run that is checked.
pub(crate) struct Candidate {
    pub(crate) run: RunId,
    pub(crate) task: Arc<str>,
    pub(crate) state: RunState,
}

/// The runs that are checked.
struct Candidates {
    all: Vec<Candidate>,
    /// Finished runs that are not in the sample.
    left_out: u64,
}

impl Check {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let mut report = Report::new(context.json);
        if self.files.is_empty() {
            self.store(&context.store()?, context, &mut report)?;
        }
        for path in &self.files {
            let opened = file::open(path)?;
            self.store(&opened.store, context, &mut report)?;
        }
        report.end(&context.look, context.out)
    }

    /// Checks the runs of a store.
    fn store(&self, store: &Arc<dyn Read>, context: &mut Context<'_>, report: &mut Report) -> Result<(), Failure> {
        let program = Program::open(context, store)?;
        let candidates = self.candidates(store, &program)?;
        report.leave_out(candidates.left_out);
        check(&program, &candidates.all, &mut |candidate, found| report.take(candidate, found, context.out))
    }

    fn candidates(&self, store: &Arc<dyn Read>, program: &Program) -> Result<Candidates, Failure> {
        let everything = Filter::default();
        let filter = self.runs.as_ref().unwrap_or(&everything);
        let mut candidates = Candidates { all: Vec::new(), left_out: 0 };
        let mut names: BTreeMap<String, Arc<str>> = BTreeMap::new();
        let mut counts: BTreeMap<(Arc<str>, [u8; 16]), u64> = BTreeMap::new();
        for selected in filter.select(store, time::now()) {
            let Selected { stored, .. } = selected?;
            let (run, record) = (stored.run, stored.record);
            let task = Arc::clone(names.entry(record.task).or_insert_with_key(|name| name.as_str().into()));
            // Who names files means all that is in them.
            if record.state != RunState::Unfinished && !self.all && self.files.is_empty() {
                let version = program.replayer.last_started(run).map(|started| started.code);
                // A log that cannot be read is a version of its own: it is to be heard of.
                let version = version.as_ref().map(CodeHash::as_bytes).copied().unwrap_or_else(|_| *run.as_bytes());
                let count = counts.entry((Arc::clone(&task), version)).or_insert(0);
                if *count >= self.sample {
                    candidates.left_out += 1;
                    continue;
                }
                *count += 1;
            }
            candidates.all.push(Candidate { run, task, state: record.state });
        }
        Ok(candidates)
    }
}

/// Replays runs, one after the other, and tells what was found of each.
///
/// # Errors
/// If the store cannot be read, or `tell` fails.
fn check(
    program: &Program,
    candidates: &[Candidate],
    tell: &mut dyn FnMut(&Candidate, Found) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // Draws to standard error, and only if that is a terminal.
    let progress = ProgressBar::new(candidates.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} runs  {eta} left") {
        progress.set_style(style);
    }
    for candidate in candidates {
        let found = examine(program, candidate)?;
        tell(candidate, found)?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(())
}

fn examine(program: &Program, candidate: &Candidate) -> Result<Found, Error> {
    if program.replayer.registry().task(&candidate.task).is_none() {
        return Ok(Found::Missing(program.lacks(&candidate.task)));
    }
    let error = match program.replay(candidate.run, None) {
        Ok(replayed) => return Ok(Found::Replayed(Box::new(replayed))),
        Err(error) => error,
    };
    let causes: Vec<String> =
        std::iter::successors(error.source(), |source| source.source()).map(ToString::to_string).collect();
    let why = std::iter::once(error.to_string()).chain(causes).collect::<Vec<_>>().join(": ");
    match error.kind() {
        ErrorKind::Payload => Ok(Found::Unreadable(why)),
        ErrorKind::UnknownTask => Ok(Found::Missing(why)),
        ErrorKind::Corrupt | ErrorKind::NewerFormat | ErrorKind::UnknownRun => Ok(Found::Damaged(why)),
        _ => Err(error),
    }
}
