//! What other durable execution engines cost, for the same workloads as `relive-benches` measures Relive with.
//!
//! Started by `relive-benches --peers`, in the same run and on the same file system; prints a line of JSON per peer. Each
//! peer keeps its store in a file, as its documentation says, and with the durability that it comes with; that is named in
//! its line, as not every one of them waits for the disk.

mod durare_peer;
mod duroxide_peer;
mod memable_peer;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use serde::Serialize;

/// The allocator that the program has that measures Relive.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Anything that keeps a peer from being measured.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Steps of a run under load: as many as there are traces in a run of `relive-benches`.
const STEPS: u32 = 10;

/// Measures other engines, a line of JSON each.
#[derive(Debug, Parser)]
#[command(name = "relive-peers", version)]
struct Arguments {
    /// Write below this directory: its file system is what is measured
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Steps of the run that is measured in sequence
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    steps: u32,
    /// Runs at once, of ten steps each
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    runs: u32,
}

/// What one peer costs.
#[derive(Debug, Serialize)]
struct Line {
    peer: &'static str,
    version: &'static str,
    /// What a step that returned survives.
    durability: &'static str,
    /// Of one step in a run of steps in sequence.
    sequential_us: f64,
    /// Durable steps a second, while so many runs of ten steps are under way at once.
    throughput_steps_per_s: f64,
}

/// A store that is opened, and runs on it.
trait Peer: Sized {
    const NAME: &'static str;
    const VERSION: &'static str;
    const DURABILITY: &'static str;

    /// Opens a store in this directory, which is empty.
    async fn open(directory: &Path) -> Result<Self, Failure>;

    /// Runs one run of so many steps, each of which returns a number, and checks their sum.
    async fn run(&self, run: u32, steps: u32) -> Result<(), Failure>;

    /// Runs so many runs of ten steps at once, to the end of the last.
    async fn run_at_once(&self, runs: u32) -> Result<(), Failure>;

    async fn close(self);
}

async fn measure<P: Peer>(arguments: &Arguments) -> Result<Line, Failure> {
    let scratch = tempfile::tempdir_in(&arguments.dir)?;
    let peer = P::open(scratch.path()).await?;
    // One that is not measured: files are created, statements prepared.
    peer.run(u32::MAX, STEPS).await?;
    let began = Instant::now();
    peer.run(u32::MAX - 1, arguments.steps).await?;
    let sequential = began.elapsed();
    let began = Instant::now();
    peer.run_at_once(arguments.runs).await?;
    let at_once = began.elapsed();
    peer.close().await;
    Ok(Line {
        peer: P::NAME,
        version: P::VERSION,
        durability: P::DURABILITY,
        sequential_us: micros(sequential) / f64::from(arguments.steps.max(1)),
        throughput_steps_per_s: f64::from(arguments.runs * STEPS) / at_once.as_secs_f64(),
    })
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The sum of what the steps of a run return: whoever returns another one did not do the work.
fn sum(steps: u32) -> u64 {
    (0..u64::from(steps)).sum()
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to say it to if stderr is closed.
            let _ = writeln!(std::io::stderr(), "peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        tell(memable_peer::Memable::NAME, measure::<memable_peer::Memable>(arguments).await)?;
        tell(durare_peer::Durare::NAME, measure::<durare_peer::Durare>(arguments).await)?;
        tell(duroxide_peer::Duroxide::NAME, measure::<duroxide_peer::Duroxide>(arguments).await)
    })
}

/// A peer that fails is said to, and the others are measured all the same.
fn tell(peer: &str, measured: Result<Line, Failure>) -> Result<(), Failure> {
    match measured {
        Ok(line) => writeln!(std::io::stdout().lock(), "{}", serde_json::to_string(&line)?)?,
        Err(error) => writeln!(std::io::stderr(), "peers: {peer}: {error}")?,
    }
    Ok(())
}
