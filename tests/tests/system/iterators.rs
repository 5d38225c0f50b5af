//! Iterators as traces: each item is recorded and handed on as it comes, and is not produced again.
//!
//! A source tells the probe of each item that it produces: `-a.3` is the item 3 of the source `a`.

use std::sync::Arc;

use relive::{Engine, Error, ErrorKind, Event, RunId, RunStatus, TraceOutcome, task, trace};
use relive_storage::{FaultStore, MemoryStore};

use super::cuts::{Cut, cut_everywhere, outcome_by_label};
use super::support::{Probe, builder, events, guard, open, open_with};

/// Items from 0; fails at `fails_at`.
fn numbers(label: String, from: u64, fails_at: u64) -> impl Iterator<Item = relive::Result<u64>> + Send {
    let probe = Probe::here().ok();
    (from..).map(move |number| {
        if let Some(probe) = &probe {
            probe.begin(&format!("-{label}.{number}"));
        }
        if number == fails_at { Err(Error::msg(format!("no item {number}"))) } else { Ok(number) }
    })
}

#[trace(name = "iterators.lines")]
fn lines(label: &str, count: u64) -> impl Iterator<Item = relive::Result<u64>> {
    numbers(label.to_owned(), 0, u64::MAX).take(count as usize)
}

#[trace(name = "iterators.endless")]
fn endless(label: &str) -> impl Iterator<Item = relive::Result<u64>> {
    numbers(label.to_owned(), 0, u64::MAX)
}

#[trace(name = "iterators.failing")]
fn failing(label: &str, at: u64) -> impl Iterator<Item = relive::Result<u64>> {
    numbers(label.to_owned(), 0, at)
}

#[trace(name = "iterators.resuming", resume = "from")]
fn resuming(label: &str, from: u64, until: u64) -> impl Iterator<Item = relive::Result<u64>> {
    numbers(label.to_owned(), from, u64::MAX).take_while(move |item| !matches!(item, Ok(item) if *item >= until))
}

#[trace(name = "iterators.step")]
async fn step(label: String) -> relive::Result<u64> {
    Probe::here()?.begin(&label);
    Ok(100)
}

#[trace(name = "iterators.plain")]
fn plain(label: String) -> relive::Result<u64> {
    Probe::here()?.begin(&label);
    Ok(1)
}

/// How many events of a log are items.
fn item_count(log: &[Event]) -> usize {
    log.iter().filter(|event| matches!(event, Event::TraceYielded(_))).count()
}

async fn logged<T: serde::de::DeserializeOwned>(call: relive::Call<T, Error>) -> (T, Vec<Event>, Probe) {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let handle = engine.start(call).await.expect("starts");
    let run = handle.id();
    let result = guard(handle).await.expect("runs");
    let log = events(&engine, run);
    let next = Probe::default();
    let engine = open(&store.copy(), &next).await;
    guard(engine.replay(run)).await.expect("fits").expect("is over");
    assert_eq!(next.all_begun(), Vec::<String>::new(), "a replay produces nothing");
    (result, log, probe)
}

#[task(name = "iterators.sums")]
async fn sums(count: u64) -> relive::Result<u64> {
    let mut sum = 0;
    for item in lines("a", count) {
        sum += item?;
    }
    Ok(sum)
}

#[tokio::test]
async fn each_item_is_recorded_once_then_the_end() {
    let (sum, log, probe) = logged(sums(4)).await;
    assert_eq!(sum, 6);
    assert_eq!(probe.all_begun(), ["-a.0", "-a.1", "-a.2", "-a.3"]);
    assert_eq!(item_count(&log), 4);
    assert!(matches!(outcome_by_label(&log, "a"), Some(TraceOutcome::Ok(_))), "{log:?}");
}

#[tokio::test]
async fn an_empty_iterator_is_a_start_and_an_end() {
    let (sum, log, _) = logged(sums(0)).await;
    assert_eq!((sum, item_count(&log)), (0, 0));
    assert!(matches!(outcome_by_label(&log, "a"), Some(TraceOutcome::Ok(_))), "{log:?}");
}

#[task(name = "iterators.takes")]
async fn takes(count: usize) -> relive::Result<u64> {
    let mut sum = 0;
    for item in endless("endless").take(count) {
        sum += item?;
    }
    Ok(sum + step("behind".into()).await?)
}

#[tokio::test]
async fn an_endless_iterator_ends_where_it_is_dropped_and_the_log_says_so() {
    let (sum, log, probe) = logged(takes(3)).await;
    assert_eq!((sum, item_count(&log)), (103, 3));
    assert_eq!(outcome_by_label(&log, "endless"), Some(&TraceOutcome::Dropped));
    assert_eq!(probe.all_begun(), ["-endless.0", "-endless.1", "-endless.2", "behind"], "none is produced ahead");
}

