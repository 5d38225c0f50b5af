//! What an event says, in a line.
//!
//! Used by `log` and `step`.

use anstyle::Style;
use jiff::tz::TimeZone;
use relive_engine::event::{ErrorRecord, Event, TaskOutcome, TaskStarted, TraceOutcome, TraceStarted};
use relive_engine::id::{Sequence, Timestamp};
use relive_engine::inspect::Answered;
use relive_engine::payload::Payload;
use relive_engine::replay::SIGNAL;

use super::Open;
use crate::call::{OneLine, call, immediate_value, whole_call};
use crate::look::{BAD, DIM, GOOD, OLD, WARN};
use crate::text::{columns, cut, cut_display, cut_front, escaped};
use crate::time;
use crate::words;

/// More room than any line has: nothing is cut.
const LINE_MAX: usize = usize::MAX / 4;

/// Parts of a line, each in its style.
pub(crate) type Parts = Vec<(Style, String)>;

const PLAIN: Style = Style::new();

/// When it happened. A completion carries when its effect began, and for how long it went on; a repeated one, when that
/// was in another attempt.
pub(crate) fn moment(event: &Event) -> Option<Timestamp> {
    match event {
        Event::TaskStarted(started) => Some(started.at),
        Event::TraceStarted(started) => Some(started.at),
        Event::TraceRetried(retried) => Some(time::later(retried.started_at, retried.duration_micros)),
        Event::TraceCompleted(completed) if completed.repeats.is_none() => {
            Some(time::later(completed.started_at, completed.duration_micros))
        }
        Event::SignalReceived(received) => Some(received.at),
        Event::TaskCompleted(completed) => Some(completed.at),
        _ => None,
    }
}

/// What an event says, in so many columns: the payload gets what the rest leaves.
pub(crate) fn facts(event: &Event, trace: Option<&Open>, room: usize, zone: &TimeZone) -> Parts {
    match event {
        Event::TaskStarted(started) => task_started(started, room),
        Event::TraceStarted(started) => trace_started(started, trace.and_then(|trace| trace.answered), room),
        Event::TraceRetried(retried) if trace.is_some_and(|trace| trace.name == SIGNAL) => {
            let head = of(trace, retried.trace);
            let rest = room.saturating_sub(columns(&head) + 13);
            vec![(PLAIN, head), (WARN, "set aside".to_owned()), (PLAIN, error(&retried.error, rest))]
        }
        Event::TraceRetried(retried) => {
            let head = format!("{}, try {}", of(trace, retried.trace), retried.tries);
            let took = time::duration(retried.duration_micros);
            let due = format!("next due {}", due(retried.due, room, zone));
            let rest = room.saturating_sub(columns(&head) + columns(&took) + columns(&due) + 11);
            vec![(PLAIN, head), (BAD, "err".to_owned()), (DIM, took), (WARN, due), (PLAIN, error(&retried.error, rest))]
        }
        Event::TraceYielded(yielded) => {
            let head = format!("{}, item {}", of(trace, yielded.trace), yielded.index);
            let repeats = repeated(yielded.repeats);
            let rest = room.saturating_sub(columns(&head) + columns(&repeats) + 6);
            vec![(PLAIN, head), (OLD, repeats), (PLAIN, shown(&yielded.item.to_value(), rest))]
        }
        Event::TraceCompleted(completed) => {
            let mut head = of(trace, completed.trace);
            if completed.tries > 1 && completed.repeats.is_none() {
                head.push_str(&format!(", try {}", completed.tries));
            }
            let immediate = trace.is_some_and(|trace| trace.immediate);
            let (style, took) = match completed.repeats {
                Some(_) => (OLD, repeated(completed.repeats)),
                None if immediate => (DIM, String::new()),
                None => (DIM, time::duration(completed.duration_micros)),
            };
            let rest = room.saturating_sub(columns(&head) + columns(&took) + 11);
            let [word, value] = match &completed.outcome {
                TraceOutcome::Ok(output) if immediate => {
                    let value = immediate_value(trace.map_or("", |trace| &trace.name), output);
                    [(GOOD, "ok".to_owned()), (PLAIN, value)]
                }
                TraceOutcome::Ok(output) => [(GOOD, "ok".to_owned()), (PLAIN, shown(&output.to_value(), rest))],
                TraceOutcome::Err(record) => [(BAD, "err".to_owned()), (PLAIN, error(record, rest))],
                _ => [(WARN, "dropped".to_owned()), (PLAIN, String::new())],
            };
            vec![(PLAIN, head), word, (style, took), value]
        }
        Event::SignalReceived(received) => {
            let name = escaped(&received.name);
            let rest = room.saturating_sub(columns(&name) + 2);
            vec![(PLAIN, name), (PLAIN, shown(&received.value.to_value(), rest))]
        }
        Event::TaskCompleted(completed) => {
            let by = if completed.imposed { "by the engine" } else { "" };
            let due = completed.retry_at.map(|at| format!("next attempt due {}", due(at, room, zone)));
            let due = due.unwrap_or_default();
            let rest = room.saturating_sub(by.len() + columns(&due) + 15);
            let (style, word, value) = match &completed.outcome {
                TaskOutcome::Ok(output) => (GOOD, "ok", shown(&output.to_value(), rest)),
                TaskOutcome::Err(record) => (BAD, "err", error(record, rest)),
                _ => (WARN, "cancelled", String::new()),
            };
            vec![(style, word.to_owned()), (DIM, by.to_owned()), (WARN, due), (PLAIN, value)]
        }
        _ => Vec::new(),
    }
}

