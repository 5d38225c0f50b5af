//! What earlier attempts found, and what of it a new one uses.

use super::*;

fn code(number: u8) -> CodeHash {
    CodeHash::from_bytes([number; 16])
}

fn hit(memo: &Memo, call: &TraceStarted) -> Option<Hit> {
    memo.hit(Scope::default(), call, false)
}

fn outcome_at(at: u64) -> Option<Hit> {
    Some(Hit::Outcome(Sequence(at)))
}

fn items_of(start: u64, first: u64) -> Option<Hit> {
    Some(Hit::Items { start: Sequence(start), first: Sequence(first) })
}

fn repeating(event: Event, at: u64) -> Event {
    match event {
        Event::TraceCompleted(completed) => {
            Event::TraceCompleted(TraceCompleted { repeats: Some(Sequence(at)), ..completed })
        }
        Event::TraceYielded(yielded) => Event::TraceYielded(TraceYielded { repeats: Some(Sequence(at)), ..yielded }),
        other => other,
    }
}

fn stream() -> TraceStarted {
    of_form(TraceForm::Stream, call("s", 1))
}

/// An attempt that fails, in which a stream does this behind its start at event 1.
fn stream_that(events: &[Event]) -> Memo {
    let mut log = vec![task_started(), Event::TraceStarted(stream())];
    log.extend_from_slice(events);
    log.push(attempt_failed());
    memo_of(&log)
}

fn rerun(names: &[&str], edited: bool) -> Event {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    attempt(2, Cause::Resumed(Rerun { names, edited }))
}

#[test]
fn the_latest_success_of_a_call_wins() {
    let memo = memo_of(&[
        task_started(),
        started("a", 1),
        completed(1, 5),
        attempt_failed(),
        attempt(2, resumed()),
        started("a", 1),
        completed(5, 6),
        attempt_failed(),
    ]);
    assert_eq!(hit(&memo, &call("a", 1)), outcome_at(6));
    assert_eq!(hit(&memo, &call("a", 2)), None, "another input");
    assert_eq!(hit(&memo, &call("b", 1)), None, "another trace");
    assert_eq!(hit(&memo, &TraceStarted { occurrence: 1, ..call("a", 1) }), None, "another occurrence");
}

#[test]
fn a_failure_is_not_used_again() {
    let memo = memo_of(&[task_started(), started("a", 1), failed(1), attempt_failed()]);
    assert_eq!(hit(&memo, &call("a", 1)), None);
}

#[test]
fn a_failure_that_a_later_success_of_the_same_call_superseded_is_used_again() {
    let memo = memo_of(&[
        task_started(),
        started("a", 1),
        failed(1),
        nth(call("a", 1), 1),
        completed(3, 5),
        nth(call("a", 1), 2),
        failed(5),
        attempt_failed(),
    ]);
    let nth_hit = |occurrence| hit(&memo, &TraceStarted { occurrence, ..call("a", 1) });
    assert_eq!([nth_hit(0), nth_hit(1), nth_hit(2)], [outcome_at(2), outcome_at(4), None]);
}

#[test]
fn a_terminal_failure_is_used_again() {
    let memo = memo_of(&[task_started(), started("a", 1), terminally_failed(1), attempt_failed()]);
    assert_eq!(hit(&memo, &call("a", 1)), outcome_at(2));
}

#[test]
fn at_most_once_remembers_any_failure_and_that_a_call_began() {
    let memo = memo_of(&[task_started(), started("a", 1), failed(1), started("b", 1), attempt_failed()]);
    assert_eq!(memo.hit(Scope::default(), &call("a", 1), true), outcome_at(2));
    assert_eq!(memo.hit(Scope::default(), &call("b", 1), true), Some(Hit::Began));
    assert_eq!(memo.hit(Scope::default(), &call("c", 1), true), None);
    assert_eq!(hit(&memo, &call("b", 1)), None);
}

