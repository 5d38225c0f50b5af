//! More tasks that are in order: every way in which a body can wait, call, fail and be tried again.

use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use relive::testing::{any, determinism};
use relive::{Error, Result, TypedError, task, trace};
use serde::{Deserialize, Serialize};

const CASES: u32 = 150;

#[trace]
async fn fetch(url: String) -> Result<String> {
    Err(Error::msg(format!("{url}: there is no network")))
}

#[trace(retries = 2, backoff = "10s", timeout = "30s")]
async fn summarize(text: &str, words_max: u32) -> std::result::Result<String, LlmError> {
    Ok(text.chars().take(words_max as usize % 10).collect())
}

#[derive(Debug, Serialize, Deserialize, TypedError)]
enum LlmError {
    Busy(u32),
    #[relive(engine)]
    Engine(Error),
}

impl std::fmt::Display for LlmError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for LlmError {}

#[task]
async fn digest(urls: Vec<String>) -> Result<Vec<String>> {
    let pages = futures::future::try_join_all(urls.into_iter().map(fetch)).await?;
    let mut summaries = Vec::new();
    for (number, page) in (0..).zip(&pages) {
        match summarize(page, number).await {
            Ok(summary) => summaries.push(summary),
            Err(LlmError::Busy(code)) => summaries.push(format!("busy: {code}")),
            Err(LlmError::Engine(error)) => summaries.push(error.to_string()),
        }
    }
    Ok(summaries)
}

#[test]
fn a_digest_of_pages_passes() {
    let report = determinism(digest)
        .inputs(relive::testing::proptest::collection::vec(any::<String>(), 0..4))
        .stub(fetch, |url| Ok(format!("the page of {url}")))
        .stub(summarize, |(text, words_max)| {
            if text.len() % 5 == 4 { Err(LlmError::Busy(words_max)) } else { Ok(format!("{} bytes", text.len())) }
        })
        .failing(fetch, 0.1)
        .failing(summarize, 0.2)
        .panicking(summarize, 0.1)
        .delaying(summarize, 0.2, Duration::from_secs(31))
        .cases(CASES)
        .check();
    assert!(report.orders > 0 && report.failures > 0 && report.interruptions > report.cases, "{report:?}");
}

#[trace]
async fn slow(span: u64) -> Result<u64> {
    #[expect(clippy::disallowed_methods, reason = "tokio's time is virtual here")]
    tokio::time::sleep(Duration::from_secs(span)).await;
    Ok(span)
}

#[trace]
async fn never() -> Result<u64> {
    std::future::pending().await
}

/// The first of three, by time: losers are dropped.
#[task(cache = "off")]
async fn races(first: u8, second: u8) -> Result<u64> {
    let winner = relive::select! {
        won = slow(first.into()) => won?,
        won = slow(1000 + u64::from(second)) => won?,
        slept = relive::sleep(Duration::from_secs(60)) => { slept?; 60 },
    };
    let timed = relive::timeout(Duration::from_secs(5), never()).await;
    let late = timed.is_err_and(|error| error.kind() == relive::ErrorKind::TimedOut);
    let after = slow(winner % 7).await?;
    Ok(winner + after + u64::from(late))
}

#[test]
fn races_with_time_pass() {
    determinism(races).inputs((any::<u8>(), any::<u8>())).cases(CASES).check();
}

/// Polls until it has changed, and gives up in the end.
#[task(cache = "off")]
async fn polls(patience: u8) -> Result<u32> {
    for round in 0..u32::from(patience % 6) {
        match relive::timeout(Duration::from_secs(10), slow(7)).await {
            Ok(Ok(seven)) if u64::from(round) * 3 > seven => return Ok(round),
            Ok(_) => {}
            Err(_) => return Ok(100),
        }
        relive::sleep(Duration::from_secs(1)).await?;
        if relive::random::<u8>()? < 10 {
            return Err(Error::msg("enough"));
        }
    }
    Ok(200)
}

