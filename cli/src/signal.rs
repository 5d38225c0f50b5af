//! `relive signal RUN NAME VALUE`: hands a value to a run that waits for it, now or later.

use clap::Args;
use relive::live::{Command, Given};
use relive_engine::error::{Error, ErrorKind};
use relive_engine::payload::Payload;

use crate::args::RunArgument;
use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;
use crate::text::{cut, escaped};

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
        let value = Given::Json(value(&self.value).map_err(unsupported)?);
        let run = context.find(&context.store()?, &self.run)?;
        let reply = context.ask(&Command::Signal { run: run.to_string(), signal: self.name.clone(), value })?;
        match context.json {
            true => json::line(context.out, &reply)?,
            false => writeln!(context.out, "run {run} has the signal {}", escaped(&self.name))?,
        }
        Ok(Status::Success)
    }
}

/// A value that is given in JSON: the text itself, once it is known to be some.
pub(crate) fn value(text: &str) -> Result<String, String> {
    Payload::json(text).map(|_| text.to_owned()).map_err(|error| {
        let shown = cut(&escaped(text), 60);
        let bare = text.trim().trim_start_matches(['-', '+']).to_ascii_lowercase();
        let is_beyond = ["inf", "infinity", "nan", ".inf", ".nan"].contains(&bare.as_str());
        if is_beyond || error.to_string().contains("number out of range") {
            return format!(
                "`{shown}` is no number in JSON, which has no infinity, no NaN and nothing beyond 1.8e308: a program can give \
                 one (engine.signal, fork.set)"
            );
        }
        format!("`{shown}` is no JSON ({error}): a text needs its quotes, as in '\"yes\"'")
    })
}

/// A value on the command line that is none.
pub(crate) fn unsupported(why: String) -> Failure {
    Error::new(ErrorKind::Unsupported, why).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_kept_as_it_is_given_and_what_json_lacks_is_said() {
        for text in ["340282366920938463463374607431768211455", " {\"1\": [null]} ", "\"inf\"", "1e308"] {
            assert_eq!(value(text).as_deref(), Ok(text));
        }
        for beyond in ["inf", "-Infinity", "NaN", "1e999"] {
            assert!(value(beyond).unwrap_err().contains("JSON, which has no infinity"), "{beyond}");
        }
        for none in ["", "yes", "[1", "1 2"] {
            assert!(value(none).unwrap_err().contains("a text needs its quotes"), "{none}");
        }
    }
}
