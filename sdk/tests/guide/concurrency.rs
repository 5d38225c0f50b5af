//! The chapters on doing several things at once, and on what a task may await.

use std::time::Duration;

use relive::{Engine, ErrorKind, task, trace};

#[trace]
async fn download(url: String) -> relive::Result<String> {
    Ok(format!("contents of {url}"))
}

#[task]
async fn mirror(urls: Vec<String>) -> relive::Result<Vec<String>> {
    futures::future::try_join_all(urls.into_iter().map(download)).await
}

#[task]
async fn fastest(first: String, second: String) -> relive::Result<String> {
    relive::select! {
        page = download(first) => page,
        page = download(second) => page,
    }
}

#[tokio::test]
async fn branches_of_a_task_run_at_once() -> relive::Result<()> {
    let engine = crate::in_memory(Engine::builder()).await?;
    let (a, b) = ("a".to_owned(), "b".to_owned());
    assert_eq!(engine.run(mirror(vec![a.clone(), b.clone()])).await?, ["contents of a", "contents of b"]);
    assert!(engine.run(fastest(a, b)).await?.starts_with("contents of "));
    engine.shutdown().await
}

#[expect(clippy::disallowed_methods, deprecated, reason = "that it is wrong is the point")]
#[task]
async fn impatient(name: String) -> relive::Result<String> {
    tokio::time::sleep(Duration::from_secs(1)).await; // wrong: not a trace
    download(name).await
}

#[expect(clippy::disallowed_methods, reason = "inside a trace a sleep is an effect like any other")]
#[trace]
async fn pause(seconds: u64) -> relive::Result<()> {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Ok(())
}

#[task]
async fn patient(name: String) -> relive::Result<String> {
    pause(0).await?;
    download(name).await
}

#[task]
async fn raffle(names: Vec<String>) -> relive::Result<String> {
    let started = relive::now()?;
    let winner = relive::random::<u64>()? as usize % names.len();
    let ticket = relive::uuid()?;
    Ok(format!("{} wins {ticket} at {started:?}", names[winner]))
}

#[tokio::test]
async fn a_timer_in_a_task_is_found_out_and_one_in_a_trace_is_an_effect() -> relive::Result<()> {
    for strict in [true, false] {
        let engine = crate::in_memory(Engine::builder().strict(strict)).await?;
        let error = engine.run(impatient("a".to_owned())).await.expect_err("it awaits a timer");
        assert_eq!(error.kind(), ErrorKind::ForeignAwait);
        assert!(error.to_string().contains("put"), "{error}");
        assert_eq!(engine.run(patient("a".to_owned())).await?, "contents of a");
        engine.shutdown().await?;
    }
    Ok(())
}

#[tokio::test]
async fn chance_is_the_same_in_every_replay() -> relive::Result<()> {
    let engine = crate::in_memory(Engine::builder()).await?;
    let handle = engine.start(raffle(vec!["Ada".to_owned(), "Grace".to_owned()])).await?;
    let run = handle.id();
    let text = handle.await?;
    match engine.replay(run).await? {
        Some(relive::TaskOutcome::Ok(payload)) => assert_eq!(payload.to_value(), relive::Value::Text(text)),
        other => panic!("the run completed, and its replay says {other:?}"),
    }
    engine.shutdown().await
}
