//! What no lint is about, or what was allowed, is not warned about.
#![deny(warnings)]

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime};

use relive::{task, trace};

#[trace]
async fn fetch(url: String) -> relive::Result<String> {
    let begun = Instant::now();
    tokio::task::yield_now().await;
    Ok(format!("{url} in {:?}", begun.elapsed()))
}

/// A task as it should be.
#[task]
async fn sound(pages: HashMap<String, u32>) -> relive::Result<Duration> {
    let at: SystemTime = relive::now()?;
    relive::sleep(Duration::from_secs(relive::random::<u64>()? % 7)).await?;
    relive::timeout(Duration::from_secs(1), fetch(relive::uuid()?.to_string())).await??;
    let sorted: BTreeMap<_, _> = pages.iter().collect();
    for (url, _) in sorted {
        fetch(url.clone()).await?;
    }
    let mut urls: Vec<_> = pages.keys().collect();
    urls.sort();
    let total: u32 = pages.values().sum();
    let first = tokio::select! {
        first = fetch(String::new()) => first?,
        second = fetch(total.to_string()) => second?,
    };
    Ok(relive::now()?.duration_since(at)? + Duration::from_secs(first.len() as u64 + urls.len() as u64))
}

#[task(allow(clock, map_order))]
async fn allowed(pages: HashMap<String, u32>) -> relive::Result<u32> {
    let begun = Instant::now();
    let mut total = 0;
    for count in pages.values() {
        total += count;
    }
    println!("{:?}", begun.elapsed());
    Ok(total)
}

#[allow(deprecated)]
#[task]
async fn allowed_as_any_warning() -> relive::Result<bool> {
    Ok(Instant::now().elapsed() > Duration::ZERO)
}

struct Service;

impl Service {
    #[task]
    #[expect(deprecated, reason = "shown only")]
    async fn run() -> relive::Result<bool> {
        Ok(Instant::now().elapsed() > Duration::ZERO)
    }
}

/// A function in a body is none of it.
#[task]
async fn nested() -> relive::Result<u64> {
    #[trace]
    fn seconds() -> relive::Result<u64> {
        Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs())
    }
    seconds()
}

fn main() {
    drop(sound(HashMap::new()));
    drop((allowed(HashMap::new()), allowed_as_any_warning(), Service::run(), nested()));
}
