//! Draws inputs by proptest, and explores each (`explore`).
//!
//! Called by `determinism`. A failure is shrunk, made as small as can be, told (`story`) and kept (`keep`).
//!
//! Invariant: what one seed explores, the same seed explores again.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use proptest::prelude::any;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use relive_engine::entropy::{Entropy, SystemEntropy};
use relive_engine::error::Error;
use relive_engine::id::RunId;
use serde::de::DeserializeOwned;

use super::determinism::{Determinism, Failure};
use super::elsewhere::{self, Kept};
use super::explore::{Budget, Explored, Failed, Report, explore};
use super::exported;
use super::function::TaskFunction;
use super::keep;
use super::life::World;
use super::recorder::Written;
use super::story;
use super::stub::Stubs;
use crate::engine::Engine;

/// How often a point is tried when a failure is made as small as can be: 8, so that what chance hides is seen.
const TRIES: usize = 8;

/// How often the run that nothing is done to is made then: 64, so that it is always the same point and the same check by which
/// a coin's toss is told.
const RUNS_SMALLEST: usize = 64;

/// How many points are tried then.
const POINTS_SMALLEST: usize = 256;

/// How often an input is made smaller: 512 times, or for 20 s.
const SHRINKS_MAX: u32 = 512;
const SHRINK_MILLIS_MAX: u32 = 20_000;

/// How many logs another process replays.
const KEPT_MAX: u32 = 16;

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
pub(crate) struct Search<'a, F, M, S> {
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
    pub(crate) fn of(of: &'a Determinism<F, M, S>) -> Self {
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

    /// Explores everything.
    ///
    /// # Errors
    /// The smallest case that fails.
    pub(crate) fn all(&self, turn: usize) -> Result<Report, Box<Failure>> {
        let settings = &self.of.settings;
        let moment = elsewhere::moment();
        // What another process finds, it finds in the first cases.
        let first = settings.cases.min(KEPT_MAX);
        self.cases(first, self.seed, true)?;
        let mut kept = self.kept.take();
        // Of those that fail, the smallest is told.
        kept.sort_by_key(|kept| kept.input.len());
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
            let budget = Budget { points: settings.points, runs: 1, tries: 1, slowly: is_first };
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
        let (failure_persistence, source_file) = match settings.keeps {
            true => keep::in_file(settings.source.file(), settings.kept_in.as_deref(), kept),
            false => (None, None),
        };
        Config {
            failure_persistence,
            source_file,
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
        let budget = Budget { points: POINTS_SMALLEST, runs: RUNS_SMALLEST, tries: TRIES, slowly: true };
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
