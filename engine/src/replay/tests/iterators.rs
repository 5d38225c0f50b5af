//! Iterators: items within the step that asks for them, which is read in parts.

use super::*;

fn iterator(input: i64) -> TraceStarted {
    of_form(TraceForm::Iterator, call("i", input))
}

fn iterator_event(input: i64) -> Event {
    Event::TraceStarted(iterator(input))
}

fn plain(input: i64) -> TraceStarted {
    of_form(TraceForm::Inline, call("p", input))
}

/// The iterator's next item, where all that is needed of the log is at hand.
fn next(replay: &mut Replay, trace: u64) -> Option<i64> {
    match replay.answer(Sequence(trace)) {
        Ok(Some(Answer::Item(item))) => Some(item.decode().unwrap()),
        Ok(None | Some(Answer::End(_))) => None,
        Err(NeedHistory) => panic!("more of the log is needed"),
    }
}

#[test]
fn items_are_answered_from_the_log_then_live() {
    let log = vec![(false, vec![task_started(), iterator_event(1), yielded(1, 0, 10), yielded(1, 1, 11)])];
    let mut replay = cut_history(log);
    poll(&mut replay);
    assert_eq!(start(&mut replay, iterator(1)).sequence, Some(Sequence(1)));
    assert_eq!((next(&mut replay, 1), next(&mut replay, 1)), (Some(10), Some(11)));
    assert_eq!(replay.answer(Sequence(1)), Ok(None));
    assert_eq!(replay.may_run_inline(), Ok(true));
    replay.yielded_at_once(yielding(1, 2, 12));
    replay.completed_at_once(completion(1, TraceOutcome::Ok(payload(0))));
    assert_eq!(rest_and_append(&mut replay), [yielded(1, 2, 12), completed(1, 0)]);
}

#[test]
fn an_iterator_may_be_held_over_steps() {
    let log = vec![
        vec![task_started(), iterator_event(1), yielded(1, 0, 10), started("a", 10)],
        vec![completed(3, 5), yielded(1, 1, 11), completed(1, 0), Event::TaskCompleted(finish(9))],
    ];
    let mut replay = history(log);
    poll(&mut replay);
    assert!(!replay.holds_iterators());
    start(&mut replay, iterator(1));
    assert_eq!(next(&mut replay, 1), Some(10));
    let a = start(&mut replay, call("a", 10)).index;
    replay.polled(None).unwrap();
    assert!(replay.holds_iterators());
    poll(&mut replay);
    taken(&mut replay, a);
    assert_eq!(next(&mut replay, 1), Some(11));
    assert!(matches!(replay.answer(Sequence(1)), Ok(Some(Answer::End(TraceOutcome::Ok(_))))));
    replay.polled(Some(finish(9))).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Finished(Box::new(finish(9)))));
}

#[test]
fn a_step_of_items_is_read_a_record_at_a_time() {
    let mut replay = Replay::new(RUN, "t".into(), Memo::default());
    let at = feed(&mut replay, 0, false, vec![task_started(), iterator_event(1), yielded(1, 0, 10)]);
    poll(&mut replay);
    start(&mut replay, iterator(1));
    assert_eq!(next(&mut replay, 1), Some(10));
    assert_eq!(replay.answer(Sequence(1)), Err(NeedHistory));
    assert_eq!(replay.extend_step(), Ok(false), "it must be fed first");
    assert!(replay.start(call("a", 10), false).is_err(), "what is not found may be in the rest");
    let at = feed(&mut replay, at, false, vec![yielded(1, 1, 11)]);
    assert_eq!(replay.extend_step(), Ok(true));
    assert_eq!(next(&mut replay, 1), Some(11));
    assert!(replay.needs_more());
    feed(&mut replay, at, true, vec![completed(1, 0), started("a", 10)]);
    assert_eq!(replay.extend_step(), Ok(true));
    assert!(!replay.needs_more());
    assert!(matches!(replay.answer(Sequence(1)), Ok(Some(Answer::End(_)))));
    assert_eq!(start(&mut replay, call("a", 10)).sequence, Some(Sequence(5)));
    replay.end_history();
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Wait));
}

