//! Caching and checkpoints together: three steps, of which the third fails once. Steps that succeeded are not run again in
//! the next attempt, also not after a restart; and once the task has a result, nothing of it runs again.
//!
//! `cargo run -p relive-examples --example 05_caching_and_checkpoints`

#![expect(clippy::print_stdout, reason = "what an example does is what it prints")]

use std::collections::BTreeMap;
use std::path::Path;

use relive::{Engine, Error, Result, task, trace};

/// What the third step needs and does not have at first.
#[derive(Clone, Copy)]
struct Memory {
    is_enough: bool,
}

#[trace]
async fn clean(dataset: &str) -> Result<Vec<f64>> {
    println!("  step 1 runs: clean {dataset}");
    Ok(vec![1.0, 2.0, 4.0])
}

#[trace]
async fn features(rows: &[f64]) -> Result<BTreeMap<String, f64>> {
    println!("  step 2 runs: features of {} rows", rows.len());
    Ok(BTreeMap::from([("mean".to_owned(), rows.iter().sum::<f64>() / rows.len() as f64)]))
}

#[trace]
async fn train(features: &BTreeMap<String, f64>) -> Result<f64> {
    println!("  step 3 runs: train on {} features", features.len());
    if !relive::provided::<Memory>()?.is_enough {
        return Err(Error::msg("out of memory"));
    }
    Ok(0.93)
}

/// The cache is on unless a task says `cache = "off"`.
#[task]
async fn accuracy(dataset: String) -> Result<f64> {
    let rows = clean(&dataset).await?;
    let features = features(&rows).await?;
    train(&features).await
}

async fn open(directory: &Path, memory: Memory) -> Result<Engine> {
    Engine::builder().provide(memory).open(directory).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let dataset = || "tides-2026".to_owned();

    println!("1. The call is new: nothing is in the cache, so the task runs.");
    let engine = open(directory.path(), Memory { is_enough: false }).await?;
    println!("  explained: {}", engine.cache().explain(accuracy(dataset()))?);
    let handle = engine.start(accuracy(dataset())).await?;
    let run = handle.id();
    println!("  {}", handle.await.map_or_else(|error| format!("it failed: {error}"), |found| found.to_string()));
    engine.shutdown().await?;

    println!("2. The program is started again, with more memory, and the run resumed. Steps 1 and 2 are in its log:");
    let engine = open(directory.path(), Memory { is_enough: true }).await?;
    println!("  {}", engine.resume(run).await?.await?);

    println!("3. The same call again is a hit: no step runs.");
    println!("  {}", engine.run(accuracy(dataset())).await?);

    println!("4. The cache itself is on disk: after another start it is a hit still.");
    engine.shutdown().await?;
    let engine = open(directory.path(), Memory { is_enough: true }).await?;
    println!("  {}", engine.run(accuracy(dataset())).await?);

    println!("5. Other input is another call, with checkpoints of its own.");
    println!("  {}", engine.run(accuracy("tides-2027".to_owned())).await?);
    engine.shutdown().await
}
