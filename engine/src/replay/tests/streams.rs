//! Streams: each item is a delivery, the end is another.

use super::*;

fn stream(input: i64) -> TraceStarted {
    of_form(TraceForm::Stream, call("s", input))
}

/// A live run whose body holds a stream and has polled it; all is appended.
fn live_stream() -> (Replay, TraceIndex) {
    let mut replay = fresh();
    poll(&mut replay);
    let s = start(&mut replay, stream(1)).index;
    rest_and_append(&mut replay);
    (replay, s)
}

#[test]
fn each_item_is_a_step_of_its_own() {
    let (mut replay, s) = live_stream();
    for index in 0..3 {
        assert_eq!(replay.next(), Ok(Decision::Wait));
        assert_eq!(replay.item_count(s), index);
        replay.yielded(s, yielding(1, index, 10), None);
        assert_eq!(poll(&mut replay), Some(s));
        assert_eq!(item(&mut replay, s), Some(10));
        assert_eq!(replay.ask(s), None, "one item is handed over at a time");
        assert_eq!(rest_and_append(&mut replay), [yielded(1, index, 10)]);
    }
    replay.completed(s, completion(1, TraceOutcome::Ok(payload(0))));
    poll(&mut replay);
    assert_eq!(taken(&mut replay, s), Some(0));
    assert_eq!(replay.awaited(s), None);
}

#[test]
fn no_item_is_wanted_while_one_is_not_taken() {
    let (mut replay, s) = live_stream();
    assert!(replay.wants_item(s));
    replay.yielded(s, yielding(1, 0, 10), None);
    assert!(!replay.wants_item(s));
    poll(&mut replay);
    rest_and_append(&mut replay);
    assert!(!replay.wants_item(s), "it is parked");
    assert_eq!(replay.awaited(s), Some(Sequence(1)));
}

#[test]
fn a_parked_item_is_offered_when_the_body_asks_for_it() {
    let mut replay = fresh();
    poll(&mut replay);
    let s = start(&mut replay, stream(1)).index;
    let a = start(&mut replay, call("a", 2)).index;
    rest_and_append(&mut replay);
    replay.yielded(s, yielding(1, 0, 10), None);
    poll(&mut replay);
    rest_and_append(&mut replay);
    replay.completed(a, completion(2, TraceOutcome::Ok(payload(5))));
    poll(&mut replay);
    assert_eq!(taken(&mut replay, a), Some(5));
    assert_eq!(replay.ask(s), None, "one result is ready in a poll");
    replay.polled(None).unwrap();
    assert_eq!(poll(&mut replay), Some(s));
    assert_eq!(item(&mut replay, s), Some(10));
    assert_eq!(rest_and_append(&mut replay), [completed(2, 5)]);
    assert!(replay.wants_item(s));
}

#[test]
fn a_stream_replays_item_by_item_to_its_end() {
    let start_s = Event::TraceStarted(stream(1));
    let log = vec![
        vec![task_started(), start_s],
        vec![yielded(1, 0, 10)],
        vec![yielded(1, 1, 11)],
        vec![completed(1, 0), Event::TaskCompleted(finish(2))],
    ];
    let mut replay = history(log);
    poll(&mut replay);
    let s = start(&mut replay, stream(1)).index;
    replay.polled(None).unwrap();
    for value in [10, 11] {
        assert_eq!(poll(&mut replay), Some(s));
        assert_eq!(item(&mut replay, s), Some(value));
        replay.polled(None).unwrap();
    }
    assert_eq!(poll(&mut replay), Some(s));
    assert_eq!(taken(&mut replay, s), Some(0));
    replay.polled(Some(finish(2))).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Finished(Box::new(finish(2)))));
    assert!(replay.take_pending().1.is_empty());
}

#[test]
fn a_stream_that_fails_hands_its_error_over_as_its_end() {
    let log = vec![vec![task_started(), Event::TraceStarted(stream(1))], vec![yielded(1, 0, 10)], vec![failed(1)]];
    let mut replay = history(log);
    poll(&mut replay);
    let s = start(&mut replay, stream(1)).index;
    replay.polled(None).unwrap();
    poll(&mut replay);
    assert_eq!(item(&mut replay, s), Some(10));
    replay.polled(None).unwrap();
    poll(&mut replay);
    assert_eq!(replay.ask(s), Some(Handed::Outcome(failure("no"))));
}

