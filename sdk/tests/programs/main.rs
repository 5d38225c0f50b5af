//! Any program over traces survives any interruption: random programs, cut after any commit, resumed, replayed.
//!
//! `RELIVE_PROGRAMS=N` runs N programs a property instead of the default.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod body;
mod director;
mod program;
mod rules;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use relive::{Engine, Error, RunId, Sequence};

use crate::director::{Director, Recorder, is_step, steps, succeeded};
use crate::program::{Family, Node, programs};

/// A hang is a failure: far more than any program here takes.
const HANG: Duration = Duration::from_secs(60);

/// An outcome that two runs can be compared by.
pub(crate) type Outcome = Result<i64, String>;

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    // Programs panic in masses.
    relive_engine::panic::keep_quiet(true);
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

async fn open(store: &Arc<Recorder>, director: &Director) -> Engine {
    // Every cut is a death that no run is to blame for: none is parked for it.
    let builder = Engine::builder().provide(director.clone()).clock(director.clone()).crashes_max(u32::MAX);
    // Where time stands still, nobody who sleeps would be due.
    let builder = builder.sleep_out_after(if director.rests() { Duration::ZERO } else { Duration::MAX });
    let engine = builder.open_store(Arc::clone(store) as _).await.unwrap();
    director.set_engine(Some(engine.clone()));
    engine
}

fn comparable(result: Result<i64, Error>) -> Outcome {
    result.map_err(|error| format!("{:?}: {error}", error.kind()))
}

/// Runs a program from nothing.
async fn undisturbed(node: &Node, director: &Director) -> (RunId, Outcome, Arc<Recorder>) {
    let store = Arc::new(Recorder::new(director.clone()));
    let engine = open(&store, director).await;
    let handle = engine.start(body::program(node.clone())).await.unwrap();
    let run = handle.id();
    let outcome = comparable(handle.await);
    director.set_engine(None);
    engine.shutdown().await.unwrap();
    (run, outcome, store)
}

/// Opens what a crash left, and waits until the run has ended.
async fn resumed(run: RunId, store: &Arc<Recorder>, director: &Director) -> Outcome {
    let engine = open(store, director).await;
    let outcome = comparable(engine.handle::<i64, Error>(run).unwrap().await);
    director.set_engine(None);
    engine.shutdown().await.unwrap();
    outcome
}

/// Replays a finished run: same result, nothing appended.
async fn replayed(run: RunId, store: &Arc<Recorder>, director: &Director, outcome: &Outcome) {
    let engine = open(store, director).await;
    let before = store.writes().len();
    let again = engine.replay(run).await.unwrap().expect("the log holds the whole run");
    let again = match again {
        relive::TaskOutcome::Ok(payload) => Ok(payload.decode().unwrap()),
        relive::TaskOutcome::Err(record) => Err(format!("{:?}: {}", record.kind, record.to_error())),
        other => Err(format!("{other:?}")),
    };
    assert_eq!(&again, outcome, "a replay has the same result");
    assert_eq!(store.writes().len(), before, "a replay appends nothing");
    director.set_engine(None);
    engine.shutdown().await.unwrap();
}

/// The steps alone: without what stands beside them, and without where a step is cut into records.
fn own_steps(run: RunId, writes: &[relive_storage::Write]) -> Vec<Vec<String>> {
    let mut whole: Vec<Vec<String>> = Vec::new();
    for mut record in steps(run, writes).into_iter().filter(|record| !record.is_empty()) {
        let begins = record.iter().any(|event| event.starts_with("started") || event.starts_with("delivered"));
        match whole.last_mut() {
            Some(step) if !begins => {
                step.append(&mut record);
                step.sort();
            }
            _ => whole.push(record),
        }
    }
    whole
}

/// The first write is the store's epoch, the second creates the run.
const WRITES_BEFORE_RUN: usize = 2;

/// Effects end in an order and with values that depend on nothing but the program: however often it is interrupted, the
/// log is the same.
async fn interruptions_leave_no_mark(node: &Node, seed: u64, cuts: &[prop::sample::Index]) {
    let director = Director::scheduled(seed);
    let (run, outcome, store) = undisturbed(node, &director).await;
    replayed(run, &store, &director, &outcome).await;
    let writes = store.writes();
    let whole = own_steps(run, &writes);
    for cut in cuts {
        let kept = WRITES_BEFORE_RUN + cut.index(writes.len() - WRITES_BEFORE_RUN);
        let director = Director::scheduled(seed);
        let cut = Arc::new(Recorder::cut(&writes[..kept], director.clone()));
        let again = resumed(run, &cut, &director).await;
        assert_eq!(again, outcome, "interrupted after {kept} writes: the result");
        assert_eq!(own_steps(run, &cut.writes()), whole, "interrupted after {kept} writes: the log");
    }
}

