//! Each lint warns at the words that it is about; here its warnings are errors, to be seen.
#![deny(deprecated)]
#![allow(unused)]

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use relive::{Uuid, task, trace};
use tokio::time;

#[trace]
async fn fetch(url: String) -> relive::Result<String> {
    Ok(url)
}

#[task]
async fn clock() -> relive::Result<bool> {
    let begun = Instant::now();
    let at = std::time::SystemTime::now();
    Ok(None.unwrap_or_else(SystemTime::now) > at)
}

#[task]
async fn random() -> relive::Result<String> {
    Ok(Uuid::new_v4().to_string())
}

#[task]
async fn map_order(pages: HashMap<String, String>) -> relive::Result<()> {
    for url in pages.keys() {
        fetch(url.clone()).await?;
    }
    let mut urls: HashSet<String> = pages.into_values().collect();
    for url in &urls {
        fetch(url.clone()).await?;
    }
    futures::future::try_join_all(urls.drain().map(fetch)).await?;
    Ok(())
}

#[task]
async fn timer() -> relive::Result<()> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    futures::join!(async { time::timeout(Duration::from_secs(1), fetch(String::new())).await });
    std::thread::sleep(Duration::from_secs(1));
    Ok(())
}

#[task]
async fn spawn() -> relive::Result<()> {
    tokio::spawn(async {});
    let handle = std::thread::spawn(|| {});
    Ok(())
}

#[task]
async fn io(path: String) -> relive::Result<usize> {
    let text = std::fs::read_to_string(path)?;
    let file = std::fs::File::create("copy")?;
    Ok(text.len())
}

#[task]
async fn env() -> relive::Result<String> {
    Ok(std::env::var("HOME")?)
}

struct Service;

impl Service {
    #[task(name = "Service::run")]
    async fn run() -> relive::Result<bool> {
        Ok(Instant::now().elapsed() > Duration::ZERO)
    }
}

macro_rules! tasks {
    ($name:ident, $body:expr) => {
        #[task(crate = ::relive)]
        async fn $name() -> relive::Result<u64> {
            Ok($body)
        }
    };
}

tasks!(from_a_macro, Instant::now().elapsed().as_secs());

fn main() {}
