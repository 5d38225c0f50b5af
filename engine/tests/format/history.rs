//! What the fixtures hold, as values: runs that use every event, outcome and error kind, and every index record.
//!
//! Read by `main`, which writes it, reads it back from a fixture, and compares.
//!
//! Invariant: it stays as it is for as long as its format version is readable. What a new version adds gets a history of
//! its own.

use relive_engine::error::ErrorKind;
use relive_engine::event::{
    Cause, ErrorRecord, Event, Parent, Rerun, SignalReceived, TaskOutcome, TraceCompleted, TraceForm, TraceOutcome,
    TraceStarted, TraceYielded,
};
use relive_engine::id::{CodeHash, Epoch, RunId, Sequence, Timestamp};
use relive_engine::index::{BlockReason, Blocked, CacheRecord, IdRecord, RunState, Standing, UnfinishedRecord, Used};
use relive_engine::payload::PayloadCodec;
use serde::Serialize;

use crate::recipe::{
    BUILT_IN_CODE, END, Log, RETRY_AT, Run, START, TASK_CODE, TRACE_CODE, call, completion, hash, in_codec, none, of,
    one, payload, run_id, sealed, signal, yielded,
};

/// How often the store had been opened to write.
pub(crate) const EPOCH: Epoch = Epoch(3);

/// The caller's id of the completed run.
pub(crate) const ID: &str = "nächtlich-7";

/// Every error kind, in the order of their numbers.
#[rustfmt::skip]
pub(crate) const ERROR_KINDS: [ErrorKind; 26] = [
    ErrorKind::Failed, ErrorKind::Panicked, ErrorKind::Cancelled, ErrorKind::OutsideTask, ErrorKind::ForeignAwait,
    ErrorKind::Diverged, ErrorKind::Payload, ErrorKind::NotProvided, ErrorKind::Unsupported, ErrorKind::DuplicateName,
    ErrorKind::UnknownTask, ErrorKind::UnknownRun, ErrorKind::IdTaken, ErrorKind::Closed, ErrorKind::Storage,
    ErrorKind::InUse, ErrorKind::Permission, ErrorKind::NotAStore, ErrorKind::NewerFormat, ErrorKind::Corrupt,
    ErrorKind::TimedOut, ErrorKind::Interrupted, ErrorKind::SourceChanged, ErrorKind::Cycle, ErrorKind::Ended,
    ErrorKind::Parked,
];

/// Every form of a trace, in the order of their numbers.
pub(crate) const FORMS: [TraceForm; 4] = [TraceForm::Future, TraceForm::Inline, TraceForm::Stream, TraceForm::Iterator];

/// What hashes of redacted arguments are keyed with.
pub(crate) const REDACTION_KEY: [u8; 32] = *b"thirty-two bytes of a random key";

/// All runs, the oldest first.
pub(crate) fn runs() -> Vec<Run> {
    vec![completed(), failed(), cancelled(), cached(), attempts(), child(), unfinished(), waiting(), forked()]
}

/// Those that a fixture of this version holds.
pub(crate) fn runs_of(version: u8) -> Vec<Run> {
    let added = [(2, sleeping as fn() -> Run), (3, cached_from)];
    let added = added.into_iter().filter(|(since, _)| version >= *since).map(|(_, run)| run());
    runs().into_iter().chain(added).chain((version >= 3).then(blocked).into_iter().flatten()).collect()
}

/// Traces that end in every way, and one that is answered within its step. A second life of the process finished it.
fn completed() -> Run {
    let mut log = Log::new(1, "digest", Some(ID));
    log.tags = vec![("customer".to_owned(), "42".to_owned()), ("ort".to_owned(), "Köln".to_owned())];
    log.batch(1, true, |log| {
        log.begin(&URLS, Cause::New);
        let now = log.call(of(TraceForm::Inline, call("now", &none(), 12)));
        log.complete(now, TraceOutcome::Ok(payload(&START.0)), 0);
        log.call(call("fetch", &one("url", "ä"), 250));
        log.call(TraceStarted { group: Some("pages/second".to_owned()), ..call("fetch", &one("url", "b"), 251) });
        log.call(call("approve", &one("by", "ada"), 70_000));
    });
    log.batch(1, true, |log| {
        log.complete(4, TraceOutcome::Ok(payload(&"contents of b")), 65_536);
        log.call(call("fetch", &one("url", "b"), 252));
    });
    log.batch(2, true, |log| {
        let error = ErrorRecord {
            sources: vec!["connection refused".to_owned(), "os error 111".to_owned()],
            type_name: "reqwest::Error".into(),
            ..ErrorRecord::new(ErrorKind::Failed, "cannot be fetched")
        };
        log.complete(3, TraceOutcome::Err(error), 1 << 33);
        log.complete(5, TraceOutcome::Dropped, 251);
        log.complete(7, TraceOutcome::Dropped, 0);
        log.end(TaskOutcome::Ok(payload(&[1u64, 300, 70_000, u64::MAX])), false);
    });
    log.finished(RunState::Completed)
}

