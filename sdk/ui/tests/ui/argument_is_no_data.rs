#![allow(unused)]

use relive::{task, trace};

struct Client;

// Read back from the log, but not written to it.
#[derive(serde::Deserialize)]
struct Half;

#[trace]
async fn traced(url: String, client: Client, count: u32) -> relive::Result<()> {
    Ok(())
}

#[trace(skip(client))]
async fn skipped(url: String, client: Client) -> relive::Result<()> {
    Ok(())
}

#[task]
async fn run(url: String, half: Half) -> relive::Result<()> {
    Ok(())
}

fn main() {}
