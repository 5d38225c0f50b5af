//! `relive diff RUN RUN`: where two runs part: their inputs, their calls, their results.
//!
//! `calls` reads a log as calls, `align` puts two of them side by side, `values` says what differs in a pair, `draw` and
//! `object` tell it.
//!
//! Invariant: logs are read once, side by side; memory is bounded by two [`align::WINDOW`]s of calls of each, and by one payload of
//! each for every difference that is shown.

mod align;
mod calls;
mod draw;
mod object;
mod values;

use std::sync::Arc;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use relive_engine::event::{TaskOutcome, TaskStarted};
use relive_engine::id::RunId;
use relive_engine::verdict::{DIFFERENCES_MAX, outcome_value};
use relive_storage::Read;

use self::align::{Align, Pair};
use self::calls::Calls;
use self::values::Changed;
use crate::args::RunArgument;
use crate::context::{Context, Status};
use crate::failure::Failure;

/// Compare two runs: inputs, calls, results
///
/// Calls are matched by trace and arguments, in the order of their steps; those of the last attempt of each run, also
/// what effects called. Values are compared field by field. Times, tries, and the order in which results came do not count,
/// nor does an outcome that comes more than 1,000 calls after its start.
///
/// Works without the program whose runs they are. Exit status: 0 if there is no difference, 3 if there is one, 1 if a run
/// cannot be read.
#[derive(Args, Debug)]
#[command(after_long_help = JSON_HELP)]
pub(crate) struct Diff {
    /// The run to compare with: its id, the beginning of it, or the id that its caller gave it
    #[arg(value_name = "RUN", value_parser = NonEmptyStringValueParser::new())]
    first: String,
    /// The other run
    #[arg(value_name = "RUN", value_parser = NonEmptyStringValueParser::new())]
    second: String,
    /// Show so many differences between calls; the others are counted
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: u64,
}

const JSON_HELP: &str = "\
With --json, a line per difference with difference, first and second (sequence and call of each run, or null), and
differences (path, old, new):
  task      the runs are of different tasks (first and second are their names)
  input     of the task
  only      a call that one of them makes
  argument  a call of the same trace with other arguments
  outcome   the same call, and another outcome or other items
  moved     the same call at another place
  result    of the task
The last line is the summary: same, only_first, only_second, argument, outcome, moved (how many calls), differs.";

/// What two runs have in common, and what not.
pub(crate) struct Compared {
    tasks: [String; 2],
    input: Vec<relive::Difference>,
    /// The first differences between calls.
    calls: Vec<Changed>,
    counts: Counts,
    ends: [Option<TaskOutcome>; 2],
    result: Vec<relive::Difference>,
}

/// How many calls are matched so.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Counts {
    same: u64,
    only_first: u64,
    only_second: u64,
    argument: u64,
    outcome: u64,
    moved: u64,
}

impl Counts {
    fn differing(&self) -> u64 {
        let Self { same: _, only_first, only_second, argument, outcome, moved } = self;
        only_first + only_second + argument + outcome + moved
    }
}

impl Compared {
    fn differs(&self) -> bool {
        let is_other_end = match &self.ends {
            [Some(a), Some(b)] => std::mem::discriminant(a) != std::mem::discriminant(b),
            [a, b] => a.is_some() != b.is_some(),
        };
        let is_other_task = self.tasks[0] != self.tasks[1];
        is_other_task
            || is_other_end
            || !self.input.is_empty()
            || !self.result.is_empty()
            || self.counts.differing() > 0
    }
}

impl Diff {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let store = context.store()?;
        let find = |run: &String| context.find(&store, &RunArgument { run: run.clone() });
        let runs = [find(&self.first)?, find(&self.second)?];
        let compared = compare(&store, runs, self.limit)?;
        if context.json {
            object::write(&compared, context.out)?;
        } else {
            draw::draw(runs, &compared, &context.look, context.out)?;
        }
        Ok(if compared.differs() { Status::Differs } else { Status::Success })
    }
}

/// Compares the last attempts of two runs.
fn compare(store: &Arc<dyn Read>, runs: [RunId; 2], limit: u64) -> Result<Compared, Failure> {
    let [first, second] = [Calls::read(store, runs[0])?, Calls::read(store, runs[1])?];
    let inputs = |a: &TaskStarted, b: &TaskStarted| match a.input == b.input {
        true => Vec::new(),
        false => a.input.to_value().differences(&b.input.to_value(), DIFFERENCES_MAX),
    };
    let input = inputs(&first.started, &second.started);
    let tasks = [first.started.task.to_string(), second.started.task.to_string()];
    let mut align = Align::new(first, second);
    let (mut counts, mut calls) = (Counts::default(), Vec::new());
    while let Some(pair) = align.next_pair()? {
        let changed = values::changed(store, runs, &pair)?;
        let count = match (&pair, &changed) {
            (Pair::First(_), _) => &mut counts.only_first,
            (Pair::Second(_), _) => &mut counts.only_second,
            (Pair::Moved(..), _) => &mut counts.moved,
            (Pair::Argument(..), _) => &mut counts.argument,
            (Pair::Same(..), Some(_)) => &mut counts.outcome,
            (Pair::Same(..), None) => &mut counts.same,
        };
        *count += 1;
        calls.extend(changed.filter(|_| (calls.len() as u64) < limit));
    }
    let ends = align.into_ends();
    let result = match &ends {
        [Some(a), Some(b)] => outcome_value(a).differences(&outcome_value(b), DIFFERENCES_MAX),
        _ => Vec::new(),
    };
    Ok(Compared { tasks, input, calls, counts, ends, result })
}
