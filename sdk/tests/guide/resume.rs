//! The chapters on what happens after a crash, and on edited code.
//!
//! A crash is played by an engine that is closed without grace, and its store opened again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use relive::{Builder, Engine, ErrorKind, RunStatus, task, trace};
use relive_storage::MemoryStore;

/// A payment service that knows idempotency keys, and a carrier that never answers while it is on strike.
#[derive(Clone, Default)]
struct World(Arc<Mutex<Calls>>);

#[derive(Default)]
struct Calls {
    charge_keys: Vec<String>,
    ship_keys: Vec<String>,
    is_on_strike: bool,
    is_edited: bool,
}

struct Payments;

fn payments() -> Payments {
    Payments
}

impl Payments {
    async fn charge(&self, key: &str, order: u64, cents: u64) -> relive::Result<String> {
        relive::provided::<World>()?.0.lock().charge_keys.push(key.to_owned());
        Ok(format!("{cents} for {order}"))
    }
}

#[trace]
async fn charge(order: u64, cents: u64) -> relive::Result<String> {
    let key = relive::idempotency_key()?;
    payments().charge(&key, order, cents).await
}

#[trace]
async fn ship(order: u64) -> relive::Result<String> {
    let is_on_strike = {
        let world = relive::provided::<World>()?;
        let mut calls = world.0.lock();
        calls.ship_keys.push(relive::idempotency_key()?);
        calls.is_on_strike
    };
    if is_on_strike {
        std::future::pending::<()>().await;
    }
    Ok(format!("parcel {order}"))
}

#[task]
async fn fulfil(order: u64) -> relive::Result<String> {
    charge(order, 4_200).await?;
    let parcel = ship(order).await?;
    Ok(parcel)
}

fn builder(world: &World) -> Builder {
    Engine::builder().provide(world.clone()).shutdown_grace(Duration::ZERO)
}

/// Waits until something has happened in an effect.
async fn until(world: &World, has_happened: impl Fn(&Calls) -> bool) {
    while !has_happened(&world.0.lock()) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_was_completed_is_not_done_again_and_what_was_under_way_is_under_the_same_key() -> relive::Result<()> {
    let (store, world) = (Arc::new(MemoryStore::new()), World::default());
    world.0.lock().is_on_strike = true;
    let engine = builder(&world).open_store(Arc::clone(&store) as _).await?;
    let run = engine.start(fulfil(7)).await?.id();
    until(&world, |calls| calls.ship_keys.len() == 1).await;
    engine.shutdown().await?;

    world.0.lock().is_on_strike = false;
    let engine = builder(&world).open_store(store).await?;
    let order = 7;
    let parcel = engine.run(fulfil(order)).await?; // joins the run that goes on
    assert_eq!(parcel, "parcel 7");
    assert_eq!(engine.runs().map(|stored| Ok(stored?.run)).collect::<relive::Result<Vec<_>>>()?, [run]);
    engine.shutdown().await?;
    let calls = world.0.lock();
    assert_eq!((calls.charge_keys.len(), calls.ship_keys.len()), (1, 2));
    assert_eq!(calls.ship_keys[0], calls.ship_keys[1]);
    Ok(())
}

#[trace]
async fn spellcheck(draft: String) -> relive::Result<String> {
    Ok(draft)
}

#[trace]
async fn proofread(draft: String) -> relive::Result<String> {
    Ok(draft)
}

#[trace]
async fn approve(draft: String) -> relive::Result<String> {
    let is_edited = relive::provided::<World>()?.0.lock().is_edited;
    if !is_edited {
        relive::provided::<World>()?.0.lock().ship_keys.push(draft.clone());
        std::future::pending::<()>().await;
    }
    Ok(draft)
}

/// Two versions of a function in one: the guide shows the difference between them.
#[task]
async fn publish(draft: String) -> relive::Result<String> {
    let is_edited = relive::provided::<World>()?.0.lock().is_edited;
    #[rustfmt::skip]
    let draft = if is_edited { proofread(draft).await? } else { spellcheck(draft).await? };
    approve(draft).await
}

#[tokio::test]
async fn edited_code_that_does_not_fit_makes_the_run_wait_until_it_is_cancelled() -> relive::Result<()> {
    let (store, world) = (Arc::new(MemoryStore::new()), World::default());
    let engine = builder(&world).open_store(Arc::clone(&store) as _).await?;
    let handle = engine.start(publish("Hello".to_owned())).await?;
    let run = handle.id();
    until(&world, |calls| !calls.ship_keys.is_empty()).await;
    engine.shutdown().await?;
    assert_eq!(handle.await.expect_err("it is unfinished").kind(), ErrorKind::Closed);

    world.0.lock().is_edited = true;
    let engine = builder(&world).open_store(store).await?;
    let error = engine.run(publish("Hello".to_owned())).await.expect_err("it does not fit");
    assert_eq!(error.kind(), ErrorKind::Diverged);
    let message = shown(&error.to_string(), &run.to_string());
    let guide = crate::blocks("text").map(|block| block.replace('\n', " ")).collect::<String>();
    assert!(guide.contains(&message), "the guide should show: {message}");
    assert!(matches!(engine.status(run)?, RunStatus::Blocked { .. }));
    assert_eq!(engine.replay(run).await.expect_err("it does not fit").kind(), ErrorKind::Diverged);
    let event_count = engine.events(run).count();

    engine.cancel(run).await?;
    assert_eq!(engine.status(run)?, RunStatus::Cancelled);
    assert_eq!(engine.events(run).count(), event_count + 1);
    assert_eq!(engine.run(publish("Hello".to_owned())).await?, "Hello");
    engine.shutdown().await
}

/// A message as the guide shows it: of a run and a file that a reader might have.
fn shown(message: &str, run: &str) -> String {
    let message = message.replace(run, "01KDYGZ9J80C1G60R30C1G60R3");
    let mut parts = message.split(file!());
    let first = parts.next().unwrap_or_default().to_owned();
    let line = |character: char| character == ':' || character.is_ascii_digit();
    parts.fold(first, |shown, part| shown + "src/publish.rs:12" + part.trim_start_matches(line))
}
