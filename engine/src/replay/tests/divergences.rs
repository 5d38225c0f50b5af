//! A body that does not fit its log, and a log that does not fit itself.

use super::*;
use crate::value::Value;

#[test]
fn a_dropped_trace_is_recorded_and_must_be_dropped_again() {
    let log = || vec![vec![task_started(), started("a", 1), started("b", 2)], vec![completed(1, 5), dropped(2)]];
    let run = |drops: bool| {
        let mut replay = history(log());
        poll(&mut replay);
        let (a, b) = (start(&mut replay, call("a", 1)), start(&mut replay, call("b", 2)));
        replay.polled(None).unwrap();
        poll(&mut replay);
        replay.ask(a.index);
        if drops {
            replay.abandon(b.index, |_| unreachable!("the log holds it")).unwrap();
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
    assert_eq!(start(&mut replay, TraceStarted { line: 9, ..call("a", 2) }).sequence, None);
    let divergence = divergence(replay.polled(None));
    assert_eq!((divergence.run, divergence.sequence), (RUN, Sequence(1)));
    assert!(matches!(&divergence.logged, Some(Side::Call(site)) if site.input == Value::Unsigned(1) && site.line == 1));
    assert!(matches!(&divergence.called, Some(Side::Call(site)) if site.input == Value::Unsigned(2) && site.line == 9));
}

#[test]
fn one_call_more_in_a_settled_step_is_a_divergence() {
    let mut replay = history(vec![vec![task_started(), started("a", 1)]]);
    poll(&mut replay);
    start(&mut replay, call("a", 1));
    start(&mut replay, call("b", 2));
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
    start(&mut replay, call("a", 1));
    replay.polled(None).unwrap();
    assert_eq!(replay.next(), Ok(Decision::Append));
    assert_eq!(replay.take_pending(), (Sequence(1), vec![started("a", 1)]));
    assert_eq!(replay.next(), Ok(Decision::Wait));
}

#[test]
fn a_body_that_finishes_early_or_otherwise_diverges() {
    let mut replay = history(vec![vec![task_started(), started("a", 1)]]);
    poll(&mut replay);
    start(&mut replay, call("a", 1));
    let early = divergence(replay.polled(Some(finish(1))));
    assert!(matches!(early.called, Some(Side::Finished(_))));

    let mut replay = history(vec![vec![task_started(), Event::TaskCompleted(finish(1))]]);
    poll(&mut replay);
    let other = divergence(replay.polled(Some(finish(2))));
    assert_eq!(other.sequence, Sequence(1));
    assert!(matches!((other.logged, other.called), (Some(Side::Finished(_)), Some(Side::Finished(_)))));
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
                    start(&mut replay, call("a", 1));
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
fn another_end_is_a_divergence_that_names_both() {
    let logged = || vec![vec![task_started(), Event::TaskCompleted(finish(7))]];
    let failed =
        TaskCompleted { outcome: TaskOutcome::Err(ErrorRecord::new(ErrorKind::Failed, "no such page")), ..finish(0) };
    for (end, words) in [(finish(8), "Ok(8)"), (failed, "no such page")] {
        let mut replay = history(logged());
        poll(&mut replay);
        let divergence = divergence(replay.polled(Some(end)));
        assert_eq!(divergence.sequence, Sequence(1));
        assert_eq!(divergence.logged, Some(Side::Finished("Ok(7)".to_owned())));
        assert!(matches!(&divergence.called, Some(Side::Finished(end)) if end.contains(words)), "{divergence:?}");
    }
}

#[test]
fn a_panic_that_was_recorded_whole_is_the_one_that_is_cut_today() {
    let panicked = |message: String| {
        let record = ErrorRecord { message, ..ErrorRecord::new(ErrorKind::Panicked, "") };
        TaskCompleted { outcome: TaskOutcome::Err(record), ..finish(0) }
    };
    let place = "at src/feed.rs:9:5";
    // The whole message would fit in 64 KiB; it would not.
    for length in [63 << 10, 1 << 20] {
        let said = "x".repeat(length);
        let now = || panicked(format!("the task panicked: {} {place}", crate::error::cut_panic(said.clone())));
        for (logged, fits) in [(said.clone(), true), (format!("y{}", &said[1..]), false)] {
            let logged = Event::TaskCompleted(panicked(format!("the task panicked: {logged} {place}")));
            let mut replay = history(vec![vec![task_started(), logged]]);
            poll(&mut replay);
            assert_eq!(replay.polled(Some(now())).is_ok(), fits, "{length} bytes");
        }
    }
}
