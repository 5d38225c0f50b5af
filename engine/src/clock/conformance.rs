//! What every clock must do, as a test for all of them.
//!
//! Called by tests only: of the system's clock, of those that tests turn, and of a program's own.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::Clock;

/// Holds that a clock does what the engine relies on: what is due is ready at its first poll, what is not is not, and elapsed
/// time does not go back. `pass` has time pass, or waits until it has; at least so long. For tests of a [`Clock`]; must be
/// called inside a tokio runtime with time.
///
/// # Panics
/// If it does not.
pub async fn conformance(clock: &dyn Clock, pass: impl AsyncFn(Duration)) {
    /// An hour, which no test waits for.
    const LONG: Duration = Duration::from_secs(3_600);
    /// So short that it can be waited for.
    const SHORT: Duration = Duration::from_millis(5);
    let is_ready = |sleep: &mut Pin<Box<dyn Future<Output = ()> + Send>>| {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        sleep.as_mut().poll(&mut cx).is_ready()
    };
    let began = clock.elapsed();
    for due in [Duration::ZERO, began] {
        assert!(is_ready(&mut clock.sleep_until(due)), "what is over when it is asked for is ready at its first poll");
    }
    for due in [began.saturating_add(LONG), Duration::MAX] {
        assert!(!is_ready(&mut clock.sleep_until(due)), "what is not over is not ready");
    }
    let due = clock.elapsed().saturating_add(SHORT);
    let (mut not_polled, mut polled, awaited) =
        (clock.sleep_until(due), clock.sleep_until(due), clock.sleep_until(due.saturating_add(SHORT)));
    let was_ready = is_ready(&mut polled);
    assert!(!was_ready || clock.elapsed() >= due, "it was ready early");
    pass(SHORT).await;
    let now = clock.elapsed();
    assert!(now >= due, "elapsed time went back, or stands still: {now:?} < {due:?}");
    assert!(is_ready(&mut not_polled), "what became due before it was polled is ready at its first poll");
    if !was_ready {
        polled.await;
    }
    both(awaited, pass(SHORT)).await;
    assert!(clock.elapsed() >= due.saturating_add(SHORT), "who waits is woken in time, and not early");
}

/// Waits for both.
async fn both(first: Pin<Box<dyn Future<Output = ()> + Send>>, second: impl Future<Output = ()>) {
    let (mut first, mut second) = (Some(first), Some(Box::pin(second)));
    poll_fn(|cx| {
        // The one that waits first, so that it waits when the time passes.
        first.take_if(|first| first.as_mut().poll(cx).is_ready());
        second.take_if(|second| second.as_mut().poll(cx).is_ready());
        if first.is_none() && second.is_none() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[expect(clippy::disallowed_methods, reason = "a system's clock is waited for")]
    async fn pass(by: Duration) {
        // A thread's sleep: it is not shorter by the clock that never jumps, whatever tokio rounds to.
        tokio::task::spawn_blocking(move || std::thread::sleep(by)).await.expect("it sleeps");
    }

    #[tokio::test]
    async fn the_systems_clock_is_prompt() {
        conformance(&SystemClock::default(), pass).await;
    }
}
