//! `determinism(task)…check()`: what is to be explored of a task.
//!
//! The builder: inputs, stubs, what goes wrong, how much. `search` explores.
//!
//! Invariant: inputs and stubs are of the functions' own types.

use std::fmt::Debug;
use std::panic::Location;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::strategy::{Just, Strategy};
use relive_engine::error::Error;
use relive_engine::id::RunId;
use relive_engine::payload::Payload;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::elsewhere;
use super::explore::Report;
use super::function::{Returned, TaskFunction, Tested, TraceFunction, stub_of};
use super::life::SetUp;
use super::search::Search;
use super::stub::{Stub, Stubs};
use crate::builder::Builder;

/// How many inputs are drawn, if nothing is said: 256, as proptest does.
pub const CASES: u32 = 256;

/// How many interruptions of a case are explored, if nothing is said, and a third as many other points: 12, so that all of a
/// task of a few calls are, and a debug build explores a thousand cases in some ten seconds.
pub const POINTS: usize = 12;

/// Explores a task: whether it does the same however it is interrupted, in whatever order its calls end.
///
/// The task is a `#[task]` function, or a closure that calls one (`|text: String| digest(&text)`). Give it
/// [`inputs`](Determinism::inputs) and stubs, and [`check`](Determinism::check) it in a plain `#[test]`.
///
/// Time is virtual, also tokio's: what sleeps does not keep a test waiting.
#[track_caller]
pub fn determinism<F: TaskFunction<M>, M>(task: F) -> Determinism<F, M, Just<()>> {
    Determinism {
        task,
        inputs: Just(()),
        settings: Settings {
            stubs: Stubs::default(),
            set_ups: Vec::new(),
            signals: Vec::new(),
            environment: Vec::new(),
            watched: None,
            cases: CASES,
            points: POINTS,
            seed: None,
            elsewhere: true,
            keeps: true,
            kept_in: None,
            source: Location::caller(),
        },
        marker: std::marker::PhantomData,
    }
}

/// What is to be explored. Made by [`determinism`].
#[must_use = "nothing is explored until this is checked"]
pub struct Determinism<F, M, S> {
    pub(crate) task: F,
    pub(crate) inputs: S,
    pub(crate) settings: Settings,
    marker: std::marker::PhantomData<fn() -> M>,
}

/// What does not depend on the task's types.
pub(crate) struct Settings {
    pub(crate) stubs: Stubs,
    pub(crate) set_ups: Vec<SetUp>,
    pub(crate) signals: Vec<(String, Payload)>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) watched: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    pub(crate) cases: u32,
    pub(crate) points: usize,
    pub(crate) seed: Option<u64>,
    pub(crate) elsewhere: bool,
    pub(crate) keeps: bool,
    pub(crate) kept_in: Option<PathBuf>,
    pub(crate) source: &'static Location<'static>,
}

impl<F, M, S> Debug for Determinism<F, M, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Determinism").field("task", &std::any::type_name::<F>()).finish_non_exhaustive()
    }
}

impl<F: TaskFunction<M>, M, S> Determinism<F, M, S> {
    /// Where inputs are from: a strategy of proptest's. The input of a task of several arguments is a tuple.
    pub fn inputs<I: Strategy<Value = F::Input>>(self, inputs: I) -> Determinism<F, M, I> {
        Determinism { task: self.task, inputs, settings: self.settings, marker: self.marker }
    }

    /// Runs this in place of a trace. It takes the trace's argument, or a tuple of its arguments, and returns what the
    /// function returns; for a stream or an iterator, a `Vec` of its items. Traces that are not stubbed run as they are.
    ///
    /// # Panics
    /// If the trace cannot be told from the function item: name it, by [`stub_named`](Self::stub_named).
    pub fn stub<T, N, B>(mut self, trace: T, stub: B) -> Self
    where
        T: TraceFunction<N> + 'static,
        N: 'static,
        B: Fn(T::Input) -> <T::Returned as Returned>::Stubbed + Send + Sync + 'static,
    {
        drop(trace);
        self.settings.stubs.insert(stub_of::<T, N, B>(stub));
        self
    }

    /// As [`stub`](Self::stub), by the trace's name on record: for methods, generic functions, and arguments that are
    /// skipped. `I` is what all recorded arguments together are read as: a struct with their names, or
    /// [`Value`](crate::Value).
    pub fn stub_named<I, T, E>(mut self, name: &str, stub: impl Fn(I) -> Result<T, E> + Send + Sync + 'static) -> Self
    where
        I: DeserializeOwned,
        T: Serialize + DeserializeOwned + 'static,
        E: 'static,
    {
        self.settings.stubs.insert(Stub::one(name, move |arguments| Ok(stub(arguments.decode()?))));
        self
    }

    /// As [`stub_named`](Self::stub_named), of a stream or an iterator.
    pub fn stub_items_named<I, T, E>(
        mut self,
        name: &str,
        stub: impl Fn(I) -> Vec<Result<T, E>> + Send + Sync + 'static,
    ) -> Self
    where
        I: DeserializeOwned,
        T: Serialize + DeserializeOwned + 'static,
        E: 'static,
    {
        self.settings.stubs.insert(Stub::many(name, move |arguments| Ok(stub(arguments.decode()?))));
        self
    }

    /// Has so many of the trace's tries fail, from 0.0 (none) to 1.0 (all): by an error of kind `Failed`, as the trace's
    /// own error type.
    ///
    /// # Panics
    /// If this is no probability, or the trace cannot be told from the function item.
    pub fn failing<T: 'static>(self, trace: T, probability: f64) -> Self {
        drop(trace);
        self.failing_named(Tested::of::<T>().name, probability)
    }

