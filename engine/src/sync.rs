//! Locks, threads and channels: the system's; with the feature `shuttle`, those of a scheduler that decides which thread goes
//! on whenever one of them is used.
//!
//! Used wherever two threads of the engine meet (`commit`, `sleepers`, `handle`, `engine`, most of `run`); the second kind by
//! `interleavings`. Not here: locks that are held for no call of another one, which no interleaving can tell apart.
//!
//! Invariant: without the feature, which nothing enables by itself, these are other names and nothing more.

#[cfg(not(feature = "shuttle"))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::{sync::atomic, thread, thread_local};

#[cfg(not(feature = "shuttle"))]
pub(crate) mod channel {
    //! A channel without a bound.

    pub(crate) use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
}

#[cfg(feature = "shuttle")]
pub(crate) use self::scheduled::{Condvar, Mutex, MutexGuard};
#[cfg(feature = "shuttle")]
pub(crate) use shuttle::{sync::atomic, thread, thread_local};

#[cfg(feature = "shuttle")]
pub(crate) mod channel {
    //! A channel without a bound, with the manners of `crossbeam_channel`: what nobody has received when the receiver goes is
    //! dropped with it. (Shuttle's own keeps it for as long as there is a sender.)

    pub(crate) use crossbeam_channel::{RecvError, SendError, TryRecvError};
    use std::collections::VecDeque;
    use std::sync::Arc;

    use super::{Condvar, Mutex};

    struct Shared<T> {
        state: Mutex<State<T>>,
        changed: Condvar,
    }

    struct State<T> {
        /// `None` once the receiver is gone.
        messages: Option<VecDeque<T>>,
        sender_count: usize,
    }

    pub(crate) struct Sender<T>(Arc<Shared<T>>);

    pub(crate) struct Receiver<T>(Arc<Shared<T>>);

    pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
        let state = Mutex::new(State { messages: Some(VecDeque::new()), sender_count: 1 });
        let shared = Arc::new(Shared { state, changed: Condvar::default() });
        (Sender(Arc::clone(&shared)), Receiver(shared))
    }

    impl<T> Sender<T> {
        pub(crate) fn send(&self, message: T) -> Result<(), SendError<T>> {
            match &mut self.0.state.lock().messages {
                Some(messages) => messages.push_back(message),
                None => return Err(SendError(message)),
            }
            self.0.changed.notify_all();
            Ok(())
        }
    }

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Self {
            self.0.state.lock().sender_count += 1;
            Self(Arc::clone(&self.0))
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            self.0.state.lock().sender_count -= 1;
            self.0.changed.notify_all();
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
            let mut state = self.0.state.lock();
            match state.messages.as_mut().and_then(VecDeque::pop_front) {
                Some(message) => Ok(message),
                None if state.sender_count == 0 => Err(TryRecvError::Disconnected),
                None => Err(TryRecvError::Empty),
            }
        }

        pub(crate) fn recv(&self) -> Result<T, RecvError> {
            loop {
                let mut state = self.0.state.lock();
                if let Some(message) = state.messages.as_mut().and_then(VecDeque::pop_front) {
                    return Ok(message);
                }
                if state.sender_count == 0 {
                    return Err(RecvError);
                }
                self.0.changed.wait(&mut state);
            }
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            // Its messages are dropped with the lock free.
            let left = self.0.state.lock().messages.take();
            drop(left);
        }
    }
}

#[cfg(feature = "shuttle")]
mod scheduled {
    //! Shuttle's locks with the manners of `parking_lot`: no poison, and a guard that is waited with in place.

    use std::ops::{Deref, DerefMut};
    use std::sync::PoisonError;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
        }
    }

    /// `None` only while it is waited with.
    pub(crate) struct MutexGuard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>);

    const HELD: &str = "a guard is only without its lock inside `wait`";

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect(HELD)
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect(HELD)
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(shuttle::sync::Condvar);

    impl Condvar {
        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let held = guard.0.take().expect(HELD);
            guard.0 = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
