//! Streams: the words of a language model, and a file line by line. Each item is in the log before it is used; the engine is
//! closed in the middle of each, as a crash would, and the next one goes on behind the last item.
//!
//! `cargo run -p relive-examples --example 07_streaming`

#![expect(clippy::print_stdout, reason = "what an example does is what it prints")]

use std::path::Path;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use relive::{Engine, Event, LoggedEvent, Result, RunId, task, trace};
use tokio::sync::mpsc;

/// Whether this is the life of the process that does not see the end.
struct Life {
    is_first: bool,
}

/// A model cannot go on in the middle of an answer: asked again, it starts over. What it repeats is compared with what was
/// recorded and passed over.
#[trace]
fn answer(prompt: &str) -> impl Stream<Item = Result<String>> + Send + use<> {
    println!("  the model is asked: {prompt}");
    let words = ["tides ", "follow ", "the ", "moon"];
    let is_first = relive::provided::<Life>().is_ok_and(|life| life.is_first);
    stream::iter(words).enumerate().then(move |(index, word)| async move {
        if is_first && index == 2 {
            std::future::pending::<()>().await; // the connection hangs
        }
        Ok(word.to_owned())
    })
}

/// A file can: with `resume`, `from` is greater by the number of lines that were handed on.
#[trace(resume = "from")]
fn lines(file: &str, from: usize) -> impl Stream<Item = Result<String>> + Send + use<> {
    println!("  {file} is read from line {from} on");
    let is_first = relive::provided::<Life>().is_ok_and(|life| life.is_first);
    stream::iter(from..5).then(move |line| async move {
        if is_first && line == 3 {
            std::future::pending::<()>().await;
        }
        Ok(format!("line {line}"))
    })
}

#[task]
async fn ask(prompt: String) -> Result<String> {
    answer(&prompt).try_collect().await
}

#[task]
async fn count_letters(file: String) -> Result<usize> {
    let mut letters = 0;
    let mut lines = std::pin::pin!(lines(&file, 0));
    while let Some(line) = lines.try_next().await? {
        letters += line.len(); // one line in memory at a time
    }
    Ok(letters)
}

/// Opens the store; tells how many items are durable whenever there are more.
async fn open(directory: &Path, is_first: bool) -> Result<(Engine, mpsc::UnboundedReceiver<u64>)> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let builder = Engine::builder().provide(Life { is_first }).shutdown_grace(Duration::ZERO);
    let builder = builder.on_durable(move |acknowledged| {
        if let Event::TraceYielded(yielded) = &acknowledged.event {
            let _ = sender.send(yielded.index + 1);
        }
    });
    Ok((builder.open(directory).await?, receiver))
}

/// How many items a run's log holds.
fn item_count(engine: &Engine, run: RunId) -> usize {
    let is_item = |logged: &Result<LoggedEvent>| matches!(logged, Ok(logged) if logged.event.name() == "TraceYielded");
    engine.events(run).filter(is_item).count()
}

#[tokio::main]
async fn main() -> Result<()> {
    let directory = tempfile::tempdir()?;

    println!("A model's answer:");
    let (engine, mut durable) = open(directory.path(), true).await?;
    let run = engine.start(ask("what are tides?".to_owned())).await?.id();
    while durable.recv().await.is_some_and(|count| count < 2) {}
    engine.shutdown().await?;
    println!("  cut off behind word 2; started again, the run goes on:");
    let (engine, _) = open(directory.path(), false).await?;
    println!("  {}", engine.run(ask("what are tides?".to_owned())).await?);
    println!("  in the log, each word once: {}", item_count(&engine, run));
    let replayed = engine.replay(run).await?.is_some();
    println!("  replayed, the words come from the log, and no model is asked: {replayed}");
    engine.shutdown().await?;

    println!("A file, line by line:");
    let (engine, mut durable) = open(directory.path(), true).await?;
    let run = engine.start(count_letters("book.txt".to_owned())).await?.id();
    while durable.recv().await.is_some_and(|count| count < 3) {}
    engine.shutdown().await?;
    println!("  cut off behind the third line; started again, the run goes on:");
    let (engine, _) = open(directory.path(), false).await?;
    println!("  {} letters", engine.run(count_letters("book.txt".to_owned())).await?);
    println!("  in the log, each line once: {}", item_count(&engine, run));
    engine.shutdown().await
}
