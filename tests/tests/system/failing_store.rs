//! A store that fails: everyone who waits is told, no body is, and nothing that was acknowledged is missing afterwards.
//!
//! Also what `on_durable` promises, as that is what an acknowledgement is.

use std::sync::Arc;

use futures::future::{join_all, try_join_all};
use relive::{Durability, Engine, Error, ErrorKind, Event, RunId, Sequence, task, trace};
use relive_storage::{Fault, FaultStore, MemoryStore, Survives};

use super::support::{Probe, Told, all_rows, builder, events, guard, listening, open, open_with};

#[trace(name = "failing.step")]
async fn step(label: String) -> relive::Result<u32> {
    let probe = Probe::here()?;
    probe.begin(&label);
    Ok(1)
}

#[trace(name = "failing.held")]
async fn held(label: String) -> relive::Result<u32> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

/// Steps in sequence and at once. What its traces return it reports, so that a test sees what a body was told.
#[task(name = "failing.steps")]
async fn steps(number: u32) -> relive::Result<u32> {
    let probe = Probe::here()?;
    let call = |part: &str| {
        let (probe, call) = (probe.clone(), step(format!("{part}{number}")));
        async move {
            let result = call.await;
            if let Err(error) = &result {
                probe.begin(&format!("the body was told: {error}"));
            }
            // Caught: a body that was told of the store would go on and finish.
            result.or(Ok::<u32, Error>(100))
        }
    };
    let first = call("a").await?;
    relive::random::<u64>()?;
    let both = try_join_all(["b", "c"].map(call)).await?;
    Ok(first + both.into_iter().sum::<u32>() + call("d").await?)
}

#[task(name = "failing.gated")]
async fn gated(number: u32) -> relive::Result<u32> {
    let first = held("gate".into()).await.or(Ok::<u32, Error>(100))?;
    Ok(first + step(format!("behind{number}")).await.or(Ok::<u32, Error>(100))?)
}

async fn open_failing(store: &FaultStore, probe: &Probe) -> (Engine, Told) {
    let (builder, told) = listening(builder(probe));
    (builder.open_store(Arc::new(store.clone())).await.expect("opens"), told)
}

/// Every acknowledged event is in the log, at its place.
fn nothing_is_missing(engine: &Engine, told: &Told) {
    for acknowledged in told.lock().iter() {
        let log = events(engine, acknowledged.run);
        assert_eq!(log.get(acknowledged.sequence.0 as usize), Some(&acknowledged.event), "{acknowledged:?}");
    }
}

fn told_bodies(probe: &Probe) -> Vec<String> {
    probe.all_begun().into_iter().filter(|label| label.starts_with("the body was told")).collect()
}

#[tokio::test]
async fn a_failed_commit_reaches_everyone_who_waits_and_no_body() {
    for fault in [
        Fault::NotApplied,
        Fault::Unknown(Survives::None),
        Fault::Unknown(Survives::First(2)),
        Fault::Unknown(Survives::All),
    ] {
        let (store, probe) = (FaultStore::new(), Probe::default());
        let (engine, told) = open_failing(&store, &probe).await;
        let starts = (0..5).map(|number| engine.start(gated(number)));
        let handles = try_join_all(starts).await.expect("all start");
        let runs: Vec<RunId> = handles.iter().map(relive::RunHandle::id).collect();
        probe.begun("gate", 5).await;
        store.fail(store.commit_count(), fault);
        probe.open("gate");
        for result in guard(join_all(handles.into_iter().map(IntoFuture::into_future))).await {
            let error = result.expect_err("not durable");
            assert_eq!(error.kind(), ErrorKind::Storage, "{fault:?}: {error:?}");
            assert!(error.to_string().contains("opened again"), "{error}");
        }
        // Refused until the store is opened again; also what the cache could answer.
        for refused in [guard(engine.run(gated(7))).await, guard(engine.run(steps(7))).await] {
            assert_eq!(refused.expect_err("refused").kind(), ErrorKind::Storage);
        }
        assert_eq!(guard(engine.shutdown()).await.expect_err("it had failed").kind(), ErrorKind::Storage);

        let next = Probe::default();
        next.open("gate");
        let engine = open(&store.surviving(), &next).await;
        nothing_is_missing(&engine, &told);
        for run in runs {
            let handle = engine.handle::<u32, Error>(run).expect("known");
            assert_eq!(guard(handle).await.expect("goes on"), 2, "{fault:?}");
        }
        nothing_is_missing(&engine, &told);
    }
}

