//! Errors come back as they went in: typed ones as the same type with the same value, others by what they say; live,
//! replayed, after a crash, through tasks and children.

use std::fmt;

use relive::{Error, ErrorKind, RunId, TaskOutcome, TypedError, task, trace};
use serde::{Deserialize, Serialize};

use super::crashes::{Life, cut_at_every_commit, first_life, only_run};
use super::retries::{completed, seconds};
use super::support::{Probe, guard};

#[derive(Debug, Serialize, Deserialize, TypedError)]
#[relive(name = "typed_errors.ShopError")]
enum ShopError {
    OutOfStock {
        item: String,
        left: Vec<u32>,
    },
    #[relive(terminal)]
    Banned(u64),
    Nested(Box<Cause>),
    #[relive(engine)]
    Engine(Error),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Cause {
    code: i64,
    text: Option<String>,
}

impl fmt::Display for ShopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfStock { item, left } => write!(f, "{item} is out of stock, {} left", left.len()),
            Self::Banned(customer) => write!(f, "customer {customer} is banned"),
            Self::Nested(cause) => write!(f, "nested {}", cause.code),
            Self::Engine(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ShopError {}

fn made(which: &str) -> ShopError {
    match which {
        "stock" => ShopError::OutOfStock { item: "tea".into(), left: vec![0, 7] },
        "banned" => ShopError::Banned(u64::MAX),
        _ => ShopError::Nested(Box::new(Cause { code: -1, text: Some("ü".into()) })),
    }
}

const ALL: [&str; 3] = ["stock", "banned", "nested"];

fn same(error: &ShopError, which: &str) -> bool {
    format!("{error:?}") == format!("{:?}", made(which))
}

#[trace(name = "typed_errors.order", retries = 1, backoff(first = "1s", jitter = false))]
async fn order(which: String) -> Result<u32, ShopError> {
    Probe::here()?.begin(&which);
    Err(made(&which))
}

#[trace(name = "typed_errors.order_plainly")]
fn order_plainly(which: String) -> Result<u32, ShopError> {
    Err(made(&which))
}

#[trace(name = "typed_errors.untyped")]
async fn untyped(which: String) -> relive::Result<u32> {
    Ok(order(which).await?)
}

#[trace(name = "typed_errors.held")]
async fn held(label: String) -> relive::Result<u32> {
    Probe::here()?.hold(&label).await;
    Ok(1)
}

#[task(name = "typed_errors.shop")]
async fn shop(which: String) -> Result<u32, ShopError> {
    order(which).await
}

/// Relive's own error on the way: `?` keeps the value.
#[task(name = "typed_errors.question_mark")]
async fn question_mark(which: String) -> relive::Result<u32> {
    Ok(order(which).await?)
}

#[task(name = "typed_errors.parent")]
async fn parent(which: String) -> relive::Result<String> {
    let error = shop(which.clone()).await.expect_err("fails");
    let through = question_mark(which.clone()).await.expect_err("fails");
    let typed = through.typed::<ShopError>().is_ok_and(|error| same(&error, &which));
    Ok(format!("{} {typed}", same(&error, &which)))
}

/// Catches by the value, takes another way, and is held there.
#[task(name = "typed_errors.catches")]
async fn catches() -> relive::Result<Vec<String>> {
    let mut seen = Vec::new();
    for which in ALL {
        seen.push(match order(which.into()).await {
            Err(ShopError::OutOfStock { left, .. }) => format!("left {left:?}"),
            Err(ShopError::Banned(customer)) => format!("banned {customer}"),
            Err(ShopError::Nested(cause)) => format!("nested {cause:?}"),
            Err(ShopError::Engine(error)) => format!("engine {error}"),
            Ok(number) => format!("{number}"),
        });
        seen.push(format!("{}", order_plainly(which.into()).is_err_and(|error| same(&error, which))));
        let outer = untyped(which.into()).await.expect_err("fails");
        seen.push(format!("{}", outer.typed::<ShopError>().is_ok_and(|error| same(&error, which))));
    }
    held("another way".into()).await?;
    Ok(seen)
}

#[tokio::test]
async fn a_typed_error_is_the_same_value_live_replayed_and_after_a_crash() {
    let (store, life) = first_life().await;
    let flowing = life.clock.flow();
    for which in ALL {
        let handle = life.engine.start(shop(which.into())).await.expect("starts");
        let run = handle.id();
        let live = guard(handle).await.expect_err("fails");
        assert!(same(&live, which), "{live:?}");
        assert!(matches!(guard(life.engine.replay(run)).await, Ok(Some(TaskOutcome::Err(_)))), "it replays");
        let (_, next) = life.crash(&store, seconds(0)).await;
        let again = guard(next.engine.handle::<u32, ShopError>(run).expect("known")).await.expect_err("fails");
        assert!(same(&again, which), "{again:?}");
        // Asked for as Relive's own, it still holds the value.
        let own = guard(next.engine.handle::<u32, Error>(run).expect("known")).await.expect_err("fails");
        assert_eq!((own.kind(), own.to_string()), (ErrorKind::Failed, made(which).to_string()));
        assert!(same(&own.typed::<ShopError>().expect("typed"), which));
    }
    drop(flowing);
    assert_eq!(life.probe.count("stock"), 2);
    assert_eq!(life.probe.count("banned"), 1, "its type says that another try is of no use");
}

#[tokio::test]
async fn question_mark_into_relives_error_keeps_the_value() {
    let (store, life) = first_life().await;
    let _flowing = life.clock.flow();
    for which in ALL {
        let handle = life.engine.start(question_mark(which.into())).await.expect("starts");
        let run = handle.id();
        let live = guard(handle).await.expect_err("fails");
        let (_, next) = life.crash(&store, seconds(0)).await;
        let again = guard(next.engine.handle::<u32, Error>(run).expect("known")).await.expect_err("fails");
        for error in [live, again] {
            assert_eq!(error.is_terminal(), which == "banned");
            assert!(same(&error.typed::<ShopError>().expect("typed"), which), "{which}");
        }
    }
}

#[tokio::test]
async fn a_typed_error_comes_through_children() {
    let (_, life) = first_life().await;
    let _flowing = life.clock.flow();
    for which in ALL {
        let handle = life.engine.start(parent(which.into())).await.expect("starts");
        let run = handle.id();
        assert_eq!(guard(handle).await.expect("catches"), "true true", "{which}");
        assert!(matches!(guard(life.engine.replay(run)).await, Ok(Some(TaskOutcome::Ok(_)))), "it replays");
    }
}

#[tokio::test]
async fn a_caught_error_and_the_other_way_are_the_same_after_a_crash() {
    let (store, life) = first_life().await;
    let flowing = life.clock.flow();
    let run = life.engine.start(catches()).await.expect("starts").id();
    life.probe.begun("another way", 1).await;
    drop(flowing);
    let (_, next) = life.crash(&store, seconds(0)).await;
    let expected = [
        "left [0, 7]",
        "true",
        "true",
        "banned 18446744073709551615",
        "true",
        "true",
        "nested Cause { code: -1, text: Some(\"ü\") }",
        "true",
        "true",
    ];
    for life in [&life, &next] {
        life.probe.open("another way");
        let seen = guard(life.engine.handle::<Vec<String>, Error>(run).expect("known")).await.expect("ends");
        assert_eq!(seen, expected);
    }
    assert_eq!(next.probe.all_begun(), ["another way"], "what failed and was caught is not tried again");
}

#[tokio::test]
async fn a_caught_error_is_the_same_wherever_the_process_ends() {
    cut_at_every_commit(
        |builder| builder,
        async |life: &Life| {
            life.probe.open("another way");
            life.engine.run(catches()).await
        },
        |life, seen, cut| {
            assert_eq!(seen.len(), 9, "cut {cut}");
            assert!(!seen.iter().any(|seen| seen == "false"), "cut {cut}: {seen:?}");
            let tries = completed(&life.engine, only_run(&life.engine)).into_iter().map(|completed| completed.tries);
            assert!(tries.max() <= Some(2), "cut {cut}");
        },
    )
    .await;
}

#[derive(Debug)]
struct Untyped(std::num::ParseIntError);

impl fmt::Display for Untyped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the amount cannot be read")
    }
}

