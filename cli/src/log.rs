//! `relive log RUN`: every event of a run, a line each.
//!
//! Invariant: events are printed as they are read; what is kept is the names of the open traces.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use anstyle::Style;
use jiff::tz::TimeZone;
use relive_engine::event::{Event, TaskOutcome, TraceOutcome};
use relive_engine::id::{RunId, Sequence, Timestamp};
use relive_engine::inspect::{self, LoggedEvent};
use relive_engine::payload::Payload;
use relive_storage::Read;

use crate::call::{OneLine, call, immediate_value, whole_call};
use crate::failure::Failure;
use crate::json;
use crate::look::{BAD, BOLD, DIM, GOOD, Look, WARN};
use crate::text::{columns, cut, cut_display, cut_front, escaped, padded, right, snake};
use crate::time;

/// How lines are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    /// For people, cut to the width.
    Cut,
    /// For people, whole.
    Whole,
    /// For programs.
    Json,
}

/// Prints a log.
pub(crate) fn log(
    store: Arc<dyn Read>,
    run: RunId,
    lines: Lines,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> Result<(), Failure> {
    let mut open: BTreeMap<Sequence, (String, bool)> = BTreeMap::new();
    for logged in inspect::events(store, run) {
        let logged = logged?;
        if let Event::TraceStarted(started) = &logged.event {
            open.insert(logged.sequence, (started.name.to_string(), started.form.is_inline()));
        }
        let trace =
            if let Event::TraceCompleted(completed) = &logged.event { open.remove(&completed.trace) } else { None };
        let (name, immediate) = trace.map_or((None, false), |(name, immediate)| (Some(name), immediate));
        match lines {
            Lines::Json => json::line(out, &json::EventLine::of(run, &logged, name.as_deref()))?,
            _ => line(&logged, name.as_deref(), immediate, lines, look, out)?,
        }
    }
    Ok(())
}

fn line(
    logged: &LoggedEvent,
    name: Option<&str>,
    immediate: bool,
    lines: Lines,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> Result<(), Failure> {
    let (shown_at, at_columns): (fn(Timestamp, &TimeZone) -> String, _) =
        if lines == Lines::Cut { (time::short, 18) } else { (time::to_the_microsecond, 26) };
    let at = moment(&logged.event).map(|at| shown_at(at, &look.zone)).unwrap_or_default();
    let prefix = format!("{}  e{}", right(&logged.sequence.to_string(), 5), logged.epoch.0);
    let event = padded(logged.event.name(), 14);
    write!(out, "{prefix}  {}  {}", look.paint(DIM, padded(&at, at_columns)), look.paint(BOLD, &event))?;
    let used = columns(&prefix) + 2 + at_columns + 2 + columns(&event) + 2;
    let room = if lines == Lines::Cut { look.width.saturating_sub(used).max(20) } else { usize::MAX };
    for (style, text) in facts(&logged.event, name, immediate, room) {
        if !text.is_empty() {
            write!(out, "  {}", look.paint(style, text))?;
        }
    }
    writeln!(out)?;
    Ok(())
}

/// When it happened. A completion carries when its effect began, and for how long it went on.
fn moment(event: &Event) -> Option<Timestamp> {
    match event {
        Event::TaskStarted(started) => Some(started.at),
        Event::TraceStarted(started) => Some(started.at),
        Event::TraceCompleted(completed) => Some(time::later(completed.started_at, completed.duration_micros)),
        Event::TaskCompleted(completed) => Some(completed.at),
        _ => None,
    }
}

/// What an event says, in so many columns: the payload gets what the rest leaves.
fn facts(event: &Event, name: Option<&str>, immediate: bool, room: usize) -> Vec<(Style, String)> {
    let plain = Style::new();
    match event {
        Event::TaskStarted(started) => {
            let mut about = format!("attempt {}, {}", started.attempt, snake(&format!("{:?}", started.cause)));
            if let Some(id) = &started.id {
                about.push_str(&format!(", id {}", escaped(id)));
            }
            let about = cut(&about, room / 2);
            vec![(plain, called(&started.task, &started.input, room.saturating_sub(columns(&about) + 2))), (DIM, about)]
        }
        Event::TraceStarted(started) => {
            let place = cut_front(&format!("{}:{}", escaped(&started.file), started.line), room / 3);
            vec![(plain, called(&started.name, &started.input, room.saturating_sub(columns(&place) + 2))), (DIM, place)]
        }
        Event::TraceCompleted(completed) => {
            let mut head = format!("{} of event {}", escaped(name.unwrap_or("a trace")), completed.trace);
            if completed.tries > 1 {
                head.push_str(&format!(", try {}", completed.tries));
            }
            let took = if immediate { String::new() } else { time::duration(completed.duration_micros) };
            let rest = room.saturating_sub(columns(&head) + columns(&took) + 11);
            let (style, word, value) = match &completed.outcome {
                TraceOutcome::Ok(output) if immediate => {
                    (GOOD, "ok", immediate_value(name.unwrap_or_default(), output))
                }
                TraceOutcome::Ok(output) => (GOOD, "ok", shown(&output.to_value(), rest)),
                TraceOutcome::Err(error) => (BAD, "err", shown(&OneLine(error), rest)),
                _ => (WARN, "dropped", String::new()),
            };
            vec![(plain, head), (style, word.to_owned()), (DIM, took), (plain, value)]
        }
        Event::TaskCompleted(completed) => {
            let by = if completed.imposed { "by the engine" } else { "" };
            let rest = room.saturating_sub(by.len() + 13);
            let (style, word, value) = match &completed.outcome {
                TaskOutcome::Ok(output) => (GOOD, "ok", shown(&output.to_value(), rest)),
                TaskOutcome::Err(error) => (BAD, "err", shown(&OneLine(error), rest)),
                _ => (WARN, "cancelled", String::new()),
            };
            vec![(style, word.to_owned()), (DIM, by.to_owned()), (plain, value)]
        }
        _ => Vec::new(),
    }
}

fn called(name: &str, input: &Payload, room: usize) -> String {
    if room > LINE_MAX { whole_call(name, input) } else { call(name, input, room) }
}

fn shown(value: &dyn std::fmt::Display, room: usize) -> String {
    if room > LINE_MAX { value.to_string() } else { cut_display(value, room) }
}

/// More room than any line has: nothing is cut.
const LINE_MAX: usize = usize::MAX / 4;
