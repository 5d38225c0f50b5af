//! Numbers, for whatever recorder the program has installed with the `metrics` facade.
//!
//! An engine takes its handles from the recorder when it is opened, so that counting is an atomic addition, or nothing if
//! there is no recorder. A recorder is to be installed before the engine is opened.
//!
//! Labels are bounded: `task` and `name` are those that the program links in, and `other` for all else, as a store may hold runs
//! of any task. What is counted for each is taken when the engine is opened, so that nothing is looked up by name while a
//! trace runs.
//!
//! Invariant: `relive_runs_*` gauges count the runs that the engine holds in each state; they are back at 0 when it is gone.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use crate::definition::{Registry, TraceDefinition};
use crate::event::{TaskOutcome, TraceOutcome};
use crate::handle::CellState;

use super::guarded::{Counted, Counter, Gauge, Histogram, counter, gauge, guarded, histogram};

const RUNS_STARTED: &str = "relive_runs_started_total";
const RUNS_ENDED: &str = "relive_runs_ended_total";
const RUNS_DELETED: &str = "relive_runs_deleted_total";
const RETENTION_ERRORS: &str = "relive_retention_errors_total";
const RUNS_UNDER_WAY: &str = "relive_runs_under_way";
const RUNS_ASLEEP: &str = "relive_runs_asleep";
const RUNS_QUEUED: &str = "relive_runs_queued";
const RUNS_BLOCKED: &str = "relive_runs_blocked";
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

/// How tasks and traces are called that have no number of their own.
const OTHER: &str = "other";

/// So many definitions that are in no registry are counted by their names: 1,000, more than programs have generic traces.
const FOUND_TRACES_MAX: usize = 1_000;

/// Says what each of them is. `docs/guide.md` has the same table.
fn describe() {
    describe_counter!(RUNS_STARTED, Unit::Count, "runs that were started new, by task");
    describe_counter!(RUNS_ENDED, Unit::Count, "runs that ended, by task and state: completed, failed, cancelled");
    describe_counter!(
        RUNS_DELETED,
        Unit::Count,
        "finished runs that were deleted, as their time was over or somebody asked"
    );
    describe_counter!(RETENTION_ERRORS, Unit::Count, "what kept runs from being deleted when their time was over");
    describe_gauge!(
        RUNS_UNDER_WAY,
        Unit::Count,
        "runs whose loop is under way, also while they wait in memory, by task"
    );
    describe_gauge!(RUNS_ASLEEP, Unit::Count, "runs that only wait for a time, and were put to sleep: not in memory");
    describe_gauge!(
        RUNS_QUEUED,
        Unit::Count,
        "runs that wait for their turn, as `runs_max` others are under way, by task"
    );
    describe_gauge!(RUNS_BLOCKED, Unit::Count, "runs that cannot go on until somebody acts, by task");
    describe_counter!(TRACES_STARTED, Unit::Count, "traces whose effect began in this process, by name");
    describe_counter!(
        TRACES_COMPLETED,
        Unit::Count,
        "traces whose effect ended, by name and outcome: ok, error, dropped"
    );
    describe_counter!(TRACE_RETRIES, Unit::Count, "tries that failed and that another one follows, by name");
    describe_counter!(TRACES_REPLAYED, Unit::Count, "traces that were answered from the log, without an effect");
    describe_counter!(CACHE_HITS, Unit::Count, "calls of tasks that the cache answered");
    describe_counter!(CACHE_MISSES, Unit::Count, "calls of tasks that the cache could not answer");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "how long a commit took, with its sync");
    describe_histogram!(COMMIT_WRITES, Unit::Count, "how many writes became durable in one commit");
    describe_gauge!(COMMIT_QUEUE_DEPTH, Unit::Count, "writes that were submitted and are not durable yet");
    describe_histogram!(
        EFFECT_SECONDS,
        Unit::Seconds,
        "how long an effect took, by name, with all its tries; without what just waits"
    );
}

/// An engine's handles.
pub(crate) struct Metrics {
    pub(crate) runs_deleted: Counter,
    pub(crate) retention_errors: Counter,
    /// Counted by `sleepers`.
    pub(crate) runs_asleep: Gauge,
    /// Of the program's tasks, by name.
    tasks: FxHashMap<&'static str, Arc<TaskNumbers>>,
    /// Of runs whose task the program does not have.
    other_tasks: Arc<TaskNumbers>,
    /// Of the traces that the engine knew when it was opened, by the address of the definition: read without a lock and
    /// without looking at a name, as every trace comes here.
    traces: FxHashMap<usize, Arc<TraceNumbers>>,
    /// Of those that it came to know since, as they are in no registry: Relive's own, and generic ones.
    found_traces: RwLock<FxHashMap<usize, Arc<TraceNumbers>>>,
    /// Of those that are beyond [`FOUND_TRACES_MAX`].
    other_traces: TraceNumbers,
    pub(crate) traces_replayed: Counter,
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    commit_seconds: Histogram,
    commit_writes: Histogram,
    commit_queue_depth: Gauge,
}

/// What is counted of a task's runs.
pub(crate) struct TaskNumbers {
    pub(crate) started: Counter,
    completed: Counter,
    failed: Counter,
    cancelled: Counter,
    under_way: Gauge,
    queued: Gauge,
    blocked: Gauge,
}

/// What is counted of a trace's effects.
pub(crate) struct TraceNumbers {
    name: &'static str,
    pub(crate) started: Counter,
    ok: Counter,
    failed: Counter,
    dropped: Counter,
    pub(crate) retries: Counter,
    seconds: Histogram,
}

