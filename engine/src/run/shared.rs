//! What a run's loop and the traces in its body share.
//!
//! Invariants: the lock is held only for bookkeeping, never while user code is polled, dropped or woken; an effect is
//! dropped by the loop, outside the body's poll, so that what its drop wakes is not taken for the body's own doing; what is
//! appended is appended under the lock, so that positions and records have one order.

use std::any::{Any, TypeId};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use relive_storage::Read;

use crate::clock::Clock;
use crate::definition::TraceDefinition;
use crate::engine::Inner;
use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{ErrorRecord, Event};
use crate::few::Few;
use crate::id::{RunId, Sequence, Timestamp};
use crate::log::{self, LogReader};
use crate::observe::Metrics;
use crate::options::RunWrapper;
use crate::panic::{Contained, drop_quietly};
use crate::payload::redact::RedactionKey;
use crate::payload::{Encoding, Payload};
use crate::replay::{Replay, ReplayError, TraceIndex};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::append::Appender;
use super::context::{self, EffectContext};
use super::drive::{Dry, Settings};
use super::effect;
use super::interpose::Interposer;
use super::linger::Lingering;
use super::mailbox::Mailbox;
use super::plan::Plan;
use super::rest::Anchor;
use super::source::{MakeSource, Source};
use super::trace::micros;
use super::wait::SignalWait;

/// What an effect or a body comes to: as it is recorded.
pub type Output = Result<Payload, ErrorRecord>;

/// An effect or a body, ready to be polled.
pub type BoxedFuture = Pin<Box<dyn Future<Output = Output> + Send>>;

/// A task's body, which the engine drops: nobody is hurt by its destructors.
pub(crate) type Body = Contained<BoxedFuture>;

/// Values by type, for `provided`.
pub(crate) type Provided = FxHashMap<TypeId, Arc<dyn Any + Send + Sync>>;

/// What all runs of an engine take from it.
pub(crate) struct Environment {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) provided: Provided,
    /// How payloads are written, where an attribute says nothing else.
    pub(crate) encoding: Encoding,
    /// What hashes of redacted arguments are keyed with.
    pub(crate) redaction: RedactionKey,
    /// A runtime without time and I/O, in strict mode: bodies are polled inside it, so that a timer or a socket in a
    /// body fails where it is made.
    pub(crate) decoy: Option<tokio::runtime::Handle>,
    /// Blocking effects that outlive their traces.
    pub(crate) lingering: Arc<Lingering>,
    /// Stands between calls and their effects, in tests.
    pub(crate) interposer: Option<Arc<dyn Interposer>>,
    /// Stands between runs and the runtime, in tests.
    pub(crate) run_wrapper: Option<RunWrapper>,
    /// Where effects are spawned.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) metrics: Arc<Metrics>,
}

impl Drop for Environment {
    fn drop(&mut self) {
        // One by one: a destructor that panics is no other's end.
        for (_, value) in self.provided.drain() {
            drop_quietly(value);
        }
    }
}

/// What a run's loop and its traces share.
pub(crate) struct RunShared {
    pub(crate) run: RunId,
    pub(crate) environment: Arc<Environment>,
    /// Which attempt this is.
    pub(crate) attempt: u32,
    /// The attempt's: the body is polled in it.
    pub(crate) span: tracing::Span,
    /// The engine, for child runs. Weak: it holds the runs.
    pub(crate) engine: Weak<Inner>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) state: Mutex<RunState>,
    /// The body woke itself during its poll: it is not settled.
    pub(crate) woke_itself: AtomicBool,
    /// The body is being dropped by the engine: what it drops is no event.
    pub(crate) closing: AtomicBool,
    /// If nothing is to be written or started: what the loop is to find out.
    pub(crate) dry: Dry,
    /// Who is called waits until it is known what of this run's is over.
    pub(crate) is_undecided: AtomicBool,
    /// If it goes on after it slept: the wall clock as its waits know it, and where the log ended then.
    anchor: Option<(Anchor, AtomicU64)>,
}

