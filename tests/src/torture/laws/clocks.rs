//! Laws about time: within a life, a wall clock that jumps moves nothing.
//!
//! The store sets the wall clock at every commit: so each call, each failed try and each end of an attempt has a jump behind
//! it before what depends on it begins.
//!
//! Invariant: what passes is counted by the clock that never jumps, and is exactly what the task waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use relive::{Clock, Engine, Error, task, trace};
use relive_storage::{
    CommitError, Durability, Error as StorageError, KeyRange, Keyspace, MemoryStore, Order, Outcome, Page, PageLimit,
    Read, Store, Write,
};

use super::expect;
use crate::manual_clock::ManualClock;

/// A year of 365 days.
const YEAR_SECONDS: i64 = 365 * 86_400;

/// A store at each of whose commits somebody sets the wall clock.
struct Jumping {
    rows: MemoryStore,
    clock: ManualClock,
    /// Years at each commit.
    years: i64,
}

impl Read for Jumping {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.rows.get(keyspace, key)
    }

    fn scan(&self, keyspace: Keyspace, range: &KeyRange, order: Order, limit: PageLimit) -> Result<Page, StorageError> {
        self.rows.scan(keyspace, range, order, limit)
    }
}

impl Store for Jumping {
    fn commit(&self, writes: &[Write], durability: Durability) -> Result<Vec<Outcome>, CommitError> {
        self.clock.jump(self.years * YEAR_SECONDS);
        self.rows.commit(writes, durability)
    }
}

#[derive(Debug, Default)]
struct Tries(AtomicU64);

/// Fails twice: 10 s and 20 s are waited.
#[trace(name = "law.flaky", retries = 2, backoff(first = "10s", factor = 2.0, jitter = false))]
async fn flaky() -> relive::Result<u64> {
    let before = relive::provided::<Tries>()?.0.fetch_add(1, Ordering::SeqCst);
    if before < 2 { Err(Error::msg("not yet")) } else { Ok(before) }
}

/// Never ends: 100 s are waited.
#[trace(name = "law.endless", timeout = "100s")]
async fn endless() -> relive::Result<u64> {
    std::future::pending().await
}

/// Never ends either: its tries may take 7 s altogether.
#[trace(name = "law.late", deadline = "7s")]
async fn late() -> relive::Result<u64> {
    std::future::pending().await
}

#[task(name = "law.waits")]
async fn waits() -> relive::Result<u64> {
    relive::sleep(Duration::from_secs(3600)).await?;
    let tries = flaky().await?;
    let timed_out = endless().await.is_err() && late().await.is_err();
    if timed_out { Ok(tries) } else { Err(Error::msg("nothing came too late")) }
}

/// Its attempt may take a minute.
#[task(name = "law.hangs", timeout = "60s")]
async fn hangs() -> relive::Result<u64> {
    forever().await
}

#[trace(name = "law.forever")]
async fn forever() -> relive::Result<u64> {
    std::future::pending().await
}

/// The first attempt fails, the next follows after 50 s.
#[task(name = "law.again", retries = 1, backoff(first = "50s", jitter = false))]
async fn again() -> relive::Result<u64> {
    flaky_once().await
}

#[trace(name = "law.flaky_once")]
async fn flaky_once() -> relive::Result<u64> {
    let before = relive::provided::<Tries>()?.0.fetch_add(1, Ordering::SeqCst);
    if before == 0 { Err(Error::msg("not yet")) } else { Ok(before) }
}

/// Runs both tasks with so many years at each commit.
pub(super) async fn jumps(years: i64) -> relive::Result<()> {
    let waited = passed(years, async |engine| engine.run(waits()).await).await?;
    let seconds = 3600 + 10 + 20 + 100 + 7;
    expect(waited == Duration::from_secs(seconds), || format!("{waited:?} passed instead of {seconds} s"))?;
    let waited = passed(years, async |engine| engine.run(again()).await).await?;
    expect(waited == Duration::from_secs(50), || format!("{waited:?} passed before the second attempt, not 50 s"))?;
    let waited = passed(years, async |engine| Ok(u64::from(engine.run(hangs()).await.is_err()))).await?;
    expect(waited == Duration::from_secs(60), || format!("an attempt of at most 60 s took {waited:?}"))
}

/// How much time passes until it is over, while time flows whenever all wait.
async fn passed(years: i64, run: impl AsyncFnOnce(&Engine) -> relive::Result<u64>) -> relive::Result<Duration> {
    let clock = ManualClock::default();
    let store = Jumping { rows: MemoryStore::new(), clock: clock.clone(), years };
    let builder = Engine::builder().clock(clock.clone()).provide(Tries::default());
    let engine = builder.open_store(Arc::new(store)).await?;
    let began = clock.elapsed();
    let _flowing = clock.flow();
    run(&engine).await?;
    Ok(clock.elapsed().saturating_sub(began))
}
