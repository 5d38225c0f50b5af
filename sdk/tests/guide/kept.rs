//! The chapter on how long runs are kept: a program of its own, as every engine of one with such a task deletes runs, and
//! nobody does in the other chapters.

use std::time::Duration;

use relive::{Engine, Keep, task, trace};

#[trace]
async fn bake(count: u32) -> relive::Result<u32> {
    Ok(count)
}

#[task(keep(age = "90d", count = 100))]
async fn delivery(rolls: u32) -> relive::Result<u32> {
    bake(rolls).await
}

async fn open() -> relive::Result<Engine> {
    let month = Duration::from_secs(30 * 24 * 60 * 60);
    let engine = Engine::builder().keep(Keep::age(month)).open("./bakery").await?;
    Ok(engine)
}

#[tokio::test]
async fn a_run_whose_time_is_not_over_stays() -> relive::Result<()> {
    let directory = tempfile::tempdir()?;
    std::env::set_current_dir(directory.path())?;
    let engine = open().await?;
    let handle = engine.start(delivery(4)).await?;
    let run = handle.id();
    assert_eq!(handle.await?, 4);
    engine.shutdown().await?;
    let engine = open().await?;
    assert!(engine.status(run).is_ok());
    engine.shutdown().await
}
