//! A research pipeline: search, summarize what was found, conclude. One summary fails; the run is resumed, and nothing that
//! succeeded runs again.
//!
//! `cargo run -p relive-examples --example 04_orchestration`; the demo (`make demo`) does the same with files and kills.

#![expect(clippy::print_stdout, reason = "what an example does is what it prints")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use relive::{Engine, Error, Result, task, trace};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Page {
    title: String,
    text: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Report {
    topic: String,
    insights: Vec<String>,
    page_count: usize,
}

/// The summarizing service: it refuses long pages until somebody raises its limit.
#[derive(Default)]
struct Service {
    takes_long_pages: AtomicBool,
}

impl Service {
    fn put_right(&self) {
        self.takes_long_pages.store(true, Ordering::Relaxed);
    }
}

#[trace]
async fn search(topic: &str) -> Result<Vec<Page>> {
    println!("  search runs: {topic}");
    let page = |title: &str, text: &str| Page { title: title.to_owned(), text: text.to_owned() };
    Ok(vec![
        page("moon", "It pulls."),
        page("sea", "It follows, and then it goes on following."),
        page("sun", "It helps."),
    ])
}

#[trace]
async fn summarize(page: &Page) -> Result<String> {
    println!("  summarize runs: {}", page.title);
    let service = relive::provided::<Arc<Service>>()?;
    if page.text.len() > 20 && !service.takes_long_pages.load(Ordering::Relaxed) {
        return Err(Error::msg(format!("the page {} is too long", page.title)));
    }
    Ok(format!("{}: {}", page.title, page.text))
}

#[trace]
async fn conclude(summaries: &[String]) -> Result<Vec<String>> {
    println!("  conclude runs, on {} summaries", summaries.len());
    Ok(summaries.iter().map(|summary| summary.to_uppercase()).collect())
}

#[task]
async fn pipeline(topic: String) -> Result<Report> {
    let pages = search(&topic).await?;
    // All at once; each that succeeds is a checkpoint, whatever becomes of the others.
    let summaries = relive::group("summaries", futures::future::join_all(pages.iter().map(summarize))).await;
    let summaries = summaries.into_iter().collect::<Result<Vec<_>>>()?;
    let insights = conclude(&summaries).await?;
    Ok(Report { topic, insights, page_count: pages.len() })
}

#[tokio::main]
async fn main() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let service = Arc::new(Service::default());
    let engine = Engine::builder().provide(Arc::clone(&service)).open(directory.path()).await?;

    println!("The first attempt:");
    let handle = engine.start(pipeline("tides".to_owned())).await?;
    let run = handle.id();
    let error = handle.await.map_or_else(|error| error.to_string(), |report| format!("{report:?}"));
    println!("  it failed: {error}");

    println!("What a new attempt would do:");
    let preview = engine.resume(run).preview().await?;
    let names = |calls: &[relive::CallSite]| calls.iter().map(|call| call.name.clone()).collect::<Vec<_>>().join(", ");
    println!("  repeated from the log: {}", names(&preview.repeated));
    println!("  run: {}", names(&preview.runs));

    println!("The service is put right, and the run resumed:");
    service.put_right();
    engine.resume(run).await?.await?;
    // The result has been cached, so that the typed call gets it, and nothing runs.
    let report = engine.run(pipeline("tides".to_owned())).await?;
    println!("  {} insights from {} pages on {}", report.insights.len(), report.page_count, report.topic);

    engine.shutdown().await
}
