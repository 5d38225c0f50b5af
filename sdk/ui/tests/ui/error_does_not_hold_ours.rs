#![allow(unused)]

use relive::{task, trace};

#[derive(Debug)]
struct Refused;

#[trace]
async fn traced() -> Result<u32, Refused> {
    Err(Refused)
}

#[task]
async fn run() -> Result<u32, Refused> {
    Err(Refused)
}

fn main() {}
