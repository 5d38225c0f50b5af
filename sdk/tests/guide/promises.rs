//! What the guide says in tables and sentences, where no snippet shows it: what a new attempt repeats and what it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use relive::{Cancellation, Engine, ErrorKind, RunStatus, task, trace};

/// What ran since the last time, and whether things still fail.
#[derive(Clone, Default)]
struct World(Arc<(Mutex<Vec<String>>, AtomicBool)>);

impl World {
    fn here() -> relive::Result<Self> {
        Ok(Self::clone(&*relive::provided::<Self>()?))
    }

    fn note(&self, what: impl Into<String>) {
        self.0.0.lock().push(what.into());
    }

    fn works(&self) -> bool {
        self.0.1.load(Ordering::Relaxed)
    }

    fn put_right(&self) {
        self.0.1.store(true, Ordering::Relaxed);
    }

    fn ran(&self) -> Vec<String> {
        std::mem::take(&mut self.0.0.lock())
    }
}

async fn engine(world: &World) -> relive::Result<Engine> {
    crate::in_memory(Engine::builder().provide(world.clone()).clock(crate::Hurried::default())).await
}

/// Fails until the world is put right.
#[trace]
async fn last_step() -> relive::Result<()> {
    let world = World::here()?;
    world.note("last");
    if world.works() { Ok(()) } else { Err(relive::Error::msg("not yet")) }
}

/// Yields 0, 1, 2; up to `failing_at`, where it fails until the world is put right.
#[trace]
fn counted(name: &str, failing_at: u32) -> impl Stream<Item = relive::Result<u32>> + Send + use<> {
    let world = World::here();
    if let Ok(world) = &world {
        world.note(name);
    }
    let works = world.is_ok_and(|world| world.works());
    stream::iter(0..3).map(move |item| {
        if item == failing_at && !works { Err(relive::Error::msg("the source failed")) } else { Ok(item) }
    })
}

#[task]
async fn three_streams() -> relive::Result<Vec<u32>> {
    let mut items = counted("whole", 9).try_collect::<Vec<_>>().await?;
    items.extend(counted("left", 9).take(2).try_collect::<Vec<_>>().await?);
    if let Ok(more) = counted("failing", 1).try_collect::<Vec<_>>().await {
        items.extend(more);
    }
    last_step().await?;
    Ok(items)
}

#[tokio::test]
async fn streams_that_ended_or_were_left_are_repeated_and_one_that_failed_starts_anew() -> relive::Result<()> {
    let world = World::default();
    let engine = engine(&world).await?;
    let handle = engine.start(three_streams()).await?;
    let run = handle.id();
    handle.await.expect_err("its last step fails");
    assert_eq!(world.ran(), ["whole", "left", "failing", "last"]);
    world.put_right();
    engine.resume(run).await?.await?;
    assert_eq!(world.ran(), ["failing", "last"]);
    assert_eq!(engine.handle::<Vec<u32>, relive::Error>(run)?.await?, [0, 1, 2, 0, 1, 0, 1, 2]);
    assert!(engine.replay(run).await?.is_some());
    engine.shutdown().await
}

#[trace]
async fn try_to_charge(_cents: u64) -> relive::Result<u32> {
    let world = World::here()?;
    world.note("charge");
    let count = world.0.0.lock().iter().filter(|what| *what == "charge").count();
    if count == 2 { Ok(7) } else { Err(relive::Error::msg("declined")) }
}

#[trace]
async fn decide() -> relive::Result<()> {
    World::here()?.note("decide");
    Err(relive::Error::msg("no, and that is final").terminal())
}

#[task]
async fn sell() -> relive::Result<u32> {
    let receipt = loop {
        match try_to_charge(100).await {
            Ok(receipt) => break receipt,
            Err(_) => continue,
        }
    };
    if decide().await.is_ok() {
        return Ok(0);
    }
    last_step().await?;
    Ok(receipt)
}

#[tokio::test]
async fn a_superseded_failure_and_a_terminal_one_are_repeated() -> relive::Result<()> {
    let world = World::default();
    let engine = engine(&world).await?;
    let handle = engine.start(sell()).await?;
    let run = handle.id();
    handle.await.expect_err("its last step fails");
    assert_eq!(world.ran(), ["charge", "charge", "decide", "last"]);
    world.put_right();
    engine.resume(run).await?.await?;
    assert_eq!(world.ran(), ["last"]);
    engine.shutdown().await
}

#[task(cache = "off")]
async fn approved() -> relive::Result<String> {
    let by = relive::signal::<String>("approval").await?;
    last_step().await?;
    Ok(by)
}

#[tokio::test]
async fn a_signal_is_handed_over_in_each_attempt() -> relive::Result<()> {
    let world = World::default();
    let engine = engine(&world).await?;
    let handle = engine.start(approved()).await?;
    let run = handle.id();
    engine.signal(run, "approval", "Ada").await?;
    handle.await.expect_err("its last step fails");
    world.put_right();
    assert_eq!(engine.resume(run).await?.await?, relive::Value::Text("Ada".to_owned()));
    engine.shutdown().await
}

#[trace]
async fn first_step() -> relive::Result<()> {
    World::here()?.note("first");
    Ok(())
}

