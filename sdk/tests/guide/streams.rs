//! The chapter on streams and iterators.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use relive::{Engine, ErrorKind, Event, task, trace};
use relive_storage::MemoryStore;
use tokio::sync::mpsc;

/// Where sources hang, what they yield, and which offsets they were asked for.
#[derive(Clone, Default)]
struct Sources(Arc<Mutex<Source>>);

#[derive(Default)]
struct Source {
    hangs_at: Option<usize>,
    words: Vec<&'static str>,
    asked: Vec<usize>,
}

/// What a source yields from an index on; it hangs where the test says so.
fn yielded(from: usize) -> impl Stream<Item = relive::Result<String>> + Send {
    let source = relive::provided::<Sources>();
    let (words, hangs_at) = source.map_or_else(
        |_| (vec![], None),
        |sources| {
            let mut source = sources.0.lock();
            source.asked.push(from);
            (source.words.clone(), source.hangs_at)
        },
    );
    stream::iter(words.into_iter().enumerate().skip(from)).then(move |(index, word)| async move {
        if hangs_at == Some(index) {
            std::future::pending::<()>().await;
        }
        if word == "cut" { Err(relive::Error::msg("the connection was cut")) } else { Ok(word.to_owned()) }
    })
}

fn model(_prompt: &str) -> impl Stream<Item = relive::Result<String>> + Send + use<> {
    yielded(0)
}

#[trace]
fn complete(prompt: &str) -> impl Stream<Item = relive::Result<String>> + Send + use<> {
    model(prompt)
}

#[task]
async fn write(prompt: String) -> relive::Result<String> {
    let mut text = String::new();
    let mut words = complete(&prompt);
    while let Some(word) = words.try_next().await? {
        text += &word;
    }
    Ok(text)
}

fn records(from: usize) -> impl Stream<Item = relive::Result<String>> + Send {
    yielded(from)
}

#[trace(resume = "from")]
fn rows(table: &str, from: usize) -> impl Stream<Item = relive::Result<String>> + Send + use<> {
    println!("{table} from row {from} on");
    records(from)
}

#[task]
async fn export(table: String) -> relive::Result<usize> {
    rows(&table, 0).try_fold(0, |sum, row| async move { Ok(sum + row.len()) }).await
}

#[trace]
fn numbers(text: &str) -> impl Iterator<Item = relive::Result<i64>> {
    text.split(',').map(|number| Ok(number.trim().parse()?))
}

#[task]
async fn first_over(limit: i64, text: String) -> relive::Result<Option<i64>> {
    for number in numbers(&text) {
        let number = number?;
        if number > limit {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Runs a task until so many items are durable, closes the engine without grace, and opens its store again.
async fn interrupted(sources: &Sources, start: impl AsyncFn(&Engine) -> relive::Result<()>) -> relive::Result<Engine> {
    let store = Arc::new(MemoryStore::new());
    let (sender, mut durable) = mpsc::unbounded_channel();
    sources.0.lock().hangs_at = Some(2);
    let builder = || Engine::builder().provide(sources.clone()).shutdown_grace(Duration::ZERO);
    let reporting = builder().on_durable(move |acknowledged| {
        if let Event::TraceYielded(yielded) = &acknowledged.event {
            let _ = sender.send(yielded.index);
        }
    });
    let engine = reporting.open_store(Arc::clone(&store) as _).await?;
    start(&engine).await?;
    while durable.recv().await.is_some_and(|index| index < 1) {}
    engine.shutdown().await?;
    sources.0.lock().hangs_at = None;
    builder().open_store(store).await
}

#[tokio::test]
async fn a_stream_that_was_cut_off_goes_on_behind_its_last_item() -> relive::Result<()> {
    let sources = Sources::default();
    sources.0.lock().words = vec!["tides ", "follow ", "the ", "moon"];
    let prompt = || "tides".to_owned();
    let engine = interrupted(&sources, async |engine| engine.start(write(prompt())).await.map(drop)).await?;
    assert_eq!(engine.run(write(prompt())).await?, "tides follow the moon");
    assert_eq!(sources.0.lock().asked, [0, 0], "the model was asked again, and what it repeated passed over");
    engine.shutdown().await?;

    let table = || "tides".to_owned();
    let engine = interrupted(&sources, async |engine| engine.start(export(table())).await.map(drop)).await?;
    assert_eq!(engine.run(export(table())).await?, "tides follow the moon".len());
    assert_eq!(sources.0.lock().asked, [0, 0, 0, 2], "the table was read on");
    engine.shutdown().await
}

#[tokio::test]
async fn a_source_that_repeats_something_else_is_an_error() -> relive::Result<()> {
    let sources = Sources::default();
    sources.0.lock().words = vec!["tides ", "follow ", "the ", "moon"];
    let prompt = || "tides".to_owned();
    let engine = interrupted(&sources, async |engine| {
        let started = engine.start(write(prompt())).await.map(drop);
        sources.0.lock().words = vec!["the ", "moon ", "leads ", "them"];
        started
    });
    let engine = engine.await?;
    let error = engine.run(write(prompt())).await.expect_err("the model says something else now");
    assert_eq!(error.kind(), ErrorKind::SourceChanged);
    engine.shutdown().await
}

#[tokio::test]
async fn streams_that_fail_are_empty_or_are_left_have_a_defined_end() -> relive::Result<()> {
    let sources = Sources::default();
    let engine = crate::in_memory(Engine::builder().provide(sources.clone())).await?;
    assert_eq!(engine.run(write("nothing".to_owned())).await?, "");
    sources.0.lock().words = vec!["one ", "cut", "two "];
    let error = engine.run(write("cut off".to_owned())).await.expect_err("its source fails");
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Failed, "the connection was cut"));

    let handle = engine.start(first_over(2, "1, 2, 3, 4, no number".to_owned())).await?;
    let run = handle.id();
    assert_eq!(handle.await?, Some(3), "it never comes to what is no number");
    let names = engine.events(run).map(|logged| Ok(logged?.event.name())).collect::<relive::Result<Vec<_>>>()?;
    assert_eq!(names.iter().filter(|name| **name == "TraceYielded").count(), 3);
    let outcomes = engine.events(run).filter_map(|logged| match logged.ok()?.event {
        Event::TraceCompleted(completed) => Some(completed.outcome),
        _ => None,
    });
    assert_eq!(outcomes.collect::<Vec<_>>(), [relive::TraceOutcome::Dropped]);
    assert!(engine.replay(run).await?.is_some());
    engine.shutdown().await
}
