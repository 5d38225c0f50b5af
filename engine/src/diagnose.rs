//! Why a task's code does not fit a log: what an edit changed, or what the body does that cannot be replayed.
//!
//! Called by `replayer` once a replay has diverged. Replays the run again, to see whether it does the same each time, and
//! rehearses it as a new attempt, to see what it calls behind the place where it diverged.
//!
//! Invariant: nothing is written; memory and time are bounded by what is looked at: [`REHEARSED_MAX`], [`REPEATED_MAX`].

mod cause;
mod change;

use std::sync::Arc;

use crate::divergence::{Divergence, Side};
use crate::dry::{self, Attempt};
use crate::engine::Inner;
use crate::error::{ErrorKind, Result};
use crate::event::{Event, Rerun, TaskCompleted, TaskOutcome, TaskStarted};
use crate::id::{RunId, Sequence, Timestamp};
use crate::inspect::{self, LoggedEvent};
use crate::value::Value;
use crate::verdict::{
    BEFORE_MAX, Change, DIFFERENCES_MAX, Diagnosis, LikelyCause, ResultChange, Verdict, outcome_value,
};

use self::cause::{are_moments, is_reordered};
use self::change::{Bag, Calls, Rehearsed};

/// Logs of so many events are rehearsed as a whole: 100,000, a few hundred milliseconds. In longer ones only the calls at
/// the divergence are compared.
const REHEARSED_MAX: u64 = 100_000;

/// How often a run is replayed again, to see whether it does the same each time: 4. Two entries of a map come in the same
/// order every second time.
const REPEATS: u32 = 4;

/// Divergences further in the log are repeated once only.
const REPEATED_MAX: u64 = 100_000;

/// An attempt whose replay did not fit.
pub(crate) struct Diverged<'a> {
    pub(crate) engine: &'a Arc<Inner>,
    pub(crate) run: RunId,
    pub(crate) attempt: Attempt,
    pub(crate) started: &'a TaskStarted,
}

/// What a replay did where it parted from the log.
#[derive(PartialEq)]
struct Observed {
    sequence: Sequence,
    called: Option<Side>,
    outcome: Option<TaskOutcome>,
}

impl Observed {
    fn of(divergence: &Divergence) -> Self {
        Self {
            sequence: divergence.sequence,
            called: divergence.called.clone(),
            outcome: divergence.outcomes.called.clone(),
        }
    }
}

