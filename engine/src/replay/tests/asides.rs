//! Beside the steps: what effects call, retries, signals.

use super::*;

fn nested_event(outer: u64, name: &'static str, input: i64) -> Event {
    Event::TraceStarted(within(outer, call(name, input)))
}

/// Replays a log whose body calls `a(1)` and rests.
fn live(log: Vec<(bool, Vec<Event>)>) -> (Replay, TraceIndex) {
    let mut replay = cut_history(log);
    poll(&mut replay);
    let a = start(&mut replay, call("a", 1)).index;
    replay.polled(None).unwrap();
    (replay, a)
}

fn begun() -> (bool, Vec<Event>) {
    (true, vec![task_started(), started("a", 1)])
}

#[test]
fn what_effects_call_is_no_part_of_any_step() {
    let (mut replay, _) = live(vec![begun(), (true, vec![nested_event(1, "n", 2), completed(2, 7)])]);
    assert_eq!(replay.next(), Ok(Decision::Wait));
    assert_eq!(replay.next_sequence(), Sequence(4), "behind them");
}

#[test]
fn a_nested_call_that_ended_well_is_answered_again_and_any_other_runs() {
    let log = vec![
        begun(),
        (true, vec![nested_event(1, "good", 2), completed(2, 7)]),
        (true, vec![nested_event(1, "bad", 2), failed(4)]),
        (true, vec![nested_event(1, "worse", 2), terminally_failed(6)]),
        (true, vec![nested_event(1, "cut off", 2)]),
    ];
    let (mut replay, _) = live(log);
    assert_eq!(replay.next(), Ok(Decision::Wait));
    let nested = |name| replay.nested(Sequence(1), &within(1, call(name, 2)));
    assert_eq!(nested("good"), NestedCall::Ended(TraceOutcome::Ok(payload(7))));
    assert!(matches!(nested("bad"), NestedCall::Failed(Sequence(4), record) if !record.terminal));
    assert!(matches!(nested("worse"), NestedCall::Ended(TraceOutcome::Err(record)) if record.terminal));
    assert_eq!(nested("cut off"), NestedCall::Began(Sequence(8)));
    assert_eq!(nested("new"), NestedCall::New);
}

#[test]
fn a_nested_call_that_failed_and_then_ended_well_is_answered() {
    let log = vec![begun(), (true, vec![nested_event(1, "n", 2), failed(2), retried(1, 1), completed(2, 7)])];
    let (replay, _) = live(log);
    let found = replay.nested(Sequence(1), &within(1, call("n", 2)));
    assert_eq!(found, NestedCall::Ended(TraceOutcome::Ok(payload(7))));
}

#[test]
fn what_a_nested_call_called_is_kept_when_it_fails_as_it_may_run_again() {
    let within_n = vec![nested_event(2, "m", 3), completed(3, 7), nested_event(2, "bad", 3), failed(5), retried(2, 1)];
    let ends = [(failed(2), false), (terminally_failed(2), true), (completed(2, 9), true)];
    for (end, is_forgotten) in ends {
        let batch = [vec![nested_event(1, "n", 2)], within_n.clone(), vec![end]].concat();
        let (replay, _) = live(vec![begun(), (true, batch)]);
        let nested = |name| replay.nested(Sequence(2), &within(2, call(name, 3)));
        if is_forgotten {
            assert_eq!((nested("m"), nested("bad")), (NestedCall::New, NestedCall::New));
        } else {
            assert_eq!(nested("m"), NestedCall::Ended(TraceOutcome::Ok(payload(7))));
            assert!(matches!(nested("bad"), NestedCall::Failed(Sequence(5), _)));
        }
        assert_eq!(replay.tries(Sequence(2)), None, "its tries are counted anew");
    }
}

#[test]
fn the_same_call_in_another_effect_or_at_another_time_is_another() {
    let (replay, _) = live(vec![begun(), (true, vec![nested_event(1, "n", 2), completed(2, 7)])]);
    assert_eq!(replay.nested(Sequence(9), &within(9, call("n", 2))), NestedCall::New);
    let again = TraceStarted { occurrence: 1, ..within(1, call("n", 2)) };
    assert_eq!(replay.nested(Sequence(1), &again), NestedCall::New);
}