fn task_started(started: &TaskStarted, room: usize) -> Parts {
    let mut about = format!("attempt {}, {}", started.attempt, words::whole_cause(&started.cause));
    if let Some(id) = &started.id {
        about.push_str(&format!(", id {}", escaped(id)));
    }
    if let Some(parent) = &started.parent {
        about.push_str(&format!(", for run {} attempt {}", parent.run, parent.attempt));
    }
    if !started.tags.is_empty() {
        about.push_str(&format!(", {}", words::tags(&started.tags)));
    }
    let about = cut(&about, room / 2);
    vec![(PLAIN, called(&started.task, &started.input, room.saturating_sub(columns(&about) + 2))), (DIM, about)]
}

fn trace_started(started: &TraceStarted, answered: Option<Answered>, room: usize) -> Parts {
    let mut about = Vec::new();
    if started.form == relive_engine::event::TraceForm::Stream || started.form.is_inline() {
        about.push(words::form(started.form).to_owned());
    }
    about.extend(started.within.map(|outer| format!("in event {outer}")));
    about.extend(started.child.map(|child| format!("run {child}")));
    about.extend(answered.map(words::answered));
    about.extend(started.group.as_ref().map(|group| format!("group {}", escaped(group))));
    let about = if words::is_immediate(started) { String::new() } else { cut(&about.join(", "), room / 2) };
    let place =
        cut_front(&format!("{}:{}", escaped(&started.file), started.line), room.saturating_sub(columns(&about)) / 3);
    let rest = room.saturating_sub(columns(&about) + columns(&place) + 4);
    vec![(PLAIN, called(&started.name, &started.input, rest)), (DIM, about), (DIM, place)]
}

/// `fetch of event 3`.
fn of(trace: Option<&Open>, at: Sequence) -> String {
    format!("{} of event {at}", escaped(trace.map_or("a trace", |trace| &trace.name)))
}

fn repeated(repeats: Option<Sequence>) -> String {
    repeats.map(|at| format!("repeats event {at}")).unwrap_or_default()
}

fn due(at: Timestamp, room: usize, zone: &TimeZone) -> String {
    if room > LINE_MAX { time::to_the_microsecond(at, zone) } else { time::short(at, zone) }
}

fn error(record: &ErrorRecord, room: usize) -> String {
    shown(&OneLine(record), room)
}

fn called(name: &str, input: &Payload, room: usize) -> String {
    if room > LINE_MAX { whole_call(name, input) } else { call(name, input, room) }
}

fn shown(value: &dyn std::fmt::Display, room: usize) -> String {
    if room > LINE_MAX { value.to_string() } else { cut_display(value, room) }
}
