//! Nothing that the attributes write is unsafe, or warned about, also where everything is.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, unreachable_pub, rust_2018_idioms, unused_qualifications, let_underscore_drop)]

use std::collections::BTreeMap;
use std::path::Path;

use relive::{task, trace};
use serde::{Deserialize, Serialize};

/// A page.
#[derive(Clone, Serialize, Deserialize)]
pub struct Page {
    title: String,
}

struct Client;

#[derive(Debug, Serialize, Deserialize)]
enum Refused {
    Politely,
    Engine(String),
}

impl From<relive::Error> for Refused {
    fn from(error: relive::Error) -> Self {
        Refused::Engine(error.to_string())
    }
}

#[trace(skip(client), name = "fetch-page")]
async fn fetch(client: Client, url: &str) -> relive::Result<Page> {
    let Client = client;
    Ok(Page { title: url.to_owned() })
}

#[trace(outside = "call")]
async fn count<'a, T, const N: usize>(items: &'a [T], by: &BTreeMap<String, T>, mut at: u64) -> relive::Result<u64>
where
    T: Clone + Serialize + Send + Sync + 'static,
    BTreeMap<String, T>: Clone,
{
    at += (items.len() + by.len() + N) as u64;
    Ok(at)
}

#[trace]
async fn refuse(_reason: &'static str) -> Result<(), Refused> {
    Err(Refused::Politely)
}

/// A task.
#[task(cache = "off")]
pub async fn digest<'a>(
    urls: &'a [String],
    page: &Page,
    path: &Path,
    r#type: Option<u32>,
) -> relive::Result<Vec<Page>> {
    let mut pages = vec![page.clone()];
    for url in urls {
        pages.push(fetch(Client, url).await?);
    }
    let left = tokio::select! {
        done = refuse("late") => done.is_ok(),
        count = count::<u8, 3>(&[1], &BTreeMap::new(), 1) => count.is_ok(),
    };
    pages.truncate(usize::from(left) + r#type.map_or(0, |count| count as usize) + path.as_os_str().len());
    Ok(pages)
}

#[task]
async fn countdown(from: u32) -> Result<u32, Refused> {
    // Its own name in its body is the task: inert until an engine runs it.
    if from > 0 {
        drop(countdown(from - 1));
    }
    Ok(from)
}

/// Names are looked up where the function stands.
pub mod nested {
    use super::*;

    const META: &str = "the user's";

    /// A trace.
    #[trace]
    pub async fn named(input: String, arguments: Vec<u8>) -> relive::Result<String> {
        Ok(format!("{META} {input} {arguments:?}"))
    }
}

fn main() {
    #[trace]
    async fn inside(a: u32) -> relive::Result<u32> {
        Ok(a)
    }

    #[task]
    async fn inside_too(a: u32) -> relive::Result<u32> {
        inside(a).await
    }

    drop(inside_too(1));
    drop(countdown(1));
    drop(digest(&[], &Page { title: String::new() }, Path::new("/"), None));
    drop(nested::named(String::new(), vec![]));
}
