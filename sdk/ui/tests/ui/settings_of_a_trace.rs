#![allow(unused)]

use relive::trace;

#[trace(speed = 3)]
async fn unknown() -> relive::Result<()> {
    Ok(())
}

#[trace(retries = 3, timeout = "30s")]
async fn planned() -> relive::Result<()> {
    Ok(())
}

#[trace(name = "a", name = "b")]
async fn twice() -> relive::Result<()> {
    Ok(())
}

#[trace(name = "")]
async fn empty_name() -> relive::Result<()> {
    Ok(())
}

#[trace(name)]
async fn no_name() -> relive::Result<()> {
    Ok(())
}

#[trace("fetch")]
async fn no_key() -> relive::Result<()> {
    Ok(())
}

#[trace(outside = "run")]
async fn outside() -> relive::Result<()> {
    Ok(())
}

#[trace(skip = "a")]
async fn skip_is_a_list(a: u32) -> relive::Result<()> {
    Ok(())
}

#[trace(skip(a, b, a))]
async fn skip_is_of_arguments(a: u32) -> relive::Result<()> {
    Ok(())
}

#[trace(crate = "relive")]
async fn crate_is_a_path() -> relive::Result<()> {
    Ok(())
}

fn main() {}
