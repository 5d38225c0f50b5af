#![allow(unused)]

use relive::{task, trace};

#[task]
fn plain_task() -> relive::Result<()> {
    Ok(())
}

#[trace]
const fn constant() -> relive::Result<()> {
    Ok(())
}

#[trace]
async unsafe fn not_safe() -> relive::Result<()> {
    Ok(())
}

#[task]
async extern "C" fn foreign() -> relive::Result<()> {
    Ok(())
}

#[trace]
unsafe extern "C" fn variadic(a: u32, b: ...) -> relive::Result<()> {
    Ok(())
}

fn main() {}
