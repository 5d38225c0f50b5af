//! Twelve tasks that do the same jobs as those with faults, and do them right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use futures::StreamExt;
use relive::{Error, Result, task, trace};
use serde::{Deserialize, Serialize};

use crate::faults::store;

#[task(cache = "off")]
pub(crate) async fn asks_for_the_time(key: String) -> Result<u64> {
    let now = relive::now()?.duration_since(UNIX_EPOCH)?;
    store(key, now.as_nanos() as u64).await
}

#[task(cache = "off")]
pub(crate) async fn has_lots_drawn(key: String) -> Result<u64> {
    store(key, relive::random()?).await
}

#[task(cache = "off")]
pub(crate) async fn walks_a_sorted_map(words: Vec<String>) -> Result<u64> {
    let counts: BTreeMap<String, u64> = words.into_iter().map(|word| (word.clone(), word.len() as u64)).collect();
    let mut sum = 0u64;
    for (word, count) in counts {
        sum = sum.wrapping_add(store(word, count).await?);
    }
    Ok(sum)
}

#[task(cache = "off")]
pub(crate) async fn sleeps_in_the_log(key: String) -> Result<u64> {
    let stored = store(key, 1).await?;
    relive::sleep(Duration::from_secs(3600)).await?;
    Ok(stored)
}

#[trace(spawn)]
async fn length(key: String) -> Result<u64> {
    Ok(key.len() as u64)
}

#[task(cache = "off")]
pub(crate) async fn spawns_an_effect(key: String) -> Result<u64> {
    let (left, right) = futures::future::try_join(length(key.clone()), store(key, 1)).await?;
    store("length".to_owned(), left + right).await
}

#[task(cache = "off")]
pub(crate) async fn counts_for_itself(keys: Vec<String>) -> Result<u64> {
    let mut number = 0;
    for key in keys {
        number += 1;
        store(key, number).await?;
    }
    Ok(number)
}

#[trace]
async fn search_path() -> Result<String> {
    std::env::var("PATH").map_err(Error::from)
}

#[task(cache = "off")]
pub(crate) async fn has_the_environment_asked(key: String) -> Result<u64> {
    let path = search_path().await?;
    store(key, path.len() as u64).await
}

/// The rows of a table somewhere.
pub(crate) static ROWS: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[trace]
async fn write(key: String) -> Result<()> {
    ROWS.lock().unwrap().push(key);
    Ok(())
}

#[task(cache = "off")]
pub(crate) async fn writes_in_a_trace(key: String) -> Result<u64> {
    let stored = store(key.clone(), 1).await?;
    write(key).await?;
    Ok(stored)
}

/// A channel between two branches of the body: fed by what is in the log.
#[task(cache = "off")]
pub(crate) async fn hears_its_own_branch(keys: Vec<String>) -> Result<u64> {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let sends = async move {
        let mut found: futures::stream::FuturesUnordered<_> = keys.into_iter().map(|key| store(key, 1)).collect();
        while let Some(stored) = found.next().await {
            sender.send(stored?)?;
        }
        Ok::<_, Error>(())
    };
    let hears = async {
        let mut sum = 0u64;
        while let Some(stored) = receiver.recv().await {
            sum = sum.wrapping_mul(31).wrapping_add(store("heard".to_owned(), stored).await?);
        }
        Ok::<_, Error>(sum)
    };
    let ((), sum) = tokio::try_join!(sends, hears)?;
    Ok(sum)
}

#[task(cache = "off")]
pub(crate) async fn tells_a_place(keys: Vec<String>) -> Result<Option<usize>> {
    store("keys".to_owned(), keys.len() as u64).await?;
    Ok(keys.iter().position(String::is_empty))
}

/// Serialized in the order of its elements.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SortedTags {
    tags: BTreeSet<String>,
}

#[trace]
async fn store_sorted(tags: SortedTags) -> Result<u64> {
    Ok(tags.tags.len() as u64)
}

#[task(cache = "off")]
pub(crate) async fn passes_a_sorted_set_on(words: Vec<String>) -> Result<u64> {
    store_sorted(SortedTags { tags: words.into_iter().collect() }).await
}

type Queue = tokio::sync::mpsc::UnboundedReceiver<u64>;

/// The first that is there: the left one, if both are.
async fn either(left: &mut Queue, right: &mut Queue) -> Option<u64> {
    relive::select! {
        number = left.recv() => number,
        number = right.recv() => number,
    }
}

#[task(cache = "off")]
pub(crate) async fn takes_the_left_first(key: String) -> Result<u64> {
    let ((left, mut lefts), (right, mut rights)) =
        (tokio::sync::mpsc::unbounded_channel(), tokio::sync::mpsc::unbounded_channel());
    let stored = store(key, 1).await?;
    left.send(stored)?;
    right.send(stored + 1)?;
    either(&mut lefts, &mut rights).await.ok_or_else(|| Error::msg("nothing came"))
}
