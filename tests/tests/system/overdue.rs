//! What was over while the process was down is over before anything begins again, and in the order in which it was.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use relive::{Error, ErrorKind, RunStatus, task, trace};
use relive_storage::MemoryStore;

use super::crashes::{Life, first_life, life_with};
use super::retries::seconds;
use super::support::{Probe, builder, event_names, guard, open_with};
use relive_tests::manual_clock::ManualClock;

#[trace(name = "overdue.held")]
async fn held(label: String) -> relive::Result<u64> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

#[trace(name = "overdue.in_time", deadline = "10s")]
async fn in_time(label: String) -> relive::Result<u64> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

/// Its effect leaves a copy of the store as it is then, if it is given where to.
#[trace(name = "overdue.plainly")]
fn plainly(label: String) -> relive::Result<u64> {
    Probe::here()?.begin(&label);
    if let Ok(cut) = relive::provided::<Cut>() {
        *cut.image.lock() = Some(cut.store.copy());
    }
    Ok(1)
}

#[derive(Clone)]
struct Cut {
    store: MemoryStore,
    image: Arc<Mutex<Option<MemoryStore>>>,
}

fn told(result: relive::Result<relive::Result<u64>>) -> String {
    match result {
        Ok(result) => format!("{:?}", result.map_err(|error| error.kind())),
        Err(error) => format!("{:?}", error.kind()),
    }
}

#[task(name = "overdue.limited", cache = "off")]
async fn limited(label: String) -> relive::Result<String> {
    Ok(told(relive::timeout(seconds(10), held(label)).await))
}

#[task(name = "overdue.child", cache = "off")]
async fn child(label: String) -> relive::Result<u64> {
    held(label).await
}

#[task(name = "overdue.limits_a_child", cache = "off")]
async fn limits_a_child(label: String) -> relive::Result<String> {
    Ok(told(relive::timeout(seconds(10), child(label)).await))
}

/// Says that the program was edited, so that the task below does not fit its log.
#[derive(Debug)]
struct Edited;

#[task(name = "overdue.is_edited", cache = "off")]
async fn is_edited(label: String) -> relive::Result<u64> {
    if relive::provided::<Edited>().is_ok() {
        held("edited".into()).await?;
    }
    child(label).await
}

#[task(name = "overdue.limits_a_signal", cache = "off")]
async fn limits_a_signal() -> relive::Result<String> {
    Ok(told(relive::timeout(seconds(10), relive::signal::<u64>("go")).await))
}

#[task(name = "overdue.has_a_deadline", cache = "off", deadline = "25s")]
async fn has_a_deadline(label: String) -> relive::Result<u64> {
    held(label).await
}

#[task(name = "overdue.plain_with_a_deadline", cache = "off", deadline = "25s")]
async fn plain_with_a_deadline(label: String) -> relive::Result<u64> {
    plainly(label)
}

/// Says in which order its sleeps end, and stops what it does meanwhile when all have.
#[task(name = "overdue.in_order", cache = "off")]
async fn in_order(lengths: Vec<u64>) -> relive::Result<Vec<u64>> {
    use futures::stream::{FuturesUnordered, StreamExt};
    let sleep = async |secs: u64| relive::sleep(seconds(secs)).await.map(|()| secs);
    let mut sleeps: FuturesUnordered<_> = lengths.into_iter().map(sleep).collect();
    let all = async {
        let mut ended = Vec::new();
        while let Some(secs) = sleeps.next().await {
            ended.push(secs?);
        }
        relive::Result::Ok(ended)
    };
    relive::select! {
        number = held("meanwhile".into()) => number.map(|number| vec![number]),
        ended = all => ended,
    }
}

/// Two limits at once, around a trace whose own time is over between them.
#[task(name = "overdue.three", cache = "off")]
async fn three() -> relive::Result<Vec<String>> {
    let order = Mutex::new(Vec::new());
    let say = |what: &str, result: String| order.lock().push(format!("{what}: {result}"));
    futures::join!(
        async { say("late", told(relive::timeout(seconds(20), held("late".into())).await)) },
        async { say("middle", told(Ok(in_time("middle".into()).await))) },
        async { say("early", told(relive::timeout(seconds(5), held("early".into())).await)) },
    );
    Ok(order.into_inner())
}

/// Its first life ends when this has begun; the next begins so much later.
async fn dies_at(life: Life, store: &MemoryStore, label: &str, later: u64) -> Life {
    life.probe.begun(label, 1).await;
    life.crash(store, seconds(later)).await.1
}

async fn outcome(life: &Life, run: relive::RunId) -> relive::Result<String> {
    guard(life.engine.handle::<String, Error>(run)?).await
}

#[tokio::test]
async fn a_limit_that_was_over_while_the_process_was_down_wins_before_what_it_limits_begins_again() {
    let (store, life) = first_life().await;
    let run = life.engine.start(limited("step".into())).await.expect("starts").id();
    let next = dies_at(life, &store, "step", 20).await;
    assert_eq!(outcome(&next, run).await.expect("ends"), "TimedOut");
    assert_eq!(next.probe.count("step"), 0, "it does not begin");
}