#[test]
fn a_rerun_by_name_forgets_that_trace_for_good() {
    let mut log = vec![task_started(), started("a", 1), completed(1, 5), started("b", 1), completed(3, 6)];
    log.extend([attempt_failed(), rerun(&["a"], false)]);
    assert_eq!(hit(&memo_of(&log), &call("a", 1)), None);
    assert_eq!(hit(&memo_of(&log), &call("b", 1)), outcome_at(4));
    log.extend([attempt_failed(), attempt(3, resumed())]);
    assert_eq!(hit(&memo_of(&log), &call("a", 1)), None, "the attempt before this did not use it either");
}

#[test]
fn an_edited_trace_keeps_its_results_unless_it_is_to_run_again() {
    let edited = TraceStarted { code: code(2), ..call("a", 1) };
    let mut log = vec![task_started(), started("a", 1), completed(1, 5), attempt_failed()];
    log.push(attempt(2, resumed()));
    assert_eq!(hit(&memo_of(&log), &edited), outcome_at(2));
    assert!(memo_of(&log).is_edited(Scope::default(), &edited, false));
    log.pop();
    log.push(rerun(&[], true));
    assert_eq!(hit(&memo_of(&log), &edited), None);
    assert_eq!(hit(&memo_of(&log), &call("a", 1)), outcome_at(2), "the same code");
}

#[test]
fn a_result_that_was_repeated_is_that_of_the_code_that_found_it() {
    let edited = TraceStarted { code: code(2), ..call("a", 1) };
    let mut log = vec![task_started(), started("a", 1), completed(1, 5), attempt_failed(), attempt(2, resumed())];
    log.extend([Event::TraceStarted(edited.clone()), repeating(completed(5, 5), 2), attempt_failed()]);
    log.push(attempt(3, resumed()));
    assert!(memo_of(&log).is_edited(Scope::default(), &edited, false));
    log.pop();
    log.push(rerun(&[], true));
    assert_eq!(hit(&memo_of(&log), &edited), None);
}

#[test]
fn what_an_edited_trace_found_before_it_ran_again_is_forgotten() {
    let edited = TraceStarted { code: code(2), ..call("a", 1) };
    let mut log = vec![task_started(), started("a", 1), completed(1, 5), attempt_failed(), rerun(&[], true)];
    log.extend([Event::TraceStarted(edited.clone()), failed(5), attempt_failed(), attempt(3, resumed())]);
    assert_eq!(hit(&memo_of(&log), &edited), None);
}

#[test]
fn an_attempt_that_follows_by_itself_runs_edited_traces_again_as_the_one_before_it() {
    let edited = TraceStarted { code: code(2), ..call("a", 1) };
    let mut log = vec![task_started(), started("a", 1), completed(1, 5), attempt_failed(), rerun(&[], true)];
    log.extend([attempt_failed(), attempt(3, Cause::Retried)]);
    assert_eq!(hit(&memo_of(&log), &edited), None);
}

#[test]
fn items_of_a_stream_that_ended_was_dropped_or_was_cut_off_are_remembered() {
    let items = [yielded(1, 0, 10), yielded(1, 1, 11)];
    for end in [Some(completed(1, 0)), Some(dropped(1)), None] {
        let events: Vec<_> = items.iter().cloned().chain(end).collect();
        assert_eq!(hit(&stream_that(&events), &stream()), items_of(1, 2));
    }
    assert_eq!(hit(&stream_that(&[completed(1, 0)]), &stream()), outcome_at(2), "an empty stream has an end only");
    assert_eq!(hit(&stream_that(&[dropped(1)]), &stream()), None);
}

#[test]
fn a_stream_that_failed_starts_anew() {
    assert_eq!(hit(&stream_that(&[yielded(1, 0, 10), failed(1)]), &stream()), None);
}

#[test]
fn a_stream_whose_failure_is_used_again_hands_its_items_on_before() {
    let memo = stream_that(&[yielded(1, 0, 10), terminally_failed(1)]);
    assert_eq!(hit(&memo, &stream()), items_of(1, 2));
    let memo = stream_that(&[yielded(1, 0, 10), failed(1)]);
    assert_eq!(memo.hit(Scope::default(), &stream(), true), items_of(1, 2));
}

