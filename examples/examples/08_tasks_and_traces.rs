//! Tasks and traces used interchangeably: one body, first as a trace, then, by another attribute, as a task. The callers are
//! alike to the letter; what differs is where the work is recorded, and who may share it.
//!
//! `cargo run -p relive-examples --example 08_tasks_and_traces`

#![expect(clippy::print_stdout, reason = "what an example does is what it prints")]

use relive::{Engine, Result, task, trace};

/// The one operation with an effect.
#[trace]
async fn fetch(url: String) -> Result<String> {
    println!("  fetch runs: {url}");
    Ok(format!("a page on {url}"))
}

mod as_trace {
    use super::*;

    #[trace(name = "describe as a trace")]
    pub(crate) async fn describe(url: String) -> Result<String> {
        let page = fetch(url.clone()).await?;
        Ok(format!("{url} has {} letters", page.len()))
    }

    #[task(name = "describe all by a trace")]
    pub(crate) async fn describe_all(urls: Vec<String>) -> Result<Vec<String>> {
        futures::future::try_join_all(urls.into_iter().map(describe)).await
    }
}

mod as_task {
    use super::*;

    #[task(name = "describe as a task")]
    pub(crate) async fn describe(url: String) -> Result<String> {
        let page = fetch(url.clone()).await?;
        Ok(format!("{url} has {} letters", page.len()))
    }

    #[task(name = "describe all by a task")]
    pub(crate) async fn describe_all(urls: Vec<String>) -> Result<Vec<String>> {
        futures::future::try_join_all(urls.into_iter().map(describe)).await
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let engine = Engine::open(directory.path()).await?;
    let urls = |urls: [&str; 2]| urls.map(str::to_owned).to_vec();

    println!("As a trace, in the caller's log; another caller does not know of it:");
    println!("  {:?}", engine.run(as_trace::describe_all(urls(["moon", "sea"]))).await?);
    println!("  {:?}", engine.run(as_trace::describe_all(urls(["sea", "sun"]))).await?);
    println!("  runs so far: {}", engine.runs().count());

    println!("As a task, a run of its own; its result is cached, so another caller shares it:");
    println!("  {:?}", engine.run(as_task::describe_all(urls(["moon", "sea"]))).await?);
    println!("  {:?}", engine.run(as_task::describe_all(urls(["sea", "sun"]))).await?);

    println!("A task can also be called by itself:");
    println!("  {}", engine.run(as_task::describe("moon".to_owned())).await?);
    engine.shutdown().await
}