#[test]
fn a_loop_that_sleeps_passes() {
    determinism(polls).inputs(any::<u8>()).cases(CASES).check();
}

#[trace]
fn numbers(count: u8) -> impl Stream<Item = Result<u32>> + Send {
    futures::stream::iter(
        (0..u32::from(count % 5)).map(|number| if number == 3 { Err(Error::msg("three")) } else { Ok(number) }),
    )
}

#[trace]
fn lines(count: u8) -> impl Iterator<Item = Result<u32>> {
    (0..u32::from(count % 5)).map(Ok)
}

#[trace]
fn parse(text: String) -> Result<u32> {
    text.parse().map_err(Error::from)
}

#[trace(blocking)]
fn work(number: u32) -> Result<u32> {
    Ok(number * 2)
}

/// Two streams side by side, an iterator, plain functions, a thread.
#[task(cache = "off")]
async fn merges(left: u8, right: u8) -> Result<u32> {
    let mut sum = 0u32;
    let mut both = futures::stream::select(numbers(left), numbers(right));
    while let Some(number) = both.next().await {
        match number {
            Ok(number) => sum = sum * 3 + number,
            Err(_) => sum += 1000,
        }
    }
    for line in lines(left) {
        sum += line? + parse(sum.to_string())?;
    }
    let mut works: FuturesUnordered<_> = (0..3).map(work).collect();
    while let Some(number) = works.next().await {
        sum = sum.wrapping_mul(7).wrapping_add(number?);
    }
    Ok(sum)
}

#[test]
fn streams_iterators_and_threads_pass() {
    determinism(merges).inputs((any::<u8>(), any::<u8>())).cases(CASES).check();
    determinism(merges)
        .inputs((any::<u8>(), any::<u8>()))
        .stub(numbers, |count| vec![Ok(count.into()), Ok(1), Err(Error::msg("torn"))])
        .stub(lines, |count| (0..u32::from(count % 3)).map(Ok).collect())
        .stub(parse, |text| Ok(text.len() as u32))
        .cases(CASES / 2)
        .check();
}

#[trace]
async fn inner(number: u32) -> Result<u32> {
    Ok(number + 1)
}

/// An effect that calls traces itself.
#[trace(retries = 1)]
async fn outer(number: u32) -> Result<u32> {
    let first = inner(number).await?;
    relive::sleep(Duration::from_secs(1)).await?;
    let key = relive::idempotency_key()?;
    Ok(first + inner(number).await? + u32::from(key.len() == 32))
}

#[task(retries = 2, backoff = "1m")]
async fn child(number: u32) -> Result<u32> {
    let found = outer(number).await?;
    if found % 3 == 0 { Err(Error::msg("three again")) } else { Ok(found) }
}

/// Children side by side, with a signal and a group.
#[task(cache = "off")]
async fn parent(number: u8) -> Result<u64> {
    let number = u32::from(number);
    let approved = relive::timeout(Duration::from_secs(3600), relive::signal::<u64>("approval"));
    let (left, right, approved) = futures::join!(child(number), relive::group("right", child(number + 1)), approved);
    let found = u64::from(left.unwrap_or(1000)) + u64::from(right.unwrap_or(2000));
    match approved {
        Ok(more) => Ok(found + more?),
        Err(_) => Ok(found),
    }
}

#[test]
fn children_signals_and_nested_traces_pass() {
    determinism(parent).inputs(any::<u8>()).signal("approval", 5u64).cases(CASES / 2).check();
    determinism(parent).inputs(any::<u8>()).failing(outer, 0.3).cases(CASES / 2).check();
}

#[trace(skip(_client), redact(token))]
async fn call(_client: &Client, token: String, number: u32) -> Result<u32> {
    Ok(number + token.len() as u32)
}

#[derive(Clone)]
struct Client;

#[derive(Clone)]
struct Remote;

