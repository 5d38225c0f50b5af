//! Stands between calls and their effects: runs stubs, makes effects fail, holds what they came to until it is to be
//! handed over, and sees which of them begin.
//!
//! One for each engine that the kit opens. What effects found is kept for the whole case (`Memory`): so what a call finds
//! depends on nothing but the call, and lives that differ in where they were interrupted can be compared.
//!
//! Invariant: what is held is handed over only when the loop that directs the run (`direct`) says so.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;

use parking_lot::Mutex;
use relive_engine::clock::Clock;
use relive_engine::id::RunId;
use relive_engine::payload::Payload;
use relive_engine::run::{BoxedFuture, Effect, Interposed, Interposer, MakeSource, Output, Sink};
use tokio::sync::oneshot;

use super::clock::VirtualClock;
use super::memory::{Items, Memory, Moments, Name, Scope, drawn};
use super::stub::{self, Found, Stubs};
use crate::trace::unit;

/// What the kit makes of one call's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Injected {
    Failure,
    Panic,
}

/// What one life of the process is to do with effects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    /// Whether effects wait for the loop that directs the run, and are remembered.
    pub(crate) directed: bool,
    pub(crate) seed: u64,
    pub(crate) injected: BTreeMap<Scope, Injected>,
}

/// An effect that has come to something.
struct Held {
    scope: Scope,
    release: oneshot::Sender<()>,
}

#[derive(Default)]
struct State {
    held: Vec<Held>,
    /// Effects that are under way for real.
    running: BTreeMap<Scope, usize>,
    progress: u64,
    /// Calls whose success is durable: their effects must not begin again.
    acknowledged: BTreeSet<(RunId, Scope)>,
    again: Vec<Scope>,
    changed_keys: Vec<Scope>,
}

struct Shared {
    stubs: Arc<Stubs>,
    memory: Arc<Memory>,
    manner: Manner,
    clock: VirtualClock,
    state: Mutex<State>,
    /// What the moment was, by call: the same in every life of a script. Where nothing is directed, it is what the clock says.
    moments: Moments,
}

/// Stands between calls and their effects. Clones are the same.
#[derive(Clone)]
pub(crate) struct Stage(Arc<Shared>);

impl Stage {
    pub(crate) fn new(
        stubs: &Arc<Stubs>,
        memory: &Arc<Memory>,
        manner: Manner,
        clock: &VirtualClock,
        moments: &Moments,
    ) -> Self {
        Self(Arc::new(Shared {
            stubs: Arc::clone(stubs),
            memory: Arc::clone(memory),
            manner,
            clock: clock.clone(),
            state: Mutex::default(),
            moments: Arc::clone(moments),
        }))
    }

    /// The calls whose effects have come to something that nobody has yet.
    pub(crate) fn held(&self) -> Vec<Scope> {
        let mut state = self.0.state.lock();
        state.held.retain(|held| !held.release.is_closed());
        state.held.iter().map(|held| held.scope).collect()
    }

    /// Hands over what this call's effect came to.
    pub(crate) fn release(&self, scope: &Scope) {
        let held = {
            let mut state = self.0.state.lock();
            let position = state.held.iter().position(|held| held.scope == *scope);
            position.map(|position| state.held.remove(position))
        };
        if let Some(held) = held {
            // Its trace may have been dropped since.
            let _ = held.release.send(());
        }
    }

    /// The calls whose effects are under way.
    pub(crate) fn running(&self) -> Vec<Scope> {
        self.0.state.lock().running.keys().copied().collect()
    }

    /// Grows with everything that begins or ends.
    pub(crate) fn progress(&self) -> u64 {
        self.0.state.lock().progress
    }

    /// The success of these calls is durable.
    pub(crate) fn acknowledge(&self, calls: impl IntoIterator<Item = (RunId, Scope)>) {
        self.0.state.lock().acknowledged.extend(calls);
    }

    /// Calls whose effects began although their success was durable.
    pub(crate) fn again(&self) -> Vec<Scope> {
        self.0.state.lock().again.clone()
    }

    /// Calls whose idempotency key is not what it was in an earlier life.
    pub(crate) fn changed_keys(&self) -> Vec<Scope> {
        self.0.state.lock().changed_keys.clone()
    }

