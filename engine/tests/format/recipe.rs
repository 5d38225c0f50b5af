//! How the fixtures' logs are put together: a log in the making, and short words for events and payloads.

use std::collections::BTreeMap;
use std::sync::Arc;

use relive_engine::canonical::canonical;
use relive_engine::event::{
    Batch, Cause, ErrorRecord, Event, Parent, SignalReceived, TaskCompleted, TaskOutcome, TaskStarted, TraceCompleted,
    TraceForm, TraceOutcome, TraceRetried, TraceStarted, TraceYielded,
};
use relive_engine::id::{CodeHash, Epoch, InputHash, RunId, Sequence, Timestamp};
use relive_engine::index::{RunRecord, RunState};
use relive_engine::payload::{Encoding, Payload, PayloadCodec, PayloadHook};
use serde::Serialize;

pub(crate) const TASK_CODE: CodeHash = CodeHash::from_bytes(*b"code of the task");
pub(crate) const TRACE_CODE: CodeHash = CodeHash::from_bytes(*b"code of a trace.");
pub(crate) const BUILT_IN_CODE: CodeHash = CodeHash::from_bytes([1; 16]);

/// 2026-01-02 03:04:05 UTC.
pub(crate) const START: Timestamp = Timestamp(1_767_323_045_000_000);

pub(crate) const END: Timestamp = Timestamp(START.0 + 1_000_000);

/// When the next try or attempt is due.
pub(crate) const RETRY_AT: Timestamp = Timestamp(START.0 + 5_000_000);

/// A run: its row in `runs`, and its log.
pub(crate) struct Run {
    pub(crate) run: RunId,
    pub(crate) record: RunRecord,
    pub(crate) batches: Vec<Batch>,
}

/// A log in the making.
pub(crate) struct Log {
    run: RunId,
    task: &'static str,
    id: Option<&'static str>,
    pub(crate) parent: Option<Parent>,
    pub(crate) tags: Vec<(String, String)>,
    input: Option<Payload>,
    attempt: u32,
    attempt_at: Sequence,
    batches: Vec<Batch>,
    /// Position of the first of `events`.
    next: u64,
    /// Of the batch that is made.
    pub(crate) events: Vec<Event>,
}

impl Log {
    pub(crate) fn new(number: u8, task: &'static str, id: Option<&'static str>) -> Self {
        Self {
            run: run_id(number),
            task,
            id,
            parent: None,
            tags: Vec::new(),
            input: None,
            attempt: 1,
            attempt_at: Sequence(0),
            batches: Vec::new(),
            next: 0,
            events: Vec::new(),
        }
    }

    /// Adds a batch.
    pub(crate) fn batch(&mut self, epoch: u32, settled: bool, fill: impl FnOnce(&mut Self)) {
        fill(self);
        let events = std::mem::take(&mut self.events);
        let first = Sequence(self.next);
        self.next += events.len() as u64;
        self.batches.push(Batch { first, epoch: Epoch(epoch), settled, events });
    }

    /// Adds a batch that begins another attempt.
    pub(crate) fn attempt(&mut self, attempt: u32, cause: Cause, fill: impl FnOnce(&mut Self)) {
        self.batch(3, true, |log| {
            log.begin_attempt(attempt, cause);
            fill(log);
        });
    }

    pub(crate) fn begin<T: Serialize>(&mut self, input: &T, cause: Cause) {
        self.input = Some(payload(input));
        self.begin_attempt(1, cause);
    }

    pub(crate) fn begin_attempt(&mut self, attempt: u32, cause: Cause) {
        self.attempt = attempt;
        self.attempt_at = Sequence(self.next + self.events.len() as u64);
        self.events.push(Event::TaskStarted(TaskStarted {
            task: self.task.into(),
            code: TASK_CODE,
            input: self.input.clone().expect("the first attempt has it"),
            attempt,
            cause,
            id: self.id.map(str::to_owned),
            parent: self.parent,
            tags: self.tags.clone(),
            at: START,
        }));
    }

    /// Adds a call; gives its position.
    pub(crate) fn call(&mut self, call: TraceStarted) -> u64 {
        self.events.push(Event::TraceStarted(call));
        self.next + self.events.len() as u64 - 1
    }

    pub(crate) fn complete(&mut self, trace: u64, outcome: TraceOutcome, duration_micros: u64) {
        self.events.push(Event::TraceCompleted(completion(trace, outcome, duration_micros)));
    }

    pub(crate) fn item(&mut self, trace: u64, index: u64, item: Payload) {
        self.events.push(Event::TraceYielded(yielded(trace, index, item)));
    }

