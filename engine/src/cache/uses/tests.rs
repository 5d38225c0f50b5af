//! What logs prove and what they do not, and lists that are put together.

use relive_storage::{Durability, MemoryStore, Store, Write};

use super::*;
use crate::definition::{CacheMode, CachePolicy, TaskPolicy};
use crate::event::{ErrorRecord, TraceCompleted, TraceForm, TraceStarted};
use crate::id::{InputHash, Timestamp};
use crate::payload::{Payload, PayloadError};

const PARENT: RunId = RunId::from_bytes([1; 16]);
const CHILD: RunId = RunId::from_bytes([2; 16]);

fn code(byte: u8) -> CodeHash {
    CodeHash::from_bytes([byte; 16])
}

fn started(cause: Cause) -> Event {
    Event::TaskStarted(TaskStarted {
        task: "task".into(),
        code: code(1),
        input: Payload::encode(&()).unwrap(),
        attempt: 1,
        cause,
        id: None,
        parent: None,
        tags: Vec::new(),
        at: Timestamp(0),
    })
}

fn call(name: &'static str, version: u8, child: Option<RunId>) -> Event {
    Event::TraceStarted(TraceStarted {
        name: name.into(),
        code: code(version),
        input_hash: InputHash::of(b""),
        occurrence: 0,
        input: Payload::encode(&()).unwrap(),
        file: "".into(),
        line: 0,
        form: TraceForm::Future,
        within: None,
        child,
        group: None,
        at: Timestamp(0),
    })
}

fn completed(trace: u64) -> Event {
    Event::TraceCompleted(TraceCompleted {
        trace: Sequence(trace),
        outcome: TraceOutcome::Ok(Payload::encode(&()).unwrap()),
        tries: 1,
        started_at: Timestamp(0),
        duration_micros: 0,
        repeats: None,
    })
}

fn ended(outcome: TaskOutcome, version: u8) -> Event {
    let code = code(version);
    Event::TaskCompleted(TaskCompleted { outcome, imposed: false, code, retry_at: None, at: Timestamp(0) })
}

fn succeeded() -> Event {
    ended(TaskOutcome::Ok(Payload::encode(&()).unwrap()), 1)
}

/// Writes a log: a list of events for each life of the process.
fn write(store: &MemoryStore, run: RunId, lives: Vec<Vec<Event>>) {
    let mut first = 0;
    for (epoch, events) in (1..).zip(lives) {
        let mut reader = LogReader::new(Arc::new(store.clone()), run);
        while reader.next_batch().unwrap().is_some() {}
        let count = events.len() as u64;
        let mut writer = reader.into_writer(Epoch(epoch));
        let (operations, _) = writer.append(Sequence(first), events, true).unwrap();
        store.commit(&[Write { preconditions: vec![], operations }], Durability::Buffered).unwrap();
        first += count;
    }
}

fn task(name: &'static str, mode: CacheMode) -> &'static TaskDefinition {
    Box::leak(Box::new(TaskDefinition {
        name,
        code: code(1),
        file: "",
        line: 0,
        module: "",
        cache: CachePolicy { mode, ..CachePolicy::DEFAULT },
        policy: TaskPolicy::DEFAULT,
        canonical: |_, _| Err(PayloadError::new("is not asked for")),
        body: |_| Err(PayloadError::new("is not run")),
    }))
}

fn proven(store: &MemoryStore, child: &'static TaskDefinition) -> Option<Vec<Used>> {
    let store: Arc<dyn Read> = Arc::new(store.clone());
    let registry = Registry::new([child], []).unwrap();
    proof(&store, &registry, PARENT).unwrap().map(|proof| proof.uses)
}

fn proves(lives: Vec<Vec<Event>>) -> bool {
    let store = MemoryStore::new();
    write(&store, PARENT, lives);
    proven(&store, task("child", CacheMode::Auto)).is_some()
}

#[test]
fn a_log_proves_a_success_of_one_code_and_one_attempt() {
    let trace = |version| call("a", version, None);
    assert!(proves(vec![vec![started(Cause::New), trace(1), completed(1), succeeded()]]));
    assert!(proves(vec![vec![started(Cause::New), trace(1), completed(1)], vec![succeeded()]]));
    let failed = || ended(TaskOutcome::Err(ErrorRecord::new(crate::error::ErrorKind::Failed, "")), 1);
    for (why, lives) in [
        ("it is unfinished", vec![vec![started(Cause::New), trace(1)]]),
        ("it failed", vec![vec![started(Cause::New), failed()]]),
        ("it was cancelled", vec![vec![started(Cause::New), ended(TaskOutcome::Cancelled, 1)]]),
        (
            "it was begun by other code",
            vec![vec![started(Cause::New), ended(TaskOutcome::Ok(Payload::encode(&()).unwrap()), 2)]],
        ),
        ("it is a copy", vec![vec![started(Cause::Cached), succeeded()]]),
        ("it is a second attempt", vec![vec![started(Cause::New), failed(), started(Cause::Retried), succeeded()]]),
        (
            "a trace had two codes",
            vec![vec![started(Cause::New), trace(1), completed(1), trace(2), completed(3), succeeded()]],
        ),
        ("an effect began in another life", vec![vec![started(Cause::New), trace(1)], vec![completed(1), succeeded()]]),
    ] {
        assert!(!proves(lives), "{why}");
    }
}

#[test]
fn a_log_proves_what_its_child_runs_used() {
    let parent = || vec![vec![started(Cause::New), call("child", 1, Some(CHILD)), completed(1), succeeded()]];
    let child = |version| vec![vec![started(Cause::New), call("b", version, None), completed(1), succeeded()]];
    let store = MemoryStore::new();
    write(&store, PARENT, parent());
    assert_eq!(proven(&store, task("child", CacheMode::Auto)), None, "the child is not there");
    write(&store, CHILD, child(7));
    let uses = proven(&store, task("child", CacheMode::Auto)).unwrap();
    assert_eq!(uses, [used("b", 7), Used { is_task: true, ..used("child", 1) }]);
    assert_eq!(proven(&store, task("other", CacheMode::Auto)), None, "what it is no one knows");
    let versioned = task("child", CacheMode::Version("1"));
    assert_eq!(proven(&store, versioned), None, "no log says which version it was");
}

fn used(name: &str, code: u8) -> Used {
    Used::trace(name, CodeHash::from_bytes([code; 16]))
}

#[test]
fn what_a_child_used_counts_once() {
    let mut uses = vec![used("a", 1)];
    assert!(merge(&mut uses, &[used("b", 2), used("a", 1), used("b", 2)]));
    assert_eq!(uses, [used("a", 1), used("b", 2)]);
}

#[test]
fn two_codes_of_one_name_are_found_out() {
    let mut uses = vec![used("a", 1)];
    assert!(!merge(&mut uses, &[used("a", 2)]));
    let task = Used { is_task: true, ..used("a", 2) };
    assert!(merge(&mut uses, &[task]), "a task and a trace may have one name");
}
