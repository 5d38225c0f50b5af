//! Which run the code on this thread belongs to, while it is polled.
//!
//! Set by the run's loop around each poll of the body and of an effect; read by traces and by what people call in them.
//!
//! Invariant: what is set is taken back when the poll ends, also by a panic.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tracing::Span;

use crate::clock::Clock;
use crate::definition::TraceDefinition;
use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{ErrorRecord, TraceOutcome};
use crate::id::{InputHash, RunId, Sequence, Timestamp};
use crate::observe::{TraceNumbers, events, spans};
use crate::payload::{Encoding, PayloadCodec};
use crate::replay::Scope;
use crate::sync::{Mutex, thread_local};

use super::rest::Resting;
use super::shared::{Environment, RunShared};

/// What is being polled on this thread.
#[derive(Clone)]
pub(crate) enum Context {
    /// A task's body.
    Body(Arc<RunShared>),
    /// A trace's effect.
    Effect(Arc<EffectContext>),
}

/// What an effect can ask for.
pub(crate) struct EffectContext {
    pub(crate) shared: Arc<RunShared>,
    definition: &'static TraceDefinition,
    pub(crate) name: Cow<'static, str>,
    pub(crate) input_hash: InputHash,
    pub(crate) occurrence: u32,
    /// How its results are written, if not as the engine says.
    pub(crate) codec: Option<PayloadCodec>,
    /// The position of its start.
    pub(crate) sequence: Sequence,
    /// When it was called first.
    pub(crate) called_at: Timestamp,
    /// What its trace was called in.
    pub(crate) outer: Option<Arc<EffectContext>>,
    /// Whether it runs inside the body's poll, in a plain function.
    pub(crate) is_inline: bool,
    /// How many things it waits for that are no work: a time, a signal, a child. Of what it calls, too.
    pub(crate) wait_count: AtomicU32,
    /// When it was made in this life, by the wall clock and by the one that never jumps.
    pub(crate) made_at: (Timestamp, Duration),
    /// What it waits for, if it could as well be begun again when that is over.
    resting: Mutex<Option<Resting>>,
    /// Tries that have ended, or are under way.
    pub(crate) tries: AtomicU32,
    /// Calls that its effect made in this try, by name and input.
    pub(crate) calls: Mutex<FxHashMap<(Cow<'static, str>, InputHash), u32>>,
    pub(crate) idempotency_key: OnceLock<String>,
    /// Its trace's: set when the call is in the books, with the run's lock free.
    pub(crate) span: OnceLock<Span>,
    /// Whoever watches was told that its effect has ended.
    pub(crate) is_end_told: AtomicBool,
}

/// Which call an effect is for.
pub(crate) struct EffectOf {
    pub(crate) input_hash: InputHash,
    pub(crate) occurrence: u32,
    /// The position of its start.
    pub(crate) sequence: Sequence,
    /// When it was made first.
    pub(crate) called_at: Timestamp,
}

impl EffectContext {
    /// The context of a call's effect. `is_inline`: it runs inside the body's poll.
    pub(crate) fn new(
        shared: &Arc<RunShared>,
        definition: &'static TraceDefinition,
        of: EffectOf,
        outer: Option<&Arc<Self>>,
        is_inline: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::clone(shared),
            definition,
            name: definition.name.into(),
            input_hash: of.input_hash,
            occurrence: of.occurrence,
            codec: definition.policy.codec,
            sequence: of.sequence,
            called_at: of.called_at,
            made_at: shared.moment(of.sequence),
            outer: outer.cloned(),
            is_inline,
            wait_count: AtomicU32::new(0),
            resting: Mutex::default(),
            tries: AtomicU32::new(0),
            calls: Mutex::default(),
            idempotency_key: OnceLock::new(),
            span: OnceLock::new(),
            is_end_told: AtomicBool::new(false),
        })
    }

    /// What it waits for, if it could as well be begun again when that is over.
    pub(crate) fn resting(&self) -> Option<Resting> {
        *self.resting.lock()
    }

    pub(crate) fn set_resting(&self, resting: Option<Resting>) {
        *self.resting.lock() = resting;
    }

    /// What its effect's own calls are made in: the same in every attempt.
    pub(crate) fn scope(&self) -> Scope {
        let outer = self.outer.as_ref().map(|outer| outer.scope()).unwrap_or_default();
        outer.within(&self.name, self.input_hash, self.occurrence)
    }

    /// What names it to a service: see [`idempotency_key`].
    pub(crate) fn key(&self) -> &str {
        self.idempotency_key.get_or_init(|| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(self.shared.run.as_bytes());
            hasher.update(self.scope().as_bytes());
            hasher.finalize().to_hex()[..32].to_owned()
        })
    }

    /// How many calls of this name and input its effect has made in this try; counts this one.
    #[expect(clippy::ptr_arg, reason = "a name that the program holds is cloned without a copy")]
    pub(crate) fn count(&self, name: &Cow<'static, str>, input_hash: InputHash) -> u32 {
        let mut calls = self.calls.lock();
        let count = calls.entry((name.clone(), input_hash)).or_insert(0);
        let occurrence = *count;
        *count += 1;
        occurrence
    }

    /// The call is in the books: its span begins, in the one that it is called in.
    pub(crate) fn called(&self) {
        let span = || spans::trace(self.shared.run, Some(self.sequence), &self.name, self.occurrence);
        self.span.get_or_init(span);
    }

    /// Its effect begins, in this life of the process.
    pub(crate) fn effect_begins(&self) {
        spans::executes(self.span.get());
        self.counts(|numbers| numbers.started.increment(1));
    }

    /// Its effect has ended, or was dropped; told once. `micros` is `None` if it just waited.
    pub(crate) fn effect_ended(&self, outcome: &TraceOutcome, tries: u32, micros: Option<u64>) {
        if self.is_end_told.swap(true, Ordering::Relaxed) {
            return;
        }
        spans::completed(self.span.get(), outcome, tries);
        self.counts(|numbers| numbers.completed(outcome, micros.map(Duration::from_micros)));
    }

    /// A try has failed, and another follows at this moment, after this wait. With the run's lock free.
    pub(crate) fn is_tried_again(&self, due: (Timestamp, Duration), error: &ErrorRecord) {
        self.counts(|numbers| numbers.retries.increment(1));
        let task = self.shared.state.lock().appender.plan.definition.name;
        events::retried(self.shared.run, task, &self.name, self.tries.load(Ordering::Relaxed), due, error);
    }

    fn counts(&self, count: impl FnOnce(&TraceNumbers)) {
        self.shared.environment.metrics.of_trace(self.definition, count);
    }

    /// It was answered from the log.
    pub(crate) fn replayed(&self, outcome: &TraceOutcome) {
        spans::replayed(self.span.get(), outcome);
        self.shared.environment.metrics.traces_replayed.increment(1);
    }

    /// A new try begins.
    pub(crate) fn begin_try(&self) {
        self.calls.lock().clear();
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Context>> = const { RefCell::new(None) };
    static GROUP: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

impl Context {
    fn span(&self) -> Option<&Span> {
        match self {
            Self::Body(shared) => Some(&shared.span),
            Self::Effect(effect) => effect.span.get(),
        }
    }
}

/// Takes a context back when dropped.
pub(crate) struct Entered {
    outer: Option<Context>,
    /// Whether the context's span was entered with it.
    in_span: bool,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let inner = CURRENT.with(|current| std::mem::replace(&mut *current.borrow_mut(), self.outer.take()));
        if self.in_span
            && let Some(span) = inner.as_ref().and_then(Context::span)
        {
            span.with_subscriber(|(id, subscriber)| subscriber.exit(id));
        }
        // Dropped here, with the cell free: the last reference to a run may run user code.
        drop(inner);
    }
}

