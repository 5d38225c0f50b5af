//! The chapter on tasks that call tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use relive::{Engine, Event, task, trace};
use relive_storage::MemoryStore;

/// How often an effect ran.
#[derive(Clone, Default)]
struct Effects(Arc<AtomicU64>);

#[trace]
async fn shrink(photo: String) -> relive::Result<String> {
    relive::provided::<Effects>()?.0.fetch_add(1, Ordering::Relaxed);
    Ok(format!("small {photo}"))
}

#[task]
async fn thumbnail(photo: String) -> relive::Result<String> {
    shrink(photo).await
}

#[task]
async fn album(photos: Vec<String>) -> relive::Result<Vec<String>> {
    futures::future::try_join_all(photos.into_iter().map(thumbnail)).await
}

mod before {
    use super::*;

    #[trace(name = "thumbnail")]
    pub(super) async fn thumbnail(photo: String) -> relive::Result<String> {
        shrink(photo).await
    }

    #[task(name = "album of traces")]
    pub(super) async fn album(photos: Vec<String>) -> relive::Result<Vec<String>> {
        futures::future::try_join_all(photos.into_iter().map(thumbnail)).await
    }
}

#[tokio::test]
async fn a_body_is_a_trace_or_a_task_by_its_attribute() -> relive::Result<()> {
    let effects = Effects::default();
    let engine = crate::in_memory(Engine::builder().provide(effects.clone())).await?;
    let photos = |photos: &[&str]| photos.iter().map(|photo| (*photo).to_owned()).collect::<Vec<_>>();

    let as_traces = engine.run(before::album(photos(&["a", "b"]))).await?;
    assert_eq!((engine.runs().count(), effects.0.load(Ordering::Relaxed)), (1, 2));
    let handle = engine.start(album(photos(&["a", "b"]))).await?;
    let run = handle.id();
    assert_eq!(handle.await?, as_traces);
    assert_eq!((engine.runs().count(), effects.0.load(Ordering::Relaxed)), (4, 4), "three runs more");
    let children = engine.events(run).filter_map(|logged| match logged.ok()?.event {
        Event::TraceStarted(started) => started.child,
        _ => None,
    });
    assert_eq!(children.count(), 2);

    assert_eq!(engine.run(album(photos(&["b", "c"]))).await?.len(), 2);
    assert_eq!(effects.0.load(Ordering::Relaxed), 5, "one thumbnail was cached");
    assert_eq!(engine.run(thumbnail("c".to_owned())).await?, "small c");
    assert_eq!(effects.0.load(Ordering::Relaxed), 5);
    engine.shutdown().await
}

/// The trace whose effect does not end while it is dark.
#[trace]
async fn develop(photo: String) -> relive::Result<String> {
    relive::provided::<Effects>()?.0.fetch_add(1, Ordering::Relaxed);
    if *relive::provided::<bool>()? {
        std::future::pending::<()>().await;
    }
    Ok(format!("picture of {photo}"))
}

mod trace_of_old {
    use super::*;

    #[trace(name = "picture")]
    pub(super) async fn picture(photo: String) -> relive::Result<String> {
        develop(photo).await
    }
}

#[task]
async fn picture(photo: String) -> relive::Result<String> {
    develop(photo).await
}

/// Two versions in one: a task was a trace before the edit.
#[task]
async fn exhibition(photo: String, is_task_first: bool) -> relive::Result<String> {
    let is_dark = *relive::provided::<bool>()?;
    #[rustfmt::skip]
    let small = if is_dark { before::thumbnail(photo).await? } else { thumbnail(photo).await? };
    #[rustfmt::skip]
    let picture = if is_dark != is_task_first { trace_of_old::picture(small).await? } else { picture(small).await? };
    Ok(picture)
}

#[tokio::test]
async fn a_trace_that_became_a_task_fits_the_logs_it_is_in_and_so_does_the_reverse() -> relive::Result<()> {
    // What had not ended is the picture: a trace that became a task, or a task that became a trace.
    for (is_task_first, run_count, effect_count) in [(false, 2, 3), (true, 2, 4)] {
        let (store, effects) = (Arc::new(MemoryStore::new()), Effects::default());
        let builder = |is_dark: bool| Engine::builder().provide(effects.clone()).provide(is_dark);
        let call = || exhibition("a".to_owned(), is_task_first);
        let engine = builder(true).shutdown_grace(Duration::ZERO).open_store(Arc::clone(&store) as _).await?;
        let run = engine.start(call()).await?.id();
        while effects.0.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        engine.shutdown().await?;

        let engine = builder(false).open_store(store).await?;
        assert_eq!(engine.run(call()).await?, "picture of small a");
        assert!(engine.replay(run).await?.is_some());
        for stored in engine.runs() {
            // A child that had begun goes on by itself, also if nobody asks for it any more.
            engine.handle::<String, relive::Error>(stored?.run)?.await?;
        }
        assert_eq!((engine.runs().count(), effects.0.load(Ordering::Relaxed)), (run_count, effect_count));
        engine.shutdown().await?;
    }
    Ok(())
}
