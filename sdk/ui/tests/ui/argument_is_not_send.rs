#![allow(unused)]

use std::rc::Rc;

use relive::trace;

#[trace(skip(shared))]
async fn traced(shared: Rc<u32>) -> relive::Result<u32> {
    Ok(*shared)
}

#[trace(skip(shared))]
fn items(shared: Rc<u32>) -> impl Iterator<Item = relive::Result<u32>> {
    [Ok(*shared)].into_iter()
}

fn main() {}
