//! Streams as traces: each item is recorded and handed on as it comes, and what was handed on comes from the log.

use futures::stream::{Stream, StreamExt, TryStreamExt};
use relive::{Error, ErrorKind, Event, RunStatus, TraceOutcome, task, trace};
use relive_storage::MemoryStore;

use super::crashes::GatedStore;
use super::cuts::{cut_everywhere, log_of, outcome_by_label};
use super::sources::{
    begins_at_zero_or_never, endless, failing, held, item_count, items_begun, numbers, produced, step,
};
use super::support::{Probe, builder, events, guard, open, open_with};

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

#[task(name = "streams.collects")]
async fn collects(count: usize) -> relive::Result<Vec<u64>> {
    numbers("a", count).try_collect().await
}

#[tokio::test]
async fn each_item_is_recorded_once_then_the_end() {
    let (items, log, probe) = logged(collects(4)).await;
    assert_eq!(items, [0, 1, 2, 3]);
    assert_eq!(probe.all_begun(), ["-a.0", "-a.1", "-a.2", "-a.3"]);
    let indexes = log.iter().filter_map(|event| match event {
        Event::TraceYielded(yielded) => Some(yielded.index),
        _ => None,
    });
    assert_eq!(indexes.collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(matches!(outcome_by_label(&log, "a"), Some(TraceOutcome::Ok(_))), "{log:?}");
}

#[tokio::test]
async fn an_empty_stream_is_a_start_and_an_end() {
    let (items, log, _) = logged(collects(0)).await;
    assert_eq!((items.len(), item_count(&log)), (0, 0));
    assert!(matches!(outcome_by_label(&log, "a"), Some(TraceOutcome::Ok(_))), "{log:?}");
}

#[task(name = "streams.takes")]
async fn takes(count: usize) -> relive::Result<u64> {
    let mut stream = endless("endless");
    let mut sum = 0;
    for _ in 0..count {
        sum += stream.next().await.expect("endless")?;
    }
    drop(stream);
    Ok(sum + step("behind".into()).await?)
}

#[tokio::test]
async fn an_endless_stream_ends_where_it_is_dropped_and_the_log_says_so() {
    let (sum, log, _) = logged(takes(3)).await;
    assert_eq!((sum, item_count(&log)), (103, 3));
    assert_eq!(outcome_by_label(&log, "endless"), Some(&TraceOutcome::Dropped));
}

#[task(name = "streams.catches")]
async fn catches(at: u64) -> relive::Result<(u64, String)> {
    let (mut sum, mut stream) = (0, failing("failing", at));
    while let Some(item) = stream.next().await {
        match item {
            Ok(item) => sum += item,
            Err(error) => {
                assert!(stream.next().await.is_none(), "an error is the last item");
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

#[trace(name = "streams.panicking")]
fn panicking(label: &str) -> impl Stream<Item = relive::Result<u64>> {
    produced(label.to_owned(), 0, u64::MAX).map(|item| if let Ok(2) = item { panic!("ouch") } else { item })
}

#[task(name = "streams.panics")]
async fn panics() -> relive::Result<(u64, String)> {
    let (mut sum, mut stream) = (0, panicking("panics"));
    while let Some(item) = stream.next().await {
        match item {
            Ok(item) => sum += item,
            Err(error) => return Ok((sum, format!("{:?}: {error}", error.kind()))),
        }
    }
    Err(Error::msg("it ended"))
}

#[tokio::test]
async fn a_panic_in_a_source_is_the_streams_recorded_failure() {
    let ((sum, caught), _, _) = logged(panics()).await;
    assert_eq!(sum, 1);
    assert!(
        caught.starts_with("Panicked: ") && caught.contains("ouch at ") && caught.contains("streams.rs:"),
        "{caught}"
    );
}

/// With a commit behind each item.
#[task(name = "streams.steps")]
async fn steps(count: usize) -> relive::Result<u64> {
    let (mut sum, mut stream) = (0, numbers("a", count));
    while let Some(item) = stream.next().await {
        let item = item?;
        sum += item + step(format!("step{item}")).await?;
    }
    Ok(sum)
}

#[tokio::test]
async fn after_a_crash_at_any_commit_the_items_go_on() {
    for cut in cut_everywhere(|| collects(4)).await.1 {
        begins_at_zero_or_never(&cut, "a");
        assert_eq!(item_count(&cut.after), 4);
    }
    let (_, cuts) = cut_everywhere(|| steps(4)).await;
    for cut in &cuts {
        begins_at_zero_or_never(cut, "a");
        assert_eq!(item_count(&cut.after), 4);
    }
    assert!(
        cuts.iter().any(|cut| (1..4).contains(&item_count(&cut.before)) && cut.interrupted("a")),
        "cut between items"
    );
    for cut in cut_everywhere(|| takes(3)).await.1 {
        begins_at_zero_or_never(&cut, "endless");
        assert_eq!(item_count(&cut.after), 3);
    }
    for cut in cut_everywhere(|| catches(3)).await.1 {
        begins_at_zero_or_never(&cut, "failing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_at_any_commit_the_items_go_on_with_several_threads() {
    for cut in cut_everywhere(|| steps(4)).await.1 {
        begins_at_zero_or_never(&cut, "a");
    }
}

#[trace(name = "streams.resuming", resume = "from")]
fn resuming(label: &str, from: u64, count: u64) -> impl Stream<Item = relive::Result<u64>> {
    produced(label.to_owned(), from, u64::MAX).take(count.saturating_sub(from) as usize)
}

#[task(name = "streams.resumes")]
async fn resumes() -> relive::Result<u64> {
    let (mut sum, mut stream) = (0, resuming("resuming", 10, 16));
    while let Some(item) = stream.next().await {
        let item = item?;
        sum += item + step(format!("step{item}")).await?;
    }
    Ok(sum)
}

#[tokio::test]
async fn a_stream_that_can_goes_on_from_the_item_it_is_told() {
    let (_, cuts) = cut_everywhere(resumes).await;
    let mut continued = 0;
    for cut in &cuts {
        let next = 10 + item_count(&cut.before);
        if let Some(first) = items_begun(&cut.second, "resuming").first() {
            assert_eq!(first, &format!("-resuming.{next}"), "cut {}", cut.write_count);
            continued += u32::from(next > 10);
        }
    }
    assert!(continued > 2, "some cuts are between items: {continued}");
}

/// From which number and how many items the source yields.
#[derive(Clone, Copy, Debug)]
struct Yields(u64, usize);

#[trace(name = "streams.changing")]
fn changing(label: &str) -> impl Stream<Item = relive::Result<u64>> {
    let yields = relive::provided::<Yields>().map_or(Yields(0, 0), |yields| *yields);
    produced(label.to_owned(), yields.0, u64::MAX).take(yields.1)
}

#[task(name = "streams.source_changes")]
async fn source_changes() -> relive::Result<(u64, Option<ErrorKind>)> {
    let (mut sum, mut stream) = (0, changing("changing"));
    while let Some(item) = stream.next().await {
        match item {
            Ok(item) => sum += item,
            Err(error) => return Ok((sum, Some(error.kind()))),
        }
        if sum == 1 {
            held("gate".into()).await?;
        }
    }
    Ok((sum, None))
}

#[tokio::test]
async fn a_source_that_yields_something_else_after_a_crash_ends_with_an_error_that_says_so() {
    for (yields, expected) in [
        (Yields(0, 5), None),
        (Yields(1, 5), Some(ErrorKind::SourceChanged)),
        (Yields(0, 1), Some(ErrorKind::SourceChanged)),
    ] {
        let left = left_behind_two_items().await;
        let handed_on: u64 = if expected.is_none() { 10 } else { (0..item_count(&log_of(&left)) as u64).sum() };
        let probe = Probe::default();
        probe.open("gate");
        let engine = open_with(&left, builder(&probe).provide(yields)).await;
        let handle = engine.start(source_changes().id("x")).await.expect("goes on");
        let run = handle.id();
        assert_eq!(guard(handle).await.expect("ends"), (handed_on, expected), "{yields:?}");
        let log = events(&engine, run);
        if expected.is_some() {
            let Some(TraceOutcome::Err(record)) = outcome_by_label(&log, "changing") else { panic!("{log:?}") };
            assert_eq!(record.kind, ErrorKind::SourceChanged);
            assert!(record.message.contains("streams.changing") && record.message.contains("resume"), "{record:?}");
        }
        guard(engine.replay(run)).await.expect("fits").expect("is over");
    }
}

/// A crash behind the first items of `source_changes`: two, and perhaps one that nobody took.
async fn left_behind_two_items() -> MemoryStore {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open_with(&store, builder(&probe).provide(Yields(0, 5))).await;
    engine.start(source_changes().id("x")).await.expect("starts");
    probe.begun("gate", 1).await;
    let left = store.copy();
    assert!((2..=3).contains(&item_count(&log_of(&left))));
    left
}

#[trace(name = "streams.once")]
fn once(label: &str) -> impl Stream<Item = relive::Result<u64>> {
    let fails = relive::provided::<Yields>().is_err();
    produced(label.to_owned(), 0, if fails { 1 } else { u64::MAX }).take(2)
}

#[trace(name = "streams.stalls")]
fn stalls() -> impl Stream<Item = relive::Result<u64>> {
    let probe = Probe::here().ok();
    let gate = futures::stream::once(async move {
        if let Some(probe) = probe {
            probe.hold("gate").await;
        }
        Ok(9)
    });
    produced("stalls".to_owned(), 0, u64::MAX).take(2).chain(gate)
}

#[task(name = "streams.stalled")]
async fn stalled() -> relive::Result<Vec<u64>> {
    stalls().try_collect().await
}

#[tokio::test]
async fn behind_repeated_items_the_source_begins_when_its_start_is_durable() {
    let (store, probe) = (std::sync::Arc::new(GatedStore::default()), Probe::default());
    let opened = std::sync::Arc::clone(&store) as std::sync::Arc<dyn relive_storage::Store>;
    let engine = builder(&probe).open_store(opened).await.expect("opens");
    let run = engine.start(stalled()).await.expect("starts").id();
    probe.begun("gate", 1).await;
    guard(async { engine.cancel(run).await }).await.expect("cancels");
    store.close(true);
    let resumed = tokio::spawn({
        let engine = engine.clone();
        async move { engine.resume(run).await.expect("resumes").await }
    });
    // As many turns as a source that does not wait would take by far.
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(probe.count("-stalls.0"), 1, "nothing of the attempt is durable yet");
    store.close(false);
    probe.begun("gate", 2).await;
    probe.open("gate");
    guard(resumed).await.expect("no panic").expect("ends");
    assert_eq!(guard(engine.handle::<Vec<u64>, Error>(run).expect("known")).await.expect("ends"), [0, 1, 9]);
}

/// Streams that end, are dropped, and fail, one after the other.
#[task(name = "streams.fails_once")]
async fn fails_once() -> relive::Result<u64> {
    let ended: Vec<u64> = numbers("ended", 3).try_collect().await?;
    let dropped: Vec<u64> = endless("dropped").take(2).try_collect().await?;
    let fails: Vec<u64> = once("fails").try_collect().await?;
    Ok(ended.into_iter().chain(dropped).chain(fails).sum())
}

#[tokio::test]
async fn in_a_later_attempt_ended_and_dropped_streams_are_repeated_and_a_failed_one_starts_anew() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let handle = engine.start(fails_once()).await.expect("starts");
    let run = handle.id();
    guard(handle).await.expect_err("fails");
    assert_eq!(engine.status(run).expect("known"), RunStatus::Failed);
    let next = Probe::default();
    let engine = open_with(&store.copy(), builder(&next).provide(Yields(0, 0))).await;
    let handle = guard(async { engine.resume(run).await }).await.expect("resumes");
    guard(handle).await.expect("succeeds");
    assert_eq!(guard(engine.handle::<u64, Error>(run).expect("known")).await.expect("succeeds"), 3 + 1 + 1);
    assert_eq!(next.all_begun(), ["-fails.0", "-fails.1"]);
    guard(engine.replay(run)).await.expect("fits").expect("is over");
}

#[trace(name = "streams.outer")]
async fn outer(label: String) -> relive::Result<Vec<u64>> {
    Probe::here()?.begin(&label);
    numbers("inner", 3).try_collect().await
}

#[task(name = "streams.nests")]
async fn nests() -> relive::Result<Vec<u64>> {
    outer("outer".into()).await
}

#[tokio::test]
async fn a_stream_inside_a_trace_is_refused_with_what_to_do() {
    let engine = open(&MemoryStore::new(), &Probe::default()).await;
    let error = guard(engine.run(nests())).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let message = error.to_string();
    for part in ["sources.numbers", "streams.outer", "streams.rs:", "call it there"] {
        assert!(message.contains(part), "{message}");
    }
}

/// Takes two items, waits at a gate, takes the rest.
#[task(name = "streams.waits_between")]
async fn waits_between() -> relive::Result<u64> {
    let mut stream = endless("source");
    let mut sum = stream.next().await.expect("endless")? + stream.next().await.expect("endless")?;
    sum += held("gate".into()).await?;
    Ok(sum + stream.next().await.expect("endless")?)
}

#[tokio::test]
async fn a_source_is_at_most_one_item_ahead_of_the_body() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let handle = engine.start(waits_between()).await.expect("starts");
    probe.begun("gate", 1).await;
    // What comes before the item that nobody takes gets every chance to be too much.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(items_begun(&probe, "source").len() <= 3, "{:?}", items_begun(&probe, "source"));
    probe.open("gate");
    assert_eq!(guard(handle).await.expect("runs"), 103);
    assert!(items_begun(&probe, "source").len() <= 4, "{:?}", items_begun(&probe, "source"));
}
