//! What is shown of a moment: the events around it as lines, and the state behind it.
//!
//! Used by `screen` and `plain`; reads events from `history`, prints nothing.
//!
//! Invariant: every text from a log is escaped; a line is as wide as it may be, and what cannot be read is said to be so.

use anstyle::Style;
use jiff::tz::TimeZone;
use relive_engine::event::{Event, TaskOutcome, TraceOutcome};
use relive_engine::id::Sequence;

use super::history::History;
use super::state::{Latest, Open, State};
use crate::call::{OneLine, call, immediate_value};
use crate::log::{self, facts::Parts};
use crate::look::{BAD, BOLD, DIM, GOOD, LIVE, OLD, WARN};
use crate::text::{columns, counted, cut, cut_display, escaped, padded, right, thousands, wrapped};
use crate::{time, words};

/// A line, in parts of one style each.
pub(super) type Line = Parts;

const PLAIN: Style = Style::new();

/// A part of the state: a heading and what it is about.
pub(super) struct Section {
    pub(super) heading: String,
    /// A line or a few for each.
    pub(super) items: Vec<Vec<Line>>,
    /// How many more there are.
    pub(super) more: u64,
}

/// From this width on, an event's line has its moment.
const MOMENT_WIDTH_MIN: usize = 64;

/// An event in a line: its position, where there is room its moment, a word, what it says.
pub(super) fn row(history: &mut History, at: Sequence, digits: usize, width: usize, zone: &TimeZone) -> Line {
    let mut number = right(&at.0.to_string(), digits);
    if width >= MOMENT_WIDTH_MIN {
        let moment = history.event(at).ok().and_then(|logged| log::facts::moment(&logged.event));
        let moment = moment.map(|moment| time::short(moment, zone)).unwrap_or_default();
        number = format!("{number}  {}", padded(&moment, 18));
    }
    let room = width.saturating_sub(columns(&number) + 10);
    let (style, word, text) = match history.event(at) {
        Ok(logged) => said(history, &logged.event, room),
        Err(error) => (BAD, "damaged", escaped(&error.to_string())),
    };
    vec![(DIM, number), (style, format!("  {} ", padded(word, 7))), (PLAIN, cut(&text, room))]
}

/// An event in a word and a few more.
fn said(history: &mut History, event: &Event, room: usize) -> (Style, &'static str, String) {
    match event {
        Event::TaskStarted(started) => {
            (BOLD, "begin", format!("attempt {}, {}", started.attempt, words::whole_cause(&started.cause)))
        }
        Event::TraceStarted(started) => (LIVE, "call", call(&started.name, &started.input, room)),
        Event::TraceRetried(retried) => {
            let name = name_of(history, retried.trace);
            let text = format!("{name} of {}, try {}: {}", retried.trace, retried.tries, error(&retried.error, room));
            (WARN, "failed", text)
        }
        Event::TraceYielded(yielded) => {
            let name = name_of(history, yielded.trace);
            let item = cut_display(&yielded.item.to_value(), room);
            (GOOD, "item", format!("{name} of {}, item {}: {item}", yielded.trace, yielded.index))
        }
        Event::TraceCompleted(completed) => {
            let name = name_of(history, completed.trace);
            let (style, word, value) = outcome(&completed.outcome, &name, room);
            let style = if completed.repeats.is_some() { OLD } else { style };
            let value = if value.is_empty() { value } else { format!(": {value}") };
            let repeated = if completed.repeats.is_some() { ", repeated" } else { "" };
            (style, word, format!("{name} of {}{repeated}{value}", completed.trace))
        }
        Event::SignalReceived(received) => {
            let value = cut_display(&received.value.to_value(), room);
            (LIVE, "signal", format!("{}: {value}", escaped(&received.name)))
        }
        Event::TaskCompleted(completed) => {
            let (_, word, value) = end(&completed.outcome, room);
            (BOLD, "end", format!("{word} {value}"))
        }
        other => (PLAIN, "other", other.name().to_owned()),
    }
}