#[test]
fn of_a_stream_that_was_interrupted_twice_the_longer_part_is_remembered() {
    let mut log = vec![task_started(), Event::TraceStarted(stream()), yielded(1, 0, 10), yielded(1, 1, 11)];
    log.extend([attempt_failed(), attempt(2, resumed()), Event::TraceStarted(stream())]);
    log.push(repeating(yielded(6, 0, 10), 2));
    let mut shorter = log.clone();
    shorter.push(attempt_failed());
    assert_eq!(hit(&memo_of(&shorter), &stream()), items_of(1, 2));
    log.extend([repeating(yielded(6, 1, 11), 3), yielded(6, 2, 12), attempt_failed()]);
    assert_eq!(hit(&memo_of(&log), &stream()), items_of(6, 7));
}

#[test]
fn a_terminal_failure_is_remembered_though_its_stream_was_cut_off_while_it_was_repeated() {
    let mut log = vec![task_started(), Event::TraceStarted(stream()), yielded(1, 0, 10), terminally_failed(1)];
    log.extend([attempt_failed(), attempt(2, resumed()), Event::TraceStarted(stream())]);
    log.extend([repeating(yielded(6, 0, 10), 2), attempt_failed()]);
    assert_eq!(hit(&memo_of(&log), &stream()), items_of(1, 2));
}

#[test]
fn a_nested_call_is_remembered_in_the_scope_of_its_effect() {
    let memo = memo_of(&[
        task_started(),
        started("a", 1),
        Event::TraceStarted(within(1, call("n", 2))),
        completed(2, 7),
        failed(1),
        attempt_failed(),
    ]);
    let a = call("a", 1);
    let scope = Scope::default().within("a", a.input_hash, 0);
    assert_eq!(memo.hit(scope, &call("n", 2), false), outcome_at(3));
    assert_eq!(hit(&memo, &call("n", 2)), None, "the body did not call it");
    assert_eq!(memo.hit(Scope::default().within("a", a.input_hash, 1), &call("n", 2), false), None);
}

#[test]
fn a_nested_call_that_ended_well_in_a_later_try_is_remembered() {
    let memo = memo_of(&[
        task_started(),
        started("a", 1),
        Event::TraceStarted(within(1, call("n", 2))),
        failed(2),
        retried(1, 1),
        completed(2, 7),
        failed(1),
        attempt_failed(),
    ]);
    let scope = Scope::default().within("a", call("a", 1).input_hash, 0);
    assert_eq!(memo.hit(scope, &call("n", 2), false), outcome_at(5));
}

#[test]
fn a_child_keeps_its_run_over_attempts() {
    let child = RunId::from_bytes([9; 16]);
    let task = TraceStarted { child: Some(child), ..call("task", 1) };
    let earlier = vec![task_started(), Event::TraceStarted(task.clone()), failed(1), attempt_failed()];
    let (mut replay, at) = second_attempt(earlier);
    poll(&mut replay);
    let again = TraceStarted { child: Some(RunId::from_bytes([8; 16])), ..task.clone() };
    let again = start(&mut replay, again);
    assert_eq!((again.child, again.hit), (Some(child), None), "the same run, which is asked again");
    assert_eq!(rest_and_append(&mut replay)[1], Event::TraceStarted(task));
    assert_eq!(again.sequence, Some(Sequence(at + 1)));
}

#[test]
fn signals_that_nobody_took_are_there_in_the_next_attempt() {
    let earlier = vec![
        task_started(),
        Event::TraceStarted(signal_wait("s")),
        signalled("s", 1),
        signalled("s", 2),
        signalled("t", 3),
        completed(1, 1),
        attempt_failed(),
    ];
    let (replay, _) = second_attempt(earlier);
    assert_eq!((replay.signal("s"), replay.signal("t")), (Some(&payload(2)), Some(&payload(3))));
}

#[test]
fn a_signal_says_when_it_was_sent_also_in_the_next_attempt() {
    let sent = |value, at| {
        let Event::SignalReceived(signal) = signalled("s", value) else { unreachable!() };
        Event::SignalReceived(crate::event::SignalReceived { at: Timestamp(at), ..signal })
    };
    let (mut replay, _) = second_attempt(vec![task_started(), sent(1, 10), attempt_failed()]);
    replay.aside(sent(2, 20));
    for at in [Some(Timestamp(10)), Some(Timestamp(20)), None] {
        assert_eq!(replay.signalled_at("s"), at);
        replay.take_signal("s");
    }
}