#[test]
fn nested_calls_are_appended_between_steps_or_with_the_next() {
    let (mut replay, a) = live(vec![begun()]);
    assert_eq!(replay.next(), Ok(Decision::Wait));
    assert!(replay.is_between_steps());
    assert_eq!(replay.nested_started(within(1, call("n", 2))), Sequence(2));
    replay.nested_completed(completion(2, TraceOutcome::Ok(payload(7))));
    assert!(!replay.is_dirty(), "the body did nothing");
    assert_eq!(append(&mut replay), [nested_event(1, "n", 2), completed(2, 7)]);

    replay.completed(a, completion(1, TraceOutcome::Ok(payload(5))));
    poll(&mut replay);
    assert!(!replay.is_between_steps());
    assert_eq!(replay.nested_started(within(1, call("late", 3))), Sequence(5));
    assert_eq!(rest_and_append(&mut replay), [completed(1, 5), nested_event(1, "late", 3)]);
}

#[test]
fn what_an_effect_called_is_forgotten_when_its_trace_is_over() {
    let nested = || (true, vec![nested_event(1, "n", 2), nested_event(2, "m", 3), retried(1, 1)]);
    let ends = [(true, vec![completed(1, 5)]), (true, vec![completed(4, 0), dropped(1)])];
    for end in ends {
        let first = (true, vec![task_started(), started("a", 1)]);
        let log = if end.1.len() == 1 { vec![first, nested(), end] } else { vec![first, nested()] };
        let (mut replay, a) = live(log);
        if replay.is_live() {
            replay.abandon(a, |trace| completion(trace.0, TraceOutcome::Dropped)).unwrap();
        } else {
            poll(&mut replay);
            taken(&mut replay, a);
            replay.polled(None).unwrap();
        }
        assert_eq!(replay.nested(Sequence(1), &within(1, call("n", 2))), NestedCall::New);
        assert_eq!(replay.nested(Sequence(2), &within(2, call("m", 3))), NestedCall::New);
        assert_eq!(replay.tries(Sequence(1)), None);
    }
}

#[test]
fn what_a_dropped_or_plain_trace_called_is_forgotten_on_replay_too() {
    let plain = || of_form(TraceForm::Inline, call("p", 2));
    let log = vec![
        (false, vec![task_started(), started("a", 1), Event::TraceStarted(plain())]),
        (false, vec![nested_event(1, "n", 2), nested_event(2, "n", 2), retried(2, 1)]),
        (true, vec![completed(2, 9), dropped(1)]),
    ];
    let mut replay = cut_history(log);
    poll(&mut replay);
    let a = start(&mut replay, call("a", 1)).index;
    start(&mut replay, plain());
    replay.abandon(a, |_| unreachable!("the log holds it")).unwrap();
    replay.polled(None).unwrap();
    for outer in [1, 2] {
        assert_eq!(replay.nested(Sequence(outer), &within(outer, call("n", 2))), NestedCall::New);
        assert_eq!(replay.tries(Sequence(outer)), None);
    }
}

#[test]
fn tries_are_counted_over_crashes() {
    let (replay, _) = live(vec![begun(), (true, vec![retried(1, 1)]), (true, vec![retried(1, 2)])]);
    assert_eq!(replay.tries(Sequence(1)), Some(Tries { count: 2, due: Timestamp(2) }));
}

#[test]
fn asides_within_a_step_do_not_end_it() {
    let log = vec![
        (false, vec![task_started(), started("a", 1)]),
        (false, vec![signalled("s", 1)]),
        (true, vec![nested_event(1, "n", 2)]),
    ];
    let mut replay = cut_history(log);
    poll(&mut replay);
    start(&mut replay, call("a", 1));
    assert_eq!(start(&mut replay, call("b", 2)).sequence, Some(Sequence(4)), "the step may go on, behind all there is");
    assert_eq!(rest_and_append(&mut replay), [started("b", 2)]);
}

#[test]
fn a_batch_may_begin_with_asides() {
    let log = vec![begun(), (true, vec![signalled("s", 1), retried(1, 1), completed(1, 5), started("b", 2)])];
    let (mut replay, a) = live(log);
    assert_eq!(poll(&mut replay), Some(a));
    assert_eq!(taken(&mut replay, a), Some(5));
    assert_eq!(start(&mut replay, call("b", 2)).sequence, Some(Sequence(5)));
}

