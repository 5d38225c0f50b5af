//! Payloads as a user sets them up: codecs, hooks, limits, sets, errors that keep their type.

#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "a test may fail anywhere, and is about such types")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use relive::{
    Error, ErrorKind, Event, Payload, PayloadCodec, PayloadHook, Result, TaskOutcome, TraceOutcome, TypedError,
    Unordered, task, trace, unordered,
};
use relive_storage::MemoryStore;
use serde::{Deserialize, Serialize};

use crate::support::{Probe, all_rows, builder, events, guard, open_with};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Letter {
    to: String,
    words: HashMap<String, u32>,
}

#[trace]
async fn payloads_write(to: String, count: u32) -> Result<Letter> {
    Probe::here()?.begin("write");
    let words = (0..count).map(|number| (format!("confidential {number}"), number)).collect();
    Ok(Letter { to, words })
}

#[task]
async fn payloads_post(to: String) -> Result<Letter> {
    payloads_write(to, 30).await
}

fn payloads(events: &[Event]) -> Vec<Payload> {
    let of = |event: &Event| match event {
        Event::TaskStarted(started) => Some(started.input.clone()),
        Event::TraceStarted(started) => Some(started.input.clone()),
        Event::TraceCompleted(completed) => match &completed.outcome {
            TraceOutcome::Ok(payload) => Some(payload.clone()),
            TraceOutcome::Err(record) => record.value.clone(),
            _ => None,
        },
        Event::TaskCompleted(completed) => match &completed.outcome {
            TaskOutcome::Ok(payload) => Some(payload.clone()),
            TaskOutcome::Err(record) => record.value.clone(),
            _ => None,
        },
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

/// A cipher for tests: every byte xored, and a mark in front.
struct Xor(u8);

impl PayloadHook for Xor {
    fn id(&self) -> u8 {
        240
    }

    fn name(&self) -> &str {
        "xor for the system's tests"
    }

    fn seal(&self, bytes: &[u8]) -> std::result::Result<Vec<u8>, String> {
        Ok([0xE0].into_iter().chain(bytes.iter().map(|byte| byte ^ self.0)).collect())
    }

    fn open(&self, bytes: &[u8]) -> std::result::Result<Vec<u8>, String> {
        let Some((0xE0, bytes)) = bytes.split_first() else { return Err("no mark in front".to_owned()) };
        Ok(bytes.iter().map(|byte| byte ^ self.0).collect())
    }
}

#[tokio::test]
async fn an_engine_writes_in_its_codec_and_reads_all() {
    let store = MemoryStore::new();
    let probe = Probe::default();
    let codecs = [PayloadCodec::MESSAGE_PACK, PayloadCodec::JSON, PayloadCodec::BINCODE];
    let mut runs = vec![];
    for codec in codecs {
        let engine = open_with(&store, builder(&probe).payload_codec(codec)).await;
        let to = format!("{codec}");
        let handle = engine.start(payloads_post(to.clone()).id(to.clone())).await.unwrap();
        let run = handle.id();
        runs.push((run, guard(handle).await.unwrap()));
        assert!(payloads(&events(&engine, run)).iter().all(|payload| payload.codec() == codec), "{codec}");
        // Those of all engines before, too: by id, from the cache, and against their logs.
        for ((run, letter), codec) in runs.iter().zip(codecs) {
            let to = codec.to_string();
            assert_eq!(&guard(engine.run(payloads_post(to.clone()).id(to.clone()))).await.unwrap(), letter);
            assert_eq!(&guard(engine.run(payloads_post(to))).await.unwrap(), letter);
            assert!(guard(engine.replay(*run)).await.unwrap().is_some());
        }
        guard(engine.shutdown()).await.unwrap();
    }
    assert_eq!(probe.count("write"), codecs.len());
}

#[tokio::test]
async fn a_hook_seals_all_that_is_the_users_and_opens_what_came_before() {
    let store = MemoryStore::new();
    let probe = Probe::default();
    let plain = open_with(&store, builder(&probe)).await;
    let before = guard(plain.run(payloads_post("before".to_owned()))).await.unwrap();
    guard(plain.shutdown()).await.unwrap();
    let count = all_rows(&store).len();

    let sealing = open_with(&store, builder(&probe).payload_hook(Xor(0x5A))).await;
    assert_eq!(guard(sealing.run(payloads_post("before".to_owned()))).await.unwrap(), before);
    let handle = sealing.start(payloads_post("afterwards".to_owned())).await.unwrap();
    let run = handle.id();
    let after = guard(handle).await.unwrap();
    let sealed = payloads(&events(&sealing, run));
    assert!(sealed.len() == 4 && sealed.iter().all(|payload| payload.hook() == Some(240)), "{sealed:?}");
    assert_eq!(guard(sealing.run(payloads_post("afterwards".to_owned()))).await.unwrap(), after);
    assert!(guard(sealing.replay(run)).await.unwrap().is_some());
    assert_eq!(probe.count("write"), 2);
    guard(sealing.shutdown()).await.unwrap();
    assert!(all_rows(&store).len() > count);
    let contains =
        |needle: &[u8]| all_rows(&store).iter().any(|row| row.value.windows(needle.len()).any(|part| part == needle));
    assert!(contains(b"before"));
    assert!(!contains(b"afterwards"), "in the log, the indexes or the cache");
}

#[tokio::test]
async fn what_is_too_large_names_the_call_and_what_to_do() {
    let probe = Probe::default();
    let engine = open_with(&MemoryStore::new(), builder(&probe).payload_bytes_max(300)).await;
    let error = guard(engine.run(payloads_post("x".repeat(1_000)))).await.unwrap_err();
    assert_eq!((error.kind(), engine.runs().count()), (ErrorKind::Payload, 0));
    for part in ["the arguments of task payloads_post", "bytes, more than the 300", "payload_bytes_max"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = guard(engine.run(payloads_post("short".to_owned()))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Payload);
    assert!(error.to_string().contains("the result of payloads_write, a "), "{error}");
}

#[task]
async fn payloads_count(tags: Unordered<HashSet<u32>>) -> Result<usize> {
    Probe::here()?.begin("count");
    Ok(tags.len())
}

#[tokio::test]
async fn a_declared_set_is_the_same_input_in_any_order() {
    let probe = Probe::default();
    let engine = open_with(&MemoryStore::new(), builder(&probe)).await;
    for _ in 0..5 {
        let tags: HashSet<u32> = (0..100).collect();
        assert_eq!(guard(engine.run(payloads_count(unordered(tags)))).await.unwrap(), 100);
    }
    assert_eq!(probe.count("count"), 1, "one call");
}

/// What `#[trace(redact(token), codec = "…")]` expands to.
fn payloads_login(token: &str, path: &'static str) -> relive::Trace<u32, Error> {
    use relive::__private::{Arguments, CodeHash, TraceMeta, TracePolicy, trace};
    const fn meta(name: &'static str, redact: &'static [&'static str], codec: PayloadCodec) -> TraceMeta {
        let policy = TracePolicy { redact, codec: Some(codec), ..TracePolicy::DEFAULT };
        let code = CodeHash::from_bytes([3; 16]);
        TraceMeta { name, code, file: file!(), line: line!(), module: module_path!(), outside_call: false, policy }
    }
    static LOGIN: TraceMeta = meta("payloads_login", &["token"], PayloadCodec::JSON);
    static MISTAKEN: TraceMeta = meta("payloads_login_mistaken", &["tokn"], PayloadCodec::MESSAGE_PACK);
    let meta = if path == "mistaken" { &MISTAKEN } else { &LOGIN };
    let arguments = Arguments::of(meta, &(("token", token), (("path", path), ())));
    let length = token.len() as u32;
    trace(meta, arguments, std::panic::Location::caller(), move || async move {
        Probe::here().map_err(|error| error.to_record())?.begin("login");
        Ok(length)
    })
}

/// What no store may hold: chosen by the test behind the task's back, so that it is not in the task's input.
static TOKENS: parking_lot::Mutex<[&str; 2]> = parking_lot::Mutex::new(["tokens-first", "tokens-second"]);

#[task]
async fn payloads_logs_in(path: String) -> Result<u32> {
    let [first, second] = *TOKENS.lock();
    let path = if path == "mistaken" { "mistaken" } else { "right" };
    Ok(payloads_login(first, path).await? + payloads_login(second, path).await?)
}

#[tokio::test]
async fn what_is_redacted_counts_and_is_nowhere() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open_with(&store, builder(&probe)).await;
    let handle = engine.start(payloads_logs_in("right".to_owned())).await.unwrap();
    let run = handle.id();
    assert_eq!(guard(handle).await.unwrap(), 25);
    assert!(guard(engine.replay(run)).await.unwrap().is_some());
    let starts: Vec<_> = events(&engine, run)
        .into_iter()
        .filter_map(|event| if let Event::TraceStarted(started) = event { Some(started) } else { None })
        .collect();
    assert_eq!(starts[0].input, starts[1].input);
    assert_eq!(starts[0].input.to_value().to_string(), r#"{"token":"[redacted]","path":"right"}"#);
    assert_eq!(starts[0].input.codec(), PayloadCodec::JSON);
    assert!(starts[0].input_hash != starts[1].input_hash && starts[1].occurrence == 0);
    let other = MemoryStore::new();
    let elsewhere = open_with(&other, builder(&probe)).await;
    let handle = elsewhere.start(payloads_logs_in("right".to_owned())).await.unwrap();
    let other_run = handle.id();
    guard(handle).await.unwrap();
    let hashes = events(&elsewhere, other_run);
    assert!(
        hashes.iter().all(|event| !matches!(event, Event::TraceStarted(s) if s.input_hash == starts[0].input_hash))
    );

    // Other tokens no longer fit the log, and the error does not say them.
    let before = std::mem::replace(&mut *TOKENS.lock(), ["tokens-third", "tokens-second"]);
    let error = guard(engine.replay(run)).await.unwrap_err();
    *TOKENS.lock() = before;
    assert_eq!(error.kind(), ErrorKind::Diverged);
    assert!(error.to_string().contains("[redacted]") && !format!("{error} {error:?}").contains("tokens-"), "{error}");

    let error = guard(engine.run(payloads_logs_in("mistaken".to_owned()))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Payload);
    for part in ["payloads_login_mistaken", "`tokn`"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(!error.to_string().contains("tokens-"));
    assert!(all_rows(&store).iter().all(|row| !row.value.windows(7).any(|part| part == b"tokens-")));
}

#[derive(Debug, Serialize, Deserialize)]
enum Refusal {
    Busy { seconds: BTreeMap<String, u32> },
    Never,
    Engine(Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refusal {}

impl TypedError for Refusal {
    const NAME: &'static str = "payloads::Refusal";

    fn is_terminal(&self) -> bool {
        matches!(self, Self::Never)
    }

    fn engine_error(&self) -> Option<&Error> {
        if let Self::Engine(error) = self { Some(error) } else { None }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        error.typed().unwrap_or_else(Self::Engine)
    }
}

relive::__private::inventory::submit! { relive::__private::TypedErrorEntry::of::<Refusal>() }

#[trace]
async fn payloads_ask(how: String) -> std::result::Result<u8, Refusal> {
    Probe::here()?.begin("ask");
    match how.as_str() {
        "busy" => Err(Refusal::Busy { seconds: BTreeMap::from([("a".to_owned(), 7)]) }),
        _ => Err(Refusal::Never),
    }
}

#[task]
async fn payloads_asks(how: String) -> std::result::Result<u8, Refusal> {
    payloads_ask(how).await
}

#[task]
async fn payloads_asks_as_any(how: String) -> Result<u8> {
    Ok(payloads_ask(how).await?)
}

#[tokio::test]
async fn a_typed_error_reaches_the_caller_with_its_value_live_and_from_the_log() {
    let store = MemoryStore::new();
    let probe = Probe::default();
    for hook in [false, true, true] {
        let settings = if hook { builder(&probe).payload_hook(Xor(0x5A)) } else { builder(&probe) };
        let engine = open_with(&store, settings).await;
        let typed = guard(engine.run(payloads_asks("busy".to_owned()).id(format!("typed {hook}")))).await.unwrap_err();
        assert!(matches!(&typed, Refusal::Busy { seconds } if seconds["a"] == 7), "{typed:?}");
        let any =
            guard(engine.run(payloads_asks_as_any("never".to_owned()).id(format!("any {hook}")))).await.unwrap_err();
        assert!(any.is_terminal());
        assert!(matches!(any.typed(), Ok(Refusal::Never)));
        guard(engine.shutdown()).await.unwrap();
    }
    assert_eq!(probe.count("ask"), 4, "the third time it is the log that answers");
}
