//! Steps: deliveries, parked results, what is appended, how an attempt ends.

use super::*;

#[test]
fn a_fresh_run_appends_each_step_as_one_batch() {
    let mut replay = fresh();
    assert_eq!(poll(&mut replay), None);
    let a = start(&mut replay, call("a", 1));
    assert_eq!((a.sequence, a.occurrence), (Some(Sequence(1)), 0));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Append));
    assert_eq!(replay.take_pending(), (Sequence(0), vec![task_started(), started("a", 1)]));
    assert_eq!(replay.next(), Ok(Decision::Wait));
    replay.completed(a.index, completion(1, TraceOutcome::Ok(payload(5))));
    assert_eq!(poll(&mut replay), Some(a.index));
    assert_eq!(taken(&mut replay, a.index), Some(5));
    replay.polled(Some(finish(6))).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Append));
    assert_eq!(replay.take_pending(), (Sequence(2), vec![completed(1, 5), Event::TaskCompleted(finish(6))]));
    assert_eq!(replay.next(), Ok(Decision::Finished(Box::new(finish(6)))));
}

#[test]
fn a_finished_log_replays_to_its_result_and_appends_nothing() {
    let mut replay =
        history(vec![vec![task_started(), started("a", 1)], vec![completed(1, 5), Event::TaskCompleted(finish(6))]]);
    assert_eq!(poll(&mut replay), None);
    let a = start(&mut replay, call("a", 1));
    assert_eq!(a.sequence, Some(Sequence(1)));
    replay.polled(None).unwrap();
    assert_eq!(poll(&mut replay), Some(a.index));
    assert_eq!(taken(&mut replay, a.index), Some(5));
    replay.polled(Some(finish(6))).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Finished(Box::new(finish(6)))));
}

#[test]
fn a_log_that_is_used_up_goes_on_live_with_its_open_traces() {
    let mut replay = history(vec![vec![task_started(), started("a", 1), started("b", 2)], vec![completed(2, 5)]]);
    poll(&mut replay);
    let (a, b) = (start(&mut replay, call("a", 1)), start(&mut replay, call("b", 2)));
    replay.polled(None).unwrap();
    assert!(!replay.is_live());
    assert_eq!(poll(&mut replay), Some(b.index));
    assert_eq!(taken(&mut replay, b.index), Some(5));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Wait));
    assert!(replay.is_live());
    assert_eq!((replay.awaited(a.index), replay.next_sequence()), (Some(Sequence(1)), Sequence(4)));
}

#[test]
fn the_order_of_starts_within_a_step_carries_no_meaning() {
    let mut replay = history(vec![vec![task_started(), started("a", 1), started("b", 2), started("a", 3)]]);
    poll(&mut replay);
    let sequences = [call("b", 2), call("a", 3), call("a", 1)].map(|call| start(&mut replay, call).sequence);
    assert_eq!(sequences, [Some(Sequence(2)), Some(Sequence(3)), Some(Sequence(1))]);
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Wait));
}

#[test]
fn equal_calls_are_told_apart_by_their_occurrence() {
    let mut replay = history(vec![vec![task_started(), nth(call("a", 1), 0), nth(call("a", 1), 1)]]);
    poll(&mut replay);
    let sequences = [(); 2].map(|()| start(&mut replay, call("a", 1)).sequence);
    assert_eq!(sequences, [Some(Sequence(1)), Some(Sequence(2))]);
}

#[test]
fn results_that_nobody_asked_for_are_parked_and_offered_one_by_one_in_log_order() {
    let mut replay = fresh();
    poll(&mut replay);
    let [a, b, c] = [("a", 1), ("b", 2), ("c", 3)].map(|(name, input)| start(&mut replay, call(name, input)).index);
    rest_and_append(&mut replay);
    // b and a are delivered while the body holds them without polling.
    for (index, trace, value) in [(b, 2, 20), (a, 1, 10)] {
        assert_eq!(replay.next(), Ok(Decision::Wait));
        replay.completed(index, completion(trace, TraceOutcome::Ok(payload(value))));
        assert_eq!(poll(&mut replay), Some(index));
        rest_and_append(&mut replay);
    }
    assert_eq!(replay.next(), Ok(Decision::Wait));
    replay.completed(c, completion(3, TraceOutcome::Ok(payload(30))));
    assert_eq!(poll(&mut replay), Some(c));
    // Now the body takes c and asks for both of the others, a first: none is ready in this poll.
    assert_eq!(taken(&mut replay, c), Some(30));
    assert_eq!((taken(&mut replay, a), taken(&mut replay, b)), (None, None));
    replay.polled(None).unwrap();
    assert_eq!(poll(&mut replay), Some(b), "b was delivered first");
    assert_eq!((taken(&mut replay, a), taken(&mut replay, b)), (None, Some(20)));
    replay.polled(None).unwrap();
    assert_eq!(poll(&mut replay), Some(a));
    assert_eq!(taken(&mut replay, a), Some(10));
    rest_and_append(&mut replay);
}

#[test]
fn an_end_that_the_engine_imposed_needs_no_body_that_finishes() {
    let cancelled = TaskCompleted { outcome: TaskOutcome::Cancelled, imposed: true, ..finish(0) };
    let mut replay =
        history(vec![vec![task_started(), started("a", 1)], vec![Event::TaskCompleted(cancelled.clone())]]);
    poll(&mut replay);
    start(&mut replay, call("a", 1));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Finished(Box::new(cancelled))));
}

#[test]
fn an_edited_trace_keeps_its_results_and_makes_the_run_unfit_for_the_cache() {
    let mut replay = history(vec![vec![task_started(), started("a", 1)]]);
    poll(&mut replay);
    assert!(replay.used().is_some());
    let edited = TraceStarted { code: CodeHash::from_bytes([2; 16]), ..call("a", 1) };
    assert_eq!(start(&mut replay, edited).sequence, Some(Sequence(1)));
    assert_eq!(replay.used(), None);
}

#[test]
fn a_recorded_failure_is_delivered_as_it_was() {
    let record = ErrorRecord::new(ErrorKind::Failed, "no");
    let failed = Event::TraceCompleted(completion(1, TraceOutcome::Err(record.clone())));
    let mut replay = history(vec![vec![task_started(), started("a", 1)], vec![failed]]);
    poll(&mut replay);
    let a = start(&mut replay, call("a", 1));
    replay.polled(None).unwrap();
    poll(&mut replay);
    assert_eq!(replay.ask(a.index), Some(Handed::Outcome(TraceOutcome::Err(record))));
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
    let a = start(&mut replay, call("a", 1));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::NeedHistory));
    replay.feed(Batch { first: Sequence(2), epoch: Epoch(1), settled: true, events: vec![completed(1, 3)] });
    assert_eq!(poll(&mut replay), Some(a.index));
    assert_eq!(taken(&mut replay, a.index), Some(3));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::NeedHistory));
    replay.end_history();
    assert_eq!(replay.next(), Ok(Decision::Wait));
}

#[test]
fn whatever_the_body_does_beyond_the_log_makes_a_step_that_is_to_be_appended() {
    let mut replay = fresh();
    poll(&mut replay);
    replay.polled(None).unwrap();
    append(&mut replay);
    assert!(!replay.is_dirty(), "it did nothing");
    start(&mut replay, call("a", 1));
    assert!(replay.is_dirty());
}
