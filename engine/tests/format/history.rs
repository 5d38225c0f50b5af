//! What the fixtures hold, as values: runs that use every event, outcome and error kind, and every index record.
//!
//! Read by `main`, which writes it, reads it back from a fixture, and compares.
//!
//! Invariant: it stays as it is for as long as its format version is readable. What a new version adds gets a history of
//! its own.

use std::collections::BTreeMap;
use std::time::Duration;

use relive_engine::canonical::canonical;
use relive_engine::error::ErrorKind;
use relive_engine::event::{
    Batch, Cause, ErrorRecord, Event, TaskCompleted, TaskOutcome, TaskStarted, TraceCompleted, TraceOutcome,
    TraceStarted,
};
use relive_engine::id::{CodeHash, Epoch, InputHash, RunId, Sequence, Timestamp};
use relive_engine::index::{CacheRecord, IdRecord, RunRecord, RunState, UnfinishedRecord, Used};
use relive_engine::payload::Payload;
use serde::Serialize;

/// How often the store had been opened to write.
pub(crate) const EPOCH: Epoch = Epoch(3);

/// The caller's id of the completed run.
pub(crate) const ID: &str = "nächtlich-7";

/// Every error kind, in the order of their numbers.
#[rustfmt::skip]
pub(crate) const ERROR_KINDS: [ErrorKind; 20] = [
    ErrorKind::Failed, ErrorKind::Panicked, ErrorKind::Cancelled, ErrorKind::OutsideTask, ErrorKind::ForeignAwait,
    ErrorKind::Diverged, ErrorKind::Payload, ErrorKind::NotProvided, ErrorKind::Unsupported, ErrorKind::DuplicateName,
    ErrorKind::UnknownTask, ErrorKind::UnknownRun, ErrorKind::IdTaken, ErrorKind::Closed, ErrorKind::Storage,
    ErrorKind::InUse, ErrorKind::Permission, ErrorKind::NotAStore, ErrorKind::NewerFormat, ErrorKind::Corrupt,
];

const TASK_CODE: CodeHash = CodeHash::from_bytes(*b"code of the task");
const TRACE_CODE: CodeHash = CodeHash::from_bytes(*b"code of a trace.");
const BUILT_IN_CODE: CodeHash = CodeHash::from_bytes([1; 16]);

/// 2026-01-02 03:04:05 UTC.
const START: Timestamp = Timestamp(1_767_323_045_000_000);

/// A run: its row in `runs`, and its log.
pub(crate) struct Run {
    pub(crate) run: RunId,
    pub(crate) record: RunRecord,
    pub(crate) batches: Vec<Batch>,
}

/// All runs, the oldest first.
pub(crate) fn runs() -> Vec<Run> {
    vec![completed(), failed(), cancelled(), cached(), unfinished()]
}

/// Traces that end in every way, and one that is answered within its step. A second life of the process finished it.
fn completed() -> Run {
    let mut log = Log::new(1, "digest", Some(ID));
    log.batch(1, true, |events, first| {
        events.push(started("digest", &URLS, Cause::New, Some(ID)));
        events.push(call("now", &none(), true, 12));
        events.push(completion(first + 1, TraceOutcome::Ok(payload(&START.0)), 0, Timestamp(-1)));
        events.push(call("fetch", &one("url", "ä"), false, 250));
        events.push(call("fetch", &one("url", "b"), false, 251));
        events.push(call("approve", &one("by", "ada"), false, 70_000));
    });
    log.batch(1, true, |events, _| {
        events.push(completion(4, TraceOutcome::Ok(payload(&"contents of b")), 65_536, START));
        events.push(call("fetch", &one("url", "b"), false, 252));
    });
    log.batch(2, true, |events, first| {
        let error = ErrorRecord {
            kind: ErrorKind::Failed,
            message: "cannot be fetched".to_owned(),
            sources: vec!["connection refused".to_owned(), "os error 111".to_owned()],
            type_name: "reqwest::Error".into(),
        };
        events.push(completion(3, TraceOutcome::Err(error), 1 << 33, START));
        events.push(completion(5, TraceOutcome::Dropped, 251, START));
        events.push(completion(first - 1, TraceOutcome::Dropped, 0, START));
        events.push(end(TaskOutcome::Ok(payload(&[1u64, 300, 70_000, u64::MAX])), false));
    });
    log.finished(RunState::Completed)
}

/// A trace for every error kind, one delivery after the other; ended by the engine.
fn failed() -> Run {
    let mut log = Log::new(2, "fragile", None);
    log.batch(1, true, |events, _| {
        events.push(started("fragile", &none(), Cause::New, None));
        let calls = (0..ERROR_KINDS.len()).map(|index| call("attempt", &one("index", index), false, 7));
        events.extend(calls);
    });
    for (index, kind) in ERROR_KINDS.into_iter().enumerate() {
        log.batch(1, true, |events, _| {
            let outcome = TraceOutcome::Err(ErrorRecord::new(kind, format!("{kind:?}")));
            events.push(completion(1 + index as u64, outcome, index as u64, START));
        });
    }
    log.batch(1, true, |events, _| {
        events.push(end(TaskOutcome::Err(ErrorRecord::new(ErrorKind::ForeignAwait, "a timer")), true));
    });
    log.finished(RunState::Failed)
}

/// Cancelled before its turn came: its first step was never completed. The first record is shown in `docs/format.md`.
fn cancelled() -> Run {
    let mut log = Log::new(3, "hello", None);
    log.batch(2, false, |events, _| events.push(started("hello", &one("name", "Ada"), Cause::New, None)));
    log.batch(2, true, |events, _| events.push(end(TaskOutcome::Cancelled, true)));
    log.finished(RunState::Cancelled)
}

