//! How an effect runs: on another thread, blocking, without a barrier, at most once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use relive::{Error, ErrorKind, Event, RunStatus, TraceOutcome, task, trace};
use relive_storage::{FaultStore, MemoryStore};

use super::cuts::{cut_everywhere, outcome_by_label, starts};
use super::support::{Probe, builder, events, guard, listening, open, open_with};
use relive_tests::manual_clock::ManualClock;

/// A gate for threads.
#[derive(Debug, Default)]
struct Gate {
    opened: Mutex<usize>,
    changed: Condvar,
    inside: AtomicUsize,
    inside_max: AtomicUsize,
}

impl Gate {
    /// Lets so many through, all together.
    fn open(&self, count: usize) {
        *self.opened.lock() = count;
        self.changed.notify_all();
    }

    /// Blocks this thread until its number is let through.
    fn pass(&self, number: usize) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.inside_max.fetch_max(inside, Ordering::SeqCst);
        let mut opened = self.opened.lock();
        while *opened < number {
            self.changed.wait(&mut opened);
        }
        drop(opened);
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

#[trace(name = "policies.step")]
async fn step(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    Ok(1)
}

#[trace(name = "policies.held")]
async fn held(label: String) -> relive::Result<u32> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

#[tokio::test]
async fn a_blocking_effect_runs_on_a_thread_that_is_none_of_the_runtimes() {
    let engine = open(&MemoryStore::new(), &Probe::default()).await;
    let (blocking, here) = guard(engine.run(sees_threads())).await.expect("runs");
    assert!(!blocking && here, "the runtime has this thread only: {blocking}, {here}");
}

#[trace(name = "policies.is_main_blocking", blocking)]
fn is_test_thread_blocking(main: String) -> relive::Result<bool> {
    Ok(format!("{:?}", std::thread::current().id()) == main)
}

#[trace(name = "policies.is_main_here")]
async fn is_test_thread(main: String) -> relive::Result<bool> {
    Ok(format!("{:?}", std::thread::current().id()) == main)
}

#[task(name = "policies.sees_threads")]
async fn sees_threads() -> relive::Result<(bool, bool)> {
    let main = format!("{:?}", std::thread::current().id());
    Ok((is_test_thread_blocking(main.clone()).await?, is_test_thread(main).await?))
}

#[task(name = "policies.mixed")]
async fn mixed() -> relive::Result<u32> {
    let (a, b, c) = tokio::join!(counted("a".into()), spawned("b".into()), step("c".into()));
    Ok(a? + b? + c? + counted("d".into()).await?)
}

#[trace(name = "policies.counted", blocking)]
fn counted(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    Ok(5)
}

#[trace(name = "policies.spawned", spawn)]
async fn spawned(label: String) -> relive::Result<u32> {
    Probe::here()?.begin(&label);
    tokio::task::yield_now().await;
    Ok(7)
}

#[tokio::test]
async fn blocking_and_spawned_effects_survive_a_crash_behind_any_write() {
    assert_eq!(cut_everywhere(mixed).await.0, 18);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocking_and_spawned_effects_survive_a_crash_behind_any_write_with_several_threads() {
    assert_eq!(cut_everywhere(mixed).await.0, 18);
}

/// Blocks at the gate, each call and each try at its own number.
#[trace(name = "policies.gated", blocking, retries = 1, backoff(first = "1ms", max = "1ms"), timeout = "1s")]
fn gated(label: &str) -> relive::Result<u32> {
    let (probe, gate) = (Probe::here()?, relive::provided::<Arc<Gate>>()?);
    probe.begin(label);
    let number = probe.count(label);
    gate.pass(number);
    probe.begin(&format!("-{label} passed"));
    Ok(number as u32)
}

#[task(name = "policies.times_out")]
async fn times_out() -> relive::Result<u32> {
    gated("gated").await
}

#[tokio::test]
async fn a_blocking_try_that_takes_too_long_is_over_for_the_log_and_no_other_begins_before_it_ends() {
    let (clock, probe, gate) = (ManualClock::default(), Probe::default(), Arc::new(Gate::default()));
    let (builder, told) = listening(builder(&probe).provide(Arc::clone(&gate)).clock(clock.clone()));
    let engine = open_with(&MemoryStore::new(), builder).await;
    let handle = engine.start(times_out()).await.expect("starts");
    let run = handle.id();
    probe.begun("gated", 1).await;
    clock.sleeping(1).await;
    clock.advance(Duration::from_secs(1));
    guard(async {
        let timed_out =
            |event: &Event| matches!(event, Event::TraceRetried(retried) if retried.error.kind == ErrorKind::TimedOut);
        while !told.lock().iter().any(|told| timed_out(&told.event)) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The failure is on record; the wait before the next try is over; and yet it does not begin.
    clock.sleeping(1).await;
    clock.advance(Duration::from_millis(1));
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(probe.count("gated"), 1);
    gate.open(1);
    probe.begun("gated", 2).await;
    gate.open(2);
    assert_eq!(guard(handle).await.expect("the second try is in time"), 2);
    assert_eq!(gate.inside_max.load(Ordering::SeqCst), 1, "never two at once");
    assert_eq!(events(&engine, run).iter().filter(|event| event.name() == "TraceRetried").count(), 1);
}

/// A blocking trace that loses a race; then the run waits.
#[task(name = "policies.outlived")]
async fn outlived() -> relive::Result<u32> {
    {
        let mut loser = Box::pin(gated("loser"));
        let winner = held("winner".into());
        relive::select! {
            _ = &mut loser => return Err(Error::msg("the loser won")),
            won = winner => won?,
        };
    }
    step("behind".into()).await
}

#[tokio::test]
async fn a_blocking_effect_outlives_its_drop_and_the_run_goes_on() {
    let (probe, gate) = (Probe::default(), Arc::new(Gate::default()));
    let builder = builder(&probe).provide(Arc::clone(&gate)).clock(ManualClock::default());
    let engine = open_with(&MemoryStore::new(), builder).await;
    let handle = engine.start(outlived()).await.expect("starts");
    let run = handle.id();
    probe.begun("loser", 1).await;
    probe.open("winner");
    assert_eq!(guard(handle).await.expect("goes on"), 1);
    assert_eq!(outcome_by_label(&events(&engine, run), "loser"), Some(&TraceOutcome::Dropped));
    assert_eq!(probe.count("-loser passed"), 0, "its thread is still there");
    gate.open(1);
    probe.begun("-loser passed", 1).await;
}

#[task(name = "policies.cancelled")]
async fn cancelled() -> relive::Result<u32> {
    gated("cancelled").await
}

#[tokio::test]
async fn a_new_attempt_waits_for_a_blocking_effect_of_the_one_before() {
    let (probe, gate) = (Probe::default(), Arc::new(Gate::default()));
    let builder = builder(&probe).provide(Arc::clone(&gate)).clock(ManualClock::default());
    let engine = open_with(&MemoryStore::new(), builder).await;
    let run = engine.start(cancelled()).await.expect("starts").id();
    probe.begun("cancelled", 1).await;
    guard(engine.cancel(run)).await.expect("cancels");
    let resuming = tokio::spawn({
        let engine = engine.clone();
        async move { guard(async { engine.resume(run).await }).await.expect("resumes").await }
    });
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(probe.count("cancelled"), 1);
    gate.open(2);
    guard(resuming).await.expect("is not aborted").expect("succeeds");
    assert_eq!(gate.inside_max.load(Ordering::SeqCst), 1, "never two at once");
    assert_eq!(probe.count("cancelled"), 2);
}

#[trace(name = "policies.blocking_panic", blocking)]
fn blocking_panic(label: &str) -> relive::Result<u32> {
    panic!("ouch {label}")
}

#[trace(name = "policies.spawned_panic", spawn)]
async fn spawned_panic(label: String) -> relive::Result<u32> {
    tokio::task::yield_now().await;
    panic!("ouch {label}")
}

#[task(name = "policies.panics")]
async fn panics() -> relive::Result<Vec<String>> {
    let (a, b) = tokio::join!(blocking_panic("blocking"), spawned_panic("spawned".into()));
    Ok([a, b].into_iter().filter_map(Result::err).map(|error| format!("{:?}: {error}", error.kind())).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_on_another_thread_is_a_recorded_failure_with_its_place() {
    let engine = open(&MemoryStore::new(), &Probe::default()).await;
    let messages = guard(engine.run(panics())).await.expect("both are caught");
    for (message, label) in messages.iter().zip(["blocking", "spawned"]) {
        let start = format!("Panicked: trace policies.{label}_panic panicked: ouch {label} at ");
        assert!(message.starts_with(&start) && message.contains("policies.rs:"), "{message}");
    }
    assert_eq!(messages.len(), 2);
}

/// Counts itself as dropped.
struct Dropped(Probe);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.begin("-aborted");
    }
}

#[trace(name = "policies.spawned_held", spawn)]
async fn spawned_held(label: String) -> relive::Result<u32> {
    let probe = Probe::here()?;
    let _dropped = Dropped(probe.clone());
    probe.hold(&label).await;
    Ok(1)
}

#[task(name = "policies.raced")]
async fn raced() -> relive::Result<u32> {
    let mut loser = Box::pin(spawned_held("loser".into()));
    relive::select! {
        _ = &mut loser => return Err(Error::msg("the loser won")),
        won = held("winner".into()) => won?,
    };
    drop(loser);
    step("behind".into()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spawned_effect_that_loses_a_race_is_aborted_and_the_log_says_so() {
    let probe = Probe::default();
    let engine = open(&MemoryStore::new(), &probe).await;
    let handle = engine.start(raced()).await.expect("starts");
    let run = handle.id();
    probe.begun("loser", 1).await;
    probe.open("winner");
    assert_eq!(guard(handle).await.expect("runs"), 1);
    probe.begun("-aborted", 1).await;
    assert_eq!(outcome_by_label(&events(&engine, run), "loser"), Some(&TraceOutcome::Dropped));
}

#[trace(name = "policies.waits_for_other", spawn)]
async fn waits_for_other(label: String) -> relive::Result<u32> {
    let gate = relive::provided::<Arc<Gate>>()?;
    Probe::here()?.begin(&label);
    // Blocks its thread: on one thread, the other would never come.
    let inside = gate.inside.fetch_add(1, Ordering::SeqCst) + 1;
    if inside == 2 {
        gate.open(1);
    }
    let mut opened = gate.opened.lock();
    while *opened < 1 {
        gate.changed.wait(&mut opened);
    }
    Ok(1)
}

#[task(name = "policies.in_parallel")]
async fn in_parallel() -> relive::Result<u32> {
    let (a, b) = tokio::join!(waits_for_other("a".into()), waits_for_other("b".into()));
    Ok(a? + b?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn spawned_effects_of_one_run_use_several_threads_at_once() {
    let engine = open_with(&MemoryStore::new(), builder(&Probe::default()).provide(Arc::new(Gate::default()))).await;
    assert_eq!(guard(engine.run(in_parallel())).await.expect("both run at once"), 2);
}

#[trace(name = "policies.charge", at_most_once)]
async fn charge(label: String) -> relive::Result<u32> {
    Probe::here()?.hold(&label).await;
    Ok(5)
}

#[task(name = "policies.pays")]
async fn pays() -> relive::Result<u32> {
    charge("charge".into()).await
}

#[tokio::test]
async fn what_runs_at_most_once_is_interrupted_by_a_crash_and_in_every_later_attempt() {
    let (store, probe) = (FaultStore::new(), Probe::default());
    let setting = builder(&probe).durability(relive::Durability::Buffered);
    let engine = setting.open_store(Arc::new(store.clone())).await.expect("opens");
    let run = engine.start(pays()).await.expect("starts").id();
    probe.begun("charge", 1).await;
    // Power is cut: its start is there although durability is buffered.
    let left = store.surviving();
    let next = Probe::default();
    let engine = open(&left, &next).await;
    let error = guard(engine.handle::<u32, Error>(run).expect("known")).await.expect_err("interrupted");
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(error.to_string().contains("policies.charge"), "{error}");
    assert_eq!(engine.status(run).expect("known"), RunStatus::Failed);
    let resumed = guard(async { engine.resume(run).await }).await.expect("resumes");
    assert_eq!(guard(resumed).await.expect_err("still not known").kind(), ErrorKind::Interrupted);
    assert_eq!(next.all_begun(), Vec::<String>::new());
    assert_eq!(starts(&events(&engine, run)).len(), 2, "an attempt each");
}

#[trace(name = "policies.pure", pure)]
async fn pure(number: u32) -> relive::Result<u32> {
    Ok(number + 1)
}

#[trace(name = "policies.impure")]
async fn impure(number: u32) -> relive::Result<u32> {
    Ok(number + 1)
}

#[task(name = "policies.many")]
async fn many(is_pure: bool) -> relive::Result<u32> {
    let mut sum = 0;
    for _ in 0..50 {
        sum = if is_pure { pure(sum).await? } else { impure(sum).await? };
    }
    Ok(sum)
}

#[tokio::test]
async fn a_chain_of_traces_waits_for_the_disk_once_each_unless_they_are_pure() {
    for is_pure in [true, false] {
        let store = FaultStore::new();
        let engine = builder(&Probe::default()).open_store(Arc::new(store.clone())).await.expect("opens");
        let handle = engine.start(many(is_pure)).await.expect("starts");
        let run = handle.id();
        assert_eq!(guard(handle).await.expect("runs"), 50);
        assert_eq!(events(&engine, run).len(), 102, "both are recorded");
        // How many the pure ones make depends on the disk; none waits for any.
        assert!(is_pure || (51..60).contains(&store.commit_count()), "{} commits", store.commit_count());
    }
}
