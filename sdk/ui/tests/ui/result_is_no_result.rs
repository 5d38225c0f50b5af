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

#[trace]
fn in_place(a: u32) -> u32 {
    a
}

#[trace]
fn items(a: u32) -> impl Iterator<Item = u32> {
    [a].into_iter()
}

fn main() {}