#[task]
async fn part() -> relive::Result<u32> {
    first_step().await?;
    last_step().await?;
    Ok(1)
}

#[task]
async fn whole() -> relive::Result<u32> {
    Ok(part().await? + 1)
}

#[tokio::test]
async fn a_failed_child_is_resumed_with_its_parent() -> relive::Result<()> {
    let world = World::default();
    let engine = engine(&world).await?;
    let handle = engine.start(whole()).await?;
    let run = handle.id();
    assert_eq!(handle.await.expect_err("its child fails").to_string(), "not yet");
    assert_eq!(world.ran(), ["first", "last"]);
    world.put_right();
    engine.resume(run).await?.await?;
    assert_eq!((world.ran(), engine.runs().count()), (vec!["last".to_owned()], 2));
    assert_eq!(engine.run(whole()).await?, 2);
    engine.shutdown().await
}

#[trace]
async fn never() -> relive::Result<()> {
    World::here()?.note("never");
    std::future::pending().await
}

#[task]
async fn waits_for_ever() -> relive::Result<()> {
    never().await
}

#[task]
async fn waits_for_its_child() -> relive::Result<()> {
    waits_for_ever().await
}

#[tokio::test]
async fn a_child_is_cancelled_with_its_parent() -> relive::Result<()> {
    let world = World::default();
    let engine = engine(&world).await?;
    let handle = engine.start(waits_for_its_child()).await?;
    while world.0.0.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(handle.cancel().await?, Cancellation::Cancelled);
    let runs = engine.runs().map(|stored| Ok(stored?.run)).collect::<relive::Result<Vec<_>>>()?;
    assert_eq!(runs.len(), 2);
    for run in runs {
        let error = engine.handle::<(), relive::Error>(run)?.await.expect_err("it is cancelled");
        assert_eq!((error.kind(), engine.status(run)?), (ErrorKind::Cancelled, RunStatus::Cancelled));
    }
    engine.shutdown().await
}

#[trace(retries = 1)]
async fn panics_once() -> relive::Result<()> {
    let world = World::here()?;
    world.note("try");
    let count = world.0.0.lock().len();
    assert!(count > 1, "the first try panics");
    Ok(())
}

#[task]
async fn survives_a_panic() -> relive::Result<()> {
    panics_once().await
}

#[tokio::test]
async fn a_panic_is_a_failed_try() -> relive::Result<()> {
    let world = World::default();
    let engine = engine(&world).await?;
    engine.run(survives_a_panic()).await?;
    assert_eq!(world.ran(), ["try", "try"]);
    engine.shutdown().await
}

#[trace(at_most_once)]
async fn fire() -> relive::Result<()> {
    World::here()?.note("fire");
    Err(relive::Error::msg("it went off, and missed"))
}

#[trace]
async fn rest() -> relive::Result<()> {
    relive::sleep(std::time::Duration::from_secs(60)).await?; // an effect like any other here
    World::here()?.note("rest");
    Ok(())
}

#[task]
async fn hunt() -> relive::Result<()> {
    rest().await?;
    fire().await.unwrap_or(());
    last_step().await
}

#[tokio::test]
async fn what_may_begin_once_is_not_begun_in_a_new_attempt_either() -> relive::Result<()> {
    let world = World::default();
    let engine = engine(&world).await?;
    let handle = engine.start(hunt()).await?;
    let run = handle.id();
    handle.await.expect_err("its last step fails");
    assert_eq!(world.ran(), ["rest", "fire", "last"]);
    world.put_right();
    engine.resume(run).await?.await?;
    assert_eq!(world.ran(), ["last"]);
    engine.shutdown().await
}

#[task]
async fn impatient_parent() -> relive::Result<bool> {
    let waited = relive::timeout(std::time::Duration::from_secs(60), waits_for_ever()).await;
    Ok(waited.is_err_and(|error| error.kind() == ErrorKind::TimedOut))
}

#[tokio::test]
async fn a_child_that_is_dropped_is_cancelled() -> relive::Result<()> {
    let world = World::default();
    let engine = engine(&world).await?;
    assert!(engine.run(impatient_parent()).await?);
    for stored in engine.runs() {
        let stored = stored?;
        if stored.record.task == "waits_for_ever" {
            let error = engine.handle::<(), relive::Error>(stored.run)?.await.expect_err("nobody waits for it");
            assert_eq!(error.kind(), ErrorKind::Cancelled);
        }
    }
    engine.shutdown().await
}

#[trace]
async fn slow_part() -> relive::Result<u32> {
    World::here()?.note("slow");
    tokio::task::yield_now().await;
    Ok(1)
}

#[task]
async fn shared_part(_number: u32) -> relive::Result<u32> {
    slow_part().await
}

#[task(cache = "off")]
async fn parent(_number: u32) -> relive::Result<u32> {
    shared_part(7).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_many_ask_for_is_run_once() -> relive::Result<()> {
    let world = World::default();
    let engine = engine(&world).await?;
    let parents = futures::future::try_join_all((0..50).map(|number| engine.run(parent(number)))).await?;
    assert_eq!((parents.iter().sum::<u32>(), world.ran().len()), (50, 1));
    engine.shutdown().await
}
