//! What goes wrong in tasks and traces: it is recorded, it keeps what it says, and the others go on.

use std::fmt;

use futures::future::join_all;
use relive::{Error, ErrorKind, Event, RunStatus, TaskOutcome, task, trace};
use relive_storage::MemoryStore;
use serde::{Deserialize, Serialize, Serializer};

use super::support::{Probe, events, guard, open};

/// An error of a user's own, as derive macros write them.
#[derive(Debug)]
enum ShopError {
    OutOfStock { item: String },
    Engine(Error),
}

impl fmt::Display for ShopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfStock { item } => write!(f, "{item} is out of stock"),
            Self::Engine(error) => write!(f, "the shop's engine: {error}"),
        }
    }
}

impl std::error::Error for ShopError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OutOfStock { .. } => None,
            Self::Engine(error) => error.source(),
        }
    }
}

impl From<Error> for ShopError {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

#[trace(name = "errors.order")]
async fn order(item: &str) -> Result<u32, ShopError> {
    Probe::here()?.begin(item);
    Err(ShopError::OutOfStock { item: item.to_owned() })
}

#[trace(name = "errors.chain")]
async fn chain() -> relive::Result<u32> {
    let inner = "x".parse::<u32>().expect_err("no number");
    Err(Error::msg("the order cannot be read").caused_by(Error::msg("the amount is no number").caused_by(inner)))
}

#[trace(name = "errors.panics")]
async fn panics(text: String) -> relive::Result<u32> {
    Probe::here()?.begin(&text);
    panic!("{text}");
}

#[trace(name = "errors.held")]
async fn held(label: String) -> relive::Result<u32> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

#[task(name = "errors.own_type")]
async fn own_type(item: &str) -> Result<u32, ShopError> {
    order(item).await
}

#[task(name = "errors.chained")]
async fn chained() -> relive::Result<u32> {
    chain().await
}

/// Catches what it can, then is held: a crash finds it there.
#[task(name = "errors.catches")]
async fn catches() -> relive::Result<Vec<String>> {
    let mut seen = Vec::new();
    for error in [
        order("tea").await.map_err(|error| error.to_string()).err(),
        text_of(chain().await),
        text_of(panics("ouch".into()).await),
    ] {
        seen.extend(error);
    }
    held("caught".into()).await?;
    Ok(seen)
}

/// An error and its sources, in one line.
fn text_of(result: relive::Result<u32>) -> Option<String> {
    let error = result.err()?;
    let mut text = format!("{:?}: {error}", error.kind());
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    Some(text)
}

#[task(name = "errors.panicking_trace")]
async fn panicking_trace(text: String) -> relive::Result<u32> {
    panics(text).await
}

#[task(name = "errors.panicking_body")]
async fn panicking_body(text: String) -> relive::Result<u32> {
    held("before the panic".into()).await?;
    panic!("{text}");
}

#[task(name = "errors.goes_on")]
async fn goes_on() -> relive::Result<u32> {
    held("beside".into()).await
}

#[tokio::test]
async fn an_error_of_the_users_own_type_is_told_and_recorded() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let handle = engine.start(own_type("tea")).await.expect("starts");
    let run = handle.id();
    let error = guard(handle).await.expect_err("out of stock");
    // The type is gone in the record, and what it said is not.
    assert!(matches!(&error, ShopError::Engine(inner) if inner.kind() == ErrorKind::Failed), "{error:?}");
    assert!(error.to_string().contains("tea is out of stock"), "{error}");
    let Some(Event::TaskCompleted(completed)) = events(&engine, run).pop() else { panic!("no end") };
    let TaskOutcome::Err(record) = completed.outcome else { panic!("no failure") };
    assert!(record.type_name.ends_with("ShopError") && record.message.contains("tea is out of stock"), "{record:?}");
}

