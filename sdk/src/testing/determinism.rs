//! `determinism(task)…check()`: a property test of a task by exploring its interruptions.
//!
//! Draws inputs by proptest and explores each (`explore`); a failure is shrunk, made as small as can be, told (`story`) and
//! kept in a file beside the test.
//!
//! Invariant: what one seed explores, the same seed explores again.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::future::Future;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::any;
use proptest::strategy::{Just, Strategy};
use proptest::test_runner::{
    Config, FailurePersistence, FileFailurePersistence, PersistedSeed, RngAlgorithm, TestCaseError, TestError, TestRng,
    TestRunner,
};
use relive_engine::entropy::{Entropy, SystemEntropy};
use relive_engine::error::Error;
use relive_engine::id::RunId;
use relive_engine::payload::Payload;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::elsewhere::{self, Kept};
use super::explore::{Budget, Explored, Failed, Report, explore};
use super::exported;
use super::function::{Returned, TaskFunction, Tested, TraceFunction, stub_of};
use super::life::{SetUp, World};
use super::recorder::Written;
use super::story;
use super::stub::{Stub, Stubs};
use crate::engine::{Builder, Engine};

/// How many inputs are drawn, if nothing is said: 256, as proptest does.
pub const CASES: u32 = 256;

/// How many interruptions of a case are explored, if nothing is said, and a third as many other points: 12, so that all of a
/// task of a few calls are, and a debug build explores a thousand cases in some ten seconds.
pub const POINTS: usize = 12;

/// How often a point is tried when a failure is made as small as can be: 8, so that what chance hides is seen.
const TRIES: usize = 8;

/// How many points are tried then.
const POINTS_SMALLEST: usize = 256;

/// How often an input is made smaller: 512 times, or for 20 s.
const SHRINKS_MAX: u32 = 512;
const SHRINK_MILLIS_MAX: u32 = 20_000;

/// How many logs another process replays.
const KEPT_MAX: u32 = 16;

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
    task: F,
    inputs: S,
    settings: Settings,
    marker: std::marker::PhantomData<fn() -> M>,
}

/// What does not depend on the task's types.
pub(crate) struct Settings {
    stubs: Stubs,
    set_ups: Vec<SetUp>,
    signals: Vec<(String, Payload)>,
    pub(crate) environment: Vec<(String, String)>,
    watched: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    cases: u32,
    points: usize,
    seed: Option<u64>,
    elsewhere: bool,
    keeps: bool,
    kept_in: Option<PathBuf>,
    source: &'static Location<'static>,
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
    story: String,
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

/// A runtime of one thread, whose time passes only when nothing else is to be done.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    built.unwrap_or_else(|error| panic!("no runtime for the test: {error}"))
}

/// A runtime without time and I/O, for one exploration: so that what bodies spawn there is theirs.
fn decoy() -> tokio::runtime::Runtime {
    let built = tokio::runtime::Builder::new_current_thread().build();
    built.unwrap_or_else(|error| panic!("no runtime for the test: {error}"))
}

/// An exploration under way.
struct Search<'a, F, M, S> {
    of: &'a Determinism<F, M, S>,
    runtime: tokio::runtime::Runtime,
    /// Never runs anything.
    decoy: tokio::runtime::Runtime,
    stubs: Arc<Stubs>,
    seed: u64,
    task: Cell<&'static str>,
    report: RefCell<Report>,
    kept: RefCell<Vec<Kept>>,
    /// The failure that was seen last, told.
    seen: RefCell<Option<Box<Failure>>>,
}

