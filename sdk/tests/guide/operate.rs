//! The chapters on durability, on stopping, and on looking at runs.

use std::time::Duration;

use relive::{Cancellation, Durability, Engine, ErrorKind, RunState, TaskOutcome, Verdict, task, trace};

#[trace]
async fn wait_for_ever() -> relive::Result<()> {
    std::future::pending().await
}

#[task]
async fn endless() -> relive::Result<()> {
    wait_for_ever().await
}

#[trace]
async fn bake(count: u32) -> relive::Result<u32> {
    Ok(count)
}

#[task]
async fn breakfast(rolls: u32) -> relive::Result<u32> {
    bake(rolls).await
}

async fn open() -> relive::Result<Engine> {
    let engine = Engine::builder()
        .durability(Durability::Buffered)
        .on_durable(|acknowledged| {
            println!("{} {} {}", acknowledged.run, acknowledged.sequence, acknowledged.event.name());
        })
        .open("./orders")
        .await?;
    Ok(engine)
}

async fn bounded() -> relive::Result<Engine> {
    let engine = Engine::builder().runs_max(100).shutdown_grace(Duration::from_secs(30)).open("./bounded").await?;
    Ok(engine)
}

#[tokio::test]
async fn runs_are_listed_replayed_and_cancelled() -> relive::Result<()> {
    let _directory = crate::enter_temporary_directory()?;
    bounded().await?.shutdown().await?;
    let engine = open().await?;
    assert_eq!(engine.run(breakfast(4)).await?, 4);

    for stored in engine.runs() {
        let stored = stored?;
        println!("{} {} {:?}", stored.run, stored.record.task, stored.record.state);
        for logged in engine.events(stored.run) {
            let logged = logged?;
            println!("  {} {}", logged.sequence, logged.event.name());
        }
    }

    let run = engine.runs().next().expect("there is one")?.run;
    match engine.replay(run).await? {
        None => println!("unfinished; the code fits as far as the log goes"),
        Some(outcome) => println!("the code fits, and gives {outcome:?} again"),
    }
    assert!(matches!(engine.replay(run).await?, Some(TaskOutcome::Ok(_))));

    let replayed = Engine::builder().open_reader("./orders")?.replay(run).await?;
    match &replayed.verdict {
        Verdict::Diverged(diagnosis) => println!("{}; likely {}", diagnosis.change, diagnosis.cause),
        verdict => println!("{}", verdict.name()),
    }
    assert!(matches!(replayed.verdict, Verdict::Same(_)));

    let handle = engine.start(endless()).await?;
    match handle.cancel().await? {
        Cancellation::Cancelled => println!("stopped"),
        Cancellation::AlreadyEnded => println!("too late: it had ended"),
    }
    let run = handle.id();
    assert_eq!(handle.await.expect_err("it was cancelled").kind(), ErrorKind::Cancelled);
    let stored = engine.runs().find_map(|stored| stored.ok().filter(|stored| stored.run == run));
    assert_eq!(stored.map(|stored| stored.record.state), Some(RunState::Cancelled));
    engine.shutdown().await
}

#[tokio::test]
async fn runs_are_found_by_their_tags() -> relive::Result<()> {
    let engine = crate::in_memory(Engine::builder()).await?;
    let rolls = 4;

    let handle = engine.start(breakfast(rolls).tag("customer", "42")).await?;
    for stored in engine.runs_tagged("customer", "42") {
        println!("{}", stored?.run);
    }

    let found =
        engine.runs_tagged("customer", "42").map(|stored| Ok(stored?.run)).collect::<relive::Result<Vec<_>>>()?;
    assert_eq!(found, [handle.id()]);
    assert_eq!((handle.await?, engine.runs_tagged("customer", "7").count()), (4, 0));
    engine.shutdown().await
}