#[tokio::test]
async fn a_limit_that_is_not_over_after_a_restart_has_what_it_limits_begin_again() {
    let (store, life) = first_life().await;
    let run = life.engine.start(limited("step".into())).await.expect("starts").id();
    let next = dies_at(life, &store, "step", 9).await;
    next.probe.open("step");
    assert_eq!(outcome(&next, run).await.expect("ends"), "Ok(1)");
}

#[tokio::test]
async fn sleeps_that_are_over_end_in_the_order_in_which_they_were_and_before_anything_begins() {
    let (store, life) = first_life().await;
    let run = life.engine.start(in_order(vec![30, 10, 20, 11])).await.expect("starts").id();
    let next = dies_at(life, &store, "meanwhile", 60).await;
    let ended = guard(next.engine.handle::<Vec<u64>, Error>(run).expect("known")).await.expect("ends");
    assert_eq!(ended, [10, 11, 20, 30]);
    assert_eq!(next.probe.count("meanwhile"), 0);
}

#[tokio::test]
async fn limits_and_deadlines_of_traces_end_by_their_moments_and_none_of_their_effects_begins() {
    let (store, life) = first_life().await;
    let run = life.engine.start(three()).await.expect("starts").id();
    for label in ["late", "middle"] {
        life.probe.begun(label, 1).await;
    }
    let next = dies_at(life, &store, "early", 60).await;
    let order = guard(next.engine.handle::<Vec<String>, Error>(run).expect("known")).await.expect("ends");
    assert_eq!(order, ["early: TimedOut", "middle: Err(TimedOut)", "late: TimedOut"]);
    assert_eq!(next.probe.all_begun(), Vec::<String>::new());
}

#[tokio::test]
async fn a_task_whose_deadline_was_over_while_the_process_was_down_begins_nothing() {
    let (store, life) = first_life().await;
    let run = life.engine.start(has_a_deadline("effect".into())).await.expect("starts").id();
    let next = dies_at(life, &store, "effect", 60).await;
    let error = guard(next.engine.handle::<u64, Error>(run).expect("known")).await.expect_err("it is too late");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert_eq!(next.probe.count("effect"), 0);
}

#[tokio::test]
async fn a_plain_function_does_not_begin_again_when_its_tasks_deadline_is_over() {
    let (store, probe, clock) = (MemoryStore::new(), Probe::default(), ManualClock::default());
    let cut = Cut { store: store.clone(), image: Arc::default() };
    let settings = builder(&probe).clock(clock.clone()).provide(cut.clone());
    let engine = open_with(&store, settings).await;
    let run = engine.start(plain_with_a_deadline("plain".into())).await.expect("starts").id();
    guard(engine.handle::<u64, Error>(run).expect("known")).await.expect("the first life goes on");
    let image = cut.image.lock().take().expect("it was taken while the effect was under way");
    for (down, begun) in [(24, 1), (26, 0)] {
        let (left, probe) = (image.copy(), Probe::default());
        let next = open_with(&left, builder(&probe).clock(clock.next_life(seconds(down)))).await;
        let result = guard(next.handle::<u64, Error>(run).expect("known")).await;
        assert_eq!(result.map_err(|error| error.kind()), if begun == 1 { Ok(1) } else { Err(ErrorKind::TimedOut) });
        assert_eq!(probe.count("plain"), begun, "down for {down} s");
        assert!(next.replay(run).await.is_ok_and(|ended| ended.is_some()), "it replays");
    }
}

#[tokio::test]
async fn a_child_whose_parents_limit_was_over_while_the_process_was_down_is_cancelled_before_it_begins_anything() {
    for runs_max in [1, 100] {
        let (store, life) = life_with(|builder| builder.runs_max(runs_max)).await;
        let run = life.engine.start(limits_a_child("step".into())).await.expect("starts").id();
        life.probe.begun("step", 1).await;
        let (_, next) = life.crash_into(&store, seconds(20), |builder| builder.runs_max(runs_max)).await;
        assert_eq!(outcome(&next, run).await.expect("ends"), "TimedOut");
        let mut children = next.engine.runs().map(|run| run.expect("readable").run).filter(|other| *other != run);
        let child = children.next().expect("it was started");
        let ended = guard(next.engine.handle::<u64, Error>(child).expect("known")).await.expect_err("it was let go");
        assert_eq!(ended.kind(), ErrorKind::Cancelled, "{ended}");
        assert_eq!(next.probe.count("step"), 0);
    }
}

#[tokio::test]
async fn a_child_goes_on_when_its_parents_limit_is_not_over() {
    let (store, life) = first_life().await;
    let run = life.engine.start(limits_a_child("step".into())).await.expect("starts").id();
    let next = dies_at(life, &store, "step", 5).await;
    next.probe.begun("step", 1).await;
    next.probe.open("step");
    assert_eq!(outcome(&next, run).await.expect("ends"), "Ok(1)");
}

