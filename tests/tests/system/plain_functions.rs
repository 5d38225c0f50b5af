//! Plain functions as traces: they run in place, once, and are recorded before they return.

use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::{join, try_join_all};
use relive::{Error, ErrorKind, Event, RunStatus, TraceOutcome, task, trace};
use relive_storage::{FaultStore, MemoryStore, Survives};

use super::cuts::{cut_everywhere, cut_with, outcome_by_label, starts};
use super::support::{Probe, Told, builder, event_names, events, guard, listening, open, open_with};

#[trace(name = "plain.double")]
fn double(label: &str, number: u32) -> relive::Result<u32> {
    Probe::here()?.begin(label);
    Ok(number * 2)
}

#[trace(name = "plain.step")]
async fn step(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    Ok(1)
}

#[trace(name = "plain.fails")]
fn fails(label: &str) -> relive::Result<u32> {
    Probe::here()?.begin(label);
    Err(Error::msg("no luck"))
}

#[trace(name = "plain.panics")]
fn panics(label: &str) -> relive::Result<u32> {
    Probe::here()?.begin(label);
    panic!("ouch {label}");
}

#[task(name = "plain.chain")]
async fn chain(number: u32) -> relive::Result<u32> {
    let first = double("a", number)?;
    let second = double("b", first)?;
    Ok(second + step("c".into()).await? + double("d", 1)?)
}

#[tokio::test]
async fn a_plain_function_runs_once_and_is_replayed_without_running() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let handle = engine.start(chain(3)).await.expect("starts");
    let run = handle.id();
    assert_eq!(guard(handle).await.expect("runs"), 15);
    assert_eq!(probe.all_begun(), ["a", "b", "c", "d"]);
    let next = Probe::default();
    let engine = open(&store.copy(), &next).await;
    assert!(guard(engine.replay(run)).await.expect("fits").is_some());
    assert_eq!(guard(engine.run(chain(3))).await.expect("cached"), 15);
    assert_eq!(next.all_begun(), Vec::<String>::new());
}

