//! How batches make steps: several steps in one batch, one step in several batches.

use super::*;

#[test]
fn several_steps_may_stand_in_one_batch() {
    let log = vec![vec![
        task_started(),
        started("a", 1),
        completed(1, 5),
        started("b", 2),
        completed(3, 6),
        Event::TaskCompleted(finish(7)),
    ]];
    let mut replay = history(log);
    assert_eq!(poll(&mut replay), None);
    let a = start(&mut replay, call("a", 1)).index;
    replay.polled(None).unwrap();
    assert_eq!(poll(&mut replay), Some(a));
    assert_eq!(taken(&mut replay, a), Some(5));
    let b = start(&mut replay, call("b", 2)).index;
    replay.polled(None).unwrap();
    assert_eq!(poll(&mut replay), Some(b));
    assert_eq!(taken(&mut replay, b), Some(6));
    replay.polled(Some(finish(7))).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Finished(Box::new(finish(7)))));
}

#[test]
fn a_step_that_another_follows_in_its_batch_is_complete() {
    // Not settled, but only its last step may go on.
    let mut replay = cut_history(vec![(false, vec![task_started(), started("a", 1), completed(1, 5)])]);
    poll(&mut replay);
    start(&mut replay, call("a", 1));
    start(&mut replay, call("more", 2));
    divergence(replay.polled(None));

    let mut replay = cut_history(vec![(false, vec![task_started(), started("a", 1), completed(1, 5)])]);
    poll(&mut replay);
    let a = start(&mut replay, call("a", 1)).index;
    replay.polled(None).unwrap();
    poll(&mut replay);
    taken(&mut replay, a);
    assert_eq!(start(&mut replay, call("more", 2)).sequence, Some(Sequence(3)));
    assert_eq!(rest_and_append(&mut replay), [started("more", 2)]);
}

#[test]
fn a_step_may_stand_in_several_batches() {
    let log = vec![
        (false, vec![task_started(), started("a", 1)]),
        (false, vec![started("b", 2)]),
        (true, vec![started("c", 3)]),
    ];
    let mut replay = cut_history(log.clone());
    poll(&mut replay);
    let starts = [("c", 3), ("a", 1), ("b", 2)].map(|(name, input)| start(&mut replay, call(name, input)).sequence);
    assert_eq!(starts, [Some(Sequence(3)), Some(Sequence(1)), Some(Sequence(2))]);
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Wait));

    let mut replay = cut_history(log);
    poll(&mut replay);
    start(&mut replay, call("a", 1));
    assert_eq!(divergence(replay.polled(None)).sequence, Sequence(2), "the rest of the step is missed");
}

#[test]
fn a_step_that_is_not_settled_ends_where_a_delivery_follows() {
    let log = vec![(false, vec![task_started(), started("a", 1)]), (true, vec![completed(1, 5)])];
    let mut replay = cut_history(log);
    poll(&mut replay);
    start(&mut replay, call("a", 1));
    start(&mut replay, call("more", 2));
    let divergence = divergence(replay.polled(None));
    assert_eq!((divergence.sequence, divergence.logged), (Sequence(2), None));
}

#[test]
fn a_step_is_begun_only_when_its_end_is_known() {
    let mut replay = Replay::new(RUN, "t".into(), Memo::default());
    let next = feed(&mut replay, 0, false, vec![task_started(), started("a", 1)]);
    assert_eq!(replay.next(), Ok(Decision::NeedHistory));
    feed(&mut replay, next, true, vec![started("b", 2)]);
    poll(&mut replay);
}

#[test]
fn a_step_that_the_log_ends_in_may_be_finished_otherwise() {
    let mut replay = cut_history(vec![(false, vec![task_started(), started("a", 1)])]);
    poll(&mut replay);
    start(&mut replay, call("a", 1));
    replay.polled(Some(finish(3))).unwrap();
    assert_eq!(append(&mut replay), [Event::TaskCompleted(finish(3))]);
    assert_eq!(replay.next(), Ok(Decision::Finished(Box::new(finish(3)))));
}

#[test]
fn a_step_that_the_log_ends_in_must_at_least_do_what_is_there() {
    let mut replay = cut_history(vec![(false, vec![task_started(), started("a", 1)])]);
    poll(&mut replay);
    start(&mut replay, call("b", 2));
    assert_eq!(divergence(replay.polled(None)).sequence, Sequence(1));
}

#[test]
fn a_drop_in_a_later_batch_of_a_step_is_found() {
    let log = vec![
        (true, vec![task_started(), started("a", 1), started("b", 2)]),
        (false, vec![completed(1, 5), started("c", 3)]),
        (true, vec![dropped(2)]),
    ];
    let mut replay = cut_history(log);
    poll(&mut replay);
    let (a, b) = (start(&mut replay, call("a", 1)).index, start(&mut replay, call("b", 2)).index);
    replay.polled(None).unwrap();
    poll(&mut replay);
    taken(&mut replay, a);
    start(&mut replay, call("c", 3));
    replay.abandon(b, |_| unreachable!("the log holds it")).unwrap();
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Wait));
}

#[test]
fn an_imposed_end_may_follow_a_beginning_that_was_never_polled() {
    let cancelled = TaskCompleted { outcome: TaskOutcome::Cancelled, imposed: true, ..finish(0) };
    let end = || Event::TaskCompleted(cancelled.clone());
    for log in [vec![(false, vec![task_started()]), (true, vec![end()])], vec![(true, vec![task_started(), end()])]] {
        let mut replay = cut_history(log);
        assert_eq!(replay.next(), Ok(Decision::Finished(Box::new(cancelled.clone()))));
    }
}

#[test]
fn an_imposed_end_forgets_what_the_body_did_since_its_last_step() {
    let failed = TaskCompleted { imposed: true, ..finish(0) };
    let mut replay = fresh();
    poll(&mut replay);
    start(&mut replay, call("a", 1));
    replay.impose(failed.clone());
    let (first, events) = replay.take_pending();
    assert_eq!((first, events), (Sequence(0), vec![task_started(), Event::TaskCompleted(failed.clone())]));
    assert_eq!(replay.next(), Ok(Decision::Finished(Box::new(failed))));
}

#[test]
fn nothing_is_appended_behind_an_imposed_end() {
    let mut replay = fresh();
    poll(&mut replay);
    let a = start(&mut replay, call("a", 1));
    rest_and_append(&mut replay);
    replay.impose(TaskCompleted { imposed: true, ..finish(0) });
    replay.take_pending();
    // An effect on a thread of its own, which does not know yet.
    assert_eq!(a.sequence, Some(Sequence(1)));
    replay.nested_started(within(1, call("n", 2)));
    assert!(!replay.is_between_steps());
    assert!(matches!(replay.next(), Ok(Decision::Finished(_))));
}

#[test]
fn a_log_without_an_attempt_is_an_error() {
    for log in [vec![], vec![vec![signalled("s", 1)]]] {
        let mut replay = history(log);
        assert!(matches!(replay.next(), Err(ReplayError::Impossible { .. })));
    }
}

#[test]
fn a_step_that_nothing_begins_is_an_error() {
    let mut replay = history(vec![vec![task_started()], vec![started("a", 1)]]);
    poll(&mut replay);
    replay.polled(None).unwrap();
    assert!(matches!(replay.next(), Err(ReplayError::Impossible { sequence: Sequence(1), .. })));
}