#[tokio::test]
async fn a_start_whose_commit_fails_is_told_and_leaves_nothing() {
    let (store, probe) = (FaultStore::new(), Probe::default());
    let (engine, told) = open_failing(&store, &probe).await;
    store.fail(store.commit_count(), Fault::NotApplied);
    let error = guard(engine.start(steps(1).id("job"))).await.expect_err("not durable");
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(told.lock().is_empty() && probe.all_begun().is_empty());
    let engine = open(&store.surviving(), &probe).await;
    assert_eq!(engine.runs().count(), 0);
    assert_eq!(guard(engine.run(steps(1).id("job"))).await.expect("runs"), 4);
}

/// Wherever the store fails, the next life goes on from what was acknowledged.
#[tokio::test]
async fn after_a_failure_at_any_commit_all_goes_on() {
    let commit_count = {
        let (store, probe) = (FaultStore::new(), Probe::default());
        let (engine, _) = open_failing(&store, &probe).await;
        assert_eq!(guard(engine.run(steps(0))).await.expect("runs"), 4);
        store.commit_count()
    };
    assert!(commit_count >= 5, "an opening, and a commit per step: {commit_count}");
    for commit in 1..commit_count {
        for fault in [Fault::NotApplied, Fault::Unknown(Survives::None), Fault::Unknown(Survives::All)] {
            let (store, probe) = (FaultStore::new(), Probe::default());
            let (engine, told) = open_failing(&store, &probe).await;
            store.fail(commit, fault);
            let error = match guard(engine.run(steps(0).id("job"))).await {
                Err(error) => error,
                // Two batches shared a commit this time, and there was none with this number.
                Ok(result) => {
                    assert_eq!((result, store.commit_count()), (4, commit.min(store.commit_count())));
                    continue;
                }
            };
            assert_eq!(error.kind(), ErrorKind::Storage, "commit {commit}, {fault:?}: {error:?}");
            assert_eq!(told_bodies(&probe), Vec::<String>::new());
            let _ = guard(engine.shutdown()).await;

            let next = Probe::default();
            let engine = open(&store.surviving(), &next).await;
            nothing_is_missing(&engine, &told);
            assert_eq!(guard(engine.run(steps(0).id("job"))).await.expect("goes on"), 4, "commit {commit}, {fault:?}");
            nothing_is_missing(&engine, &told);
            let done = told.lock().iter().filter(|told| matches!(told.event, Event::TraceCompleted(_))).count();
            let again = next.all_begun().len();
            assert!(again <= 5 - done.min(5), "acknowledged effects are not repeated: {done} done, {again} again");
            assert_eq!(engine.runs().count(), 1);
        }
    }
}

#[trace(name = "failing.flaky", retries = 5)]
fn flaky(label: &str) -> relive::Result<u32> {
    let probe = Probe::here()?;
    probe.begin(label);
    if probe.count(label) < 3 { Err(Error::msg("not yet")) } else { Ok(1) }
}

#[trace(name = "failing.plain")]
fn plain(label: &str) -> relive::Result<u32> {
    Ok(flaky(label)? + flaky(&format!("{label} again"))?)
}

/// Plain functions with tries, alone and inside another one. Reports what it is told.
#[task(name = "failing.in_place")]
async fn in_place() -> relive::Result<u32> {
    let probe = Probe::here()?;
    let told = |result: relive::Result<u32>| match result {
        Err(error) => {
            probe.begin(&format!("the body was told: {error}"));
            Ok::<u32, Error>(100)
        }
        ok => ok,
    };
    Ok(told(flaky("alone"))? + told(plain("inside"))? + told(flaky("behind"))?)
}

#[tokio::test]
async fn a_body_is_told_of_no_failure_by_a_plain_function() {
    for stop in 1..40 {
        let (store, probe) = (FaultStore::stop_after(stop), Probe::default());
        let (engine, _) = open_failing(&store, &probe).await;
        let result = guard(engine.run(in_place())).await;
        assert_eq!(told_bodies(&probe), Vec::<String>::new(), "stopped after {stop} commits");
        match result {
            Ok(sum) => {
                assert_eq!(sum, 4);
                return;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Storage, "{error}"),
        }
    }
    panic!("there is no end of commits");
}

