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

fn main() {}
