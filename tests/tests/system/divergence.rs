//! A task that was edited so that it no longer fits the log of an unfinished run.
//!
//! Which version of its code a body follows it asks the engine that runs it: two engines over one store, one after the
//! other, are two releases of a program.

use relive::{Divergence, Engine, ErrorKind, Event, RunHandle, RunId, RunStatus, Side, Value, task, trace};
use relive_storage::MemoryStore;

use super::support::{Probe, builder, events, guard, log_rows, open_with};

/// The version of the edited task that an engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Original,
    ArgumentChanged,
    OtherTrace,
    CallAdded,
    CallAddedBeside,
    CallRemoved,
    Swapped,
    FinishesEarly,
    FailsEarly,
    WaitsForNothing,
    LoserKept,
    ReadsOtherType,
}

#[trace(name = "divergence.step")]
async fn step(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    Ok(1)
}

#[trace(name = "divergence.other")]
async fn other(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    Ok(1)
}

#[trace(name = "divergence.held")]
async fn held(label: String) -> relive::Result<u32> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

/// Read back as whatever the caller asks for.
#[trace(name = "divergence.typed")]
async fn typed<T>(label: String) -> relive::Result<T>
where
    T: serde::Serialize + serde::de::DeserializeOwned + Default + Send + 'static,
{
    Probe::here()?.begin(&label);
    Ok(T::default())
}

/// `typed`, `a`, a race that `b` wins, `held`.
#[task(name = "divergence.edited")]
async fn edited(number: u32) -> relive::Result<u32> {
    let code = *relive::provided::<Code>()?;
    let label = |text: &str| format!("{text}{number}");
    if code == Code::ReadsOtherType {
        typed::<String>(label("typed")).await?;
    } else {
        typed::<u32>(label("typed")).await?;
    }
    match code {
        Code::Swapped => drop(step(label("b")).await?),
        Code::ArgumentChanged => drop(step(label("changed")).await?),
        Code::OtherTrace => drop(other(label("a")).await?),
        Code::FinishesEarly => return Ok(7),
        Code::FailsEarly => return Err(relive::Error::msg("enough")),
        Code::WaitsForNothing => std::future::pending().await,
        Code::CallRemoved => {}
        Code::CallAdded => drop((other(label("new")).await?, step(label("a")).await?)),
        Code::CallAddedBeside => drop(futures::try_join!(step(label("a")), other(label("new")))?),
        _ => drop(step(label("a")).await?),
    }
    let mut loser = Box::pin(held(label("loser")));
    let winner = step(label("b"));
    relive::select! {
        result = winner => result?,
        result = &mut loser => result?,
    };
    if code == Code::LoserKept {
        return Ok(futures::try_join!(loser, held(label("held")))?.0);
    }
    drop(loser);
    held(label("held")).await
}

async fn release(store: &MemoryStore, probe: &Probe, code: Code) -> Engine {
    open_with(store, builder(probe).provide(code)).await
}

fn handle(engine: &Engine, run: RunId) -> RunHandle<u32, relive::Error> {
    engine.handle(run).expect("the run is known")
}

/// Lets one run get as far as `held`, and leaves it there; returns the store as a crash would.
async fn interrupted(numbers: &[u32]) -> (MemoryStore, Vec<RunId>) {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = release(&store, &probe, Code::Original).await;
    let mut runs = Vec::new();
    for number in numbers {
        runs.push(engine.start(edited(*number)).await.expect("starts").id());
        probe.begun(&format!("held{number}"), 1).await;
    }
    (store.copy(), runs)
}

/// Opens a new release over an interrupted run: it must be refused without any harm. Then brings the old code back.
async fn refused(code: Code) -> (relive::Error, Vec<Event>) {
    let (store, runs) = interrupted(&[1]).await;
    let run = runs[0];
    let before = log_rows(&store, run);
    let probe = Probe::default();
    let engine = release(&store, &probe, code).await;
    let log = events(&engine, run);
    let error = guard(handle(&engine, run)).await.expect_err("the code does not fit");
    assert_eq!(probe.all_begun(), Vec::<String>::new(), "no effect is started");
    let status = engine.status(run).expect("known");
    let RunStatus::Blocked { message, .. } = status else { panic!("it is blocked: {status:?} {code:?}") };
    assert_eq!(message, error.to_string());
    guard(engine.shutdown()).await.expect("shuts down");
    assert_eq!(log_rows(&store, run), before, "the log is as it was");

    let probe = Probe::default();
    probe.open("held1");
    let engine = release(&store, &probe, Code::Original).await;
    assert_eq!(guard(handle(&engine, run)).await.expect("the old code fits"), 1);
    assert_eq!(probe.all_begun(), ["held1"], "it goes on where it was");
    (error, log)
}

