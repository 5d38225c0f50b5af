//! A program that ends without a shutdown: `ends WAY DIRECTORY`. It runs a task, prints its result, and leaves others
//! unfinished.

use std::time::Duration;

use relive::{Engine, Result, task, trace};

/// Runs that are under way at the end: so many that some are in the middle of a commit.
const RUNS: u64 = 30;

#[trace]
#[expect(clippy::disallowed_methods, reason = "an effect that takes its time")]
async fn add(number: u64) -> Result<u64> {
    tokio::time::sleep(Duration::from_micros(50 * (number % 7))).await;
    Ok(number + 1)
}

#[task(cache = "off")]
async fn sum(count: u64) -> Result<u64> {
    let mut sum = 0;
    for number in 0..count {
        sum += add(number).await?;
    }
    Ok(sum)
}

#[expect(clippy::print_stdout, reason = "the result")]
async fn work(directory: &str) -> Result<Engine> {
    let engine = Engine::open(directory).await?;
    for number in 0..RUNS {
        drop(engine.start(sum(1_000_000 + number)).await?);
    }
    println!("{}", engine.run(sum(3)).await?);
    Ok(engine)
}

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [way, directory] = arguments.as_slice() else { panic!("ends WAY DIRECTORY") };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let engine = runtime.block_on(work(directory))?;
    match way.as_str() {
        "engine-first" => {
            drop(engine);
            drop(runtime);
        }
        "runtime-first" => {
            drop(runtime);
            drop(engine);
        }
        "runtime-left" => {
            drop(engine);
            runtime.shutdown_background();
        }
        "both-left" => {
            std::mem::forget(engine);
            std::mem::forget(runtime);
        }
        "exit" => std::process::exit(0),
        _ => panic!("no such way: {way}"),
    }
    Ok(())
}