#[task(name = "iterators.catches")]
async fn catches(at: u64) -> relive::Result<(u64, String)> {
    let (mut sum, mut iterator) = (0, failing("failing", at));
    for item in &mut iterator {
        match item {
            Ok(item) => sum += item,
            Err(error) => {
                assert!(iterator.next().is_none(), "an error is the last item");
                return Ok((sum, format!("{:?}: {error}", error.kind())));
            }
        }
    }
    Err(Error::msg("it ended"))
}

#[tokio::test]
async fn an_error_is_the_last_item_and_is_recorded() {
    let (caught, log, _) = logged(catches(2)).await;
    assert_eq!(caught, (1, "Failed: no item 2".to_owned()));
    assert_eq!(item_count(&log), 2);
    assert!(matches!(outcome_by_label(&log, "failing"), Some(TraceOutcome::Err(_))), "{log:?}");
}

/// Items between awaits, from two iterators by turns; one is dropped early.
#[task(name = "iterators.between")]
async fn between() -> relive::Result<u64> {
    let mut sum = 0;
    for (number, pair) in lines("left", 3).zip(endless("right")).enumerate() {
        let (left, right) = (pair.0?, pair.1?);
        sum += left * 10 + right + step(format!("step{number}")).await?;
        sum += plain(format!("plain{number}"))?;
    }
    Ok(sum)
}

#[tokio::test]
async fn iterators_are_held_across_awaits_and_taken_by_turns() {
    let (sum, log, probe) = logged(between()).await;
    assert_eq!((sum, item_count(&log)), (336, 6));
    assert_eq!(outcome_by_label(&log, "right"), Some(&TraceOutcome::Dropped));
    assert_eq!(probe.all_begun()[..4], ["-left.0", "-right.0", "step0", "plain0"]);
}

/// What a crash left is not produced again but to be skipped: a source begins at 0 or not at all.
fn none_is_handed_on_twice(cut: &Cut, label: &str) {
    let produced: Vec<_> =
        cut.second.all_begun().into_iter().filter(|item| item.starts_with(&format!("-{label}."))).collect();
    let from_zero: Vec<_> = (0..produced.len()).map(|number| format!("-{label}.{number}")).collect();
    assert_eq!(produced, from_zero, "cut {}", cut.write_count);
}

#[tokio::test]
async fn after_a_crash_at_any_commit_the_items_go_on() {
    for cut in cut_everywhere(|| sums(5)).await.1 {
        none_is_handed_on_twice(&cut, "a");
        assert_eq!(item_count(&cut.after), 5);
    }
    for cut in cut_everywhere(|| takes(5)).await.1 {
        none_is_handed_on_twice(&cut, "endless");
        assert_eq!(item_count(&cut.after), 5);
        if cut.completed("endless") {
            assert_eq!(cut.second.count("-endless.0"), 0, "the source is not called again");
        }
    }
    for cut in cut_everywhere(|| catches(3)).await.1 {
        none_is_handed_on_twice(&cut, "failing");
    }
    let (_, cuts) = cut_everywhere(between).await;
    for cut in &cuts {
        none_is_handed_on_twice(cut, "left");
        none_is_handed_on_twice(cut, "right");
    }
    assert!(cuts.iter().any(|cut| item_count(&cut.before) > 0 && cut.interrupted("left")), "cut between items");
}

/// Items with a commit behind each.
#[task(name = "iterators.resumes")]
async fn resumes() -> relive::Result<u64> {
    let mut sum = 0;
    for item in resuming("resuming", 10, 16) {
        sum += item?;
        step(format!("step{sum}")).await?;
    }
    Ok(sum)
}

#[tokio::test]
async fn an_iterator_that_can_goes_on_from_the_item_it_is_told() {
    let (sum, cuts) = cut_everywhere(resumes).await;
    assert_eq!(sum, (10..16).sum::<u64>());
    let mut continued = 0;
    for cut in &cuts {
        let handed_on = item_count(&cut.before) as u64;
        for number in 10..10 + handed_on {
            assert_eq!(cut.second.count(&format!("-resuming.{number}")), 0, "cut {}: {number}", cut.write_count);
        }
        continued += u32::from(handed_on > 0 && cut.second.count("-resuming.15") == 1);
    }
    assert!(continued > 2, "some cuts are between items: {continued}");
}

/// Which items the source yields.
#[derive(Clone, Copy, Debug)]
struct Yields(u64, usize);

#[trace(name = "iterators.changing")]
fn changing(label: &str) -> impl Iterator<Item = relive::Result<u64>> {
    let yields = relive::provided::<Yields>().map_or(Yields(0, 0), |yields| *yields);
    numbers(label.to_owned(), yields.0, u64::MAX).take(yields.1)
}

#[task(name = "iterators.source_changes")]
async fn source_changes() -> relive::Result<(u64, Option<ErrorKind>)> {
    let mut sum = 0;
    for item in changing("changing") {
        match item {
            Ok(item) => sum += item,
            Err(error) => return Ok((sum, Some(error.kind()))),
        }
        if sum < 5 {
            step(format!("step{sum}")).await?;
        }
    }
    Ok((sum, None))
}

