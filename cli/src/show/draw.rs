//! Draws a timeline: head, rows with bars, result.
//!
//! Called by `show` with what `timeline` kept.
//!
//! Invariant: no line is wider than the output.

use std::io::{self, Write};

use anstyle::Style;
use relive_engine::error::{Error, ErrorKind};
use relive_engine::event::{ErrorRecord, TaskOutcome};
use relive_engine::id::Timestamp;
use relive_engine::index::RunState;

use super::axis::Axis;
use super::timeline::{End, Outcome, Row, Timeline};
use crate::look::{self, BAD, BOLD, DIM, GOOD, LIVE, Look, OLD, WARN};
use crate::text::{columns, counted, cut, cut_display, escaped, padded, right, snake, thousands, wrapped};
use crate::time;

/// A result or an error takes at most so many lines: the whole of it is in `relive log`.
const RESULT_LINES_MAX: usize = 6;

/// Fewer columns than these are no bars.
const BAR_COLUMNS_MIN: usize = 8;

/// Width of the widest outcome, `dropped`.
const OUTCOME_COLUMNS: usize = 7;

/// Width of `replayed` and `executed`.
const ORIGIN_COLUMNS: usize = 8;

/// How wide the label of a row is at most: two fifths of the line, so that bars get as much.
pub(super) fn label_columns(width: usize) -> usize {
    (width * 2 / 5).max(16)
}

/// Draws.
pub(super) fn draw(
    timeline: &Timeline,
    damage: Option<&Error>,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    head(timeline, look, out)?;
    writeln!(out)?;
    let grid = Grid::new(timeline, look);
    grid.scale(out)?;
    grid.rows(timeline, timeline.first.iter(), out)?;
    if timeline.left_out() > 0 {
        let left_out = counted(timeline.left_out(), "trace");
        let line = look.paint(DIM, format!("⋮ {left_out} not shown here: --all shows every one"));
        writeln!(out, "{line}")?;
    }
    grid.rows(timeline, timeline.last.iter(), out)?;
    result(timeline, damage, look, out)
}

fn state(timeline: &Timeline) -> RunState {
    match timeline.ended.as_ref().map(|ended| &ended.outcome) {
        None => RunState::Unfinished,
        Some(TaskOutcome::Ok(_)) => RunState::Completed,
        Some(TaskOutcome::Err(_)) => RunState::Failed,
        Some(_) => RunState::Cancelled,
    }
}

fn head(timeline: &Timeline, look: &Look, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let started = &timeline.started;
    let (word, style) = look::state(state(timeline));
    let end = timeline.ended.as_ref().map(|ended| ended.at);
    let begun = timeline.lives.first().map_or(started.at, |life| life.first);
    let took = end.map(|end| format!(" in {}", time::duration(time::between(begun, end)))).unwrap_or_default();
    let task = cut(&escaped(&started.task), look.width.saturating_sub(60).max(12));
    writeln!(
        out,
        "run {}  {}  {}{took}",
        look.paint(BOLD, timeline.run),
        look.paint(BOLD, task),
        look.paint(style, word)
    )?;
    let mut line = |name: &str, value: &str| {
        let value = cut(value, look.width.saturating_sub(11));
        writeln!(out, "  {} {value}", look.paint(DIM, padded(name, 8)))
    };
    if let Some(id) = &started.id {
        line("id", &escaped(id))?;
    }
    line("started", &time::with_offset(begun, &look.zone))?;
    if let Some(end) = end {
        line("ended", &time::with_offset(end, &look.zone))?;
    }
    let cause = snake(&format!("{:?}", started.cause));
    let cause = if cause == "cached" { "from the cache".to_owned() } else { cause };
    line("attempt", &format!("{} ({cause})", started.attempt))?;
    if let Some(lives) = lives(timeline) {
        line("lives", &lives)?;
    }
    line("input", &cut_display(&started.input.to_value(), look.width))?;
    line("traces", &totals(timeline))
}

/// In how many lives of the process the run went on, if there was more than one.
fn lives(timeline: &Timeline) -> Option<String> {
    let count = timeline.lives.len();
    (count > 1).then(|| {
        let down = timeline.lives.windows(2).map(|pair| time::between(pair[0].last, pair[1].first));
        let down = down.fold(0u64, u64::saturating_add);
        format!("{} of the process; {} between them", thousands(count as u64), time::duration(down))
    })
}

