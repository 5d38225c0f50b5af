#![allow(unused)]

use relive::trace;

#[trace(speed = 3)]
async fn unknown() -> relive::Result<()> {
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

#[trace(skip(self))]
async fn skip_is_not_of_self(a: u32) -> relive::Result<()> {
    Ok(())
}

#[trace(redact(a.0))]
async fn redact_is_of_names(a: (u32, u32)) -> relive::Result<()> {
    Ok(())
}

#[trace(redact(b, a.c, a.c, a))]
async fn redact_is_of_arguments(a: u32) -> relive::Result<()> {
    Ok(())
}

#[trace(key)]
async fn key_is_an_expression(a: u32) -> relive::Result<()> {
    Ok(())
}

#[trace(codec = "xml")]
async fn codec() -> relive::Result<()> {
    Ok(())
}

#[trace(pure = true)]
async fn alone() -> relive::Result<()> {
    Ok(())
}

#[trace(resume = from)]
async fn resume_is_a_name(from: u64) -> relive::Result<()> {
    Ok(())
}

fn main() {}
