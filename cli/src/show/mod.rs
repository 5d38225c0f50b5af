//! `relive show RUN`: the timeline of a run.
//!
//! `timeline` reads the log into rows (`row`), `tree` puts them in order, `axis` says where a bar goes; `draw` prints:
//! `head`, `grid`, `result`.
//!
//! Invariant: memory is bounded by the rows that are shown, whatever the log holds.

mod axis;
mod draw;
mod grid;
mod head;
mod object;
mod result;
mod row;
mod timeline;
mod tree;

use std::io::Write;
use std::sync::Arc;

use clap::Args;
use relive_engine::id::RunId;
use relive_engine::index::UnfinishedRecord;
use relive_engine::inspect;
use relive_storage::Read;

use crate::args::RunArgument;
use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::look::{self, Look};
use timeline::{Keep, Timeline};

/// Draw the timeline of a run: each trace, how it ended, replayed or executed, and when
///
/// `replayed`: an earlier life of the process completed the trace, and the last one took its result from the log.
/// `executed`: the last life ran its effect. `repeated`: an earlier attempt ran it, and this one got the same again.
/// A stream is one row with its count of items; what an effect called is indented below it; a task has the id of its
/// run below it, and if another run answered for it (it was joined, or its result was cached) that one's; `group ›` stands before what was called in a group. `stopped`: open when its attempt ended.
///
/// Bars are on the run's own time; what lies between two lives of the process, or two attempts, is cut out at `┊`.
/// Bars of replayed traces are drawn with `▒`, of executed ones with `█`, of dropped ones with `░`, of open ones with
/// `╌`.
///
/// With --json, one object: as in `relive runs --json`, and input, joined_tags (name and value of tags of calls that joined it,
/// if any), events, calls (of the last attempt, by name), set_aside (how many signals fitted no wait), outcome (ok, err,
/// cancelled) and output or error, if it has ended.
#[derive(Args, Debug)]
pub(crate) struct Show {
    #[command(flatten)]
    run: RunArgument,
    /// Draw every trace of a long run, not just the first and the last 100
    #[arg(long)]
    all: bool,
}

impl Show {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let store = context.store()?;
        let run = context.find(&store, &self.run)?;
        if context.json {
            object::object(&store, run, context.out)?;
            return Ok(Status::Success);
        }
        let options = ShowOptions { width: context.look.width, color: context.look.color, all: self.all };
        show(store, run, context.out, options)?;
        Ok(Status::Success)
    }
}

/// How many rows are drawn at the beginning and at the end of a long run: 100 each, so that both fit a few screens.
const ROWS_EACH: usize = 100;

/// How a run stands beside what its log says.
enum Standing {
    AsItsLogSays,
    /// It cannot go on until somebody acts.
    Blocked(Box<UnfinishedRecord>),
}

/// How a timeline is drawn. Any values are valid: a width is brought to 72 to 500 columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShowOptions {
    /// In columns.
    pub width: usize,
    /// Whether with colours (ANSI escape sequences).
    pub color: bool,
    /// Whether every trace gets a row; else the first and the last 100, and a line says how many are left out.
    pub all: bool,
}

impl Default for ShowOptions {
    /// 100 columns, no colours, the first and the last 100 rows.
    fn default() -> Self {
        Self { width: look::WIDTH_DEFAULT, color: false, all: false }
    }
}

impl ShowOptions {
    /// As it suits standard output: the terminal's width, and colours if it is a terminal and `NO_COLOR` is not set.
    pub fn for_stdout() -> Self {
        let color = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
        Self { width: look::stdout_width(), color, all: false }
    }
}

/// Draws the timeline of a run: its head, a row per trace in the order of their starts, and its result.
///
/// A log that is damaged is drawn up to the damage.
///
/// # Errors
/// If there is no such run, the store cannot be read or is damaged, or `out` cannot be written.
pub fn show(
    reader: Arc<dyn Read>,
    run: RunId,
    out: &mut (impl Write + ?Sized),
    options: ShowOptions,
) -> Result<(), Failure> {
    let look = Look::new(options.width, options.color);
    let rows_each = if options.all { usize::MAX } else { ROWS_EACH };
    let keep = Keep { rows_each, label_columns: draw::label_columns(look.width) };
    let standing = match inspect::unfinished(reader.as_ref(), run)? {
        Some(record) if record.block_reason().is_some() => Standing::Blocked(Box::new(record)),
        _ => Standing::AsItsLogSays,
    };
    let mut timeline = Timeline::read(reader, run, keep)?;
    let damage = timeline.damage.take();
    draw::draw(&timeline, &standing, damage.as_ref(), &look, out)?;
    match damage {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
