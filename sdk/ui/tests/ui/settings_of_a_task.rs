#![allow(unused)]

use relive::task;

#[task(speed = 3)]
async fn unknown() -> relive::Result<()> {
    Ok(())
}

#[task(ttl = "1h")]
async fn planned() -> relive::Result<()> {
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

fn main() {}
