//! `TestEngine`: an engine for tests, in memory, whose time jumps to what is due next when everything waits.
//!
//! Invariant: time does not pass while an effect is under way, but by what tokio's own time passes.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use relive_engine::error::{Error, Result};
use relive_engine::event::{ErrorRecord, Event, TraceOutcome};
use relive_engine::id::{RunId, Sequence};
use relive_engine::payload::Payload;
use relive_engine::value::Value;
use relive_storage::{MemoryStore, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::clock::{FIRST_MOMENT, VirtualClock};
use super::function::{Returned, Tested, TraceFunction, stub_of};
use super::log::Log;
use super::memory::Moments;
use super::stage::{Manner, Stage};
use super::stub::{Stub, Stubs};
use crate::builder::Builder;
use crate::engine::Engine;

/// An engine over a store in memory, with virtual time and stubs. Dereferences to [`Engine`].
///
/// Its clock begins on 1 January 2030; over what another engine left, where that one's stands. `relive::now()` is what it shows
/// when a run asks. Whenever everything waits for a time, that time has come; so no test waits for a sleep, a timeout or a
/// retry. In a `#[relive::test]`, tokio's own time jumps, too.
pub struct TestEngine {
    engine: Engine,
    clock: VirtualClock,
    store: MemoryStore,
    flow: tokio::task::JoinHandle<()>,
}

impl std::fmt::Debug for TestEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestEngine").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Deref for TestEngine {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Drop for TestEngine {
    fn drop(&mut self) {
        self.flow.abort();
    }
}

/// Sets a [`TestEngine`] up.
#[must_use = "an engine is there when it is opened"]
pub struct TestEngineBuilder {
    stubs: Stubs,
    builder: Builder,
    store: MemoryStore,
    /// Whose clock goes on, if it is opened over what another left.
    left: Option<VirtualClock>,
    seed: u64,
}

impl std::fmt::Debug for TestEngineBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestEngineBuilder").field("stubs", &self.stubs).finish_non_exhaustive()
    }
}

impl TestEngineBuilder {
    /// Runs this in place of a trace: see [`Determinism::stub`](super::Determinism::stub).
    ///
    /// # Panics
    /// If the trace cannot be told from the function item.
    pub fn stub<T, N, B>(mut self, trace: T, stub: B) -> Self
    where
        T: TraceFunction<N> + 'static,
        N: 'static,
        B: Fn(T::Input) -> <T::Returned as Returned>::Stubbed + Send + Sync + 'static,
    {
        drop(trace);
        self.stubs.insert(stub_of::<T, N, B>(stub));
        self
    }

    /// As [`stub`](Self::stub), by name: see [`Determinism::stub_named`](super::Determinism::stub_named).
    pub fn stub_named<I, T, E>(mut self, name: &str, stub: impl Fn(I) -> Result<T, E> + Send + Sync + 'static) -> Self
    where
        I: DeserializeOwned,
        T: Serialize + DeserializeOwned + 'static,
        E: 'static,
    {
        self.stubs.insert(Stub::one(name, move |arguments| Ok(stub(arguments.decode()?))));
        self
    }

    /// Has so many of the trace's tries fail: see [`Determinism::failing`](super::Determinism::failing).
    ///
    /// # Panics
    /// If this is no probability, or the trace cannot be told from the function item.
    pub fn failing<T: 'static>(mut self, trace: T, probability: f64) -> Self {
        drop(trace);
        self.stubs.chance(Tested::of::<T>().name, probability, |chance| chance.fail = probability);
        self
    }

    /// What draws the failures. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets up the engine itself: `|builder| builder.provide(client())`.
    pub fn engine(mut self, set_up: impl FnOnce(Builder) -> Builder) -> Self {
        self.builder = set_up(self.builder);
        self
    }

    /// Opens over what another test engine left, as after a restart. Its clock begins where the other's stands by then: no
    /// moment that is on record is to come.
    pub fn over(mut self, left: &TestEngine) -> Self {
        self.store = left.store.clone();
        self.left = Some(left.clock.clone());
        self
    }

    /// Opens it. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// As for [`Builder::open_store`].
    ///
    /// # Panics
    /// If a stub names no trace of the program.
    pub async fn open(self) -> Result<TestEngine> {
        self.stubs.check_names();
        let clock = VirtualClock::at(self.left.as_ref().map_or(FIRST_MOMENT, VirtualClock::wall));
        let manner = Manner { seed: self.seed, ..Manner::default() };
        let stage = Stage::new(&Arc::new(self.stubs), &Arc::default(), manner, &clock, &Moments::default());
        let builder = self.builder.clock(clock.clone()).tested(Arc::new(stage.clone()), None);
        let engine = builder.open_store(Arc::new(self.store.clone()) as Arc<dyn Store>).await?;
        let flow = super::flow::spawn(&clock, &stage);
        Ok(TestEngine { engine, clock, store: self.store, flow })
    }
}

