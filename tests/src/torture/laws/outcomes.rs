//! Laws about what is acknowledged, cached and compared.
//!
//! Invariant: each scenario has an engine and a store of its own; one that needs a directory, a directory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use relive::{Engine, Error, ErrorKind, Event, RunId, Sequence, task, trace};
use relive_engine::index::INBOX;
use relive_storage::{Fault, FaultStore, KeyRange, MemoryStore, Order, PageLimit, Read};

use super::expect;

/// What effects see and are told.
#[derive(Clone, Debug, Default)]
struct World {
    begun: Arc<AtomicU64>,
    /// Whether the code is another by now.
    is_edited: Arc<AtomicBool>,
}

#[trace(name = "law.step")]
async fn step(number: u64) -> relive::Result<u64> {
    relive::provided::<World>()?.begun.fetch_add(1, Ordering::SeqCst);
    Ok(number * 2)
}

#[trace(name = "law.other_step")]
async fn other_step(number: u64) -> relive::Result<u64> {
    relive::provided::<World>()?.begun.fetch_add(1, Ordering::SeqCst);
    Ok(number)
}

#[task(name = "law.chain")]
async fn chain(length: u64) -> relive::Result<u64> {
    let mut sum = 0;
    for number in 0..length {
        sum += step(number).await?;
    }
    Ok(sum)
}

#[task(name = "law.double")]
async fn double(number: u64) -> relive::Result<u64> {
    step(number).await
}

#[task(name = "law.fails")]
async fn fails(number: u64) -> relive::Result<u64> {
    step(number).await?;
    Err(Error::msg("as ever"))
}

/// A body that is another after an edit, by a switch, as a binary has one version of a task.
#[task(name = "law.edited")]
async fn edited(number: u64) -> relive::Result<u64> {
    let first = if relive::provided::<World>()?.is_edited.load(Ordering::SeqCst) {
        other_step(number).await?
    } else {
        step(number).await?
    };
    Ok(first + step(100).await?)
}

#[task(name = "law.signalled", allow(signal))]
async fn signalled() -> relive::Result<u64> {
    relive::signal::<u64>("go").await
}

/// What was acknowledged, by its place.
type Told = Arc<Mutex<BTreeMap<(RunId, Sequence), Event>>>;

async fn open(store: &FaultStore) -> relive::Result<(Engine, World, Told)> {
    let (world, told) = (World::default(), Told::default());
    let listener = Arc::clone(&told);
    let engine = Engine::builder()
        .provide(world.clone())
        .on_durable(move |acknowledged| {
            listener.lock().insert((acknowledged.run, acknowledged.sequence), acknowledged.event.clone());
        })
        .open_store(Arc::new(store.clone()))
        .await?;
    Ok((engine, world, told))
}

fn is_kept(left: &MemoryStore, told: &Told) -> relive::Result<()> {
    let told = told.lock();
    let runs: std::collections::BTreeSet<_> = told.keys().map(|(run, _)| *run).collect();
    let mut kept = BTreeMap::new();
    for run in runs {
        for logged in relive_engine::inspect::events(Arc::new(left.clone()), run) {
            let logged = logged?;
            kept.insert((run, logged.sequence), logged.event);
        }
    }
    let lost = told.iter().find(|(place, event)| kept.get(place) != Some(event));
    expect(lost.is_none() && !told.is_empty(), || format!("of {} acknowledged events, lost: {lost:?}", told.len()))
}

pub(super) async fn shutdown() -> relive::Result<()> {
    let store = FaultStore::new();
    let (engine, _, told) = open(&store).await?;
    let sum = engine.run(chain(5)).await?;
    engine.shutdown().await?;
    expect(sum == 20, || format!("the sum is {sum}"))?;
    is_kept(&store.surviving(), &told)
}

pub(super) async fn failure_is_not_cached() -> relive::Result<()> {
    let (engine, world, _) = open(&FaultStore::new()).await?;
    for count in 1..3 {
        let result = engine.run(fails(1)).await;
        let begun = world.begun.load(Ordering::SeqCst);
        expect(result.is_err() && begun == count, || format!("call {count}: {result:?} after {begun} effects"))?;
    }
    Ok(())
}

