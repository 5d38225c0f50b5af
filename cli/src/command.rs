//! From a command line to an exit status.

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use anstream::{AutoStream, ColorChoice};
use clap::Parser as _;
use relive_engine::error::{Error, ErrorKind};
use relive_engine::inspect;
use relive_engine::schema::{SCHEMA, storage_error};
use relive_storage::{Read, RocksReader};

use crate::args::{Arguments, Color, Command};
use crate::failure::Failure;
use crate::find::find;
use crate::log::Lines;
use crate::look::{Look, stdout_width};
use crate::show::{ShowOptions, show};

/// Runs the command line of this process: all of `relive`. A program of yours can call it, too.
///
/// Returns 0 if all went well, 1 if not (with the reason on standard error), 2 for a wrong command line. Output whose
/// reader is gone (`relive log … | head`) is no failure.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is left to be told if that fails.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match execute(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure, arguments.color);
            ExitCode::FAILURE
        }
    }
}

fn execute(arguments: &Arguments) -> Result<(), Failure> {
    let store = open(arguments)?;
    let stdout = io::stdout();
    let choice = match arguments.color {
        Color::Auto => AutoStream::choice(&stdout),
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    };
    let color = choice != ColorChoice::Never;
    let look = Look::new(stdout_width(), color);
    let terminal = stdout.is_terminal();
    // Without colours nothing is there to be stripped, and looking for it would cost as much as all the rest.
    let passed = if color { choice } else { ColorChoice::AlwaysAnsi };
    let mut out = BufWriter::new(AutoStream::new(stdout.lock(), passed));
    let result = match &arguments.command {
        Command::Runs { json, tag, limit } => {
            let runs = match tag {
                Some((name, value)) => inspect::runs_tagged(Arc::clone(&store), name, value),
                None => inspect::runs(Arc::clone(&store)),
            };
            let limit = limit.unwrap_or(usize::MAX);
            if *json {
                crate::runs::json(store.as_ref(), runs, limit, &mut out)
            } else {
                crate::runs::table(store.as_ref(), runs, tag.as_ref(), limit, &look, &mut out)
            }
        }
        Command::Show { run, all } => {
            let run = find(&store, &arguments.dir, run)?;
            show(store, run, &mut out, ShowOptions { width: look.width, color, all: *all })
        }
        Command::Log { run, json, full } => {
            let run = find(&store, &arguments.dir, run)?;
            let lines = match (json, terminal && !full) {
                (true, _) => Lines::Json,
                (false, true) => Lines::Cut,
                (false, false) => Lines::Whole,
            };
            crate::log::log(store, run, lines, &look, &mut out)
        }
    };
    // What was read before a damage is shown before the error.
    let flushed = out.flush();
    result?;
    Ok(flushed?)
}

fn open(arguments: &Arguments) -> Result<Arc<dyn Read>, Failure> {
    let reader = RocksReader::open(&arguments.dir, SCHEMA.format).map_err(|error| {
        let error = storage_error(error);
        match error.kind() {
            ErrorKind::NotAStore => {
                Error::new(ErrorKind::NotAStore, format!("{error} (--dir or RELIVE_DIR say which directory)"))
            }
            _ => error,
        }
    })?;
    Ok(Arc::new(reader))
}

/// Tells why on standard error, with its causes.
fn report(failure: &Failure, color: Color) {
    let stderr = io::stderr();
    let choice = match color {
        Color::Auto => AutoStream::choice(&stderr),
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    };
    let mut out = AutoStream::new(stderr.lock(), choice);
    let style = crate::look::BAD.bold();
    let _ = writeln!(out, "{style}relive:{style:#} {failure}");
    let mut source = std::error::Error::source(failure);
    while let Some(error) = source {
        let _ = writeln!(out, "  caused by: {error}");
        source = error.source();
    }
}
