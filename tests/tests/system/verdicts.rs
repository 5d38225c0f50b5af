//! What a replay says of code that was edited, and of code that cannot be replayed.

use std::sync::Arc;

use parking_lot::Mutex;
use relive::{
    Builder, Change, CodeHash, Engine, ErrorKind, Event, LikelyCause, Replayed, Replayer, RunId, Side, TaskOutcome,
    Value, Verdict,
};
use relive_storage::{MemoryStore, Read};
use relive_tests::edits::{Careless, Edit, careless, order, rewritten};

use super::support::{all_rows, guard, open_with};

fn release(edit: Edit) -> Builder {
    Engine::builder().provide(edit).strict(false)
}

/// An order as the original release has run it.
async fn ordered(number: u32) -> (MemoryStore, RunId) {
    let store = MemoryStore::new();
    let engine = open_with(&store, release(Edit::Original)).await;
    let handle = engine.start(order(number)).await.expect("starts");
    let run = handle.id();
    assert_eq!(guard(handle).await.is_err(), number % 10 == 9);
    guard(engine.shutdown()).await.expect("nothing has failed");
    (store, run)
}

fn replayer(store: &MemoryStore, edit: Edit) -> Replayer {
    release(edit).replay_store(Arc::new(store.clone())).expect("the store is read")
}

async fn replayed(store: &MemoryStore, run: RunId, edit: Edit) -> Replayed {
    let before = all_rows(store);
    let replayed = guard(replayer(store, edit).replay(run)).await.expect("it is replayed");
    assert_eq!(all_rows(store), before, "nothing is written");
    replayed
}

async fn change(number: u32, edit: Edit) -> Option<Change> {
    let (store, run) = ordered(number).await;
    match replayed(&store, run, edit).await.verdict {
        Verdict::Diverged(diagnosis) => Some(diagnosis.change),
        Verdict::Same(_) => None,
        other => panic!("{edit:?}: {other:?}"),
    }
}

#[tokio::test]
async fn unchanged_code_comes_to_the_same_end_by_the_same_calls() {
    for number in [1, 9] {
        let (store, run) = ordered(number).await;
        let replayed = replayed(&store, run, Edit::Original).await;
        assert_eq!((replayed.run, replayed.task.as_str(), replayed.attempt), (run, "edits.order", 1));
        let Verdict::Same(outcome) = &replayed.verdict else { panic!("{:?}", replayed.verdict) };
        assert_eq!(matches!(outcome, TaskOutcome::Err(_)), number == 9);
        let events = relive_engine::inspect::events(Arc::new(store), run).count() as u64;
        assert_eq!(replayed.event_count, events);
    }
}

#[tokio::test]
async fn every_edit_is_called_what_it_is() {
    for (edit, expected) in [
        (Edit::Reordered, Change::Reordered),
        (Edit::Added, Change::Added),
        (Edit::Removed, Change::Removed),
        (Edit::RemovedLast, Change::Removed),
        (Edit::Argument, Change::Argument),
        (Edit::ArgumentType, Change::ArgumentType),
        (Edit::Foreign, Change::Waits),
    ] {
        assert_eq!(change(3, edit).await, Some(expected), "{edit:?}");
    }
    // A branch that is taken, and one that is not.
    assert_eq!(change(2, Edit::Branch).await, Some(Change::Added));
    assert_eq!(change(3, Edit::Branch).await, None);
    // The order within a step carries no meaning.
    assert_eq!(change(3, Edit::JoinSwapped).await, None);
    assert_eq!(change(9, Edit::NoError).await, Some(Change::Added));
}

#[tokio::test]
async fn a_trace_whose_logged_name_is_unknown_was_renamed() {
    let (store, run) = ordered(3).await;
    let older = MemoryStore::new();
    let from: Arc<dyn Read> = Arc::new(store);
    rewritten(&from, &older, |event| {
        if let Event::TraceStarted(call) = event
            && call.name == "edits.mail"
        {
            call.name = "edits.send_mail".into();
        }
    })
    .expect("it is rewritten");
    let Verdict::Diverged(diagnosis) = replayed(&older, run, Edit::Original).await.verdict else {
        panic!("it diverges")
    };
    assert_eq!(diagnosis.change, Change::Renamed);
    assert!(matches!(&diagnosis.divergence.logged, Some(Side::Call(call)) if call.name == "edits.send_mail"));
    assert!(matches!(&diagnosis.divergence.called, Some(Side::Call(call)) if call.name == "edits.mail"));

    // With another input as well, it is another trace.
    let Verdict::Diverged(diagnosis) = replayed(&older, run, Edit::Argument).await.verdict else {
        panic!("it diverges")
    };
    assert_eq!(diagnosis.change, Change::Replaced);
}

