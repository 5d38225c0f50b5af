#![deny(deprecated)]

use relive::task;
use tokio::select;

#[task]
async fn run() -> relive::Result<u32> {
    let first = select! {
        a = std::future::ready(1) => a,
        b = std::future::ready(2) => b,
    };
    Ok(first)
}

fn main() {}
