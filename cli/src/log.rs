//! `relive log RUN`: every event of a run, a line each.
//!
//! Invariant: events are printed as they are read; what is kept is the names of the open traces.

pub(crate) mod facts;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use clap::Args;
use jiff::tz::TimeZone;
use relive_engine::event::{Event, TraceStarted};
use relive_engine::id::{RunId, Sequence, Timestamp};
use relive_engine::inspect::{self, Answered, LoggedEvent};
use relive_engine::log::event_at;
use relive_storage::Read;

use self::facts::{facts, moment};
use crate::args::RunArgument;
use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;
use crate::look::{BOLD, DIM, Look};
use crate::text::{columns, cut, padded, right};
use crate::{time, words};

/// Print every event of a run's log, a line each
///
/// A line has the event's position, which life of the process wrote it (`e1`, `e2`: it counts how often the store was
/// opened to write), the moment, the event, and what it says. On a terminal, lines are cut to its width.
#[derive(Args, Debug)]
#[command(after_long_help = JSON_HELP)]
pub(crate) struct Log {
    #[command(flatten)]
    run: RunArgument,
    /// Never cut a line
    #[arg(long, conflicts_with = "json")]
    full: bool,
}

impl Log {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let store = context.store()?;
        let run = context.find(&store, &self.run)?;
        let lines = match (context.json, context.is_terminal && !self.full) {
            (true, _) => Lines::Json,
            (false, true) => Lines::Cut,
            (false, false) => Lines::Whole,
        };
        log(store, run, lines, &context.look, context.out)?;
        Ok(Status::Success)
    }
}

const JSON_HELP: &str = "\
With --json, each line is an object with run, sequence, epoch, event, and by event:
  task_started     at, task, code, input, attempt, cause (new, cached, resumed, retried, forked),
                   if resumed rerun (names, edited), if forked forked (run, at), if cached cached_from (the run
                   that found the result), id, parent (run, attempt), tags
  trace_started    at, name, code, input_hash, occurrence, input, file, line,
                   form (future, inline, stream, iterator), within (the sequence of the
                   trace whose effect called it), child (its run, if it is a task), group,
                   if another run answered for the child answered (joined, cached) and from (that run)
  trace_retried    trace (the sequence of its start), name, tries, error, due,
                   started_at, duration_us; of relive::signal: a signal that
                   fitted no wait was set aside, and error says why
  trace_yielded    trace, name, index, item, repeats
  trace_completed  trace, name, outcome (ok, err, dropped), output or error, tries,
                   started_at, duration_us, repeats
  signal_received  at, name, value
  task_completed   at, outcome (ok, err, cancelled), output or error, imposed, code,
                   retry_at (when the next attempt is due, if this is not the end)
With repeats, it hands on that event of an earlier attempt: no effect was run.
An error has kind, message, sources, type_name, terminal, value. Moments are RFC 3339 in UTC, durations microseconds.
Names stay as they are; new ones may come.";

/// A trace that has started and not ended.
pub(crate) struct Open {
    pub(crate) name: String,
    /// Whether it is shown by its value.
    pub(crate) immediate: bool,
    /// Of a child that did not run: which run answered for it.
    pub(crate) answered: Option<Answered>,
}

impl Open {
    pub(crate) fn of(store: &Arc<dyn Read>, started: &TraceStarted) -> Self {
        Self {
            name: started.name.to_string(),
            immediate: words::is_immediate(started),
            // What cannot be read is told of where that run is shown.
            answered: started.child.and_then(|child| inspect::answered(store, child).ok().flatten()),
        }
    }
}

/// How lines are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    /// For people, cut to the width.
    Cut,
    /// For people, whole.
    Whole,
    /// For programs.
    Json,
}

/// Prints a log.
fn log(
    store: Arc<dyn Read>,
    run: RunId,
    lines: Lines,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> Result<(), Failure> {
    let mut open: BTreeMap<Sequence, Open> = BTreeMap::new();
    for logged in inspect::events(Arc::clone(&store), run) {
        let logged = logged?;
        let ended;
        let trace = match &logged.event {
            Event::TaskStarted(_) => {
                // What an earlier attempt left open never ends.
                open.clear();
                None
            }
            Event::TraceStarted(started) => {
                open.insert(logged.sequence, Open::of(&store, started));
                open.get(&logged.sequence)
            }
            Event::TraceRetried(retried) => open.get(&retried.trace),
            Event::TraceYielded(yielded) => open.get(&yielded.trace),
            Event::TraceCompleted(completed) => {
                ended = open.remove(&completed.trace);
                ended.as_ref()
            }
            _ => None,
        };
        match lines {
            Lines::Json => {
                let answered = trace.and_then(|trace| trace.answered);
                json::line(out, &json::EventLine::of(run, &logged, trace.map(|trace| trace.name.as_str()), answered))?;
            }
            _ => line(&logged, trace, lines, look, out)?,
        }
    }
    Ok(())
}

/// Prints part of a log, cut to the width.
pub(crate) fn excerpt(
    store: &Arc<dyn Read>,
    run: RunId,
    events: &[LoggedEvent],
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> Result<(), Failure> {
    for logged in events {
        let of = match &logged.event {
            Event::TraceRetried(retried) => Some(retried.trace),
            Event::TraceYielded(yielded) => Some(yielded.trace),
            Event::TraceCompleted(completed) => Some(completed.trace),
            Event::TraceStarted(_) => Some(logged.sequence),
            _ => None,
        };
        // It may have started long before.
        let started = of.map(|trace| event_at(Arc::clone(store), run, trace)).transpose()?;
        let trace = match &started {
            Some(Event::TraceStarted(started)) => Some(Open::of(store, started)),
            _ => None,
        };
        line(logged, trace.as_ref(), Lines::Cut, look, out)?;
    }
    Ok(())
}

fn line(
    logged: &LoggedEvent,
    trace: Option<&Open>,
    lines: Lines,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> std::io::Result<()> {
    let (shown_at, at_columns): (fn(Timestamp, &TimeZone) -> String, _) =
        if lines == Lines::Cut { (time::short, 18) } else { (time::to_the_microsecond, 26) };
    let at = moment(&logged.event).map(|at| shown_at(at, &look.zone)).unwrap_or_default();
    let prefix = format!("{}  e{}", right(&logged.sequence.to_string(), 5), logged.epoch.0);
    let event = padded(logged.event.name(), 14);
    write!(out, "{prefix}  {}  {}", look.paint(DIM, padded(&at, at_columns)), look.paint(BOLD, &event))?;
    let used = columns(&prefix) + 2 + at_columns + 2 + columns(&event) + 2;
    let room = if lines == Lines::Cut { look.width.saturating_sub(used).max(20) } else { usize::MAX };
    let mut left = room.saturating_add(2);
    for (style, text) in facts(&logged.event, trace, room, &look.zone) {
        let text = if lines == Lines::Cut { cut(&text, left.saturating_sub(2)) } else { text };
        if !text.is_empty() {
            left = left.saturating_sub(columns(&text) + 2);
            write!(out, "  {}", look.paint(style, text))?;
        }
    }
    writeln!(out)
}