impl<'a, F, M, S> Search<'a, F, M, S>
where
    F: TaskFunction<M>,
    F::Input: Clone + Debug,
    F::Value: DeserializeOwned,
    F::Error: From<Error>,
    S: Strategy<Value = F::Input>,
{
    fn of(of: &'a Determinism<F, M, S>) -> Self {
        let seed = of.settings.seed.or_else(seed_of_environment).unwrap_or_else(drawn_seed);
        Self {
            of,
            runtime: runtime(),
            decoy: decoy(),
            stubs: Arc::new(of.settings.stubs.clone()),
            seed,
            task: Cell::new("?"),
            report: RefCell::default(),
            kept: RefCell::default(),
            seen: RefCell::default(),
        }
    }

    fn all(&self, turn: usize) -> Result<Report, Box<Failure>> {
        let settings = &self.of.settings;
        let moment = elsewhere::moment();
        // What another process finds, it finds in the first cases.
        let first = settings.cases.min(KEPT_MAX);
        self.cases(first, self.seed, true)?;
        let kept = self.kept.take();
        if settings.elsewhere {
            self.report.borrow_mut().replayed_elsewhere = self.elsewhere(turn, &kept)?;
        }
        self.cases(settings.cases - first, !self.seed, false)?;
        self.later(moment, &kept)?;
        Ok(*self.report.borrow())
    }

    /// Explores so many cases; before them, if so, those that are kept.
    fn cases(&self, cases: u32, seed: u64, kept: bool) -> Result<(), Box<Failure>> {
        let settings = &self.of.settings;
        let strategy = (&self.of.inputs, any::<u64>().no_shrink());
        let mut runner = TestRunner::new_with_rng(Config { cases, ..self.config(kept) }, rng(seed));
        let result = runner.run(&strategy, |(input, seed)| {
            let is_first = self.report.borrow().cases == 0;
            let budget = Budget { points: settings.points, tries: 1, slowly: is_first };
            match self.explore(&input, seed, budget) {
                Ok(explored) => {
                    self.keep(&input, explored);
                    Ok(())
                }
                Err(failed) => {
                    let reason = failed.finding.check.to_string();
                    *self.seen.borrow_mut() = Some(self.told(&input, &failed));
                    Err(TestCaseError::fail(reason))
                }
            }
        });
        match result {
            Ok(()) => Ok(()),
            Err(TestError::Abort(reason)) => panic!("no inputs could be drawn: {reason}"),
            Err(TestError::Fail(_, (input, seed))) => Err(self.smallest(&input, seed)),
        }
    }

    fn config(&self, kept: bool) -> Config {
        let settings = &self.of.settings;
        let source = settings.keeps.then(|| absolute(settings.source.file())).flatten();
        let file = match &settings.kept_in {
            // Leaked, as is the source's name: twice per check that keeps failures.
            Some(directory) => {
                let stem = Path::new(settings.source.file()).file_stem().unwrap_or_default();
                let file = directory.join(stem).with_extension(REGRESSIONS);
                FileFailurePersistence::Direct(file.display().to_string().leak())
            }
            None => FileFailurePersistence::WithSource(REGRESSIONS),
        };
        let persistence = source.is_some().then(|| Box::new(Regressions { kept, file }) as Box<dyn FailurePersistence>);
        Config {
            failure_persistence: persistence,
            source_file: source.map(|source| &*source.leak()),
            max_shrink_iters: SHRINKS_MAX,
            max_shrink_time: SHRINK_MILLIS_MAX,
            ..Config::default()
        }
    }

    /// Explores one input.
    fn explore(&self, input: &F::Input, seed: u64, budget: Budget) -> Result<Explored, Box<Failed>> {
        relive_engine::panic::keep_quiet(true);
        let explored = self.runtime.block_on(async {
            let start = |engine: Engine| -> Pin<Box<dyn Future<Output = Result<RunId, Error>> + '_>> {
                let input = input.clone();
                Box::pin(async move {
                    let call = self.of.task.call(input);
                    self.task.set(call.task_name());
                    Ok(engine.start(call).await?.id())
                })
            };
            let settings = &self.of.settings;
            let world = World {
                start: &start,
                stubs: Arc::clone(&self.stubs),
                set_ups: settings.set_ups.clone(),
                signals: settings.signals.clone(),
                memory: Arc::default(),
                seed,
                decoy: self.decoy.handle().clone(),
                life_count: Cell::new(0),
                watched: settings.watched.clone(),
            };
            explore(&world, budget).await
        });
        relive_engine::panic::keep_quiet(false);
        explored
    }

    fn keep(&self, input: &F::Input, explored: Explored) {
        self.report.borrow_mut().add(&explored.report);
        let mut kept = self.kept.borrow_mut();
        if kept.len() < KEPT_MAX as usize
            && let Some(run) = explored.reference.run
        {
            kept.push(Kept::new(format!("{input:?}"), run, explored.reference.written));
        }
    }

    /// The smallest way in which this input fails.
    fn smallest(&self, input: &F::Input, seed: u64) -> Box<Failure> {
        let budget = Budget { points: POINTS_SMALLEST, tries: TRIES, slowly: true };
        match self.explore(input, seed, budget) {
            Err(failed) => {
                let mut failure = self.told(input, &failed);
                if let Some(run) = failed.lived.run {
                    self.export(&mut failure, run, &failed.lived.written);
                }
                failure
            }
            // Chance hides it now: what was seen then.
            Ok(_) => match self.seen.take() {
                Some(seen) => seen,
                None => unreachable!("what failed was told"),
            },
        }
    }

    fn told(&self, input: &F::Input, failed: &Failed) -> Box<Failure> {
        let input = format!("{input:?}");
        Box::new(Failure {
            check: failed.finding.check,
            point: failed.point.to_string(),
            story: story::tell(self.task.get(), &input, failed),
            input,
            seed: self.seed,
            export: None,
        })
    }

    /// Writes the log to a file, if failures are kept.
    fn export(&self, failure: &mut Failure, run: RunId, written: &[Written]) {
        if !self.of.settings.keeps {
            return;
        }
        let directory = self.of.settings.kept_in.as_deref();
        match exported::write(directory, self.task.get(), self.seed, run, written) {
            Ok(path) => failure.export = Some((path, run)),
            Err(error) => failure.story += &format!("  its log cannot be written to a file: {error}\n"),
        }
    }

    /// Has another process replay what was kept.
    fn elsewhere(&self, turn: usize, kept: &[Kept]) -> Result<u64, Box<Failure>> {
        let replayed = elsewhere::ask(turn, kept, &self.of.settings.environment);
        match replayed.failed {
            None => Ok(replayed.count),
            Some((index, why)) => Err(self.of_kept(&kept[index], "replayed by another process", &why)),
        }
    }

    /// Replays what was kept once more, when the clock shows another second.
    fn later(&self, moment: elsewhere::Moment, kept: &[Kept]) -> Result<(), Box<Failure>> {
        elsewhere::until_later(&moment);
        let failed = self.runtime.block_on(elsewhere::replay(kept, &self.of.settings.set_ups));
        match failed {
            None => Ok(()),
            Some((index, why)) => Err(self.of_kept(&kept[index], "replayed more than a second later", &why)),
        }
    }

    fn of_kept(&self, kept: &Kept, point: &str, why: &elsewhere::Why) -> Box<Failure> {
        let task = self.task.get();
        let story = format!(
            "task {task} is not deterministic: {}\n\n  input     {}\n  what      {point}\n\n  {}\n",
            why.check(),
            kept.input,
            why.message
        );
        let mut failure = Failure {
            check: why.check(),
            point: point.to_owned(),
            input: kept.input.clone(),
            seed: self.seed,
            story,
            export: None,
        };
        self.export(&mut failure, kept.run, &kept.written);
        Box::new(failure)
    }
}

