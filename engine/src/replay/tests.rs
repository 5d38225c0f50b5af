//! Histories in, decisions out.

use super::*;
use crate::error::ErrorKind;
use crate::event::{Cause, ErrorRecord, TaskOutcome, TaskStarted, TraceForm};
use crate::id::{Epoch, Timestamp};
use crate::payload::Payload;
use crate::value::Value;

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
    let mut replay = Replay::new(RUN, "t".into(), Memo::default());
    let mut first = 0;
    for events in batches {
        let count = events.len() as u64;
        replay.feed(Batch { first: Sequence(first), epoch: Epoch(1), settled: true, events });
        first += count;
    }
    replay.end_history();
    replay
}

fn poll(replay: &mut Replay) -> Option<TraceIndex> {
    match replay.next() {
        Ok(Decision::Poll { wake }) => wake,
        other => panic!("expected a poll, got {other:?}"),
    }
}

fn ok(outcome: Option<TraceOutcome>) -> Option<i64> {
    match outcome {
        Some(TraceOutcome::Ok(payload)) => Some(payload.decode().unwrap()),
        Some(other) => panic!("{other:?}"),
        None => None,
    }
}

fn divergence(result: Result<(), ReplayError>) -> Divergence {
    match result {
        Err(ReplayError::Diverged(divergence)) => *divergence,
        other => panic!("expected a divergence, got {other:?}"),
    }
}

#[test]
fn a_fresh_run_appends_each_step_as_one_batch() {
    let mut replay = Replay::fresh(RUN, "t".into(), task_started());
    assert_eq!(poll(&mut replay), None);
    let a = replay.start(call("a", 1));
    assert_eq!((a.sequence, a.occurrence), (Some(Sequence(1)), 0));
    replay.polled(None).unwrap();
    let first = replay.next().unwrap();
    assert_eq!(first, Decision::Append { first: Sequence(0), events: vec![task_started(), started("a", 1)] });
    assert_eq!(replay.next(), Ok(Decision::Wait));
    replay.completed(a.index, completion(1, TraceOutcome::Ok(payload(5))));
    assert_eq!(poll(&mut replay), Some(a.index));
    assert_eq!(ok(replay.ask(a.index)), Some(5));
    replay.polled(Some(finish(6))).unwrap();
    let last = replay.next().unwrap();
    let events = vec![completed(1, 5), Event::TaskCompleted(finish(6))];
    assert_eq!(last, Decision::Append { first: Sequence(2), events });
    assert_eq!(replay.next(), Ok(Decision::Finished(finish(6))));
}

#[test]
fn a_finished_log_replays_to_its_result_and_appends_nothing() {
    let mut replay =
        history(vec![vec![task_started(), started("a", 1)], vec![completed(1, 5), Event::TaskCompleted(finish(6))]]);
    assert_eq!(poll(&mut replay), None);
    let a = replay.start(call("a", 1));
    assert_eq!(a.sequence, Some(Sequence(1)));
    replay.polled(None).unwrap();
    assert_eq!(poll(&mut replay), Some(a.index));
    assert_eq!(ok(replay.ask(a.index)), Some(5));
    replay.polled(Some(finish(6))).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Finished(finish(6))));
}

#[test]
fn a_log_that_is_used_up_goes_on_live_with_its_open_traces() {
    let mut replay = history(vec![vec![task_started(), started("a", 1), started("b", 2)], vec![completed(2, 5)]]);
    poll(&mut replay);
    let (a, b) = (replay.start(call("a", 1)), replay.start(call("b", 2)));
    replay.polled(None).unwrap();
    assert!(!replay.is_live());
    assert_eq!(poll(&mut replay), Some(b.index));
    assert_eq!(ok(replay.ask(b.index)), Some(5));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Wait));
    assert!(replay.is_live());
    assert_eq!((replay.awaited(a.index), replay.next_sequence()), (Some(Sequence(1)), Sequence(4)));
}

#[test]
fn the_order_of_starts_within_a_step_carries_no_meaning() {
    let mut replay = history(vec![vec![task_started(), started("a", 1), started("b", 2), started("a", 3)]]);
    poll(&mut replay);
    let sequences = [call("b", 2), call("a", 3), call("a", 1)].map(|call| replay.start(call).sequence);
    assert_eq!(sequences, [Some(Sequence(2)), Some(Sequence(3)), Some(Sequence(1))]);
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Wait));
}

#[test]
fn equal_calls_are_told_apart_by_their_occurrence() {
    let mut replay = history(vec![vec![task_started(), nth(call("a", 1), 0), nth(call("a", 1), 1)]]);
    poll(&mut replay);
    let sequences = [(); 2].map(|()| replay.start(call("a", 1)).sequence);
    assert_eq!(sequences, [Some(Sequence(1)), Some(Sequence(2))]);
}

