//! Laws about what is done to whole runs: deleted, forked, imported.
//!
//! Invariant: what a law compares with is taken before it is done.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relive::{Engine, Error, Retention, RunId, RunState, task, trace};
use relive_engine::index::IDS;
use relive_engine::log::LOG;
use relive_engine::schema::{SCHEMA, storage_error};
use relive_engine::{export, inspect, verify};
use relive_storage::{Fault, FaultStore, KeyRange, Keyspace, Order, PageLimit, Read, Row, Survives};
use tokio::sync::Semaphore;

use super::expect;
use crate::manual_clock::ManualClock;

/// What a part of a large run returns, in bytes: three of them are more than an import writes at once, which is 32 MiB.
const PART_BYTES: usize = 12 << 20;

/// What effects see.
#[derive(Clone, Debug)]
struct World {
    begun: Arc<AtomicU64>,
    gate: Arc<Semaphore>,
}

async fn open(store: &FaultStore) -> relive::Result<(Engine, World)> {
    let world = World { begun: Arc::default(), gate: Arc::new(Semaphore::new(0)) };
    // All ids are of one millisecond.
    let builder =
        Engine::builder().clock(ManualClock::default()).payload_bytes_max(2 * PART_BYTES).provide(world.clone());
    Ok((builder.open_store(Arc::new(store.clone())).await?, world))
}

#[trace(name = "law.doubled")]
async fn doubled(number: u64) -> relive::Result<u64> {
    relive::provided::<World>()?.begun.fetch_add(1, Ordering::SeqCst);
    Ok(2 * number)
}

#[trace(name = "law.held")]
async fn held() -> relive::Result<u64> {
    let world = relive::provided::<World>()?;
    world.gate.acquire().await?.forget();
    Ok(0)
}

/// Odd ones fail.
#[task(name = "law.mixed")]
async fn mixed(number: u64) -> relive::Result<u64> {
    let doubled = doubled(number).await?;
    if number.is_multiple_of(2) { Ok(doubled) } else { Err(Error::msg("odd")) }
}

#[task(name = "law.awaited")]
async fn awaited(number: u64) -> relive::Result<u64> {
    Ok(held().await? + number)
}

/// Waits behind a child's end.
#[task(name = "law.needs")]
async fn needs(number: u64) -> relive::Result<u64> {
    Ok(awaited(number).await? + held().await?)
}

fn rows_of(store: &impl Read, keyspace: Keyspace, range: &KeyRange) -> relive::Result<Vec<Row>> {
    let page = store.scan(keyspace, range, Order::Ascending, PageLimit { row_count: 10_000, bytes: 1 << 30 });
    Ok(page.map_err(storage_error)?.rows)
}

/// The log of a run, as it is stored.
fn log_of(store: &impl Read, run: RunId) -> relive::Result<Vec<Row>> {
    rows_of(store, LOG, &KeyRange::prefix(run.as_bytes()))
}

/// What a rule names is deleted, all of it; of what it does not name, no byte.
pub(super) async fn deletes_what_is_named() -> relive::Result<()> {
    let store = FaultStore::new();
    let (engine, _) = open(&store).await?;
    let mut runs = Vec::new();
    for number in 0..20 {
        let handle = engine.start(mixed(number)).await?;
        runs.push((handle.id(), number % 2 == 0));
        expect(handle.await.is_ok() == (number % 2 == 0), || format!("run {number} ended otherwise"))?;
    }
    let before: Vec<_> = runs.iter().map(|(run, _)| log_of(&store, *run)).collect::<Result<_, _>>()?;
    let retained = engine.retain(Retention { states: vec![RunState::Failed], ..Retention::default() }).await?;
    expect(retained.deleted_count == 10, || format!("{} runs of 10 were deleted", retained.deleted_count))?;
    for ((run, stays), before) in runs.iter().zip(before) {
        let after = log_of(&store, *run)?;
        let is_right = if *stays { after == before && !before.is_empty() } else { after.is_empty() };
        expect(is_right, || {
            format!(
                "run {run}, which {}, has {} of {} records",
                if *stays { "stays" } else { "goes" },
                after.len(),
                before.len()
            )
        })?;
    }
    let view: Arc<dyn Read> = Arc::new(store.surviving());
    verify::check(&view).map(drop)
}