pub(super) async fn other_input() -> relive::Result<()> {
    let (engine, ..) = open(&FaultStore::new()).await?;
    for number in [1, 2, 1] {
        let result = engine.run(double(number)).await?;
        expect(result == 2 * number, || format!("{number} doubled is {result}"))?;
    }
    Ok(())
}

pub(super) async fn signal_is_kept() -> relive::Result<()> {
    let store = FaultStore::new();
    let (engine, ..) = open(&store).await?;
    let run = engine.start(signalled().id("signalled")).await?.id();
    engine.signal(run, "go", 7u64).await?;
    let left = store.surviving();
    let inbox = left.scan(INBOX, &KeyRange::all(), Order::Ascending, PageLimit::default());
    let inbox = inbox.map_err(relive_engine::schema::storage_error)?.rows.len();
    let events: Vec<_> = relive_engine::inspect::events(Arc::new(left), run).collect::<Result<_, _>>()?;
    let logged = events.iter().filter(|logged| matches!(logged.event, Event::SignalReceived(_))).count();
    expect(inbox + logged == 1, || format!("{inbox} in the inbox, {logged} in the log"))
}

pub(super) async fn edit_is_found() -> relive::Result<()> {
    let store = FaultStore::new();
    let (engine, ..) = open(&store).await?;
    let run = engine.start(edited(1).id("edited")).await?.id();
    engine.run(edited(1).id("edited")).await?;
    let whole = store.surviving();
    let count = relive_engine::inspect::events(Arc::new(whole.clone()), run).count();
    let replayed = engine.replay(run).await;
    expect(replayed.is_ok(), || format!("the same code does not fit: {replayed:?}"))?;
    let (second, world, _) = open(&FaultStore::over(&whole)).await?;
    world.is_edited.store(true, Ordering::SeqCst);
    let replayed = second.replay(run).await;
    let begun = world.begun.load(Ordering::SeqCst);
    let kind = replayed.as_ref().err().map(Error::kind);
    expect(kind == Some(ErrorKind::Diverged) && begun == 0, || {
        format!("other code was called fit for a log of {count} events: {replayed:?}, {begun} effects")
    })
}

pub(super) async fn nothing_after_a_failure() -> relive::Result<()> {
    let store = FaultStore::new();
    let (engine, _, told) = open(&store).await?;
    engine.run(chain(2)).await?;
    store.fail(store.commit_count(), Fault::NotApplied);
    let failed = engine.run(double(1)).await;
    let kind = failed.as_ref().err().map(Error::kind);
    expect(kind == Some(ErrorKind::Storage), || format!("the commit was made to fail: {failed:?}"))?;
    let after = engine.run(double(2)).await;
    expect(after.is_err(), || "the engine went on".to_owned())?;
    is_kept(&store.surviving(), &told)
}

/// A directory that is not where it was takes no commit, however durable that would be, and no shutdown calls it well.
#[cfg(unix)]
pub(super) async fn directory_is_watched() -> relive::Result<()> {
    for durability in [relive::Durability::Sync, relive::Durability::Buffered] {
        for is_removed in [false, true] {
            let root = tempfile::tempdir()?;
            let path = root.path().join("store");
            let told = Arc::new(AtomicU64::new(0));
            let listener = Arc::clone(&told);
            let builder = Engine::builder().provide(World::default()).durability(durability);
            let builder = builder.on_durable(move |_| {
                listener.fetch_add(1, Ordering::SeqCst);
            });
            let engine = builder.open(&path).await?;
            engine.run(double(1)).await?;
            let before = told.load(Ordering::SeqCst);
            match is_removed {
                true => std::fs::remove_dir_all(&path)?,
                false => std::fs::rename(&path, root.path().join("away"))?,
            }
            let ended = engine.run(double(2)).await;
            let more = told.load(Ordering::SeqCst) - before;
            let closed = engine.shutdown().await;
            let what = || format!("removed: {is_removed}: {more} events were acknowledged: {ended:?}, then {closed:?}");
            expect(more == 0 && ended.is_err() && closed.is_err(), what)?;
        }
    }
    Ok(())
}
