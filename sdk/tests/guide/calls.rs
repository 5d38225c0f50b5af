//! The chapters on what a trace may promise, on traces in traces, and on groups.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, TryStreamExt, stream};
use parking_lot::Mutex;
use relive::{Engine, ErrorKind, Event, task, trace};
use relive_storage::MemoryStore;
use serde::{Deserialize, Serialize};

/// Which effects have begun, and whether they come to an end.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<(Vec<String>, bool)>>);

impl Seen {
    fn note(what: &str) -> relive::Result<bool> {
        let seen = relive::provided::<Self>()?;
        let mut seen = seen.0.lock();
        seen.0.push(what.to_owned());
        Ok(seen.1)
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    id: u64,
    note: String,
}

#[trace(spawn)]
async fn render(order: Order) -> relive::Result<String> {
    Ok(format!("<p>{}</p>", order.note))
}

#[trace(pure)]
async fn vat(cents: u64) -> relive::Result<u64> {
    Ok(cents * 19 / 100)
}

#[trace(key = order.id)]
async fn book(order: Order) -> relive::Result<u64> {
    Ok(order.id)
}

#[trace(at_most_once)]
async fn launch(rocket: &str) -> relive::Result<()> {
    ignite(rocket).await
}

#[task]
async fn countdown(rocket: String) -> relive::Result<String> {
    match launch(&rocket).await {
        Ok(()) => Ok(format!("{rocket} is on its way")),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(format!("look whether {rocket} is still there")),
        Err(error) => Err(error),
    }
}

async fn ignite(rocket: &str) -> relive::Result<()> {
    if Seen::note(rocket)? {
        std::future::pending::<()>().await;
    }
    Ok(())
}

#[task]
async fn invoice(order: Order, cents: u64) -> relive::Result<String> {
    let number = book(order.clone()).await?;
    let tax = vat(cents).await?;
    Ok(format!("{number}: {} {tax}", render(order).await?))
}

#[tokio::test]
async fn a_trace_promises_what_its_settings_say() -> relive::Result<()> {
    let engine = crate::in_memory(Engine::builder()).await?;
    let order = Order { id: 7, note: "in blue".to_owned() };
    assert_eq!(engine.run(invoice(order, 100)).await?, "7: <p>in blue</p> 19");
    engine.shutdown().await
}

#[tokio::test]
async fn what_may_begin_once_is_not_begun_again() -> relive::Result<()> {
    let (store, seen) = (Arc::new(MemoryStore::new()), Seen::default());
    seen.0.lock().1 = true;
    let builder = || Engine::builder().provide(seen.clone()).shutdown_grace(Duration::ZERO);
    let engine = builder().open_store(Arc::clone(&store) as _).await?;
    engine.start(countdown("Ariane".to_owned())).await?;
    until(&seen, 1).await;
    engine.shutdown().await?;

    seen.0.lock().1 = false;
    let engine = builder().open_store(store).await?;
    assert_eq!(engine.run(countdown("Ariane".to_owned())).await?, "look whether Ariane is still there");
    assert_eq!(seen.0.lock().0, ["Ariane"]);
    engine.shutdown().await
}

async fn until(seen: &Seen, count: usize) {
    while seen.0.lock().0.len() < count {
        tokio::task::yield_now().await;
    }
}

#[trace]
async fn page(url: String) -> relive::Result<String> {
    Seen::note(&url)?;
    Ok(format!("contents of {url}"))
}

#[trace(retries = 2, backoff = "1s")]
async fn compare(old: String, new: String) -> relive::Result<bool> {
    let (old, new) = futures::try_join!(page(old), page(new))?;
    judged(&old, &new).await // fails now and then
}

async fn judged(old: &str, new: &str) -> relive::Result<bool> {
    if Seen::note("compare")? {
        relive::provided::<Seen>()?.0.lock().1 = false;
        return Err(relive::Error::msg("the first time it does not work"));
    }
    Ok(old == new)
}

#[task]
async fn watch(old: String, new: String) -> relive::Result<bool> {
    relive::group("compare", compare(old, new)).await
}

#[tokio::test]
async fn what_a_trace_calls_is_kept_over_its_tries() -> relive::Result<()> {
    let seen = Seen::default();
    seen.0.lock().1 = true;
    let engine = crate::in_memory(Engine::builder().provide(seen.clone()).clock(crate::Hurried::default())).await?;
    let handle = engine.start(watch("a".to_owned(), "b".to_owned())).await?;
    let run = handle.id();
    assert!(!handle.await?);
    assert_eq!(seen.0.lock().0, ["a", "b", "compare", "compare"], "the pages are there at the second try");
    let starts = engine.events(run).filter_map(|logged| match logged.ok()?.event {
        Event::TraceStarted(started) => Some((started.name.to_string(), started.within.is_some(), started.group)),
        _ => None,
    });
    let starts = starts.collect::<Vec<_>>();
    assert_eq!(starts[0], ("compare".to_owned(), false, Some("compare".to_owned())));
    assert!(starts[1..].iter().all(|(name, is_within, _)| name == "page" && *is_within) && starts.len() == 3);
    engine.shutdown().await
}

#[task]
async fn subtask() -> relive::Result<()> {
    Ok(())
}

#[trace]
fn items() -> impl Stream<Item = relive::Result<u32>> + Send {
    stream::iter([Ok(1)])
}

#[trace]
fn entries() -> impl Iterator<Item = relive::Result<u32>> {
    std::iter::once(Ok(1))
}

#[trace]
async fn asks(what: &str) -> relive::Result<()> {
    match what {
        "task subtask" => subtask().await,
        "stream items" => items().try_for_each(|_| ready(Ok(()))).await,
        "iterator entries" => entries().try_for_each(|item| item.map(drop)),
        _ => relive::signal("answer").await,
    }
}

#[task]
async fn lets_a_trace_ask(what: String) -> relive::Result<()> {
    asks(&what).await
}

#[tokio::test]
async fn what_is_for_tasks_alone_is_refused_in_a_trace() -> relive::Result<()> {
    let engine = crate::in_memory(Engine::builder()).await?;
    for what in ["task subtask", "stream items", "iterator entries", "a signal"] {
        let error = engine.run(lets_a_trace_ask(what.to_owned())).await.expect_err("it is refused");
        let shown = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{shown}");
        assert!(shown.contains(what) && shown.contains("inside trace asks"), "{shown}");
    }
    engine.shutdown().await
}
