//! Numbers, for whatever recorder the program has installed with the `metrics` facade.
//!
//! An engine takes its handles from the recorder when it is opened, so that counting is an atomic addition, or nothing if
//! there is no recorder. A recorder is to be installed before the engine is opened.
//!
//! Invariant: `relive_runs_*` gauges count the runs that the engine holds in each state; they are back at 0 when it is gone.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram};
use metrics::{gauge, histogram};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use crate::event::{TaskOutcome, TraceOutcome};
use crate::handle::CellState;

const RUNS_STARTED: &str = "relive_runs_started_total";
const RUNS_ENDED: &str = "relive_runs_ended_total";
const RUNS_DELETED: &str = "relive_runs_deleted_total";
const RETENTION_ERRORS: &str = "relive_retention_errors_total";
const RUNS_UNDER_WAY: &str = "relive_runs_under_way";
const RUNS_ASLEEP: &str = "relive_runs_asleep";
const RUNS_QUEUED: &str = "relive_runs_queued";
const RUNS_WAITING: &str = "relive_runs_waiting";
const TRACES_STARTED: &str = "relive_traces_started_total";
const TRACES_COMPLETED: &str = "relive_traces_completed_total";
const TRACE_RETRIES: &str = "relive_trace_retries_total";
const TRACES_REPLAYED: &str = "relive_traces_replayed_total";
const CACHE_HITS: &str = "relive_cache_hits_total";
const CACHE_MISSES: &str = "relive_cache_misses_total";
const COMMIT_SECONDS: &str = "relive_commit_seconds";
const COMMIT_WRITES: &str = "relive_commit_writes";
const COMMIT_QUEUE_DEPTH: &str = "relive_commit_queue_depth";
const EFFECT_SECONDS: &str = "relive_effect_seconds";

/// Says what each of them is. `docs/guide.md` has the same table.
fn describe() {
    describe_counter!(RUNS_STARTED, Unit::Count, "runs that were started new");
    describe_counter!(RUNS_ENDED, Unit::Count, "runs that ended, by state: completed, failed, cancelled");
    describe_counter!(
        RUNS_DELETED,
        Unit::Count,
        "finished runs that were deleted, as their time was over or somebody asked"
    );
    describe_counter!(RETENTION_ERRORS, Unit::Count, "what kept runs from being deleted when their time was over");
    describe_gauge!(RUNS_UNDER_WAY, Unit::Count, "runs whose loop is under way, also while they wait in memory");
    describe_gauge!(RUNS_ASLEEP, Unit::Count, "runs that only wait for a time, and were put to sleep: not in memory");
    describe_gauge!(RUNS_QUEUED, Unit::Count, "runs that wait for their turn, as `runs_max` others are under way");
    describe_gauge!(
        RUNS_WAITING,
        Unit::Count,
        "runs that cannot go on, and wait for somebody to do something about it"
    );
    describe_counter!(TRACES_STARTED, Unit::Count, "traces whose effect began in this process, by name");
    describe_counter!(TRACES_COMPLETED, Unit::Count, "traces whose effect ended, by outcome: ok, error, dropped");
    describe_counter!(TRACE_RETRIES, Unit::Count, "tries that failed and that another one follows");
    describe_counter!(TRACES_REPLAYED, Unit::Count, "traces that were answered from the log, without an effect");
    describe_counter!(CACHE_HITS, Unit::Count, "calls of tasks that the cache answered");
    describe_counter!(CACHE_MISSES, Unit::Count, "calls of tasks that the cache could not answer");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "how long a commit took, with its sync");
    describe_histogram!(COMMIT_WRITES, Unit::Count, "how many writes became durable in one commit");
    describe_gauge!(COMMIT_QUEUE_DEPTH, Unit::Count, "writes that were submitted and are not durable yet");
    describe_histogram!(
        EFFECT_SECONDS,
        Unit::Seconds,
        "how long an effect took, with all its tries; without what just waits"
    );
}

/// An engine's handles.
pub(crate) struct Metrics {
    pub(crate) runs_started: Counter,
    runs_completed: Counter,
    runs_failed: Counter,
    runs_cancelled: Counter,
    pub(crate) runs_deleted: Counter,
    pub(crate) retention_errors: Counter,
    runs_under_way: Gauge,
    /// Counted by `sleepers`.
    pub(crate) runs_asleep: Gauge,
    runs_queued: Gauge,
    runs_waiting: Gauge,
    /// Of the traces that the engine knew when it was opened: read without a lock, as every trace comes here.
    traces_started: FxHashMap<&'static str, Counter>,
    /// Of all others.
    other_traces_started: RwLock<FxHashMap<&'static str, Counter>>,
    traces_ok: Counter,
    traces_failed: Counter,
    traces_dropped: Counter,
    pub(crate) trace_retries: Counter,
    pub(crate) traces_replayed: Counter,
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    commit_seconds: Histogram,
    commit_writes: Histogram,
    pub(crate) commit_queue_depth: Gauge,
    effect_seconds: Histogram,
}

