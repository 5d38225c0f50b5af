//! The judge of a campaign: history in, violations out.
//!
//! Called by `campaign` for each directory; calls nothing. Tested with histories in `tests/torture.rs`.
//!
//! Invariant: when an effect began and what was acknowledged is taken from witness and pipe; the log is only what these
//! are compared with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use relive::{Event, RunId, Sequence, TaskOutcome, TraceCompleted, TraceOutcome, Value};

use super::pipe::{AcknowledgedLine, Line};
use super::witness::WitnessLine;

/// All that is known of one directory.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The child's lives, in order.
    pub lives: Vec<Life>,
    /// The logs, after the last life.
    pub logs: BTreeMap<RunId, Vec<(Sequence, Event)>>,
    /// What must have come of it.
    pub expected: Vec<RunExpectation>,
}

/// One life of the child.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// What it told its parent.
    pub pipe: Vec<Line>,
    /// What its effects told the witness.
    pub witness: Vec<WitnessLine>,
}

/// What an undisturbed run comes to.
#[derive(Clone, Copy, Debug)]
pub struct RunExpectation {
    /// The run's number.
    pub number: u32,
    /// Its result.
    pub result: u64,
}

/// What a directory came to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Runs that ended as they should.
    pub runs: u64,
    /// Events that were acknowledged.
    pub acknowledged: u64,
    /// What must not be.
    pub violations: Vec<Violation>,
}

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`Display` says what the fields are")]
pub enum Violation {
    /// The log does not hold an acknowledged event at its place, or holds another there.
    Lost { run: RunId, sequence: Sequence, event: String, found: String },
    /// One place was acknowledged twice, with different events.
    AcknowledgedTwice { run: RunId, sequence: Sequence },
    /// Within one life, a run's events were acknowledged out of order.
    OutOfOrder { life: usize, run: RunId, sequence: Sequence },
    /// A log has a hole, or its positions do not rise.
    Hole { run: RunId, sequence: Sequence },
    /// An effect began after its completion had been acknowledged.
    Repeated { life: usize, label: String, key: String },
    /// An effect began twice in one life of the process.
    BegunTwice { life: usize, label: String, key: String },
    /// An effect began before the start of its trace was acknowledged.
    BegunEarly { life: usize, label: String, key: String },
    /// Effects of one label began under more keys than the log holds starts.
    Unrecorded { label: String, keys: usize, starts: usize },
    /// One id named two runs.
    TwoRuns { number: u32, first: RunId, second: RunId },
    /// A run did not end as an undisturbed one does.
    Unfinished { number: u32, why: String },
    /// The child ended by itself, or fell silent.
    Child { life: usize, why: String },
    /// The logs cannot be read.
    Unreadable { why: String },
}

impl Violation {
    /// Whether something acknowledged is gone.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::AcknowledgedTwice { .. } | Self::Hole { .. } | Self::Unreadable { .. })
    }

    /// Whether an effect was repeated that had been acknowledged.
    pub fn is_repetition(&self) -> bool {
        matches!(self, Self::Repeated { .. })
    }

    /// Whether a run did not end as it should.
    pub fn is_unfinished(&self) -> bool {
        matches!(self, Self::Unfinished { .. } | Self::Child { .. })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { run, sequence, event, found } => {
                write!(f, "run {run}: event {sequence} was acknowledged as {event}; the log holds {found}")
            }
            Self::AcknowledgedTwice { run, sequence } => {
                write!(f, "run {run}: event {sequence} was acknowledged twice, with different content")
            }
            Self::OutOfOrder { life, run, sequence } => {
                write!(f, "run {run}: in life {life}, event {sequence} was acknowledged out of order")
            }
            Self::Hole { run, sequence } => write!(f, "run {run}: the log does not hold event {sequence} at its place"),
            Self::Repeated { life, label, key } => {
                write!(f, "life {life}: the effect of {label} (key {key}) began after its completion was acknowledged")
            }
            Self::BegunTwice { life, label, key } => {
                write!(f, "life {life}: the effect of {label} (key {key}) began twice")
            }
            Self::BegunEarly { life, label, key } => {
                write!(f, "life {life}: the effect of {label} (key {key}) began before its start was acknowledged")
            }
            Self::Unrecorded { label, keys, starts } => {
                write!(f, "effects of {label} began under {keys} idempotency keys; the log holds {starts} starts")
            }
            Self::TwoRuns { number, first, second } => {
                write!(f, "the id of run {number} named {first}, then {second}")
            }
            Self::Unfinished { number, why } => write!(f, "run {number}: {why}"),
            Self::Unreadable { why } => write!(f, "the logs cannot be read: {why}"),
            Self::Child { life, why } => write!(f, "life {life}: {why}"),
        }
    }
}

