//! Panics of what the engine drops, clones and calls: a panic whose own value panics when it is dropped, destructors, `Clone`,
//! `Serialize`, hooks, listeners. None of them gets further than the run that it is of, and each is named as what it is.

use std::panic::panic_any;
use std::sync::Arc;
use std::time::Duration;

use relive::{Engine, ErrorKind, PayloadHook, task, trace};
use relive_storage::MemoryStore;
use serde::{Deserialize, Serialize, Serializer};

use super::attempts_kit::replays;
use super::support::{Probe, builder, guard, open, open_with};
use relive_tests::manual_clock::ManualClock;

/// Panics when it is dropped, with another of its kind, so many times.
#[derive(Debug)]
struct Again(u32);

impl Drop for Again {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Again(self.0 - 1));
        }
    }
}

/// As [`Again`], for what is cloned.
#[derive(Clone, Debug)]
struct Shared(#[expect(dead_code, reason = "it is there to be dropped")] Arc<Again>);

impl Shared {
    fn new() -> Self {
        Self(Arc::new(Again(3)))
    }
}

#[trace(name = "panics.future")]
async fn future(times: u32) -> relive::Result<u32> {
    panic_any(Again(times))
}

#[trace(name = "panics.again", retries = 1, backoff(first = "1ms", jitter = false))]
async fn again(times: u32) -> relive::Result<u32> {
    panic_any(Again(times))
}

#[trace(name = "panics.spawned", spawn)]
async fn spawned(times: u32) -> relive::Result<u32> {
    panic_any(Again(times))
}

#[trace(name = "panics.in_place")]
fn in_place(times: u32) -> relive::Result<u32> {
    panic_any(Again(times))
}

#[trace(name = "panics.in_a_thread", blocking)]
fn in_a_thread(times: u32) -> relive::Result<u32> {
    panic_any(Again(times))
}

#[trace(name = "panics.items")]
fn items(times: u32) -> impl Iterator<Item = relive::Result<u32>> {
    (0..2u32).map(move |item| if item == 1 { panic_any(Again(times)) } else { Ok(item) })
}

#[trace(name = "panics.stream")]
fn stream(times: u32) -> impl futures::Stream<Item = relive::Result<u32>> {
    futures::stream::iter((0..2u32).map(move |item| if item == 1 { panic_any(Again(times)) } else { Ok(item) }))
}

#[trace(name = "panics.around")]
async fn around(times: u32) -> relive::Result<u32> {
    // A trace that an effect calls; its failure is not the one of the effect.
    Ok(future(times).await.map_or(7, |_| 0) + in_place(times).map_or(70, |_| 0))
}

#[trace(name = "panics.fine")]
async fn fine() -> relive::Result<u32> {
    Ok(1)
}

fn kind_of<T>(result: relive::Result<T>) -> String {
    result.map_or_else(|error| format!("{:?}", error.kind()), |_| "ok".to_owned())
}

#[task(name = "panics.catches")]
async fn catches(times: u32) -> relive::Result<Vec<String>> {
    use futures::StreamExt as _;
    let mut seen = vec![
        kind_of(future(times).await),
        kind_of(again(times).await),
        kind_of(spawned(times).await),
        kind_of(in_place(times)),
        kind_of(in_a_thread(times).await),
        around(times).await?.to_string(),
    ];
    seen.extend(items(times).map(kind_of));
    seen.extend(stream(times).map(kind_of).collect::<Vec<_>>().await);
    seen.push(kind_of(fine().await));
    Ok(seen)
}

#[task(name = "panics.body")]
async fn body(times: u32) -> relive::Result<u32> {
    fine().await?;
    panic_any(Again(times))
}

/// An engine that still runs something, and whose logs all replay.
async fn is_well(engine: &Engine, what: &str) {
    assert_eq!(guard(engine.run(catches(0))).await.expect("the engine goes on").len(), 11, "{what}");
    replays(engine, what).await;
}

#[tokio::test]
async fn a_panic_whose_value_panics_when_it_is_dropped_is_a_recorded_failure() {
    for times in [1, 4, 1000] {
        let engine = open(&MemoryStore::new(), &Probe::default()).await;
        let seen = guard(engine.run(catches(times))).await.expect("it catches them");
        let failed = ErrorKind::Panicked;
        let expected =
            format!("{failed:?} {failed:?} {failed:?} {failed:?} {failed:?} 77 ok {failed:?} ok {failed:?} ok");
        assert_eq!(seen.join(" "), expected);
        let error = guard(engine.run(body(times))).await.expect_err("it panics");
        assert_eq!(error.kind(), failed);
        assert!(error.to_string().starts_with("the task panicked: (a panic without a message) at "), "{error}");
        is_well(&engine, "bombs").await;
        guard(engine.shutdown()).await.expect("shuts down");
    }
}

/// An iterator or stream that panics when it is dropped.
struct Bad(u32, #[expect(dead_code, reason = "it is there to be dropped")] Shared);

impl Iterator for Bad {
    type Item = relive::Result<u32>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0 = self.0.checked_sub(1)?;
        Some(Ok(self.0))
    }
}

#[trace(name = "panics.bad_iterator")]
fn bad_iterator(count: u32) -> impl Iterator<Item = relive::Result<u32>> {
    Bad(count, Shared::new())
}

#[trace(name = "panics.bad_stream")]
fn bad_stream(count: u32) -> impl futures::Stream<Item = relive::Result<u32>> {
    futures::stream::iter(Bad(count, Shared::new()))
}

#[task(name = "panics.takes")]
async fn takes(count: u32) -> relive::Result<u32> {
    use futures::StreamExt as _;
    let mut sum = 0;
    for item in bad_iterator(3).take(count as usize) {
        sum += item?;
    }
    let mut stream = bad_stream(3).take(count as usize);
    while let Some(item) = stream.next().await {
        sum += item?;
    }
    drop(stream);
    Ok(sum + fine().await?)
}

#[tokio::test]
async fn a_source_whose_destructor_panics_is_live_what_it_is_replayed() {
    // Taken to its end, dropped before, and at once.
    for (count, sum) in [(9, 7), (2, 7), (1, 5), (0, 1)] {
        let engine = open(&MemoryStore::new(), &Probe::default()).await;
        assert_eq!(guard(engine.run(takes(count))).await.expect("ends"), sum, "{count}");
        is_well(&engine, "sources").await;
    }
}

#[trace(name = "panics.takes_argument", skip(bomb))]
async fn takes_argument(number: u32, bomb: Shared) -> relive::Result<u32> {
    std::mem::forget(bomb);
    Ok(number)
}

#[trace(name = "panics.takes_argument_in_place", skip(bomb))]
fn takes_argument_in_place(number: u32, bomb: Shared) -> relive::Result<u32> {
    std::mem::forget(bomb);
    Ok(number)
}

#[trace(name = "panics.takes_argument_again", skip(bomb), retries = 1, backoff(first = "1ms", jitter = false))]
async fn takes_argument_again(number: u32, bomb: Shared) -> relive::Result<u32> {
    std::mem::forget(bomb);
    Probe::here()?.begin("again");
    if Probe::here()?.count("again") < 2 {
        return Err(relive::Error::msg("once more"));
    }
    Ok(number)
}

#[task(name = "panics.hands_over")]
async fn hands_over() -> relive::Result<u32> {
    // One that is never awaited, one that is dropped when it has begun.
    drop(takes_argument(8, Shared::new()));
    let lost = relive::timeout(Duration::ZERO, takes_argument_again(9, Shared::new())).await;
    assert!(lost.is_ok() || lost.is_err());
    let awaited = takes_argument(1, Shared::new()).await? + takes_argument_again(2, Shared::new()).await?;
    Ok(awaited + takes_argument_in_place(3, Shared::new())?)
}

#[tokio::test]
async fn an_argument_whose_destructor_panics_is_dropped_by_the_engine_without_a_word_to_the_body() {
    let probe = Probe::default();
    let engine = open(&MemoryStore::new(), &probe).await;
    assert_eq!(guard(engine.run(hands_over())).await.expect("ends"), 6);
    is_well(&engine, "arguments").await;
}

/// Held over an await that is cut off.
#[trace(name = "panics.times_out", timeout = "10s", retries = 1, backoff(first = "1ms", jitter = false))]
async fn times_out() -> relive::Result<u32> {
    let probe = Probe::here()?;
    if probe.count("in time") > 0 {
        return Ok(1);
    }
    let _held = Shared::new();
    probe.hold("in time").await;
    Ok(2)
}

#[task(name = "panics.is_cut_off")]
async fn is_cut_off() -> relive::Result<u32> {
    times_out().await
}

#[tokio::test]
async fn a_try_that_is_cut_off_and_whose_destructor_panics_is_tried_again() {
    let (clock, probe) = (ManualClock::default(), Probe::default());
    let engine = open_with(&MemoryStore::new(), builder(&probe).clock(clock.clone())).await;
    let handle = engine.start(is_cut_off()).await.expect("starts");
    probe.begun("in time", 1).await;
    let _flowing = clock.flow();
    assert_eq!(guard(handle).await.expect("the second try"), 1);
    replays(&engine, "a try that was cut off").await;
}

#[tokio::test]
async fn what_was_provided_and_listeners_may_panic_when_they_are_dropped() {
    let bomb = Again(2);
    let builder = builder(&Probe::default()).provide(Again(2)).on_durable(move |_| {
        let bomb: &Again = &bomb;
        assert!(bomb.0 > 0);
    });
    let engine = open_with(&MemoryStore::new(), builder).await;
    is_well(&engine, "provided").await;
    guard(engine.shutdown()).await.expect("shuts down in order");
}

/// Whose `Clone`, `Serialize` and `Deserialize` panic where it says so.
#[derive(Debug)]
struct Odd(String);

impl Clone for Odd {
    fn clone(&self) -> Self {
        assert!(self.0 != "clone", "no second one");
        Self(self.0.clone())
    }
}

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0 != "write", "not on paper");
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        assert!(text != "read", "not from paper");
        Ok(Self(text))
    }
}

