#![allow(unused)]

use relive::{task, trace};

#[trace]
async fn nothing_traced() {}

#[task]
async fn nothing_run() {}

#[trace]
async fn borrowed(text: &str) -> relive::Result<&str> {
    Ok(text)
}

#[task]
async fn anonymous() -> relive::Result<impl Clone> {
    Ok(1)
}

trait Stream {
    type Item;
}

struct Numbers;

impl Stream for Numbers {
    type Item = relive::Result<u32>;
}

// In every form: what it returns is another thing than what it says.
#[trace]
fn unsaid_stream() -> impl Stream {
    Numbers
}

#[trace]
fn unsaid_iterator() -> impl Iterator {
    [1].into_iter()
}

#[trace]
fn borrowed_items(text: &str) -> impl Iterator<Item = relive::Result<&str>> {
    text.split(' ').map(Ok)
}

#[trace]
fn unnamed_items() -> impl Iterator<Item = relive::Result<impl Clone>> {
    [Ok(1)].into_iter()
}

#[trace]
async fn one_stream() -> impl Iterator<Item = relive::Result<u32>> {
    [Ok(1)].into_iter()
}

#[trace]
fn boxed() -> Box<dyn Iterator<Item = relive::Result<u32>>> {
    Box::new([Ok(1)].into_iter())
}

#[trace]
fn future() -> impl Future<Output = relive::Result<u32>> {
    std::future::ready(Ok(1))
}

#[task]
async fn many_results() -> impl Iterator<Item = relive::Result<u32>> {
    [Ok(1)].into_iter()
}

fn main() {}
