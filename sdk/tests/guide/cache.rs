//! The chapter on ids and the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relive::{Cause, Engine, ErrorKind, Event, task, trace};

/// How often an effect ran.
#[derive(Clone, Default)]
struct Effects(Arc<AtomicU64>);

#[trace]
async fn measure(place: String) -> relive::Result<usize> {
    relive::provided::<Effects>()?.0.fetch_add(1, Ordering::Relaxed);
    Ok(place.len())
}

#[task]
async fn survey(place: String) -> relive::Result<usize> {
    measure(place).await
}

#[task(cache = "off")]
async fn poll_sensor(place: String) -> relive::Result<usize> {
    measure(place).await
}

#[tokio::test]
async fn equal_calls_share_a_result_and_an_id_names_one_run() -> relive::Result<()> {
    let effects = Effects::default();
    let count = || effects.0.load(Ordering::Relaxed);
    let engine = crate::in_memory(Engine::builder().provide(effects.clone())).await?;
    let place = || "Kew".to_owned();
    assert_eq!((engine.run(survey(place())).await?, engine.run(survey(place())).await?, count()), (3, 3, 1));
    assert_eq!((engine.run(poll_sensor(place())).await?, engine.run(poll_sensor(place())).await?, count()), (3, 3, 3));

    let place = place();
    let handle = engine.start(survey(place).id("2026-01-02")).await?;
    println!("run {}", handle.id());
    let length = handle.await?;

    let again = engine.start(survey("Kew".to_owned()).id("2026-01-02")).await?;
    let first = engine.events(again.id()).next().expect("there is a log")?.event;
    assert!(matches!(first, Event::TaskStarted(started) if started.cause == Cause::Cached));
    assert_eq!((again.await?, length, count()), (3, 3, 3));
    let error = engine.start(survey("Ely".to_owned()).id("2026-01-02")).await.expect_err("another input");
    assert_eq!(error.kind(), ErrorKind::IdTaken);
    engine.shutdown().await
}