impl Metrics {
    /// Takes the handles from the recorder that is in force on this thread.
    pub(crate) fn new(registry: &Registry) -> Self {
        guarded(describe);
        let traces = registry.traces().map(|trace| (address(trace), Arc::new(TraceNumbers::of(trace.name))));
        Self {
            runs_deleted: counter!(RUNS_DELETED),
            retention_errors: counter!(RETENTION_ERRORS),
            runs_asleep: gauge!(RUNS_ASLEEP),
            tasks: registry.task_names().map(|name| (name, Arc::new(TaskNumbers::of(name)))).collect(),
            other_tasks: Arc::new(TaskNumbers::of(OTHER)),
            traces: traces.collect(),
            found_traces: RwLock::default(),
            other_traces: TraceNumbers::of(OTHER),
            traces_replayed: counter!(TRACES_REPLAYED),
            cache_hits: counter!(CACHE_HITS),
            cache_misses: counter!(CACHE_MISSES),
            commit_seconds: histogram!(COMMIT_SECONDS),
            commit_writes: histogram!(COMMIT_WRITES),
            commit_queue_depth: gauge!(COMMIT_QUEUE_DEPTH),
        }
    }

    /// What is counted of a task's runs; to be kept with the run, as it is found by name.
    pub(crate) fn task(&self, name: &str) -> Arc<TaskNumbers> {
        Arc::clone(self.tasks.get(name).unwrap_or(&self.other_tasks))
    }

    /// Counts something of a trace.
    pub(crate) fn of_trace(&self, definition: &'static TraceDefinition, count: impl FnOnce(&TraceNumbers)) {
        let address = address(definition);
        if let Some(numbers) = self.traces.get(&address) {
            return count(numbers);
        }
        if let Some(numbers) = self.found_traces.read().get(&address) {
            return count(numbers);
        }
        let mut found = self.found_traces.write();
        if found.len() >= FOUND_TRACES_MAX {
            drop(found);
            return count(&self.other_traces);
        }
        // A generic trace has a definition for each of its types, and one name.
        let named = self.traces.values().chain(found.values()).find(|numbers| numbers.name == definition.name);
        let numbers = named.cloned().unwrap_or_else(|| Arc::new(TraceNumbers::of(definition.name)));
        count(found.entry(address).or_insert(numbers));
    }

    /// A write waits to be committed, until what this gives is dropped.
    pub(crate) fn submitted(&self) -> Counted {
        Counted::by(&self.commit_queue_depth)
    }

    /// So many writes were committed together, or were to be.
    pub(crate) fn committed(&self, write_count: usize, took: Duration) {
        self.commit_seconds.record(took);
        // Groups are small numbers: no precision is lost.
        self.commit_writes.record(write_count as f64);
    }
}

/// What tells definitions apart: they are all in the program's own memory, for as long as it runs.
fn address(definition: &'static TraceDefinition) -> usize {
    std::ptr::from_ref(definition).addr()
}

impl TaskNumbers {
    fn of(task: &'static str) -> Self {
        let ended = |state: &'static str| counter!(RUNS_ENDED, "task" => task, "state" => state);
        Self {
            started: counter!(RUNS_STARTED, "task" => task),
            completed: ended("completed"),
            failed: ended("failed"),
            cancelled: ended("cancelled"),
            under_way: gauge!(RUNS_UNDER_WAY, "task" => task),
            queued: gauge!(RUNS_QUEUED, "task" => task),
            blocked: gauge!(RUNS_BLOCKED, "task" => task),
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
                TaskOutcome::Ok(_) => self.completed.increment(1),
                TaskOutcome::Err(_) => self.failed.increment(1),
                TaskOutcome::Cancelled => self.cancelled.increment(1),
            }
        }
    }

    fn gauge_of(&self, state: &CellState) -> Option<&Gauge> {
        match state {
            CellState::Starting | CellState::Running => Some(&self.under_way),
            CellState::Queued => Some(&self.queued),
            CellState::Blocked(_) | CellState::Ending(_) => Some(&self.blocked),
            CellState::Asleep | CellState::Stopped(_) | CellState::Done(_) => None,
        }
    }
}

impl TraceNumbers {
    fn of(name: &'static str) -> Self {
        let ended = |outcome: &'static str| counter!(TRACES_COMPLETED, "name" => name, "outcome" => outcome);
        Self {
            name,
            started: counter!(TRACES_STARTED, "name" => name),
            ok: ended("ok"),
            failed: ended("error"),
            dropped: ended("dropped"),
            retries: counter!(TRACE_RETRIES, "name" => name),
            seconds: histogram!(EFFECT_SECONDS, "name" => name),
        }
    }

    /// A trace's effect ended, or was dropped. `took` is `None` if it just waited.
    pub(crate) fn completed(&self, outcome: &TraceOutcome, took: Option<Duration>) {
        match outcome {
            TraceOutcome::Ok(_) => self.ok.increment(1),
            TraceOutcome::Err(_) => self.failed.increment(1),
            TraceOutcome::Dropped => return self.dropped.increment(1),
        }
        if let Some(took) = took {
            self.seconds.record(took);
        }
    }
}

/// How the end of a run is called in fields and labels.
pub(super) fn state(outcome: &TaskOutcome) -> &'static str {
    match outcome {
        TaskOutcome::Ok(_) => "completed",
        TaskOutcome::Err(_) => "failed",
        TaskOutcome::Cancelled => "cancelled",
    }
}