#[tokio::test]
async fn a_child_goes_on_although_its_parent_cannot() {
    let (store, life) = first_life().await;
    let run = life.engine.start(is_edited("step".into())).await.expect("starts").id();
    life.probe.begun("step", 1).await;
    let (_, next) = life.crash_into(&store, seconds(5), |builder| builder.provide(Edited)).await;
    next.probe.begun("step", 1).await;
    let error = guard(next.engine.handle::<u64, Error>(run).expect("known")).await.expect_err("it waits");
    assert_eq!(error.kind(), ErrorKind::Diverged, "{error}");
}

#[tokio::test]
async fn a_signal_counts_by_when_it_was_sent_also_if_the_limit_was_over_before_the_run_went_on() {
    for (sent, expected) in [(5, "Ok(7)"), (15, "TimedOut")] {
        let (store, life) = first_life().await;
        let run = life.engine.start(limits_a_signal()).await.expect("starts").id();
        life.clock.sleeps(seconds(10)).await;
        // Somebody's command, which takes up nothing.
        let (store, idle) = life.crash_into(&store, seconds(sent), |builder| builder.takes_up(false)).await;
        idle.engine.signal(run, "go", 7u64).await.expect("is kept");
        let (_, next) = idle.crash(&store, seconds(60)).await;
        assert_eq!(outcome(&next, run).await.expect("ends"), expected, "sent after {sent} s");
    }
}

/// The signal is acknowledged and in the log; no turn is free to hand it over.
#[tokio::test]
async fn a_signal_that_was_logged_and_not_handed_over_counts_by_when_it_was_sent() {
    for (sent, expected) in [(5, "Ok(7)"), (15, "TimedOut")] {
        let (store, life) = life_with(|builder| builder.runs_max(1).sleep_out_after(Duration::MAX)).await;
        let run = life.engine.start(limits_a_signal()).await.expect("starts").id();
        life.clock.sleeps(seconds(10)).await;
        life.engine.start(child("busy".into())).await.expect("starts");
        life.probe.begun("busy", 1).await;
        life.clock.advance(seconds(sent));
        guard(life.engine.signal(run, "go", 7u64)).await.expect("is kept");
        guard(async {
            while !event_names(&life.engine, run).contains(&"SignalReceived") {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(!event_names(&life.engine, run).contains(&"TraceCompleted"), "no turn is free");
        let (_, next) = life.crash(&store, seconds(60)).await;
        assert_eq!(outcome(&next, run).await.expect("ends"), expected, "sent after {sent} s");
    }
}

#[tokio::test]
async fn a_run_with_an_earlier_and_a_later_limit_replays_as_it_went() {
    let (store, life) = first_life().await;
    let run = life.engine.start(three()).await.expect("starts").id();
    let next = dies_at(life, &store, "early", 60).await;
    guard(next.engine.handle::<Vec<String>, Error>(run).expect("known")).await.expect("ends");
    let before = event_names(&next.engine, run);
    assert!(next.engine.replay(run).await.is_ok_and(|ended| ended.is_some()), "it replays");
    assert_eq!(event_names(&next.engine, run), before);
    assert_eq!(next.engine.status(run).expect("known"), RunStatus::Completed);
    assert_eq!(Duration::ZERO, next.clock.lefts().first().copied().unwrap_or_default(), "nobody sleeps any more");
}

/// The first call outlasts the attempt.
#[trace(name = "overdue.outlasts")]
fn outlasts(label: String) -> relive::Result<u64> {
    Probe::here()?.begin(&label);
    if label == "first" {
        relive::provided::<ManualClock>()?.advance(Duration::from_millis(300));
    }
    Ok(1)
}

#[task(
    name = "overdue.two_plain",
    cache = "off",
    timeout = "100ms",
    retries = 1,
    backoff(first = "10ms", jitter = false)
)]
async fn two_plain() -> relive::Result<u64> {
    Ok(outlasts("first".into())? + outlasts("second".into())?)
}

#[tokio::test]
async fn a_plain_function_that_succeeded_is_not_called_again_when_the_time_of_its_attempt_was_over() {
    let (probe, clock) = (Probe::default(), ManualClock::default());
    let engine = open_with(&MemoryStore::new(), builder(&probe).clock(clock.clone()).provide(clock.clone())).await;
    let handle = engine.start(two_plain()).await.expect("starts");
    let run = handle.id();
    let pause = Duration::from_millis(10);
    guard(clock.sleeps(pause)).await;
    clock.advance(pause);
    assert_eq!(guard(handle).await.expect("the second attempt has the time"), 2);
    assert_eq!(probe.count("first"), 1, "{:?}", event_names(&engine, run));
    let first = ["TaskStarted", "TraceStarted", "TraceCompleted", "TaskCompleted"];
    assert_eq!(event_names(&engine, run)[..4], first, "the second call, which never began, is not on record");
    assert!(engine.replay(run).await.is_ok_and(|ended| ended.is_some()), "it replays");
}
