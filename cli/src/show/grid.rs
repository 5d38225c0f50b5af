//! The rows of a timeline: labels, outcomes, bars.
//!
//! Called by `draw`.
//!
//! Invariant: no line is wider than the output.

use std::io::{self, Write};

use anstyle::Style;

use super::axis::Axis;
use super::draw::label_columns;
use super::row::{End, Heading, Outcome, Part, Row, Trace, What};
use super::timeline::Timeline;
use super::tree::ordered;
use crate::look::{BAD, BOLD, DIM, GOOD, LIVE, Look, OLD, WARN};
use crate::text::{columns, counted, cut, cut_middle, padded, right};
use crate::{time, words};

/// Fewer columns than these are no bars.
const BAR_COLUMNS_MIN: usize = 8;

/// Width of the widest outcome, `dropped`.
const OUTCOME_COLUMNS: usize = 7;

/// Width of `replayed`, `executed` and `repeated`.
const ORIGIN_COLUMNS: usize = 8;

/// The columns of the rows.
pub(super) struct Grid<'a> {
    look: &'a Look,
    label: usize,
    duration: usize,
    /// `None` if there is no room for bars.
    axis: Option<Axis>,
    /// Nothing is due of a run that cannot go on.
    is_blocked: bool,
}

impl<'a> Grid<'a> {
    pub(super) fn new(timeline: &Timeline, look: &'a Look, is_blocked: bool) -> Self {
        let parts = [ordered(timeline.first.iter()), ordered(timeline.last.iter())];
        let drawn = || {
            parts.iter().flatten().filter_map(|(depth, row)| match &row.what {
                What::Trace(trace) if !trace.immediate => Some((*depth, trace.as_ref())),
                _ => None,
            })
        };
        let label = drawn().map(|(depth, trace)| columns(&label(depth, trace, look.width))).max().unwrap_or(0);
        let durations = drawn().filter_map(|(_, trace)| trace.end.as_ref());
        let duration = durations.map(|end| columns(&time::duration(end.micros))).max().unwrap_or(0);
        let left = 2 + label + 2 + OUTCOME_COLUMNS + 2 + ORIGIN_COLUMNS + 2 + duration + 2;
        let rest = look.width.saturating_sub(left);
        let axis = (rest >= BAR_COLUMNS_MIN && label > 0).then(|| Axis::new(&timeline.lives, rest));
        Self { look, label, duration, axis, is_blocked }
    }

    /// The line above the bars: 0, and how long the axis is.
    pub(super) fn scale(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let Some(axis) = &self.axis else { return Ok(()) };
        let left = self.look.width - axis.columns();
        let total = time::duration(axis.micros());
        let ruler = format!("0{}", right(&total, axis.columns().saturating_sub(1)));
        writeln!(out, "{}{}", padded("", left), self.look.paint(DIM, ruler))
    }