#[tokio::test]
async fn the_sources_of_an_error_survive_the_log() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let handle = engine.start(chained()).await.expect("starts");
    let run = handle.id();
    let text = "Failed: the order cannot be read: the amount is no number: invalid digit found in string";
    assert_eq!(text_of(guard(handle).await).as_deref(), Some(text));
    let engine = open(&store.copy(), &probe).await;
    let again = engine.handle::<u32, Error>(run).expect("known");
    assert_eq!(text_of(guard(again).await).as_deref(), Some(text), "also in another life");
}

#[tokio::test]
async fn a_caught_error_is_the_same_live_and_replayed() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let run = engine.start(catches()).await.expect("starts").id();
    probe.begun("caught", 1).await;
    let crashed = store.copy();
    probe.open("caught");
    let live = guard(engine.handle::<Vec<String>, Error>(run).expect("known")).await.expect("ends");
    assert_eq!(live.len(), 3);
    assert!(live[2].starts_with("Panicked: ") && live[2].contains("ouch"), "{live:?}");

    let next = Probe::default();
    next.open("caught");
    let engine = open(&crashed, &next).await;
    let replayed = guard(engine.handle::<Vec<String>, Error>(run).expect("known")).await.expect("ends");
    assert_eq!(replayed, live);
    assert_eq!(next.all_begun(), ["caught"], "a recorded failure is not tried again");
}

#[tokio::test]
async fn a_panic_is_a_recorded_failure_and_the_others_go_on() {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    probe.open("before the panic");
    let engine = open(&store, &probe).await;
    let beside = engine.start(goes_on()).await.expect("starts");
    let failed = [
        (
            engine.start(panicking_trace("in a trace".into())).await.expect("starts"),
            "trace errors.panics panicked: in a trace",
        ),
        (engine.start(panicking_body("in a body".into())).await.expect("starts"), "the task panicked: in a body"),
    ];
    let mut runs = Vec::new();
    for (handle, message) in failed {
        runs.push(handle.id());
        let error = guard(handle).await.expect_err("panicked");
        let (kind, told) = (error.kind(), error.to_string());
        assert_eq!(kind, ErrorKind::Panicked, "{told}");
        assert!(told.starts_with(&format!("{message} at ")) && told.contains("errors.rs:"), "{told}");
    }
    probe.open("beside");
    assert_eq!(guard(beside).await.expect("goes on"), 1);
    let next = Probe::default();
    let engine = open(&store.copy(), &next).await;
    for run in runs {
        assert_eq!(engine.status(run).expect("known"), RunStatus::Failed);
    }
    assert_eq!(next.all_begun(), Vec::<String>::new());
}

/// Refuses to be written.
#[derive(Clone, Debug, Deserialize)]
struct Secret;

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("a secret is not written down"))
    }
}

#[trace(name = "errors.takes_secret")]
async fn takes_secret(_secret: Secret) -> relive::Result<u32> {
    Probe::here()?.begin("takes");
    Ok(1)
}

#[trace(name = "errors.returns_secret")]
async fn returns_secret() -> relive::Result<Secret> {
    Probe::here()?.begin("returns");
    Ok(Secret)
}

#[task(name = "errors.secret_in")]
async fn secret_in(_secret: Secret) -> relive::Result<u32> {
    Ok(1)
}

#[task(name = "errors.secret_out")]
async fn secret_out() -> relive::Result<Secret> {
    Ok(Secret)
}

#[task(name = "errors.secret_to_trace")]
async fn secret_to_trace() -> relive::Result<u32> {
    takes_secret(Secret).await
}

#[task(name = "errors.secret_from_trace")]
async fn secret_from_trace() -> relive::Result<u32> {
    returns_secret().await.map(|_| 1)
}

#[tokio::test]
async fn a_value_that_cannot_be_written_is_an_error_that_names_it() {
    let probe = Probe::default();
    let engine = open(&MemoryStore::new(), &probe).await;
    let errors = [
        (guard(engine.run(secret_in(Secret))).await.expect_err("refused"), "the arguments of task errors.secret_in"),
        (guard(engine.run(secret_out())).await.expect_err("refused"), "the result of the task"),
        (
            guard(engine.run(secret_to_trace())).await.expect_err("refused"),
            "the arguments of trace errors.takes_secret",
        ),
        (guard(engine.run(secret_from_trace())).await.expect_err("refused"), "the result of errors.returns_secret"),
    ];
    for (error, part) in errors {
        let message = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Payload, "{message}");
        assert!(message.contains(part) && message.contains("a secret is not written down"), "{message}");
    }
    assert_eq!(probe.all_begun(), ["returns"], "no effect begins whose arguments cannot be recorded");
    assert_eq!(engine.runs().count(), 3, "and no run");
}