/// As [`refused`], where the error is a divergence.
async fn diverged(code: Code) -> (Divergence, Vec<Event>) {
    let (error, log) = refused(code).await;
    assert_eq!(error.kind(), ErrorKind::Diverged, "{error:?}");
    let divergence = error.divergence().expect("a divergence says where").clone();
    let message = error.to_string();
    assert!(message.contains(&divergence.run.to_string()), "{message}");
    assert!(message.contains(&format!("at event {}", divergence.sequence)), "{message}");
    assert!(message.contains("divergence.edited") && message.contains("No new effect"), "{message}");
    (divergence, log)
}

/// Position of the start of a call in a log.
fn position(log: &[Event], label: &str) -> u64 {
    let is_it = |event: &Event| match event {
        Event::TraceStarted(started) => started.input.to_value().get("label") == Some(&Value::Text(label.into())),
        _ => false,
    };
    log.iter().position(is_it).expect("it is in the log") as u64
}

/// A call's name and label, having checked that it says where it is.
#[track_caller]
fn call(side: Option<&Side>) -> (String, String) {
    let Some(Side::Call(call)) = side else { panic!("not a call: {side:?}") };
    assert!(call.file.ends_with("divergence.rs") && call.line > 0, "{call:?}");
    let Some(Value::Text(label)) = call.input.get("label") else { panic!("{call:?}") };
    (call.name.clone(), label.clone())
}

fn pair(name: &str, label: &str) -> (String, String) {
    (format!("divergence.{name}"), label.to_owned())
}

#[tokio::test]
async fn a_changed_argument_is_named_with_both_values() {
    let (divergence, log) = diverged(Code::ArgumentChanged).await;
    assert_eq!(divergence.sequence.0, position(&log, "a1"));
    assert_eq!(call(divergence.logged.as_ref()), pair("step", "a1"));
    assert_eq!(call(divergence.called.as_ref()), pair("step", "changed1"));
    let text = |text: &str| Value::Text(text.into());
    assert_eq!(divergence.first_difference(), Some(("label".into(), text("a1"), text("changed1"))));
    assert!(divergence.to_string().contains("argument `label` was \"a1\" and is \"changed1\""), "{divergence}");
}

#[tokio::test]
async fn another_trace_in_a_calls_place_is_named() {
    let (divergence, log) = diverged(Code::OtherTrace).await;
    assert_eq!(divergence.sequence.0, position(&log, "a1"));
    assert_eq!(call(divergence.logged.as_ref()), pair("step", "a1"));
    assert_eq!(call(divergence.called.as_ref()), pair("other", "a1"));
}

#[tokio::test]
async fn an_added_call_is_named() {
    let (divergence, log) = diverged(Code::CallAdded).await;
    assert_eq!(divergence.sequence.0, position(&log, "a1"));
    assert_eq!(call(divergence.logged.as_ref()), pair("step", "a1"));
    assert_eq!(call(divergence.called.as_ref()), pair("other", "new1"));
}

#[tokio::test]
async fn a_call_added_beside_others_is_named() {
    let (divergence, _) = diverged(Code::CallAddedBeside).await;
    assert_eq!(divergence.logged, None, "the log holds all else that was called");
    assert_eq!(call(divergence.called.as_ref()), pair("other", "new1"));
}

#[tokio::test]
async fn a_removed_call_is_named_with_what_came_in_its_place() {
    let (divergence, log) = diverged(Code::CallRemoved).await;
    assert_eq!(divergence.sequence.0, position(&log, "a1"));
    assert_eq!(call(divergence.logged.as_ref()), pair("step", "a1"));
    assert_eq!(call(divergence.called.as_ref()), pair("step", "b1"));
}