impl Remote {
    #[trace]
    async fn ask(&self, number: u32) -> Result<u32> {
        Ok(number)
    }
}

#[trace]
async fn rank(pages: &[String], best: &Best) -> Result<usize> {
    Ok(pages.len() + best.place)
}

#[derive(Clone, Serialize, Deserialize)]
struct Best {
    place: usize,
}

#[task(cache = "off")]
async fn asks(number: u32) -> Result<u32> {
    let client = relive::provided::<Client>()?;
    let found = call(&client, "secret".to_owned(), number).await?;
    let asked = Remote.ask(found).await?;
    let ranked = rank(&["a".to_owned()], &Best { place: 4 }).await?;
    Ok(asked + ranked as u32)
}

#[derive(Deserialize)]
struct CallInput {
    number: u32,
}

#[test]
fn traces_of_every_form_can_be_stubbed() {
    let report = determinism(|number: u16| asks(number.into()))
        .inputs(any::<u16>())
        .engine(|builder| builder.provide(Client))
        .stub_named("call", |input: CallInput| Ok::<_, Error>(input.number + 1))
        .stub_named("ask", |input: relive::Value| match input.get("number") {
            Some(relive::Value::Unsigned(number)) => Ok(*number as u32),
            other => Err(Error::msg(format!("{other:?}"))),
        })
        .stub(rank, |(pages, best)| Ok(pages.len() + best.place))
        .cases(20)
        .check();
    assert_eq!(report.cases, 20);
}

#[trace]
async fn count(words: std::collections::BTreeMap<String, u32>) -> Result<u32> {
    Ok(words.values().sum())
}

#[expect(clippy::disallowed_types, reason = "a map whose order nobody looks at")]
type Unsorted = std::collections::HashMap<String, u32>;

#[trace]
async fn count_unsorted(words: Unsorted) -> Result<Unsorted> {
    Ok(words)
}

/// Maps in no order, as arguments and as the result: to who reads them they are the same.
#[task(cache = "off")]
async fn passes_maps_on(words: Vec<String>) -> Result<Unsorted> {
    let counted: Unsorted = words.iter().map(|word| (word.clone(), word.len() as u32)).collect();
    let counted = count_unsorted(counted).await?;
    count(counted.clone().into_iter().collect()).await?;
    Ok(counted)
}

#[test]
fn maps_in_any_order_pass() {
    determinism(passes_maps_on).inputs(any::<Vec<String>>()).cases(CASES / 3).check();
}

#[trace(retries = 4, backoff(first = "1s", jitter = true))]
async fn flaky(number: u8) -> Result<u8> {
    Ok(number)
}

/// An attempt may take a minute, all of them an hour.
#[task(cache = "off", retries = 3, backoff = "5m", timeout = "1m", deadline = "1h")]
async fn in_time(number: u8) -> Result<u64> {
    let found = flaky(number).await?;
    let slept = slow(u64::from(found)).await?;
    relive::sleep(Duration::from_secs(u64::from(number) / 4)).await?;
    Ok(slept + u64::from(found))
}

#[test]
fn attempts_with_a_time_limit_pass() {
    determinism(in_time).inputs(any::<u8>()).failing(flaky, 0.6).cases(CASES / 2).check();
}

#[trace(retries = 3)]
async fn halve(number: u32) -> Result<u32> {
    Ok(number / 2)
}

#[task]
async fn half(number: u32) -> Result<u32> {
    halve(number / 2).await
}

/// Both children make the same call if the number is even.
#[task]
async fn two_halves(number: u32) -> Result<u32> {
    let (a, b) = futures::join!(half(number), half(number.wrapping_add(1)));
    Ok(a?.wrapping_add(b?))
}

#[test]
fn children_at_once_may_end_in_any_order() {
    determinism(two_halves).inputs(any::<u32>()).failing(halve, 0.3).cases(30).check();
}
