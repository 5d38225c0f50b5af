//! `relive step RUN`: what was going on in a run at any event of its log.
//!
//! | | |
//! |---|---|
//! | `state` | events → state |
//! | `history` | any event of a log, and the state behind it |
//! | `view` | both as lines |
//! | `plain` | printed, as text or JSON |
//! | `app`, `search` | keys → position |
//! | `screen`, `terminal` | drawn; the terminal itself |
//!
//! Invariant: the log alone is read, no code of the user's is run; memory is bounded by what is open and what is shown.

mod app;
mod history;
mod plain;
mod screen;
mod search;
mod state;
mod terminal;
#[cfg(test)]
mod testing;
mod view;

use clap::Args;

use crate::args::RunArgument;
use crate::context::{Context, Status};
use crate::failure::Failure;

/// Step through a run's log, forward and back: at each event, what was going on
///
/// On a terminal, the events are on the left, and on the right is the state behind the chosen one: the traces that were open
/// and for how long, their failed tries and items, what the body had been given, signals. `?` lists the keys.
///
/// With --at or --json, or if the output goes to no terminal, the event and the state are printed; without --at, those at the
/// end. What an engine appends meanwhile is seen by the next call.
#[derive(Args, Debug)]
#[command(after_long_help = JSON_HELP)]
pub(crate) struct Step {
    #[command(flatten)]
    run: RunArgument,
    /// Print event N, the first is 0, and the state behind it
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

const JSON_HELP: &str = "\
With --json, one object with run, events (how many the log has), at, event, attempt, moment, elapsed_us (since the run
began), totals (of the attempt), and, each at most 100:
  open        the oldest first: age_us, failed_tries, next_try_due, items, started (the event)
  delivered   the latest ends of the body's traces, the newest last; values: those of now, random, uuid;
              nested: those of traces that effects called
  signals     the latest, the newest last
  ended       the end of the attempt, or null
Events are as `relive log --json` prints them.";

impl Step {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let store = context.store()?;
        let run = context.find(&store, &self.run)?;
        if context.json {
            plain::json(store, run, self.at, context.out)?;
        } else if self.at.is_some() || !context.is_terminal {
            plain::text(store, run, self.at, &context.look, context.out)?;
        } else {
            terminal::run(store, run, &context.look)?;
        }
        Ok(Status::Success)
    }
}
