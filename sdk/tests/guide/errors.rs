//! The chapter on errors.

use relive::{Engine, ErrorKind, task, trace};
use serde::{Deserialize, Serialize};

#[trace]
async fn parse(text: String) -> relive::Result<i64> {
    Ok(text.trim().parse()?)
}

#[task]
async fn sum(texts: Vec<String>) -> relive::Result<i64> {
    let mut sum = 0;
    for text in texts {
        match parse(text).await {
            Ok(number) => sum += number,
            Err(error) if error.kind() == ErrorKind::Failed => {} // not a number: leave it out
            Err(error) => return Err(error),
        }
    }
    Ok(sum)
}

#[derive(Serialize, Deserialize)]
enum Reservation {
    Reserved { shelf: u32 },
    OutOfStock,
}

#[trace]
async fn reserve(item: String) -> relive::Result<Reservation> {
    match item.as_str() {
        "unicorn" => Ok(Reservation::OutOfStock),
        _ => Ok(Reservation::Reserved { shelf: 7 }),
    }
}

#[task]
async fn pick(item: String) -> relive::Result<Option<u32>> {
    match reserve(item).await? {
        Reservation::Reserved { shelf } => Ok(Some(shelf)),
        Reservation::OutOfStock => Ok(None),
    }
}

#[tokio::test]
async fn a_task_catches_errors_and_takes_decisions_by_values() -> relive::Result<()> {
    let engine = crate::in_memory(Engine::builder()).await?;
    assert_eq!(engine.run(sum(vec!["1".to_owned(), "one".to_owned(), " 2 ".to_owned()])).await?, 3);
    assert_eq!(engine.run(pick("unicorn".to_owned())).await?, None);
    assert_eq!(engine.run(pick("horse".to_owned())).await?, Some(7));
    engine.shutdown().await
}

#[trace]
async fn refuse(reason: String) -> Result<(), OrderError> {
    Err(OrderError::Refused(reason))
}

#[task]
async fn order(reason: String) -> Result<(), OrderError> {
    refuse(reason).await
}

#[derive(Debug)]
enum OrderError {
    Refused(String),
    Engine(relive::Error),
}

impl std::fmt::Display for OrderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::Engine(error) => write!(f, "{error}"),
        }
    }
}

impl From<relive::Error> for OrderError {
    fn from(error: relive::Error) -> Self {
        Self::Engine(error)
    }
}

#[tokio::test]
async fn an_error_of_a_type_of_ones_own_comes_back_by_its_message_and_a_failed_call_runs_again() -> relive::Result<()> {
    let engine = crate::in_memory(Engine::builder()).await?;
    for run_count in 1..=2 {
        let error = engine.run(order("closed".to_owned())).await.expect_err("it fails each time");
        assert!(matches!(&error, OrderError::Engine(_)));
        assert_eq!(error.to_string(), "refused: closed");
        assert_eq!(engine.runs().count(), run_count);
    }
    engine.shutdown().await
}
