//! A new attempt repeats what earlier ones found, in their order, before any effect starts.

use super::*;

fn repeated(trace: u64, value: i64, at: u64) -> TraceCompleted {
    TraceCompleted { repeats: Some(Sequence(at)), ..completion(trace, TraceOutcome::Ok(payload(value))) }
}

fn stream() -> TraceStarted {
    of_form(TraceForm::Stream, call("s", 1))
}

/// An earlier attempt in which `b` ended before `a`, and `c` did not.
fn earlier() -> Vec<Event> {
    vec![
        task_started(),
        started("a", 1),
        started("b", 2),
        started("c", 3),
        completed(2, 20),
        completed(1, 10),
        attempt_failed(),
    ]
}

#[test]
fn what_earlier_attempts_found_is_recalled_in_their_order_before_anything_is_waited_for() {
    let (mut replay, at) = second_attempt(earlier());
    poll(&mut replay);
    let [a, b, c] = [("a", 1), ("b", 2), ("c", 3)].map(|(name, input)| start(&mut replay, call(name, input)).index);
    rest_and_append(&mut replay);
    assert_eq!(replay.next(), Ok(Decision::Recall { index: b, at: Sequence(4) }));
    assert!(!replay.wants_item(b));
    replay.completed(b, repeated(at + 2, 20, 4));
    poll(&mut replay);
    assert_eq!(taken(&mut replay, b), Some(20));
    assert_eq!(rest_and_append(&mut replay), [Event::TraceCompleted(repeated(at + 2, 20, 4))]);
    assert_eq!(replay.next(), Ok(Decision::Recall { index: a, at: Sequence(5) }));
    replay.completed(a, repeated(at + 1, 10, 5));
    poll(&mut replay);
    rest_and_append(&mut replay);
    assert_eq!(replay.next(), Ok(Decision::Wait));
    assert_eq!(replay.awaited(c), Some(Sequence(at + 3)));
}

#[test]
fn a_trace_that_is_dropped_is_not_recalled() {
    let (mut replay, _) = second_attempt(earlier());
    poll(&mut replay);
    let a = start(&mut replay, call("a", 1)).index;
    replay.abandon(a, |trace| completion(trace.0, TraceOutcome::Dropped)).unwrap();
    rest_and_append(&mut replay);
    assert_eq!(replay.next(), Ok(Decision::Wait));
}

#[test]
fn an_attempt_replays_by_its_own_log_and_recalls_what_is_not_in_it() {
    let mut log = earlier();
    log.push(attempt(2, resumed()));
    let memo = memo_of(&log);
    let mut replay = Replay::new(RUN, "t".into(), memo);
    let starts = vec![attempt(2, resumed()), started("a", 1), started("b", 2)];
    let at = feed(&mut replay, 7, true, starts);
    feed(&mut replay, at, true, vec![Event::TraceCompleted(repeated(9, 20, 4))]);
    replay.end_history();
    poll(&mut replay);
    let (a, b) = (start(&mut replay, call("a", 1)).index, start(&mut replay, call("b", 2)).index);
    replay.polled(None).unwrap();
    assert_eq!(poll(&mut replay), Some(b));
    assert_eq!(taken(&mut replay, b), Some(20));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Recall { index: a, at: Sequence(5) }));
}

/// A second attempt behind one in which a stream handed on two items and was cut off.
fn second_with_stream() -> (Replay, TraceIndex, u64) {
    let items = [yielded(1, 0, 10), yielded(1, 1, 11)];
    let mut log = vec![task_started(), Event::TraceStarted(stream())];
    log.extend(items);
    log.push(attempt_failed());
    let (mut replay, at) = second_attempt(log);
    poll(&mut replay);
    let s = start(&mut replay, stream()).index;
    rest_and_append(&mut replay);
    (replay, s, at + 1)
}

#[test]
fn a_streams_items_are_recalled_one_by_one_as_they_are_taken() {
    let (mut replay, s, trace) = second_with_stream();
    assert_eq!(replay.next(), Ok(Decision::Recall { index: s, at: Sequence(2) }));
    let item_again = |index, value, at| TraceYielded { repeats: Some(Sequence(at)), ..yielding(trace, index, value) };
    replay.yielded(s, item_again(0, 10, 2), Some(Sequence(3)));
    poll(&mut replay);
    rest_and_append(&mut replay);
    assert_eq!(replay.next(), Ok(Decision::Wait), "the item is parked: the next is not looked for");
    assert!(!replay.wants_item(s));
}

#[test]
fn behind_what_is_remembered_of_a_stream_its_source_goes_on() {
    let (mut replay, s, trace) = second_with_stream();
    let item_again = |index, value, at| TraceYielded { repeats: Some(Sequence(at)), ..yielding(trace, index, value) };
    for (index, value, at) in [(0, 10, 2), (1, 11, 3)] {
        assert_eq!(replay.next(), Ok(Decision::Recall { index: s, at: Sequence(at) }));
        replay.yielded(s, item_again(index, value, at), Some(Sequence(at + 1)));
        poll(&mut replay);
        assert_eq!(item(&mut replay, s), Some(value));
        rest_and_append(&mut replay);
    }
    assert_eq!(replay.next(), Ok(Decision::Recall { index: s, at: Sequence(4) }));
    replay.forgotten(s);
    assert_eq!(replay.next(), Ok(Decision::Wait));
    assert!(replay.wants_item(s));
    let mut hasher = blake3::Hasher::new();
    [10, 11].iter().for_each(|item| digest(&mut hasher, &payload(*item)));
    let handed_on = replay.handed_on(s);
    assert_eq!((handed_on.count, handed_on.digest.finalize()), (2, hasher.finalize()));
}

#[test]
fn a_crash_in_the_middle_of_recalled_items_goes_on_behind_the_last() {
    let mut log = vec![task_started(), Event::TraceStarted(stream()), yielded(1, 0, 10), yielded(1, 1, 11)];
    log.extend([attempt_failed(), attempt(2, resumed())]);
    let mut replay = Replay::new(RUN, "t".into(), memo_of(&log));
    let at = feed(&mut replay, 5, true, vec![attempt(2, resumed()), Event::TraceStarted(stream())]);
    let again = TraceYielded { repeats: Some(Sequence(2)), ..yielding(6, 0, 10) };
    feed(&mut replay, at, true, vec![Event::TraceYielded(again)]);
    replay.end_history();
    poll(&mut replay);
    let s = start(&mut replay, stream()).index;
    replay.polled(None).unwrap();
    poll(&mut replay);
    assert_eq!(item(&mut replay, s), Some(10));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Recall { index: s, at: Sequence(3) }));
}

#[test]
fn a_plain_function_is_told_where_its_earlier_outcome_stands() {
    let plain = of_form(TraceForm::Inline, call("p", 1));
    let earlier = vec![task_started(), Event::TraceStarted(plain.clone()), completed(1, 5), attempt_failed()];
    let (mut replay, _) = second_attempt(earlier);
    poll(&mut replay);
    assert_eq!(start(&mut replay, plain).hit, Some(Hit::Outcome(Sequence(2))));
    rest_and_append(&mut replay);
    assert_eq!(replay.next(), Ok(Decision::Wait), "it is answered in its step, and not delivered");
}
