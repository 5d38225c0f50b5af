//! One life of the process, in miniature: an engine over what the lives before left, until the run ends or cannot go on.
//!
//! Called by `explore` for each point that is explored; `direct` decides what happens when in it.
//!
//! Invariant: two lives with the same script, one of them interrupted, do the same if the task is deterministic.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use relive_engine::error::{Error, ErrorKind};
use relive_engine::id::RunId;
use relive_engine::payload::Payload;
use relive_engine::value::Value;
use relive_storage::Store;

use super::clock::{FIRST_MOMENT, VirtualClock};
use super::direct::{Director, Order};
use super::entropy::{self, SeededEntropy};
use super::log::Log;
use super::memory::{Memory, Moments, Scope};
use super::recorder::{Lost, Recorder, Written};
use super::stage::{Injected, Manner, Stage};
use super::stub::Stubs;
use crate::builder::Builder;
use crate::engine::Engine;

/// Starts the run of a case.
pub(crate) type Start<'a> = dyn Fn(Engine) -> Pin<Box<dyn Future<Output = Result<RunId, Error>> + 'a>> + 'a;

/// Sets an engine up.
pub(crate) type SetUp = Arc<dyn Fn(Builder) -> Builder + Send + Sync>;

/// What all lives of a case have in common.
pub(crate) struct World<'a> {
    pub(crate) start: &'a Start<'a>,
    pub(crate) stubs: Arc<Stubs>,
    pub(crate) set_ups: Vec<SetUp>,
    /// Signals that somebody sends the run, in order.
    pub(crate) signals: Vec<(String, Payload)>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) seed: u64,
    /// A runtime that never runs anything: bodies are polled in its context, and what they spawn stays there.
    pub(crate) decoy: tokio::runtime::Handle,
    /// What must not change when the body is run again.
    pub(crate) watched: Option<Arc<dyn Fn() -> String + Send + Sync>>,
}

/// What happens in a life, apart from where it is interrupted.
#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) order: Order,
    pub(crate) injected: BTreeMap<Scope, Injected>,
    /// What the moments were: the same in all lives of the script.
    pub(crate) moments: Moments,
}

/// How a life begins.
pub(crate) enum From<'w> {
    Nothing,
    /// What an earlier life left of this run.
    Left(RunId, &'w [Written]),
}

/// What is done to a life.
#[derive(Clone, Copy, Default)]
pub(crate) struct Done {
    /// The run is cancelled when so many things were handed over, and resumed.
    pub(crate) cancelled_at: Option<usize>,
    pub(crate) lost: Option<Lost>,
    /// Real time passes before each of the first things is handed over.
    pub(crate) slowly: bool,
}

/// What a life came to.
pub(crate) struct Lived {
    pub(crate) run: Option<RunId>,
    pub(crate) written: Vec<Written>,
    pub(crate) log: Log,
    /// What kept the run from ending.
    pub(crate) error: Option<Error>,
    /// What replaying the log at the end came to.
    pub(crate) replayed: Option<Error>,
    /// What changed when it was replayed.
    pub(crate) changed: Option<(String, String)>,
    /// How many tasks of tokio's its body spawned.
    pub(crate) spawned_count: usize,
    /// How often there was something to hand over.
    pub(crate) decision_count: usize,
    /// Whether effects took their time.
    pub(crate) waited: bool,
    /// Calls that were to be handed over at a moment at which others were, too.
    pub(crate) contended: Vec<Scope>,
    pub(crate) again: Vec<Scope>,
    pub(crate) changed_keys: Vec<Scope>,
}