fn totals(timeline: &Timeline) -> String {
    let totals = &timeline.totals;
    let replayed = totals.ended() - totals.executed;
    let parts = [
        (totals.ok, "ok"),
        (totals.err, "err"),
        (totals.dropped, "dropped"),
        (totals.open(), "open"),
        (replayed, "replayed"),
        (totals.executed, "executed"),
    ];
    let parts: Vec<_> = parts.iter().filter(|(count, _)| *count > 0).collect();
    let mut text = thousands(totals.started);
    for (index, (count, word)) in parts.iter().enumerate() {
        // Two counts of the same traces: how they ended, and in which life.
        let separator = match (index, *word) {
            (0, _) => ": ",
            (_, "replayed") => "; ",
            (_, "executed") if replayed == 0 => "; ",
            _ => ", ",
        };
        text.push_str(&format!("{separator}{} {word}", thousands(*count)));
    }
    if totals.effect_micros > 0 {
        text.push_str(&format!("; {} of effects", time::duration(totals.effect_micros)));
    }
    text
}

/// The columns of the rows.
struct Grid<'a> {
    look: &'a Look,
    label: usize,
    duration: usize,
    /// `None` if there is no room for bars.
    axis: Option<Axis>,
}

impl<'a> Grid<'a> {
    fn new(timeline: &Timeline, look: &'a Look) -> Self {
        let drawn = || timeline.first.iter().chain(&timeline.last).filter(|row| !row.immediate);
        let label = drawn().map(|row| columns(&row.label)).max().unwrap_or(0);
        let durations = drawn().filter_map(|row| row.end.as_ref());
        let duration = durations.map(|end| columns(&time::duration(end.micros))).max().unwrap_or(0);
        let left = 2 + label + 2 + OUTCOME_COLUMNS + 2 + ORIGIN_COLUMNS + 2 + duration + 2;
        let rest = look.width.saturating_sub(left);
        let axis = (rest >= BAR_COLUMNS_MIN && label > 0).then(|| Axis::new(&timeline.lives, rest));
        Self { look, label, duration, axis }
    }

    /// The line above the bars: 0, and how long the axis is.
    fn scale(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let Some(axis) = &self.axis else { return Ok(()) };
        let left = self.look.width - axis.columns();
        let total = time::duration(axis.micros());
        let ruler = format!("0{}", right(&total, axis.columns().saturating_sub(1)));
        writeln!(out, "{}{}", padded("", left), self.look.paint(DIM, ruler))
    }

    /// A row per trace; immediate ones that follow each other share one.
    fn rows<'r>(
        &self,
        timeline: &Timeline,
        rows: impl Iterator<Item = &'r Row>,
        out: &mut (impl Write + ?Sized),
    ) -> io::Result<()> {
        let mut together = String::new();
        for row in rows {
            if row.immediate {
                let one = immediate(row);
                if !together.is_empty() && columns(&together) + columns(&one) + 5 > self.look.width {
                    self.together(&mut together, out)?;
                }
                if !together.is_empty() {
                    together.push_str(" · ");
                }
                together.push_str(&one);
                continue;
            }
            self.together(&mut together, out)?;
            self.row(timeline, row, out)?;
        }
        self.together(&mut together, out)
    }

    fn together(&self, text: &mut String, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let line = cut(text, self.look.width.saturating_sub(2));
        text.clear();
        writeln!(out, "├ {}", self.look.paint(DIM, line))
    }

    fn row(&self, timeline: &Timeline, row: &Row, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let look = self.look;
        let (outcome, style) = match row.end.as_ref().map(|end| &end.outcome) {
            None => ("open", LIVE),
            Some(Outcome::Ok(_)) => ("ok", GOOD),
            Some(Outcome::Err(_)) => ("err", BAD),
            Some(Outcome::Dropped) => ("dropped", WARN),
        };
        let replayed = row.end.as_ref().is_some_and(|end| end.epoch < timeline.last_epoch());
        let (origin, origin_style) = match &row.end {
            Some(_) if replayed => ("replayed", OLD),
            Some(End { begun: true, .. }) => ("executed", Style::new()),
            _ => ("", Style::new()),
        };
        let duration = row.end.as_ref().filter(|end| end.begun).map(|end| time::duration(end.micros));
        write!(
            out,
            "├ {}  {}  {}  {}",
            padded(&row.label, self.label),
            look.paint(style, padded(outcome, OUTCOME_COLUMNS)),
            look.paint(origin_style, padded(origin, ORIGIN_COLUMNS)),
            right(&duration.unwrap_or_default(), self.duration),
        )?;
        match &self.axis {
            Some(axis) => writeln!(out, "  {}", self.bar(axis, row, replayed, style))?,
            None => writeln!(out)?,
        }
        if let Some(End { outcome: Outcome::Err(error), .. }) = &row.end {
            writeln!(out, "│   {}", look.paint(BAD, cut(error, look.width.saturating_sub(4))))?;
        }
        Ok(())
    }

    fn bar(&self, axis: &Axis, row: &Row, replayed: bool, style: Style) -> String {
        let (range, glyph) = match &row.end {
            None => (axis.rest(row.epoch, row.at), '╌'),
            Some(end) => {
                let (range, tiny) = axis.bar(end.epoch, end.at, end.micros);
                let glyph = match end.outcome {
                    Outcome::Dropped => '░',
                    _ if tiny => '▏',
                    _ if replayed => '▒',
                    _ => '█',
                };
                (range, glyph)
            }
        };
        let cuts: Vec<usize> = axis.cuts().collect();
        let mut bar = String::new();
        let mut last_style = None;
        // No spaces behind the last thing that is drawn.
        let end = cuts.last().map_or(0, |cut| cut + 1).max(range.end);
        for column in 0..end {
            let (character, style) = match column {
                _ if cuts.contains(&column) => ('┊', Some(DIM)),
                _ if range.contains(&column) => (glyph, Some(if replayed { OLD } else { style })),
                _ => (' ', None),
            };
            if last_style != style {
                self.switch(&mut bar, last_style, style);
                last_style = style;
            }
            bar.push(character);
        }
        self.switch(&mut bar, last_style, None);
        bar
    }

    fn switch(&self, bar: &mut String, from: Option<Style>, to: Option<Style>) {
        if self.look.color {
            bar.push_str(&from.map(|style| style.render_reset().to_string()).unwrap_or_default());
            bar.push_str(&to.map(|style| style.render().to_string()).unwrap_or_default());
        }
    }
}

