//! Who signals which run just now, and which runs are about to end: so that a signal that was acknowledged is in the log.
//!
//! A run's end waits for signals that are on their way into its inbox, and takes them along; who comes after that waits for
//! the end, and is told of it. Used by `resume` for who signals, by the run's loop and `resume` for who ends.
//!
//! Invariants: between `close` and the drop of what it gives nobody signals the run; nobody in here waits for user code: who
//! sends has given its write to the committer at once, and is let go by the committer.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use rustc_hash::FxHashMap;

use crate::id::RunId;
use crate::sync::Mutex;

/// The runs that somebody signals, or that are about to end.
#[derive(Debug, Default)]
pub(crate) struct Post {
    doors: Mutex<FxHashMap<RunId, Door>>,
}

#[derive(Debug, Default)]
struct Door {
    sender_count: u32,
    is_closed: bool,
    waiting: Vec<Waker>,
}

/// Somebody signals a run, until this is dropped.
#[derive(Debug)]
pub(crate) struct Sending {
    post: Arc<Post>,
    run: RunId,
}

/// Nobody signals a run, until this is dropped.
#[derive(Debug)]
pub(crate) struct Closed {
    post: Arc<Post>,
    run: RunId,
}

impl Post {
    /// Waits until the run is not about to end.
    pub(crate) async fn send(self: &Arc<Self>, run: RunId) -> Sending {
        self.until(run, |door| {
            let may = !door.is_closed;
            door.sender_count += u32::from(may);
            may
        })
        .await;
        Sending { post: Arc::clone(self), run }
    }

    /// Has nobody begin to signal the run, and waits for those who did.
    pub(crate) async fn close(self: &Arc<Self>, run: RunId) -> Closed {
        self.until(run, |door| !std::mem::replace(&mut door.is_closed, true)).await;
        let closed = Closed { post: Arc::clone(self), run };
        self.until(run, |door| door.sender_count == 0).await;
        closed
    }

    async fn until(&self, run: RunId, mut enter: impl FnMut(&mut Door) -> bool) {
        poll_fn(|cx| {
            let mut doors = self.doors.lock();
            let door = doors.entry(run).or_default();
            if enter(door) {
                return Poll::Ready(());
            }
            if !door.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                door.waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    fn leave(&self, run: RunId, leave: impl FnOnce(&mut Door)) {
        let mut doors = self.doors.lock();
        let Some(door) = doors.get_mut(&run) else { return };
        leave(door);
        let waiting = std::mem::take(&mut door.waiting);
        if door.sender_count == 0 && !door.is_closed {
            doors.remove(&run);
        }
        drop(doors);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Sending {
    /// Which.
    pub(crate) fn run(&self) -> RunId {
        self.run
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.post.leave(self.run, |door| door.sender_count = door.sender_count.saturating_sub(1));
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.post.leave(self.run, |door| door.is_closed = false);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::Context;

    use super::*;

    const RUN: RunId = RunId::from_bytes([1; 16]);
    const OTHER: RunId = RunId::from_bytes([2; 16]);

    /// What a future comes to at once, if to anything.
    fn poll<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn an_end_waits_for_who_signals_and_who_comes_later_for_the_end() {
        let post = Arc::new(Post::default());
        let first = poll(pin!(post.send(RUN))).expect("nobody ends it");
        let second = poll(pin!(post.send(RUN))).expect("nor does a sender");
        let mut ending = Box::pin(post.close(RUN));
        assert!(poll(ending.as_mut()).is_none());
        drop(first);
        assert!(poll(ending.as_mut()).is_none(), "another is on its way");
        let mut late = Box::pin(post.send(RUN));
        assert!(poll(late.as_mut()).is_none());
        assert!(poll(pin!(post.send(OTHER))).is_some() && poll(pin!(post.close(OTHER))).is_some(), "of this run only");
        drop(second);
        let ended = poll(ending.as_mut()).expect("all are there");
        assert!(poll(late.as_mut()).is_none());
        drop(ended);
        drop(poll(late.as_mut()).expect("it has ended"));
        assert!(post.doors.lock().is_empty());
    }

    #[test]
    fn an_end_that_is_given_up_lets_senders_in_again() {
        let post = Arc::new(Post::default());
        let sending = poll(pin!(post.send(RUN))).expect("nobody ends it");
        let mut ending = Box::pin(post.close(RUN));
        assert!(poll(ending.as_mut()).is_none());
        drop(ending);
        drop(poll(pin!(post.send(RUN))).expect("nobody ends it"));
        drop(sending);
        assert!(post.doors.lock().is_empty());
    }
}