impl Diverged<'_> {
    /// Explains a divergence.
    pub(crate) async fn explain(&self, divergence: Divergence) -> Result<Verdict> {
        let again = self.again(&divergence).await?;
        let is_steady = again.iter().all(|again| again.as_ref() == Some(&Observed::of(&divergence)));
        let logged_at = self.logged(divergence.sequence)?;
        if let (Some(Side::Finished(_)), Some(Side::Finished(_))) = (&divergence.logged, &divergence.called)
            && let Some(logged) = divergence.outcomes.logged.clone()
            && let Some(now) = divergence.outcomes.called.clone()
            && is_of_the_task(&now)
        {
            let at = logged_at.as_ref().map_or(self.started.at, moment);
            return Ok(Verdict::ResultChanged(Box::new(self.result(
                divergence.sequence,
                logged,
                now,
                (is_steady, is_unsure(&again)),
                at,
            ))));
        }
        let logged_calls = self.logged_calls()?;
        let rehearsed = self.rehearsed(is_steady && logged_calls.is_some()).await;
        let registry = &self.engine.registry;
        let is_known = |name: &str| registry.trace(name).is_some() || registry.task(name).is_some();
        let calls =
            Calls { logged: &logged_calls.unwrap_or_default(), rehearsed: rehearsed.as_ref(), is_known: &is_known };
        let (change, difference) = change::change(&divergence, &calls);
        let evidence = Evidence { divergence: &divergence, again: &again, is_steady, change };
        let cause = self.cause(&evidence, logged_at.as_ref());
        let before = self.before(divergence.sequence)?;
        Ok(Verdict::Diverged(Box::new(Diagnosis { divergence, change, difference, cause, before })))
    }

    /// What further replays do at the same place; `None` for one that fits, or fails in another way.
    async fn again(&self, divergence: &Divergence) -> Result<Vec<Option<Observed>>> {
        let is_far = divergence.sequence.0.saturating_sub(self.attempt.at.0) > REPEATED_MAX;
        let mut observed = Vec::new();
        for _ in 0..if is_far { 1 } else { REPEATS } {
            match dry::replay(self.engine, self.run, self.attempt).await {
                Ok(_) => observed.push(None),
                Err(error) if error.kind() == ErrorKind::Closed => return Err(error),
                Err(error) => observed.push(error.divergence().map(Observed::of)),
            }
            if observed.last().is_some_and(|last| last.as_ref() != Some(&Observed::of(divergence))) {
                break;
            }
        }
        Ok(observed)
    }

    fn result(
        &self,
        sequence: Sequence,
        logged: TaskOutcome,
        now: TaskOutcome,
        (is_steady, is_unsure): (bool, bool),
        at: Timestamp,
    ) -> ResultChange {
        let (old, new) = (outcome_value(&logged), outcome_value(&now));
        let differences = old.differences(&new, DIFFERENCES_MAX);
        let (edited, clock) = (self.edited(None), self.engine.environment.clock.now());
        let is_clock = differences.iter().any(|difference| match (&difference.old, &difference.new) {
            (Some(old), Some(new)) => are_moments(old, new, at, clock),
            _ => false,
        });
        let cause = match is_steady {
            _ if is_reordered(&old, &new) && (!is_steady || (is_unsure && edited.is_empty())) => LikelyCause::MapOrder,
            _ if is_clock => LikelyCause::Clock,
            false => LikelyCause::Randomness,
            true if edited.is_empty() => LikelyCause::Environment,
            true => LikelyCause::Edited(edited),
        };
        ResultChange { sequence, logged, now, differences, cause }
    }

    fn cause(&self, evidence: &Evidence<'_>, logged: Option<&Event>) -> LikelyCause {
        let divergence = evidence.divergence;
        let is_foreign = |outcome: &TaskOutcome| !is_of_the_task(outcome);
        if divergence.is_stuck || divergence.outcomes.called.as_ref().is_some_and(is_foreign) {
            return LikelyCause::ForeignAwait;
        }
        let edited = self.edited(logged);
        let pairs = evidence.pairs();
        if (!evidence.is_steady || (is_unsure(evidence.again) && edited.is_empty()))
            && (evidence.is_order() || pairs.iter().any(|(old, new)| is_reordered(old, new)))
        {
            return LikelyCause::MapOrder;
        }
        let at = logged.map_or(self.started.at, moment);
        let now = self.engine.environment.clock.now();
        let leaves = || pairs.iter().flat_map(|(old, new)| old.differences(new, DIFFERENCES_MAX));
        let is_clock = leaves().any(|leaf| match (&leaf.old, &leaf.new) {
            (Some(old), Some(new)) => are_moments(old, new, at, now),
            _ => false,
        });
        match evidence.is_steady {
            _ if is_clock => LikelyCause::Clock,
            false => LikelyCause::Randomness,
            true if edited.is_empty() => LikelyCause::Environment,
            true => LikelyCause::Edited(edited),
        }
    }

    /// Which of the task and the logged call have other code than the log's.
    fn edited(&self, logged: Option<&Event>) -> Vec<String> {
        let registry = &self.engine.registry;
        let mut edited = Vec::new();
        let task = registry.task(&self.started.task);
        if task.is_some_and(|task| task.code != self.started.code) {
            edited.push(format!("task {}", self.started.task));
        }
        if let Some(Event::TraceStarted(call)) = logged {
            let (code, what) = match call.child {
                Some(_) => (registry.task(&call.name).map(|task| task.version_hash()), "task"),
                None => (registry.trace(&call.name).map(|trace| trace.code), "trace"),
            };
            if code.is_some_and(|code| code != call.code) {
                edited.push(format!("{what} {}", call.name));
            }
        }
        edited
    }

    /// All calls of the body in the attempt; `None` if there are too many to look at.
    fn logged_calls(&self) -> Result<Option<Bag>> {
        let mut calls = Bag::default();
        for logged in inspect::events_from(self.engine.store()?, self.run, self.attempt.at)? {
            let logged = logged?;
            if self.attempt.end.is_some_and(|end| logged.sequence >= end) {
                break;
            }
            if logged.sequence.0 - self.attempt.at.0 > REHEARSED_MAX {
                return Ok(None);
            }
            count(&mut calls, &logged.event);
        }
        Ok(Some(calls))
    }

    /// All calls that the code makes, as far as recorded results lead it.
    async fn rehearsed(&self, worth_it: bool) -> Option<Rehearsed> {
        if !worth_it {
            return None;
        }
        // If it cannot be rehearsed, the calls at the divergence have to do.
        let events = dry::rehearse(self.engine, self.run, Rerun::default()).await.ok()?;
        let mut rehearsed = Rehearsed::default();
        for (_, event) in &events {
            count(&mut rehearsed.calls, event);
            rehearsed.finished |= matches!(event, Event::TaskCompleted(TaskCompleted { imposed: false, .. }));
        }
        Some(rehearsed)
    }

    /// The event at a position; `None` behind the end of the log.
    fn logged(&self, at: Sequence) -> Result<Option<Event>> {
        let mut events = inspect::events_from(self.engine.store()?, self.run, at)?;
        events.next().transpose().map(|logged| logged.map(|logged| logged.event))
    }

    fn before(&self, at: Sequence) -> Result<Vec<LoggedEvent>> {
        let from = Sequence(at.0.saturating_sub(BEFORE_MAX).max(self.attempt.at.0));
        let events = inspect::events_from(self.engine.store()?, self.run, from)?;
        events.take_while(|logged| logged.as_ref().map_or(true, |logged| logged.sequence < at)).collect()
    }
}