    /// A row per trace; immediate ones that follow each other share one.
    pub(super) fn rows<'r>(
        &self,
        timeline: &Timeline,
        rows: impl Iterator<Item = &'r Row>,
        out: &mut (impl Write + ?Sized),
    ) -> io::Result<()> {
        let mut together = String::new();
        for (depth, row) in ordered(rows) {
            if let What::Trace(trace) = &row.what
                && trace.immediate
            {
                let one = immediate(trace);
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
            match &row.what {
                What::Trace(trace) => self.row(timeline, (depth, row.attempt), trace, out)?,
                What::Attempt(heading) => self.heading(heading, out)?,
                What::Signal(text) => {
                    let text = cut(text, self.look.width.saturating_sub(2));
                    writeln!(out, "├ {}", self.look.paint(DIM, text))?;
                }
                What::SetAside(why) => {
                    let text = cut(why, self.look.width.saturating_sub(2));
                    writeln!(out, "├ {}", self.look.paint(WARN, text))?;
                }
            }
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

    /// How an attempt ended, and that another began.
    fn heading(&self, heading: &Heading, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let look = self.look;
        writeln!(out, "│   {}", look.paint(BAD, cut(&heading.before, look.width.saturating_sub(4))))?;
        let at = time::with_offset(heading.at, &look.zone);
        let line = cut(&format!("{}  {at}", heading.attempt), look.width.saturating_sub(2));
        writeln!(out, "├ {}", look.paint(BOLD, line))
    }

    fn row(
        &self,
        timeline: &Timeline,
        (depth, attempt): (usize, u32),
        trace: &Trace,
        out: &mut (impl Write + ?Sized),
    ) -> io::Result<()> {
        let look = self.look;
        let is_over = timeline.is_over(attempt);
        let (outcome, style) = match trace.end.as_ref().map(|end| &end.outcome) {
            None if is_over => ("stopped", WARN),
            None => ("open", LIVE),
            Some(Outcome::Ok(_)) => ("ok", GOOD),
            Some(Outcome::Err(_)) => ("err", BAD),
            Some(Outcome::Dropped) => ("dropped", WARN),
        };
        let (origin, origin_style) = match &trace.end {
            Some(End { repeated: true, .. }) => ("repeated", OLD),
            Some(end) if end.epoch < timeline.last_epoch(attempt) => ("replayed", OLD),
            Some(End { begun: true, .. }) => ("executed", Style::new()),
            _ => ("", Style::new()),
        };
        let took = trace.end.as_ref().filter(|end| end.begun && !end.repeated).map(|end| time::duration(end.micros));
        write!(
            out,
            "├ {}  {}  {}  {}",
            padded(&label(depth, trace, look.width), self.label),
            look.paint(style, padded(outcome, OUTCOME_COLUMNS)),
            look.paint(origin_style, padded(origin, ORIGIN_COLUMNS)),
            right(&took.unwrap_or_default(), self.duration),
        )?;
        match &self.axis {
            Some(axis) => {
                writeln!(out, "  {}", self.bar(axis, trace, (attempt, is_over), (style, origin == "replayed")))?;
            }
            None => writeln!(out)?,
        }
        for (style, note) in self.notes(trace, is_over) {
            let indent = 2 * depth;
            let note = cut(&note, look.width.saturating_sub(4 + indent));
            writeln!(out, "│   {}{}", padded("", indent), look.paint(style, note))?;
        }
        Ok(())
    }

    /// What is said below a row: which run it is, how tries failed, its error.
    fn notes(&self, trace: &Trace, is_over: bool) -> Vec<(Style, String)> {
        let mut notes = Vec::new();
        notes.extend(trace.child.map(|child| {
            let answered = trace.answered.map(|by| format!(", {}", words::answered(by)));
            (DIM, format!("run {child}{}", answered.unwrap_or_default()))
        }));
        if let Some(retry) = &trace.retry {
            let tries = match retry.tries {
                1 => "try 1 failed".to_owned(),
                tries => format!("{tries} tries failed, the last"),
            };
            notes.push((WARN, format!("{tries}: {}", retry.error)));
            if trace.end.is_none() && !is_over && !self.is_blocked {
                let due = time::with_offset(retry.due, &self.look.zone);
                notes.push((LIVE, format!("the next is due {due}")));
            }
        }
        match &trace.end {
            Some(End { outcome: Outcome::Err(error), tries, .. }) if *tries > 1 => {
                notes.push((BAD, format!("try {tries}: {error}")));
            }
            Some(End { outcome: Outcome::Err(error), .. }) => notes.push((BAD, error.clone())),
            _ => {}
        }
        notes
    }

    fn bar(
        &self,
        axis: &Axis,
        trace: &Trace,
        (attempt, is_over): (u32, bool),
        (style, replayed): (Style, bool),
    ) -> String {
        let (range, glyph) = match &trace.end {
            // It took no time of this attempt.
            Some(End { repeated: true, .. }) => (0..0, ' '),
            None => (axis.rest(Part { epoch: trace.epoch, attempt }, trace.at, is_over), '╌'),
            Some(end) => {
                let (from, to) = (Part { epoch: end.since, attempt }, Part { epoch: end.epoch, attempt });
                let (range, tiny) = axis.span(from, to, end.at, end.micros);
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

/// The label of a trace as deep as it is: its call, and how many items it handed on.
fn label(depth: usize, trace: &Trace, width: usize) -> String {
    let items = trace.items.map(|count| format!(" → {}", counted(count, "item"))).unwrap_or_default();
    let room = label_columns(width).saturating_sub(2 * depth + columns(&items));
    format!("{}{}{items}", padded("", 2 * depth), cut_middle(&trace.label, room))
}

fn immediate(trace: &Trace) -> String {
    match trace.end.as_ref().map(|end| &end.outcome) {
        Some(Outcome::Ok(value)) => format!("{} = {value}", trace.label),
        Some(Outcome::Err(error)) => format!("{} failed: {error}", trace.label),
        _ => trace.label.clone(),
    }
}