    fn begins(&self, call: &Interposed) -> Scope {
        let (run, scope) = (call.run(), call.scope());
        let key_changed = {
            let mut known = self.0.memory.known.lock();
            known.names.entry(scope).or_insert_with(|| Name { trace: call.definition.name, input: call.input.clone() });
            let key = call.idempotency_key();
            known.keys.entry((run, scope)).or_insert_with(|| key.to_owned()) != key
        };
        let mut state = self.0.state.lock();
        state.progress += 1;
        if state.acknowledged.contains(&(run, scope)) {
            state.again.push(scope);
        }
        if key_changed {
            state.changed_keys.push(scope);
        }
        scope
    }

    /// What the call finds without running: what is made of it, or what it found before.
    fn known(&self, call: &Interposed, scope: &Scope) -> Option<Output> {
        let name = call.definition.name;
        match self.0.manner.injected.get(scope) {
            Some(Injected::Failure) => return Some(Err(stub::failure(name))),
            Some(Injected::Panic) => return Some(Err(stub::panicked(name))),
            None => {}
        }
        if !self.0.manner.directed {
            return self.chance(call, scope);
        }
        let known = self.0.memory.known.lock().outcomes.get(&(*scope, call.tries())).cloned();
        known.or_else(|| self.chance(call, scope))
    }

    /// What chance makes of the call.
    fn chance(&self, call: &Interposed, scope: &Scope) -> Option<Output> {
        let chance = self.0.stubs.chances.get(call.definition.name)?;
        let (seed, tries) = (self.0.manner.seed, call.tries());
        let part = |number: u32| drawn(seed ^ 0x5eed, scope, tries ^ number << 16) as f64 / u64::MAX as f64;
        if part(1) < chance.fail {
            return Some(Err(stub::failure(call.definition.name)));
        }
        (part(2) < chance.panic).then(|| Err(stub::panicked(call.definition.name)))
    }

    async fn delay(&self, call: &Interposed, scope: &Scope) {
        let Some(chance) = self.0.stubs.chances.get(call.definition.name) else { return };
        let part = drawn(self.0.manner.seed ^ 0xde1a, scope, call.tries()) as f64 / u64::MAX as f64;
        if part < chance.delay {
            self.0.clock.sleep_until(self.0.clock.elapsed().saturating_add(chance.delayed)).await;
        }
    }

    fn remember(&self, call: &Interposed, scope: &Scope, output: &Output) {
        if self.0.manner.directed && !self.0.manner.injected.contains_key(scope) {
            self.0.memory.known.lock().outcomes.insert((*scope, call.tries()), output.clone());
        }
    }

    /// One try of an effect.
    async fn tried(self, call: Interposed, real: BoxedFuture) -> Output {
        let scope = self.begins(&call);
        self.delay(&call, &scope).await;
        let output = match self.known(&call, &scope) {
            Some(output) => output,
            None => {
                let _running = Running::begin(&self, scope);
                match self.0.stubs.stubs.get(call.definition.name).map(|stub| &stub.found) {
                    Some(Found::One(found)) => {
                        let (found, input) = (Arc::clone(found), call.input.clone());
                        call.unpanicked(Box::pin(async move { found(&input) })).await
                    }
                    _ => call.unpanicked(real).await,
                }
            }
        };
        self.remember(&call, &scope, &output);
        self.hold(scope).await;
        output
    }

    /// Waits until it is handed over.
    async fn hold(&self, scope: Scope) {
        if !self.0.manner.directed {
            return;
        }
        let (release, released) = oneshot::channel();
        {
            let mut state = self.0.state.lock();
            state.held.push(Held { scope, release });
            state.progress += 1;
        }
        if released.await.is_err() {
            // The life is over.
            pending::<()>().await;
        }
    }

    /// What is known of the item with this number: itself, or the end.
    fn item(&self, scope: &Scope, at: usize) -> Option<Result<Payload, Output>> {
        let known = self.0.memory.known.lock();
        let items = known.items.get(scope)?;
        match items.items.get(at) {
            Some(item) => Some(Ok(item.clone())),
            None => items.end.clone().map(Err),
        }
    }

    fn remember_items(&self, scope: Scope, change: impl FnOnce(&mut Items)) {
        change(self.0.memory.known.lock().items.entry(scope).or_default());
    }

