//! `relive signal RUN NAME VALUE`: hands a value to a run that waits for it, now or later.

use clap::Args;
use relive::live::Command;
use relive_engine::error::{Error, ErrorKind};

use crate::args::RunArgument;
use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;
use crate::text::escaped;

/// Signal a run: hand a value to `relive::signal(NAME)` in it, now or when it asks
///
/// The engine that has the directory open takes it, and refuses what the run does not wait for; where none has, this command
/// writes it down, and the run takes it when its program opens the directory.
#[derive(Args, Debug)]
pub(crate) struct Signal {
    #[command(flatten)]
    run: RunArgument,
    /// The signal's name
    #[arg(value_name = "NAME")]
    name: String,
    /// The value, in JSON: a text needs its quotes, as in '"yes"'
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: String,
}

impl Signal {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let value = value(&self.value)?;
        let run = context.find(&context.store()?, &self.run)?;
        let reply = context.ask(&Command::Signal { run: run.to_string(), signal: self.name.clone(), value })?;
        match context.json {
            true => json::line(context.out, &reply)?,
            false => writeln!(context.out, "run {run} has the signal {}", escaped(&self.name))?,
        }
        Ok(Status::Success)
    }
}

/// A value that is given in JSON.
pub(crate) fn value(text: &str) -> Result<serde_json::Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        let why = format!("`{}` is no JSON ({error}): a text needs its quotes, as in '\"yes\"'", escaped(text));
        Error::new(ErrorKind::Unsupported, why).into()
    })
}
