//! The chapter on ids and the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relive::{Cause, Engine, ErrorKind, Event, Explanation, task, trace};

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

#[task(version = "2", ttl = "12h")]
async fn forecast(place: String) -> relive::Result<usize> {
    measure(place).await
}

#[task(ignore(verbose), salt = "survey of 2026")]
async fn inspect(place: String, verbose: bool) -> relive::Result<usize> {
    if verbose {
        println!("at {place}");
    }
    measure(place).await
}

#[tokio::test]
async fn what_counts_is_said_by_the_task() -> relive::Result<()> {
    let effects = Effects::default();
    let engine = crate::in_memory(Engine::builder().provide(effects.clone())).await?;
    let place = || "Kew".to_owned();
    assert_eq!((engine.run(inspect(place(), true)).await?, engine.run(inspect(place(), false)).await?), (3, 3));
    assert_eq!(effects.0.load(Ordering::Relaxed), 1);
    engine.run(forecast(place())).await?;
    let mut entries = engine.cache().list().collect::<relive::Result<Vec<_>>>()?;
    entries.sort_by(|a, b| a.task.cmp(&b.task));
    let [forecast, inspect] = &entries[..] else { panic!("two entries: {entries:?}") };
    assert_eq!((forecast.version.to_string().as_str(), inspect.salt.as_str()), ("version \"2\"", "survey of 2026"));
    let twelve_hours = 12 * 3_600_000_000;
    assert_eq!(forecast.expires_at.map(|at| at.0), Some(forecast.created_at.0 + twelve_hours));
    engine.shutdown().await
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
    assert_eq!((again.await?, length, count()), (3, 3, 4), "who gives an id wants a run");
    let shared = engine.start(survey("Kew".to_owned()).id("2026-01-03").cached()).await?;
    let first = engine.events(shared.id()).next().expect("there is a log")?.event;
    assert!(matches!(first, Event::TaskStarted(started) if matches!(started.cause, Cause::CachedFrom { .. })));
    assert_eq!((shared.await?, count()), (3, 4));
    let error = engine.start(survey("Ely".to_owned()).id("2026-01-02")).await.expect_err("another input");
    assert_eq!(error.kind(), ErrorKind::IdTaken);
    engine.shutdown().await
}

#[tokio::test]
async fn the_cache_explains_itself_and_gives_way() -> relive::Result<()> {
    let effects = Effects::default();
    let count = || effects.0.load(Ordering::Relaxed);
    let engine = crate::in_memory(Engine::builder().provide(effects.clone())).await?;
    let place = || "Kew".to_owned();
    engine.run(survey(place())).await?;

    let length = engine.run(survey(place()).refresh()).await?;

    assert_eq!((length, count()), (3, 2));

    let explanation = engine.cache().explain(survey("Ely".to_owned()))?;
    println!("{explanation}");

    let shown = explanation.to_string();
    assert!(shown.starts_with("miss: task survey would run: only calls with other arguments have a result"), "{shown}");
    assert!(shown.ends_with(r#"`place` is "Kew", and here "Ely""#), "{shown}");

    match &explanation {
        Explanation::Hit { entry } => println!("found by run {}", entry.run),
        Explanation::Joined { run } => println!("run {run} is under way"),
        other => println!("{:?}", other.reasons()),
    }

    let rebuilt = engine.cache().rebuild().await?;
    println!("{} entries", rebuilt.entries);

    assert!(matches!(engine.cache().explain(survey(place()))?, Explanation::Hit { .. }));

    for entry in engine.cache().list() {
        let entry = entry?;
        println!("{} {} {} bytes, used {:?}", entry.task, entry.input, entry.bytes, entry.used_at);
    }
    engine.cache().evict_call(survey(place())).await?;
    engine.cache().evict_task("survey").await?;

    assert_eq!((engine.cache().list().count(), engine.run(survey(place())).await?, count()), (0, 3, 3));
    engine.shutdown().await
}

#[tokio::test]
async fn the_cache_is_bounded() -> relive::Result<()> {
    let _directory = crate::enter_temporary_directory()?;
    let engine = Engine::builder().cache_bytes_max(64 << 20).open("./surveys").await?;
    assert_eq!(engine.cache().list().count(), 0);
    engine.shutdown().await
}
