//! The source of a stream or an iterator: runs the user's function and hands its items out one at a time.
//!
//! The function runs inside a future of ours, so that it may borrow what that owns. An item goes through a slot: the future
//! puts it there and goes on when it was taken.
//!
//! Invariant: at most one item is out that nobody took, so memory does not grow with the stream.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use parking_lot::Mutex;

use crate::error::ErrorKind;
use crate::event::ErrorRecord;
use crate::payload::Payload;
use crate::replay::{HandedOn, digest};

use super::shared::{BoxedFuture, Output};

/// Calls the user's function: with the item to go on from, and where items go.
pub type MakeSource = Box<dyn FnOnce(u64, Sink) -> BoxedFuture + Send>;

/// Where a source's items go.
#[derive(Clone, Debug, Default)]
pub struct Sink(Arc<Mutex<Option<Payload>>>);

impl Sink {
    /// Hands an item on; returns when it was taken.
    pub async fn send(&self, item: Payload) {
        *self.0.lock() = Some(item);
        // Whoever takes the item polls again: no waker is needed.
        poll_fn(|_| if self.0.lock().is_none() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// What was sent and not taken yet.
    pub fn take(&self) -> Option<Payload> {
        self.0.lock().take()
    }
}

/// What a source came to when it was polled.
pub(crate) enum Sourced {
    Item(Payload),
    /// The end, or an error.
    End(Output),
}

/// A source that was called.
pub(crate) struct Source {
    future: BoxedFuture,
    sink: Sink,
    name: &'static str,
    /// Items that it yields again and nobody wants, and what they must be.
    skip: Option<HandedOn>,
    skipped: HandedOn,
}

/// Items that are skipped before the runtime gets the thread back.
const SKIPPED_PER_TURN: u32 = 1024;

impl Source {
    /// Calls the function. `handed_on`: what the body had before. `resumes`: the function is told where to go on, and does
    /// not begin again.
    pub(crate) fn open(name: &'static str, make: MakeSource, handed_on: HandedOn, resumes: bool) -> Self {
        let sink = Sink::default();
        let count = handed_on.count;
        let future = make(count, sink.clone());
        let skip = (!resumes && count > 0).then_some(handed_on);
        Self { future, sink, name, skip, skipped: HandedOn::default() }
    }

    /// Goes on to the next item.
    pub(crate) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Sourced> {
        for _ in 0..SKIPPED_PER_TURN {
            let polled = self.future.as_mut().poll(cx);
            if let Some(item) = self.sink.take() {
                match self.check(&item) {
                    None => return Poll::Ready(Sourced::Item(item)),
                    Some(Ok(())) => continue,
                    Some(Err(changed)) => return Poll::Ready(Sourced::End(Err(changed))),
                }
            }
            return match polled {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(_)) if self.skip.is_some() => Poll::Ready(Sourced::End(Err(self.changed(&format!(
                    "it ended behind {} of the {} items",
                    self.skipped.count,
                    self.skip_count()
                ))))),
                Poll::Ready(output) => Poll::Ready(Sourced::End(output)),
            };
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn skip_count(&self) -> u64 {
        self.skip.as_ref().map_or(0, |skip| skip.count)
    }

    /// Whether an item is one of those that were handed on before. `None`: it is new.
    fn check(&mut self, item: &Payload) -> Option<Result<(), ErrorRecord>> {
        let skip = self.skip.as_ref()?;
        digest(&mut self.skipped.digest, item);
        self.skipped.count += 1;
        if self.skipped.count < skip.count {
            return Some(Ok(()));
        }
        if self.skipped.digest.finalize() != skip.digest.finalize() {
            return Some(Err(self.changed(&format!("one of the first {} items is another", skip.count))));
        }
        self.skip = None;
        Some(Ok(()))
    }

    fn changed(&self, what: &str) -> ErrorRecord {
        ErrorRecord::new(
            ErrorKind::SourceChanged,
            format!(
                "stream {} was called again and does not yield what it handed on before: {what}. If it can go on from an \
                 item's number, give it a parameter for that and name it by `resume = \"…\"`",
                self.name
            ),
        )
    }
}