/// A trace for every error kind, one delivery after the other, in a few records; ended by the engine.
fn failed() -> Run {
    let mut log = Log::new(2, "fragile", None);
    log.batch(1, true, |log| {
        log.begin(&none(), Cause::New);
        (0..ERROR_KINDS.len()).for_each(|index| {
            log.call(call("attempt", &one("index", index), 7));
        });
    });
    for (index, kinds) in ERROR_KINDS.chunks(10).enumerate() {
        log.batch(1, true, |log| {
            for (offset, kind) in kinds.iter().enumerate() {
                let record = ErrorRecord::new(*kind, format!("{kind:?}"));
                log.complete(1 + 10 * index as u64 + offset as u64, TraceOutcome::Err(record), offset as u64);
            }
        });
    }
    log.batch(1, true, |log| {
        log.end(TaskOutcome::Err(ErrorRecord::new(ErrorKind::ForeignAwait, "a timer")), true);
    });
    log.finished(RunState::Failed)
}

/// Cancelled before its turn came: its first step was never completed. The first record is shown in `docs/format.md`.
fn cancelled() -> Run {
    let mut log = Log::new(3, "hello", None);
    log.batch(2, false, |log| log.begin(&one("name", "Ada"), Cause::New));
    log.batch(2, true, |log| log.end(TaskOutcome::Cancelled, true));
    log.finished(RunState::Cancelled)
}

/// An id whose result was in the cache.
fn cached() -> Run {
    let mut log = Log::new(4, "digest", Some("again"));
    log.batch(3, true, |log| {
        log.begin(&URLS, Cause::Cached);
        log.end(TaskOutcome::Ok(payload(&[1u64, 300, 70_000, u64::MAX])), true);
    });
    log.finished(RunState::Completed)
}

