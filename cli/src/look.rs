//! How output looks: width, colours, time zone.
//!
//! Made once per command from flags, environment and terminal; read by what draws.
//!
//! Invariant: without colours the output has no escape sequence at all.

use std::fmt;
use std::io::IsTerminal as _;

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use relive_engine::index::RunState;

/// How wide output is that goes to no terminal: 100 columns, so that a file looks the same wherever it was written.
pub const WIDTH_DEFAULT: usize = 100;

/// The narrowest output: 72 columns, what an id, a name and a duration take. A narrower terminal wraps it.
const WIDTH_MIN: usize = 72;

/// The widest output: 500 columns. Wider bars tell nothing more.
const WIDTH_MAX: usize = 500;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
pub(crate) const LIVE: Style = AnsiColor::Cyan.on_default();
pub(crate) const OLD: Style = AnsiColor::Blue.on_default();

/// How output looks.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) width: usize,
    pub(crate) color: bool,
    pub(crate) zone: TimeZone,
}

impl Look {
    /// In the local time zone.
    pub(crate) fn new(width: usize, color: bool) -> Self {
        Self { width: width.clamp(WIDTH_MIN, WIDTH_MAX), color, zone: TimeZone::system() }
    }

    /// A text in a style, if there are colours.
    pub(crate) fn paint<T: fmt::Display>(&self, style: Style, text: T) -> Painted<T> {
        Painted { style: if self.color { style } else { Style::new() }, text }
    }
}

/// A text in a style.
pub(crate) struct Painted<T> {
    style: Style,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.style.render(), self.text, self.style.render_reset())
    }
}

/// The width of standard output: `COLUMNS` if it is a number, else the terminal's, else [`WIDTH_DEFAULT`].
pub(crate) fn stdout_width() -> usize {
    let asked =
        std::env::var("COLUMNS").ok().and_then(|columns| columns.trim().parse().ok()).filter(|width| *width > 0);
    asked.unwrap_or_else(|| {
        let stdout = std::io::stdout();
        let size = if stdout.is_terminal() { terminal_size::terminal_size_of(&stdout) } else { None };
        size.map_or(WIDTH_DEFAULT, |(terminal_size::Width(width), _)| usize::from(width))
    })
}

/// An unfinished run that cannot go on until somebody acts.
pub(crate) const BLOCKED: (&str, Style) = ("blocked", BAD);

/// An unfinished run that took the process down too often.
pub(crate) const PARKED: (&str, Style) = ("parked", BAD);

/// A state in a word, and its style.
pub(crate) fn state(state: RunState) -> (&'static str, Style) {
    match state {
        RunState::Unfinished => ("unfinished", LIVE),
        RunState::Completed => ("completed", GOOD),
        RunState::Failed => ("failed", BAD),
        RunState::Cancelled => ("cancelled", WARN),
        // The enum may grow: an unknown state is shown, not hidden.
        _ => ("other", WARN),
    }
}