#[tokio::test]
async fn a_run_is_told_once_the_store_is_opened_again_what_became_of_its_end() {
    // The last commit is there, and nobody was told.
    let (store, probe) = (FaultStore::new(), Probe::default());
    let (engine, _) = open_failing(&store, &probe).await;
    let handle = engine.start(gated(0).id("job")).await.expect("starts");
    probe.begun("gate", 1).await;
    // One commit for the gate, one for what is behind it.
    store.fail(store.commit_count() + 1, Fault::Unknown(Survives::All));
    probe.open("gate");
    assert_eq!(guard(handle).await.expect_err("not acknowledged").kind(), ErrorKind::Storage);
    let next = Probe::default();
    let engine = open(&store.surviving(), &next).await;
    assert_eq!(guard(engine.run(gated(0).id("job"))).await.expect("it had ended"), 2);
    assert_eq!(next.all_begun(), Vec::<String>::new());
}

#[tokio::test]
async fn opening_a_store_that_fails_is_an_error() {
    let store = FaultStore::stop_after(0);
    let error = Engine::builder().open_store(Arc::new(store)).await.expect_err("cannot count its openings");
    assert_eq!(error.kind(), ErrorKind::Storage);
}

/// Sees, from inside an effect, that its start has been told.
#[trace(name = "failing.sees_itself")]
async fn sees_itself(label: String) -> relive::Result<bool> {
    let told = relive::provided::<Told>()?;
    let told = told.lock();
    let label = relive::Value::Text(label);
    Ok(told.iter().any(|told| match &told.event {
        Event::TraceStarted(started) => started.input.to_value().get("label") == Some(&label),
        _ => false,
    }))
}

#[task(name = "failing.sees")]
async fn sees(number: u32) -> relive::Result<bool> {
    let calls = (0..10).map(|part| sees_itself(format!("{number}.{part}")));
    let first = try_join_all(calls).await?;
    Ok(first.into_iter().all(|seen| seen) && sees_itself(format!("{number}.last")).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_durable_is_told_every_event_in_order_and_before_anyone_who_waits() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let (builder, told) = listening(builder(&probe));
    let engine = open_with(&store, builder.provide(Arc::clone(&told))).await;
    let runs = (0..20).map(|number| {
        let (engine, told) = (engine.clone(), Arc::clone(&told));
        async move {
            let handle = engine.start(sees(number)).await.expect("starts");
            let run = handle.id();
            let is_told = |last: bool| {
                let is_it = |event: &Event| matches!(event, Event::TaskCompleted(_)) == last;
                told.lock().iter().any(|told| told.run == run && is_it(&told.event))
            };
            assert!(is_told(false), "the start is told before `start` returns");
            assert!(handle.await.expect("ends"), "a trace's start is told before its effect begins");
            assert!(is_told(true), "the end is told before the result is handed out");
            run
        }
    });
    let runs = guard(join_all(runs)).await;
    let told = told.lock();
    for run in &runs {
        let of_run: Vec<_> = told.iter().filter(|told| told.run == *run).collect();
        let positions: Vec<_> = of_run.iter().map(|told| told.sequence).collect();
        assert_eq!(positions, (0..of_run.len() as u64).map(Sequence).collect::<Vec<_>>());
        let told: Vec<_> = of_run.into_iter().map(|told| told.event.clone()).collect();
        assert_eq!(told, events(&engine, *run));
    }
}

#[tokio::test]
async fn a_listener_that_panics_harms_nobody() {
    let builder = builder(&Probe::default()).on_durable(|_| panic!("a bad listener"));
    let engine = open_with(&MemoryStore::new(), builder).await;
    assert_eq!(guard(engine.run(steps(0))).await.expect("runs"), 4);
    guard(engine.shutdown()).await.expect("shuts down");
}

#[tokio::test]
async fn a_crash_of_the_machine_takes_no_more_than_durability_allows() {
    for durability in [Durability::Sync, Durability::Buffered] {
        let (store, probe) = (FaultStore::new(), Probe::default());
        let (builder, told) = listening(builder(&probe).durability(durability));
        let engine = builder.open_store(Arc::new(store.clone())).await.expect("opens");
        let run = engine.start(gated(0)).await.expect("starts").id();
        probe.begun("gate", 1).await;
        // The end of the process never takes anything; a power cut what was not synced, from the end.
        let next = Probe::default();
        next.open("gate");
        let engine = open(&store.crash(Survives::All), &next).await;
        nothing_is_missing(&engine, &told);
        assert_eq!(guard(engine.handle::<u32, Error>(run).expect("known")).await.expect("goes on"), 2);
        let survived = store.surviving();
        match durability {
            Durability::Sync => nothing_is_missing(&open(&survived, &next).await, &told),
            Durability::Buffered => assert_eq!(all_rows(&survived), []),
        }
    }
}
