//! `relive replay RUN`: whether a run's log still fits the code, and if not, why not.
//!
//! `draw` tells it to people, `object` to programs.

mod draw;
mod object;

pub(crate) use draw::{draw, reason};
pub(crate) use object::{CallObject, DifferenceObject, ReplayedObject, VerdictObject};

use clap::Args;
use relive::Verdict;

use crate::args::RunArgument;
use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;
use crate::program::Program;

/// Run a task's code against the log of a run: is it still what the log holds?
///
/// Needs the program whose task it is: its main() calls `relive_cli::main()`, or `relive_cli::Cli` if its engine is set up
/// with more than the defaults. No effect runs and nothing is written, also while an engine has the store open.
///
/// Says one of: `same`; `same until event N`, where an unfinished run would go on live; `result changed`, with the fields
/// that differ; `diverged at event N`, with what the log holds, what the code called, and what probably made the
/// difference. To tell that, a run that diverged is replayed a few times more.
///
/// Exit status: 0 if the code fits, 3 if the result changed or the run diverged, 1 if it cannot be replayed.
#[derive(Args, Debug)]
#[command(after_long_help = JSON_HELP)]
pub(crate) struct Replay {
    #[command(flatten)]
    run: RunArgument,
    /// Which attempt, from 1 [default: the last one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
}

const JSON_HELP: &str = "\
With --json, one object with run, task, attempt, events (how many fit), redacted (fields that an export replaced; if any),
verdict, and by verdict:
  same            outcome (ok, err, cancelled), output or error
  same_so_far     sequence (where the log ends), next (calls that would begin), stuck (why none
                  would, or null)
  result_changed  sequence, logged and now (outcome, output or error), differences (path, old, new),
                  cause, why
  diverged        sequence, change, logged and called (side: call, drop, finished, waiting; name,
                  input, occurrence, file, line), difference (path, old, new; or null), cause, why,
                  before (events, as `relive log --json` has them)
change: renamed, reordered, added, removed, replaced, argument, argument_type, dropped, ends, waits.
cause: map_order, clock, randomness, foreign_await, edited, environment. It is a guess.
Names stay as they are; new ones may come.";

impl Replay {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let store = context.store()?;
        let run = context.find(&store, &self.run)?;
        let program = Program::open(context, &store)?;
        let replayed = program.replay(run, self.attempt)?;
        if context.json {
            json::line(context.out, &ReplayedObject::of(&replayed))?;
        } else {
            draw(&replayed, &store, &context.look, context.out)?;
        }
        Ok(status(&replayed.verdict))
    }
}

pub(crate) fn status(verdict: &Verdict) -> Status {
    if verdict.fits() { Status::Success } else { Status::Differs }
}