#[test]
fn signals_wait_in_their_order_for_who_asks() {
    let (mut replay, _) = live(vec![begun(), (true, vec![signalled("s", 1), signalled("t", 2)])]);
    replay.aside(signalled("s", 3));
    assert_eq!(replay.signal("s"), Some(&payload(1)));
    replay.take_signal("s");
    assert_eq!(replay.signal("s"), Some(&payload(3)));
    replay.take_signal("s");
    assert_eq!((replay.signal("s"), replay.signal("t")), (None, Some(&payload(2))));
    assert_eq!(append(&mut replay), [signalled("s", 3)]);
}

#[test]
fn a_signal_that_the_log_handed_over_is_taken() {
    let log = vec![
        vec![task_started(), Event::TraceStarted(signal_wait("s"))],
        vec![signalled("s", 1), signalled("s", 2)],
        vec![completed(1, 1)],
    ];
    let mut replay = history(log);
    poll(&mut replay);
    start(&mut replay, signal_wait("s"));
    replay.polled(None).unwrap();
    poll(&mut replay);
    assert_eq!(replay.signal("s"), Some(&payload(2)));
}

/// Whether it is fed before the wait is called, or after, and where the wait ends.
#[test]
fn a_signal_that_the_log_set_aside_is_taken() {
    let begins = || vec![task_started(), Event::TraceStarted(signal_wait("s"))];
    let signals = || vec![signalled("s", 1), signalled("s", 2), signalled("s", 3)];
    let open = vec![begins(), signals(), vec![retried(1, 1)]];
    let at_once = vec![[begins(), signals(), vec![retried(1, 1)]].concat()];
    for log in [open.clone(), at_once] {
        let mut replay = history(log);
        poll(&mut replay);
        start(&mut replay, signal_wait("s"));
        replay.awaits_signal(Sequence(1), "s");
        replay.polled(None).unwrap();
        assert_eq!(replay.next(), Ok(Decision::Wait));
        assert_eq!(replay.signal("s"), Some(&payload(2)));
        assert_eq!(replay.signals("s").count(), 2);
        // Live, another.
        replay.aside(retried(1, 2));
        assert_eq!(replay.signal("s"), Some(&payload(3)));
    }
    let mut replay = history([open, vec![vec![completed(1, 2)]]].concat());
    poll(&mut replay);
    start(&mut replay, signal_wait("s"));
    replay.awaits_signal(Sequence(1), "s");
    replay.polled(None).unwrap();
    poll(&mut replay);
    assert_eq!(replay.signal("s"), Some(&payload(3)), "one was set aside, one was handed over");
}

#[test]
fn which_signal_a_wait_is_for_can_be_read_in_every_codec() {
    use crate::payload::{Encoding, PayloadCodec};
    for codec in [PayloadCodec::MESSAGE_PACK, PayloadCodec::JSON, PayloadCodec::BINCODE] {
        let arguments = std::collections::BTreeMap::from([("name", "go")]);
        let encoding = Encoding::DEFAULT.with_codec(Some(codec));
        assert_eq!(signal_name(&Payload::encode_with(&encoding, &arguments).unwrap()), "go");
    }
}

#[test]
fn what_effects_call_counts_as_used_by_the_run() {
    let (mut replay, _) = live(vec![begun(), (true, vec![nested_event(1, "n", 2)])]);
    replay.nested_started(within(1, call("m", 2)));
    let names: Vec<_> = replay.used().unwrap().iter().map(|called| called.name.as_ref()).collect();
    assert_eq!(names.len(), 3);
    assert!(["a", "n", "m"].iter().all(|name| names.contains(name)));
}

#[test]
fn what_an_effect_s_own_stream_yields_is_no_part_of_any_step() {
    let (mut replay, _) = live(vec![begun(), (true, vec![nested_event(1, "n", 2), yielded(2, 0, 5), completed(2, 7)])]);
    assert_eq!(replay.next(), Ok(Decision::Wait));
    assert_eq!(replay.next_sequence(), Sequence(5), "behind them");
}