fn outcome(outcome: &TraceOutcome, name: &str, room: usize) -> (Style, &'static str, String) {
    match outcome {
        TraceOutcome::Ok(output) if matches!(name, "relive::now" | "relive::random" | "relive::uuid") => {
            (GOOD, "ok", immediate_value(name, output))
        }
        TraceOutcome::Ok(output) => {
            // The end of a stream, or of what returns nothing, is said by the word.
            let value = cut_display(&output.to_value(), room);
            (GOOD, "ok", if value == "null" { String::new() } else { value })
        }
        TraceOutcome::Err(record) => (BAD, "err", error(record, room)),
        _ => (WARN, "dropped", String::new()),
    }
}

fn end(outcome: &TaskOutcome, room: usize) -> (Style, &'static str, String) {
    match outcome {
        TaskOutcome::Ok(output) => (GOOD, "ok", cut_display(&output.to_value(), room)),
        TaskOutcome::Err(record) => (BAD, "err", error(record, room)),
        _ => (WARN, "cancelled", String::new()),
    }
}

fn error(record: &relive_engine::event::ErrorRecord, room: usize) -> String {
    cut_display(&OneLine(record), room)
}

/// The name of the trace that began there.
fn name_of(history: &mut History, at: Sequence) -> String {
    match history.event(at).as_deref().map(|logged| &logged.event) {
        Ok(Event::TraceStarted(started)) => escaped(&started.name),
        _ => "a trace".to_owned(),
    }
}

/// The call that began there.
fn call_of(history: &mut History, at: Sequence, room: usize) -> String {
    match history.event(at).as_deref().map(|logged| &logged.event) {
        Ok(Event::TraceStarted(started)) => call(&started.name, &started.input, room),
        _ => format!("the trace of event {at}, which cannot be read"),
    }
}

/// All that an event says, in at most so many lines.
pub(super) fn detail(
    history: &mut History,
    at: Sequence,
    width: usize,
    lines_max: usize,
    zone: &TimeZone,
) -> Vec<Line> {
    let logged = match history.event(at) {
        Ok(logged) => logged,
        Err(error) => return vec![vec![(BAD, cut(&escaped(&error.to_string()), width))]],
    };
    let trace = History::trace_of(&logged).filter(|trace| *trace != at);
    let open = trace.and_then(|trace| match history.event(trace).as_deref().map(|logged| &logged.event) {
        Ok(Event::TraceStarted(started)) => {
            let (name, immediate) = (started.name.to_string(), words::is_immediate(started));
            Some(log::Open { name, immediate, answered: None })
        }
        _ => None,
    });
    let moment = log::facts::moment(&logged.event).map(|at| time::to_the_microsecond(at, zone)).unwrap_or_default();
    let mut text = format!("{}  {moment}", logged.event.name());
    // A fact is cut to what all lines hold, and all of them to that again.
    for (_, part) in log::facts::facts(&logged.event, open.as_ref(), width * lines_max, zone) {
        if !part.is_empty() {
            text.push_str("  ");
            text.push_str(&part);
        }
    }
    wrapped(&text, width, lines_max).into_iter().map(|line| vec![(PLAIN, line)]).collect()
}

/// How far the run had got, in a few lines.
pub(super) fn summary(history: &mut History, state: &State, width: usize, zone: &TimeZone) -> Vec<Line> {
    let elapsed = state.began_at.map(|began_at| format!("{} in, ", time::duration(state.since(began_at))));
    let mut about = format!("{}attempt {}", elapsed.unwrap_or_default(), state.attempt);
    if let Ok(Event::TaskStarted(started)) = history.event(state.attempt_at).as_deref().map(|logged| &logged.event) {
        about.push_str(&format!(" ({})", words::whole_cause(&started.cause)));
    }
    about.push_str(&format!(", life {}", state.epoch.0));
    let totals = &state.totals;
    let counts = [
        (totals.ok, "ok"),
        (totals.err, "err"),
        (totals.dropped, "dropped"),
        (state.open.len() as u64, "open"),
        (totals.repeated, "repeated"),
    ];
    let counts =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{} {word}", thousands(*count)));
    let counts = counts.collect::<Vec<_>>().join(", ");
    let parted = if counts.is_empty() { "" } else { ": " };
    let traces = format!("{}{parted}{counts}", counted(totals.started, "trace"));
    let mut lines = wrapped(&about, width, 2).into_iter().map(|line| vec![(PLAIN, line)]).collect::<Vec<_>>();
    lines.push(vec![(PLAIN, cut(&traces, width))]);
    if let Some(ended) = state.ended
        && let Ok(Event::TaskCompleted(completed)) = history.event(ended).as_deref().map(|logged| &logged.event)
    {
        let (style, word, value) = end(&completed.outcome, width);
        let by = if completed.imposed { ", by the engine" } else { "" };
        lines.push(vec![(style, cut(&format!("the attempt has ended{by}: {word} {value}"), width))]);
    } else if state.events >= history.count()
        && let Some(at) = state.at
    {
        // Ages are those at the event: of a run that stands still they say nothing, but since when it does.
        let since = format!("nothing since {}: the log ends here", time::to_the_second(at, zone));
        lines.push(vec![(WARN, cut(&since, width))]);
    }
    lines
}

