//! A process that ends in the middle of a task when it is started for the first time, and goes on there when it is started
//! again.
//!
//! `cargo run -p relive-examples --example 02_crash`, twice.

#![expect(clippy::print_stdout, reason = "what an example does is what it prints")]

use std::path::{Path, PathBuf};

use relive::{Engine, task, trace};

/// Which start of the program this is; given to the engine, as it is no data of the task.
struct Start {
    is_first: bool,
}

#[trace]
async fn bake(layer: u32) -> relive::Result<String> {
    println!("  layer {layer} is baked");
    let start = relive::provided::<Start>()?;
    if layer == 3 && start.is_first {
        println!("  … and before that is recorded, the process ends without a warning. Start it again.");
        // Nothing is cleaned up or written out: as after `kill -9`.
        std::process::abort();
    }
    Ok(format!("layer {layer}"))
}

#[task]
async fn cake(layers: u32) -> relive::Result<String> {
    let mut cake = Vec::new();
    for layer in 1..=layers {
        cake.push(bake(layer).await?);
    }
    Ok(cake.join(", "))
}

/// Where the store stays from one start to the next: the first argument, or a directory for temporary files.
fn directory() -> PathBuf {
    let default = || std::env::temp_dir().join("relive-example-02-crash");
    std::env::args_os().nth(1).map_or_else(default, PathBuf::from)
}

#[tokio::main]
async fn main() -> relive::Result<()> {
    let directory = directory();
    let is_first = !Path::new(&directory).exists();
    if is_first {
        println!("First start: the store is in {}.", directory.display());
    } else {
        println!("Second start: what was recorded is replayed, the rest runs. Layer 3 was baked, but not recorded.");
    }
    // The unfinished run goes on from here on; the call below joins it.
    let engine = Engine::builder().provide(Start { is_first }).open(&directory).await?;
    let cake = engine.run(cake(5)).await?;
    println!("The cake is done: {cake}.");
    engine.shutdown().await?;
    std::fs::remove_dir_all(&directory)?;
    println!("The store is removed: start again from the beginning.");
    Ok(())
}
