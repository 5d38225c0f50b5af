//! `relive verify [RUN]`: whether a store is whole.
//!
//! Invariant: every problem is printed where it is found, and the status says whether there was any.

use std::ops::ControlFlow;
use std::sync::Arc;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use relive_engine::error::ErrorKind;
use relive_engine::verify::{self, Problem, Progress, Verified};
use relive_storage::Read;
use serde::Serialize;

use crate::args::RunArgument;
use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;
use crate::look::{BAD, GOOD};
use crate::text::{counted, escaped};

/// Check every record, chain and index of a store, or of one run
///
/// Reads all of it and changes nothing; an engine may have the directory open meanwhile. Every problem gets a line: where it
/// is, and what is wrong. Damage in a log hides only the record that is damaged. The exit status is 3 if there is any
/// problem.
///
/// With --json, a line per problem, with the fields keyspace, key, run, at, problem; then a line with runs, events, rows,
/// bytes, problems.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// Only this run: its id, the beginning of it, or the id that its caller gave it
    #[arg(value_name = "RUN")]
    run: Option<String>,
}

#[derive(Serialize)]
struct ProblemLine {
    keyspace: &'static str,
    key: String,
    run: Option<String>,
    at: Option<u64>,
    problem: String,
}

#[derive(Serialize)]
struct Summary {
    runs: u64,
    events: u64,
    rows: u64,
    bytes: u64,
    problems: u64,
}

/// Steps of the bar: how much of a keyspace lies behind is only known roughly.
const STEPS: u64 = 1000;

impl Verify {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let store = match context.store() {
            Ok(store) => store,
            // A store that is too damaged to be opened is what was asked about.
            Err(Failure::Read(error)) if error.kind() == ErrorKind::Corrupt => {
                let what = error.to_string();
                told(context, &Problem { keyspace: "store", key: Vec::new(), run: None, at: None, what })?;
                return summary(context, &one_problem());
            }
            Err(failure) => return Err(failure),
        };
        let verified = match &self.run {
            None => self.look(context, &store, |store, tell| verify::store(store, tell))?,
            Some(run) => {
                let run = context.find(&store, &RunArgument { run: run.clone() })?;
                self.look(context, &store, move |store, tell| verify::run(store, run, tell))?
            }
        };
        summary(context, &verified)
    }

    fn look(
        &self,
        context: &mut Context<'_>,
        store: &Arc<dyn Read>,
        look: impl FnOnce(&Arc<dyn Read>, &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>) -> Verified,
    ) -> Result<Verified, Failure> {
        let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{prefix:>10} {bar:40} {msg}") {
            bar.set_style(style);
        }
        let mut failed = None;
        let verified = look(store, &mut |progress| {
            match progress {
                Progress::Problem(problem) => {
                    if let Err(failure) = bar.suspend(|| told(context, &problem)) {
                        failed = Some(failure);
                        return ControlFlow::Break(());
                    }
                }
                Progress::Read { keyspace, so_far, fraction } => {
                    bar.set_prefix(keyspace);
                    bar.set_message(format!(
                        "{}, {}",
                        counted(so_far.row_count, "row"),
                        counted(so_far.run_count, "run")
                    ));
                    bar.set_position((fraction * STEPS as f64) as u64);
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
        bar.finish_and_clear();
        failed.map_or(Ok(verified), Err)
    }
}

fn one_problem() -> Verified {
    let mut verified = Verified::default();
    verified.problem_count = 1;
    verified
}

fn told(context: &mut Context<'_>, problem: &Problem) -> Result<(), Failure> {
    if context.json {
        let line = ProblemLine {
            keyspace: problem.keyspace,
            key: problem.key.iter().map(|byte| format!("{byte:02x}")).collect(),
            run: problem.run.map(|run| run.to_string()),
            at: problem.at.map(|at| at.0),
            problem: problem.what.clone(),
        };
        json::line(context.out, &line)?;
    } else {
        let text = escaped(&problem.to_string());
        writeln!(context.out, "{} {text}", context.look.paint(BAD, "damaged"))?;
    }
    Ok(())
}

fn summary(context: &mut Context<'_>, verified: &Verified) -> Result<Status, Failure> {
    let Verified { run_count, event_count, row_count, bytes, problem_count, .. } = *verified;
    if context.json {
        let (runs, events, rows, problems) = (run_count, event_count, row_count, problem_count);
        json::line(context.out, &Summary { runs, events, rows, bytes, problems })?;
    } else {
        let (style, word) = match problem_count {
            0 => (GOOD, "no problems".to_owned()),
            count => (BAD, counted(count, "problem")),
        };
        let (runs, events, rows) =
            (counted(run_count, "run"), counted(event_count, "event"), counted(row_count, "row"));
        writeln!(context.out, "{}: {runs}, {events}, {rows} looked at", context.look.paint(style, word))?;
    }
    Ok(if problem_count == 0 { Status::Success } else { Status::Differs })
}
