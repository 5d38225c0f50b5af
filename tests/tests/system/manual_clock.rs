//! A clock that stands until a test moves it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use relive::{Clock, Timestamp};
use tokio::sync::watch;

use super::support::guard;

#[derive(Clone, Copy, Debug, Default)]
struct Time {
    elapsed: Duration,
    sleeper_count: usize,
}

/// Stands still. A clone is the same clock.
#[derive(Clone, Debug)]
pub(crate) struct ManualClock(Arc<watch::Sender<Time>>);

impl Default for ManualClock {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Time::default())))
    }
}

impl ManualClock {
    /// Goes on by so much: who sleeps no longer than that wakes up.
    pub(crate) fn advance(&self, by: Duration) {
        self.0.send_modify(|time| time.elapsed += by);
    }

    /// Waits until so many sleep.
    pub(crate) async fn sleeping(&self, count: usize) {
        guard(self.0.subscribe().wait_for(|time| time.sleeper_count >= count))
            .await
            .expect("the clock holds the sender");
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let micros = i64::try_from(self.0.borrow().elapsed.as_micros()).expect("a test is short");
        Timestamp(1_700_000_000_000_000 + micros)
    }

    fn elapsed(&self) -> Duration {
        self.0.borrow().elapsed
    }

    fn sleep_until(&self, due: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let clock = self.clone();
        Box::pin(async move {
            let mut time = clock.0.subscribe();
            let _sleeper = Sleeper::new(&clock);
            time.wait_for(|time| time.elapsed >= due).await.expect("the clock holds the sender");
        })
    }
}

/// Counts a sleep from its first poll to its end or its drop.
struct Sleeper(ManualClock);

impl Sleeper {
    fn new(clock: &ManualClock) -> Self {
        clock.0.send_modify(|time| time.sleeper_count += 1);
        Self(clock.clone())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.0.send_modify(|time| time.sleeper_count -= 1);
    }
}
