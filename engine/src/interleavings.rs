//! The engine under a scheduler that decides which thread goes on whenever one uses a lock, a channel or an atomic.
//!
//! | | |
//! |---|---|
//! | `group_commit` | what the committer's thread tells runs, callers and `on_durable`, and when |
//! | `mailbox` | what reaches a run's loop, and who waits for it |
//! | `sleepers` | whole runs: put to sleep, woken, joined, cancelled, signalled and let go of at the same moment |
//! | `planted` | that each of these finds a bug that is planted |
//!
//! Run by `make interleavings`; only with the feature `shuttle`, under which no other test of this crate runs. What runs is
//! the engine's own code: `sync` is all that is another. `disk` and `time` stand for what is outside the engine.
//!
//! An interleaving that fails is printed as a schedule: `RELIVE_SCHEDULE=<schedule>` runs one test through it again.
//!
//! Invariant: a scenario is decided by its schedule and nothing else, so that a schedule fails again.

mod disk;
mod group_commit;
mod mailbox;
#[cfg(feature = "planted-faults")]
mod planted;
mod sleepers;
mod time;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
use shuttle::{Config, Runner};

/// Interleavings of each scenario if `RELIVE_INTERLEAVINGS` does not say: as many as take seconds.
const COUNT_DEFAULT: usize = 200;

/// Switches of a thread that a bug takes, as the second half of the interleavings is drawn: most take one or two.
const SWITCHES: usize = 3;

/// Runs a scenario through many interleavings: half of them drawn at each step, which mixes threads, half with threads held
/// back for long (PCT: <https://doi.org/10.1145/1736020.1736040>), which finds what takes patience. A panic in it, a deadlock
/// or an endless loop fails.
fn explore(scenario: impl Fn() + Clone + Send + Sync + 'static) {
    let mut config = Config::new();
    // A run's loop is deeper than the threads that Shuttle expects: 1 MiB.
    config.stack_size = 1 << 20;
    // An engine is opened inside a runtime. This one runs nothing.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without threads");
    let _entered = runtime.enter();
    if let Ok(schedule) = std::env::var("RELIVE_SCHEDULE") {
        Runner::new(ReplayScheduler::new_from_encoded(&schedule), config).run(scenario);
        return;
    }
    let count = std::env::var("RELIVE_INTERLEAVINGS").map_or(COUNT_DEFAULT, |count| {
        count.parse().unwrap_or_else(|_| panic!("RELIVE_INTERLEAVINGS={count} is no number"))
    });
    Runner::new(RandomScheduler::new(count.div_ceil(2)), config.clone()).run(scenario.clone());
    Runner::new(PctScheduler::new(SWITCHES, count.div_ceil(2)), config).run(scenario);
}