/// What an unfinished run called stays for as long as that may ask it again.
pub(super) async fn keeps_what_is_needed() -> relive::Result<()> {
    let store = FaultStore::new();
    let (engine, world) = open(&store).await?;
    // Somebody else began it, and another run joins it: nothing but that run's log says so.
    let child = engine.start(awaited(4)).await?;
    let run = child.id();
    let parent = engine.start(needs(4)).await?;
    while !rows_of(&store, IDS, &KeyRange::all())?.iter().any(|row| row.key.first() == Some(&0xff)) {
        tokio::task::yield_now().await;
    }
    world.gate.add_permits(1);
    child.await?;
    let retained = engine.retain(Retention::default()).await?;
    let is_there = inspect::run(&store, run)?.is_some() && !log_of(&store, run)?.is_empty();
    expect(is_there && retained.needed_count == 1, || format!("a run that an unfinished one called: {retained:?}"))?;
    world.gate.add_permits(1);
    let result = parent.await?;
    expect(result == 4, || format!("the parent came to {result}"))?;
    let retained = engine.retain(Retention::default()).await?;
    expect(retained.deleted_count == 2, || format!("when nobody needs them: {retained:?}"))
}

/// A fork may hold what nothing found: it answers no call.
pub(super) async fn fork_answers_nobody() -> relive::Result<()> {
    let store = FaultStore::new();
    let (engine, world) = open(&store).await?;
    let handle = engine.start(mixed(6)).await?;
    let run = handle.id();
    expect(handle.await? == 12, || "6 doubled is not 12".to_owned())?;
    engine.cache().evict_all().await?;
    let (fork, _) = engine.fork(run).set("law.doubled", 1000).start().await?;
    let changed = fork.await?.to_string();
    expect(changed == "1000", || format!("the fork came to {changed}"))?;
    let result = engine.run(mixed(6)).await?;
    let begun = world.begun.load(Ordering::SeqCst);
    expect((result, begun) == (12, 2), || {
        format!("a call after the fork came to {result} after {begun} effects in all")
    })
}

#[trace(name = "law.part")]
async fn part(number: u64) -> relive::Result<String> {
    Ok(char::from(b'a' + u8::try_from(number % 26)?).to_string().repeat(PART_BYTES))
}

/// A child, and more than an import writes at once.
#[task(name = "law.large", cache = "off")]
async fn large() -> relive::Result<u64> {
    let mut sum = mixed(2).await?;
    for number in 0..3 {
        sum += part(number).await?.len() as u64;
    }
    Ok(sum)
}

/// All rows of a store.
fn all_rows(store: &impl Read) -> relive::Result<Vec<Vec<Row>>> {
    SCHEMA.keyspaces.iter().map(|keyspace| rows_of(store, keyspace.keyspace, &KeyRange::all())).collect()
}

/// An import that fails, at whichever commit, leaves each run whole or not at all; and the next one brings the rest.
pub(super) async fn import_is_whole() -> relive::Result<()> {
    let from = FaultStore::new();
    let (engine, _) = open(&from).await?;
    let handle = engine.start(large()).await?;
    let run = handle.id();
    handle.await?;
    engine.shutdown().await?;
    let (from, mut file): (Arc<dyn Read>, _) = (Arc::new(from), Vec::new());
    export::write(&from, run, &export::Options::default(), &mut file)?;
    let undisturbed = FaultStore::new();
    let imported = export::read(&mut Cursor::new(&file), &undisturbed)?;
    expect(imported.run_count == 2, || format!("{} runs were exported, not 2", imported.run_count))?;
    let whole = all_rows(&undisturbed)?;
    let commits = undisturbed.commit_count();
    expect(commits > 2, || format!("{commits} commits: it was written at once"))?;
    for commit in 0..commits {
        for survives in [Survives::None, Survives::All] {
            let store = FaultStore::new();
            store.fail(commit, Fault::Unknown(survives));
            let failed = export::read(&mut Cursor::new(&file), &store);
            expect(failed.is_err(), || format!("commit {commit} failed, and the import did not"))?;
            let left = store.surviving();
            for run in inspect::runs(from.clone()) {
                let run = run?.run;
                let first = [run.as_bytes().as_slice(), &[0; 8]].concat();
                let (listed, begins) =
                    (inspect::run(&left, run)?.is_some(), left.get(LOG, &first).map_err(storage_error)?.is_some());
                expect(listed == begins, || {
                    format!(
                        "commit {commit} failed ({survives:?}): run {run} is listed: {listed}; its log begins: {begins}"
                    )
                })?;
                let is_whole = log_of(&left, run)? == log_of(&undisturbed, run)?;
                expect(!listed || is_whole, || {
                    format!("commit {commit} failed ({survives:?}): run {run} is listed and not whole")
                })?;
            }
            let again = FaultStore::over(&left);
            export::read(&mut Cursor::new(&file), &again)?;
            let is_same = all_rows(&again)? == whole;
            expect(is_same, || format!("commit {commit} failed ({survives:?}): importing again brings other rows"))?;
        }
    }
    Ok(())
}