/// An id whose result was in the cache.
fn cached() -> Run {
    let mut log = Log::new(4, "digest", Some("again"));
    log.batch(3, true, |events, _| {
        events.push(started("digest", &URLS, Cause::Cached, Some("again")));
        events.push(end(TaskOutcome::Ok(payload(&[1u64, 300, 70_000, u64::MAX])), true));
    });
    log.finished(RunState::Completed)
}

/// Under way when the process ended. Its first step was cut in two.
fn unfinished() -> Run {
    let mut log = Log::new(5, "release", None);
    log.batch(3, false, |events, _| {
        events.push(started("release", &one("version", 1.5), Cause::New, None));
        events.push(call("build", &one("target", Some(-7i64)), false, 1));
    });
    log.batch(3, true, |events, _| events.push(call("sign", &one("bytes", [0u8, 255]), false, 2)));
    Run { record: log.record(RunState::Unfinished, None), run: log.run, batches: log.batches }
}

/// The row in `unfinished`.
pub(crate) fn unfinished_record() -> UnfinishedRecord {
    UnfinishedRecord { task: "release".to_owned(), code: TASK_CODE, call_key: hash(&one("version", 1.5)) }
}

/// The rows in `ids`.
pub(crate) fn ids() -> Vec<(&'static str, IdRecord)> {
    let record = |run| IdRecord { run: run_id(run), task: "digest".to_owned(), input_hash: hash(&URLS) };
    vec![("again", record(4)), (ID, record(1))]
}

/// The row in `cache`, and the hash of its input.
pub(crate) fn cache() -> (CacheRecord, [u8; 32]) {
    let record = CacheRecord {
        task: "digest".to_owned(),
        code: TASK_CODE,
        version: None,
        salt: String::new(),
        input: payload(&URLS),
        result: payload(&[1u64, 300, 70_000, u64::MAX]),
        uses: vec![Used::trace("now", BUILT_IN_CODE), Used::trace("fetch", TRACE_CODE)],
        run: run_id(1),
        created_at: START,
    };
    (record, hash(&URLS))
}

/// An input of two arguments.
const URLS: Urls = Urls { urls: &["ä", "b"], depth: None };

#[derive(Serialize)]
struct Urls {
    urls: &'static [&'static str],
    depth: Option<u8>,
}

/// A log in the making.
struct Log {
    run: RunId,
    task: &'static str,
    id: Option<&'static str>,
    batches: Vec<Batch>,
    next: u64,
}

impl Log {
    fn new(number: u8, task: &'static str, id: Option<&'static str>) -> Self {
        Self { run: run_id(number), task, id, batches: Vec::new(), next: 0 }
    }

    /// Adds a batch; `fill` is told the position of its first event.
    fn batch(&mut self, epoch: u32, settled: bool, fill: impl FnOnce(&mut Vec<Event>, u64)) {
        let mut events = Vec::new();
        fill(&mut events, self.next);
        let first = Sequence(self.next);
        self.next += events.len() as u64;
        self.batches.push(Batch { first, epoch: Epoch(epoch), settled, events });
    }

    fn record(&self, state: RunState, finished_at: Option<Timestamp>) -> RunRecord {
        let id = self.id.map(str::to_owned);
        RunRecord { task: self.task.to_owned(), id, state, started_at: START, finished_at }
    }

    fn finished(self, state: RunState) -> Run {
        Run { record: self.record(state, Some(after(Duration::from_secs(1)))), run: self.run, batches: self.batches }
    }
}

fn run_id(number: u8) -> RunId {
    RunId::new(START, [number; 10])
}

fn after(duration: Duration) -> Timestamp {
    Timestamp(START.0 + i64::try_from(duration.as_micros()).expect("a short while"))
}

fn payload<T: Serialize>(value: &T) -> Payload {
    Payload::encode(value).expect("plain data")
}

/// The `blake3` of an input's canonical form.
fn hash<T: Serialize>(input: &T) -> [u8; 32] {
    *blake3::hash(&canonical(input).expect("plain data")).as_bytes()
}

/// An input without arguments.
fn none() -> BTreeMap<&'static str, ()> {
    BTreeMap::new()
}

/// An input of one argument.
fn one<T>(name: &'static str, value: T) -> BTreeMap<&'static str, T> {
    BTreeMap::from([(name, value)])
}

fn started<T: Serialize>(task: &'static str, input: &T, cause: Cause, id: Option<&str>) -> Event {
    let (input, id) = (payload(input), id.map(str::to_owned));
    Event::TaskStarted(TaskStarted { task: task.into(), code: TASK_CODE, input, attempt: 1, cause, id, at: START })
}

fn call<T: Serialize>(name: &'static str, input: &T, immediate: bool, line: u32) -> Event {
    Event::TraceStarted(TraceStarted {
        name: name.into(),
        code: if immediate { BUILT_IN_CODE } else { TRACE_CODE },
        input_hash: InputHash::of(&canonical(input).expect("plain data")),
        occurrence: u32::from(line == 252),
        input: payload(input),
        file: "src/digest.rs".into(),
        line,
        immediate,
        at: after(Duration::from_micros(line.into())),
    })
}

fn completion(trace: u64, outcome: TraceOutcome, duration_micros: u64, started_at: Timestamp) -> Event {
    let tries = u32::from(outcome != TraceOutcome::Dropped);
    Event::TraceCompleted(TraceCompleted { trace: Sequence(trace), outcome, tries, started_at, duration_micros })
}

fn end(outcome: TaskOutcome, imposed: bool) -> Event {
    Event::TaskCompleted(TaskCompleted { outcome, imposed, code: TASK_CODE, at: after(Duration::from_secs(1)) })
}