/// Three attempts: streams, iterators, plain functions that cut a step, what effects call, tries, signals, children, and
/// what a later attempt repeats.
fn attempts() -> Run {
    let mut log = Log::new(5, "feed", None);
    log.batch(1, false, |log| {
        log.begin(&none(), Cause::New);
        let numbers = log.call(of(TraceForm::Iterator, call("numbers", &one("from", 0), 20)));
        log.item(numbers, 0, payload(&10));
        log.item(numbers, 1, in_codec(PayloadCodec::JSON, &11));
        log.call(of(TraceForm::Inline, call("square", &one("of", 11), 21)));
    });
    // A plain function cut the step; its effect was tried twice, and called a trace.
    log.batch(1, false, |log| log.retry(4, ErrorRecord::new(ErrorKind::Failed, "try again")));
    log.batch(1, false, |log| {
        log.call(TraceStarted { within: Some(Sequence(4)), ..call("multiply", &one("by", 11), 22) });
    });
    log.batch(1, true, |log| {
        log.complete(6, TraceOutcome::Ok(in_codec(PayloadCodec::BINCODE, &121)), 3);
        log.complete(4, TraceOutcome::Ok(payload(&121)), 5);
        log.complete(1, TraceOutcome::Dropped, 9);
        log.call(of(TraceForm::Stream, call("lines", &one("file", "a.txt"), 23)));
        log.call(call("relive::signal", &one("name", "go"), 24));
        let task = TraceStarted { child: Some(run_id(6)), ..call("page", &one("number", 1), 25) };
        log.call(TraceStarted { code: TASK_CODE, ..task });
    });
    // Steps that share a record.
    log.batch(1, true, |log| {
        log.item(10, 0, sealed("first"));
        log.item(10, 1, sealed(""));
        log.complete(12, TraceOutcome::Ok(payload(&"page 1")), 77);
    });
    log.batch(2, true, |log| {
        log.events.push(Event::SignalReceived(signal("go", true)));
        log.events.push(Event::SignalReceived(signal("stop", false)));
    });
    log.batch(2, true, |log| {
        log.complete(11, TraceOutcome::Ok(payload(&true)), 1000);
        log.call(call("check", &none(), 26));
    });
    log.batch(2, true, |log| {
        let error = ErrorRecord {
            terminal: true,
            value: Some(payload(&one("code", 7))),
            type_name: "feed::Broken".into(),
            ..ErrorRecord::new(ErrorKind::Failed, "broken")
        };
        log.complete(19, TraceOutcome::Err(error.clone()), 2);
        log.complete(10, TraceOutcome::Dropped, 4000);
        log.end_to_be_retried(TaskOutcome::Err(error));
    });
    log.attempt(2, Cause::Retried, |log| {
        log.call(of(TraceForm::Stream, call("lines", &one("file", "a.txt"), 23)));
    });
    log.batch(3, true, |log| {
        let repeated = TraceYielded { repeats: Some(Sequence(13)), ..yielded(24, 0, sealed("first")) };
        log.events.push(Event::TraceYielded(repeated));
        log.complete(24, TraceOutcome::Dropped, 10);
        log.end(TaskOutcome::Err(ErrorRecord::new(ErrorKind::Panicked, "out of range at src/feed.rs:9")), false);
    });
    let rerun = Rerun { names: vec!["check".to_owned(), "lines".to_owned()], edited: true };
    log.attempt(3, Cause::Resumed(rerun), |log| {
        let task = TraceStarted { child: Some(run_id(9)), ..call("page", &one("number", 2), 27) };
        log.call(TraceStarted { code: TASK_CODE, ..task });
        log.call(call("relive::signal", &one("name", "go"), 24));
    });
    log.batch(3, true, |log| {
        let outcome = TraceOutcome::Ok(payload(&true));
        let earlier = TraceCompleted { repeats: Some(Sequence(18)), ..completion(30, outcome, 1000) };
        log.events.push(Event::TraceCompleted(earlier));
        log.complete(29, TraceOutcome::Dropped, 11);
        log.end(TaskOutcome::Ok(payload(&())), false);
    });
    log.finished(RunState::Completed)
}

/// A run that another's body called.
fn child() -> Run {
    let mut log = Log::new(6, "page", None);
    log.parent = Some(Parent { run: run_id(5), attempt: 1 });
    log.batch(1, true, |log| {
        log.begin(&one("number", 1), Cause::New);
        log.end(TaskOutcome::Ok(payload(&"page 1")), false);
    });
    log.finished(RunState::Completed)
}

/// Under way when the process ended, in its second attempt, whose first step was cut in two.
fn unfinished() -> Run {
    let mut log = Log::new(7, "release", None);
    log.parent = Some(Parent { run: run_id(5), attempt: 3 });
    log.batch(2, true, |log| {
        log.begin(&one("version", 1.5), Cause::New);
        log.end_to_be_retried(TaskOutcome::Err(ErrorRecord::new(ErrorKind::TimedOut, "too long")));
    });
    log.batch(3, false, |log| {
        log.begin_attempt(2, Cause::Retried);
        log.call(call("build", &one("target", Some(-7i64)), 1));
    });
    log.batch(3, true, |log| {
        log.call(call("sign", &one("bytes", [0u8, 255]), 2));
    });
    log.unfinished()
}

/// Its next attempt is due after the process ended.
fn waiting() -> Run {
    let mut log = Log::new(8, "pay", None);
    log.batch(3, true, |log| {
        log.begin(&none(), Cause::New);
        log.end_to_be_retried(TaskOutcome::Err(ErrorRecord::new(ErrorKind::Failed, "no connection")));
    });
    log.unfinished()
}

/// Shares the beginning of another run's log.
fn forked() -> Run {
    let mut log = Log::new(10, "hello", None);
    log.batch(2, true, |log| {
        log.begin(&one("name", "Ada"), Cause::Forked { run: run_id(3), at: Sequence(0) });
        log.end(TaskOutcome::Ok(payload(&"hello Ada")), false);
    });
    log.finished(RunState::Completed)
}

/// It was put to sleep. Since version 2.
fn sleeping() -> Run {
    let mut log = Log::new(11, "remind", None);
    log.batch(3, true, |log| {
        log.begin(&none(), Cause::New);
        log.call(call("relive::sleep", &one("micros", 86_400_000_000u64), 7));
    });
    log.unfinished()
}