#[trace(name = "errors.outside", outside = "call")]
async fn outside(number: u32) -> relive::Result<u32> {
    Ok(number + 1)
}

#[trace(name = "errors.outer")]
async fn outer() -> relive::Result<u32> {
    held("inner".into()).await
}

#[task(name = "errors.nests")]
async fn nests() -> relive::Result<u32> {
    outer().await
}

#[tokio::test]
async fn a_trace_outside_a_task_is_an_error_that_says_where_unless_it_is_meant_to_be() {
    let error = held("never".into()).await.expect_err("outside");
    assert_eq!(error.kind(), ErrorKind::OutsideTask);
    let message = error.to_string();
    assert!(message.contains("errors.rs:") && message.contains("errors.held"), "{message}");
    assert!(message.contains("outside = \"call\""), "{message}");
    assert_eq!(outside(1).await.expect("a plain call"), 2);
    for error in
        [relive::now().err(), relive::random::<u8>().err(), relive::uuid().err(), relive::idempotency_key().err()]
    {
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::OutsideTask));
    }
    assert_eq!(relive::provided::<u8>().expect_err("outside").kind(), ErrorKind::OutsideTask);
}

#[task(name = "errors.nests_task")]
async fn nests_task() -> relive::Result<u32> {
    calls_task().await
}

#[trace(name = "errors.calls_task")]
async fn calls_task() -> relive::Result<u32> {
    goes_on().await
}

#[tokio::test]
async fn a_trace_inside_a_trace_runs_and_is_recorded_within_it() {
    let probe = Probe::default();
    probe.open("inner");
    let engine = open(&MemoryStore::new(), &probe).await;
    let handle = engine.start(nests()).await.expect("starts");
    let run = handle.id();
    assert_eq!(guard(handle).await.expect("runs"), 1);
    let within = events(&engine, run).into_iter().filter_map(|event| match event {
        Event::TraceStarted(started) => Some((started.name.to_string(), started.within.map(|outer| outer.0))),
        _ => None,
    });
    let expected = [("errors.outer".to_owned(), None), ("errors.held".to_owned(), Some(1))];
    assert_eq!(within.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_task_inside_a_trace_is_refused_by_name() {
    let probe = Probe::default();
    let engine = open(&MemoryStore::new(), &probe).await;
    let error = guard(engine.run(nests_task())).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let message = error.to_string();
    assert!(message.contains("errors.goes_on") && message.contains("errors.calls_task"), "{message}");
    assert_eq!(probe.all_begun(), Vec::<String>::new());
}

#[derive(Debug)]
struct NotGiven;

#[task(name = "errors.asks")]
async fn asks() -> relive::Result<u32> {
    relive::provided::<NotGiven>().map(|_| 1)
}

#[tokio::test]
async fn what_was_not_provided_is_named() {
    let engine = open(&MemoryStore::new(), &Probe::default()).await;
    let error = guard(engine.run(asks())).await.expect_err("not provided");
    assert_eq!(error.kind(), ErrorKind::NotProvided);
    assert!(error.to_string().contains("NotGiven"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_panics_at_once_leave_the_engine_whole() {
    let probe = Probe::default();
    probe.open("beside");
    let engine = open(&MemoryStore::new(), &probe).await;
    let calls = (0..50).map(|number| engine.run(panicking_trace(format!("panic {number}"))));
    for result in guard(join_all(calls)).await {
        assert_eq!(result.expect_err("panicked").kind(), ErrorKind::Panicked);
    }
    assert_eq!(guard(engine.run(goes_on())).await.expect("goes on"), 1);
    guard(engine.shutdown()).await.expect("shuts down");
}