#[tokio::test]
async fn an_argument_that_differs_is_named_with_both_values_and_what_came_before() {
    let (store, run) = ordered(3).await;
    let Verdict::Diverged(diagnosis) = replayed(&store, run, Edit::Argument).await.verdict else {
        panic!("it diverges")
    };
    let difference = diagnosis.difference.expect("an argument differs");
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    assert_eq!(difference.path, "subject");
    assert_eq!((difference.old, difference.new), (text("Your order"), text("Thank you!")));
    let before: Vec<u64> = diagnosis.before.iter().map(|logged| logged.sequence.0).collect();
    let at = diagnosis.divergence.sequence.0;
    assert_eq!(before, (at - 5..at).collect::<Vec<_>>());
    assert_eq!(diagnosis.cause, LikelyCause::Environment, "what differs is what the engine was given");
}

#[tokio::test]
async fn a_result_that_differs_is_shown_side_by_side() {
    let (store, run) = ordered(3).await;
    let Verdict::ResultChanged(change) = replayed(&store, run, Edit::Result).await.verdict else {
        panic!("another result")
    };
    let [difference] = change.differences.as_slice() else { panic!("{:?}", change.differences) };
    assert_eq!(difference.path, "customer.points");
    assert_eq!((&difference.old, &difference.new), (&Some(Value::Unsigned(6)), &Some(Value::Unsigned(9))));
    assert!(matches!((&change.logged, &change.now), (TaskOutcome::Ok(_), TaskOutcome::Ok(_))));

    let (store, run) = ordered(9).await;
    let Verdict::ResultChanged(change) = replayed(&store, run, Edit::Error).await.verdict else {
        panic!("another error")
    };
    assert_eq!(change.differences[0].path, "message");
    assert!(matches!(&change.now, TaskOutcome::Err(record) if record.message.contains("no longer sold")));
}

#[tokio::test]
async fn what_was_edited_since_is_named_by_its_hash() {
    let (store, run) = ordered(3).await;
    let older = MemoryStore::new();
    let from: Arc<dyn Read> = Arc::new(store);
    rewritten(&from, &older, |event| match event {
        Event::TaskStarted(started) => started.code = CodeHash::from_bytes([9; 16]),
        Event::TraceStarted(call) if call.name == "edits.mail" => call.code = CodeHash::from_bytes([9; 16]),
        _ => {}
    })
    .expect("it is rewritten");
    let Verdict::Diverged(diagnosis) = replayed(&older, run, Edit::Argument).await.verdict else {
        panic!("it diverges")
    };
    let what = vec!["task edits.order".to_owned(), "trace edits.mail".to_owned()];
    assert_eq!(diagnosis.cause, LikelyCause::Edited(what));
    let Verdict::ResultChanged(change) = replayed(&older, run, Edit::Result).await.verdict else {
        panic!("another result")
    };
    assert_eq!(change.cause, LikelyCause::Edited(vec!["task edits.order".to_owned()]));
}

#[tokio::test]
async fn what_cannot_be_replayed_is_told_from_an_edit() {
    for (how, expected) in [
        (Careless::MapOfCalls, LikelyCause::MapOrder),
        (Careless::SetAsArgument, LikelyCause::MapOrder),
        (Careless::SetInResult, LikelyCause::MapOrder),
        (Careless::Clock, LikelyCause::Clock),
        (Careless::ClockInResult, LikelyCause::Clock),
        (Careless::Randomness, LikelyCause::Randomness),
        (Careless::RandomResult, LikelyCause::Randomness),
    ] {
        let store = MemoryStore::new();
        let engine = open_with(&store, release(Edit::Original)).await;
        let handle = engine.start(careless(how)).await.expect("starts");
        let run = handle.id();
        guard(handle).await.expect("it runs");
        guard(engine.shutdown()).await.expect("nothing has failed");
        let cause = match replayed(&store, run, Edit::Original).await.verdict {
            Verdict::Diverged(diagnosis) => diagnosis.cause,
            Verdict::ResultChanged(change) => change.cause,
            other => panic!("{how:?}: {other:?}"),
        };
        assert_eq!(cause, expected, "{how:?}");
    }
    let (store, run) = ordered(3).await;
    let Verdict::Diverged(diagnosis) = replayed(&store, run, Edit::Foreign).await.verdict else {
        panic!("it diverges")
    };
    assert_eq!(diagnosis.cause, LikelyCause::ForeignAwait);
}