/// Effects end when they like and with what they like: what is logged decides, and what follows it may differ.
async fn the_log_decides(node: &Node, cuts: &[prop::sample::Index], director: fn() -> Director) {
    let new_director = director;
    let director = new_director();
    let (run, mut outcome, store) = undisturbed(node, &director).await;
    replayed(run, &store, &director, &outcome).await;
    let mut writes = store.writes();
    for cut in cuts {
        let logged = steps(run, &writes);
        let kept = cut.index(logged.len()) + 1;
        // Later lives of the process begin with a write that is no step.
        let position = writes.iter().enumerate().filter(|(_, write)| is_step(run, write));
        let position = position.map(|(index, _)| index + 1).nth(kept - 1).unwrap();
        let left = Arc::new(Recorder::cut(&writes[..position], director.clone()));
        if kept < logged.len() {
            let before = succeeded(&left.writes());
            let director = new_director();
            let left = Arc::new(Recorder::cut(&writes[..position], director.clone()));
            outcome = resumed(run, &left, &director).await;
            let again: Vec<_> = director.begun().into_keys().filter(|key| before.contains(key)).collect();
            assert_eq!(again, Vec::<String>::new(), "what succeeded does not run again");
            replayed(run, &left, &director, &outcome).await;
            writes = left.writes();
            assert_eq!(steps(run, &writes)[..kept], logged[..kept], "what was logged stays");
            continue;
        }
        replayed(run, &left, &director, &outcome).await;
        writes = left.writes();
        assert_eq!(steps(run, &writes)[..kept], logged[..kept], "what was logged stays");
    }
}

fn check<T: std::fmt::Debug>(default: u32, strategy: impl Strategy<Value = T>, property: impl AsyncFn(&T)) {
    let cases = std::env::var("RELIVE_PROGRAMS").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let runtime = runtime();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let result = TestRunner::new(config).run(&strategy, |value| {
        let checked = std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async { tokio::time::timeout(HANG, property(&value)).await.expect("it hangs") });
        });
        std::panic::catch_unwind(checked).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            TestCaseError::fail(text.unwrap_or_else(|| "a panic".to_owned()))
        })
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn cuts(count: usize) -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), count)
}

#[test]
fn an_interrupted_program_ends_with_the_same_result_and_the_same_log() {
    check(1_500, (programs(Family::Ordered), any::<u64>(), cuts(4)), async |(node, seed, cuts)| {
        interruptions_leave_no_mark(node, *seed, cuts).await;
    });
}

#[test]
fn an_interrupted_program_that_chooses_by_chance_ends_with_the_same_result_and_the_same_log() {
    check(800, (programs(Family::ByChance), any::<u64>(), cuts(4)), async |(node, seed, cuts)| {
        interruptions_leave_no_mark(node, *seed, cuts).await;
    });
}

#[test]
fn what_is_logged_decides_whatever_effects_do() {
    check(1_000, (programs(Family::Ordered), cuts(3)), async |(node, cuts)| {
        the_log_decides(node, cuts, Director::free).await;
    });
}

#[test]
fn what_is_logged_decides_whatever_effects_and_chance_do() {
    check(1_000, (programs(Family::ByChance), cuts(3)), async |(node, cuts)| {
        the_log_decides(node, cuts, Director::free).await;
    });
}

#[test]
fn what_is_logged_decides_whatever_streams_signals_and_time_do() {
    check(1_000, (programs(Family::Free), cuts(3)), async |(node, cuts)| {
        the_log_decides(node, cuts, Director::free).await;
    });
}

/// Whatever only waits leaves memory, and is rebuilt from its log.
#[test]
fn what_is_logged_decides_however_often_runs_are_put_to_sleep() {
    check(1_000, (programs(Family::Free), cuts(3)), async |(node, cuts)| {
        the_log_decides(node, cuts, Director::resting).await;
    });
}

/// Cancelled after any write: the log resumes, and what had succeeded is not run again.
async fn cancelled_and_resumed(node: &Node, cut: prop::sample::Index) {
    let (_, _, store) = undisturbed(node, &Director::free()).await;
    let director = Director::free();
    let at = WRITES_BEFORE_RUN + cut.index(store.writes().len());
    let store = Arc::new(Recorder::new(director.clone()));
    let engine = open(&store, &director).await;
    let reached = store.reaches(at);
    let handle = engine.start(body::program(node.clone())).await.unwrap();
    let run = handle.id();
    let mut ended = std::pin::pin!(handle.into_future());
    let outcome = tokio::select! {
        outcome = &mut ended => Some(outcome),
        _ = reached => None,
    };
    if outcome.is_none() {
        engine.cancel(run).await.unwrap();
    }
    let mut before = succeeded(&store.writes());
    // Failures run again, and may fail again.
    for _ in 0..3 {
        director.forget_begun();
        match engine.resume(run).await {
            Ok(handle) => drop(handle.await),
            Err(error) => {
                assert_eq!(error.kind(), relive::ErrorKind::Ended, "{error}");
                break;
            }
        }
        let again: Vec<_> = director.begun().into_keys().filter(|key| before.contains(key)).collect();
        assert_eq!(again, Vec::<String>::new(), "what succeeded in an earlier attempt does not run again");
        before = succeeded(&store.writes());
        engine.replay(run).await.unwrap().expect("the log holds the whole attempt");
    }
    director.set_engine(None);
    engine.shutdown().await.unwrap();
}

#[test]
fn a_program_that_is_cancelled_anywhere_resumes_with_what_it_had() {
    let strategy = (programs(Family::Free), any::<prop::sample::Index>());
    check(2_000, strategy, async |(node, cut)| cancelled_and_resumed(node, *cut).await);
}

/// Positions are what the log's keys say.
#[test]
fn steps_are_numbered_without_a_gap() {
    let runtime = runtime();
    let node = Node::Wide(32);
    let (run, _, store) = runtime.block_on(undisturbed(&node, &Director::scheduled(1)));
    let events: Vec<_> = relive_engine::inspect::events(store, run).map(|event| event.unwrap().sequence).collect();
    assert_eq!(events, (0..events.len() as u64).map(Sequence).collect::<Vec<_>>());
}
