//! From a command line to an exit status.

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anstream::{AutoStream, ColorChoice};
use clap::Parser as _;
use relive::Builder;

use crate::args::{Arguments, Color, Command};
use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::look::{Look, stdout_width};
use crate::pager::Pager;
use crate::text::escaped_lines;

/// Runs the command line of this process: all of `relive`. Called from a program of yours, it knows the program's tasks,
/// and can replay them.
///
/// Returns 0 if all went well, 1 if not (with the reason on standard error), 2 for a wrong command line, 3 if what was asked
/// about does not hold. Output whose reader is gone (`relive log … | head`) is no failure.
pub fn main() -> ExitCode {
    Cli::new().main()
}

/// The command line of a program whose tasks need more than their code: clients, payload hooks, settings.
///
/// ```no_run
/// struct Client;
///
/// fn main() -> std::process::ExitCode {
///     relive_cli::Cli::new().builder(|builder| builder.provide(Client)).main()
/// }
/// ```
pub struct Cli {
    set_up: Box<dyn Fn(Builder) -> Builder>,
}

impl std::fmt::Debug for Cli {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cli").finish_non_exhaustive()
    }
}

impl Default for Cli {
    fn default() -> Self {
        Self::new()
    }
}

impl Cli {
    /// Of a program that opens its engine with the defaults.
    pub fn new() -> Self {
        Self { set_up: Box::new(|builder| builder) }
    }

    /// How the program sets its engine up. Called by the commands that run its tasks or replay them, never by the others.
    #[must_use]
    pub fn builder(mut self, set_up: impl Fn(Builder) -> Builder + 'static) -> Self {
        self.set_up = Box::new(set_up);
        self
    }

    /// Runs the command line of this process: as [`main()`].
    pub fn main(self) -> ExitCode {
        self.run(std::env::args_os())
    }

    /// The builder of an engine, as the program sets it up.
    pub(crate) fn engine(&self) -> Builder {
        (self.set_up)(relive::Engine::builder())
    }

    /// Runs a command line: for a program that has commands of its own, too. The first argument is the program's name.
    ///
    /// Commands that run tasks start a tokio runtime of their own: not to be called inside one.
    pub fn run(&self, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
        let arguments = match Arguments::try_parse_from(arguments) {
            Ok(arguments) => arguments,
            Err(error) => {
                // Nobody is left to be told if that fails.
                let _ = error.print();
                return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
            }
        };
        match self.execute(&arguments) {
            Ok(Status::Success) => ExitCode::SUCCESS,
            Ok(Status::Differs) => ExitCode::from(3),
            Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
            Err(failure) => {
                report(&failure, arguments.color);
                ExitCode::FAILURE
            }
        }
    }

    fn execute(&self, arguments: &Arguments) -> Result<Status, Failure> {
        let stdout = io::stdout();
        let choice = match arguments.color {
            Color::Auto => AutoStream::choice(&stdout),
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        let color = choice != ColorChoice::Never;
        let is_terminal = stdout.is_terminal();
        // Without colours nothing is there to be stripped, and looking for it would cost as much as all the rest.
        let passed = if color { choice } else { ColorChoice::AlwaysAnsi };
        let pages = is_terminal && !arguments.json && !arguments.no_pager && arguments.command.is_long();
        // Not locked: a task that the command runs may print, too.
        let plain: Box<dyn io::Write> = Box::new(AutoStream::new(stdout, passed));
        let to = if pages { Pager::or(plain) } else { plain };
        let mut out = BufWriter::new(to);
        let mut context = Context {
            cli: self,
            directory: &arguments.dir,
            json: arguments.json,
            look: Look::new(stdout_width(), color),
            is_terminal,
            out: &mut out,
        };
        let result = match &arguments.command {
            Command::Runs(runs) => runs.execute(&mut context),
            Command::Show(show) => show.execute(&mut context),
            Command::Log(log) => log.execute(&mut context),
            Command::Step(step) => step.execute(&mut context),
            Command::Export(export) => export.execute(&mut context),
            Command::Import(import) => import.execute(&mut context),
            Command::Verify(verify) => verify.execute(&mut context),
            Command::Replay(replay) => replay.execute(&mut context),
            Command::Check(check) => check.execute(&mut context),
            Command::Diff(diff) => diff.execute(&mut context),
            Command::Resume(resume) => resume.execute(&mut context),
            Command::Cancel(cancel) => cancel.execute(&mut context),
            Command::Signal(signal) => signal.execute(&mut context),
            Command::Fork(fork) => fork.execute(&mut context),
            Command::Cache(cache) => cache.execute(&mut context),
            Command::Gc(gc) => gc.execute(&mut context),
            Command::Completions(completions) => completions.execute(&mut context),
        };
        // What was read before a damage is shown before the error; a pager is left before it is told.
        let flushed = out.flush();
        drop(out);
        let status = result?;
        flushed?;
        Ok(status)
    }
}

/// Tells why on standard error, with its causes. What messages quote (names from a store, arguments, what a system said) is
/// escaped here, for all of them.
fn report(failure: &Failure, color: Color) {
    let stderr = io::stderr();
    let choice = match color {
        Color::Auto => AutoStream::choice(&stderr),
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    };
    let mut out = AutoStream::new(stderr.lock(), choice);
    let style = crate::look::BAD.bold();
    let _ = writeln!(out, "{style}relive:{style:#} {}", escaped_lines(&failure.to_string()));
    let mut source = std::error::Error::source(failure);
    while let Some(error) = source {
        let _ = writeln!(out, "  caused by: {}", escaped_lines(&error.to_string()));
        source = error.source();
    }
}