/// Guarded by the lock.
pub(crate) struct RunState {
    pub(crate) replay: Replay,
    pub(crate) appender: Appender,
    /// Where the rest of the log is read from; `None` once it is all read.
    pub(crate) reader: Option<LogReader>,
    pub(crate) traces: Few<TraceIndex, TraceSlot>,
    /// Started since the last append.
    pub(crate) new_starts: Vec<TraceIndex>,
    /// Streams whose item was taken: their sources may go on.
    pub(crate) hungry: Vec<TraceIndex>,
    /// Traces that the body holds and that have nothing for it to take.
    pub(crate) awaited_count: usize,
    /// Effects that have begun, have not ended, and do not just wait.
    pub(crate) running_count: usize,
    /// Children that the body dropped since the last append.
    pub(crate) released: Vec<RunId>,
    /// Signals that were in the inbox when the run went live, and may be told of once more.
    pub(crate) signals_seen: FxHashSet<Vec<u8>>,
    /// The run is live and has read its inbox: which signals there are for its waits is known.
    pub(crate) knows_signals: bool,
    /// To be dropped by the loop.
    pub(crate) graveyard: Vec<Work>,
    /// The attempt's end is decided: effects on other threads, which outlive it, append nothing more behind it.
    pub(crate) is_over: bool,
    /// What the body must not be told, and ends the run's loop.
    pub(crate) fatal: Option<Error>,
}

/// A trace that the body holds.
pub(crate) struct TraceSlot {
    pub(crate) work: Work,
    pub(crate) definition: &'static TraceDefinition,
    pub(crate) context: Arc<EffectContext>,
    /// Whom to wake in the body.
    pub(crate) body_waker: Waker,
    pub(crate) waker: Option<Arc<EffectWaker>>,
    /// Something was handed over, and may be parked.
    pub(crate) delivered: bool,
    /// An item of its source waits to be handed over: no other is asked for before.
    pub(crate) is_item_out: bool,
    /// When its effect began: wall clock and monotonic.
    pub(crate) began: Option<(Timestamp, Duration)>,
    /// Its start is durable: its effect may begin.
    pub(crate) may_begin: bool,
    /// Counted as running.
    pub(crate) running: bool,
    /// Whose items an earlier attempt holds.
    pub(crate) remembered: Option<Sequence>,
    /// The signal it waits for.
    pub(crate) signal: Option<Box<SignalWait>>,
    /// The run it is.
    pub(crate) child: Option<RunId>,
    /// Of a sleep: when it ends.
    pub(crate) due: Timestamp,
    /// It was called before: in another life of the process, or by an earlier attempt.
    pub(crate) is_known: bool,
}

impl TraceSlot {
    /// Whether it does something, rather than wait: for a time, a signal, another run.
    pub(crate) fn is_work(&self) -> bool {
        self.child.is_none() && self.signal.is_none() && self.due.0 == i64::MAX
    }

    /// When its time was over, if it was called before and its time is over by now: then it has nothing left to do but to end.
    pub(crate) fn over_since(&self) -> Option<Timestamp> {
        if !self.is_known || !matches!(self.work, Work::Effect(_)) {
            return None;
        }
        let called_at = self.context.called_at;
        let span = match self.definition.policy.deadline {
            Some(deadline) => deadline,
            None if self.due.0 < i64::MAX => Duration::from_micros(u64::try_from(self.due.0 - called_at.0).ok()?),
            None => return None,
        };
        let ends = Timestamp(called_at.0.saturating_add_unsigned(micros(span)));
        effect::left(&self.context, called_at, span).is_zero().then_some(ends)
    }
}

/// What is polled for a trace.
pub(crate) enum Work {
    /// It is being polled, or has ended.
    None,
    Effect(BoxedFuture),
    /// A stream whose source is not called yet.
    Unopened(MakeSource),
    Source(Box<Source>),
}

impl Work {
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::None)
    }

    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// What a run is made of.
pub(crate) struct Parts {
    pub(crate) plan: Plan,
    pub(crate) environment: Arc<Environment>,
    pub(crate) engine: Weak<Inner>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) replay: Replay,
    pub(crate) reader: Option<LogReader>,
    pub(crate) dry: Dry,
    pub(crate) span: tracing::Span,
    pub(crate) anchor: Option<Anchor>,
}

