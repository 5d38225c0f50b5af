#![allow(unused)]

use relive::trace;
use serde::Serialize;

struct Client;

#[trace(skip(client))]
async fn traced(client: &Client) -> relive::Result<()> {
    Ok(())
}

#[trace]
async fn generic<T: Serialize + Send>(value: T) -> relive::Result<()> {
    Ok(())
}

fn main() {}
