#![allow(unused)]

use relive::task;

#[task(speed = 3)]
async fn unknown() -> relive::Result<()> {
    Ok(())
}

#[task(cache = "on")]
async fn cache() -> relive::Result<()> {
    Ok(())
}

#[task(skip(client))]
async fn skip(client: String) -> relive::Result<()> {
    Ok(())
}

#[task(redact(token))]
async fn redact(token: String) -> relive::Result<()> {
    Ok(())
}

#[task(version = 2)]
async fn version() -> relive::Result<()> {
    Ok(())
}

#[task(ttl = "0s")]
async fn ttl() -> relive::Result<()> {
    Ok(())
}

#[task(ignore = a)]
async fn ignore_is_a_list(a: u32) -> relive::Result<()> {
    Ok(())
}

#[task(ignore(a, b, a))]
async fn ignore_is_of_arguments(a: u32) -> relive::Result<()> {
    Ok(())
}

#[task(salt = "")]
async fn salt() -> relive::Result<()> {
    Ok(())
}

#[task(on_divergence = "fail")]
async fn on_divergence() -> relive::Result<()> {
    Ok(())
}

#[task(keep = "a while")]
async fn keep_is_a_duration() -> relive::Result<()> {
    Ok(())
}

#[task(keep = "0s")]
async fn keep_is_some_time() -> relive::Result<()> {
    Ok(())
}

#[task(keep())]
async fn keep_of_nothing() -> relive::Result<()> {
    Ok(())
}

#[task(keep(age = 30, count = 0, counts = 5))]
async fn parts_of_keep() -> relive::Result<()> {
    Ok(())
}

#[task(keep(count = 1_000_000))]
async fn keep_counts_in_memory() -> relive::Result<()> {
    Ok(())
}

fn main() {}