/// The parts of the state that there is something to say of, each with at most so many items.
pub(super) fn sections(history: &mut History, state: &State, width: usize, lines_max: usize) -> Vec<Section> {
    let mut sections = Vec::new();
    let open_count = state.open.len() as u64;
    if open_count > 0 {
        let shown = state.open.iter().take(lines_max);
        let items: Vec<_> = shown.map(|(at, open)| open_lines(history, state, *at, open, width)).collect();
        let order = if open_count > 1 { ", the oldest first" } else { "" };
        let heading = format!("open: {}{order}", thousands(open_count));
        sections.push(Section { heading, more: open_count - items.len() as u64, items });
    }
    sections.extend(latest(history, "delivered", &state.delivered, width, lines_max));
    sections.extend(latest(history, "inside effects", &state.nested, width, lines_max));
    sections.extend(latest(history, "signals", &state.signals, width, lines_max));
    sections.extend(latest(history, "values", &state.values, width, lines_max));
    sections
}

/// A trace that is open: how long, and what has become of it.
fn open_lines(history: &mut History, state: &State, at: Sequence, open: &Open, width: usize) -> Vec<Line> {
    let age = format!("for {}", time::duration(state.since(open.at)));
    let number = right(&at.0.to_string(), 5);
    let room = width.saturating_sub(columns(&number) + columns(&age) + 4);
    let what = call_of(history, at, room);
    let mut lines =
        vec![vec![(DIM, number), (PLAIN, format!("  {}", padded(&what, room))), (WARN, format!("  {age}"))]];
    let mut about = Vec::new();
    if open.items > 0 || matches!(open.form, relive_engine::event::TraceForm::Stream) {
        let last = open.yielded.and_then(|at| match history.event(at).as_deref().map(|logged| &logged.event) {
            Ok(Event::TraceYielded(yielded)) => Some(cut_display(&yielded.item.to_value(), width)),
            _ => None,
        });
        let last = last.map(|last| format!(", the last {last}")).unwrap_or_default();
        about.push((PLAIN, format!("{}{last}", counted(open.items, "item"))));
    }
    if let Some(retried) = open.retried {
        let failure = match history.event(retried).as_deref().map(|logged| &logged.event) {
            Ok(Event::TraceRetried(retried)) => error(&retried.error, width),
            _ => String::new(),
        };
        let due = open.due.zip(state.at).map(|(due, now)| match time::between(now, due) {
            0 => " (the next is due)".to_owned(),
            wait => format!(" (the next in {})", time::duration(wait)),
        });
        let tries = if open.failed == 1 { "1 try".to_owned() } else { format!("{} tries", open.failed) };
        about.push((BAD, format!("{tries} failed{}: {failure}", due.unwrap_or_default())));
    }
    about.extend(open.within.map(|outer| (DIM, format!("called by the effect of event {outer}"))));
    about.extend(open.child.map(|child| (DIM, format!("run {child}"))));
    lines.extend(about.into_iter().map(|(style, text)| vec![(style, cut(&format!("       {text}"), width))]));
    lines
}

/// The latest events of a kind, the newest first.
fn latest(history: &mut History, what: &str, latest: &Latest, width: usize, lines_max: usize) -> Option<Section> {
    if latest.count == 0 {
        return None;
    }
    let shown: Vec<Sequence> = latest.at.iter().rev().take(lines_max).copied().collect();
    let more = latest.count - shown.len() as u64;
    let items = shown.into_iter().map(|at| vec![latest_line(history, at, width)]).collect();
    let order = if latest.count > 1 { ", the newest first" } else { "" };
    Some(Section { heading: format!("{what}: {}{order}", thousands(latest.count)), items, more })
}

