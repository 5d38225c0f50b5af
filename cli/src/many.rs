//! Which runs are resumed or cancelled: one that is named, or all that a filter lets through.
//!
//! Used by `resume` and `cancel`.
//!
//! Invariant: a command line that names no run and no filter means none, never all.

use std::sync::Arc;

use clap::Args;
use relive::live::{Client, Command};
use relive_engine::error::{Error, ErrorKind};
use relive_engine::id::RunId;
use relive_storage::Read;
use serde_json::{Value, json};

use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::filter::{Filter, Selected};
use crate::json;
use crate::look::BAD;
use crate::runs;
use crate::text::{counted, escaped};
use crate::time;

/// So many runs are named in one command to an engine: 1,000, which it cancels in one commit if they are blocked.
const RUNS_PER_COMMAND: usize = 1_000;

/// So many errors are printed: 10, as they are mostly the same.
const ERRORS_MAX: usize = 10;

/// Which runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunsArgument {
    /// The run's id, the beginning of it, or the id that its caller gave it; without it, filters say which runs
    #[arg(value_name = "RUN", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    run: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// With filters: only say which runs, and how many; nothing is done
    #[arg(long)]
    dry: bool,
}

/// What was meant.
pub(crate) enum Meant {
    One(RunId),
    /// At once; and whether it is only said which.
    Many(Vec<Selected>, bool),
}

impl RunsArgument {
    /// The runs that are meant; of those that filters let through, these.
    pub(crate) fn find(
        &self,
        context: &Context<'_>,
        store: &Arc<dyn Read>,
        is_meant: impl Fn(&Filter, &Selected) -> bool,
    ) -> Result<Meant, Failure> {
        let refused = |why: &str| Err(Error::new(ErrorKind::Unsupported, why.to_owned()).into());
        let has_filter = !self.filter.is_empty() || self.filter.limit.is_some();
        match &self.run {
            Some(_) if has_filter => refused("a run is named, and filters are given, too: give one or the other"),
            Some(_) if self.dry => refused("--dry goes with filters: of one run, `relive show` says how it stands"),
            Some(run) => Ok(Meant::One(context.find(store, &crate::args::RunArgument { run: run.clone() })?)),
            None if self.filter.is_empty() => {
                refused("say which run; or which runs, by --status, --reason, --task, --tag, --since, --until, --input")
            }
            None => {
                // The limit is on those that are meant.
                let mut unlimited = self.filter.clone();
                unlimited.limit = None;
                let selected = unlimited.select(store, time::now());
                let meant = selected.filter(|run| run.as_ref().map_or(true, |run| is_meant(&self.filter, run)));
                let meant = meant.take(self.filter.limit.unwrap_or(usize::MAX)).collect::<Result<_, _>>()?;
                Ok(Meant::Many(meant, self.dry))
            }
        }
    }
}

/// What was done to runs.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// How many it was done to.
    pub(crate) count: u64,
    pub(crate) resumed: Vec<RunId>,
    /// Those that had ended before.
    ended: u64,
    /// Runs and errors.
    failed: Vec<(String, String)>,
}

impl Done {
    /// Takes in an engine's reply.
    pub(crate) fn add(&mut self, reply: &Value) {
        let resumed = reply["resumed"].as_array().map(Vec::as_slice).unwrap_or_default();
        self.resumed.extend(resumed.iter().filter_map(Value::as_str).filter_map(|run| run.parse::<RunId>().ok()));
        self.count += reply["cancelled"].as_u64().unwrap_or(resumed.len() as u64);
        self.ended += reply["ended"].as_u64().unwrap_or(0);
        let failed = reply["failed"].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
        self.failed.extend(failed.iter().map(|of| (text(of, "run"), text(of, "error"))));
    }

    /// Prints it. `what`: `cancelled`, `resumed`.
    pub(crate) fn tell(&self, context: &mut Context<'_>, what: &str) -> Result<Status, Failure> {
        if context.json {
            let failed = self.failed.iter().map(|(run, error)| json!({ "run": run, "error": error }));
            let line = json!({ what: self.count, "ended": self.ended, "failed": failed.collect::<Vec<_>>() });
            json::line(context.out, &line)?;
        } else {
            writeln!(context.out, "{} {what}", counted(self.count, "run"))?;
            if self.ended > 0 {
                writeln!(context.out, "{} had ended before", counted(self.ended, "run"))?;
            }
            for (_, error) in self.failed.iter().take(ERRORS_MAX) {
                writeln!(context.out, "{} {}", context.look.paint(BAD, "not:"), escaped(error))?;
            }
            if let Some(more) = self.failed.len().checked_sub(ERRORS_MAX).filter(|more| *more > 0) {
                writeln!(context.out, "and {} more that could not be {what}", counted(more as u64, "run"))?;
            }
        }
        Ok(if self.failed.is_empty() { Status::Success } else { Status::Differs })
    }
}

/// Commands for so many runs at a time.
pub(crate) fn commands(meant: &[Selected], command: impl Fn(Vec<String>) -> Command) -> Vec<Command> {
    let ids = |runs: &[Selected]| runs.iter().map(|run| run.stored.run.to_string()).collect();
    meant.chunks(RUNS_PER_COMMAND).map(|runs| command(ids(runs))).collect()
}

/// Has commands done by the live engine. `None` if there is none.
pub(crate) fn by_live_engine(context: &Context<'_>, commands: &[Command]) -> Result<Option<Done>, Failure> {
    let mut done = Done::default();
    for (number, command) in commands.iter().enumerate() {
        let Some(client) = Client::connect(context.directory) else {
            if number == 0 {
                return Ok(None);
            }
            let why = format!("the engine went away after {} runs: look which are left, and try again", done.count);
            return Err(Error::new(ErrorKind::Closed, why).into());
        };
        done.add(&client.ask(command)?);
    }
    Ok(Some(done))
}

/// Says which runs it would be done to.
pub(crate) fn told(context: &mut Context<'_>, meant: Vec<Selected>, what: &str) -> Result<Status, Failure> {
    let count = meant.len() as u64;
    if context.json {
        for Selected { stored, unfinished } in &meant {
            json::line(context.out, &json::RunLine::of(stored, unfinished.as_ref()))?;
        }
        return Ok(Status::Success);
    }
    if !meant.is_empty() {
        runs::rows(meant.into_iter().map(Ok), &context.look, context.out)?;
    }
    writeln!(context.out, "{} would be {what}; nothing was done", counted(count, "run"))?;
    Ok(Status::Success)
}
