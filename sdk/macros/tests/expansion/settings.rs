//! What the settings say arrives in the statics; what they do not say is the default.

use std::time::Duration;

use futures::Stream;
use relive_macros::{task, trace};

use super::__private::{CacheMode, CachePolicy, Keep, PayloadCodec, RetryPolicy, TaskPolicy, TracePolicy};
use super::{Page, Result};

const SECOND: Duration = Duration::from_secs(1);

#[trace(
    retries = 3,
    backoff(first = "1s", factor = 1.5, max = "2m30s", jitter = false),
    timeout = "1500ms",
    deadline = "1h",
    codec = "json",
    redact(token, page.title),
    pure,
    spawn
)]
async fn everything(token: String, page: Page) -> Result<usize> {
    Ok(token.len() + page.title.len())
}

#[trace(at_most_once, codec = "messagepack")]
fn once() -> Result<()> {
    Ok(())
}

#[trace(retries = 1, backoff = "1s", codec = "bincode")]
async fn short() -> Result<()> {
    Ok(())
}

#[trace(resume = "from")]
fn resumed(from: u64) -> impl Stream<Item = Result<u64>> {
    futures::stream::iter([Ok(from)])
}

#[trace]
async fn nothing() -> Result<()> {
    Ok(())
}

#[test]
fn of_a_trace() {
    let trace = everything("a".into(), Page { title: "b".into() });
    let retry = RetryPolicy { retries: 3, backoff: SECOND, factor: 1.5, backoff_max: 150 * SECOND, jitter: false };
    let expected = TracePolicy {
        retry,
        timeout: Some(Duration::from_millis(1500)),
        deadline: Some(3600 * SECOND),
        pure: true,
        at_most_once: false,
        spawn: true,
        resumes: false,
        redact: &["token", "page.title"],
        codec: Some(PayloadCodec::JSON),
    };
    assert_eq!(trace.meta.policy, expected);
    assert_eq!(trace.run(), Ok(2));

    assert_eq!(once(), Ok(()));
    let once = &super::forms::in_place()[0].meta.policy;
    let expected = TracePolicy { at_most_once: true, codec: Some(PayloadCodec::MESSAGE_PACK), ..TracePolicy::DEFAULT };
    assert_eq!(*once, expected);

    let retry = RetryPolicy { retries: 1, backoff: SECOND, ..RetryPolicy::DEFAULT };
    let expected = TracePolicy { retry, codec: Some(PayloadCodec::BINCODE), ..TracePolicy::DEFAULT };
    assert_eq!(short().meta.policy, expected);
    assert_eq!(resumed(1).meta.policy, TracePolicy { resumes: true, ..TracePolicy::DEFAULT });
    assert_eq!(nothing().meta.policy, TracePolicy::DEFAULT);
}

#[task(
    version = "2",
    ttl = "1h30m",
    ignore(a, r#type),
    salt = "staging",
    codec = "json",
    retries = 2,
    backoff(factor = 2),
    timeout = "1s",
    deadline = "1d",
    on_divergence = "new_attempt",
    keep(age = "30d", count = 100)
)]
async fn every_setting(a: u32, b: u32, r#type: u32) -> Result<u32> {
    Ok(a + b + r#type)
}

#[task(cache = "auto", on_divergence = "wait")]
async fn defaults() -> Result<u32> {
    Ok(1)
}

#[task(keep = "1s")]
async fn kept() -> Result<u32> {
    Ok(2)
}

#[task(keep(count = 5))]
async fn counted() -> Result<u32> {
    Ok(3)
}

#[task(keep = "forever")]
async fn forever() -> Result<u32> {
    Ok(4)
}

#[test]
fn of_a_task() {
    let call = every_setting(1, 2, 3);
    let cache = CachePolicy {
        mode: CacheMode::Version("2"),
        ttl: Some(5400 * SECOND),
        ignored: &["a", "type"],
        salt: "staging",
    };
    let policy = TaskPolicy {
        retry: RetryPolicy { retries: 2, ..RetryPolicy::DEFAULT },
        timeout: Some(SECOND),
        deadline: Some(86400 * SECOND),
        new_attempt_on_divergence: true,
        codec: Some(PayloadCodec::JSON),
        keep: Some(Keep { age: Some(30 * 86400 * SECOND), count: Some(100) }),
    };
    assert_eq!((&call.meta.cache, &call.meta.policy), (&cache, &policy));
    let canonical = (call.meta.canonical)(&call.input, call.meta.cache.ignored);
    assert_eq!(canonical, serde_json::json!({"b": 2}));
    // To say "auto" is to say something: an engine whose tasks share nothing by default shares this one's results.
    let said = CachePolicy { mode: CacheMode::Auto, ..CachePolicy::DEFAULT };
    assert_eq!((&defaults().meta.cache, &defaults().meta.policy), (&said, &TaskPolicy::DEFAULT));
    assert_eq!(defaults().run(), Ok(1));
    assert_eq!(kept().meta.policy.keep, Some(Keep { age: Some(SECOND), count: None }));
    assert_eq!(counted().meta.policy.keep, Some(Keep { age: None, count: Some(5) }));
    assert_eq!(forever().meta.policy.keep, Some(Keep::FOREVER));
}