/// A store as it was when an event of an order became durable, and where the log ended then.
async fn crashed(number: u32, at: u64) -> (MemoryStore, RunId, u64) {
    let store = MemoryStore::new();
    let copied: Arc<Mutex<Option<MemoryStore>>> = Arc::default();
    let builder = release(Edit::Original).on_durable({
        let (store, copied) = (store.clone(), Arc::clone(&copied));
        move |acknowledged| {
            if acknowledged.sequence.0 == at {
                copied.lock().get_or_insert_with(|| store.copy());
            }
        }
    });
    let engine = open_with(&store, builder).await;
    let handle = engine.start(order(number)).await.expect("starts");
    let run = handle.id();
    guard(handle).await.expect("it runs");
    guard(engine.shutdown()).await.expect("nothing has failed");
    let copy = copied.lock().take().expect("the event became durable");
    let end = relive_engine::inspect::events(Arc::new(copy.clone()), run).count() as u64;
    (copy, run, end)
}

#[tokio::test]
async fn an_unfinished_run_fits_up_to_where_its_log_ends() {
    let (store, run, end) = crashed(3, 5).await;
    assert!(end < 12, "it has not ended");
    let replayed = replayed(&store, run, Edit::Original).await;
    let Verdict::SameSoFar(so_far) = &replayed.verdict else { panic!("{:?}", replayed.verdict) };
    assert_eq!((so_far.end.0, replayed.event_count, &so_far.stuck), (end, end, &None));
    // What was edited behind that place fits as well.
    assert!(self::replayed(&store, run, Edit::Result).await.verdict.fits());
    assert!(!self::replayed(&store, run, Edit::Reordered).await.verdict.fits());
}

#[tokio::test]
async fn each_attempt_is_replayed_by_itself() {
    let (store, run) = ordered(9).await;
    let engine = open_with(&store, release(Edit::NoError)).await;
    guard(guard(engine.resume(run)).await.expect("it is resumed")).await.expect("it is no longer sold out");
    guard(engine.shutdown()).await.expect("nothing has failed");

    let old = replayer(&store, Edit::Original);
    let Verdict::Same(outcome) = guard(old.replay_attempt(run, 1)).await.unwrap().verdict else { panic!("it fits") };
    assert!(matches!(outcome, TaskOutcome::Err(_)));
    assert!(!guard(old.replay_attempt(run, 2)).await.unwrap().verdict.fits());

    let new = replayer(&store, Edit::NoError);
    assert!(!guard(new.replay_attempt(run, 1)).await.unwrap().verdict.fits());
    let last = guard(new.replay(run)).await.unwrap();
    assert_eq!((last.attempt, last.verdict.name()), (2, "same"));
}

#[tokio::test]
async fn an_attempt_that_never_ended_fits_up_to_where_the_next_begins() {
    let (store, run, end) = crashed(3, 7).await;
    // The new release cannot take it up, and somebody resumes it.
    let engine = open_with(&store, release(Edit::Argument)).await;
    let waits = guard(engine.handle::<Value, relive::Error>(run).expect("it is known")).await.unwrap_err();
    assert_eq!(waits.kind(), ErrorKind::Diverged);
    guard(guard(engine.resume(run)).await.expect("it is resumed")).await.expect("it ends");
    guard(engine.shutdown()).await.expect("nothing has failed");

    let Verdict::SameSoFar(so_far) =
        guard(replayer(&store, Edit::Original).replay_attempt(run, 1)).await.unwrap().verdict
    else {
        panic!("it fits so far")
    };
    assert_eq!(so_far.end.0, end);
    assert!(guard(replayer(&store, Edit::Argument).replay(run)).await.unwrap().verdict.fits());
}

#[tokio::test]
async fn a_replayer_says_what_it_cannot_replay() {
    let (store, run) = ordered(3).await;
    let replayer = replayer(&store, Edit::Original);
    let unknown = RunId::from_bytes([1; 16]);
    assert_eq!(guard(replayer.replay(unknown)).await.unwrap_err().kind(), ErrorKind::UnknownRun);
    let error = guard(replayer.replay_attempt(run, 2)).await.unwrap_err();
    assert!(error.to_string().contains("has no attempt 2"), "{error}");
    assert!(guard(replayer.replay_attempt(run, 1)).await.unwrap().verdict.fits());

    let other = MemoryStore::new();
    let from: Arc<dyn Read> = Arc::new(store);
    rewritten(&from, &other, |event| {
        if let Event::TaskStarted(started) = event {
            started.task = "edits.gone".into();
        }
    })
    .expect("it is rewritten");
    let replayer = release(Edit::Original).replay_store(Arc::new(other)).expect("the store is read");
    assert_eq!(guard(replayer.replay(run)).await.unwrap_err().kind(), ErrorKind::UnknownTask);
}
