//! A run's turn: the permit to be under way, as only so many runs may be at once.
//!
//! Invariant: a run that only waits holds none, so that runs that wait for each other do not keep each other out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

type Acquiring = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// A turn that is held, or waited for.
pub(crate) struct Turn {
    turns: Option<Arc<Semaphore>>,
    permit: Option<OwnedSemaphorePermit>,
    acquiring: Option<Acquiring>,
}

impl Turn {
    /// No turn is needed.
    pub(crate) fn none() -> Self {
        Self { turns: None, permit: None, acquiring: None }
    }

    /// A turn that is held.
    pub(crate) fn held(turns: &Arc<Semaphore>, permit: OwnedSemaphorePermit) -> Self {
        Self { turns: Some(Arc::clone(turns)), permit: Some(permit), acquiring: None }
    }

    /// Takes a turn, if none is held.
    pub(crate) fn poll_take(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let Some(turns) = &self.turns else { return Poll::Ready(()) };
        if self.permit.is_some() {
            return Poll::Ready(());
        }
        let acquiring = self.acquiring.get_or_insert_with(|| Box::pin(Arc::clone(turns).acquire_owned()));
        match acquiring.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(permit) => {
                self.acquiring = None;
                // The semaphore is never closed.
                self.permit = permit.ok();
                Poll::Ready(())
            }
        }
    }

    /// Lets another run have the turn.
    pub(crate) fn give_back(&mut self) {
        self.permit = None;
        self.acquiring = None;
    }
}
