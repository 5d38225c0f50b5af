//! Many runs that sleep for a day: what they take in memory, and how long the store takes to be opened again.

use std::time::Duration;

use relive::{Engine, task};
use relive_engine::codec;
use relive_engine::index::{Standing, UNFINISHED, UnfinishedRecord};
use relive_storage::{KeyRange, Order, PageLimit, Read, RocksStore, after};

use crate::memory::{Peak, resident_mib};
use crate::meter::{now, pass};
use crate::setting::{close, open, open_store};
use crate::{Bound, Failure, Figure, Setting};

/// Runs that are started at the same time: enough to share syncs, few enough that they are no part of what is measured.
const STARTERS: u32 = 256;

#[task(cache = "off")]
async fn nap(index: u32) -> relive::Result<u32> {
    relive::sleep(Duration::from_secs(24 * 60 * 60)).await?;
    Ok(index)
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let runtime = setting.runtime()?;
    let scratch = setting.scratch()?;
    let count = setting.sizes.sleeping_runs;
    let directory = scratch.path().join("relive");
    let store = open_store(&directory)?;
    let peak = Peak::watch()?;
    let (asleep_mib, began) = runtime.block_on(async {
        let began = now();
        let engine = open(Engine::builder(), &store).await?;
        start_all(&engine, count).await?;
        while !all_sleep(&store)? {
            pass(Duration::from_millis(50)).await;
        }
        let mib = resident_mib()?;
        let took = began.elapsed();
        close(engine, &store).await?;
        Ok::<_, Failure>((mib, took))
    })?;
    let peak = peak.mib()?;
    drop(store);
    let store = open_store(&directory)?;
    let (opened, opened_mib) = runtime.block_on(async {
        let began = now();
        let engine = open(Engine::builder(), &store).await?;
        let (took, mib) = (began.elapsed(), resident_mib()?);
        close(engine, &store).await?;
        Ok::<_, Failure>((took, mib))
    })?;
    let per_second = f64::from(count) / began.as_secs_f64();
    let what = |what: &str| format!("{count} runs that sleep for a day: {what}");
    Ok(vec![
        Figure::new("sleepers_peak_mib", what("most resident memory on the way, MiB"), peak)
            .bound(Bound::AtMost(200.0)),
        Figure::new("sleepers_mib", what("resident memory when all sleep, MiB"), asleep_mib)
            .bound(Bound::AtMost(200.0)),
        Figure::new("sleepers_per_s", what("started and put to sleep, per second"), per_second),
        Figure::new("sleepers_open_ms", what("to open them again, ms"), opened.as_secs_f64() * 1000.0),
        Figure::new("sleepers_opened_mib", what("resident memory then, MiB"), opened_mib),
    ])
}

async fn start_all(engine: &Engine, count: u32) -> Result<(), Failure> {
    let starters = (0..STARTERS).map(|starter| {
        let engine = engine.clone();
        tokio::spawn(async move {
            for index in (starter..count).step_by(STARTERS as usize) {
                engine.start(nap(index)).await?;
            }
            Ok::<_, relive::Error>(())
        })
    });
    let starters: Vec<_> = starters.collect();
    for starter in starters {
        starter.await??;
    }
    Ok(())
}

/// Whether every run has been put to sleep.
fn all_sleep(store: &RocksStore) -> Result<bool, Failure> {
    let mut range = KeyRange::all();
    loop {
        let page = store.scan(UNFINISHED, &range, Order::Ascending, PageLimit::default())?;
        for row in &page.rows {
            let (record, ..) =
                codec::open::<UnfinishedRecord>(&row.key, &row.value).map_err(|error| error.to_string())?;
            if !matches!(record.standing, Standing::Asleep { .. }) {
                return Ok(false);
            }
        }
        match page.rows.last() {
            Some(last) if page.more => range.start = after(&last.key),
            _ => return Ok(true),
        }
    }
}