/// Sets the context of what this thread does until the guard is dropped, and enters its span: here, so that whatever is
/// polled as a body or an effect, on whichever thread, is in it.
pub(crate) fn enter(context: Context) -> Entered {
    let entered = context.span().and_then(|span| span.with_subscriber(|(id, subscriber)| subscriber.enter(id)));
    let in_span = entered.is_some();
    Entered { outer: CURRENT.with(|current| current.borrow_mut().replace(context)), in_span }
}

/// Leaves all contexts until the guard is dropped: what is done there is neither a body's nor an effect's.
pub(crate) fn leave() -> Entered {
    Entered { outer: CURRENT.with(|current| current.borrow_mut().take()), in_span: false }
}

/// The context of what this thread does.
pub(crate) fn current() -> Option<Context> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Whether this run's body is being polled on this thread, and not an effect.
pub(crate) fn is_body_of(run: RunId) -> bool {
    CURRENT.with(|current| matches!(&*current.borrow(), Some(Context::Body(shared)) if shared.run == run))
}

/// What the engine whose run this thread works for was set up with.
pub(crate) fn environment() -> Option<Arc<Environment>> {
    CURRENT.with(|current| match &*current.borrow() {
        Some(Context::Body(shared)) => Some(Arc::clone(&shared.environment)),
        Some(Context::Effect(effect)) => Some(Arc::clone(&effect.shared.environment)),
        None => None,
    })
}

/// A future that is polled as an effect, wherever that happens.
pub(crate) struct InContext<F> {
    pub(crate) context: Arc<EffectContext>,
    pub(crate) future: F,
}

impl<F: Future + Unpin> Future for InContext<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let _entered = enter(Context::Effect(Arc::clone(&self.context)));
        Pin::new(&mut self.future).poll(cx)
    }
}

