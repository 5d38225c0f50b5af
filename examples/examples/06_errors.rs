//! Errors: one that another try puts right, one that is a decision, one that is caught and answered with another way. Each
//! is in the log, and a replay takes the same way.
//!
//! `cargo run -p relive-examples --example 06_errors`

#![expect(clippy::print_stdout, reason = "what an example does is what it prints")]

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use relive::{Engine, Event, Result, TraceOutcome, TypedError, task, trace};
use serde::{Deserialize, Serialize};

/// Comes out of the log as it went in: type, variant, values.
#[derive(Debug, Serialize, Deserialize, TypedError)]
enum PostError {
    /// Worth another try.
    Busy,
    /// Not worth one.
    #[relive(terminal)]
    Rejected { field: String },
    /// What the engine has to say, as a payload over the limit.
    #[relive(engine)]
    Engine(relive::Error),
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the service is busy"),
            Self::Rejected { field } => write!(f, "the service does not take this {field}"),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PostError {}

/// How often the service was called.
#[derive(Default)]
struct Calls(AtomicU32);

#[trace(retries = 3, backoff(first = "1ms", jitter = false))]
async fn post(order: &str, cents: i64) -> Result<String, PostError> {
    let call = relive::provided::<Calls>()?.0.fetch_add(1, Ordering::Relaxed) + 1;
    println!("  post runs: {order}, call {call} of the service");
    match cents {
        ..0 => Err(PostError::Rejected { field: "amount".to_owned() }),
        // The first two calls of the service find it busy.
        _ if call < 3 => Err(PostError::Busy),
        _ => Ok(format!("receipt for {order}")),
    }
}

#[trace]
async fn leave_for_a_person(order: &str, why: &str) -> Result<String> {
    println!("  leave_for_a_person runs: {order}");
    Ok(format!("{order} waits for somebody, as {why}"))
}

#[task]
async fn submit(order: String, cents: i64) -> Result<String> {
    match post(&order, cents).await {
        Ok(receipt) => Ok(receipt),
        Err(PostError::Rejected { field }) => leave_for_a_person(&order, &format!("its {field} was rejected")).await,
        Err(error) => Err(error.into()),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let engine = Engine::builder().provide(Calls::default()).open(directory.path()).await?;

    for (what, order, cents) in [
        ("Two tries fail, the third succeeds; the task sees the success only:", "tea", 450),
        ("A terminal error is not tried again; the task catches it by its type and takes another way:", "debt", -1),
    ] {
        println!("{what}");
        let handle = engine.start(submit(order.to_owned(), cents)).await?;
        let run = handle.id();
        println!("  {}", handle.await?);
        println!("  in the log:");
        for logged in engine.events(run) {
            match logged?.event {
                Event::TraceRetried(retried) => println!("    try {} failed: {}", retried.tries, retried.error),
                Event::TraceCompleted(completed) => match &completed.outcome {
                    TraceOutcome::Err(record) => println!("    failed after {} tries: {record}", completed.tries),
                    _ => println!("    succeeded after {} tries", completed.tries),
                },
                _ => {}
            }
        }
        println!(
            "  replayed: {}",
            if engine.replay(run).await?.is_some() { "the same way, no call" } else { "unfinished" }
        );
    }
    engine.shutdown().await
}