    /// The items of a stream or an iterator, from the first that is wanted.
    async fn yields(self, call: Interposed, make: MakeSource, from: u64, sink: Sink) -> Output {
        let scope = self.begins(&call);
        let name = call.definition.name;
        if let Some(output) = self.known(&call, &scope) {
            return self.ends(&call, scope, output).await;
        }
        let resumes = call.definition.policy.resumes;
        let handed_on = usize::try_from(from).unwrap_or(usize::MAX);
        let mut at = if resumes { handed_on } else { 0 };
        if let Some(Found::Many(found)) = self.0.stubs.stubs.get(name).map(|stub| &stub.found) {
            let items = found(&call.input);
            self.remember_items(scope, |known| {
                let end = items.iter().find_map(|item| item.clone().err()).map_or_else(unit, Err);
                known.items = items.into_iter().map_while(Result::ok).collect();
                known.end = Some(end);
            });
        }
        let mut source: Option<(BoxedFuture, Sink, usize)> = None;
        let mut make = Some(make);
        loop {
            let next = match self.item(&scope, at) {
                Some(next) => next,
                None => {
                    let _running = Running::begin(&self, scope);
                    let (future, inner, number) = source.get_or_insert_with(|| {
                        let inner = Sink::default();
                        let start = if resumes { at } else { 0 };
                        let made = make.take().map(|make| make(start as u64, inner.clone()));
                        (made.unwrap_or_else(|| Box::pin(pending())), inner, start)
                    });
                    let next = loop {
                        let next = next_of(future, inner).await;
                        *number += 1;
                        if *number > at || next.is_err() {
                            break next;
                        }
                    };
                    self.remember_items(scope, |known| match &next {
                        Ok(item) if known.items.len() == at => known.items.push(item.clone()),
                        Err(end) if known.items.len() == at => known.end = Some(end.clone()),
                        _ => {}
                    });
                    next
                }
            };
            match next {
                Ok(item) => {
                    if at >= handed_on && !call.is_inline() {
                        self.hold(scope).await;
                    }
                    sink.send(item).await;
                    at += 1;
                }
                Err(end) => return self.ends(&call, scope, end).await,
            }
        }
    }

    async fn ends(&self, call: &Interposed, scope: Scope, end: Output) -> Output {
        if !call.is_inline() {
            self.hold(scope).await;
        }
        end
    }
}

/// The next item of a source, or its end.
async fn next_of(future: &mut BoxedFuture, sink: &Sink) -> Result<Payload, Output> {
    std::future::poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        match sink.take() {
            Some(item) => std::task::Poll::Ready(Ok(item)),
            None => polled.map(Err),
        }
    })
    .await
}

impl Interposer for Stage {
    fn effect(&self, call: Interposed, effect: Effect) -> Effect {
        let stage = self.clone();
        match effect {
            Effect::Once(future) => Effect::Once(Box::pin(stage.tried(call, future))),
            Effect::Again(mut make) => Effect::Again(Box::new(move || {
                let real = make();
                Box::pin(stage.clone().tried(call.clone(), real))
            })),
            Effect::Blocking(mut make) => Effect::Again(Box::new(move || {
                let real = call.blocking(make());
                Box::pin(stage.clone().tried(call.clone(), real))
            })),
        }
    }

    fn source(&self, call: Interposed, source: MakeSource) -> MakeSource {
        if !self.0.manner.directed && !self.0.stubs.stubs.contains_key(call.definition.name) {
            return source;
        }
        let stage = self.clone();
        Box::new(move |from, sink| Box::pin(stage.yields(call, source, from, sink)))
    }

    fn inline(&self, call: &Interposed, run: &mut dyn FnMut() -> Output) -> Output {
        let scope = self.begins(call);
        if call.definition.name == "relive::now" && self.0.manner.directed {
            let known = self.0.moments.lock().get(&scope).cloned();
            let output = known.unwrap_or_else(run);
            self.0.moments.lock().insert(scope, output.clone());
            return output;
        }
        if let Some(output) = self.known(call, &scope) {
            self.remember(call, &scope, &output);
            return output;
        }
        let output = match self.0.stubs.stubs.get(call.definition.name).map(|stub| &stub.found) {
            Some(Found::One(found)) => found(&call.input),
            _ => run(),
        };
        self.remember(call, &scope, &output);
        output
    }
}

/// Counts an effect as under way.
struct Running<'a>(&'a Stage, Scope);

impl<'a> Running<'a> {
    fn begin(stage: &'a Stage, scope: Scope) -> Self {
        let mut state = stage.0.state.lock();
        *state.running.entry(scope).or_default() += 1;
        state.progress += 1;
        drop(state);
        Self(stage, scope)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.state.lock();
        state.progress += 1;
        if let Some(count) = state.running.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                state.running.remove(&self.1);
            }
        }
    }
}
