#![allow(unused)]

use relive::{task, trace};

#[trace]
async fn nothing_traced() {}

#[task]
async fn nothing_run() {}

#[trace]
async fn borrowed(text: &str) -> relive::Result<&str> {
    Ok(text)
}

#[task]
async fn anonymous() -> relive::Result<impl Clone> {
    Ok(1)
}

fn main() {}
