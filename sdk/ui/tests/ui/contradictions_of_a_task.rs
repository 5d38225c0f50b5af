#![allow(unused)]

use relive::task;

#[task(backoff = "1s")]
async fn no_other_try() -> relive::Result<()> {
    Ok(())
}

#[task(timeout = "2s", deadline = "1s")]
async fn no_whole_try() -> relive::Result<()> {
    Ok(())
}

#[task(cache = "off", version = "2", ttl = "1h", ignore(a), salt = "x")]
async fn nothing_cached(a: u32) -> relive::Result<()> {
    Ok(())
}

#[task(cache = "auto", version = "2")]
async fn two_versions() -> relive::Result<()> {
    Ok(())
}

fn main() {}
