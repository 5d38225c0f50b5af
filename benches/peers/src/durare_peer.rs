//! durare: the schema of DBOS, here in SQLite.

use std::path::Path;
use std::sync::Arc;

use durare::{DurableContext, DurableEngine, Result as DurareResult, SqliteProvider, WorkflowOptions};

use crate::{Failure, Peer, STEPS, sum};

pub(crate) struct Durare(DurableEngine);

#[durare::step]
async fn step(ctx: &DurableContext, index: u64) -> DurareResult<u64> {
    Ok(index)
}

#[durare::workflow]
async fn steps(ctx: DurableContext, count: u32) -> DurareResult<u64> {
    let mut total = 0;
    for index in 0..u64::from(count) {
        total += step(&ctx, index).await?;
    }
    Ok(total)
}

impl Durare {
    async fn one(&self, id: String, count: u32) -> Result<(), Failure> {
        let handle = self.0.start_with(Steps, count, WorkflowOptions::with_id(id)).await?;
        let total: u64 = handle.await?;
        if total == sum(count) { Ok(()) } else { Err(format!("a run returned {total}").into()) }
    }
}

impl Peer for Durare {
    const NAME: &'static str = "durare";
    const VERSION: &'static str = "0.5.0";
    const DURABILITY: &'static str =
        "SQLite, WAL, synchronous = NORMAL: survives the end of the process, not power loss";

    async fn open(directory: &Path) -> Result<Self, Failure> {
        let url = format!("sqlite://{}", directory.join("durare.db").display());
        let provider = SqliteProvider::connect(&url).await?;
        Ok(Self(DurableEngine::new(Arc::new(provider)).await?))
    }

    async fn run(&self, run: u32, steps: u32) -> Result<(), Failure> {
        self.one(format!("run-{run}"), steps).await
    }

    async fn run_at_once(&self, runs: u32) -> Result<(), Failure> {
        let mut under_way = Vec::with_capacity(runs as usize);
        for run in 0..runs {
            under_way.push(self.0.start_with(Steps, STEPS, WorkflowOptions::with_id(format!("run-{run}"))).await?);
        }
        for handle in under_way {
            let total: u64 = handle.await?;
            if total != sum(STEPS) {
                return Err(format!("a run returned {total}").into());
            }
        }
        Ok(())
    }

    async fn close(self) {}
}