/// A tag whose result was in the cache, and from which run. Since version 3.
fn cached_from() -> Run {
    let mut log = Log::new(12, "digest", None);
    log.tags = vec![("customer".to_owned(), "43".to_owned())];
    log.batch(3, true, |log| {
        log.begin(&URLS, Cause::CachedFrom { run: run_id(1) });
        log.end(TaskOutcome::Ok(payload(&[1u64, 300, 70_000, u64::MAX])), true);
    });
    log.finished(RunState::Completed)
}

/// The tag of a call that joined a run, and that run. Since version 3.
pub(crate) fn joined_tag() -> (RunId, &'static str, &'static str) {
    (run_id(11), "customer", "44")
}

/// They could not go on, each for another reason. Since version 3.
fn blocked() -> Vec<Run> {
    let run = |number| {
        let mut log = Log::new(number, "remind", None);
        log.batch(3, true, |log| log.begin(&none(), Cause::New));
        log.unfinished()
    };
    (13..).take(BlockReason::ALL.len()).map(run).collect()
}

/// The rows in `unfinished` of a fixture of this version.
pub(crate) fn unfinished_records_of(version: u8) -> Vec<(RunId, UnfinishedRecord)> {
    let mut records = unfinished_records();
    if version >= 2 {
        let (_, like) = records[1].clone();
        let standing = Standing::Asleep { since: END, until: Timestamp(START.0 + 86_400_000_007) };
        let asleep = UnfinishedRecord { task: "remind".to_owned(), retry_at: None, standing, ..like };
        records.push((run_id(11), asleep));
    }
    if version >= 3 {
        let (_, like) = records[1].clone();
        records.extend((13..).zip(BlockReason::ALL).map(|(number, reason)| {
            let message = format!("run {} of task remind: {reason}", run_id(number));
            let standing = Standing::Blocked(Blocked { reason, message, since: END });
            let (crashes, crashed_at) = if reason == BlockReason::Parked { (3, Sequence(0)) } else { (0, Sequence(0)) };
            let blocked = UnfinishedRecord {
                task: "remind".to_owned(),
                retry_at: None,
                crashes,
                crashed_at,
                standing,
                ..like.clone()
            };
            (run_id(number), blocked)
        }));
    }
    records
}

/// The rows in `unfinished`.
pub(crate) fn unfinished_records() -> Vec<(RunId, UnfinishedRecord)> {
    let record = UnfinishedRecord {
        task: "release".to_owned(),
        code: TASK_CODE,
        call_key: hash(&one("version", 1.5)),
        attempt: 2,
        attempt_at: Sequence(2),
        retry_at: None,
        parent: Some(run_id(5)),
        crashes: 2,
        crashed_at: Sequence(5),
        standing: Standing::UnderWay,
    };
    let waiting = UnfinishedRecord {
        task: "pay".to_owned(),
        call_key: hash(&none()),
        attempt: 1,
        attempt_at: Sequence(0),
        retry_at: Some(RETRY_AT),
        parent: None,
        crashes: 0,
        crashed_at: Sequence(0),
        ..record.clone()
    };
    vec![(run_id(7), record), (run_id(8), waiting)]
}

/// The rows in `inbox`: run, number, signal.
pub(crate) fn inbox() -> Vec<(RunId, u64, SignalReceived)> {
    vec![(run_id(7), 0, signal("go", true)), (run_id(7), 258, signal("go", false))]
}

/// The child's id that another run answers for, and which.
pub(crate) fn joined_child() -> (RunId, IdRecord) {
    (run_id(9), IdRecord { run: run_id(6), task: "page".to_owned(), input_hash: hash(&one("number", 2)) })
}

/// When the entry of the cache answered a call.
pub(crate) const USED_AT: Timestamp = Timestamp(START.0 + 60_000_000);

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
        uses: vec![used("now", BUILT_IN_CODE, false), used("fetch", TRACE_CODE, false), used("page", TASK_CODE, true)],
        run: run_id(1),
        created_at: START,
    };
    (record, hash(&URLS))
}

fn used(name: &str, code: CodeHash, is_task: bool) -> Used {
    Used { name: name.to_owned(), code, is_task }
}

/// An input of two arguments.
const URLS: Urls = Urls { urls: &["ä", "b"], depth: None };

#[derive(Serialize)]
struct Urls {
    urls: &'static [&'static str],
    depth: Option<u8>,
}