impl Metrics {
    /// Takes the handles from the recorder that is in force on this thread; `names` are those of the program's traces.
    pub(crate) fn new(names: impl Iterator<Item = &'static str>) -> Self {
        describe();
        Self {
            runs_started: counter!(RUNS_STARTED),
            runs_completed: counter!(RUNS_ENDED, "state" => "completed"),
            runs_failed: counter!(RUNS_ENDED, "state" => "failed"),
            runs_cancelled: counter!(RUNS_ENDED, "state" => "cancelled"),
            runs_deleted: counter!(RUNS_DELETED),
            retention_errors: counter!(RETENTION_ERRORS),
            runs_under_way: gauge!(RUNS_UNDER_WAY),
            runs_asleep: gauge!(RUNS_ASLEEP),
            runs_queued: gauge!(RUNS_QUEUED),
            runs_waiting: gauge!(RUNS_WAITING),
            traces_started: names.map(|name| (name, started(name))).collect(),
            other_traces_started: RwLock::default(),
            traces_ok: counter!(TRACES_COMPLETED, "outcome" => "ok"),
            traces_failed: counter!(TRACES_COMPLETED, "outcome" => "error"),
            traces_dropped: counter!(TRACES_COMPLETED, "outcome" => "dropped"),
            trace_retries: counter!(TRACE_RETRIES),
            traces_replayed: counter!(TRACES_REPLAYED),
            cache_hits: counter!(CACHE_HITS),
            cache_misses: counter!(CACHE_MISSES),
            commit_seconds: histogram!(COMMIT_SECONDS),
            commit_writes: histogram!(COMMIT_WRITES),
            commit_queue_depth: gauge!(COMMIT_QUEUE_DEPTH),
            effect_seconds: histogram!(EFFECT_SECONDS),
        }
    }

    /// A run's state changed; `None` before it is held, and when it is held no more.
    pub(crate) fn run_state(&self, before: Option<&CellState>, after: Option<&CellState>) {
        if let Some(gauge) = before.and_then(|state| self.gauge_of(state)) {
            gauge.decrement(1.0);
        }
        if let Some(gauge) = after.and_then(|state| self.gauge_of(state)) {
            gauge.increment(1.0);
        }
        if let (Some(CellState::Done(outcome)), false) = (after, matches!(before, Some(CellState::Done(_)))) {
            match outcome.as_ref() {
                TaskOutcome::Ok(_) => self.runs_completed.increment(1),
                TaskOutcome::Err(_) => self.runs_failed.increment(1),
                TaskOutcome::Cancelled => self.runs_cancelled.increment(1),
            }
        }
    }

    fn gauge_of(&self, state: &CellState) -> Option<&Gauge> {
        match state {
            CellState::Starting | CellState::Running => Some(&self.runs_under_way),
            CellState::Queued => Some(&self.runs_queued),
            CellState::Waiting(_) => Some(&self.runs_waiting),
            CellState::Asleep | CellState::Stopped(_) | CellState::Done(_) => None,
        }
    }

    /// A trace's effect begins.
    pub(crate) fn trace_started(&self, name: &'static str) {
        if let Some(counter) = self.traces_started.get(name) {
            counter.increment(1);
            return;
        }
        // Not in the registry: one of Relive's own, or generic.
        if let Some(counter) = self.other_traces_started.read().get(name) {
            counter.increment(1);
            return;
        }
        self.other_traces_started.write().entry(name).or_insert_with(|| started(name)).increment(1);
    }

    /// A trace's effect ended, or was dropped. `took` is `None` if it just waited.
    pub(crate) fn trace_completed(&self, outcome: &TraceOutcome, took: Option<Duration>) {
        match outcome {
            TraceOutcome::Ok(_) => self.traces_ok.increment(1),
            TraceOutcome::Err(_) => self.traces_failed.increment(1),
            TraceOutcome::Dropped => return self.traces_dropped.increment(1),
        }
        if let Some(took) = took {
            self.effect_seconds.record(took);
        }
    }

    /// So many writes were committed together, or were to be.
    pub(crate) fn committed(&self, write_count: usize, took: Duration) {
        self.commit_seconds.record(took);
        // Groups are small numbers: no precision is lost.
        self.commit_writes.record(write_count as f64);
        self.commit_queue_depth.decrement(write_count as f64);
    }
}

fn started(name: &'static str) -> Counter {
    counter!(TRACES_STARTED, "name" => name)
}

/// How the end of a run is called in fields and labels.
pub(super) fn state(outcome: &TaskOutcome) -> &'static str {
    match outcome {
        TaskOutcome::Ok(_) => "completed",
        TaskOutcome::Err(_) => "failed",
        TaskOutcome::Cancelled => "cancelled",
    }
}