/// When something was told: in which life, and when there.
type Moment = (usize, u64);

/// What was acknowledged.
#[derive(Default)]
struct Acknowledged<'a> {
    events: BTreeMap<(RunId, Sequence), &'a Event>,
    /// When an effect's completion was acknowledged, by its idempotency key.
    completed: BTreeMap<String, Moment>,
    /// When it was acknowledged that a trace was dropped, by its label.
    dropped: BTreeMap<String, Moment>,
    /// When it was first acknowledged that a trace started, by its label.
    started: BTreeMap<String, Moment>,
}

/// Judges a directory.
pub fn check(history: &History) -> Verdict {
    let mut violations = Vec::new();
    let acknowledged = acknowledged(history, &mut violations);
    check_logs(history, &acknowledged, &mut violations);
    check_effects(history, &acknowledged, &mut violations);
    let runs = check_results(history, &mut violations);
    Verdict { runs, acknowledged: acknowledged.events.len() as u64, violations }
}

fn acknowledged<'a>(history: &'a History, violations: &mut Vec<Violation>) -> Acknowledged<'a> {
    let mut all = Acknowledged::default();
    for (life, lines) in history.lives.iter().enumerate() {
        let mut last = BTreeMap::new();
        for line in &lines.pipe {
            let Line::Acknowledged(AcknowledgedLine { tick, run, sequence, event }) = line else { continue };
            if let Some(before) = last.insert(*run, sequence.0)
                && before + 1 != sequence.0
            {
                violations.push(Violation::OutOfOrder { life, run: *run, sequence: *sequence });
            }
            if let Some(before) = all.events.insert((*run, *sequence), event)
                && before != event
            {
                violations.push(Violation::AcknowledgedTwice { run: *run, sequence: *sequence });
            }
            if let Some(label) = label_of(event) {
                all.started.entry(label).or_insert((life, *tick));
            }
            let Event::TraceCompleted(completed) = event else { continue };
            if let Some(key) = key_of(completed) {
                all.completed.entry(key).or_insert((life, *tick));
            } else if completed.outcome == TraceOutcome::Dropped
                // Known from the pipe; a start whose line was cut by a kill names no label, and is let pass.
                && let Some(label) = all.events.get(&(*run, completed.trace)).and_then(|event| label_of(event))
            {
                all.dropped.entry(label).or_insert((life, *tick));
            }
        }
    }
    all
}

fn check_logs(history: &History, acknowledged: &Acknowledged<'_>, violations: &mut Vec<Violation>) {
    for (run, log) in &history.logs {
        let misplaced = (0..).zip(log).find(|(position, (sequence, _))| sequence.0 != *position);
        if let Some((position, _)) = misplaced {
            violations.push(Violation::Hole { run: *run, sequence: Sequence(position) });
        }
    }
    for ((run, sequence), event) in &acknowledged.events {
        let log = history.logs.get(run).map_or(&[][..], Vec::as_slice);
        let found = log.iter().find(|(position, _)| position == sequence).map(|(_, event)| event);
        if found != Some(*event) {
            let found = found.map_or_else(|| "nothing there".to_owned(), |event| format!("{event:?}"));
            violations.push(Violation::Lost { run: *run, sequence: *sequence, event: format!("{event:?}"), found });
        }
    }
}

