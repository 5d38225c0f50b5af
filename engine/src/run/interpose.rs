//! Where a test may stand between a call and its effect: to put another in its place, to hold what it came to, to count it.
//!
//! Given to the engine as a component; the SDK's `testing` is the one that does. What is asked here is decided before the
//! effect's tries, its log and its durability, so that those are the same with and without.
//!
//! Invariant: without an interposer nothing is copied and nothing is asked.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::definition::TraceDefinition;
use crate::execute;
use crate::id::RunId;
use crate::payload::Payload;

use super::context::EffectContext;
use super::effect::{Blocking, Caught, Effect, unpanicked};
use super::shared::{BoxedFuture, Environment, Output};
use super::source::MakeSource;

/// Stands between calls and their effects.
pub trait Interposer: Send + Sync + 'static {
    /// What runs in place of the effect of a call that is a future.
    fn effect(&self, call: Interposed, effect: Effect) -> Effect;

    /// What yields in place of the source of a stream or an iterator.
    fn source(&self, call: Interposed, source: MakeSource) -> MakeSource;

    /// One try of a plain function: calls `run`, or finds something else.
    fn inline(&self, call: &Interposed, run: &mut dyn FnMut() -> Output) -> Output;
}

/// A call whose effect is about to begin.
#[derive(Clone)]
pub struct Interposed {
    /// Of which trace.
    pub definition: &'static TraceDefinition,
    /// Its arguments as they are recorded: a map from name to value.
    pub input: Payload,
    context: Arc<EffectContext>,
}

impl Interposed {
    /// The run that it is in.
    pub fn run(&self) -> RunId {
        self.context.shared.run
    }

    /// Which call it is: of two runs of the same body, those of the same trace, input and occurrence are alike.
    pub fn scope(&self) -> [u8; 16] {
        *self.context.scope().as_bytes()
    }

    /// What [`idempotency_key`](super::idempotency_key) says in its effect.
    pub fn idempotency_key(&self) -> &str {
        self.context.key()
    }

    /// Which try it is, from 1; where it cannot be tried again, always 1.
    pub fn tries(&self) -> u32 {
        self.context.tries.load(Ordering::Relaxed).max(1)
    }

    /// Whether it runs inside the poll that calls it, so that nothing in it may wait.
    pub fn is_inline(&self) -> bool {
        self.context.is_inline
    }

    /// A future whose panic is a recorded failure, as the engine would make it one.
    pub fn unpanicked(&self, future: BoxedFuture) -> BoxedFuture {
        Box::pin(Caught { future, name: self.definition.name })
    }

    /// A plain function on a thread that may block, from when this is first polled.
    pub fn blocking(&self, run: Blocking) -> BoxedFuture {
        let (context, name) = (Arc::clone(&self.context), self.definition.name);
        Box::pin(async move {
            let runtime = context.shared.environment.runtime.clone();
            execute::spawn_blocking(&runtime, move || {
                let _entered = super::context::enter(super::context::Context::Effect(context));
                unpanicked(name, run).unwrap_or_else(Err)
            })
            .await
        })
    }
}

impl std::fmt::Debug for Interposed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interposed").field("name", &self.definition.name).field("input", &self.input).finish()
    }
}

/// The input, if somebody will want it.
pub(super) fn input(environment: &Environment, input: &Payload) -> Option<Payload> {
    environment.interposer.as_ref().map(|_| input.clone())
}

fn call<'a>(
    context: &'a Arc<EffectContext>,
    definition: &'static TraceDefinition,
    input: Option<Payload>,
) -> Option<(&'a Arc<dyn Interposer>, Interposed)> {
    let interposer = context.shared.environment.interposer.as_ref()?;
    Some((interposer, Interposed { definition, input: input?, context: Arc::clone(context) }))
}

pub(super) fn effect(
    context: &Arc<EffectContext>,
    definition: &'static TraceDefinition,
    input: Option<Payload>,
    effect: Effect,
) -> Effect {
    match call(context, definition, input) {
        Some((interposer, call)) => interposer.effect(call, effect),
        None => effect,
    }
}

pub(super) fn source(
    context: &Arc<EffectContext>,
    definition: &'static TraceDefinition,
    input: Option<Payload>,
    source: MakeSource,
) -> MakeSource {
    match call(context, definition, input) {
        Some((interposer, call)) => interposer.source(call, source),
        None => source,
    }
}

/// Has `tries` try a plain function, or what stands in its place.
pub(super) fn inline<T>(
    context: &Arc<EffectContext>,
    definition: &'static TraceDefinition,
    input: Option<Payload>,
    run: &mut dyn FnMut() -> Output,
    tries: impl FnOnce(&mut dyn FnMut() -> Output) -> T,
) -> T {
    match call(context, definition, input) {
        Some((interposer, call)) => tries(&mut || interposer.inline(&call, run)),
        None => tries(run),
    }
}