/// How the engine whose run is polled on this thread writes payloads; [`Encoding::DEFAULT`] outside of runs.
pub fn current_encoding() -> Encoding {
    CURRENT.with(|current| match &*current.borrow() {
        Some(Context::Body(shared)) => shared.environment.encoding.clone(),
        Some(Context::Effect(effect)) => effect.shared.environment.encoding.clone(),
        None => Encoding::DEFAULT,
    })
}

/// How the effect that is polled on this thread writes its items: as its trace's attribute says, else as its engine does.
pub fn effect_codec() -> Option<PayloadCodec> {
    CURRENT.with(|current| match &*current.borrow() {
        Some(Context::Effect(effect)) => effect.codec,
        _ => None,
    })
}

/// Which effect is polled on this thread: the same bytes in every attempt, and in every run of the same body. `None` if none is.
pub fn effect_scope() -> Option<[u8; 16]> {
    CURRENT.with(|current| match &*current.borrow() {
        Some(Context::Effect(effect)) => Some(*effect.scope().as_bytes()),
        _ => None,
    })
}

/// Whether values are checked thoroughly before they are recorded on this thread.
pub fn is_strict() -> bool {
    environment().is_some_and(|environment| environment.decoy.is_some())
}

/// The groups that calls are made in, on this thread.
pub(crate) fn group() -> Option<Arc<str>> {
    GROUP.with(|group| group.borrow().clone())
}

/// A future whose traces are shown together.
///
/// Made by [`grouped`].
#[derive(Debug)]
pub struct Grouped<F> {
    path: Option<Arc<str>>,
    name: String,
    future: Pin<Box<F>>,
}

/// Labels the traces that a future calls: they are shown together in the run's timeline, under this name. Groups nest. A
/// group is no part of what a trace is known by: it may be renamed while runs are unfinished.
pub fn grouped<F: Future>(name: impl Into<String>, future: F) -> Grouped<F> {
    Grouped { path: None, name: name.into(), future: Box::pin(future) }
}

struct InGroup(Option<Arc<str>>);

impl Drop for InGroup {
    fn drop(&mut self) {
        GROUP.with(|group| *group.borrow_mut() = self.0.take());
    }
}

impl<F: Future> Future for Grouped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let path = this.path.get_or_insert_with(|| match group() {
            Some(outer) => format!("{outer}/{}", this.name).into(),
            None => this.name.as_str().into(),
        });
        let path = Arc::clone(path);
        let _group = InGroup(GROUP.with(|group| group.borrow_mut().replace(path)));
        this.future.as_mut().poll(cx)
    }
}

/// A string that names the effect under way: the same on every try, replay, resume and attempt, and different for every
/// other trace. Pass it to the service that is called, and the effect happens once there too.
///
/// 32 hexadecimal digits, made of run, trace name, input hash and occurrence, and of those of the traces it is called in.
///
/// # Errors
/// Of kind `OutsideTask` if no trace's effect is under way on this thread.
pub fn idempotency_key() -> Result<String> {
    let Some(Context::Effect(effect)) = current() else {
        return Err(Error::new(
            ErrorKind::OutsideTask,
            "idempotency_key() names the trace whose effect calls it: call it inside a #[trace] function",
        ));
    };
    Ok(effect.key().to_owned())
}

/// The clock and the randomness of the engine whose run this thread works for.
///
/// # Errors
/// Of kind `OutsideTask` outside tasks and traces.
pub fn clock_and_entropy() -> Result<(Arc<dyn Clock>, Arc<dyn Entropy>)> {
    let environment = environment().ok_or_else(|| Error::new(ErrorKind::OutsideTask, "this is recorded by a run"))?;
    Ok((Arc::clone(&environment.clock), Arc::clone(&environment.entropy)))
}

/// What was given to the engine's builder under this type: a client, a pool, a configuration.
///
/// Works in a task's body and in a trace's effect. What it returns is not recorded: use it for effects, not to decide
/// what a task does.
///
/// # Errors
/// Of kind `NotProvided` if the builder was given none; of kind `OutsideTask` outside tasks and traces.
pub fn provided<T: Any + Send + Sync>() -> Result<Arc<T>> {
    let Some(environment) = environment() else {
        return Err(Error::new(
            ErrorKind::OutsideTask,
            "provided() takes from the engine that runs the task: call it inside a #[task] or #[trace] function",
        ));
    };
    let found = environment.provided.get(&TypeId::of::<T>()).cloned();
    found.and_then(|any| any.downcast().ok()).ok_or_else(|| {
        let name = std::any::type_name::<T>();
        Error::new(
            ErrorKind::NotProvided,
            format!("no {name} was provided: call Engine::builder().provide(…) with one"),
        )
    })
}
