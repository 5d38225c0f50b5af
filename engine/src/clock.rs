//! Time, as the engine sees it: nothing else reads a clock.
//!
//! Given to the engine as a component, so that tests can turn it.
//!
//! Invariant: what decides an order within a process uses [`Clock::elapsed`], which never goes back.

mod conformance;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use crate::id::Timestamp;

pub use self::conformance::conformance;

/// Where the engine takes the time from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock: may jump either way.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment of this process: never goes back.
    fn elapsed(&self) -> Duration;

    /// Is ready once [`Clock::elapsed`] has reached `due`: at its first poll, if it has by then, so that what is over is over
    /// before anything else begins. By default it waits on tokio's timer, if `due` is yet to come when this is called.
    ///
    /// An implementation is tested by [`conformance`].
    fn sleep_until(&self, due: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let left = due.saturating_sub(self.elapsed());
        // A timer of tokio's is not ready at its first poll, however short it is.
        if left.is_zero() { Box::pin(std::future::ready(())) } else { Box::pin(timer(left)) }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that waits for a time")]
fn timer(left: Duration) -> tokio::time::Sleep {
    tokio::time::sleep(left)
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

    fn sleep_until(&self, due: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let origin = self.origin;
        let left = due.saturating_sub(self.elapsed());
        if left.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let mut timer = Box::pin(timer(left));
        // It may have become due between here and its first poll.
        Box::pin(poll_fn(move |cx| match origin.elapsed() >= due {
            true => Poll::Ready(()),
            false => timer.as_mut().poll(cx),
        }))
    }
}