impl TestEngine {
    /// Opens one without stubs. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// As for [`Builder::open_store`].
    pub async fn open() -> Result<Self> {
        Self::builder().open().await
    }

    /// Sets one up.
    pub fn builder() -> TestEngineBuilder {
        let builder = Engine::builder().strict(true).sleep_out_after(Duration::MAX).shutdown_grace(Duration::ZERO);
        TestEngineBuilder { stubs: Stubs::default(), builder, store: MemoryStore::new(), left: None, seed: 0 }
    }

    /// Time passes now, for whoever sleeps by then.
    pub fn advance(&self, by: Duration) {
        self.clock.pass(by);
    }

    /// All calls of a trace by the bodies of all runs, in the order in which they began; by its name on record.
    ///
    /// # Errors
    /// If a log cannot be read.
    pub fn calls(&self, trace: &str) -> Result<Vec<LoggedCall>> {
        let mut calls = Vec::new();
        let mut runs = self.engine.runs().collect::<Result<Vec<_>>>()?;
        // The newest is first there.
        runs.reverse();
        for run in runs {
            calls.extend(calls_of(&self.engine, run.run, trace)?);
        }
        Ok(calls)
    }

    /// How often bodies called a trace, by its name on record.
    ///
    /// # Panics
    /// If a log cannot be read.
    pub fn call_count(&self, trace: &str) -> usize {
        self.calls(trace).unwrap_or_else(|error| panic!("the logs cannot be read: {error}")).len()
    }

    /// Holds that a trace was called with these inputs, in any order; each as [`LoggedCall::input`] prints.
    ///
    /// # Panics
    /// If it was called otherwise.
    #[track_caller]
    pub fn assert_called(&self, trace: &str, inputs: &[&str]) {
        let calls = self.calls(trace).unwrap_or_else(|error| panic!("the logs cannot be read: {error}"));
        let mut called: Vec<_> = calls.iter().map(|call| call.input.to_string()).collect();
        let mut wanted: Vec<_> = inputs.iter().map(ToString::to_string).collect();
        called.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(called, wanted, "the inputs that {trace} was called with");
    }

    /// What a run did, for a snapshot: each thing that was handed to its body, and what the body did then. Neither ids nor
    /// times are in it, and what is done at once is in alphabetical order.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn timeline(&self, run: RunId) -> Result<String> {
        timeline(&self.engine, run)
    }
}

/// What a run did, for a snapshot: see [`TestEngine::timeline`].
///
/// # Errors
/// If the log cannot be read.
pub fn timeline(engine: &Engine, run: RunId) -> Result<String> {
    Ok(Log::of(engine, run)?.lines().join("\n"))
}

/// A call of a trace, as a log holds it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoggedCall {
    /// The run whose body called it.
    pub run: RunId,
    /// Its arguments: a map from name to value. Printed as JSON.
    pub input: Value,
    /// What it came to; `None` if it has not ended, or was dropped. Of a stream, the end.
    pub outcome: Option<std::result::Result<Value, ErrorRecord>>,
    /// The items of a stream or an iterator.
    pub items: Vec<Value>,
    /// How often its effect was tried.
    pub tries: u32,
}

impl LoggedCall {
    /// What it returned.
    ///
    /// # Errors
    /// Its own error; or that it has not ended, or is of another type.
    pub fn output<T: DeserializeOwned + Serialize>(&self) -> Result<T> {
        match &self.outcome {
            None => Err(Error::msg("it has not ended")),
            Some(Err(record)) => Err(record.to_error()),
            Some(Ok(value)) => Ok(Payload::encode(value)?.decode()?),
        }
    }
}

fn calls_of(engine: &Engine, run: RunId, trace: &str) -> Result<Vec<LoggedCall>> {
    let mut calls: BTreeMap<Sequence, LoggedCall> = BTreeMap::new();
    for logged in engine.events(run) {
        let logged = logged?;
        match logged.event {
            Event::TraceStarted(started) if started.name == trace => {
                let input = started.input.to_value();
                let call = LoggedCall { run, input, outcome: None, items: Vec::new(), tries: 0 };
                calls.insert(logged.sequence, call);
            }
            Event::TraceYielded(yielded) => {
                if let Some(call) = calls.get_mut(&yielded.trace) {
                    call.items.push(yielded.item.to_value());
                }
            }
            Event::TraceCompleted(completed) => {
                if let Some(call) = calls.get_mut(&completed.trace) {
                    call.tries = completed.tries;
                    call.outcome = match completed.outcome {
                        TraceOutcome::Ok(payload) => Some(Ok(payload.to_value())),
                        TraceOutcome::Err(record) => Some(Err(record)),
                        _ => None,
                    };
                }
            }
            _ => {}
        }
    }
    Ok(calls.into_values().collect())
}