/// Failures of earlier times, in a file as proptest writes it: tried first, and once.
#[derive(Clone, Debug)]
struct Regressions {
    kept: bool,
    file: FileFailurePersistence,
}

/// What the file's name ends with.
const REGRESSIONS: &str = "proptest-regressions";

impl FailurePersistence for Regressions {
    fn load_persisted_failures2(&self, source_file: Option<&'static str>) -> Vec<PersistedSeed> {
        if self.kept { self.file.load_persisted_failures2(source_file) } else { Vec::new() }
    }

    fn save_persisted_failure2(&mut self, source_file: Option<&'static str>, seed: PersistedSeed, shrunk: &dyn Debug) {
        self.file.save_persisted_failure2(source_file, seed, shrunk);
    }

    fn box_clone(&self) -> Box<dyn FailurePersistence> {
        Box::new(self.clone())
    }

    fn eq(&self, other: &dyn FailurePersistence) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| other.kept == self.kept)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn rng(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

fn seed_of_environment() -> Option<u64> {
    let text = std::env::var("RELIVE_KIT_SEED").ok()?;
    let parsed = match text.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    };
    Some(parsed.unwrap_or_else(|_| panic!("RELIVE_KIT_SEED is {text:?}, which is no number (0x… or decimal)")))
}

fn drawn_seed() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness, always the same cases.
    let _ = SystemEntropy.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Where a source file is: the compiler names it from the workspace, a test runs in its package.
fn absolute(file: &str) -> Option<String> {
    let mut directory = std::env::current_dir().ok()?;
    loop {
        let found: PathBuf = directory.join(file);
        if found.is_file() {
            return found.to_str().map(ToOwned::to_owned);
        }
        if !directory.pop() {
            return None;
        }
    }
}
