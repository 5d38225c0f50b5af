//! A new attempt of a run, with types: what it would do, and its begin.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;

use relive_engine::divergence::CallSite;
use relive_engine::engine;
use relive_engine::error::{Error, Result};
use relive_engine::event::{Cause, Event, Rerun, TaskOutcome, TraceOutcome, TraceStarted};
use relive_engine::id::{RunId, Sequence};
use relive_engine::inspect;
use relive_engine::value::Value;

use crate::handle::RunHandle;
/// A new attempt that is not begun yet. Awaiting it begins it, and gives the run's handle: then the attempt's first event
/// is durable.
#[derive(Clone)]
#[must_use = "a run is resumed when this is awaited"]
pub struct Resume {
    engine: engine::Engine,
    run: RunId,
    rerun: Rerun,
}

impl std::fmt::Debug for Resume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resume").field("run", &self.run).field("rerun", &self.rerun).finish_non_exhaustive()
    }
}

impl Resume {
    pub(crate) fn new(engine: engine::Engine, run: RunId) -> Self {
        Self { engine, run, rerun: Rerun::default() }
    }

    /// Finds the results of this trace anew, whatever earlier attempts found.
    pub fn rerun(mut self, trace: impl Into<String>) -> Self {
        self.rerun.names.push(trace.into());
        self
    }

    /// Finds the results of traces anew whose code was edited since.
    pub fn rerun_edited(mut self) -> Self {
        self.rerun.edited = true;
        self
    }

    /// What the attempt would do: nothing is run and nothing written.
    ///
    /// # Errors
    /// Whatever keeps the attempt from beginning: the run or its task is unknown, its input cannot be read.
    pub async fn preview(&self) -> Result<Preview> {
        let mut preview = Preview::of(self.engine.preview(self.run, self.rerun.clone()).await?);
        if preview.outcome.is_none() {
            preview.recorded = self.recorded(&preview)?;
        }
        Ok(preview)
    }

    /// What succeeded in earlier attempts, in the order of the log, and is neither repeated by then nor to be found anew.
    fn recorded(&self, preview: &Preview) -> Result<Vec<CallSite>> {
        let replayer = self.engine.replayer();
        let is_edited = |started: &TraceStarted| {
            replayer.registry().trace(&started.name).is_some_and(|trace| trace.code != started.code)
        };
        let asked: BTreeSet<_> = preview.repeated.iter().chain(&preview.runs).map(key).collect();
        let mut found: BTreeMap<_, (Sequence, CallSite)> = BTreeMap::new();
        let mut open = BTreeMap::new();
        for logged in inspect::events(self.engine.store()?, self.run) {
            let logged = logged?;
            match logged.event {
                Event::TaskStarted(started) => {
                    open.clear();
                    if let Cause::Resumed(rerun) = started.cause {
                        found.retain(|_, (_, site)| !rerun.names.contains(&site.name));
                    }
                }
                Event::TraceStarted(started) if started.within.is_none() => drop(open.insert(logged.sequence, started)),
                Event::TraceCompleted(completed) => {
                    let Some(started) = open.remove(&completed.trace) else { continue };
                    let site = CallSite::of(&started);
                    let is_found_anew =
                        self.rerun.names.contains(&site.name) || self.rerun.edited && is_edited(&started);
                    let is_asked = asked.contains(&key(&site));
                    if matches!(completed.outcome, TraceOutcome::Ok(_)) && !is_found_anew && !is_asked {
                        found.insert(key(&site), (completed.trace, site));
                    }
                }
                _ => {}
            }
        }
        let mut found: Vec<(Sequence, CallSite)> = found.into_values().collect();
        found.sort_by_key(|(at, _)| *at);
        Ok(found.into_iter().map(|(_, site)| site).collect())
    }
}

/// By what a call is found in earlier attempts.
fn key(site: &CallSite) -> (String, String, u32) {
    (site.name.to_string(), site.input.to_string(), site.occurrence)
}

impl IntoFuture for Resume {
    type Output = Result<RunHandle<Value, Error>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let handle = self.engine.resume(self.run, self.rerun).await?;
            Ok(RunHandle { handle, engine: self.engine, result: PhantomData })
        })
    }
}

/// What a new attempt would do before it waits for its first effect.
#[derive(Clone, Debug, Default)]
pub struct Preview {
    /// Calls whose results are there: they are not run.
    pub repeated: Vec<CallSite>,
    /// Calls that begin to run.
    pub runs: Vec<CallSite>,
    /// Results of earlier attempts that the task has not asked for by then. If it makes these calls after its first effect,
    /// they are repeated, too.
    pub recorded: Vec<CallSite>,
    /// How the task ends, if it needs no effect for that.
    pub outcome: Option<TaskOutcome>,
}

impl Preview {
    fn of(events: Vec<(Sequence, Event)>) -> Self {
        let mut preview = Self::default();
        let mut ended = BTreeMap::new();
        for (_, event) in &events {
            match event {
                Event::TraceCompleted(completed) => {
                    ended.insert(completed.trace, completed.repeats.is_some());
                }
                Event::TaskCompleted(completed) => preview.outcome = Some(completed.outcome.clone()),
                _ => {}
            }
        }
        for (at, event) in &events {
            let Event::TraceStarted(started) = event else { continue };
            match ended.get(at) {
                Some(true) => preview.repeated.push(CallSite::of(started)),
                // Dropped, or answered at once.
                Some(false) => {}
                None => preview.runs.push(CallSite::of(started)),
            }
        }
        preview
    }
}