fn check_effects(history: &History, acknowledged: &Acknowledged<'_>, violations: &mut Vec<Violation>) {
    let mut starts: BTreeMap<String, usize> = BTreeMap::new();
    for label in history.logs.values().flatten().filter_map(|(_, event)| label_of(event)) {
        *starts.entry(label).or_default() += 1;
    }
    let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (life, lines) in history.lives.iter().enumerate() {
        let mut begun = BTreeSet::new();
        for WitnessLine { tick, label, key, .. } in lines.witness.iter().filter(|line| line.begins) {
            let over = [acknowledged.completed.get(key), acknowledged.dropped.get(label)];
            if over.into_iter().flatten().any(|over| *over < (life, *tick)) {
                violations.push(Violation::Repeated { life, label: label.clone(), key: key.clone() });
            }
            // Of equal calls, which start is whose effect's is not known.
            if starts.get(label) == Some(&1)
                && acknowledged.started.get(label).is_some_and(|start| start.0 == life && start.1 > *tick)
            {
                violations.push(Violation::BegunEarly { life, label: label.clone(), key: key.clone() });
            }
            if !begun.insert(key) {
                violations.push(Violation::BegunTwice { life, label: label.clone(), key: key.clone() });
            }
            keys.entry(label).or_default().insert(key);
        }
    }
    for (label, keys) in keys {
        let (keys, starts) = (keys.len(), starts.get(label).copied().unwrap_or(0));
        if keys > starts {
            violations.push(Violation::Unrecorded { label: label.to_owned(), keys, starts });
        }
    }
}

/// Returns how many runs ended as they should.
fn check_results(history: &History, violations: &mut Vec<Violation>) -> u64 {
    let mut runs: BTreeMap<u32, RunId> = BTreeMap::new();
    let mut ends: BTreeMap<u32, Vec<&Result<u64, String>>> = BTreeMap::new();
    for line in history.lives.iter().flat_map(|life| &life.pipe) {
        match line {
            Line::Started(number, run) => match runs.insert(*number, *run) {
                Some(first) if first != *run => {
                    violations.push(Violation::TwoRuns { number: *number, first, second: *run });
                }
                _ => {}
            },
            Line::Ended(number, result) => ends.entry(*number).or_default().push(result),
            Line::Acknowledged(_) | Line::Done | Line::Left(..) | Line::Refused(_) | Line::Accepted => {}
        }
    }
    let mut count = 0;
    for RunExpectation { number, result } in &history.expected {
        let told = ends.get(number).map_or(&[][..], Vec::as_slice);
        let logged = runs.get(number).and_then(|run| history.logs.get(run)?.last()).map(|(_, event)| event);
        match why_unfinished(*result, told, logged) {
            None => count += 1,
            Some(why) => violations.push(Violation::Unfinished { number: *number, why }),
        }
    }
    count
}

fn why_unfinished(result: u64, told: &[&Result<u64, String>], logged: Option<&Event>) -> Option<String> {
    if told.is_empty() {
        return Some("it did not end".to_owned());
    }
    if let Some(other) = told.iter().find(|told| ***told != Ok(result)) {
        return Some(format!("it ended with {other:?}; an undisturbed one ends with {result}"));
    }
    match logged {
        Some(Event::TaskCompleted(completed)) => match &completed.outcome {
            TaskOutcome::Ok(payload) if payload.decode() == Ok(result) => None,
            other => Some(format!("its log ends with {other:?}; an undisturbed one ends with {result}")),
        },
        other => Some(format!("it was told to have ended, and its log ends with {other:?}")),
    }
}

/// The idempotency key in a call's output. The built-in traces have none.
fn key_of(completed: &TraceCompleted) -> Option<String> {
    match &completed.outcome {
        TraceOutcome::Ok(payload) => match payload.to_value() {
            Value::List(items) => match items.into_iter().next() {
                Some(Value::Text(key)) => Some(key),
                _ => None,
            },
            value => match value.get("key") {
                Some(Value::Text(key)) => Some(key.clone()),
                _ => None,
            },
        },
        TraceOutcome::Err(record) => record.message.split_once("key=").map(|(_, key)| key.to_owned()),
        _ => None,
    }
}

/// The label among a call's arguments.
fn label_of(event: &Event) -> Option<String> {
    let Event::TraceStarted(started) = event else { return None };
    match started.input.to_value().get("label") {
        Some(Value::Text(label)) => Some(label.clone()),
        _ => None,
    }
}