#[tokio::test]
async fn a_source_that_yields_something_else_after_a_crash_ends_with_an_error_that_says_so() {
    // Item 0 and 1 are handed on and durable when the store stops.
    for (yields, expected) in [
        (Yields(0, 5), (10, None)),
        (Yields(1, 5), (1, Some(ErrorKind::SourceChanged))),
        (Yields(0, 1), (1, Some(ErrorKind::SourceChanged))),
    ] {
        let (store, probe) = (FaultStore::stop_after(4), Probe::default());
        let engine = builder(&probe).provide(Yields(0, 5)).open_store(Arc::new(store.clone())).await.expect("opens");
        guard(engine.run(source_changes().id("x"))).await.expect_err("the store stops");
        let left = store.surviving();
        let handed_on = item_count(&super::cuts::log_of(&left));
        assert_eq!(handed_on, 2, "the test's own assumption");
        let engine = open_with(&left, builder(&Probe::default()).provide(yields)).await;
        let handle = engine.start(source_changes().id("x")).await.expect("goes on");
        let run = handle.id();
        assert_eq!(guard(handle).await.expect("ends"), expected, "{yields:?}");
        let log = events(&engine, run);
        if expected.1.is_some() {
            let Some(TraceOutcome::Err(record)) = outcome_by_label(&log, "changing") else { panic!("{log:?}") };
            assert_eq!(record.kind, ErrorKind::SourceChanged);
            assert!(record.message.contains("iterators.changing") && record.message.contains("resume"), "{record:?}");
        }
        guard(engine.replay(run)).await.expect("fits").expect("is over");
    }
}

/// Fails behind its iterators: one that ended, one that was dropped, one that fails.
#[task(name = "iterators.fails_once")]
async fn fails_once() -> relive::Result<u64> {
    let mut sum = 0;
    for item in lines("ended", 3).chain(endless("dropped").take(2)) {
        sum += item?;
    }
    for item in once("fails") {
        sum += item?;
    }
    Ok(sum)
}

#[trace(name = "iterators.once")]
fn once(label: &str) -> impl Iterator<Item = relive::Result<u64>> {
    let fails = relive::provided::<Yields>().is_err();
    numbers(label.to_owned(), 0, if fails { 1 } else { u64::MAX }).take(2)
}

async fn failed_run(engine: &Engine) -> RunId {
    let handle = engine.start(fails_once()).await.expect("starts");
    let run = handle.id();
    guard(handle).await.expect_err("fails");
    assert_eq!(engine.status(run).expect("known"), RunStatus::Failed);
    run
}

#[tokio::test]
async fn in_a_later_attempt_ended_and_dropped_iterators_are_repeated_and_a_failed_one_starts_anew() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let run = failed_run(&open(&store, &probe).await).await;
    let next = Probe::default();
    let engine = open_with(&store.copy(), builder(&next).provide(Yields(0, 0))).await;
    let handle = guard(async { engine.resume(run).await }).await.expect("resumes");
    guard(handle).await.expect("succeeds");
    assert_eq!(guard(engine.handle::<u64, Error>(run).expect("known")).await.expect("succeeds"), 3 + 1 + 1);
    assert_eq!(next.all_begun(), ["-fails.0", "-fails.1"]);
    guard(engine.replay(run)).await.expect("fits").expect("is over");
}

#[trace(name = "iterators.outer")]
async fn outer(label: String) -> relive::Result<u64> {
    Probe::here()?.begin(&label);
    lines("inner", 3).sum()
}

#[task(name = "iterators.nests")]
async fn nests() -> relive::Result<u64> {
    outer("outer".into()).await
}

#[tokio::test]
async fn an_iterator_inside_a_trace_is_refused_with_what_to_do() {
    let engine = open(&MemoryStore::new(), &Probe::default()).await;
    let error = guard(engine.run(nests())).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let message = error.to_string();
    for part in ["iterators.lines", "iterators.outer", "iterators.rs:", "call it there"] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn the_items_of_a_long_iterator_share_commits_and_none_is_missing() {
    let store = FaultStore::new();
    let engine = builder(&Probe::default()).open_store(Arc::new(store.clone())).await.expect("opens");
    let handle = engine.start(takes_quietly(100_000)).await.expect("starts");
    let run = handle.id();
    let expected = (0..100_000).sum::<u64>();
    assert_eq!(guard(handle).await.expect("runs"), expected);
    assert!(store.commit_count() < 2_000, "{} commits for 100,000 items", store.commit_count());
    guard(engine.replay(run)).await.expect("fits").expect("is over");
}

#[trace(name = "iterators.quiet")]
fn quiet() -> impl Iterator<Item = relive::Result<u64>> {
    (0..).map(Ok)
}

#[task(name = "iterators.takes_quietly")]
async fn takes_quietly(count: usize) -> relive::Result<u64> {
    quiet().take(count).sum()
}
