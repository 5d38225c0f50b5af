#![allow(unused)]

use relive::trace;
use serde::Serialize;

#[derive(Serialize)]
struct Page;

// Each try has its own.
#[trace(retries = 3)]
async fn repeated(page: Page) -> relive::Result<()> {
    Ok(())
}

#[trace(retries = 3)]
fn repeated_in_place(page: Page) -> relive::Result<()> {
    Ok(())
}

struct Client;

impl Client {
    #[trace]
    async fn fetch(&self) -> relive::Result<()> {
        Ok(())
    }
}

fn main() {}
