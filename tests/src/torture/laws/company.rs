//! Laws about runs that have to do with each other: who waits for the same child, and who is written in the same group.
//!
//! Invariant: what becomes of one run is no other's matter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::try_join_all;
use relive::{Durability, Engine, Event, Value, task, trace};
use relive_engine::index::IDS;
use relive_engine::inspect;
use relive_storage::{FaultStore, KeyRange, Order, PageLimit, Read};
use tokio::sync::Semaphore;

use super::expect;

/// Runs at once: enough for groups in which each kind is the last now and then.
const RUNS: u64 = 60;

/// What effects see.
#[derive(Clone, Debug)]
struct World {
    store: FaultStore,
    begun: Arc<AtomicU64>,
    /// Effects that began before their start was synced.
    unsynced: Arc<AtomicU64>,
    gate: Arc<Semaphore>,
}

impl World {
    fn new() -> Self {
        let gate = Arc::new(Semaphore::new(0));
        Self { store: FaultStore::new(), begun: Arc::default(), unsynced: Arc::default(), gate }
    }

    async fn open(&self, durability: Durability) -> relive::Result<Engine> {
        let builder = Engine::builder().durability(durability).provide(self.clone());
        builder.open_store(Arc::new(self.store.clone())).await
    }
}

#[trace(name = "law.gated")]
async fn gated() -> relive::Result<u64> {
    let world = relive::provided::<World>()?;
    world.begun.fetch_add(1, Ordering::SeqCst);
    let _open = world.gate.acquire().await?;
    Ok(1)
}

#[task(name = "law.shared_child")]
async fn shared_child(number: u64) -> relive::Result<u64> {
    Ok(number + gated().await?)
}

#[task(name = "law.shares")]
async fn shares(parent: u64) -> relive::Result<u64> {
    Ok(parent + shared_child(1).await?)
}

/// A child that two runs wait for goes on when one of them is cancelled.
pub(super) async fn shared_child_goes_on() -> relive::Result<()> {
    let world = World::new();
    let engine = world.open(Durability::Sync).await?;
    let first = engine.start(shares(10)).await?;
    while world.begun.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    let second = engine.start(shares(20)).await?;
    // It waits for the child when it is on record there.
    loop {
        let ids = world.store.scan(IDS, &KeyRange::all(), Order::Ascending, PageLimit::default());
        let ids = ids.map_err(relive_engine::schema::storage_error)?;
        if ids.rows.iter().any(|row| row.key.first() == Some(&0xfe)) {
            break;
        }
        tokio::task::yield_now().await;
    }
    engine.cancel(first.id()).await?;
    expect(first.await.is_err(), || "a run that was cancelled has a result".to_owned())?;
    world.gate.add_permits(1);
    let result = second.await?;
    let begun = world.begun.load(Ordering::SeqCst);
    expect((result, begun) == (22, 1), || {
        format!("the other came to {result} after {begun} effects, not to 22 after 1")
    })
}

/// Looks what a power cut would leave of its own start.
#[trace(name = "law.once", at_most_once)]
async fn once(label: String) -> relive::Result<()> {
    let world = relive::provided::<World>()?;
    let left: Arc<dyn Read> = Arc::new(world.store.surviving());
    let mut synced = Vec::new();
    for stored in inspect::runs(Arc::clone(&left)) {
        for logged in inspect::events(Arc::clone(&left), stored?.run) {
            if let Event::TraceStarted(started) = logged?.event
                && started.name == "law.once"
            {
                synced.extend(started.input.to_value().get("label").cloned());
            }
        }
    }
    world.begun.fetch_add(1, Ordering::SeqCst);
    if !synced.contains(&Value::Text(label)) {
        world.unsynced.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

#[trace(name = "law.any")]
async fn any(label: u64) -> relive::Result<u64> {
    Ok(label)
}

/// Some are careful now and then, some never.
#[task(name = "law.company", cache = "off")]
async fn company(number: u64) -> relive::Result<u64> {
    for round in 0..6 {
        any(round).await?;
        if number.is_multiple_of(2) {
            once(format!("{number}, {round}")).await?;
        }
    }
    Ok(number)
}

/// What is to run at most once is synced before it begins, also where others beside it need no sync.
pub(super) async fn at_most_once_is_synced() -> relive::Result<()> {
    let world = World::new();
    let engine = world.open(Durability::Buffered).await?;
    try_join_all((0..RUNS).map(|number| engine.run(company(number)))).await?;
    let (begun, unsynced) = (world.begun.load(Ordering::SeqCst), world.unsynced.load(Ordering::SeqCst));
    expect((begun, unsynced) == (RUNS / 2 * 6, 0), || {
        format!("of {begun} effects that are to begin at most once, {unsynced} began before that was synced")
    })
}
