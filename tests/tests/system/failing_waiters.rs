//! A failed commit is told to all who wait for anything at all, whosever commit it was: runs that wait for a signal, a child,
//! a time, a turn, and whoever awaits, joins, cancels, signals or resumes one. No effect begins after it.

use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::future::join_all;
use parking_lot::{Condvar, Mutex};
use relive::{Builder, Engine, Error, ErrorKind, Event, RunId, RunStatus, task, trace};
use relive_engine::codec;
use relive_engine::index::{Standing, UNFINISHED, UnfinishedRecord};
use relive_storage::{Fault, FaultStore, Read};
use relive_tests::manual_clock::ManualClock;

use super::retries::seconds;
use super::support::{Probe, builder, events, guard, listening};

#[trace(name = "failing_waiters.step")]
async fn step(label: String) -> relive::Result<usize> {
    Probe::here()?.begin(&label);
    Ok(1)
}

#[trace(name = "failing_waiters.held")]
async fn held(label: String) -> relive::Result<usize> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

#[trace(name = "failing_waiters.tried", retries = 3, backoff(first = "1h", jitter = false))]
async fn tried() -> relive::Result<usize> {
    Probe::here()?.begin("try");
    Err(Error::msg("not yet"))
}

#[trace(name = "failing_waiters.around")]
async fn around() -> relive::Result<usize> {
    tried().await
}

#[trace(name = "failing_waiters.fails")]
async fn fails() -> relive::Result<usize> {
    Probe::here()?.begin("attempt");
    Err(Error::msg("not yet"))
}

#[task(name = "failing_waiters.attempts", retries = 3, backoff(first = "1h", jitter = false))]
async fn attempts() -> relive::Result<usize> {
    fails().await
}

/// Waits in this way; what is behind it must not begin once a commit failed.
#[task(name = "failing_waiters.waits", allow(signal))]
async fn waits(how: String) -> relive::Result<usize> {
    let waited = match how.as_str() {
        "signal" => relive::signal::<usize>("go").await,
        "sleep" => relive::sleep(seconds(3600)).await.map(|()| 1),
        "limited signal" => relive::timeout(seconds(3600), relive::signal::<usize>("go")).await?,
        "effect" => held("gate".into()).await,
        "retry" => tried().await,
        "nested retry" => around().await,
        "attempt" => attempts().await,
        "child" => Box::pin(waits("signal".into())).await,
        _ => Err(Error::msg(how)),
    };
    Ok(waited.unwrap_or(100) + step("behind".into()).await.unwrap_or(100))
}

#[task(name = "failing_waiters.other")]
async fn other() -> relive::Result<usize> {
    step("other".into()).await
}

struct Setup {
    store: FaultStore,
    engine: Engine,
    probe: Probe,
    clock: ManualClock,
}

async fn open(set: impl FnOnce(Builder) -> Builder) -> Setup {
    let (store, probe, clock) = (FaultStore::new(), Probe::default(), ManualClock::default());
    let builder = set(builder(&probe)).clock(clock.clone());
    let engine = builder.open_store(Arc::new(store.clone())).await.expect("opens");
    Setup { store, engine, probe, clock }
}

impl Setup {
    /// Another run's commit fails, and with it everything.
    async fn break_disk(&self) {
        self.store.fail(self.store.commit_count(), Fault::NotApplied);
        is_storage(&guard(self.engine.start(other())).await.expect_err("its first commit fails"));
    }

