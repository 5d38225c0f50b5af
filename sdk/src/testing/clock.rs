//! Time that only moves when somebody moves it: to the moment at which the first who sleeps is due.
//!
//! Given to the engine as its clock; moved by the loop that directs a run (`direct`).
//!
//! Invariants: one sleeper is woken at a time; of two that are due at the same moment, which is first depends on what sleeps,
//! and not on who began to.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use relive_engine::clock::Clock;
use relive_engine::id::Timestamp;
use relive_engine::run;
use tokio::sync::oneshot;

use super::memory::Scope;

/// When every test begins, in microseconds: 1 January 2030, 00:00 UTC.
pub(crate) const FIRST_MOMENT: i64 = 1_893_456_000_000_000;

/// When it is due, what sleeps, and its number.
type Alarm = (Duration, Scope, u64);

#[derive(Debug)]
struct Time {
    wall: i64,
    elapsed: Duration,
    alarms: BTreeMap<Alarm, oneshot::Sender<()>>,
    alarm_count: u64,
}

/// A clock that is moved by hand. Clones are the same clock.
#[derive(Clone, Debug)]
pub(crate) struct VirtualClock(Arc<Mutex<Time>>);

impl VirtualClock {
    /// A clock that shows this wall time.
    pub(crate) fn at(wall: i64) -> Self {
        let time = Time { wall, elapsed: Duration::ZERO, alarms: BTreeMap::new(), alarm_count: 0 };
        Self(Arc::new(Mutex::new(time)))
    }

    /// The wall time, in microseconds.
    pub(crate) fn wall(&self) -> i64 {
        self.0.lock().wall
    }

    /// What is due first.
    pub(crate) fn first(&self) -> Option<Scope> {
        let mut time = self.0.lock();
        time.alarms.retain(|_, sender| !sender.is_closed());
        time.alarms.keys().next().map(|(_, scope, _)| *scope)
    }

    /// How long until the first who sleeps is due.
    pub(crate) fn left(&self) -> Option<Duration> {
        let mut time = self.0.lock();
        time.alarms.retain(|_, sender| !sender.is_closed());
        time.alarms.keys().next().map(|(due, ..)| due.saturating_sub(time.elapsed))
    }

    /// Time passes until the first who sleeps is due; wakes it. Says whether there was one.
    pub(crate) fn advance(&self) -> bool {
        let sender = {
            let mut time = self.0.lock();
            time.alarms.retain(|_, sender| !sender.is_closed());
            let Some(((due, ..), sender)) = time.alarms.pop_first() else { return false };
            let span = due.saturating_sub(time.elapsed);
            time.pass(span);
            sender
        };
        // Who slept may be gone by now.
        let _ = sender.send(());
        true
    }

    /// Time passes, and nobody is woken before its time: whoever is due by then is woken, the first first.
    pub(crate) fn pass(&self, by: Duration) {
        let until = self.0.lock().elapsed.saturating_add(by);
        loop {
            let next = self.0.lock().alarms.keys().next().map(|(due, ..)| *due);
            match next {
                Some(due) if due <= until => self.advance(),
                _ => break,
            };
        }
        let mut time = self.0.lock();
        let rest = until.saturating_sub(time.elapsed);
        time.pass(rest);
    }
}

impl Time {
    fn pass(&mut self, by: Duration) {
        self.elapsed = self.elapsed.saturating_add(by);
        self.wall = self.wall.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall())
    }

    fn elapsed(&self) -> Duration {
        self.0.lock().elapsed
    }

    fn sleep_until(&self, due: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let clock = self.clone();
        Box::pin(async move {
            let receiver = {
                let mut time = clock.0.lock();
                if due <= time.elapsed {
                    return;
                }
                let (sender, receiver) = oneshot::channel();
                time.alarm_count += 1;
                let alarm = (due, run::effect_scope().unwrap_or_default(), time.alarm_count);
                time.alarms.insert(alarm, sender);
                receiver
            };
            // The sender goes only when it has been used.
            let _ = receiver.await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn time_goes_to_the_first_who_is_due_and_wakes_nobody_else() {
        let clock = VirtualClock::at(0);
        let mut sleepers: Vec<_> = [30, 10].map(|secs| clock.sleep_until(Duration::from_secs(secs))).into();
        let polled = |sleeper: &mut Pin<Box<dyn Future<Output = ()> + Send>>| {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            sleeper.as_mut().poll(&mut cx).is_ready()
        };
        assert!(!sleepers.iter_mut().any(polled));
        assert!(clock.advance());
        assert_eq!((clock.elapsed(), clock.wall()), (Duration::from_secs(10), 10_000_000));
        assert!(!polled(&mut sleepers[0]) && polled(&mut sleepers[1]));
        clock.pass(Duration::from_secs(60));
        assert_eq!(clock.elapsed(), Duration::from_secs(70));
        assert!(polled(&mut sleepers[0]) && !clock.advance());
    }

    #[tokio::test]
    async fn virtual_time_is_as_prompt_as_the_systems() {
        let clock = VirtualClock::at(0);
        relive_engine::clock::conformance(&clock, async |by| clock.pass(by)).await;
    }
}
