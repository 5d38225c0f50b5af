#![allow(unused)]

use relive::trace;

#[trace(backoff = "1s")]
async fn no_other_try() -> relive::Result<()> {
    Ok(())
}

#[trace(retries = 3, timeout = "2s", deadline = "1s")]
async fn no_whole_try() -> relive::Result<()> {
    Ok(())
}

#[trace(at_most_once, retries = 3)]
async fn once_and_again() -> relive::Result<()> {
    Ok(())
}

#[trace(at_most_once, pure)]
async fn once_and_unknown() -> relive::Result<()> {
    Ok(())
}

#[trace(skip(token), redact(token))]
async fn nothing_to_redact(token: String) -> relive::Result<()> {
    Ok(())
}

#[trace(blocking)]
async fn blocking() -> relive::Result<()> {
    Ok(())
}

#[trace(spawn)]
fn spawned() -> relive::Result<()> {
    Ok(())
}

#[trace(spawn, blocking)]
fn spawned_and_blocking() -> relive::Result<()> {
    Ok(())
}

#[trace(retries = 1, backoff = "1s", timeout = "1s", deadline = "1m")]
fn in_place() -> relive::Result<()> {
    Ok(())
}

#[trace(retries = 1, backoff = "1s", timeout = "1s", deadline = "1m", pure, at_most_once, spawn, blocking)]
fn items() -> impl Iterator<Item = relive::Result<u32>> {
    [Ok(1)].into_iter()
}

#[trace(resume = "from")]
async fn no_items(from: u64) -> relive::Result<()> {
    Ok(())
}

#[trace(resume = "from")]
fn from_nowhere() -> impl Iterator<Item = relive::Result<u32>> {
    [Ok(1)].into_iter()
}

#[trace(resume = "from")]
fn from_a_word(from: String) -> impl Iterator<Item = relive::Result<u32>> {
    [Ok(1)].into_iter()
}

fn main() {}
