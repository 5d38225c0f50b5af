//! Laws: what must hold in small, one scenario each, on a store in memory but for those about directories.
//!
//! | | |
//! |---|---|
//! | `outcomes` | what is acknowledged, cached and compared |
//! | `clocks` | a wall clock that jumps by a year at every commit |
//! | `drops` | a caller that goes away after its future's kth poll |
//! | `sleepers` | runs that leave memory while they wait |
//! | `company` | runs that share a child or a group |
//! | `whole_runs` | runs that are deleted, forked, imported |
//!
//! Called by the `torture` binary and by a test. The kills draw their moments; here each is chosen, so that a planted fault
//! that shows seldom shows at once.
//!
//! Invariant: a law that does not hold is an error that says what was seen.

mod clocks;
mod company;
mod drops;
mod outcomes;
mod sleepers;
mod whole_runs;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use relive::Error;

/// After which a law hangs: a minute, as it waits for nothing but itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a scenario comes to.
type Checked = Pin<Box<dyn Future<Output = relive::Result<()>>>>;

/// A law, and the scenario that shows it.
struct Law(&'static str, fn() -> Checked);

/// All laws.
const LAWS: &[Law] = &[
    Law("what a shutdown leaves is what was acknowledged", || Box::pin(outcomes::shutdown())),
    Law("a failure is not cached", || Box::pin(outcomes::failure_is_not_cached())),
    Law("another input has another result", || Box::pin(outcomes::other_input())),
    Law("a signal that was acknowledged is in the store", || Box::pin(outcomes::signal_is_kept())),
    Law("code that does not fit its log is found out before any effect", || Box::pin(outcomes::edit_is_found())),
    Law("nothing is taken after a commit that failed", || Box::pin(outcomes::nothing_after_a_failure())),
    #[cfg(unix)]
    Law("nothing is acknowledged of a directory that was renamed or removed", || {
        Box::pin(outcomes::directory_is_watched())
    }),
    Law("sleeps, retries and timeouts neither begin early nor late when the wall clock goes on by a year", || {
        Box::pin(clocks::jumps(1))
    }),
    Law("nor when it goes back", || Box::pin(clocks::jumps(-1))),
    Law("a run goes on when its caller goes away, after whichever poll", || Box::pin(drops::every_poll())),
    Law("runs that sleep go on once, when they are due", || Box::pin(sleepers::wake_in_order())),
    Law("a run that takes the process down behind its sleep is parked", || Box::pin(sleepers::deaths_count())),
    Law("an equal call joins a run that sleeps", || Box::pin(sleepers::is_joined())),
    Law("a child that two wait for goes on when one is cancelled", || Box::pin(company::shared_child_goes_on())),
    Law("what begins at most once is synced before, in any company", || Box::pin(company::at_most_once_is_synced())),
    Law("what a rule names is deleted, and nothing else", || Box::pin(whole_runs::deletes_what_is_named())),
    Law("what an unfinished run called is not deleted", || Box::pin(whole_runs::keeps_what_is_needed())),
    Law("a fork answers no call", || Box::pin(whole_runs::fork_answers_nobody())),
    Law("an import that fails leaves whole runs", || Box::pin(whole_runs::import_is_whole())),
];

/// Checks all laws. Gives those that do not hold, and why.
///
/// # Errors
/// If the harness itself cannot go on.
pub fn laws() -> relive::Result<(usize, Vec<String>)> {
    let mut broken = Vec::new();
    for Law(name, scenario) in LAWS {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let checked = runtime.block_on(async { tokio::time::timeout(PATIENCE, scenario()).await });
        // Effects that a law has left hanging must not keep it.
        runtime.shutdown_background();
        match checked {
            Ok(Ok(())) => {}
            Ok(Err(error)) => broken.push(format!("{name}: {error}")),
            Err(_) => broken.push(format!("{name}: it hangs")),
        }
    }
    Ok((LAWS.len(), broken))
}

/// An error unless it is so.
fn expect(holds: bool, what: impl FnOnce() -> String) -> relive::Result<()> {
    if holds { Ok(()) } else { Err(Error::msg(what())) }
}