impl RunShared {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let (run, attempt) = (parts.plan.run, parts.plan.attempt);
        let appender = Appender::new(parts.plan, parts.settings, Arc::clone(&parts.mailbox));
        Arc::new(Self {
            run,
            attempt,
            span: parts.span,
            environment: parts.environment,
            engine: parts.engine,
            mailbox: parts.mailbox,
            state: Mutex::new(RunState {
                replay: parts.replay,
                appender,
                reader: parts.reader,
                traces: Few::default(),
                new_starts: Vec::new(),
                hungry: Vec::new(),
                awaited_count: 0,
                running_count: 0,
                released: Vec::new(),
                signals_seen: FxHashSet::default(),
                knows_signals: false,
                graveyard: Vec::new(),
                is_over: false,
                fatal: None,
            }),
            woke_itself: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            is_undecided: AtomicBool::new(false),
            dry: parts.dry,
            anchor: parts.anchor.map(|anchor| (anchor, AtomicU64::new(u64::MAX))),
        })
    }

    /// Now, by both clocks, for what an event at this position says: if that was on record before the run slept, the wall
    /// clock is what it was then.
    pub(crate) fn moment(&self, at: Sequence) -> (Timestamp, Duration) {
        let clock = self.environment.clock.as_ref();
        let elapsed = clock.elapsed();
        match &self.anchor {
            Some((anchor, log_end)) if at.0 < log_end.load(Ordering::Relaxed) => (anchor.at(elapsed), elapsed),
            _ => (clock.now(), elapsed),
        }
    }

    /// What was over has ended: those that this run calls may go on. Without the run's lock.
    pub(crate) fn decides(&self) {
        if self.is_undecided.load(Ordering::Relaxed)
            && self.is_undecided.swap(false, Ordering::Relaxed)
            && let Some(engine) = self.engine.upgrade()
        {
            let cell = engine.runs.lock().get(&self.run).cloned();
            if let Some(cell) = cell {
                cell.decides();
            }
        }
    }

    /// Ends the run's loop with this error, unless it already has one.
    pub(crate) fn fail(&self, error: Error) {
        {
            let mut state = self.state.lock();
            if state.is_over {
                // The next attempt has the same mailbox.
                return;
            }
            state.fatal.get_or_insert(error);
        }
        self.mailbox.stranger();
    }

    pub(crate) fn replay_error(&self, error: ReplayError) -> Error {
        match error {
            ReplayError::Diverged(divergence) => Error::diverged(*divergence),
            ReplayError::Impossible { sequence, why } => {
                Error::new(ErrorKind::Corrupt, format!("run {} at event {sequence}: {why}", self.run))
            }
        }
    }

    /// Gives the replay the next batch of the log.
    pub(crate) fn read(&self, state: &mut RunState) -> Result<()> {
        let batch = state.reader.as_mut().map_or(Ok(None), LogReader::next_batch)?;
        match batch {
            Some(batch) => state.replay.feed(batch),
            None => {
                state.replay.end_history();
                if let Some(reader) = state.reader.take()
                    // Nothing is written behind what is replayed; and another attempt may stand there.
                    && self.dry != Dry::Replay
                {
                    let at = reader.position();
                    if let Some((_, log_end)) = &self.anchor {
                        log_end.store(at.0, Ordering::Relaxed);
                    }
                    let epoch = state.appender.epoch();
                    state.appender.continue_with(reader.into_writer(epoch), at);
                    self.mailbox.durable(at.0, Vec::new());
                }
            }
        }
        Ok(())
    }

    /// Reads more of the step under way.
    pub(crate) fn read_step(&self, state: &mut RunState) -> Result<()> {
        while !state.replay.extend_step().map_err(|error| self.replay_error(error))? {
            self.read(state)?;
        }
        Ok(())
    }

    /// An event of an earlier attempt.
    pub(crate) fn event_at(&self, at: Sequence) -> Result<Event> {
        log::event_at(self.store()?, self.run, at)
    }

    /// Where earlier attempts, signals and children are read from. To be kept by readers of a log only: else a run does
    /// not keep the store open.
    pub(crate) fn store(&self) -> Result<Arc<dyn Read>> {
        self.engine.upgrade().ok_or_else(|| super::drive::closed(self.run))?.store()
    }

    /// Blocks the thread of an effect until everything before this position is durable. `false` if it will not be, or if
    /// the attempt is over: its end may stand where the effect's events were to stand.
    pub(crate) fn block_until(&self, end: Sequence) -> bool {
        self.mailbox.block_until(end.0) && !self.state.lock().is_over
    }

    /// Appends what came beside the steps. If a step is under way, it takes that along; `in_body`: the caller is inside that
    /// step, which does not end before it. Returns the position behind it.
    pub(crate) fn append_aside(&self, state: &mut RunState, in_body: bool) -> Result<Sequence> {
        let end = state.replay.next_sequence();
        if in_body || state.replay.is_between_steps() {
            state.appender.append_now(&mut state.replay, !in_body)?;
        }
        Ok(end)
    }
}

/// The waker that a body is polled with.
pub(crate) struct BodyWaker(pub(crate) Arc<RunShared>);

impl Wake for BodyWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.0.closing.load(Ordering::Relaxed) {
            // Of an attempt that is over: the next one has the same mailbox.
        } else if context::is_body_of(self.0.run) {
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
