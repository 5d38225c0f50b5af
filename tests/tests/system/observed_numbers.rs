//! The numbers that a program's recorder is told: of runs, traces, tries, the cache and commits.
//!
//! Each test has a recorder of its own, in force on its thread while the engine is opened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;
use relive::{Builder, Engine, Keep, task, trace};
use relive_engine::index::RUNS;
use relive_storage::{MemoryStore, Operation, Store, Write};

use super::observed::{holds, say, talks, tries};
use super::support::{Probe, builder, guard, open_with};
use relive_tests::manual_clock::ManualClock;

/// Counters and gauges by name and labels, and what was recorded in histograms.
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<BTreeMap<String, Number>>>);

#[derive(Clone, Default)]
struct Number {
    count: Arc<AtomicU64>,
    gauge: Arc<Level>,
    recorded: Arc<Recorded>,
}

#[derive(Default)]
struct Level(Mutex<f64>);

impl GaugeFn for Level {
    fn increment(&self, value: f64) {
        *self.0.lock() += value;
    }

    fn decrement(&self, value: f64) {
        *self.0.lock() -= value;
    }

    fn set(&self, value: f64) {
        *self.0.lock() = value;
    }
}

#[derive(Default)]
struct Recorded(Mutex<Vec<f64>>);

impl HistogramFn for Recorded {
    fn record(&self, value: f64) {
        self.0.lock().push(value);
    }
}

impl Numbers {
    fn of(&self, key: &Key) -> Number {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name =
            if labels.is_empty() { key.name().to_owned() } else { format!("{}{{{}}}", key.name(), labels.join(",")) };
        self.0.lock().entry(name).or_default().clone()
    }

    fn number(&self, name: &str) -> Number {
        self.0.lock().get(name).unwrap_or_else(|| panic!("{name} is not registered")).clone()
    }

    fn count(&self, name: &str) -> u64 {
        self.number(name).count.load(Ordering::Relaxed)
    }

    /// Those of this name, whose labels hold these.
    fn all(&self, name: &str, labels: &[&str]) -> Vec<Number> {
        let numbers = self.0.lock();
        let is_one = |key: &str| {
            let (of, with) = key.strip_suffix('}').and_then(|key| key.split_once('{')).unwrap_or((key, ""));
            of == name && labels.iter().all(|label| with.split(',').any(|has| has == *label))
        };
        let found: Vec<_> = numbers.iter().filter(|(key, _)| is_one(key)).map(|(_, number)| number.clone()).collect();
        assert!(!found.is_empty(), "{name} with {labels:?} is not registered");
        found
    }

    /// The sum over all labels but these.
    fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        self.all(name, labels).iter().map(|number| number.count.load(Ordering::Relaxed)).sum()
    }

    fn gauge(&self, name: &str) -> f64 {
        self.all(name, &[]).iter().map(|number| *number.gauge.0.lock()).sum()
    }

    fn recorded(&self, name: &str) -> Vec<f64> {
        self.all(name, &[]).iter().flat_map(|number| number.recorded.0.lock().clone()).collect()
    }
}

impl Recorder for Numbers {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key).count)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key).gauge)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.of(key).recorded)
    }
}

/// A recorder that panics: when it is asked for what counts, or when that is told something.
struct Bad {
    registers: bool,
}

struct BadNumber;

impl metrics::CounterFn for BadNumber {
    fn increment(&self, _: u64) {
        panic!("no counting")
    }

    fn absolute(&self, _: u64) {
        panic!("no counting")
    }
}

impl GaugeFn for BadNumber {
    fn increment(&self, _: f64) {
        panic!("no level")
    }

    fn decrement(&self, _: f64) {
        panic!("no level")
    }

    fn set(&self, _: f64) {
        panic!("no level")
    }
}

impl HistogramFn for BadNumber {
    fn record(&self, _: f64) {
        panic!("no record")
    }
}

impl Recorder for Bad {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        assert!(self.registers, "no words");
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        assert!(self.registers, "no words");
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        assert!(self.registers, "no words");
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        assert!(self.registers, "no counter");
        Counter::from_arc(Arc::new(BadNumber))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        assert!(self.registers, "no gauge");
        Gauge::from_arc(Arc::new(BadNumber))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        assert!(self.registers, "no histogram");
        Histogram::from_arc(Arc::new(BadNumber))
    }
}

