//! The chapters on plain functions, and on methods and generics.

use std::fmt::Display;

use relive::{Engine, ErrorKind, Event, TraceForm, task, trace};
use serde::Serialize;
use serde::de::DeserializeOwned;

#[trace]
fn read_header(text: &str) -> relive::Result<u32> {
    let first = text.lines().next().unwrap_or_default();
    Ok(first.parse()?)
}

#[trace(blocking)]
fn checksum(text: &str) -> relive::Result<u64> {
    Ok(text.bytes().fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())))
}

#[task]
async fn verify(text: String) -> relive::Result<bool> {
    let version = read_header(&text)?;
    let sum = checksum(&text).await?;
    Ok(version == 2 && sum % 2 == 0)
}

#[tokio::test]
async fn a_plain_function_is_recorded_before_it_returns_and_one_that_blocks_is_awaited() -> relive::Result<()> {
    let engine = crate::in_memory(Engine::builder()).await?;
    let handle = engine.start(verify("2\nabc".to_owned())).await?;
    let run = handle.id();
    handle.await?;
    let forms = engine.events(run).filter_map(|logged| match logged.ok()?.event {
        Event::TraceStarted(started) => Some((started.name.to_string(), started.form)),
        _ => None,
    });
    let expected = [("read_header".to_owned(), TraceForm::Inline), ("checksum".to_owned(), TraceForm::Future)];
    assert_eq!(forms.collect::<Vec<_>>(), expected);
    assert!(engine.replay(run).await?.is_some());
    assert_eq!(read_header("2").expect_err("outside a task").kind(), ErrorKind::OutsideTask);
    engine.shutdown().await
}

#[derive(Clone)]
struct Shop {
    address: String,
}

impl Shop {
    #[trace]
    async fn price(&self, item: &str) -> relive::Result<u32> {
        Ok((self.address.len() + item.len()) as u32)
    }
}

#[trace]
async fn parsed<T>(text: &str) -> relive::Result<T>
where
    T: std::str::FromStr<Err: Display> + Serialize + DeserializeOwned + Send + 'static,
{
    text.parse().map_err(relive::Error::msg)
}

#[task]
async fn total(item: String, count: String) -> relive::Result<u32> {
    let shop = relive::provided::<Shop>()?;
    Ok(shop.price(&item).await? * parsed::<u32>(&count).await?)
}

#[tokio::test]
async fn methods_and_generic_functions_are_traced() -> relive::Result<()> {
    let shop = Shop { address: "https://shop.example".to_owned() };
    let engine = crate::in_memory(Engine::builder().provide(shop)).await?;
    assert_eq!(engine.run(total("tea".to_owned(), "2".to_owned())).await?, 46);
    let error = engine.run(total("tea".to_owned(), "two".to_owned())).await.expect_err("no number");
    assert_eq!(error.to_string(), "invalid digit found in string");
    engine.shutdown().await
}