impl World<'_> {
    /// Lives once.
    pub(crate) async fn live(&self, script: &Script, from: From<'_>, done: Done) -> Lived {
        let (left, written): (Option<RunId>, &[Written]) = match from {
            From::Nothing => (None, &[]),
            From::Left(run, written) => (Some(run), written),
        };
        let clock = VirtualClock::at(written.last().map_or(FIRST_MOMENT, |written| written.wall));
        let manner = Manner { directed: true, seed: self.seed, injected: script.injected.clone() };
        let stage = Stage::new(&self.stubs, &self.memory, manner, &clock, &script.moments);
        let recorder = Recorder::after(written, &clock, &stage, done.lost);
        let mut lived = Lived {
            run: left,
            written: Vec::new(),
            log: Log::default(),
            error: None,
            replayed: None,
            changed: None,
            spawned_count: 0,
            decision_count: 0,
            waited: false,
            contended: Vec::new(),
            again: Vec::new(),
            changed_keys: Vec::new(),
        };
        let spawned_before = self.decoy.metrics().num_alive_tasks();
        let engine = match self.open(&clock, &stage, &recorder).await {
            Ok(engine) => engine,
            Err(error) => {
                lived.error = Some(error);
                return lived;
            }
        };
        let sent = written.iter().filter(|written| written.is_signal()).count();
        let signals = self.signals.iter().skip(sent).cloned().collect();
        let mut director = Director::new(&engine, &stage, &clock, &script.order, self.seed, signals, done);
        match self.run(&engine, &recorder, left, &mut director, done).await {
            Ok(run) => lived.run = Some(run),
            Err((run, error)) => {
                lived.run = run;
                lived.error = Some(error);
            }
        }
        lived.decision_count = director.decision_count();
        lived.waited = director.has_waited();
        lived.contended = director.contended();
        if let Some(run) = lived.run {
            lived.log = log_of(&recorder, run);
            // What was interrupted is compared with what was not, and that was replayed.
            if lived.error.is_none() && (left.is_none() || lived.log.is_by_itself()) {
                self.replay(&engine, run, &mut lived).await;
            }
        }
        lived.spawned_count = self.decoy.metrics().num_alive_tasks().saturating_sub(spawned_before);
        lived.again = stage.again();
        lived.changed_keys = stage.changed_keys();
        // The end of the engine writes, too, and is none of the run's.
        lived.written = recorder.written();
        let _ = engine.shutdown().await;
        lived
    }

    async fn open(&self, clock: &VirtualClock, stage: &Stage, recorder: &Arc<Recorder>) -> Result<Engine, Error> {
        // Lives that begin alike draw the same ids; those behind an interruption draw others than were drawn before it.
        let mut state = self.seed ^ (recorder.write_count() as u64) << 32;
        let builder = Engine::builder()
            .strict(true)
            .sleep_out_after(Duration::MAX)
            .crashes_max(u32::MAX)
            .shutdown_grace(Duration::ZERO);
        let builder = self.set_ups.iter().fold(builder, |builder, set_up| set_up(builder));
        let builder = builder.clock(clock.clone()).entropy(SeededEntropy::new(entropy::next(&mut state)));
        let told = Arc::clone(recorder);
        let builder = builder.on_durable(move |durable| told.durable(durable.run, durable.sequence, &durable.event));
        builder
            .tested(Arc::new(stage.clone()), Some(self.decoy.clone()))
            .open_store(Arc::clone(recorder) as Arc<dyn Store>)
            .await
    }

    /// Runs until the run has ended.
    async fn run(
        &self,
        engine: &Engine,
        recorder: &Recorder,
        left: Option<RunId>,
        director: &mut Director<'_>,
        done: Done,
    ) -> Result<RunId, (Option<RunId>, Error)> {
        let run = match left {
            Some(run) => run,
            None => (self.start)(engine.clone()).await.map_err(|error| (None, error))?,
        };
        let failed = |error| (Some(run), error);
        director.of(run);
        let mut ended = self.ended(engine, recorder, run, director).await;
        if done.cancelled_at.is_some() && director.has_cancelled() {
            director.go_on();
            // If the run had ended before, that is the end.
            match engine.resume(run).await {
                Ok(handle) => {
                    drop(handle);
                    ended = self.ended(engine, recorder, run, director).await;
                }
                Err(error) if error.kind() == ErrorKind::Ended => {}
                Err(error) => return Err(failed(error)),
            }
        }
        ended.map(|()| run).map_err(failed)
    }

    /// Directs the run until it has ended; an error says why it cannot.
    async fn ended(
        &self,
        engine: &Engine,
        recorder: &Recorder,
        run: RunId,
        director: &mut Director<'_>,
    ) -> Result<(), Error> {
        let handle = engine.handle::<Value, Error>(run)?;
        let mut outcome = std::pin::pin!(handle.into_future());
        let result = tokio::select! {
            biased;
            outcome = &mut outcome => outcome,
            error = director.direct() => return Err(error),
        };
        let Err(error) = result else { return Ok(()) };
        // The task's own failure is how it ends; what the engine says is not.
        if log_of(recorder, run).ended.is_some() { Ok(()) } else { Err(error) }
    }

    /// Replays the finished run.
    async fn replay(&self, engine: &Engine, run: RunId, lived: &mut Lived) {
        let before = self.watched.as_ref().map(|watched| watched());
        match engine.replay(run).await {
            Ok(_) => {}
            Err(error) => lived.replayed = Some(error),
        }
        if let (Some(before), Some(watched)) = (before, &self.watched) {
            let after = watched();
            lived.changed = (before != after).then_some((before, after));
        }
    }
}

/// The log of a run, as far as it was told to be durable.
fn log_of(recorder: &Recorder, run: RunId) -> Log {
    let events = recorder.written().into_iter().flat_map(|written| written.events());
    Log::made(events.filter(|(of, ..)| *of == run).map(|(_, at, event)| (at, event)))
}