#[trace(name = "panics.is_given", retries = 1, backoff(first = "1ms", jitter = false))]
async fn is_given(odd: Odd) -> relive::Result<u32> {
    Ok(odd.0.len() as u32)
}

#[trace(name = "panics.gives")]
async fn gives(how: String) -> relive::Result<Odd> {
    Ok(Odd(how))
}

#[task(name = "panics.odd_argument")]
async fn odd_argument(how: String) -> relive::Result<u32> {
    is_given(Odd(how)).await
}

#[task(name = "panics.odd_result")]
async fn odd_result(how: String) -> relive::Result<u32> {
    gives(how).await.map(|odd| odd.0.len() as u32)
}

#[task(name = "panics.odd_input")]
async fn odd_input(odd: Odd) -> relive::Result<u32> {
    Ok(odd.0.len() as u32)
}

#[tokio::test]
async fn code_of_a_values_type_that_panics_is_named_as_what_it_is() {
    let engine = open(&MemoryStore::new(), &Probe::default()).await;
    let says = |error: relive::Error, kind: ErrorKind, parts: &[&str]| {
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        parts.iter().for_each(|part| assert!(text.contains(part), "{part}: {text}"));
    };
    let error = guard(engine.run(odd_argument("clone".into()))).await.expect_err("cannot be cloned");
    says(error, ErrorKind::Panicked, &["trace panics.is_given", "an argument's Clone panicked: no second one at "]);
    let error = guard(engine.run(odd_argument("write".into()))).await.expect_err("cannot be written");
    let written = "its type's own code panicked when it was written: not on paper at ";
    says(error, ErrorKind::Payload, &["the arguments of trace panics.is_given", written]);
    let error = guard(engine.run(odd_result("write".into()))).await.expect_err("cannot be written");
    says(error, ErrorKind::Payload, &["the result of panics.gives", written]);
    let error = guard(engine.run(odd_result("read".into()))).await.expect_err("cannot be read");
    says(
        error,
        ErrorKind::Payload,
        &["the result of panics.gives", "panicked when it was read back: not from paper at "],
    );
    let error = guard(engine.run(odd_input(Odd("write".into())))).await.expect_err("cannot be written");
    says(error, ErrorKind::Payload, &["the arguments of task panics.odd_input", written]);
    is_well(&engine, "odd values").await;
}

/// A payload hook that panics when it is to do this.
struct BadHook(&'static str);

impl PayloadHook for BadHook {
    fn id(&self) -> u8 {
        if self.0 == "open" { 251 } else { 250 }
    }

    fn name(&self) -> &str {
        if self.0 == "open" { "opens badly" } else { "seals badly" }
    }

    fn seal(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        assert!(self.0 != "seal", "no wax");
        Ok(bytes.to_vec())
    }

    fn open(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        assert!(self.0 != "open", "no knife");
        Ok(bytes.to_vec())
    }
}

#[tokio::test]
async fn a_payload_hook_that_panics_is_named_and_hurts_no_other_run() {
    for (how, what) in [
        ("seal", "`seals badly` panicked when it was to seal it: no wax at "),
        ("open", "`opens badly` panicked when it was to open it: no knife at "),
    ] {
        let hooked = builder(&Probe::default()).payload_hook(BadHook(how));
        let engine = open_with(&MemoryStore::new(), hooked).await;
        let error = guard(engine.run(catches(0))).await.expect_err("no payload can be had");
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(error.kind(), ErrorKind::Payload, "{error}");
        guard(engine.shutdown()).await.expect("shuts down in order");
    }
}
