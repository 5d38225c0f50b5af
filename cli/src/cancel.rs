//! `relive cancel RUN`: stops a run.

use clap::Args;
use relive::live::Command;

use crate::args::RunArgument;
use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;

/// Cancel a run: it stops at its next await, and its children with it
///
/// The engine that has the directory open does it; where none has, this command opens it, and takes up nothing. The run may be
/// resumed later. The exit status is 3 if the run had ended before.
#[derive(Args, Debug)]
pub(crate) struct Cancel {
    #[command(flatten)]
    run: RunArgument,
}

impl Cancel {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let run = context.find(&context.store()?, &self.run)?;
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
