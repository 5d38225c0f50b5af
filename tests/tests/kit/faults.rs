//! Twelve tasks with a fault each, as people plant them without meaning to.

#![allow(
    deprecated,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what a task must not do, and `#[task]` warns about, is what these do"
)]

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use relive::{Error, Result, task, trace};
use serde::{Deserialize, Serialize};

/// What most of these call.
#[trace]
pub(crate) async fn store(key: String, value: u64) -> Result<u64> {
    Ok(value.wrapping_add(key.len() as u64))
}

#[task(cache = "off")]
pub(crate) async fn reads_the_clock(key: String) -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    store(key, now.as_nanos() as u64).await
}

#[task(cache = "off")]
pub(crate) async fn draws_lots(key: String) -> Result<u64> {
    store(key, rand::random()).await
}

#[task(cache = "off")]
pub(crate) async fn walks_a_map(words: Vec<String>) -> Result<u64> {
    let counts: HashMap<String, u64> = words.into_iter().map(|word| (word.clone(), word.len() as u64)).collect();
    let mut sum = 0u64;
    for (word, count) in counts {
        sum = sum.wrapping_add(store(word, count).await?);
    }
    Ok(sum)
}

#[task(cache = "off")]
pub(crate) async fn sleeps_by_itself(key: String) -> Result<u64> {
    let stored = store(key, 1).await?;
    tokio::time::sleep(Duration::from_millis(5)).await;
    Ok(stored)
}

#[task(cache = "off")]
pub(crate) async fn spawns_a_task(key: String) -> Result<u64> {
    let length = tokio::spawn(async move { key.len() as u64 }).await?;
    store("length".to_owned(), length).await
}

static CALLS: AtomicU64 = AtomicU64::new(0);

#[task(cache = "off")]
pub(crate) async fn counts_its_calls(key: String) -> Result<u64> {
    let number = CALLS.fetch_add(1, Ordering::Relaxed);
    store(key, number).await
}

#[task(cache = "off")]
pub(crate) async fn asks_the_environment(key: String) -> Result<u64> {
    let path = std::env::var("PATH").map_err(Error::from)?;
    store(key, path.len() as u64).await
}

/// The rows of a table somewhere.
pub(crate) static ROWS: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[task(cache = "off")]
pub(crate) async fn writes_by_itself(key: String) -> Result<u64> {
    let stored = store(key.clone(), 1).await?;
    ROWS.lock().unwrap().push(key);
    Ok(stored)
}

#[task(cache = "off")]
pub(crate) async fn hears_a_thread(key: String) -> Result<u64> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let length = key.len() as u64;
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1));
        sender.send(length)
    });
    let stored = store(key, 1).await?;
    Ok(stored + receiver.await?)
}

#[task(cache = "off")]
pub(crate) async fn tells_an_address(key: String) -> Result<String> {
    store(key, 1).await?;
    Ok(format!("{:p}", &raw const CALLS))
}

/// Serialized in whatever order the set is in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tags {
    tags: HashSet<String>,
}

#[trace]
async fn store_tags(tags: Tags) -> Result<u64> {
    Ok(tags.tags.len() as u64)
}

#[task(cache = "off")]
pub(crate) async fn passes_a_set_on(words: Vec<String>) -> Result<u64> {
    store_tags(Tags { tags: words.into_iter().collect() }).await
}

/// The first that is there.
async fn either(left: &mut Queue, right: &mut Queue) -> Option<u64> {
    tokio::select! {
        number = left.recv() => number,
        number = right.recv() => number,
    }
}

type Queue = tokio::sync::mpsc::UnboundedReceiver<u64>;

#[task(cache = "off")]
pub(crate) async fn takes_either(key: String) -> Result<u64> {
    let ((left, mut lefts), (right, mut rights)) =
        (tokio::sync::mpsc::unbounded_channel(), tokio::sync::mpsc::unbounded_channel());
    let stored = store(key, 1).await?;
    left.send(stored)?;
    right.send(stored + 1)?;
    either(&mut lefts, &mut rights).await.ok_or_else(|| Error::msg("nothing came"))
}

/// Started and forgotten: nobody awaits it.
#[task(cache = "off")]
pub(crate) async fn spawns_and_forgets(key: String) -> Result<u64> {
    let forgotten = key.clone();
    tokio::spawn(async move { ROWS.lock().unwrap().push(forgotten) });
    store(key, 1).await
}

/// The same within one second.
#[task(cache = "off")]
pub(crate) async fn reads_the_second(key: String) -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    store(key, now.as_secs()).await
}

/// The same as long as nothing takes long.
#[task(cache = "off")]
pub(crate) async fn looks_how_long_it_took(key: String) -> Result<u64> {
    let since = std::time::Instant::now();
    store(key.clone(), 1).await?;
    store(key, u64::from(since.elapsed() > Duration::from_millis(20))).await
}

/// Keyed by chance, and iterated.
#[task(cache = "off")]
pub(crate) async fn tells_the_first_of_a_set(words: Vec<String>) -> Result<Option<String>> {
    let words: HashSet<String> = words.into_iter().collect();
    store("count".to_owned(), words.len() as u64).await?;
    Ok(words.into_iter().next())
}

#[task(cache = "off")]
pub(crate) async fn names_its_process(key: String) -> Result<u64> {
    store(key, u64::from(std::process::id())).await
}

#[task(cache = "off")]
pub(crate) async fn asks_for_a_home(key: String) -> Result<usize> {
    store(key, 1).await?;
    Ok(std::env::var("HOME").map_or(0, |home| home.len()))
}
