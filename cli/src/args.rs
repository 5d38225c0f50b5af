//! The command line, as it is written.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, Subcommand, ValueEnum};

/// Looks into the runs of a Relive store: what ran, what was replayed, what it returned.
///
/// Nothing is ever written, and an engine may have the store open meanwhile: what it has committed by now is shown.
/// Times are in the local time zone (`TZ`), in JSON in UTC.
#[derive(Debug, Parser)]
#[command(name = "relive", version, after_help = EXIT_STATUS, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// The store's directory
    #[arg(long, global = true, env = "RELIVE_DIR", default_value = "./data", value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// Whether to colour the output
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN")]
    pub(crate) color: Color,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_STATUS: &str = "Exit status: 0 if all went well, 1 if not, 2 for a wrong command line.\n\
    Environment: RELIVE_DIR (the directory), COLUMNS (the width), NO_COLOR (no colours), TZ (the time zone).";

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

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List runs, the newest first
    Runs {
        /// Print a line of JSON per run, with the fields run, task, id, state, started_at, finished_at, duration_us,
        /// attempts, retry_at, parked, parent, tags
        #[arg(long)]
        json: bool,
        /// Only those with this tag
        #[arg(long, value_name = "NAME=VALUE", value_parser = tag)]
        tag: Option<(String, String)>,
        /// Stop after so many
        #[arg(long, short = 'n', value_name = "N")]
        limit: Option<usize>,
    },
    /// Draw the timeline of a run: each trace, how it ended, replayed or executed, and when
    ///
    /// `replayed`: an earlier life of the process completed the trace, and the last one took its result from the log.
    /// `executed`: the last life ran its effect. `repeated`: an earlier attempt ran it, and this one got the same again.
    /// A stream is one row with its count of items; what an effect called is indented below it; a task has the id of its
    /// run below it; `group ›` stands before what was called in a group. `stopped`: open when its attempt ended.
    ///
    /// Bars are on the run's own time; what lies between two lives of the process, or two attempts, is cut out at `┊`.
    /// Bars of replayed traces are drawn with `▒`, of executed ones with `█`, of dropped ones with `░`, of open ones with
    /// `╌`.
    Show {
        /// The run's id, the beginning of it, or the id that its caller gave it
        #[arg(value_name = "RUN", value_parser = NonEmptyStringValueParser::new())]
        run: String,
        /// Draw every trace of a long run, not just the first and the last 100
        #[arg(long)]
        all: bool,
    },
    /// Print every event of a run's log, a line each
    ///
    /// A line has the event's position, which life of the process wrote it (`e1`, `e2`: it counts how often the store was
    /// opened to write), the moment, the event, and what it says. On a terminal, lines are cut to its width.
    #[command(after_long_help = JSON_HELP)]
    Log {
        /// The run's id, the beginning of it, or the id that its caller gave it
        #[arg(value_name = "RUN", value_parser = NonEmptyStringValueParser::new())]
        run: String,
        /// Print a line of JSON per event (--help lists the fields)
        #[arg(long)]
        json: bool,
        /// Never cut a line
        #[arg(long, conflicts_with = "json")]
        full: bool,
    },
}

const JSON_HELP: &str = "\
With --json, each line is an object with run, sequence, epoch, event, and by event:
  task_started     at, task, code, input, attempt, cause (new, cached, resumed, retried),
                   if resumed rerun (names, edited), id, parent (run, attempt), tags
  trace_started    at, name, code, input_hash, occurrence, input, file, line,
                   form (future, inline, stream, iterator), within (the sequence of the
                   trace whose effect called it), child (its run, if it is a task), group
  trace_retried    trace (the sequence of its start), name, tries, error, due,
                   started_at, duration_us
  trace_yielded    trace, name, index, item, repeats
  trace_completed  trace, name, outcome (ok, err, dropped), output or error, tries,
                   started_at, duration_us, repeats
  signal_received  at, name, value
  task_completed   at, outcome (ok, err, cancelled), output or error, imposed, code,
                   retry_at (when the next attempt is due, if this is not the end)
With repeats, it hands on that event of an earlier attempt: no effect was run.
An error has kind, message, sources, type_name, terminal, value. Moments are RFC 3339 in UTC, durations microseconds.
Names stay as they are; new ones may come.";

/// `customer=42`: the name ends at the first `=`.
fn tag(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a tag is written NAME=VALUE"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
