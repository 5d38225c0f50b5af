//! What a run's loop and the traces in its body share.
//!
//! Invariants: the lock is held only for bookkeeping, never while user code is polled, dropped or woken; an effect is
//! dropped by the loop, outside the body's poll, so that what its drop wakes is not taken for the body's own doing.

use std::any::{Any, TypeId};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::error::Error;
use crate::event::ErrorRecord;
use crate::id::{RunId, Timestamp};
use crate::payload::Payload;
use crate::replay::{Replay, TraceIndex};

use super::context::{self, EffectContext};
use super::mailbox::Mailbox;

/// What an effect or a body comes to: as it is recorded.
pub type Output = Result<Payload, ErrorRecord>;

/// An effect or a body, ready to be polled.
pub type BoxedFuture = Pin<Box<dyn Future<Output = Output> + Send>>;

/// Values by type, for `provided`.
pub(crate) type Provided = FxHashMap<TypeId, Arc<dyn Any + Send + Sync>>;

/// What all runs of an engine take from it.
pub(crate) struct Environment {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) provided: Provided,
    /// A runtime without time and I/O, in strict mode: bodies are polled inside it, so that a timer or a socket in a
    /// body fails where it is made.
    pub(crate) decoy: Option<tokio::runtime::Handle>,
}

/// What a run's loop and its traces share.
pub(crate) struct RunShared {
    pub(crate) run: RunId,
    pub(crate) environment: Arc<Environment>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) state: Mutex<RunState>,
    /// The body woke itself during its poll: it is not settled.
    pub(crate) woke_itself: AtomicBool,
    /// The body is being dropped by the engine: what it drops is no event.
    pub(crate) closing: AtomicBool,
}

/// Guarded by the lock.
pub(crate) struct RunState {
    pub(crate) replay: Replay,
    pub(crate) traces: FxHashMap<TraceIndex, TraceSlot>,
    /// Started since the last append.
    pub(crate) new_starts: Vec<TraceIndex>,
    /// Traces that the body holds and that were not delivered yet.
    pub(crate) awaited_count: usize,
    /// Effects that have begun and not ended.
    pub(crate) running_count: usize,
    /// To be dropped by the loop.
    pub(crate) graveyard: Vec<BoxedFuture>,
    /// What the body must not be told, and ends the run's loop.
    pub(crate) fatal: Option<Error>,
}

/// A trace that the body holds.
pub(crate) struct TraceSlot {
    /// `None` while it is polled, and once it has ended.
    pub(crate) effect: Option<BoxedFuture>,
    pub(crate) context: Arc<EffectContext>,
    /// Whom to wake in the body.
    pub(crate) body_waker: Waker,
    pub(crate) waker: Option<Arc<EffectWaker>>,
    /// Its outcome was handed over, and may be parked.
    pub(crate) delivered: bool,
    /// When its effect began: wall clock and monotonic.
    pub(crate) began: Option<(Timestamp, Duration)>,
}

impl RunShared {
    pub(crate) fn new(run: RunId, environment: Arc<Environment>, mailbox: Arc<Mailbox>, replay: Replay) -> Arc<Self> {
        Arc::new(Self {
            run,
            environment,
            mailbox,
            state: Mutex::new(RunState {
                replay,
                traces: FxHashMap::default(),
                new_starts: Vec::new(),
                awaited_count: 0,
                running_count: 0,
                graveyard: Vec::new(),
                fatal: None,
            }),
            woke_itself: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        })
    }

    /// Ends the run's loop with this error, unless it already has one.
    pub(crate) fn fail(&self, error: Error) {
        self.state.lock().fatal.get_or_insert(error);
        self.mailbox.stranger();
    }
}

/// The waker that a body is polled with.
pub(crate) struct BodyWaker(pub(crate) Arc<RunShared>);

impl Wake for BodyWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if context::is_body_of(self.0.run) {
            self.0.woke_itself.store(true, Ordering::Relaxed);
        } else {
            self.0.mailbox.stranger();
        }
    }
}

/// The waker that an effect is polled with.
pub(crate) struct EffectWaker {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) index: TraceIndex,
    /// In the mailbox already, and not yet polled again.
    pub(crate) posted: AtomicBool,
}

impl Wake for EffectWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.posted.swap(true, Ordering::AcqRel) {
            self.mailbox.woken(self.index);
        }
    }
}
