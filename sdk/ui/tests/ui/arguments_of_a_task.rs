#![allow(unused)]

use relive::task;
use serde::Serialize;

struct Client;

impl Client {
    #[task]
    async fn method(&self) -> relive::Result<()> {
        Ok(())
    }
}

#[task]
async fn generic<T: Serialize, const N: usize>(value: T) -> relive::Result<()> {
    Ok(())
}

#[task]
async fn anonymous(value: impl Serialize) -> relive::Result<()> {
    Ok(())
}

#[task]
async fn forever(text: &'static str) -> relive::Result<()> {
    Ok(())
}

fn main() {}
