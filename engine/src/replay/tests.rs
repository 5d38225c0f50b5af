//! Histories in, decisions out. Here: what the tests say them with.

mod asides;
mod batches;
mod divergences;
mod inline;
mod iterators;
mod memo;
mod recalls;
mod steps;
mod streams;

use super::*;
use crate::error::ErrorKind;
use crate::event::{Cause, ErrorRecord, Rerun, TaskOutcome, TaskStarted, TraceForm};
use crate::id::{Epoch, Timestamp};
use crate::payload::Payload;

const RUN: RunId = RunId::from_bytes([7; 16]);

fn payload(value: i64) -> Payload {
    Payload::encode(&value).unwrap()
}

fn call(name: &'static str, input: i64) -> TraceStarted {
    TraceStarted {
        name: name.into(),
        code: CodeHash::from_bytes([1; 16]),
        input_hash: InputHash::of(&input.to_be_bytes()),
        occurrence: 0,
        input: payload(input),
        file: "task.rs".into(),
        line: 1,
        form: TraceForm::Future,
        within: None,
        child: None,
        group: None,
        at: Timestamp(0),
    }
}

fn nth(mut call: TraceStarted, occurrence: u32) -> Event {
    call.occurrence = occurrence;
    Event::TraceStarted(call)
}

fn started(name: &'static str, input: i64) -> Event {
    nth(call(name, input), 0)
}

fn completion(trace: u64, outcome: TraceOutcome) -> TraceCompleted {
    TraceCompleted {
        trace: Sequence(trace),
        outcome,
        tries: 1,
        started_at: Timestamp(0),
        duration_micros: 0,
        repeats: None,
    }
}

fn completed(trace: u64, value: i64) -> Event {
    Event::TraceCompleted(completion(trace, TraceOutcome::Ok(payload(value))))
}

fn dropped(trace: u64) -> Event {
    Event::TraceCompleted(completion(trace, TraceOutcome::Dropped))
}

fn finish(value: i64) -> TaskCompleted {
    TaskCompleted {
        outcome: TaskOutcome::Ok(payload(value)),
        imposed: false,
        retry_at: None,
        code: CodeHash::from_bytes([1; 16]),
        at: Timestamp(0),
    }
}

fn task_started() -> Event {
    Event::TaskStarted(TaskStarted {
        task: "t".into(),
        code: CodeHash::from_bytes([1; 16]),
        input: payload(0),
        attempt: 1,
        cause: Cause::New,
        id: None,
        parent: None,
        tags: Vec::new(),
        at: Timestamp(0),
    })
}

/// A log of settled batches.
fn history(batches: Vec<Vec<Event>>) -> Replay {
    cut_history(batches.into_iter().map(|events| (true, events)).collect())
}

/// A log of batches that may leave their step open.
fn cut_history(batches: Vec<(bool, Vec<Event>)>) -> Replay {
    let mut replay = Replay::new(RUN, "t".into(), Memo::default());
    let mut first = 0;
    for (settled, events) in batches {
        first = feed(&mut replay, first, settled, events);
    }
    replay.end_history();
    replay
}

/// Feeds one batch; says where the next begins.
fn feed(replay: &mut Replay, first: u64, settled: bool, events: Vec<Event>) -> u64 {
    let next = first + events.len() as u64;
    replay.feed(Batch { first: Sequence(first), epoch: Epoch(1), settled, events });
    next
}

/// An attempt that is not in the log yet.
fn fresh() -> Replay {
    Replay::fresh(RUN, "t".into(), Memo::default(), Sequence(0), task_started())
}

/// The body calls a trace, where all that is needed of the log is at hand.
fn start(replay: &mut Replay, call: TraceStarted) -> Started {
    replay.start(call, false).expect("no more of the log is needed")
}

/// The body rests, and what it did is appended.
fn rest_and_append(replay: &mut Replay) -> Vec<Event> {
    replay.polled(None).unwrap();
    append(replay)
}

/// What is appended next.
fn append(replay: &mut Replay) -> Vec<Event> {
    assert_eq!(replay.next(), Ok(Decision::Append));
    let (_, events) = replay.take_pending();
    assert!(replay.next().is_ok(), "the step is over");
    events
}

fn of_form(form: TraceForm, call: TraceStarted) -> TraceStarted {
    TraceStarted { form, ..call }
}

