//! Draws a timeline: head, rows with bars, result.
//!
//! Called by `show` with what `timeline` kept.
//!
//! Invariant: no line is wider than the output.

use std::io::{self, Write};

use relive_engine::error::Error;

use super::grid::Grid;
use super::timeline::Timeline;
use super::{Standing, head, result};
use crate::look::{BOLD, DIM, Look};
use crate::text::{counted, cut};
use crate::time;

/// How wide the label of a row is at most: two fifths of the line, so that bars get as much.
pub(super) fn label_columns(width: usize) -> usize {
    (width * 2 / 5).max(16)
}

/// Draws.
pub(super) fn draw(
    timeline: &Timeline,
    standing: &Standing,
    damage: Option<&Error>,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    head::head(timeline, standing, look, out)?;
    writeln!(out)?;
    let grid = Grid::new(timeline, look, matches!(standing, Standing::Blocked(_)));
    grid.scale(out)?;
    if let (Some(life), true) = (timeline.lives.first(), timeline.attempt() > 0) {
        let at = time::with_offset(life.first, &look.zone);
        let line = cut(&format!("attempt 1  {at}"), look.width.saturating_sub(2));
        writeln!(out, "├ {}", look.paint(BOLD, line))?;
    }
    grid.rows(timeline, timeline.first.iter(), out)?;
    if timeline.left_out() > 0 {
        let left_out = counted(timeline.left_out(), "trace");
        let line = look.paint(DIM, format!("⋮ {left_out} not shown here: --all shows every one"));
        writeln!(out, "{line}")?;
    }
    grid.rows(timeline, timeline.last.iter(), out)?;
    result::result(timeline, standing, damage, look, out)
}