/// What several replays did at one place.
struct Evidence<'a> {
    divergence: &'a Divergence,
    again: &'a [Option<Observed>],
    is_steady: bool,
    change: Change,
}

impl Evidence<'_> {
    /// The log's input and those of the code's calls of the same trace.
    fn pairs(&self) -> Vec<(&Value, &Value)> {
        let Some(Side::Call(logged)) = &self.divergence.logged else { return Vec::new() };
        let again = self.again.iter().flatten().filter_map(|observed| observed.called.as_ref());
        let called = self.divergence.called.iter().chain(again);
        let mut pairs = Vec::new();
        for side in called {
            if let Side::Call(call) = side
                && call.name == logged.name
            {
                pairs.push((&logged.input, &call.input));
            }
        }
        pairs
    }

    /// Whether it is an order that differs, and nothing else.
    fn is_order(&self) -> bool {
        self.change == Change::Reordered
    }
}

/// Whether a run was repeated too seldom to say that it does the same each time.
fn is_unsure(again: &[Option<Observed>]) -> bool {
    again.len() < REPEATS as usize
}

/// Whether the task itself came to this outcome, and not the engine because of what it awaited.
fn is_of_the_task(outcome: &TaskOutcome) -> bool {
    !matches!(outcome, TaskOutcome::Err(record) if record.kind == ErrorKind::ForeignAwait)
}

fn count(calls: &mut Bag, event: &Event) {
    if let Event::TraceStarted(call) = event
        && call.within.is_none()
    {
        *calls.entry((call.name.to_string(), call.input_hash)).or_insert(0) += 1;
    }
}

/// When an event happened.
fn moment(event: &Event) -> Timestamp {
    match event {
        Event::TaskStarted(started) => started.at,
        Event::TraceStarted(started) => started.at,
        Event::TraceCompleted(completed) => completed.started_at,
        Event::TaskCompleted(completed) => completed.at,
        Event::TraceRetried(retried) => retried.started_at,
        Event::SignalReceived(received) => received.at,
        Event::TraceYielded(_) => Timestamp::default(),
    }
}