fn latest_line(history: &mut History, at: Sequence, width: usize) -> Line {
    let number = right(&at.0.to_string(), 5);
    let room = width.saturating_sub(columns(&number) + 2);
    let logged = history.event(at);
    let (style, word, text) = match logged.as_deref().map(|logged| &logged.event) {
        Ok(Event::TraceCompleted(completed)) => {
            let (style, word, value) = outcome(&completed.outcome, &name_of(history, completed.trace), room);
            let style = if completed.repeats.is_some() { OLD } else { style };
            // The value gets what it needs, up to half; the call the rest.
            let inside = room.saturating_sub(9);
            let called =
                call_of(history, completed.trace, inside.saturating_sub((columns(&value) + 3).min(inside / 2)));
            let parted = if matches!(completed.outcome, TraceOutcome::Err(_)) { ": " } else { " = " };
            (style, word, if value.is_empty() { called } else { format!("{called}{parted}{value}") })
        }
        Ok(Event::SignalReceived(received)) => {
            let value = cut_display(&received.value.to_value(), room);
            (LIVE, "", format!("{} = {value}", escaped(&received.name)))
        }
        Ok(_) => (PLAIN, "", String::new()),
        Err(error) => (BAD, "", escaped(&error.to_string())),
    };
    let word = if word.is_empty() { String::new() } else { format!("{}  ", padded(word, 7)) };
    let text = cut(&text, room.saturating_sub(columns(&word)));
    vec![(DIM, number), (style, format!("  {word}")), (PLAIN, text)]
}

/// The sections in so many lines: the first has what it needs, as long as the others have a line each.
pub(super) fn fitted(sections: Vec<Section>, lines_max: usize, width: usize) -> Vec<Line> {
    let need =
        |section: &Section| 1 + section.items.iter().map(Vec::len).sum::<usize>() + usize::from(section.more > 0);
    let needed: Vec<usize> = sections.iter().map(need).collect();
    // Blank lines between them are for where there is room.
    let is_roomy = needed.iter().sum::<usize>() + needed.len() <= lines_max;
    let mut lines = Vec::new();
    for (index, Section { heading, items, more }) in sections.into_iter().enumerate() {
        if is_roomy {
            lines.push(Vec::new());
        }
        let blank = usize::from(is_roomy);
        let kept: usize = needed[index + 1..].iter().map(|need| (*need).min(2) + blank).sum();
        let room = lines_max.saturating_sub(lines.len() + kept + 1);
        lines.push(vec![(BOLD, cut(&heading, width))]);
        // What is left out takes a line to say so.
        let room = if needed[index] <= room + 1 { room } else { room.saturating_sub(1) };
        let (mut used, mut hidden) = (0, more);
        for item in items {
            if hidden > more || used + item.len() > room {
                hidden += 1;
                continue;
            }
            used += item.len();
            lines.extend(item);
        }
        if hidden > 0 {
            lines.push(vec![(DIM, format!("       and {} more", thousands(hidden)))]);
        }
    }
    lines.truncate(lines_max);
    lines
}

/// Where an event is in its log: `├────●──┤`.
pub(super) fn bar(at: Sequence, count: u64, width: usize) -> String {
    let inside = width.saturating_sub(2).max(1);
    let last = count.saturating_sub(1).max(1);
    let place = (u128::from(at.0) * (inside as u128 - 1) / u128::from(last)) as usize;
    let place = place.min(inside - 1);
    format!("├{}●{}┤", "─".repeat(place), "─".repeat(inside - 1 - place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::testing::{RUN, dropped, reader, started, stored, task_started};

    #[test]
    fn a_word_is_parted_from_what_follows_and_a_line_is_as_wide_as_it_may_be() {
        let log = vec![vec![task_started(1), started("relive::sleep"), dropped(1)]];
        let mut history = History::open(reader(stored(RUN, log)), RUN).unwrap();
        let text = |line: Line| line.into_iter().map(|(_, text)| text).collect::<String>();
        let line = text(row(&mut history, Sequence(2), 3, 60, &TimeZone::UTC));
        assert_eq!(line, "  2  dropped relive::sleep of 1");
        for width in 0..60 {
            let line = text(row(&mut history, Sequence(2), 3, width, &TimeZone::UTC));
            assert!(columns(&line) <= width.max(13), "{width}: {line}");
        }
    }
}
