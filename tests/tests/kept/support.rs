//! Tasks that are kept for so long, engines whose time is a test's, and what stands in a store.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use relive::{Builder, Engine, Keep, RunId, task, trace};
use relive_engine::index::RUNS;
use relive_engine::verify;
use relive_storage::{MemoryStore, Read, Store};
use relive_tests::manual_clock::ManualClock;

use super::system::{Probe, builder, rows};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[trace(name = "kept.step")]
async fn step(label: String) -> relive::Result<u32> {
    Probe::here()?.hold(&label).await;
    if label.contains("fails") { Err(relive::Error::msg("it fails")) } else { Ok(1) }
}

/// As the engine says.
#[task(name = "kept.plain")]
pub(crate) async fn plain(label: String) -> relive::Result<u32> {
    step(label).await
}

#[task(name = "kept.brief", keep = "10m")]
pub(crate) async fn brief(label: String) -> relive::Result<u32> {
    step(label).await
}

#[task(name = "kept.forever", keep = "forever")]
pub(crate) async fn forever(label: String) -> relive::Result<u32> {
    step(label).await
}

#[task(name = "kept.newest", keep(count = 2))]
pub(crate) async fn newest(label: String) -> relive::Result<u32> {
    step(label).await
}

#[task(name = "kept.either", keep(age = "1h", count = 1))]
pub(crate) async fn either(label: String) -> relive::Result<u32> {
    step(label).await
}

/// Calls a task that is kept briefly, and does something else.
#[task(name = "kept.parent")]
pub(crate) async fn parent(label: String, last: String) -> relive::Result<u32> {
    let sum = brief(label).await.unwrap_or(0);
    Ok(sum + step(last).await?)
}

/// Calls a task of which the newest are kept, and does something else.
#[task(name = "kept.counting")]
pub(crate) async fn counting(label: String, last: String) -> relive::Result<u32> {
    let sum = newest(label).await?;
    Ok(sum + step(last).await?)
}

/// Calls one that calls one.
#[task(name = "kept.grandparent", keep = "30m")]
pub(crate) async fn grandparent(label: String, last: String) -> relive::Result<u32> {
    parent(label.clone(), label).await?;
    step(last).await
}

/// Calls a task that is kept for longer than it is itself.
#[task(name = "kept.short_parent", keep = "10m")]
pub(crate) async fn short_parent(label: String) -> relive::Result<u32> {
    Ok(forever(label.clone()).await? + plain(label).await?)
}

/// Effects with these labels go through.
pub(crate) fn opened(gates: &[&str]) -> Probe {
    let probe = Probe::default();
    gates.iter().for_each(|gate| probe.open(gate));
    probe
}

/// An engine and its time.
pub(crate) struct Kept {
    pub(crate) engine: Engine,
    pub(crate) clock: ManualClock,
    pub(crate) store: MemoryStore,
}

impl Kept {
    /// Tasks that say nothing are kept for a day.
    pub(crate) async fn open(store: &MemoryStore, probe: &Probe, clock: ManualClock) -> Self {
        Self::open_with(store, builder(probe).keep(Keep::age(DAY)), clock).await
    }

    pub(crate) async fn open_with(store: &MemoryStore, builder: Builder, clock: ManualClock) -> Self {
        let opened = builder.clock(clock.clone()).open_store(Arc::new(store.clone()) as Arc<dyn Store>).await;
        let kept = Self { engine: opened.expect("the engine opens"), clock, store: store.clone() };
        kept.clock.sleeps(MINUTE).await;
        kept
    }

    /// Lets time pass, and waits until what is over by then is gone.
    pub(crate) async fn after(&self, time: Duration) {
        self.clock.advance(time);
        self.clock.sleeps(MINUTE).await;
    }

    /// The runs that are there.
    pub(crate) fn runs(&self) -> Vec<RunId> {
        let id = |row: &relive_storage::Row| RunId::from_bytes(row.key.as_slice().try_into().expect("a run's id"));
        rows(&self.store, RUNS).iter().map(id).collect()
    }

    pub(crate) fn has(&self, run: RunId) -> bool {
        self.runs().contains(&run)
    }

    /// Runs a call to its end.
    pub(crate) async fn run<T: serde::de::DeserializeOwned>(&self, call: relive::Call<T, relive::Error>) -> RunId {
        let handle = self.engine.start(call).await.expect("the store works");
        let run = handle.id();
        let _ = super::system::guard(handle).await;
        // Ids of one millisecond are in no order.
        self.clock.advance(Duration::from_millis(1));
        run
    }
}

/// Every record, chain and index is as it should be.
pub(crate) fn is_whole(store: &MemoryStore) {
    let view: Arc<dyn Read> = Arc::new(store.clone());
    verify::store(&view, &mut |progress| {
        assert!(!matches!(progress, verify::Progress::Problem(_)), "{progress:?}");
        ControlFlow::Continue(())
    });
}
