//! `TestEngine` and `#[relive::test]`: stubs, virtual time, what was called, and timelines.

use std::time::Duration;

use relive::testing::TestEngine;
use relive::{Error, ErrorKind, Result, task, trace};

#[trace(name = "fetch-page", retries = 3, backoff = "1h")]
async fn fetch_page(url: String) -> Result<String> {
    Err(Error::msg(format!("{url}: there is no network")))
}

#[task(cache = "off")]
async fn collects(urls: Vec<String>) -> Result<Vec<usize>> {
    let pages = futures::future::try_join_all(urls.into_iter().map(fetch_page)).await?;
    relive::sleep(Duration::from_secs(7 * 24 * 3600)).await?;
    Ok(pages.iter().map(String::len).collect())
}

fn urls() -> Vec<String> {
    vec!["b".to_owned(), "a".to_owned()]
}

#[relive::test]
async fn a_week_and_three_retries_pass_at_once() -> Result<()> {
    let engine = TestEngine::builder().stub(fetch_page, |url| Ok(url + "!")).open().await?;
    assert_eq!(engine.run(collects(urls())).await?, [2, 2]);
    engine.assert_called("fetch-page", &[r#"{"url":"a"}"#, r#"{"url":"b"}"#]);
    assert_eq!(engine.calls("fetch-page")?[0].output::<String>()?, "b!");
    Ok(())
}

#[relive::test]
async fn what_is_not_stubbed_runs_as_it_is_and_is_tried_again(engine: TestEngine) -> Result<()> {
    let error = engine.run(collects(vec!["a".to_owned()])).await.expect_err("no network");
    assert_eq!(error.kind(), ErrorKind::Failed);
    let calls = engine.calls("fetch-page")?;
    assert_eq!(calls.iter().map(|call| call.tries).collect::<Vec<_>>(), [4]);
    Ok(())
}

#[relive::test]
async fn a_timeline_names_no_ids_and_no_times() -> Result<()> {
    let engine = TestEngine::builder().stub(fetch_page, |url| Ok(url + "!")).open().await?;
    let handle = engine.start(collects(urls())).await?;
    let run = handle.id();
    handle.await?;
    insta::assert_snapshot!(engine.timeline(run)?, @r#"
      1. collects(["b","a"]) starts
           calls fetch-page("a")
           calls fetch-page("b")
      2. fetch-page("b") = "b!"
      3. fetch-page("a") = "a!"
           calls relive::sleep(604800000000)
      4. relive::sleep(604800000000) = null
           ends: Ok([2,2])
    "#);
    Ok(())
}

#[trace]
async fn takes_long(seconds: u64) -> Result<u64> {
    #[expect(clippy::disallowed_methods, reason = "tokio's time is virtual, too")]
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Ok(seconds)
}

#[task(cache = "off")]
async fn waits_a_minute(seconds: u64) -> Result<Option<u64>> {
    match relive::timeout(Duration::from_secs(60), takes_long(seconds)).await {
        Ok(seconds) => Ok(Some(seconds?)),
        Err(_) => Ok(None),
    }
}

#[relive::test]
async fn tokios_time_and_the_engines_are_one(engine: TestEngine) -> Result<()> {
    assert_eq!(engine.run(waits_a_minute(59)).await?, Some(59));
    assert_eq!(engine.run(waits_a_minute(61)).await?, None);
    Ok(())
}

#[task(cache = "off")]
async fn waits_for_a_word() -> Result<String> {
    relive::signal("word").await
}

#[relive::test]
async fn an_engine_is_opened_over_what_another_left() -> Result<()> {
    let first = TestEngine::open().await?;
    let run = first.start(waits_for_a_word()).await?.id();
    first.shutdown().await?;
    let second = TestEngine::builder().over(&first).open().await?;
    second.signal(run, "word", "yes").await?;
    assert_eq!(second.handle::<String, Error>(run)?.await?, "yes");
    Ok(())
}

/// What the clock says, in seconds since 1 January 2030: to it, to a child, and to both once more an hour later.
#[task(name = "kit.asks-the-time", cache = "off")]
async fn asks_the_time() -> Result<Vec<u64>> {
    let mut said = vec![seconds_since_2030()?, asks_in_a_child(0).await?];
    relive::sleep(Duration::from_secs(3_600)).await?;
    said.extend([seconds_since_2030()?, asks_in_a_child(1).await?]);
    Ok(said)
}

#[task(name = "kit.asks-in-a-child", cache = "off")]
async fn asks_in_a_child(_number: u32) -> Result<u64> {
    seconds_since_2030()
}

fn seconds_since_2030() -> Result<u64> {
    let since = relive::now()?.duration_since(std::time::UNIX_EPOCH).map_err(Error::msg)?;
    Ok(since.as_secs() - 1_893_456_000)
}

#[relive::test]
async fn each_run_and_each_child_is_told_the_time_that_the_clock_shows_when_it_asks() -> Result<()> {
    let engine = TestEngine::open().await?;
    assert_eq!(engine.run(asks_the_time()).await?, [0, 0, 3_600, 3_600]);
    engine.advance(Duration::from_secs(86_400));
    let handle = engine.start(asks_the_time()).await?;
    let run = handle.id();
    let said = handle.await?;
    assert_eq!(said, [90_000, 90_000, 93_600, 93_600], "a day and an hour later");
    engine.advance(Duration::from_secs(86_400));
    let replayed = engine.replay(run).await?;
    assert!(matches!(replayed, Some(relive::TaskOutcome::Ok(payload)) if payload.decode::<Vec<u64>>()? == said));
    Ok(())
}

#[relive::test]
async fn an_engine_over_what_another_left_goes_on_from_the_others_moment() -> Result<()> {
    let first = TestEngine::open().await?;
    first.advance(Duration::from_secs(86_400));
    first.run(asks_in_a_child(7)).await?;
    let run = first.start(waits_for_a_word()).await?.id();
    first.shutdown().await?;
    let second = TestEngine::builder().over(&first).open().await?;
    assert_eq!(second.run(asks_in_a_child(8)).await?, 86_400);
    second.advance(Duration::from_secs(60));
    second.signal(run, "word", "yes").await?;
    second.handle::<String, Error>(run)?.await?;
    second.shutdown().await?;
    let third = TestEngine::builder().over(&second).open().await?;
    assert_eq!(third.run(asks_in_a_child(9)).await?, 86_460);
    Ok(())
}

#[tokio::test]
async fn an_ordinary_runtime_will_do() -> Result<()> {
    let engine = TestEngine::builder().stub(fetch_page, Ok).failing(fetch_page, 0.5).seed(3).open().await?;
    assert_eq!(engine.run(collects(urls())).await?, [1, 1]);
    assert_eq!(engine.call_count("fetch-page"), 2);
    Ok(())
}