fn immediate(row: &Row) -> String {
    match row.end.as_ref().map(|end| &end.outcome) {
        Some(Outcome::Ok(value)) => format!("{} = {value}", row.label),
        Some(Outcome::Err(error)) => format!("{} failed: {error}", row.label),
        _ => row.label.clone(),
    }
}

fn result(timeline: &Timeline, damage: Option<&Error>, look: &Look, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    if damage.is_some() {
        return writeln!(out, "└ {}", look.paint(BAD, "the log cannot be read any further"));
    }
    let Some(ended) = &timeline.ended else {
        let last = timeline.lives.last().map_or(Timestamp::default(), |life| life.last);
        let line = match timeline.totals.open() {
            0 => "unfinished".to_owned(),
            open => format!("unfinished, with {} open", counted(open, "trace")),
        };
        let line = format!("{line}; the last event is of {}", time::with_offset(last, &look.zone));
        return writeln!(out, "└ {}", look.paint(LIVE, cut(&line, look.width.saturating_sub(2))));
    };
    match &ended.outcome {
        TaskOutcome::Ok(output) => {
            let inside = look.width.saturating_sub(6);
            let text = cut_display(&output.to_value(), inside * RESULT_LINES_MAX);
            let lines = wrapped(&text, inside, RESULT_LINES_MAX);
            for (index, line) in lines.iter().enumerate() {
                match index {
                    0 => writeln!(out, "└ {}  {line}", look.paint(GOOD, "ok"))?,
                    _ => writeln!(out, "      {line}")?,
                }
            }
            Ok(())
        }
        TaskOutcome::Err(error) => failed(error, ended.imposed, look, out),
        _ => writeln!(out, "└ {}", look.paint(WARN, "cancelled")),
    }
}

fn failed(error: &ErrorRecord, imposed: bool, look: &Look, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let mut word = "err".to_owned();
    if error.kind != ErrorKind::Failed {
        word.push_str(&format!(" ({})", snake(&format!("{:?}", error.kind))));
    }
    if imposed {
        word.push_str(", ended by the engine");
    }
    writeln!(out, "└ {}", look.paint(BAD, word))?;
    let sources = error.sources.iter().map(|source| format!("caused by: {source}"));
    for message in std::iter::once(error.message.clone()).chain(sources) {
        let lines =
            message.lines().flat_map(|line| wrapped(&escaped(line), look.width.saturating_sub(4), RESULT_LINES_MAX));
        for line in lines.take(RESULT_LINES_MAX * 2) {
            writeln!(out, "    {}", look.paint(BAD, line))?;
        }
    }
    Ok(())
}
