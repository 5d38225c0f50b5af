//! What a restart takes up finds what it needs, whichever run goes on first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use relive::{RunId, task, trace};
use relive_engine::index::{RUNS, UNFINISHED};
use relive_storage::{
    CommitError, Durability, Error, KeyRange, Keyspace, MemoryStore, Order, Outcome, Page, PageLimit, Read, Store,
    Write,
};

use super::support::{Probe, builder, guard, open, rows};

#[trace(name = "taken_up.held")]
async fn held() -> relive::Result<u64> {
    Probe::here()?.hold("held").await;
    Ok(1)
}

#[task(name = "taken_up.child")]
async fn child() -> relive::Result<u64> {
    held().await
}

#[task(name = "taken_up.parent")]
async fn parent() -> relive::Result<u64> {
    child().await
}

/// A store that gives one row at a time, and that of a child only when somebody has asked for it, or has had ample
/// opportunity.
struct Slow {
    rows: MemoryStore,
    child: RunId,
    was_asked: AtomicBool,
}

/// How often the others may go on meanwhile: some seconds, if nobody asks.
const TURNS: u32 = 1_000_000;

impl Read for Slow {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if keyspace == RUNS && key == self.child.as_bytes() {
            self.was_asked.store(true, Ordering::SeqCst);
        }
        self.rows.get(keyspace, key)
    }

    fn scan(&self, keyspace: Keyspace, range: &KeyRange, order: Order, limit: PageLimit) -> Result<Page, Error> {
        let page = self.rows.scan(keyspace, range, order, PageLimit { row_count: 1, ..limit })?;
        if keyspace == UNFINISHED && page.rows.iter().any(|row| row.key == self.child.as_bytes()) {
            let mut turns = (0..TURNS).take_while(|_| !self.was_asked.load(Ordering::SeqCst));
            turns.by_ref().for_each(|_| std::thread::yield_now());
        }
        Ok(page)
    }
}

impl Store for Slow {
    fn commit(&self, writes: &[Write], durability: Durability) -> Result<Vec<Outcome>, CommitError> {
        self.rows.commit(writes, durability)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_that_goes_on_before_its_child_is_taken_up_gets_its_result() -> relive::Result<()> {
    let (store, probe) = (MemoryStore::new(), Probe::default());
    let engine = open(&store, &probe).await;
    let run = engine.start(parent()).await?.id();
    probe.begun("held", 1).await;
    let child = rows(&store, UNFINISHED).into_iter().map(|row| row.key).find(|key| key != run.as_bytes());
    let child = RunId::from_bytes(child.and_then(|key| key.try_into().ok()).expect("the child is under way"));
    // The process dies.
    let (left, probe) = (store.copy(), Probe::default());
    probe.open("held");
    let slow = Slow { rows: left, child, was_asked: AtomicBool::new(false) };
    let engine = builder(&probe).open_store(Arc::new(slow)).await?;
    assert_eq!(guard(engine.handle::<u64, relive::Error>(run)?).await?, 1);
    engine.shutdown().await
}