#[test]
fn results_that_nobody_asked_for_are_parked_and_offered_one_by_one_in_log_order() {
    let mut replay = Replay::fresh(RUN, "t".into(), task_started());
    poll(&mut replay);
    let [a, b, c] = [("a", 1), ("b", 2), ("c", 3)].map(|(name, input)| replay.start(call(name, input)).index);
    replay.polled(None).unwrap();
    let settle_append = |replay: &mut Replay| assert!(matches!(replay.next(), Ok(Decision::Append { .. })));
    settle_append(&mut replay);
    // b and a are delivered while the body holds them without polling.
    for (index, trace, value) in [(b, 2, 20), (a, 1, 10)] {
        assert_eq!(replay.next(), Ok(Decision::Wait));
        replay.completed(index, completion(trace, TraceOutcome::Ok(payload(value))));
        assert_eq!(poll(&mut replay), Some(index));
        replay.polled(None).unwrap();
        settle_append(&mut replay);
    }
    assert_eq!(replay.next(), Ok(Decision::Wait));
    replay.completed(c, completion(3, TraceOutcome::Ok(payload(30))));
    assert_eq!(poll(&mut replay), Some(c));
    // Now the body takes c and asks for both of the others, a first: none is ready in this poll.
    assert_eq!(ok(replay.ask(c)), Some(30));
    assert_eq!((ok(replay.ask(a)), ok(replay.ask(b))), (None, None));
    replay.polled(None).unwrap();
    assert_eq!(poll(&mut replay), Some(b), "b was delivered first");
    assert_eq!((ok(replay.ask(a)), ok(replay.ask(b))), (None, Some(20)));
    replay.polled(None).unwrap();
    assert_eq!(poll(&mut replay), Some(a));
    assert_eq!(ok(replay.ask(a)), Some(10));
    replay.polled(None).unwrap();
    settle_append(&mut replay);
}

#[test]
fn a_dropped_trace_is_recorded_and_must_be_dropped_again() {
    let log = || vec![vec![task_started(), started("a", 1), started("b", 2)], vec![completed(1, 5), dropped(2)]];
    let run = |drops: bool| {
        let mut replay = history(log());
        poll(&mut replay);
        let (a, b) = (replay.start(call("a", 1)), replay.start(call("b", 2)));
        replay.polled(None).unwrap();
        poll(&mut replay);
        replay.ask(a.index);
        if drops {
            replay.abandon(b.index, |_| unreachable!("the log holds it"));
        }
        replay.polled(None)
    };
    run(true).unwrap();
    let divergence = divergence(run(false));
    assert_eq!(divergence.sequence, Sequence(4));
    assert!(matches!(divergence.logged, Some(Side::Drop(call)) if call.name == "b"));
}

#[test]
fn another_call_is_a_divergence_that_names_both_sides() {
    let mut replay = history(vec![vec![task_started(), started("a", 1)]]);
    poll(&mut replay);
    assert_eq!(replay.start(TraceStarted { line: 9, ..call("a", 2) }).sequence, None);
    let divergence = divergence(replay.polled(None));
    assert_eq!((divergence.run, divergence.sequence), (RUN, Sequence(1)));
    assert!(matches!(&divergence.logged, Some(Side::Call(site)) if site.input == Value::Unsigned(1) && site.line == 1));
    assert!(matches!(&divergence.called, Some(Side::Call(site)) if site.input == Value::Unsigned(2) && site.line == 9));
}

#[test]
fn one_call_more_in_a_settled_step_is_a_divergence() {
    let mut replay = history(vec![vec![task_started(), started("a", 1)]]);
    poll(&mut replay);
    replay.start(call("a", 1));
    replay.start(call("b", 2));
    let divergence = divergence(replay.polled(None));
    assert_eq!((divergence.sequence, divergence.logged), (Sequence(2), None));
    assert!(matches!(divergence.called, Some(Side::Call(site)) if site.name == "b"));
}

#[test]
fn one_call_more_in_a_step_that_the_log_does_not_hold_whole_is_appended() {
    let mut replay = Replay::new(RUN, "t".into(), Memo::default());
    replay.feed(Batch { first: Sequence(0), epoch: Epoch(1), settled: false, events: vec![task_started()] });
    replay.end_history();
    poll(&mut replay);
    replay.start(call("a", 1));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Append { first: Sequence(1), events: vec![started("a", 1)] }));
    assert_eq!(replay.next(), Ok(Decision::Wait));
}

#[test]
fn a_body_that_finishes_early_or_otherwise_diverges() {
    let mut replay = history(vec![vec![task_started(), started("a", 1)]]);
    poll(&mut replay);
    replay.start(call("a", 1));
    let early = divergence(replay.polled(Some(finish(1))));
    assert!(matches!(early.called, Some(Side::Finished(_))));

    let mut replay = history(vec![vec![task_started(), Event::TaskCompleted(finish(1))]]);
    poll(&mut replay);
    let other = divergence(replay.polled(Some(finish(2))));
    assert_eq!(other.sequence, Sequence(1));
    assert!(matches!((other.logged, other.called), (Some(Side::Finished(_)), Some(Side::Finished(_)))));
}

