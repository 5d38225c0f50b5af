//! Time that passes when somebody waits for it: a thread goes from one alarm to the next.
//!
//! Which moment that is, among all that other threads do, the scheduler decides: an alarm may go off as soon as it is set,
//! or when everybody else has nothing left to do.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::clock::Clock;
use crate::id::Timestamp;
use crate::sync::thread::{JoinHandle, spawn};
use crate::sync::{Condvar, Mutex};

/// A clock, shared with the thread that turns it.
#[derive(Clone, Default)]
pub(super) struct Time(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    elapsed: Duration,
    alarms: Vec<(Duration, Waker)>,
    is_over: bool,
}

impl Time {
    /// Starts the thread that turns it.
    pub(super) fn flow(&self) -> JoinHandle<()> {
        let time = self.clone();
        spawn(move || {
            while let Some(waker) = time.next() {
                waker.wake();
            }
        })
    }

    /// Waits for an alarm, and turns the clock to the first. `None` when it is over.
    fn next(&self) -> Option<Waker> {
        let mut state = self.0.state.lock();
        loop {
            if state.is_over {
                return None;
            }
            let first = (0..state.alarms.len()).min_by_key(|index| state.alarms[*index].0);
            if let Some(first) = first {
                let (due, waker) = state.alarms.remove(first);
                state.elapsed = state.elapsed.max(due);
                return Some(waker);
            }
            self.0.changed.wait(&mut state);
        }
    }

    /// No alarm goes off any more.
    pub(super) fn end(&self) {
        self.0.state.lock().is_over = true;
        self.0.changed.notify_all();
    }
}

impl Clock for Time {
    fn now(&self) -> Timestamp {
        let micros = self.elapsed().as_micros();
        Timestamp(i64::try_from(micros).expect("no test takes 292,000 years"))
    }

    fn elapsed(&self) -> Duration {
        self.0.state.lock().elapsed
    }

    fn sleep_until(&self, due: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let time = self.clone();
        Box::pin(poll_fn(move |cx| {
            let mut state = time.0.state.lock();
            if state.elapsed >= due {
                return Poll::Ready(());
            }
            state.alarms.push((due, cx.waker().clone()));
            drop(state);
            time.0.changed.notify_all();
            Poll::Pending
        }))
    }
}
