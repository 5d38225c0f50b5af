#![allow(unused)]

use relive::{task, trace};

struct Page;

#[trace]
async fn traced() -> relive::Result<Page> {
    Ok(Page)
}

#[task]
async fn run() -> relive::Result<Page> {
    Ok(Page)
}

fn main() {}
