#![allow(unused)]

use std::borrow::Cow;
use std::pin::Pin;

use relive::trace;
use serde::Serialize;

struct Client;

impl Client {
    #[trace]
    async fn mutable(&mut self) -> relive::Result<()> {
        Ok(())
    }

    #[trace]
    async fn pinned(self: Pin<&Self>) -> relive::Result<()> {
        Ok(())
    }
}

// Every argument has its own message, all at once.
#[trace]
async fn unnamed(_: u32, (a, b): (u32, u32), ref c: u32) -> relive::Result<u32> {
    Ok(a + b + c)
}

#[trace]
async fn mutable(list: &mut Vec<u32>) -> relive::Result<()> {
    Ok(list.push(1))
}

#[trace]
fn mutable_in_place(list: Option<&mut Vec<u32>>) -> relive::Result<()> {
    Ok(())
}

#[trace]
async fn nested(words: &[&str], word: Option<&str>, text: Cow<'_, str>) -> relive::Result<()> {
    Ok(())
}

#[trace]
async fn anonymous(value: impl Serialize) -> relive::Result<()> {
    Ok(())
}

#[trace]
async fn configured(#[cfg(unix)] value: u32) -> relive::Result<()> {
    Ok(())
}

fn main() {}
