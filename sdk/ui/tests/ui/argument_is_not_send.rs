#![allow(unused)]

use std::rc::Rc;

use relive::trace;

#[trace(skip(shared))]
async fn traced(shared: Rc<u32>) -> relive::Result<u32> {
    Ok(*shared)
}

fn main() {}