fn within(outer: u64, call: TraceStarted) -> TraceStarted {
    TraceStarted { within: Some(Sequence(outer)), ..call }
}

fn yielding(trace: u64, index: u64, item: i64) -> TraceYielded {
    TraceYielded { trace: Sequence(trace), index, item: payload(item), repeats: None }
}

fn yielded(trace: u64, index: u64, item: i64) -> Event {
    Event::TraceYielded(yielding(trace, index, item))
}

fn failure(message: &str) -> TraceOutcome {
    TraceOutcome::Err(ErrorRecord::new(ErrorKind::Failed, message))
}

fn failed(trace: u64) -> Event {
    Event::TraceCompleted(completion(trace, failure("no")))
}

fn terminally_failed(trace: u64) -> Event {
    let record = ErrorRecord { terminal: true, ..ErrorRecord::new(ErrorKind::Failed, "never") };
    Event::TraceCompleted(completion(trace, TraceOutcome::Err(record)))
}

fn retried(trace: u64, tries: u32) -> Event {
    Event::TraceRetried(crate::event::TraceRetried {
        trace: Sequence(trace),
        tries,
        error: ErrorRecord::new(ErrorKind::Failed, "no"),
        due: Timestamp(i64::from(tries)),
        started_at: Timestamp(0),
        duration_micros: 0,
    })
}

fn signalled(name: &str, value: i64) -> Event {
    let value = payload(value);
    Event::SignalReceived(crate::event::SignalReceived { name: name.to_owned(), value, at: Timestamp(0) })
}

/// A wait for a signal.
fn signal_wait(name: &str) -> TraceStarted {
    let input = Payload::encode(&std::collections::BTreeMap::from([("name", name)])).unwrap();
    TraceStarted { input, input_hash: InputHash::of(name.as_bytes()), ..call(SIGNAL, 0) }
}

fn attempt(attempt: u32, cause: Cause) -> Event {
    let Event::TaskStarted(started) = task_started() else { unreachable!() };
    Event::TaskStarted(TaskStarted { attempt, cause, ..started })
}

fn resumed() -> Cause {
    Cause::Resumed(Rerun::default())
}

fn attempt_failed() -> Event {
    let outcome = TaskOutcome::Err(ErrorRecord::new(ErrorKind::Failed, "no"));
    Event::TaskCompleted(TaskCompleted { outcome, ..finish(0) })
}

/// What earlier attempts found: all of them in one row, from event 0 on.
fn memo_of(events: &[Event]) -> Memo {
    let mut memo = Memo::default();
    (0..).map(Sequence).zip(events).for_each(|(at, event)| memo.observe(at, event));
    memo
}

/// A second attempt behind these events, and how many those are.
fn second_attempt(mut earlier: Vec<Event>) -> (Replay, u64) {
    let at = earlier.len() as u64;
    earlier.push(attempt(2, resumed()));
    let first = earlier[earlier.len() - 1].clone();
    (Replay::fresh(RUN, "t".into(), memo_of(&earlier), Sequence(at), first), at)
}

fn poll(replay: &mut Replay) -> Option<TraceIndex> {
    match replay.next() {
        Ok(Decision::Poll { wake }) => wake,
        other => panic!("expected a poll, got {other:?}"),
    }
}

/// The value of a success.
fn ok(outcome: Option<TraceOutcome>) -> Option<i64> {
    match outcome {
        Some(TraceOutcome::Ok(payload)) => Some(payload.decode().unwrap()),
        Some(other) => panic!("{other:?}"),
        None => None,
    }
}

/// The body polls a trace and takes its value.
fn taken(replay: &mut Replay, index: TraceIndex) -> Option<i64> {
    match replay.ask(index) {
        Some(Handed::Outcome(outcome)) => ok(Some(outcome)),
        Some(Handed::Item(item)) => panic!("an item: {item:?}"),
        None => None,
    }
}

/// The body polls a stream and takes its item.
fn item(replay: &mut Replay, index: TraceIndex) -> Option<i64> {
    match replay.ask(index) {
        Some(Handed::Item(item)) => Some(item.decode().unwrap()),
        Some(Handed::Outcome(outcome)) => panic!("the end: {outcome:?}"),
        None => None,
    }
}

fn divergence(result: Result<(), ReplayError>) -> Divergence {
    match result {
        Err(ReplayError::Diverged(divergence)) => *divergence,
        other => panic!("expected a divergence, got {other:?}"),
    }
}