impl std::error::Error for Untyped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[trace(name = "typed_errors.reads")]
async fn reads(text: String) -> relive::Result<u32> {
    Ok(text.parse().map_err(Untyped)?)
}

#[task(name = "typed_errors.reads_child")]
async fn reads_child(text: String) -> relive::Result<u32> {
    reads(text).await
}

#[task(name = "typed_errors.reads_parent")]
async fn reads_parent(text: String) -> relive::Result<u32> {
    reads_child(text).await
}

#[tokio::test]
async fn an_untyped_error_keeps_kind_message_and_sources_through_children_and_crashes() {
    let (store, life) = first_life().await;
    let handle = life.engine.start(reads_parent("x".into())).await.expect("starts");
    let run = handle.id();
    let live = guard(handle).await.expect_err("fails");
    let (_, next) = life.crash(&store, seconds(0)).await;
    let again = guard(next.engine.handle::<u32, Error>(run).expect("known")).await.expect_err("fails");
    for error in [live, again] {
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Failed, "the amount cannot be read"));
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("invalid digit found in string"));
        assert!(error.typed::<ShopError>().is_err(), "it is none, and is given back");
    }
}

#[trace(name = "typed_errors.panics_plainly")]
fn panics_plainly() -> Result<u32, ShopError> {
    panic!("plainly");
}

