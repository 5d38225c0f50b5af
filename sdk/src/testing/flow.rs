//! How virtual time flows by itself: to what is due next, whenever everything waits.
//!
//! Invariant: while an effect is under way, virtual time passes as tokio's does, so that who of both is due first comes first.

use std::time::Duration;

use super::clock::VirtualClock;
use super::stage::Stage;

/// The shortest time of tokio's: 1 ms. In a runtime whose time is paused it passes when all else rests.
const TICK: Duration = Duration::from_millis(1);

/// The longest wait for an effect, by tokio's time: 12 days.
const TICK_MAX: Duration = Duration::from_millis(1 << 30);

/// Lets time flow until the task is aborted.
pub(crate) fn spawn(clock: &VirtualClock, stage: &Stage) -> tokio::task::JoinHandle<()> {
    let (clock, stage) = (clock.clone(), stage.clone());
    tokio::spawn(async move {
        let mut wait = Wait::default();
        loop {
            rest().await;
            if stage.running().is_empty() {
                wait = Wait::default();
                clock.advance();
            } else if !wait.passes(&clock).await {
                wait = Wait::default();
            }
        }
    })
}

/// Waits until all else rests.
#[expect(clippy::disallowed_methods, reason = "tokio's paused time tells when all else rests")]
pub(crate) async fn rest() {
    tokio::time::sleep(TICK).await;
}

/// Waits for effects that are under way.
#[derive(Debug)]
pub(crate) struct Wait {
    next: Duration,
}

impl Default for Wait {
    fn default() -> Self {
        Self { next: TICK }
    }
}

impl Wait {
    /// Time passes, tokio's and the clock's alike: twice as much each time, and no further than what is due next. Says whether
    /// there is any left to wait.
    #[expect(clippy::disallowed_methods, reason = "tokio's paused time is what effects under way wait for")]
    pub(crate) async fn passes(&mut self, clock: &VirtualClock) -> bool {
        if self.next > TICK_MAX {
            return false;
        }
        let left = clock.left().unwrap_or(TICK_MAX);
        let span = self.next.min(left).max(TICK);
        tokio::time::sleep(span).await;
        clock.pass(span);
        self.next = if span == left { TICK } else { self.next * 2 };
        true
    }
}
