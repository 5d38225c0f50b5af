//! The attributes work where `relive` is found elsewhere.
#![deny(warnings)]

mod facade {
    pub mod durable {
        pub use relive::*;
    }
}

use facade::durable::{task, trace};

#[trace(crate = facade::durable)]
async fn traced(a: u32) -> facade::durable::Result<u32> {
    Ok(a)
}

#[task(crate = crate::facade::durable)]
async fn run(a: u32) -> facade::durable::Result<u32> {
    traced(a).await
}

fn main() {
    drop(run(1));
}
