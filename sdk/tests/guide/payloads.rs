//! The chapter on payloads.

#![allow(clippy::disallowed_types, reason = "sets are what is shown")]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use relive::{Engine, ErrorKind, Event, PayloadCodec, PayloadHook, RunStatus, Unordered, task, trace, unordered};
use relive_storage::MemoryStore;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct User {
    name: String,
    password: String,
}

#[trace(redact(token, user.password), codec = "json")]
async fn sign_in(token: &str, user: User) -> relive::Result<String> {
    Ok(format!("{} by {}", user.name, token.len() + user.password.len()))
}

#[task(cache = "off")]
async fn visit(name: String) -> relive::Result<String> {
    let user = User { name, password: relive::provided::<Secrets>()?.password.clone() };
    sign_in(&relive::provided::<Secrets>()?.token, user).await
}

struct Secrets {
    token: String,
    password: String,
}

#[trace]
async fn mail(text: String, to: &Unordered<HashSet<String>>) -> relive::Result<usize> {
    Ok(text.len() * to.len())
}

#[task]
async fn newsletter(to: Vec<String>) -> relive::Result<usize> {
    let everyone = unordered(to.into_iter().collect::<HashSet<_>>());
    mail("news".to_owned(), &everyone).await
}

/// Adds one to every byte. A real one compresses or encrypts.
struct Shift;

impl PayloadHook for Shift {
    fn id(&self) -> u8 {
        200 // never give it to another hook
    }
    fn name(&self) -> &str {
        "shift by one"
    }
    fn seal(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        Ok(bytes.iter().map(|byte| byte.wrapping_add(1)).collect())
    }
    fn open(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        Ok(bytes.iter().map(|byte| byte.wrapping_sub(1)).collect())
    }
}

#[tokio::test]
async fn payloads_are_written_as_the_engine_and_the_attributes_say() -> relive::Result<()> {
    let _directory = crate::enter_temporary_directory()?;
    let secrets = Secrets { token: "t0ken".to_owned(), password: "pa55word".to_owned() };
    let engine = Engine::builder()
        .payload_codec(PayloadCodec::JSON)
        .payload_hook(Shift)
        .payload_bytes_max(64 << 10)
        .provide(secrets)
        .open("./sealed")
        .await?;
    let handle = engine.start(visit("Ada".to_owned())).await?;
    let run = handle.id();
    assert_eq!(handle.await?, "Ada by 13");
    let inputs = engine.events(run).filter_map(|logged| match logged.ok()?.event {
        Event::TraceStarted(started) => Some(started.input),
        _ => None,
    });
    for input in inputs {
        let shown = input.to_value().to_string();
        assert!(shown.contains("Ada") && !shown.contains("t0ken") && !shown.contains("pa55word"), "{shown}");
        assert_eq!((input.codec(), input.hook()), (PayloadCodec::JSON, Some(200)));
    }
    assert_eq!(engine.run(newsletter(vec!["Ada".to_owned(), "Alan".to_owned()])).await?, 8);
    let error = engine.run(newsletter(vec!["x".repeat(70_000)])).await.expect_err("it is too large");
    assert_eq!(error.kind(), ErrorKind::Payload);
    engine.shutdown().await
}

/// What it returns is as the caller says: as if the type had changed between two versions.
#[trace]
async fn seat<T>() -> relive::Result<T>
where
    T: From<u8> + Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    Ok(T::from(7))
}

#[derive(Serialize, Deserialize)]
struct Seat {
    number: u8,
}

#[derive(Serialize, Deserialize)]
struct SeatInCoach {
    number: u8,
    coach: u32,
}

impl From<u8> for Seat {
    fn from(number: u8) -> Self {
        Self { number }
    }
}

impl From<u8> for SeatInCoach {
    fn from(number: u8) -> Self {
        Self { number, coach: 2 }
    }
}

/// Whether the program is the old one, whose second step does not end.
struct IsOld(bool);

#[trace]
async fn board(number: u32) -> relive::Result<u32> {
    if relive::provided::<IsOld>()?.0 {
        std::future::pending::<()>().await;
    }
    Ok(number)
}

#[task]
async fn travel() -> relive::Result<u32> {
    if relive::provided::<IsOld>()?.0 {
        return board(seat::<Seat>().await?.number.into()).await;
    }
    let seat = seat::<SeatInCoach>().await?;
    board(u32::from(seat.number) * seat.coach).await
}

#[tokio::test]
async fn a_run_whose_results_cannot_be_read_waits_and_is_helped_by_rerun() -> relive::Result<()> {
    let store = Arc::new(MemoryStore::new());
    let builder = |is_old| Engine::builder().provide(IsOld(is_old)).shutdown_grace(Duration::ZERO);
    let engine = builder(true).open_store(Arc::clone(&store) as _).await?;
    let run = engine.start(travel()).await?.id();
    let is_aboard = |logged: relive::Result<relive::LoggedEvent>| matches!(logged, Ok(logged) if matches!(&logged.event, Event::TraceStarted(started) if started.name == "board"));
    while !engine.events(run).any(is_aboard) {
        tokio::task::yield_now().await;
    }
    engine.shutdown().await?;

    let engine = builder(false).open_store(store).await?;
    let error = engine.run(travel()).await.expect_err("a coach is missing");
    let shown = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Payload, "{shown}");
    for part in ["trace seat", "SeatInCoach", "coach"] {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(matches!(engine.status(run)?, RunStatus::Blocked { .. }));
    engine.resume(run).rerun("seat").await?;
    assert_eq!(engine.handle::<u32, relive::Error>(run)?.await?, 14);
    engine.shutdown().await
}