#[tokio::test]
async fn a_recorder_that_panics_hurts_no_run_and_stops_no_commit() {
    for registers in [true, false] {
        let (store, probe) = (MemoryStore::new(), Probe::default());
        let engine = {
            let bad = Bad { registers };
            let _recorder = metrics::set_default_local_recorder(&bad);
            open_with(&store, builder(&probe)).await
        };
        probe.open("observed.holds");
        for _ in 0..2 {
            guard(engine.run(talks())).await.expect("it ends, and is cached");
        }
        guard(engine.run(drops_all())).await.expect("it ends");
        guard(engine.shutdown()).await.expect("it stops in order");
    }
}

#[task(name = "observed.drops_all")]
async fn drops_all() -> relive::Result<()> {
    say("one".to_owned()).await?;
    drop(say("two".to_owned()));
    flaky_once().await
}

#[trace(name = "observed.flaky_once", retries = 1, backoff(first = "1ms", jitter = false))]
async fn flaky_once() -> relive::Result<()> {
    let probe = Probe::here()?;
    probe.begin("once");
    if probe.count("once") < 2 { Err(relive::Error::msg("not yet")) } else { Ok(()) }
}

/// An engine that counts with this recorder.
async fn counted(store: &MemoryStore, builder: Builder, numbers: &Numbers) -> Engine {
    let _recorder = metrics::set_default_local_recorder(numbers);
    open_with(store, builder).await
}

#[tokio::test]
async fn runs_traces_tries_and_commits_are_counted() {
    let (numbers, clock, probe) = (Numbers::default(), ManualClock::default(), Probe::default());
    let store = MemoryStore::new();
    let engine = counted(&store, builder(&probe).clock(clock.clone()), &numbers).await;
    let _flowing = clock.flow();
    guard(engine.run(tries())).await.expect_err("it fails");
    let handle = guard(engine.start(talks())).await.expect("it starts");
    probe.begun("observed.holds", 1).await;
    assert_eq!(numbers.gauge("relive_runs_under_way"), 1.0);
    probe.open("observed.holds");
    guard(handle).await.expect("it ends");
    guard(engine.run(talks())).await.expect("it is cached");
    let count = |name| numbers.count(name);
    assert_eq!(numbers.sum("relive_runs_started_total", &[]), 2);
    assert_eq!(count("relive_runs_started_total{task=observed.talks}"), 1);
    assert_eq!((count("relive_cache_hits_total"), count("relive_cache_misses_total")), (1, 2));
    let ended = ["completed", "failed", "cancelled"]
        .map(|state| numbers.sum("relive_runs_ended_total", &[&format!("state={state}")]));
    assert_eq!(ended, [1, 1, 0]);
    assert_eq!(count("relive_runs_ended_total{task=observed.tries,state=failed}"), 1);
    let completed =
        ["ok", "error", "dropped"].map(|of| numbers.sum("relive_traces_completed_total", &[&format!("outcome={of}")]));
    assert_eq!(completed, [3, 1, 0]);
    assert_eq!(count("relive_traces_started_total{name=observed.say}"), 1);
    assert_eq!(count("relive_traces_completed_total{name=observed.fails,outcome=error}"), 1);
    assert_eq!(count("relive_traces_completed_total{name=observed.flaky,outcome=ok}"), 1);
    assert_eq!(count("relive_trace_retries_total{name=observed.flaky}"), 2);
    assert_eq!(numbers.sum("relive_trace_retries_total", &[]), 2);
    assert_eq!(numbers.number("relive_effect_seconds{name=observed.flaky}").recorded.0.lock().len(), 1);
    assert_eq!(count("relive_traces_replayed_total"), 0);
    assert_eq!(numbers.recorded("relive_effect_seconds").len(), 4);
    guard(engine.shutdown()).await.expect("it stops");
    assert_eq!(
        ["relive_runs_under_way", "relive_runs_queued", "relive_runs_blocked", "relive_commit_queue_depth"]
            .map(|name| numbers.gauge(name)),
        [0.0; 4]
    );
    let (took, writes) = (numbers.recorded("relive_commit_seconds"), numbers.recorded("relive_commit_writes"));
    assert_eq!(took.len(), writes.len());
    assert!(writes.len() >= 10 && writes.iter().all(|count| *count >= 1.0), "{writes:?}");
}

