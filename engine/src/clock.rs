//! Time, as the engine sees it: nothing else reads a clock.
//!
//! Given to the engine as a component, so that tests can turn it.
//!
//! Invariant: what decides an order within a process uses [`Clock::elapsed`], which never goes back.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::id::Timestamp;

/// Where the engine takes the time from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock: may jump either way.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment of this process: never goes back.
    fn elapsed(&self) -> Duration;

    /// Is ready once [`Clock::elapsed`] has reached `due`. By default it waits on tokio's timer.
    #[expect(clippy::disallowed_methods, reason = "the one place that waits for a time")]
    fn sleep_until(&self, due: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let wait = due.saturating_sub(self.elapsed());
        Box::pin(tokio::time::sleep(wait))
    }
}

/// The clock of the operating system.
#[derive(Debug)]
pub struct SystemClock {
    origin: std::time::Instant,
}

impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    fn default() -> Self {
        Self { origin: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::from_system_time(std::time::SystemTime::now())
    }

    fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }
}
