//! duroxide: its provider for SQLite.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{Runtime, RuntimeOptions};
use duroxide::{ActivityContext, Client, OrchestrationContext, OrchestrationRegistry, OrchestrationStatus};

use crate::{Failure, Peer, STEPS, sum};

/// Longest that a run may take: 10 min, as it takes turns with a thousand others.
const RUN_MAX: Duration = Duration::from_secs(600);

/// How often a run's status is asked for while the database is locked.
const ASKED_MAX: u32 = 1000;

pub(crate) struct Duroxide {
    runtime: Arc<Runtime>,
    client: Arc<Client>,
}

impl Duroxide {
    async fn ended(&self, instance: &str, count: u32) -> Result<(), Failure> {
        for _ in 0..ASKED_MAX {
            let status =
                self.client.wait_for_orchestration(instance, RUN_MAX).await.map_err(|error| format!("{error:?}"))?;
            match status {
                OrchestrationStatus::Completed { output, .. } if output == sum(count).to_string() => return Ok(()),
                // The database was locked when the status was read: it is asked for again.
                OrchestrationStatus::Failed { details, .. } if details.is_retryable() => {}
                other => return Err(format!("a run ended as {other:?}").into()),
            }
        }
        Err(format!("how run {instance} ended could not be read {ASKED_MAX} times").into())
    }
}

impl Peer for Duroxide {
    const NAME: &'static str = "duroxide";
    const VERSION: &'static str = "0.1.32";
    // It asks for `synchronous = WAL`, which SQLite does not know and takes for NORMAL.
    const DURABILITY: &'static str =
        "SQLite, WAL, synchronous = NORMAL: survives the end of the process, not power loss";

    async fn open(directory: &Path) -> Result<Self, Failure> {
        let path = directory.join("duroxide.db");
        std::fs::File::create(&path)?;
        let store = Arc::new(SqliteProvider::new(&format!("sqlite:{}", path.display()), None).await?);
        let activities = ActivityRegistry::builder()
            .register("step", |_: ActivityContext, index: String| async move { Ok(index) })
            .build();
        let steps = |context: OrchestrationContext, count: String| async move {
            let count: u64 = count.parse().map_err(|_| "the input is no number".to_owned())?;
            let mut total = 0;
            for index in 0..count {
                let output = context.schedule_activity("step", index.to_string()).await?;
                total += output.parse::<u64>().map_err(|_| "the output is no number".to_owned())?;
            }
            Ok::<_, String>(total.to_string())
        };
        let orchestrations = OrchestrationRegistry::builder().register("steps", steps).build();
        // Its workers look for work in turns: often enough that looking is not what is measured.
        // One of each: with its default of two, SQLite says that its database is locked, and runs fail for that.
        let options = RuntimeOptions {
            dispatcher_min_poll_interval: Duration::from_millis(1),
            orchestration_concurrency: 1,
            worker_concurrency: 1,
            ..Default::default()
        };
        let runtime = Runtime::start_with_options(store.clone(), activities, orchestrations, options).await;
        Ok(Self { runtime, client: Arc::new(Client::new(store)) })
    }

    async fn run(&self, run: u32, steps: u32) -> Result<(), Failure> {
        let instance = format!("run-{run}");
        self.client
            .start_orchestration(&instance, "steps", steps.to_string())
            .await
            .map_err(|error| format!("{error:?}"))?;
        self.ended(&instance, steps).await
    }

    async fn run_at_once(&self, runs: u32) -> Result<(), Failure> {
        for run in 0..runs {
            self.client
                .start_orchestration(format!("run-{run}"), "steps", STEPS.to_string())
                .await
                .map_err(|error| format!("{error:?}"))?;
        }
        for run in 0..runs {
            self.ended(&format!("run-{run}"), STEPS).await?;
        }
        Ok(())
    }

    async fn close(self) {
        self.runtime.shutdown(None).await;
    }
}
