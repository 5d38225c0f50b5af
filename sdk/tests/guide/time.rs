//! The chapter on time and signals.

use std::time::Duration;

use relive::{Engine, ErrorKind, RunId, task, trace};
use serde::{Deserialize, Serialize};

#[trace]
async fn remind(who: &str) -> relive::Result<()> {
    println!("{who}: please answer");
    Ok(())
}

#[task]
async fn follow_up(who: String) -> relive::Result<()> {
    for _ in 0..3 {
        relive::sleep(Duration::from_secs(24 * 60 * 60)).await?;
        remind(&who).await?;
    }
    Ok(())
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    by: String,
    approved: bool,
}

#[task(cache = "off")]
async fn release(version: String) -> relive::Result<String> {
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    match relive::timeout(week, relive::signal::<Answer>("answer")).await {
        Ok(answer) => {
            let Answer { by, approved } = answer?;
            Ok(format!("{version}: {by} said {}", if approved { "yes" } else { "no" }))
        }
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(format!("{version}: nobody answered")),
        Err(error) => Err(error),
    }
}

async fn answer_arrives(engine: &Engine, run: RunId) -> relive::Result<()> {
    let answer = Answer { by: "Ada".to_owned(), approved: true };
    engine.signal(run, "answer", answer).await
}

#[tokio::test]
async fn a_sleep_is_a_trace() -> relive::Result<()> {
    let engine = crate::in_memory(Engine::builder().clock(crate::Hurried::default())).await?;
    let handle = engine.start(follow_up("Ada".to_owned())).await?;
    let run = handle.id();
    handle.await?;
    let of = |name| engine.events(run).filter(|logged| is_start_of(logged, name)).count();
    assert_eq!((of("relive::sleep"), of("remind")), (3, 3));
    engine.shutdown().await
}

fn is_start_of(logged: &relive::Result<relive::LoggedEvent>, name: &str) -> bool {
    matches!(logged, Ok(logged) if matches!(&logged.event, relive::Event::TraceStarted(started) if started.name == name))
}

#[tokio::test]
async fn a_signal_is_kept_and_handed_over_and_nobody_waits_for_ever() -> relive::Result<()> {
    let engine = crate::in_memory(Engine::builder()).await?;
    let handle = engine.start(release("1.0".to_owned())).await?;
    answer_arrives(&engine, handle.id()).await?;
    let run = handle.id();
    assert_eq!(handle.await?, "1.0: Ada said yes");
    let error = answer_arrives(&engine, run).await.expect_err("the run has ended");
    assert_eq!(error.kind(), ErrorKind::Ended);
    engine.shutdown().await?;

    let engine = crate::in_memory(Engine::builder().clock(crate::Hurried::default())).await?;
    assert_eq!(engine.run(release("1.0".to_owned())).await?, "1.0: nobody answered");
    engine.shutdown().await
}

#[tokio::test]
async fn a_signal_of_another_type_is_refused_to_its_sender() -> relive::Result<()> {
    let engine = crate::in_memory(Engine::builder()).await?;
    let handle = engine.start(release("1.0".to_owned())).await?;
    let run = handle.id();
    let waits = || engine.events(run).any(|logged| is_start_of(&logged, "relive::signal"));
    while !waits() {
        tokio::task::yield_now().await;
    }
    let error = engine.signal(run, "answer", "yes").await.expect_err("a text is no answer");
    assert_eq!(error.kind(), ErrorKind::Payload);
    assert!(error.to_string().contains("Nothing was recorded"), "{error}");
    answer_arrives(&engine, run).await?;
    assert_eq!(handle.await?, "1.0: Ada said yes");
    engine.shutdown().await
}
