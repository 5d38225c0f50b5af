//! Every form of a traced function, method and error type: nothing that is written for them is warned about.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, unreachable_pub, rust_2018_idioms, unused_qualifications, let_underscore_drop)]

use std::fmt;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use relive::{Trace, TraceIterator, TraceStream, TypedError, task, trace};
use serde::{Deserialize, Serialize};

/// An error.
#[derive(Debug, Serialize, Deserialize, TypedError)]
#[relive(name = "refused")]
pub enum Refused {
    /// For now.
    Politely,
    /// For good.
    #[relive(terminal)]
    Firmly {
        /// Why.
        reason: String,
    },
    /// By the engine.
    #[relive(engine)]
    Engine(relive::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Refused {}

/// A service.
#[derive(Clone)]
pub struct Client {
    base: String,
}

impl Client {
    /// A method.
    #[trace(name = "Client::fetch", retries = 3, backoff(first = "1s", factor = 1.5, max = "1m", jitter = false))]
    pub async fn fetch(&self, url: &str) -> Result<String, Refused> {
        Err(Refused::Firmly { reason: format!("{}{url}", self.base) })
    }

    /// In place.
    #[trace]
    pub fn parse<T: Serialize>(&self, value: &T, words: &[&str]) -> relive::Result<usize> {
        Ok(self.base.len() + words.len() + size_of_val(value))
    }

    #[trace(resume = "from", key = (&self.base, from))]
    fn pages(self: Arc<Self>, from: u64) -> impl Stream<Item = Result<u64, Refused>> + Send {
        stream::iter(from..).map(|page| if page < 3 { Ok(page) } else { Err(Refused::Politely) })
    }

    #[expect(unused_mut, reason = "attributes of a method reach its body")]
    #[trace(blocking, timeout = "1s", deadline = "1m", retries = 1, codec = "json")]
    fn compute(mut self, text: &str) -> relive::Result<usize> {
        Ok(self.base.len() + text.len())
    }
}

#[trace(at_most_once, redact(token))]
fn charge(token: &str, amount: u64) -> relive::Result<u64> {
    Ok(amount + token.len() as u64)
}

#[trace(pure, retries = 2)]
fn again(mut amounts: Vec<u64>) -> relive::Result<u64> {
    amounts.push(1);
    Ok(amounts.iter().sum())
}

#[trace(spawn)]
async fn elsewhere(amounts: Vec<u64>) -> relive::Result<u64> {
    Ok(amounts.iter().sum())
}

#[trace(skip(client))]
fn words(client: &Client, text: &str) -> impl Iterator<Item = relive::Result<String>> {
    text.split(client.base.clone().as_str()).map(|word| Ok(word.to_owned())).collect::<Vec<_>>().into_iter()
}

/// A task.
#[task(version = "2", ttl = "1h", ignore(by), salt = "x", retries = 2, backoff = "1s", on_divergence = "new_attempt")]
pub async fn run(base: String, by: u32) -> Result<u64, Refused> {
    let client = Arc::new(Client { base });
    let page: Trace<String, Refused> = client.fetch("a");
    drop(page.await);
    let pages: TraceStream<u64, Refused> = Arc::clone(&client).pages(0);
    let mut pages = std::pin::pin!(pages);
    let first = pages.next().await.transpose()?.unwrap_or_default();
    let words: TraceIterator<String, relive::Error> = words(&client, "a b");
    let parsed = client.parse(&by, &["a"])? + words.count();
    let computed = Client::clone(&client).compute("a").await?;
    Ok(first + (parsed + computed) as u64 + charge("a", 1)? + again(vec![1])? + elsewhere(vec![1]).await?)
}

fn main() {
    drop(run(String::new(), 1));
}