    /// As [`failing`](Self::failing), by the trace's name on record.
    ///
    /// # Panics
    /// If this is no probability.
    pub fn failing_named(mut self, name: &str, probability: f64) -> Self {
        self.settings.stubs.chance(name, probability, |chance| chance.fail = probability);
        self
    }

    /// Has so many of the trace's tries panic.
    ///
    /// # Panics
    /// As for [`failing`](Self::failing).
    pub fn panicking<T: 'static>(mut self, trace: T, probability: f64) -> Self {
        drop(trace);
        self.settings.stubs.chance(Tested::of::<T>().name, probability, |chance| chance.panic = probability);
        self
    }

    /// Has so many of the trace's tries take so long, by virtual time.
    ///
    /// # Panics
    /// As for [`failing`](Self::failing).
    pub fn delaying<T: 'static>(mut self, trace: T, probability: f64, delay: Duration) -> Self {
        drop(trace);
        self.settings.stubs.chance(Tested::of::<T>().name, probability, |chance| {
            chance.delay = probability;
            chance.delayed = delay;
        });
        self
    }

    /// Sends the run a signal when it has nothing else to wait for but a time. Several come in the order in which they are
    /// given here.
    ///
    /// # Panics
    /// If the value cannot be recorded.
    pub fn signal<T: Serialize>(mut self, name: &str, value: T) -> Self {
        let payload =
            Payload::encode(&value).unwrap_or_else(|error| panic!("signal {name} cannot be recorded: {error}"));
        self.settings.signals.push((name.to_owned(), payload));
        self
    }

    /// Sets up every engine that is opened: `|builder| builder.provide(client())`.
    pub fn engine(mut self, set_up: impl Fn(Builder) -> Builder + Send + Sync + 'static) -> Self {
        self.settings.set_ups.push(Arc::new(set_up));
        self
    }

    /// What must not change when the body is run again without its effects: a count of calls, a table's rows. If it does,
    /// the body has an effect that is in no trace.
    pub fn watching<W: Debug>(mut self, watched: impl Fn() -> W + Send + Sync + 'static) -> Self {
        self.settings.watched = Some(Arc::new(move || format!("{:?}", watched())));
        self
    }

    /// An environment variable that the other process gets, beside what is changed of all others.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.settings.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How many inputs are drawn. Default: [`CASES`].
    pub fn cases(mut self, cases: u32) -> Self {
        self.settings.cases = cases;
        self
    }

    /// How many interruptions of each case are explored, and a third as many other points (orders, failures, cancellations, lost
    /// acknowledgements): all of them where there are so few, else a sample. Default: [`POINTS`].
    pub fn points(mut self, points: usize) -> Self {
        self.settings.points = points;
        self
    }

    /// What is drawn: the same seed, the same cases. Default: chance, or the environment variable `RELIVE_KIT_SEED`.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// Whether another process replays some of the logs. Default: it does.
    pub fn elsewhere(mut self, elsewhere: bool) -> Self {
        self.settings.elsewhere = elsewhere;
        self
    }

    /// Where failures are kept: their seeds in a file named after the test's source, and the logs of what failed. Default:
    /// seeds beside that source (`tests/digest.proptest-regressions`), logs in `relive-kit` among temporary files, or where
    /// the environment variable `RELIVE_KIT_EXPORTS` says.
    pub fn kept_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.settings.kept_in = Some(directory.into());
        self
    }

    /// Whether a failure is kept in a file beside the test, and tried first next time. Default: it is.
    pub fn keeping(mut self, keeps: bool) -> Self {
        self.settings.keeps = keeps;
        self
    }
}

/// How a task failed the exploration: printed, the story of the smallest case.
#[derive(Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// Which promise it broke.
    pub check: Check,
    /// What was done to the run: a few words.
    pub point: String,
    /// The smallest input found.
    pub input: String,
    /// What draws the same cases again.
    pub seed: u64,
    /// The file with the run's log, and the run; if failures are kept.
    pub export: Option<(PathBuf, RunId)>,
    pub(crate) story: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.story)?;
        if let Some((path, run)) = &self.export {
            let path = path.display();
            writeln!(f, "  its log: relive import {path} && relive replay {run}")?;
        }
        write!(f, "  the same cases again: RELIVE_KIT_SEED={:#x}", self.seed)
    }
}

impl Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl<F, M, S> Determinism<F, M, S>
where
    F: TaskFunction<M>,
    F::Input: Clone + Debug,
    F::Value: DeserializeOwned,
    F::Error: From<Error>,
    S: Strategy<Value = F::Input>,
{
    /// Explores, and says what was explored.
    ///
    /// # Panics
    /// With the story of the smallest case, if the task is not deterministic; if this is called inside a tokio runtime.
    pub fn check(self) -> Report {
        match self.find() {
            Ok(report) => report,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Explores, and says what was explored, or found.
    ///
    /// # Errors
    /// The smallest case, if the task is not deterministic.
    ///
    /// # Panics
    /// If this is called inside a tokio runtime, or a stub names no trace.
    pub fn find(self) -> Result<Report, Box<Failure>> {
        assert!(
            tokio::runtime::Handle::try_current().is_err(),
            "determinism(…) has a runtime of its own, in which time is virtual: check it in a plain #[test]"
        );
        self.settings.stubs.check_names();
        let turn = elsewhere::turn();
        if let Some(outcome) = elsewhere::replay_all(turn, &self.settings.set_ups) {
            // Another process has checked this, and asks for what is checked later in the same test.
            return outcome.map_err(Box::new);
        }
        let outcome = Search::of(&self).all(turn);
        elsewhere::came_to(outcome.as_ref().map_err(|failure| failure.as_ref().clone()).copied());
        outcome
    }
}