#[test]
fn an_immediate_trace_is_answered_from_the_log() {
    let immediate = || TraceStarted { form: TraceForm::Inline, ..call("now", 0) };
    let mut live = Replay::fresh(RUN, "t".into(), task_started());
    poll(&mut live);
    let now = live.start(immediate());
    assert_eq!((now.sequence, now.recorded), (Some(Sequence(1)), None));
    live.completed_at_once(completion(1, TraceOutcome::Ok(payload(99))));
    live.start(call("a", 99));
    live.polled(None).unwrap();
    let Ok(Decision::Append { events, .. }) = live.next() else { panic!("a step is appended") };

    let mut replay = history(vec![events]);
    poll(&mut replay);
    assert_eq!(ok(replay.start(immediate()).recorded), Some(99));
    assert_eq!(replay.start(call("a", 99)).sequence, Some(Sequence(3)));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Wait));
}

#[test]
fn an_immediate_trace_that_the_log_lacks_has_no_answer() {
    let mut replay = history(vec![vec![task_started(), started("a", 1)]]);
    poll(&mut replay);
    let now = replay.start(TraceStarted { form: TraceForm::Inline, ..call("now", 0) });
    assert_eq!((now.sequence, now.recorded), (None, None));
    divergence(replay.polled(None));
}

#[test]
fn an_end_that_the_engine_imposed_needs_no_body_that_finishes() {
    let cancelled = TaskCompleted { outcome: TaskOutcome::Cancelled, imposed: true, ..finish(0) };
    let mut replay =
        history(vec![vec![task_started(), started("a", 1)], vec![Event::TaskCompleted(cancelled.clone())]]);
    poll(&mut replay);
    replay.start(call("a", 1));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Finished(cancelled)));
}

#[test]
fn an_edited_trace_keeps_its_results_and_makes_the_run_unfit_for_the_cache() {
    let mut replay = history(vec![vec![task_started(), started("a", 1)]]);
    poll(&mut replay);
    assert!(replay.used_traces().is_some());
    let edited = TraceStarted { code: CodeHash::from_bytes([2; 16]), ..call("a", 1) };
    assert_eq!(replay.start(edited).sequence, Some(Sequence(1)));
    assert_eq!(replay.used_traces(), None);
}

#[test]
fn a_recorded_failure_is_delivered_as_it_was() {
    let record = ErrorRecord::new(ErrorKind::Failed, "no");
    let failed = Event::TraceCompleted(completion(1, TraceOutcome::Err(record.clone())));
    let mut replay = history(vec![vec![task_started(), started("a", 1)], vec![failed]]);
    poll(&mut replay);
    let a = replay.start(call("a", 1));
    replay.polled(None).unwrap();
    poll(&mut replay);
    assert_eq!(replay.ask(a.index), Some(TraceOutcome::Err(record)));
}

#[test]
fn a_log_that_contradicts_itself_is_an_error_that_names_where() {
    let impossible = |batches: Vec<Vec<Event>>| {
        let mut replay = history(batches);
        let mut polls = 0;
        loop {
            match replay.next() {
                Err(ReplayError::Impossible { sequence, .. }) => return sequence.0,
                Ok(Decision::Poll { .. }) if polls == 0 => {
                    polls += 1;
                    replay.start(call("a", 1));
                    replay.polled(None).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(impossible(vec![vec![started("a", 1)]]), 0, "no TaskStarted");
    assert_eq!(impossible(vec![vec![task_started(), started("a", 1)], vec![completed(9, 1)]]), 2, "no such trace");
    assert_eq!(impossible(vec![vec![task_started(), started("a", 1)], vec![task_started()]]), 2, "two beginnings");
    assert_eq!(
        impossible(vec![vec![task_started(), Event::TaskCompleted(finish(1)), started("a", 1)]]),
        2,
        "something behind the end"
    );
}

#[test]
fn history_may_come_in_pieces() {
    let mut replay = Replay::new(RUN, "t".into(), Memo::default());
    assert_eq!(replay.next(), Ok(Decision::NeedHistory));
    replay.feed(Batch {
        first: Sequence(0),
        epoch: Epoch(1),
        settled: true,
        events: vec![task_started(), started("a", 1)],
    });
    poll(&mut replay);
    let a = replay.start(call("a", 1));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::NeedHistory));
    replay.feed(Batch { first: Sequence(2), epoch: Epoch(1), settled: true, events: vec![completed(1, 3)] });
    assert_eq!(poll(&mut replay), Some(a.index));
    assert_eq!(ok(replay.ask(a.index)), Some(3));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::NeedHistory));
    replay.end_history();
    assert_eq!(replay.next(), Ok(Decision::Wait));
}