#[trace(name = "observed.race")]
async fn race() -> relive::Result<()> {
    Probe::here()?.hold("observed.race").await;
    Ok(())
}

#[task(name = "observed.drops")]
async fn drops() -> relive::Result<()> {
    {
        let racer = std::pin::pin!(race());
        let winner = std::pin::pin!(say("first".to_owned()));
        futures::future::select(winner, racer).await;
    }
    holds().await
}

#[tokio::test]
async fn what_a_body_drops_counts_as_dropped_and_what_the_log_answers_as_replayed() {
    let (store, probe, numbers, again) = (MemoryStore::new(), Probe::default(), Numbers::default(), Numbers::default());
    let engine = counted(&store, builder(&probe), &numbers).await;
    let run = guard(engine.start(drops())).await.expect("it starts").id();
    probe.begun("observed.holds", 1).await;
    assert_eq!(numbers.count("relive_traces_completed_total{name=observed.race,outcome=dropped}"), 1);
    let later = counted(&store.copy(), builder(&probe), &again).await;
    probe.open("observed.holds");
    guard(later.handle::<(), relive::Error>(run).expect("it is there")).await.expect("it ends");
    assert_eq!(again.count("relive_traces_replayed_total"), 1);
    assert_eq!(again.count("relive_traces_started_total{name=observed.say}"), 0);
    assert_eq!(again.count("relive_traces_started_total{name=observed.holds}"), 1);
    assert_eq!(
        (again.sum("relive_runs_started_total", &[]), again.sum("relive_runs_ended_total", &["state=completed"])),
        (0, 1)
    );
}

#[tokio::test]
async fn runs_that_are_deleted_are_counted_and_so_is_what_keeps_one() {
    let (store, probe, numbers) = (MemoryStore::new(), Probe::default(), Numbers::default());
    let (clock, hour) = (ManualClock::default(), Duration::from_secs(3600));
    let engine = counted(&store, builder(&probe).keep(Keep::age(hour)).clock(clock.clone()), &numbers).await;
    clock.sleeps(hour / 60).await;
    probe.open("observed.holds");
    guard(engine.run(talks())).await.expect("it ends");
    let damaged = guard(engine.start(talks().id("cached").cached())).await.expect("it is cached").id();
    let value = b"no record".to_vec();
    let damage = Operation::Put { keyspace: RUNS, key: damaged.as_bytes().to_vec(), value };
    let write = Write { preconditions: Vec::new(), operations: vec![damage] };
    store.commit(&[write], relive::Durability::Sync).expect("memory does not fail");
    clock.advance(hour + Duration::from_millis(1));
    clock.sleeps(hour / 60).await;
    assert_eq!(numbers.count("relive_runs_deleted_total"), 1);
    assert_ne!(numbers.count("relive_retention_errors_total"), 0);
    guard(engine.shutdown()).await.expect("it stops");
}

#[tokio::test]
async fn labels_are_names_that_the_program_links_and_other() {
    let (store, probe, numbers) = (MemoryStore::new(), Probe::default(), Numbers::default());
    let engine = open_with(&store, builder(&probe)).await;
    let run = guard(engine.start(talks())).await.expect("it starts").id();
    probe.begun("observed.holds", 1).await;
    // The store holds a run of a task that this program does not have.
    let left = store.copy();
    let record = relive_engine::inspect::unfinished(&left, run).expect("readable").expect("it is unfinished");
    let foreign = relive_engine::index::UnfinishedRecord { task: "not.of.this.program".to_owned(), ..record };
    let key = run.as_bytes().to_vec();
    let (value, _) = relive_engine::codec::seal(&key, relive_engine::codec::Chain::default(), &foreign).expect("small");
    let put = Operation::Put { keyspace: relive_engine::index::UNFINISHED, key, value };
    left.commit(&[Write { preconditions: Vec::new(), operations: vec![put] }], relive::Durability::Sync)
        .expect("memory");
    let _engine = counted(&left, builder(&probe), &numbers).await;
    assert_eq!(*numbers.number("relive_runs_blocked{task=other}").gauge.0.lock(), 1.0);
    let numbers = numbers.0.lock();
    assert!(!numbers.keys().any(|key| key.contains("not.of.this.program")), "{:?}", numbers.keys());
}
