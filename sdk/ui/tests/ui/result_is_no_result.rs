#![allow(unused)]

use relive::{task, trace};

#[trace]
async fn traced(a: u32) -> u32 {
    a
}

#[task]
async fn run(a: u32) -> String {
    a.to_string()
}

fn main() {}
