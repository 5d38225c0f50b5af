#![allow(unused)]

use std::rc::Rc;

use relive::trace;

#[trace]
fn items() -> impl Iterator<Item = relive::Result<u32>> {
    let held = Rc::new(1);
    std::iter::from_fn(move || Some(Ok(*held)))
}

#[trace(blocking, skip(shared))]
fn blocking(shared: Rc<u32>) -> relive::Result<u32> {
    Ok(*shared)
}

fn main() {}