#[test]
fn a_step_of_items_that_the_log_ends_in_goes_on() {
    let mut replay = Replay::new(RUN, "t".into(), Memo::default());
    feed(&mut replay, 0, false, vec![task_started(), iterator_event(1), yielded(1, 0, 10)]);
    poll(&mut replay);
    start(&mut replay, iterator(1));
    next(&mut replay, 1);
    assert!(replay.start(call("a", 10), false).is_err());
    replay.end_history();
    assert_eq!(replay.extend_step(), Ok(true));
    assert_eq!(start(&mut replay, call("a", 10)).sequence, Some(Sequence(3)));
    assert_eq!(rest_and_append(&mut replay), [started("a", 10)]);
}

#[test]
fn a_step_of_items_ends_where_a_delivery_follows() {
    let mut replay = Replay::new(RUN, "t".into(), Memo::default());
    let first = vec![task_started(), started("a", 1), iterator_event(1), yielded(2, 0, 10)];
    let at = feed(&mut replay, 0, false, first);
    poll(&mut replay);
    start(&mut replay, call("a", 1));
    start(&mut replay, iterator(1));
    next(&mut replay, 2);
    feed(&mut replay, at, true, vec![completed(1, 5)]);
    assert_eq!(replay.extend_step(), Ok(true));
    assert!(!replay.needs_more());
    assert_eq!(start(&mut replay, call("more", 1)).sequence, None);
    divergence(replay.polled(None));
}

#[test]
fn a_plain_function_that_is_called_between_items_is_answered_from_the_next_record() {
    let call_plain = || Event::TraceStarted(plain(10));
    let mut replay = Replay::new(RUN, "t".into(), Memo::default());
    let at = feed(&mut replay, 0, false, vec![task_started(), iterator_event(1), yielded(1, 0, 10), call_plain()]);
    poll(&mut replay);
    start(&mut replay, iterator(1));
    next(&mut replay, 1);
    let again = replay.start(plain(10), false).expect_err("its outcome is not read yet");
    feed(&mut replay, at, true, vec![completed(3, 20), completed(1, 0)]);
    assert_eq!(replay.extend_step(), Ok(true));
    assert_eq!(ok(start(&mut replay, *again).recorded), Some(20));
    assert!(matches!(replay.answer(Sequence(1)), Ok(Some(Answer::End(_)))));
    replay.end_history();
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Wait));
}

#[test]
fn a_plain_function_between_items_whose_outcome_the_log_lacks_runs_again() {
    let mut replay = Replay::new(RUN, "t".into(), Memo::default());
    let call_plain = Event::TraceStarted(plain(10));
    feed(&mut replay, 0, false, vec![task_started(), iterator_event(1), yielded(1, 0, 10), call_plain]);
    poll(&mut replay);
    start(&mut replay, iterator(1));
    next(&mut replay, 1);
    let again = replay.start(plain(10), false).expect_err("its outcome may be in the rest");
    replay.end_history();
    assert_eq!(replay.extend_step(), Ok(true));
    let p = start(&mut replay, *again);
    assert_eq!((p.logged, p.recorded, p.occurrence), (true, None, 0));
    assert_eq!(replay.may_run_inline(), Ok(true));
}

#[test]
fn what_was_found_again_of_a_long_step_is_forgotten() {
    let mut replay = Replay::new(RUN, "t".into(), Memo::default());
    let mut at = feed(&mut replay, 0, false, vec![task_started(), iterator_event(1), yielded(1, 0, 0)]);
    poll(&mut replay);
    start(&mut replay, iterator(1));
    for round in 0..100i64 {
        next(&mut replay, 1);
        let p = at;
        let next_item = yielded(1, round as u64 + 1, round + 1);
        at = feed(&mut replay, at, false, vec![Event::TraceStarted(plain(round)), completed(p, round), next_item]);
        assert_eq!(replay.extend_step(), Ok(true));
        assert_eq!(ok(start(&mut replay, plain(round)).recorded), Some(round));
        let expected = replay.expected.as_ref().unwrap();
        assert!(expected.held_count() <= 2, "{}", expected.held_count());
    }
}

