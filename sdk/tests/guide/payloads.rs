//! The chapter on payloads.

#![allow(clippy::disallowed_types, reason = "sets are what is shown")]

use std::collections::HashSet;

use relive::{Engine, ErrorKind, Event, PayloadCodec, PayloadHook, Unordered, task, trace, unordered};
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
