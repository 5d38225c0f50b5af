#![allow(unused)]

use relive::{task, trace};

#[trace(retries = 0)]
async fn retries() -> relive::Result<()> {
    Ok(())
}

#[trace(timeout = 30)]
async fn timeout() -> relive::Result<()> {
    Ok(())
}

#[task(deadline = "30")]
async fn unit() -> relive::Result<()> {
    Ok(())
}

#[task(timeout = "0s")]
async fn zero() -> relive::Result<()> {
    Ok(())
}

#[trace(retries = 1, backoff = "0s")]
async fn no_wait() -> relive::Result<()> {
    Ok(())
}

#[trace(retries = 1, backoff())]
async fn empty() -> relive::Result<()> {
    Ok(())
}

#[trace(retries = 1, backoff(first = "1s", by = 2, factor = 0.5, jitter = "no", first = "1s"))]
async fn parts() -> relive::Result<()> {
    Ok(())
}

#[task(retries = 1, backoff(first = "2s", max = "1s"))]
async fn shorter() -> relive::Result<()> {
    Ok(())
}

fn main() {}