#[trace(name = "typed_errors.panics_in_a_thread", blocking)]
fn panics_in_a_thread() -> Result<u32, ShopError> {
    panic!("in a thread");
}

#[trace(name = "typed_errors.panics_elsewhere", spawn)]
async fn panics_elsewhere() -> Result<u32, ShopError> {
    panic!("elsewhere");
}

#[task(name = "typed_errors.panics")]
async fn panics(how: u32) -> Result<u32, ShopError> {
    match how {
        0 => panics_plainly(),
        1 => panics_in_a_thread().await,
        2 => panics_elsewhere().await,
        _ => panic!("in the body"),
    }
}

#[tokio::test]
async fn a_panic_comes_as_the_engines_error_with_message_and_place() {
    let (_, life) = first_life().await;
    for (how, said) in ["plainly", "in a thread", "elsewhere", "in the body"].into_iter().enumerate() {
        let how = u32::try_from(how).expect("few");
        let ShopError::Engine(error) = guard(life.engine.run(panics(how))).await.expect_err("panics") else {
            panic!("another error");
        };
        let message = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Panicked, "{message}");
        assert!(message.contains(&format!("{said} at tests/tests/system/typed_errors.rs:")), "{message}");
    }
}

#[task(name = "typed_errors.open")]
async fn opens() -> Result<u32, ShopError> {
    held("open".into()).await.map_err(ShopError::Engine)
}

#[tokio::test]
async fn a_closed_engine_says_so_to_whatever_it_is_asked() {
    let (_, life) = first_life().await;
    let handle = life.engine.start(opens()).await.expect("starts");
    let run = handle.id();
    life.probe.begun("open", 1).await;
    life.probe.open("open");
    guard(handle).await.expect("ends");
    guard(life.engine.shutdown()).await.expect("shuts down");
    let engine = &life.engine;
    let ShopError::Engine(ran) = guard(engine.run(opens())).await.expect_err("closed") else {
        panic!("another error");
    };
    let errors = [
        ran,
        guard(engine.start(opens())).await.map(drop).expect_err("closed"),
        guard(engine.signal(run, "any", 1)).await.expect_err("closed"),
        guard(engine.cancel(run)).await.map(drop).expect_err("closed"),
        guard(engine.resume(run)).await.map(drop).expect_err("closed"),
        guard(engine.resume(run).preview()).await.map(drop).expect_err("closed"),
        guard(engine.replay(run)).await.map(drop).expect_err("closed"),
        engine.status(run).map(drop).expect_err("closed"),
        engine.handle::<u32, Error>(run).map(drop).expect_err("closed"),
        engine.runs().next().expect("why there are none").map(drop).expect_err("closed"),
        engine.events(RunId::from_bytes([0; 16])).next().expect("why there are none").map(drop).expect_err("closed"),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
        assert!(error.to_string().contains("shut down"), "{error}");
    }
    guard(engine.shutdown()).await.expect("once more is no error");
}
