//! Laws about runs that leave memory while they wait: nobody outside can tell.
//!
//! Time stands still but for where a law moves it.
//!
//! Invariant: a run sleeps when its row says so; only then does a law go on.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use relive::{Clock, Engine, RunId, RunStatus, task, trace};
use relive_engine::index::Standing;
use relive_engine::inspect;
use relive_storage::{FaultStore, Survives};

use super::expect;
use crate::manual_clock::ManualClock;

const HOUR: Duration = Duration::from_secs(3600);

/// Deaths of the process after which a run that is the reason has to be parked: more than the engine bears with, which is 3.
const DEATHS_MAX: usize = 6;

/// Who went on after a sleep, and when by elapsed time.
#[derive(Clone, Debug)]
struct Awake {
    clock: ManualClock,
    told: Arc<Mutex<Vec<(u64, Duration)>>>,
    /// Whether that is the last that is seen of it.
    hangs: bool,
}

#[trace(name = "law.went_on")]
async fn went_on(hours: u64) -> relive::Result<u64> {
    let awake = relive::provided::<Awake>()?;
    awake.told.lock().push((hours, awake.clock.elapsed()));
    if awake.hangs {
        pending::<()>().await;
    }
    Ok(hours)
}

#[task(name = "law.naps")]
async fn naps(hours: u64) -> relive::Result<u64> {
    relive::sleep(Duration::from_secs(hours * 3600)).await?;
    went_on(hours).await
}

async fn open(store: &FaultStore, clock: &ManualClock, hangs: bool) -> relive::Result<(Engine, Awake)> {
    let awake = Awake { clock: clock.clone(), told: Arc::default(), hangs };
    let builder = Engine::builder().clock(clock.clone()).provide(awake.clone());
    Ok((builder.open_store(Arc::new(store.clone())).await?, awake))
}

/// Waits until it is so; if it never is, the law hangs.
async fn until(mut is_so: impl FnMut() -> relive::Result<bool>) -> relive::Result<()> {
    while !is_so()? {
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn falls_asleep(store: &FaultStore, run: RunId) -> relive::Result<()> {
    until(|| {
        let record = inspect::unfinished(store, run)?;
        Ok(record.is_some_and(|record| matches!(record.standing, Standing::Asleep { .. })))
    })
    .await
}

/// Runs that sleep for different times, begun in no order, go on once each, when they are due.
pub(super) async fn wake_in_order() -> relive::Result<()> {
    let (store, clock) = (FaultStore::new(), ManualClock::default());
    let (engine, awake) = open(&store, &clock, false).await?;
    let mut handles = Vec::new();
    for hours in [9, 3, 7, 1, 5, 12, 2] {
        let handle = engine.start(naps(hours)).await?;
        falls_asleep(&store, handle.id()).await?;
        handles.push((hours, handle));
    }
    let began = clock.elapsed();
    for passed in 1..=12_u32 {
        // Whoever wakes them knows who is the next.
        let next = [1, 2, 3, 5, 7, 9, 12].into_iter().find(|hours| *hours >= passed).unwrap_or(12);
        until(|| Ok(clock.lefts().first() == Some(&(HOUR * (next + 1 - passed))))).await?;
        clock.advance(HOUR);
        let due = handles.iter().filter(|(hours, _)| *hours <= passed.into()).count();
        until(|| Ok(awake.told.lock().len() >= due)).await?;
    }
    for (hours, handle) in handles {
        let result = handle.await?;
        expect(result == hours, || format!("a sleep of {hours} h came to {result}"))?;
    }
    let told = awake.told.lock().clone();
    let expected: Vec<_> =
        [1, 2, 3, 5, 7, 9, 12].into_iter().map(|hours| (hours.into(), began + HOUR * hours)).collect();
    expect(told == expected, || format!("they went on so: {told:?}, instead of so: {expected:?}"))
}

/// A run that takes the process down behind its sleep is parked like any other.
pub(super) async fn deaths_count() -> relive::Result<()> {
    let (mut store, mut clock) = (FaultStore::new(), ManualClock::default());
    let mut run = None;
    for death in 0..DEATHS_MAX {
        let (engine, awake) = open(&store, &clock, true).await?;
        let run = match run {
            Some(run) => run,
            None => {
                let handle = engine.start(naps(1)).await?;
                falls_asleep(&store, handle.id()).await?;
                clock.advance(HOUR);
                *run.insert(handle.id())
            }
        };
        let is_parked = || Ok::<_, relive::Error>(matches!(engine.status(run)?, RunStatus::Blocked { .. }));
        until(|| Ok(!awake.told.lock().is_empty() || is_parked()?)).await?;
        if is_parked()? {
            return expect(death > 1, || format!("it was parked after {death} deaths"));
        }
        // The process dies in its effect.
        store = FaultStore::over(&store.crash(Survives::All));
        clock = clock.next_life(Duration::ZERO);
    }
    expect(false, || format!("it took the process down {DEATHS_MAX} times and is not parked"))
}

/// An equal call joins a run that sleeps.
pub(super) async fn is_joined() -> relive::Result<()> {
    let (store, clock) = (FaultStore::new(), ManualClock::default());
    let (engine, awake) = open(&store, &clock, false).await?;
    let first = engine.start(naps(4)).await?.id();
    falls_asleep(&store, first).await?;
    let second = engine.start(naps(4)).await?;
    expect(second.id() == first, || format!("run {} was begun beside {first}, which sleeps", second.id()))?;
    clock.advance(4 * HOUR);
    second.await?;
    let told = awake.told.lock().clone();
    expect(told.len() == 1, || format!("the effect began so often: {told:?}"))
}