    /// Waits until nothing is written any more: the runs have come to their waits.
    async fn come_to_rest(&self, run: RunId, event_count: usize) {
        guard(async {
            while events(&self.engine, run).len() < event_count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn is_asleep(&self, run: RunId) {
        let is_asleep = || {
            let row = self.store.get(UNFINISHED, run.as_bytes()).expect("memory does not fail")?;
            let record = codec::open::<UnfinishedRecord>(run.as_bytes(), &row).expect("it is whole").0;
            (matches!(record.standing, Standing::Asleep { .. }) || record.retry_at.is_some()).then_some(())
        };
        guard(async {
            while is_asleep().is_none() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Whoever asks for a run later is told why it stands still, too.
    async fn says_why(&self, run: RunId) {
        match self.engine.status(run) {
            Ok(RunStatus::Stopped { message: reason }) => assert!(reason.contains("was made to fail"), "{reason}"),
            other => panic!("the status is {other:?}"),
        }
        let handle = self.engine.handle::<usize, Error>(run).expect("the run is known");
        is_storage(&guard(handle).await.expect_err("it stands still"));
        is_storage(&guard(self.engine.signal(run, "go", 1)).await.expect_err("not recorded"));
        is_storage(&guard(self.engine.cancel(run)).await.expect_err("not cancelled"));
        is_storage(&guard(self.engine.resume(run)).await.expect_err("not resumed"));
        is_storage(&guard(self.engine.run(waits("signal".into()))).await.expect_err("not run"));
    }

    /// Time goes by, gates are opened: nothing begins.
    async fn nothing_begins(&self) {
        let begun = self.probe.all_begun();
        self.clock.advance(seconds(100_000));
        self.probe.open("gate");
        is_storage(&guard(self.engine.shutdown()).await.expect_err("it had failed"));
        assert_eq!(self.probe.all_begun(), begun);
    }
}

/// The first failure, as everyone is told it.
fn is_storage(error: &Error) {
    let is_first = error.to_string().contains("was made to fail") && error.to_string().contains("opened again");
    assert!(error.kind() == ErrorKind::Storage && is_first, "{error:?}");
}

#[tokio::test]
async fn a_run_that_waits_is_told_of_a_commit_of_another_run_that_failed() {
    // How it waits, and how many events it has then.
    for (how, event_count) in [
        ("signal", 2),
        ("sleep", 2),
        ("limited signal", 3),
        ("effect", 2),
        ("retry", 3),
        ("nested retry", 4),
        ("child", 2),
    ] {
        let setup = open(|builder| builder.sleep_out_after(Duration::MAX)).await;
        let handle = setup.engine.start(waits(how.into())).await.expect("starts");
        let (run, joined) = (handle.id(), setup.engine.start(waits(how.into())).await.expect("joins"));
        setup.come_to_rest(run, event_count).await;
        let waiting = tokio::spawn(handle.into_future());
        setup.break_disk().await;
        is_storage(&guard(waiting).await.expect("no panic").expect_err(how));
        is_storage(&guard(joined).await.expect_err(how));
        setup.says_why(run).await;
        assert_eq!(events(&setup.engine, run).len(), event_count, "{how}: its log stands");
        setup.nothing_begins().await;
    }
}

/// A waker of the program's own.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker of the program's");
    }
}

#[tokio::test]
async fn a_waker_that_panics_keeps_nobody_from_being_told_of_a_commit_that_failed() {
    let setup = open(|builder| builder.sleep_out_after(Duration::MAX)).await;
    let (mut panicking, mut waiting) = (Vec::new(), Vec::new());
    // Whichever of them is told first.
    for number in 0..32 {
        let handle = setup.engine.start(waits("signal".into()).id(format!("{number}"))).await.expect("starts");
        setup.come_to_rest(handle.id(), 2).await;
        let mut future = handle.into_future();
        let waker = if number % 2 == 0 { Waker::from(Arc::new(Panics)) } else { Waker::noop().clone() };
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        if number % 2 == 0 { panicking.push(future) } else { waiting.push(tokio::spawn(future)) }
    }
    setup.break_disk().await;
    for future in waiting {
        is_storage(&guard(future).await.expect("no panic").expect_err("it waits"));
    }
    for future in panicking {
        is_storage(&guard(future).await.expect_err("it is told when it asks"));
    }
    // The committer's thread goes on, too.
    is_storage(&guard(setup.engine.start(other())).await.expect_err("nothing is written"));
    setup.nothing_begins().await;
}

#[tokio::test]
async fn whoever_awaits_a_run_that_left_memory_is_told_of_a_commit_that_failed() {
    for (how, is_held) in [("sleep", true), ("sleep", false), ("attempt", true), ("attempt", false)] {
        let setup = open(|builder| builder.sleep_out_after(Duration::ZERO)).await;
        let (run, handle) = match how {
            "sleep" => {
                let handle = setup.engine.start(waits(how.into())).await.expect("starts");
                (handle.id(), handle)
            }
            _ => {
                let handle = setup.engine.start(attempts()).await.expect("starts");
                (handle.id(), handle)
            }
        };
        setup.is_asleep(run).await;
        let waiting = is_held.then(|| tokio::spawn(handle.into_future()));
        setup.break_disk().await;
        if let Some(waiting) = waiting {
            is_storage(&guard(waiting).await.expect("no panic").expect_err(how));
        }
        setup.says_why(run).await;
        setup.nothing_begins().await;
    }
}

#[tokio::test]
async fn a_run_that_waits_for_its_turn_is_told_of_a_commit_that_failed() {
    let setup = open(|builder| builder.runs_max(1)).await;
    let first = setup.engine.start(waits("effect".into())).await.expect("starts");
    setup.probe.begun("gate", 1).await;
    let second = setup.engine.start(other()).await.expect("starts");
    let run = second.id();
    assert_eq!(second.status(), RunStatus::Queued);
    setup.store.fail(setup.store.commit_count(), Fault::NotApplied);
    is_storage(&guard(setup.engine.start(waits("sleep".into()))).await.expect_err("its first commit fails"));
    is_storage(&guard(first).await.expect_err("under way"));
    is_storage(&guard(second).await.expect_err("queued"));
    setup.says_why(run).await;
    setup.nothing_begins().await;
}

#[tokio::test]
async fn what_is_asked_as_the_disk_fails_is_told_that() {
    let setup = open(|builder| builder.sleep_out_after(Duration::ZERO)).await;
    let mut runs = Vec::new();
    for how in ["signal", "limited signal", "sleep", "unknown"] {
        let handle = setup.engine.start(waits(how.into())).await.expect("starts");
        runs.push(handle.id());
        if how == "unknown" {
            assert!(guard(handle).await.is_ok(), "it goes on without");
        }
    }
    let failed = setup.engine.start(fails_at_once()).await.expect("starts");
    let failed_run = failed.id();
    assert!(guard(failed).await.is_err());
    setup.come_to_rest(runs[0], 2).await;
    setup.come_to_rest(runs[1], 3).await;
    setup.is_asleep(runs[2]).await;
    setup.store.set_stop_after(setup.store.commit_count());
    let engine = &setup.engine;
    let (started, signalled, cancelled, slept, resumed) = guard(async {
        tokio::join!(
            engine.start(other().id("job")),
            engine.signal(runs[0], "go", 1),
            engine.cancel(runs[1]),
            engine.cancel(runs[2]),
            engine.resume(failed_run),
        )
    })
    .await;
    let errors = [started.err(), signalled.err(), cancelled.err(), slept.err(), resumed.err()];
    for (index, error) in errors.into_iter().enumerate() {
        let error = error.unwrap_or_else(|| panic!("nothing was written, and number {index} is told that it was"));
        assert_eq!(error.kind(), ErrorKind::Storage, "number {index}: {error}");
        assert!(error.to_string().contains("comes after the fault"), "number {index}: {error}");
    }
}

#[task(name = "failing_waiters.fails_at_once")]
async fn fails_at_once() -> relive::Result<usize> {
    Err(Error::msg("as it must"))
}

/// A gate for threads.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

#[trace(name = "failing_waiters.blocks")]
fn blocks() -> relive::Result<usize> {
    Probe::here()?.begin("blocks");
    let gate = relive::provided::<Arc<Gate>>()?;
    let mut is_open = gate.0.lock();
    while !*is_open {
        gate.1.wait(&mut is_open);
    }
    Ok(1)
}

#[task(name = "failing_waiters.blocked")]
async fn blocked() -> relive::Result<usize> {
    Ok(blocks().unwrap_or(100) + step("behind".into()).await.unwrap_or(100))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_awaits_a_run_whose_function_does_not_return_is_told_of_a_commit_that_failed() {
    let gate = Arc::new(Gate::default());
    let setup = open(|builder| builder.provide(Arc::clone(&gate))).await;
    let starting = {
        let engine = setup.engine.clone();
        tokio::spawn(async move { engine.run(blocked()).await })
    };
    setup.probe.begun("blocks", 1).await;
    let run = setup.engine.runs().next().expect("it is there").expect("it is whole").run;
    let cancelling = {
        let engine = setup.engine.clone();
        tokio::spawn(async move { engine.cancel(run).await })
    };
    setup.break_disk().await;
    // The function is still on its thread.
    is_storage(&guard(starting).await.expect("no panic").expect_err("awaited"));
    is_storage(&guard(cancelling).await.expect("no panic").expect_err("not cancelled"));
    setup.says_why(run).await;
    *gate.0.lock() = true;
    gate.1.notify_all();
    setup.nothing_begins().await;
}

#[task(name = "failing_waiters.numbered")]
async fn numbered(number: usize) -> relive::Result<usize> {
    Ok(number + step("first".into()).await? + step("second".into()).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_end_is_durable_has_ended_whatever_fails_after_it() {
    // One commit more each time, until nothing fails.
    for commit_count in 2.. {
        let (store, probe) = (FaultStore::stop_after(commit_count), Probe::default());
        let (builder, told) = listening(builder(&probe));
        let engine = builder.open_store(Arc::new(store.clone())).await.expect("opens");
        let starts = join_all((0..5).map(|number| engine.start(numbered(number)))).await;
        let runs = starts.into_iter().flatten().map(|handle| async move { (handle.id(), handle.await) });
        let ended = guard(join_all(runs)).await;
        let is_told = |run: RunId| {
            told.lock().iter().any(|told| told.run == run && matches!(told.event, Event::TaskCompleted(_)))
        };
        let ended_count = ended.iter().filter(|(_, result)| result.is_ok()).count();
        for (run, result) in ended {
            assert_eq!(result.is_ok(), is_told(run), "{commit_count}: {result:?}");
        }
        if ended_count == 5 {
            return;
        }
    }
}