#[tokio::test]
async fn a_plain_function_is_gone_on_from_after_a_crash_at_any_commit() {
    let (_, cuts) = cut_everywhere(|| chain(3)).await;
    assert!(cuts.iter().any(|cut| cut.interrupted("b")), "a log may end inside the step");
    assert!(cuts.iter().any(|cut| cut.interrupted("b") && cut.first.count("b") == 1 && cut.second.count("b") == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_function_works_on_a_runtime_of_several_threads() {
    let (result, cuts) = cut_everywhere(|| chain(3)).await;
    assert_eq!(result, 15);
    assert!(cuts.iter().any(|cut| cut.interrupted("d")));
}

#[test]
fn a_plain_function_works_where_all_else_waits_for_its_thread() {
    // One thread, and not even one that blocks.
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().expect("a runtime");
    let result = runtime.block_on(async {
        let engine = open(&MemoryStore::new(), &Probe::default()).await;
        try_join_all((0..20).map(|number| engine.run(chain(number)))).await
    });
    assert_eq!(result.expect("all run").len(), 20);
}

/// Sees that what came before it, and its own start, was told to be durable.
#[trace(name = "plain.sees_itself")]
fn sees_itself(label: &str) -> relive::Result<Vec<String>> {
    let told = relive::provided::<Told>()?;
    let told: Vec<Event> = told.lock().iter().map(|told| told.event.clone()).collect();
    Ok(starts(&told).into_iter().map(|(_, label)| label).chain([label.to_owned()]).collect())
}

#[task(name = "plain.sees")]
async fn sees() -> relive::Result<Vec<String>> {
    let (_, seen) = join(step("beside".into()), async {
        double("before", 1)?;
        sees_itself("self")
    })
    .await;
    seen
}

#[tokio::test]
async fn its_effect_begins_when_its_start_and_all_before_it_are_durable() {
    let (builder, told) = listening(builder(&Probe::default()));
    let engine = open_with(&MemoryStore::new(), builder.provide(Told::clone(&told))).await;
    assert_eq!(guard(engine.run(sees())).await.expect("runs"), ["beside", "before", "self", "self"]);
}

#[tokio::test]
async fn its_effect_does_not_begin_if_its_start_cannot_be_written() {
    // The opening, the run's start with `a`; then nothing more.
    for stop in 1..4 {
        let (store, probe) = (FaultStore::stop_after(stop), Probe::default());
        let engine = builder(&probe).open_store(std::sync::Arc::new(store.clone())).await.expect("opens");
        let error = guard(engine.run(chain(1))).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Storage);
        let left = super::cuts::log_of(&store.crash(Survives::All));
        let started: Vec<_> = starts(&left).into_iter().map(|(_, label)| label).collect();
        assert_eq!(probe.all_begun(), started, "stopped after {stop} commits");
    }
}

/// Catches both, and says what it caught.
#[task(name = "plain.catches")]
async fn catches() -> relive::Result<Vec<String>> {
    let caught = [fails("fails").err(), panics("panics").err()];
    let text = |error: Error| format!("{:?}: {error}", error.kind());
    step("behind".into()).await?;
    Ok(caught.into_iter().flatten().map(text).collect())
}

#[tokio::test]
async fn an_error_and_a_panic_are_recorded_with_their_place_and_replayed_the_same() {
    let (caught, cuts) = cut_everywhere(catches).await;
    assert_eq!(caught[0], "Failed: no luck");
    assert!(caught[1].starts_with("Panicked: trace plain.panics panicked: ouch panics at "), "{}", caught[1]);
    assert!(caught[1].contains("plain_functions.rs:"), "{}", caught[1]);
    let failed = cuts.iter().filter(|cut| cut.completed("fails"));
    assert_eq!(failed.map(|cut| cut.second.count("fails")).max(), Some(0), "a recorded failure is not tried again");
}

#[trace(name = "plain.flaky", retries = 10)]
fn flaky(label: &str, tries: &Tries) -> relive::Result<u32> {
    Probe::here()?.begin(label);
    let told = relive::provided::<Told>().map(|told| told.lock().iter().map(|told| told.event.name()).collect());
    tries.0.lock().push(told.unwrap_or_default());
    if tries.0.lock().len() < 3 { Err(Error::msg("not yet")) } else { Ok(7) }
}

/// What was told when each try began. Nothing of it is data.
#[derive(Clone, Default)]
struct Tries(std::sync::Arc<parking_lot::Mutex<Vec<Vec<&'static str>>>>);

impl serde::Serialize for Tries {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

#[task(name = "plain.tries")]
async fn tries() -> relive::Result<u32> {
    flaky("flaky", &*relive::provided::<Tries>()?)
}

#[tokio::test]
async fn a_failed_try_is_durable_before_the_next_one_begins() {
    let (builder, told) = listening(builder(&Probe::default()));
    let tries_seen = Tries::default();
    let builder = builder.provide(Told::clone(&told)).provide(tries_seen.clone());
    let engine = open_with(&MemoryStore::new(), builder).await;
    let handle = engine.start(tries()).await.expect("starts");
    let run = handle.id();
    assert_eq!(guard(handle).await.expect("the third succeeds"), 7);
    let retried = |told: &Vec<&str>| told.iter().filter(|name| **name == "TraceRetried").count();
    assert_eq!(tries_seen.0.lock().iter().map(retried).collect::<Vec<_>>(), [0, 1, 2]);
    let log = events(&engine, run);
    let counts = log.iter().filter_map(|event| match event {
        Event::TraceRetried(retried) => Some((retried.tries, retried.error.message.clone())),
        Event::TraceCompleted(completed) => Some((completed.tries, "done".to_owned())),
        _ => None,
    });
    let expected = [(1, "not yet".to_owned()), (2, "not yet".to_owned()), (3, "done".to_owned())];
    assert_eq!(counts.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn tries_are_counted_over_a_crash_at_any_commit() {
    let seen = Tries::default();
    let set_up = |builder: relive::Builder| {
        // A process of its own has tries of its own.
        seen.0.lock().clear();
        builder.provide(seen.clone())
    };
    let (_, cuts) = cut_with(tries, set_up).await;
    for cut in cuts {
        let retried = |log: &[Event]| log.iter().filter(|event| matches!(event, Event::TraceRetried(_))).count();
        let tried = cut.after.iter().find_map(|event| match event {
            Event::TraceCompleted(completed) => Some(completed.tries as usize),
            _ => None,
        });
        assert_eq!(tried, Some(retried(&cut.after) + 1), "{:?}", cut.after);
    }
}

/// A plain function between calls of the same step.
#[task(name = "plain.in_a_step")]
async fn in_a_step(number: u32) -> relive::Result<u32> {
    let (a, b, c) = tokio::join!(
        step("before".into()),
        async {
            let plain = double("plain", number)?;
            relive::random::<u64>()?;
            Ok::<_, Error>(plain + step("after".into()).await?)
        },
        async { Ok::<_, Error>(double("beside", number)? + step("last".into()).await?) },
    );
    Ok(a? + b? + c? + double("end", number)?)
}

#[tokio::test]
async fn a_plain_function_inside_a_step_with_starts_around_it_survives_a_crash_at_any_commit() {
    let (result, cuts) = cut_everywhere(|| in_a_step(1)).await;
    assert_eq!(result, 9);
    assert!(cuts.iter().any(|cut| cut.interrupted("plain") && cut.interrupted("before")));
    assert!(cuts.iter().any(|cut| cut.completed("plain") && cut.interrupted("beside")));
}

/// Which release of the program an engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edited(bool);

#[task(name = "plain.edited")]
async fn edited() -> relive::Result<u32> {
    let Edited(edited) = *relive::provided::<Edited>()?;
    let mut sum = step("a".into()).await?;
    if edited {
        sum += double("new", 1)?;
    }
    Ok(sum + step("b".into()).await? + double("last", 1)?)
}

#[tokio::test]
async fn an_edit_before_a_plain_function_is_found_before_it_runs() {
    let (store, probe) = (FaultStore::new(), Probe::default());
    let engine = builder(&probe).provide(Edited(false));
    let engine = engine.open_store(std::sync::Arc::new(store.clone())).await.expect("opens");
    let handle = engine.start(edited()).await.expect("starts");
    let run = handle.id();
    guard(handle).await.expect("runs");
    let next = Probe::default();
    let left = store.surviving();
    let engine = open_with(&left, builder(&next).provide(Edited(true))).await;
    let error = guard(engine.replay(run)).await.expect_err("it does not fit");
    assert_eq!(error.kind(), ErrorKind::Diverged);
    assert!(error.to_string().contains("plain.double"), "{error}");
    assert_eq!(next.all_begun(), Vec::<String>::new());
}

#[tokio::test]
async fn an_edited_body_that_goes_on_after_a_crash_runs_no_plain_function_that_its_log_contradicts() {
    for stop in 3..8 {
        let (store, probe) = (FaultStore::stop_after(stop), Probe::default());
        let engine = builder(&probe).provide(Edited(false));
        let engine = engine.open_store(std::sync::Arc::new(store.clone())).await.expect("opens");
        if guard(engine.run(edited().id("x"))).await.is_ok() {
            return;
        }
        let left = store.surviving();
        let before = super::cuts::log_of(&left);
        let next = Probe::default();
        let engine = open_with(&left, builder(&next).provide(Edited(true))).await;
        let result = guard(engine.run(edited().id("x"))).await;
        if outcome_by_label(&before, "b").is_some() || starts(&before).iter().any(|(_, label)| label == "b") {
            assert_eq!(result.expect_err("diverges").kind(), ErrorKind::Diverged, "stopped after {stop}");
            assert_eq!(next.count("new"), 0, "stopped after {stop}: {before:?}");
        }
    }
    panic!("there is no end of commits");
}

#[trace(name = "plain.pure", pure)]
fn pure(number: u32) -> relive::Result<u32> {
    Ok(number + 1)
}

#[trace(name = "plain.impure")]
fn impure(number: u32) -> relive::Result<u32> {
    Ok(number + 1)
}

#[task(name = "plain.many")]
async fn many(is_pure: bool) -> relive::Result<u32> {
    (0..50).try_fold(0, |sum, _| if is_pure { pure(sum) } else { impure(sum) })
}

#[tokio::test]
async fn pure_functions_share_a_commit_and_others_have_one_each() {
    let mut counts = Vec::new();
    for is_pure in [true, false] {
        let store = FaultStore::new();
        let engine = builder(&Probe::default()).open_store(std::sync::Arc::new(store.clone())).await.expect("opens");
        let handle = engine.start(many(is_pure)).await.expect("starts");
        let run = handle.id();
        assert_eq!(guard(handle).await.expect("runs"), 50);
        assert_eq!(event_names(&engine, run).len(), 102, "both are recorded");
        counts.push(store.commit_count());
    }
    assert!(counts[0] <= 4, "the opening, and the run: {counts:?}");
    assert!(counts[1] > 50, "a barrier each: {counts:?}");
}

#[trace(name = "plain.charge", at_most_once)]
fn charge(label: &str) -> relive::Result<u32> {
    Probe::here()?.begin(label);
    Ok(5)
}

/// `None` if it is not known whether it charged.
#[task(name = "plain.pays")]
async fn pays() -> relive::Result<Option<u32>> {
    match charge("charge") {
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(None),
        other => other.map(Some),
    }
}

#[tokio::test]
async fn what_runs_at_most_once_is_interrupted_by_a_crash_and_never_begins_again() {
    for stop in 1..8 {
        let (store, first) = (FaultStore::stop_after(stop), Probe::default());
        let engine = builder(&first).open_store(std::sync::Arc::new(store.clone())).await.expect("opens");
        let done = guard(engine.run(pays().id("x"))).await;
        if done.is_ok() {
            assert!(stop >= 3);
            return;
        }
        let left = store.surviving();
        let log = super::cuts::log_of(&left);
        let second = Probe::default();
        let engine = open(&left, &second).await;
        let result = guard(engine.run(pays().id("x"))).await.expect("runs");
        let has_begun = !starts(&log).is_empty();
        let is_done = matches!(outcome_by_label(&log, "charge"), Some(TraceOutcome::Ok(_)));
        assert_eq!(result.is_none(), has_begun && !is_done, "stopped after {stop}");
        assert!(first.count("charge") + second.count("charge") <= 1);
    }
    panic!("there is no end of commits");
}

#[task(name = "plain.pays_or_fails")]
async fn pays_or_fails() -> relive::Result<u32> {
    charge("charge")
}

#[tokio::test]
async fn what_runs_at_most_once_is_interrupted_in_a_later_attempt_too() {
    let (store, first) = (FaultStore::stop_after(2), Probe::default());
    let engine = builder(&first).open_store(std::sync::Arc::new(store.clone())).await.expect("opens");
    guard(engine.run(pays_or_fails())).await.expect_err("the store stops");
    assert_eq!(first.count("charge"), 1, "it began, and how it ended is not known");
    let second = Probe::default();
    let engine = open(&store.surviving(), &second).await;
    let run = engine.runs().next().expect("one").expect("readable").run;
    for attempt in 1..=2 {
        let error = guard(engine.handle::<u32, Error>(run).expect("known")).await.expect_err("interrupted");
        assert_eq!(error.kind(), ErrorKind::Interrupted, "attempt {attempt}");
        assert_eq!(engine.status(run).expect("known"), RunStatus::Failed);
        guard(guard(async { engine.resume(run).await }).await.expect("resumes")).await.expect_err("interrupted");
    }
    assert_eq!(second.all_begun(), Vec::<String>::new());
}

static OUTSIDE: AtomicU32 = AtomicU32::new(0);

#[trace(name = "plain.outside", outside = "call")]
fn outside(number: u32) -> relive::Result<u32> {
    OUTSIDE.fetch_add(1, Ordering::Relaxed);
    Ok(number + 1)
}

#[tokio::test]
async fn outside_a_task_a_plain_function_is_an_error_unless_it_is_to_be_called() {
    let error = double("x", 1).expect_err("outside");
    assert_eq!(error.kind(), ErrorKind::OutsideTask);
    assert!(error.to_string().contains("plain_functions.rs:"), "{error}");
    assert_eq!((outside(1).expect("a plain call"), OUTSIDE.load(Ordering::Relaxed)), (2, 1));
}
