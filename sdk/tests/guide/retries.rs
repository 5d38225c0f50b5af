//! The chapters on errors that keep their type, and on trying again.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use relive::{Engine, ErrorKind, Event, TypedError, task, trace};
use serde::{Deserialize, Serialize};

/// How often the bank was asked, and how often it is busy before it answers.
#[derive(Clone, Default)]
struct Bank(Arc<Mutex<(u32, u32)>>);

impl Bank {
    fn is_busy(&self) -> bool {
        let mut bank = self.0.lock();
        bank.0 += 1;
        bank.0 <= bank.1
    }
}

#[derive(Debug, Serialize, Deserialize, TypedError)]
enum TransferError {
    Busy,
    #[relive(terminal)]
    Refused {
        limit: u64,
    },
    #[relive(engine)]
    Engine(relive::Error),
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the bank is busy"),
            Self::Refused { limit } => write!(f, "no more than {limit}"),
            Self::Engine(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for TransferError {}

#[trace(retries = 3, backoff(first = "2s", factor = 2, max = "1m"), timeout = "30s", deadline = "10m")]
async fn transfer(amount: u64) -> Result<u64, TransferError> {
    let bank = relive::provided::<Bank>()?;
    match amount {
        1_001.. => Err(TransferError::Refused { limit: 1_000 }),
        _ if bank.is_busy() => Err(TransferError::Busy),
        _ => Ok(amount),
    }
}

#[task]
async fn pay(amount: u64) -> Result<u64, TransferError> {
    match transfer(amount).await {
        Err(TransferError::Refused { limit }) => transfer(limit).await,
        result => result,
    }
}

#[trace(timeout = "30s")]
async fn settle(_cents: u64) -> relive::Result<u64> {
    std::future::pending().await
}

#[task(retries = 2, backoff = "5s")]
async fn nightly(amount: u64) -> relive::Result<u64> {
    let rate = exchange_rate().await?;
    settle(amount * rate).await
}

#[trace]
async fn exchange_rate() -> relive::Result<u64> {
    let bank = relive::provided::<Bank>()?;
    bank.is_busy();
    Ok(bank.0.lock().0.into())
}

/// Why tries failed, by a run's log.
fn failed_tries(engine: &Engine, run: relive::RunId) -> Vec<String> {
    let retried = engine.events(run).filter_map(|logged| match logged.ok()?.event {
        Event::TraceRetried(retried) => Some(retried.error.message),
        _ => None,
    });
    retried.collect()
}

#[tokio::test]
async fn a_failed_try_is_followed_by_another_unless_it_is_terminal() -> relive::Result<()> {
    let bank = Bank(Arc::new(Mutex::new((0, 2))));
    let engine = crate::in_memory(Engine::builder().provide(bank.clone()).clock(crate::Hurried::default())).await?;
    let handle = engine.start(pay(500)).await?;
    let run = handle.id();
    assert!(matches!(handle.await, Ok(500)));
    assert_eq!(failed_tries(&engine, run), ["the bank is busy", "the bank is busy"]);

    let handle = engine.start(pay(5_000)).await?;
    let run = handle.id();
    assert!(matches!(handle.await, Ok(1_000)), "it knows the limit by the error's value");
    assert_eq!((failed_tries(&engine, run).len(), bank.0.lock().0), (0, 4));
    assert!(engine.replay(run).await?.is_some());

    bank.0.lock().1 = u32::MAX;
    assert!(matches!(engine.run(pay(7)).await, Err(TransferError::Busy)));
    engine.shutdown().await
}

#[tokio::test]
async fn what_takes_too_long_is_an_error_and_a_task_is_tried_again_with_what_it_has_found() -> relive::Result<()> {
    let bank = Bank::default();
    let engine = crate::in_memory(Engine::builder().provide(bank.clone()).clock(crate::Hurried::default())).await?;
    let handle = engine.start(nightly(7)).await?;
    let run = handle.id();
    assert_eq!(handle.await.expect_err("it hangs").kind(), ErrorKind::TimedOut);
    let attempts = engine.events(run).filter_map(|logged| match logged.ok()?.event {
        Event::TaskStarted(started) => Some(started.attempt),
        _ => None,
    });
    assert_eq!(attempts.collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(bank.0.lock().0, 1, "what had succeeded is not run again");
    engine.shutdown().await
}

#[trace]
async fn divide(dividend: i64, divisor: i64) -> relive::Result<i64> {
    Ok(dividend / divisor)
}

#[task]
async fn share(sum: i64, people: i64) -> relive::Result<i64> {
    divide(sum, people).await
}

#[tokio::test]
async fn a_panic_says_where_it_was() -> relive::Result<()> {
    let engine = crate::in_memory(Engine::builder()).await?;
    let error = engine.run(share(7, 0)).await.expect_err("it panics");
    assert_eq!(error.kind(), ErrorKind::Panicked);
    let shown = error.to_string();
    assert!(shown.starts_with("trace divide panicked: attempt to divide by zero"), "{shown}");
    assert!(shown.contains("retries.rs:"), "{shown}");
    engine.shutdown().await
}

#[trace]
async fn withdraw(amount: u64) -> relive::Result<u64> {
    Ok(checked(amount)?)
}

fn checked(amount: u64) -> Result<u64, TransferError> {
    if amount > 500 { Err(TransferError::Refused { limit: 500 }) } else { Ok(amount) }
}

#[task]
async fn withdraw_at_most(amount: u64) -> relive::Result<u64> {
    match withdraw(amount).await {
        Ok(amount) => Ok(amount),
        Err(error) => match error.typed() {
            Ok(TransferError::Refused { limit }) => withdraw(limit).await,
            Ok(other) => Err(other.into()),
            Err(error) => Err(error),
        },
    }
}

#[tokio::test]
async fn a_typed_error_comes_out_of_relives_own() -> relive::Result<()> {
    let engine = crate::in_memory(Engine::builder()).await?;
    assert_eq!(engine.run(withdraw_at_most(700)).await?, 500);
    engine.shutdown().await
}