    pub(crate) fn retry(&mut self, trace: u64, error: ErrorRecord) {
        let (due, started_at) = (RETRY_AT, START);
        let trace = Sequence(trace);
        self.events.push(Event::TraceRetried(TraceRetried {
            trace,
            tries: 1,
            error,
            due,
            started_at,
            duration_micros: 300,
        }));
    }

    pub(crate) fn end(&mut self, outcome: TaskOutcome, imposed: bool) {
        self.events.push(Event::TaskCompleted(TaskCompleted {
            outcome,
            imposed,
            code: TASK_CODE,
            retry_at: None,
            at: END,
        }));
    }

    pub(crate) fn end_to_be_retried(&mut self, outcome: TaskOutcome) {
        let retry_at = Some(RETRY_AT);
        let completed = TaskCompleted { outcome, imposed: false, code: TASK_CODE, retry_at, at: END };
        self.events.push(Event::TaskCompleted(completed));
    }

    pub(crate) fn unfinished(self) -> Run {
        self.run(RunState::Unfinished, None)
    }

    pub(crate) fn finished(self, state: RunState) -> Run {
        self.run(state, Some(END))
    }

    pub(crate) fn run(self, state: RunState, finished_at: Option<Timestamp>) -> Run {
        let record = RunRecord {
            task: self.task.to_owned(),
            id: self.id.map(str::to_owned),
            state,
            started_at: START,
            finished_at,
            attempts: self.attempt,
            attempt_at: self.attempt_at,
            parent: self.parent.map(|parent| parent.run),
            tags: self.tags,
        };
        Run { run: self.run, record, batches: self.batches }
    }
}

pub(crate) fn run_id(number: u8) -> RunId {
    RunId::new(START, [number; 10])
}

pub(crate) fn payload<T: Serialize>(value: &T) -> Payload {
    Payload::encode(value).expect("plain data")
}

/// The `blake3` of an input's canonical form.
pub(crate) fn hash<T: Serialize>(input: &T) -> [u8; 32] {
    *blake3::hash(&canonical(input).expect("plain data")).as_bytes()
}

/// An input without arguments.
pub(crate) fn none() -> BTreeMap<&'static str, ()> {
    BTreeMap::new()
}

/// An input of one argument.
pub(crate) fn one<T>(name: &'static str, value: T) -> BTreeMap<&'static str, T> {
    BTreeMap::from([(name, value)])
}

pub(crate) fn call<T: Serialize>(name: &'static str, input: &T, line: u32) -> TraceStarted {
    TraceStarted {
        name: name.into(),
        code: if name == "now" || name.starts_with("relive::") { BUILT_IN_CODE } else { TRACE_CODE },
        input_hash: InputHash::of(&canonical(input).expect("plain data")),
        occurrence: u32::from(line == 252),
        input: payload(input),
        file: "src/digest.rs".into(),
        line,
        form: TraceForm::Future,
        within: None,
        child: None,
        group: None,
        at: Timestamp(START.0 + i64::from(line)),
    }
}

pub(crate) fn of(form: TraceForm, call: TraceStarted) -> TraceStarted {
    TraceStarted { form, ..call }
}

pub(crate) fn completion(trace: u64, outcome: TraceOutcome, duration_micros: u64) -> TraceCompleted {
    let tries = u32::from(outcome != TraceOutcome::Dropped);
    let started_at = if duration_micros == 0 { Timestamp(-1) } else { START };
    TraceCompleted { trace: Sequence(trace), outcome, tries, started_at, duration_micros, repeats: None }
}

pub(crate) fn yielded(trace: u64, index: u64, item: Payload) -> TraceYielded {
    TraceYielded { trace: Sequence(trace), index, item, repeats: None }
}

pub(crate) fn signal(name: &str, value: bool) -> SignalReceived {
    SignalReceived { name: name.to_owned(), value: payload(&value), at: START }
}

pub(crate) fn in_codec<T: Serialize>(codec: PayloadCodec, value: &T) -> Payload {
    Payload::encode_with(&Encoding::DEFAULT.with_codec(Some(codec)), value).expect("plain data")
}

/// A payload that a hook sealed.
pub(crate) fn sealed(value: &str) -> Payload {
    Payload::encode_with(&Encoding::DEFAULT.with_hook(Arc::new(Backwards)), value).expect("plain data")
}

/// Writes the bytes from the last to the first.
struct Backwards;

impl PayloadHook for Backwards {
    fn id(&self) -> u8 {
        200
    }

    fn name(&self) -> &str {
        "backwards"
    }

    fn seal(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        Ok(bytes.iter().rev().copied().collect())
    }

    fn open(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        self.seal(bytes)
    }
}
