#![allow(unused)]

use std::rc::Rc;

use relive::{task, trace};

#[trace]
async fn traced() -> relive::Result<u32> {
    let held = Rc::new(1);
    std::future::ready(()).await;
    Ok(*held)
}

#[task]
async fn run() -> relive::Result<u32> {
    let held = Rc::new(1);
    std::future::ready(()).await;
    Ok(*held)
}

fn main() {}
