#![allow(unused)]

use relive::{task, trace};

#[task]
struct Digest;

trait Fetch {
    #[trace]
    async fn fetch(url: String) -> relive::Result<String>;
}

fn main() {}