#[test]
fn a_stream_that_is_dropped_in_its_middle_is_recorded_and_must_be_dropped_again() {
    let (mut replay, s) = live_stream();
    replay.yielded(s, yielding(1, 0, 10), None);
    poll(&mut replay);
    item(&mut replay, s);
    replay.abandon(s, |trace| completion(trace.0, TraceOutcome::Dropped)).unwrap();
    assert_eq!(rest_and_append(&mut replay), [yielded(1, 0, 10), dropped(1)]);
    assert_eq!(replay.awaited(s), None);

    let log = || vec![vec![task_started(), Event::TraceStarted(stream(1))], vec![yielded(1, 0, 10), dropped(1)]];
    let run = |drops: bool| {
        let mut replay = history(log());
        poll(&mut replay);
        let s = start(&mut replay, stream(1)).index;
        replay.polled(None).unwrap();
        poll(&mut replay);
        item(&mut replay, s);
        if drops {
            replay.abandon(s, |_| unreachable!("the log holds it")).unwrap();
        }
        replay.polled(None)
    };
    run(true).unwrap();
    assert_eq!(divergence(run(false)).sequence, Sequence(3));
}

#[test]
fn a_stream_that_is_dropped_with_a_parked_item_leaves_nothing_behind() {
    let (mut replay, s) = live_stream();
    replay.yielded(s, yielding(1, 0, 10), None);
    poll(&mut replay);
    replay.ask(s);
    replay.ask(s);
    replay.abandon(s, |trace| completion(trace.0, TraceOutcome::Dropped)).unwrap();
    assert_eq!(rest_and_append(&mut replay), [yielded(1, 0, 10), dropped(1)]);
    assert_eq!(replay.next(), Ok(Decision::Wait));
}

#[test]
fn what_was_handed_on_before_a_crash_is_known_to_the_source() {
    let log =
        vec![vec![task_started(), Event::TraceStarted(stream(1))], vec![yielded(1, 0, 10)], vec![yielded(1, 1, 11)]];
    let mut replay = history(log);
    poll(&mut replay);
    let s = start(&mut replay, stream(1)).index;
    replay.polled(None).unwrap();
    for _ in 0..2 {
        poll(&mut replay);
        item(&mut replay, s);
        replay.polled(None).unwrap();
    }
    assert_eq!(replay.next(), Ok(Decision::Wait));
    let mut hasher = blake3::Hasher::new();
    [10, 11].iter().for_each(|item| digest(&mut hasher, &payload(*item)));
    let handed_on = replay.handed_on(s);
    assert_eq!((handed_on.count, handed_on.digest.finalize()), (2, hasher.finalize()));
    assert_eq!(replay.item_count(s), 2);
    assert!(replay.wants_item(s));
}

#[test]
fn two_items_without_the_body_having_taken_the_first_contradict_each_other() {
    let log =
        vec![vec![task_started(), Event::TraceStarted(stream(1))], vec![yielded(1, 0, 10)], vec![yielded(1, 1, 11)]];
    let mut replay = history(log);
    poll(&mut replay);
    start(&mut replay, stream(1));
    replay.polled(None).unwrap();
    poll(&mut replay);
    replay.polled(None).unwrap();
    assert!(matches!(replay.next(), Err(ReplayError::Impossible { sequence: Sequence(3), .. })));
}

#[test]
fn an_item_of_a_stream_that_is_over_contradicts_the_log() {
    let log = vec![vec![task_started(), Event::TraceStarted(stream(1))], vec![completed(1, 0)], vec![yielded(1, 0, 1)]];
    let mut replay = history(log);
    poll(&mut replay);
    let s = start(&mut replay, stream(1)).index;
    replay.polled(None).unwrap();
    poll(&mut replay);
    taken(&mut replay, s);
    replay.polled(None).unwrap();
    assert!(matches!(replay.next(), Err(ReplayError::Impossible { sequence: Sequence(3), .. })));
}
