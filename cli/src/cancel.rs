//! `relive cancel RUN`: stops a run, or all that filters let through.

use clap::Args;
use relive::Engine;
use relive::live::{Command, perform};
use relive_engine::index::RunState;

use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;
use crate::many::{self, Done, Meant, RunsArgument};

/// Cancel a run, or those that filters let through: it stops at its next await, and its children with it
///
/// The engine that has the directory open does it; where none has, this command opens it, and takes up nothing. The run may be
/// resumed later. The exit status is 3 if the run had ended before.
///
/// With filters, as of `relive runs`, all unfinished runs that they let through; --dry only says which. Up to 1,000 that are
/// blocked end in one commit. The exit status is 3 if some could not be cancelled.
#[derive(Args, Debug)]
pub(crate) struct Cancel {
    #[command(flatten)]
    runs: RunsArgument,
}

impl Cancel {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let store = context.store()?;
        let is_unfinished = |_: &_, run: &crate::filter::Selected| run.stored.record.state == RunState::Unfinished;
        let run = match self.runs.find(context, &store, is_unfinished)? {
            Meant::One(run) => run,
            Meant::Many(meant, true) => return many::told(context, meant, "cancelled"),
            Meant::Many(meant, false) => {
                drop(store);
                let commands = many::commands(&meant, |runs| Command::CancelMany { runs });
                let done = match many::by_live_engine(context, &commands)? {
                    Some(done) => done,
                    None if commands.is_empty() => Done::default(),
                    None => context.with_engine(Engine::builder(), |engine| async move {
                        let mut done = Done::default();
                        for command in commands {
                            done.add(&perform(&engine, command).await?);
                        }
                        Ok(done)
                    })?,
                };
                return done.tell(context, "cancelled");
            }
        };
        drop(store);
        let reply = context.ask(&Command::Cancel { run: run.to_string() })?;
        let is_cancelled = reply["cancelled"] == true;
        if context.json {
            json::line(context.out, &reply)?;
        } else if is_cancelled {
            writeln!(context.out, "run {run} is cancelled")?;
        } else {
            writeln!(context.out, "run {run} had ended before: nothing was cancelled")?;
        }
        Ok(if is_cancelled { Status::Success } else { Status::Differs })
    }
}