#[test]
fn a_signal_that_was_set_aside_is_not_there_in_the_next_attempt() {
    let mut log = vec![task_started(), Event::TraceStarted(signal_wait("s")), signalled("s", 1), signalled("s", 2)];
    log.extend([retried(1, 1), signalled("s", 3), completed(1, 2), attempt_failed()]);
    let (replay, _) = second_attempt(log);
    assert_eq!(replay.signal("s"), Some(&payload(3)));

    // Nor if its wait did not end.
    let log =
        [task_started(), Event::TraceStarted(signal_wait("s")), signalled("s", 1), retried(1, 1), attempt_failed()];
    let (replay, _) = second_attempt(log.to_vec());
    assert_eq!(replay.signal("s"), None);
}

#[test]
fn a_signal_is_not_taken_by_a_wait_that_was_dropped_or_repeats_another() {
    let log = [task_started(), Event::TraceStarted(signal_wait("s")), signalled("s", 1), dropped(1), attempt_failed()];
    let (replay, _) = second_attempt(log.to_vec());
    assert_eq!(replay.signal("s"), Some(&payload(1)));

    let mut log = vec![task_started(), Event::TraceStarted(signal_wait("s")), signalled("s", 1), completed(1, 1)];
    log.extend([signalled("s", 2), attempt_failed(), attempt(2, resumed())]);
    log.extend([Event::TraceStarted(signal_wait("s")), repeating(completed(7, 1), 3), attempt_failed()]);
    let (replay, _) = second_attempt(log);
    assert_eq!(replay.signal("s"), Some(&payload(2)));
}

#[test]
fn a_result_of_other_code_makes_the_run_unfit_for_the_cache() {
    let earlier = || vec![task_started(), started("a", 1), completed(1, 5), attempt_failed()];
    let (mut replay, _) = second_attempt(earlier());
    poll(&mut replay);
    start(&mut replay, call("a", 1));
    assert!(replay.used().is_some());
    let (mut replay, _) = second_attempt(earlier());
    poll(&mut replay);
    start(&mut replay, TraceStarted { code: code(2), ..call("a", 1) });
    assert_eq!(replay.used(), None);
}

#[test]
fn what_the_effect_of_a_remembered_call_called_counts_as_used() {
    let earlier = vec![
        task_started(),
        started("a", 1),
        Event::TraceStarted(within(1, call("n", 2))),
        Event::TraceStarted(within(2, call("m", 2))),
        completed(1, 5),
        attempt_failed(),
    ];
    let (mut replay, _) = second_attempt(earlier);
    poll(&mut replay);
    start(&mut replay, call("a", 1));
    let names: Vec<_> = replay.used().unwrap().iter().map(|called| called.name.to_string()).collect();
    assert_eq!(names, ["a", "n", "m"]);
}

#[test]
fn a_nested_result_of_other_code_makes_the_run_unfit_for_the_cache() {
    let earlier = vec![
        task_started(),
        started("a", 1),
        Event::TraceStarted(within(1, call("n", 2))),
        completed(2, 7),
        failed(1),
        attempt_failed(),
    ];
    let (mut replay, at) = second_attempt(earlier);
    poll(&mut replay);
    start(&mut replay, call("a", 1));
    let edited = TraceStarted { code: code(2), ..within(at + 1, call("n", 2)) };
    let scope = Scope::default().within("a", call("a", 1).input_hash, 0);
    assert_eq!(replay.nested_hit(|| scope, &edited, false), outcome_at(3));
    assert_eq!(replay.used(), None);
}

#[test]
fn what_an_effect_called_is_kept_once_for_each_code_it_had() {
    let edited = Event::TraceStarted(TraceStarted { code: code(2), ..within(1, call("n", 3)) });
    let again = Event::TraceStarted(within(1, call("n", 4)));
    let memo = memo_of(&[task_started(), started("a", 1), Event::TraceStarted(within(1, call("n", 2))), edited, again]);
    let called = memo.called_within(Scope::default(), &call("a", 1));
    assert_eq!(called, [("n".into(), code(1)), ("n".into(), code(2))]);
}
