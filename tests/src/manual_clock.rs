//! A clock that stands still until a test moves it.
//!
//! Given to an engine by tests and by the campaign. Wall clock and elapsed time move together by [`ManualClock::advance`]; the wall clock alone by [`ManualClock::jump`], as
//! when somebody sets it. A test waits for who sleeps, and then moves the time: nothing depends on how fast anything is.
//!
//! Invariant: a sleeper is woken when elapsed time has reached what it sleeps for, never by the wall clock.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use relive::{Clock, Timestamp};
use tokio::sync::watch;

/// How long a test waits for who is to sleep: a minute, hundreds of times what that takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The moment at which every test's first life begins, in microseconds: some day in 2033.
const FIRST_MOMENT: i64 = 2_000_000_000_000_000;

#[derive(Debug)]
struct Time {
    wall: i64,
    elapsed: Duration,
    /// Who sleeps, by number, and until when.
    sleepers: BTreeMap<u64, Duration>,
    slept_count: u64,
}

/// A clock that a test moves. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<watch::Sender<Time>>);

impl Default for ManualClock {
    fn default() -> Self {
        Self::at(FIRST_MOMENT)
    }
}

impl ManualClock {
    fn at(wall: i64) -> Self {
        let time = Time { wall, elapsed: Duration::from_secs(7), sleepers: BTreeMap::new(), slept_count: 0 };
        Self(Arc::new(watch::Sender::new(time)))
    }

    /// The clock of the process's next life, so much later by the wall clock. Elapsed time starts anew.
    pub fn next_life(&self, later: Duration) -> Self {
        Self::at(self.now().0 + micros(later))
    }

    /// Time passes: whoever is due by then is woken.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|time| {
            time.wall += micros(by);
            time.elapsed += by;
        });
    }

    /// Somebody sets the wall clock: no time passes.
    pub fn jump(&self, seconds: i64) {
        self.0.send_modify(|time| time.wall += seconds * 1_000_000);
    }

    /// Waits until somebody sleeps who has so much left to sleep.
    pub async fn sleeps(&self, left: Duration) {
        let mut receiver = self.0.subscribe();
        let sleeps = |time: &Time| time.sleepers.values().any(|due| due.saturating_sub(time.elapsed) == left);
        let found = tokio::time::timeout(PATIENCE, receiver.wait_for(sleeps)).await.is_ok();
        assert!(found, "nobody sleeps for {left:?}, but for {:?}", self.lefts());
    }

    /// Waits until so many sleep; gives what each has left, the shortest first.
    pub async fn sleepers(&self, count: usize) -> Vec<Duration> {
        let mut receiver = self.0.subscribe();
        let count = receiver.wait_for(|time| time.sleepers.len() == count);
        assert!(tokio::time::timeout(PATIENCE, count).await.is_ok(), "{:?} sleep", self.lefts());
        self.lefts()
    }

    /// Waits until so many sleep, or more.
    pub async fn sleeping(&self, count: usize) {
        let mut receiver = self.0.subscribe();
        let count = receiver.wait_for(|time| time.sleepers.len() >= count);
        assert!(tokio::time::timeout(PATIENCE, count).await.is_ok(), "{:?} sleep", self.lefts());
    }

    /// What each who sleeps has left, the shortest first.
    pub fn lefts(&self) -> Vec<Duration> {
        let time = self.0.borrow();
        let mut lefts: Vec<_> = time.sleepers.values().map(|due| due.saturating_sub(time.elapsed)).collect();
        lefts.sort_unstable();
        lefts
    }

    /// How often anybody began to sleep.
    pub fn slept_count(&self) -> u64 {
        self.0.borrow().slept_count
    }

    /// From here on time flows by itself whenever somebody sleeps: to the moment at which the first is due. Until the guard
    /// is dropped.
    pub fn flow(&self) -> Flowing {
        let clock = self.clone();
        Flowing(tokio::spawn(async move {
            let mut receiver = clock.0.subscribe();
            while receiver.wait_for(|time| !time.sleepers.is_empty()).await.is_ok() {
                if let Some(left) = clock.lefts().first() {
                    clock.advance(*left);
                }
                tokio::task::yield_now().await;
            }
        }))
    }
}

/// Ends the flow of time when it is dropped.
#[derive(Debug)]
pub struct Flowing(tokio::task::JoinHandle<()>);

impl Drop for Flowing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("a test's durations are short")
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.borrow().wall)
    }

    fn elapsed(&self) -> Duration {
        self.0.borrow().elapsed
    }

    fn sleep_until(&self, due: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let clock = self.clone();
        Box::pin(async move {
            let _sleeps = Sleeps::begin(&clock, due);
            let mut receiver = clock.0.subscribe();
            receiver.wait_for(|time| time.elapsed >= due).await.expect("the clock holds the sender");
        })
    }
}

/// One who sleeps, until it is woken or dropped.
struct Sleeps(ManualClock, u64);

impl Sleeps {
    fn begin(clock: &ManualClock, due: Duration) -> Self {
        let mut number = 0;
        clock.0.send_modify(|time| {
            number = time.slept_count;
            time.slept_count += 1;
            time.sleepers.insert(number, due);
        });
        Self(clock.clone(), number)
    }
}

impl Drop for Sleeps {
    fn drop(&mut self) {
        self.0.0.send_modify(|time| {
            time.sleepers.remove(&self.1);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_clock_that_a_test_moves_is_as_prompt_as_the_systems() {
        let clock = ManualClock::default();
        relive_engine::clock::conformance(&clock, async |by| clock.advance(by)).await;
    }
}
