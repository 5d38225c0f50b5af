//! A long run taken up again: how many of its events are replayed per second until it is live.
//!
//! The run is left waiting in its last trace. From there the engine is opened anew, round after round, on a store that
//! is open: the time is from the call that opens the engine until the last trace's effect begins again, and all events
//! before it were replayed in between. One synced commit (the engine's, that it was opened) is in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use relive::{Durability, Engine, task, trace};
use relive_engine::inspect;
use relive_storage::{Read, RocksStore};
use tokio::sync::oneshot;

use crate::meter::now;
use crate::samples::Samples;
use crate::setting::{close, open, open_store};
use crate::{Bound, Failure, Figure, Setting};

/// Told when the last trace's effect began.
struct Reached(Mutex<Option<oneshot::Sender<Instant>>>);

#[trace]
async fn link(index: u32) -> relive::Result<u32> {
    Ok(index)
}

#[trace]
async fn last() -> relive::Result<()> {
    if let Some(sender) = relive::provided::<Reached>()?.0.lock().take() {
        // Nobody waits if the measurement has failed, and says so itself.
        let _ = sender.send(now());
    }
    std::future::pending().await
}

#[task]
async fn chain(links: u32) -> relive::Result<u64> {
    let mut sum = 0;
    for index in 0..links {
        sum += u64::from(link(index).await?);
    }
    last().await?;
    Ok(sum)
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let runtime = setting.runtime()?;
    let scratch = setting.scratch()?;
    let path = scratch.path().join("relive");
    let links = setting.sizes.replay_traces.saturating_sub(1);
    // Written without waiting for the disk; the log is the same.
    runtime.block_on(async {
        let store = open_store(&path)?;
        let (engine, reached) = engine(&store).await?;
        engine.start(chain(links)).await?;
        wait(reached).await?;
        close(engine, &store).await
    })?;
    // Opened anew: what was written last is now read from tables, as after a restart.
    let store = open_store(&path)?;
    let event_count = replayed(&store)?;
    let mut rates = Samples::default();
    // The first round fills the caches and does not count.
    for round in 0..=setting.sizes.replay_rounds {
        let took = runtime.block_on(async {
            let began = now();
            let (engine, reached) = engine(&store).await?;
            let live = wait(reached).await?;
            close(engine, &store).await?;
            Ok::<Duration, Failure>(live - began)
        })?;
        if round > 0 {
            rates.push(event_count as f64 / took.as_secs_f64());
        }
    }
    let what = format!("replay of {event_count} events, per s");
    Ok(vec![
        Figure::of("replay_events_per_s", what, &rates).bound(Bound::AtLeast(1_000_000.0)),
        Figure::new("replay_events", "  events in its log", event_count as f64),
    ])
}

async fn engine(store: &Arc<RocksStore>) -> Result<(Engine, oneshot::Receiver<Instant>), Failure> {
    let (sender, reached) = oneshot::channel();
    let builder = Engine::builder()
        .durability(Durability::Buffered)
        // The last trace never ends.
        .shutdown_grace(Duration::ZERO)
        .provide(Reached(Mutex::new(Some(sender))));
    Ok((open(builder, store).await?, reached))
}

async fn wait(reached: oneshot::Receiver<Instant>) -> Result<Instant, Failure> {
    reached.await.map_err(|_| "the run ended before its last trace".into())
}

/// How many events the one run in the store has.
fn replayed(store: &Arc<RocksStore>) -> Result<u64, Failure> {
    let read = Arc::clone(store) as Arc<dyn Read>;
    let run = inspect::runs(Arc::clone(&read)).next().ok_or("the store holds no run")??.run;
    let mut count = 0;
    for event in inspect::events(read, run) {
        event?;
        count += 1;
    }
    Ok(count)
}
