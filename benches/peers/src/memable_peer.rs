//! memable: keys and results in redb.

use std::path::Path;

use memable::{Context, Engine, EngineError, WorkflowState};

use crate::{Failure, Peer, STEPS, sum};

pub(crate) struct Memable(Engine);

async fn steps(context: Context) -> Result<(), EngineError> {
    let count: u32 = context.input()?.unwrap_or(STEPS);
    let mut total = 0;
    for index in 0..u64::from(count) {
        let key = format!("step-{index}");
        total += context.step(&key).run(async move || Ok(index)).await?;
    }
    // A workflow returns nothing.
    assert_eq!(total, sum(count));
    Ok(())
}

impl Peer for Memable {
    const NAME: &'static str = "memable";
    const VERSION: &'static str = "0.1.5";
    const DURABILITY: &'static str = "redb, each commit synced: survives power loss";

    async fn open(directory: &Path) -> Result<Self, Failure> {
        let mut engine = Engine::builder().open(directory.join("memable.redb"))?.build();
        engine.register("steps", steps);
        engine.start().await?;
        Ok(Self(engine))
    }

    async fn run(&self, _run: u32, steps: u32) -> Result<(), Failure> {
        completed(self.0.invoke("steps").input(steps).await?.wait().await)
    }

    async fn run_at_once(&self, runs: u32) -> Result<(), Failure> {
        let mut under_way = Vec::with_capacity(runs as usize);
        for _ in 0..runs {
            under_way.push(self.0.invoke("steps").input(STEPS).await?);
        }
        for invocation in under_way {
            completed(invocation.wait().await)?;
        }
        Ok(())
    }

    async fn close(self) {
        self.0.stop().await;
    }
}

fn completed(state: WorkflowState) -> Result<(), Failure> {
    match state {
        WorkflowState::Completed(_) => Ok(()),
        other => Err(format!("a run ended as {other}").into()),
    }
}