#[test]
fn an_iterator_that_is_dropped_early_is_recorded_and_must_be_dropped_again() {
    let mut replay = fresh();
    poll(&mut replay);
    start(&mut replay, iterator(1));
    replay.yielded_at_once(yielding(1, 0, 10));
    replay.abandon_inline(Sequence(1), |trace| completion(trace.0, TraceOutcome::Dropped)).unwrap();
    let events = rest_and_append(&mut replay);
    assert_eq!(events, [task_started(), iterator_event(1), yielded(1, 0, 10), dropped(1)]);

    let run = |drops: bool| {
        let mut replay = history(vec![events.clone()]);
        poll(&mut replay);
        start(&mut replay, iterator(1));
        next(&mut replay, 1);
        if drops {
            replay.abandon_inline(Sequence(1), |_| unreachable!("the log holds it")).unwrap();
        }
        replay.polled(None)
    };
    run(true).unwrap();
    let divergence = divergence(run(false));
    assert!(matches!(divergence.logged, Some(Side::Drop(call)) if call.name == "i"));
}

#[test]
fn a_body_that_asks_for_fewer_items_diverges() {
    let log = vec![vec![task_started(), iterator_event(1), yielded(1, 0, 10), yielded(1, 1, 11)]];
    let mut replay = history(log);
    poll(&mut replay);
    start(&mut replay, iterator(1));
    next(&mut replay, 1);
    let divergence = divergence(replay.polled(None));
    assert!(matches!(divergence.logged, Some(Side::Call(call)) if call.name == "i"));
}

#[test]
fn a_plain_function_does_not_run_while_an_iterator_has_answers_left() {
    let log = vec![(false, vec![task_started(), iterator_event(1), yielded(1, 0, 10)])];
    let mut replay = cut_history(log);
    poll(&mut replay);
    start(&mut replay, iterator(1));
    start(&mut replay, plain(1));
    divergence(replay.may_run_inline().map(|_| ()));
}

#[test]
fn a_step_that_another_follows_takes_nothing_more() {
    let mut replay = Replay::new(RUN, "t".into(), Memo::default());
    let at = feed(&mut replay, 0, false, vec![task_started(), iterator_event(1), yielded(1, 0, 10), started("a", 10)]);
    feed(&mut replay, at, true, vec![completed(3, 5)]);
    poll(&mut replay);
    start(&mut replay, iterator(1));
    assert_eq!(next(&mut replay, 1), Some(10));
    start(&mut replay, call("a", 10));
    assert_eq!(replay.extend_step(), Ok(true));
    assert!(!replay.needs_more() && !replay.is_open_ended(), "a delivery ends it");
    start(&mut replay, call("b", 11));
    let divergence = divergence(replay.polled(None));
    assert!(matches!(divergence.called, Some(Side::Call(site)) if site.name == "b"));
}

#[test]
fn a_delivery_that_is_read_behind_a_long_step_is_handed_over() {
    let mut replay = Replay::new(RUN, "t".into(), Memo::default());
    let at = feed(&mut replay, 0, false, vec![task_started(), started("a", 10), iterator_event(1), yielded(2, 0, 10)]);
    poll(&mut replay);
    let a = start(&mut replay, call("a", 10)).index;
    start(&mut replay, iterator(1));
    assert_eq!(next(&mut replay, 2), Some(10));
    let at = feed(&mut replay, at, false, vec![completed(1, 5)]);
    feed(&mut replay, at, true, vec![yielded(2, 1, 11)]);
    assert_eq!(replay.extend_step(), Ok(true));
    assert_eq!(taken(&mut replay, a), None, "not in this step");
    replay.polled(None).unwrap();
    poll(&mut replay);
    assert_eq!(taken(&mut replay, a), Some(5));
    assert_eq!(replay.extend_step(), Ok(true));
    assert_eq!(next(&mut replay, 2), Some(11));
}

#[test]
fn an_iterator_that_ended_must_not_be_dropped_before_its_end() {
    let mut replay = history(vec![vec![task_started(), iterator_event(1), yielded(1, 0, 10), completed(1, 0)]]);
    poll(&mut replay);
    let index = start(&mut replay, iterator(1)).index;
    assert_eq!(next(&mut replay, 1), Some(10));
    replay.abandon(index, |_| unreachable!("the start is in the log")).unwrap();
    divergence(replay.polled(None));
}
