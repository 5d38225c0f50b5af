//! `relive resume RUN`: a new attempt of a run that failed, was cancelled, or is blocked; or of all that filters let through.

use std::io::Cursor;
use std::sync::Arc;

use clap::Args;
use relive::live::{Client, Command, perform};
use relive_engine::error::{Error, ErrorKind};
use relive_engine::export;
use relive_engine::id::RunId;
use relive_engine::index::RunState;
use relive_storage::{MemoryStore, Read};
use serde_json::Value;

use crate::ask::{own_program, watched};
use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::filter::{Filter, Selected};
use crate::json;
use crate::many::{self, Done, Meant, RunsArgument};
use crate::text::escaped;

/// Resume a run that failed, was cancelled or is blocked: a new attempt, which takes over what earlier ones found
///
/// The engine that has the directory open begins it, and the run goes on there. Where none has, this command runs the attempt
/// to its end, and no other run: so it must be the command of a program that has the task. The exit status is 3 if the
/// attempt does not succeed.
///
/// With filters, as of `relive runs`, all runs that they let through and that are blocked or failed, or that were cancelled
/// with --status cancelled; not the children of those that ended, as their parents call them again. --dry only says which. The
/// attempts of up to 1,000 runs begin together, and share commits. The exit status is 3 if some could not be resumed, or, where no
/// engine is live, did not succeed.
#[derive(Args, Debug)]
pub(crate) struct Resume {
    #[command(flatten)]
    runs: RunsArgument,
    /// Find the results of this trace anew, whatever earlier attempts found (may be repeated)
    #[arg(long, value_name = "NAME")]
    rerun: Vec<String>,
    /// Find the results of traces anew whose code was edited since
    #[arg(long)]
    edited: bool,
    /// Only say what the attempt would do: nothing is run, nothing is written
    #[arg(long)]
    preview: bool,
}

impl Resume {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let store = context.store()?;
        let run = match self.runs.find(context, &store, is_resumed)? {
            Meant::One(run) => run,
            Meant::Many(..) if self.preview => {
                let why = "--preview is of one run; --dry says which runs would be resumed";
                return Err(Error::new(ErrorKind::Unsupported, why).into());
            }
            Meant::Many(meant, true) => return many::told(context, meant, "resumed"),
            Meant::Many(meant, false) => {
                drop(store);
                return self.many(context, &meant);
            }
        };
        let command = Command::Resume {
            run: run.to_string(),
            rerun: self.rerun.clone(),
            edited: self.edited,
            preview: self.preview,
        };
        if let Some(client) = Client::connect(context.directory) {
            let reply = client.ask(&command)?;
            return match self.preview {
                true => previewed(context, &reply),
                false => begun(context, run, &reply),
            };
        }
        if self.preview {
            let copy = copied(&store, run)?;
            let reply = context.with_memory(copy, |engine| async move { Ok(perform(&engine, command).await?) });
            return previewed(context, &reply.map_err(own_program)?);
        }
        drop(store);
        let outcome = context.with_engine(context.cli.engine(), |engine| async move {
            perform(&engine, command).await?;
            watched(&engine, run).await
        });
        context.ended(run, &outcome.map_err(own_program)?)
    }
}

impl Resume {
    /// Resumes these runs; where no engine is live, to their ends.
    fn many(&self, context: &mut Context<'_>, meant: &[Selected]) -> Result<Status, Failure> {
        let (rerun, edited) = (&self.rerun, self.edited);
        let commands = many::commands(meant, |runs| Command::ResumeMany { runs, rerun: rerun.clone(), edited });
        if let Some(done) = many::by_live_engine(context, &commands)? {
            return done.tell(context, "resumed");
        }
        let (done, outcomes) = context
            .with_engine(context.cli.engine(), |engine| async move {
                let mut done = Done::default();
                for command in commands {
                    done.add(&perform(&engine, command).await?);
                }
                let mut outcomes = Vec::new();
                for run in &done.resumed {
                    // What keeps one from its end keeps none of the others.
                    outcomes.push((*run, watched(&engine, *run).await));
                }
                Ok((done, outcomes))
            })
            .map_err(own_program)?;
        let mut status = done.tell(context, "resumed")?;
        for (run, outcome) in outcomes {
            match outcome {
                Ok(outcome) => {
                    if context.ended(run, &outcome)? == Status::Differs {
                        status = Status::Differs;
                    }
                }
                Err(failure) => {
                    status = Status::Differs;
                    let why = failure.to_string();
                    match context.json {
                        true => json::line(context.out, &serde_json::json!({ "run": run.to_string(), "error": why }))?,
                        false => writeln!(context.out, "run {run} does not go on: {}", escaped(&why))?,
                    }
                }
            }
        }
        Ok(status)
    }
}

/// Whether a run that a filter lets through is resumed.
fn is_resumed(filter: &Filter, run: &Selected) -> bool {
    let record = &run.stored.record;
    match record.state {
        RunState::Unfinished => run.unfinished.as_ref().is_some_and(|row| row.block_reason().is_some()),
        RunState::Failed => record.parent.is_none(),
        RunState::Cancelled => record.parent.is_none() && filter.status == Some(crate::filter::Status::Cancelled),
        _ => false,
    }
}

fn begun(context: &mut Context<'_>, run: RunId, reply: &Value) -> Result<Status, Failure> {
    match context.json {
        true => json::line(context.out, reply)?,
        false => writeln!(context.out, "run {run} goes on in the engine that has the directory open")?,
    }
    Ok(Status::Success)
}

/// A run in a store of its own in memory, where it can be looked at without a trace.
fn copied(store: &Arc<dyn Read>, run: RunId) -> Result<MemoryStore, Failure> {
    let (mut file, memory) = (Vec::new(), MemoryStore::new());
    export::write(store, run, &export::Options::default(), &mut file)?;
    export::read(&mut Cursor::new(file), &memory)?;
    Ok(memory)
}

/// Prints what an attempt would do.
fn previewed(context: &mut Context<'_>, reply: &Value) -> Result<Status, Failure> {
    if context.json {
        json::line(context.out, reply)?;
        return Ok(Status::Success);
    }
    let ends = !reply["outcome"].is_null();
    let titles = [
        ("takes over", "repeated", if ends { "nothing" } else { "nothing before the first call that runs" }),
        ("would run", "runs", "nothing"),
        ("and takes over what it calls of these after that", "recorded", ""),
    ];
    for (title, field, nothing) in titles {
        let sites = reply[field].as_array().map(Vec::as_slice).unwrap_or_default();
        match (sites, nothing) {
            ([], "") => continue,
            ([], nothing) => writeln!(context.out, "{title}: {nothing}")?,
            _ => writeln!(context.out, "{title}:")?,
        }
        for site in sites {
            let text = |field: &str| escaped(site[field].as_str().unwrap_or_default());
            let input = escaped(&crate::text::cut(&site["input"].to_string(), context.look.width / 2));
            writeln!(context.out, "  {}({input})  {}:{}", text("name"), text("file"), site["line"])?;
        }
    }
    if !reply["outcome"].is_null() {
        let outcome = crate::text::cut(&reply["outcome"].to_string(), context.look.width);
        writeln!(context.out, "and ends: {}", escaped(&outcome))?;
    }
    Ok(Status::Success)
}
