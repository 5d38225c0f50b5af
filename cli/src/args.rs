//! The command line, as it is written.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::check::Check;
use crate::completions::Completions;
use crate::diff::Diff;
use crate::export::Export;
use crate::fork::Fork;
use crate::gc::Gc;
use crate::import::Import;
use crate::log::Log;
use crate::replay::Replay;
use crate::resume::Resume;
use crate::runs::Runs;
use crate::show::Show;
use crate::signal::Signal;
use crate::step::Step;
use crate::verify::Verify;

/// Looks into the runs of a Relive store: what ran, what was replayed, what it returned. Resumes, cancels, exports them.
///
/// What only reads never writes, and an engine may have the store open meanwhile: what it has committed by now is shown. What
/// writes is done by that engine, through its socket in the directory. Times are in the local time zone (`TZ`), in JSON in UTC.
#[derive(Debug, Parser)]
#[command(name = "relive", version, after_help = EXIT_STATUS, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// The store's directory
    #[arg(long, global = true, env = "RELIVE_DIR", default_value = "./data", value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// Whether to colour the output
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN")]
    pub(crate) color: Color,

    /// Print JSON for programs: an object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Do not page long output on a terminal
    #[arg(long, global = true)]
    pub(crate) no_pager: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_STATUS: &str = "Exit status: 0 if all went well, 1 if not, 2 for a wrong command line, 3 if what was asked about \
    does not hold (a command's own help says when).\n\
    Environment: RELIVE_DIR (the directory), COLUMNS (the width), NO_COLOR (no colours), PAGER (what pages long output; `cat` for \
    nothing), TZ (the time zone).";

/// When output has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What to do: a file each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Runs(Runs),
    Show(Show),
    Log(Log),
    Step(Step),
    Export(Export),
    Import(Import),
    Verify(Verify),
    Replay(Replay),
    Check(Check),
    Diff(Diff),
    Resume(Resume),
    Cancel(Cancel),
    Signal(Signal),
    Fork(Fork),
    Cache(Cache),
    Gc(Gc),
    Completions(Completions),
}

impl Command {
    /// Whether its output may be longer than a screen.
    pub(crate) fn is_long(&self) -> bool {
        matches!(self, Self::Runs(_) | Self::Show(_) | Self::Log(_) | Self::Cache(_))
    }
}

/// Which run is meant.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgument {
    /// The run's id, the beginning of it, or the id that its caller gave it
    #[arg(value_name = "RUN", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) run: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