#[tokio::test]
async fn two_swapped_calls_are_named() {
    let (divergence, log) = diverged(Code::Swapped).await;
    assert_eq!(divergence.sequence.0, position(&log, "a1"));
    assert_eq!(call(divergence.logged.as_ref()), pair("step", "a1"));
    assert_eq!(call(divergence.called.as_ref()), pair("step", "b1"));
}

#[tokio::test]
async fn a_task_that_finishes_early_is_told_with_its_result() {
    for (code, outcome) in [(Code::FinishesEarly, "Ok(7)"), (Code::FailsEarly, "Err(enough)")] {
        let (divergence, log) = diverged(code).await;
        assert_eq!(divergence.sequence.0, position(&log, "a1"));
        assert_eq!(call(divergence.logged.as_ref()), pair("step", "a1"));
        assert_eq!(divergence.called, Some(Side::Finished(outcome.into())));
    }
}

#[tokio::test]
async fn a_task_that_calls_nothing_where_the_log_goes_on_is_told() {
    let (divergence, _) = diverged(Code::WaitsForNothing).await;
    assert_eq!(call(divergence.logged.as_ref()), pair("step", "a1"));
    assert_eq!(divergence.called, Some(Side::Waiting));
}

#[tokio::test]
async fn a_loser_that_is_no_longer_dropped_is_told() {
    let (divergence, _) = diverged(Code::LoserKept).await;
    let Some(Side::Drop(dropped)) = &divergence.logged else { panic!("{divergence:?}") };
    assert_eq!(
        (dropped.name.as_str(), dropped.input.get("label")),
        ("divergence.held", Some(&Value::Text("loser1".into())))
    );
}

#[tokio::test]
async fn a_recorded_result_that_is_read_as_another_type_makes_the_run_wait() {
    let (error, _) = refused(Code::ReadsOtherType).await;
    assert_eq!(error.kind(), ErrorKind::Payload, "{error:?}");
    let message = error.to_string();
    assert!(message.contains("divergence.typed") && message.contains("String"), "{message}");
}

#[tokio::test]
async fn the_other_runs_of_the_store_go_on() {
    let (store, runs) = interrupted(&[1]).await;
    let first = Probe::default();
    let engine = release(&store, &first, Code::Original).await;
    first.begun("held1", 1).await;
    // A run that both releases agree on: it stands where their code is the same.
    let steady = engine.start(steady(5)).await.expect("starts").id();
    first.begun("steady5", 1).await;
    let store = store.copy();

    let probe = Probe::default();
    probe.open("steady5");
    let engine = release(&store, &probe, Code::Swapped).await;
    assert_eq!(guard(handle(&engine, runs[0])).await.expect_err("does not fit").kind(), ErrorKind::Diverged);
    assert_eq!(guard(handle(&engine, steady)).await.expect("goes on"), 1);
    assert_eq!(engine.run(steady_next()).await.expect("new runs run"), 1);
    assert_eq!(probe.all_begun(), ["steady5", "next"]);
}

#[task(name = "divergence.steady")]
async fn steady(number: u32) -> relive::Result<u32> {
    held(format!("steady{number}")).await
}

#[task(name = "divergence.steady_next")]
async fn steady_next() -> relive::Result<u32> {
    step("next".to_owned()).await
}

#[tokio::test]
async fn a_diverged_run_can_be_cancelled() {
    let (store, runs) = interrupted(&[1]).await;
    let engine = release(&store, &Probe::default(), Code::FinishesEarly).await;
    assert_eq!(guard(handle(&engine, runs[0])).await.expect_err("does not fit").kind(), ErrorKind::Diverged);
    assert_eq!(engine.cancel(runs[0]).await.expect("cancels"), relive::Cancellation::Cancelled);
    assert_eq!(engine.status(runs[0]).expect("known"), RunStatus::Cancelled);
    let again = release(&store.copy(), &Probe::default(), Code::Original).await;
    assert_eq!(again.status(runs[0]).expect("known"), RunStatus::Cancelled);
}

#[tokio::test]
async fn an_equal_call_joins_a_run_that_waits_and_gets_its_reason() {
    let (store, runs) = interrupted(&[1]).await;
    let engine = release(&store, &Probe::default(), Code::Swapped).await;
    let handle = engine.start(edited(1)).await.expect("joins");
    assert_eq!(handle.id(), runs[0]);
    assert_eq!(guard(handle).await.expect_err("does not fit").kind(), ErrorKind::Diverged);
}
