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
mod result;
mod row;
mod timeline;
mod tree;

use std::io::Write;
use std::sync::Arc;

use relive_engine::id::{RunId, Sequence};
use relive_engine::inspect;
use relive_storage::Read;

use crate::failure::Failure;
use crate::look::{self, Look};
use timeline::{Keep, Timeline};

/// How many rows are drawn at the beginning and at the end of a long run: 100 each, so that both fit a few screens.
const ROWS_EACH: usize = 100;

/// How a run stands beside what its log says.
enum Standing {
    AsItsLogSays,
    /// It took the process down so often, and got no further than this event.
    Parked {
        crashes: u32,
        crashed_at: Sequence,
    },
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
        Some(record) if record.parked => Standing::Parked { crashes: record.crashes, crashed_at: record.crashed_at },
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
