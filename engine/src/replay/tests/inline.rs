//! Plain functions: answered within the step that calls them, which they may cut.

use super::*;

#[test]
fn an_plain_function_is_answered_from_the_log() {
    let plain = || TraceStarted { form: TraceForm::Inline, ..call("now", 0) };
    let mut live = fresh();
    poll(&mut live);
    let now = start(&mut live, plain());
    assert_eq!((now.sequence, now.recorded), (Some(Sequence(1)), None));
    live.completed_at_once(completion(1, TraceOutcome::Ok(payload(99))));
    start(&mut live, call("a", 99));
    let events = rest_and_append(&mut live);

    let mut replay = history(vec![events]);
    poll(&mut replay);
    assert_eq!(ok(start(&mut replay, plain()).recorded), Some(99));
    assert_eq!(start(&mut replay, call("a", 99)).sequence, Some(Sequence(3)));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Wait));
}

#[test]
fn an_plain_function_that_the_log_lacks_has_no_answer() {
    let mut replay = history(vec![vec![task_started(), started("a", 1)]]);
    poll(&mut replay);
    let now = start(&mut replay, TraceStarted { form: TraceForm::Inline, ..call("now", 0) });
    assert_eq!((now.sequence, now.recorded), (None, None));
    divergence(replay.polled(None));
}

fn plain(input: i64) -> TraceStarted {
    of_form(TraceForm::Inline, call("p", input))
}

fn plain_event(input: i64) -> Event {
    Event::TraceStarted(plain(input))
}

#[test]
fn plain_functions_are_answered_in_the_step_that_calls_them() {
    let log = vec![
        vec![task_started(), plain_event(1), completed(1, 5), started("a", 5)],
        vec![completed(3, 6), plain_event(6), completed(5, 7), Event::TaskCompleted(finish(7))],
    ];
    let mut replay = history(log);
    poll(&mut replay);
    assert_eq!(ok(start(&mut replay, plain(1)).recorded), Some(5));
    let a = start(&mut replay, call("a", 5)).index;
    replay.polled(None).unwrap();
    poll(&mut replay);
    taken(&mut replay, a);
    assert_eq!(ok(start(&mut replay, plain(6)).recorded), Some(7));
    replay.polled(Some(finish(7))).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Finished(Box::new(finish(7)))));
}

#[test]
fn a_step_that_plain_functions_cut_replays_as_one() {
    let log = vec![
        (false, vec![task_started(), started("a", 1), plain_event(1)]),
        (false, vec![completed(2, 5), plain_event(2)]),
        (true, vec![completed(4, 6), started("b", 2)]),
    ];
    let mut replay = cut_history(log);
    poll(&mut replay);
    start(&mut replay, call("a", 1));
    assert_eq!(ok(start(&mut replay, plain(1)).recorded), Some(5));
    assert_eq!(ok(start(&mut replay, plain(2)).recorded), Some(6));
    start(&mut replay, call("b", 2));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Wait));
}

#[test]
fn a_plain_function_whose_start_is_the_last_of_the_log_runs_again() {
    let mut replay = cut_history(vec![(false, vec![task_started(), plain_event(1)])]);
    poll(&mut replay);
    let p = start(&mut replay, plain(1));
    assert_eq!((p.sequence, p.logged, p.recorded), (Some(Sequence(1)), true, None));
    assert_eq!(replay.may_run_inline(), Ok(true));
    replay.completed_at_once(completion(1, TraceOutcome::Ok(payload(5))));
    assert_eq!(rest_and_append(&mut replay), [completed(1, 5)]);
}

#[test]
fn a_plain_function_runs_only_when_the_body_has_done_all_that_the_log_holds() {
    let log = || vec![(false, vec![task_started(), started("a", 1), plain_event(1)])];
    let mut replay = cut_history(log());
    poll(&mut replay);
    start(&mut replay, plain(1));
    let refused = replay.may_run_inline().map(|_| ());
    assert_eq!(divergence(refused).sequence, Sequence(1));

    let mut replay = cut_history(log());
    poll(&mut replay);
    start(&mut replay, call("a", 1));
    start(&mut replay, plain(1));
    assert_eq!(replay.may_run_inline(), Ok(true));
}

#[test]
fn a_plain_function_does_not_run_in_a_step_that_the_log_holds_whole() {
    let mut replay = history(vec![vec![task_started(), started("a", 1)]]);
    poll(&mut replay);
    assert_eq!(start(&mut replay, plain(1)).sequence, None);
    assert_eq!(replay.may_run_inline(), Ok(false));
    divergence(replay.polled(None));
}

#[test]
fn a_plain_function_that_failed_fails_again() {
    let mut replay = history(vec![vec![task_started(), plain_event(1), failed(1)]]);
    poll(&mut replay);
    assert_eq!(start(&mut replay, plain(1)).recorded, Some(failure("no")));
}

#[test]
fn two_outcomes_of_one_plain_function_contradict_each_other() {
    let mut replay = history(vec![vec![task_started(), plain_event(1), completed(1, 5), completed(1, 6)]]);
    poll(&mut replay);
    start(&mut replay, plain(1));
    replay.polled(None).unwrap();
    assert!(matches!(replay.next(), Err(ReplayError::Impossible { sequence: Sequence(3), .. })));
}
