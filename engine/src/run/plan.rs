//! What a run writes to the indexes at the start and the end of an attempt, beside its log.
//!
//! Used by `append`, which puts it into the atomic write of the events it follows from.
//!
//! Invariant: an entry is made in the cache only for a result that the code of today, unmixed, found.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use relive_storage::planted::{Planted, planted};
use relive_storage::{Operation, Precondition, Write};

use crate::cache::{CallKey, Ledger};
use crate::definition::TaskDefinition;
use crate::engine::Inner;
use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result, payload_error};
use crate::event::{ErrorRecord, Parent, TaskCompleted, TaskOutcome, TaskStarted};
use crate::execute::unpanicked;
use crate::id::{CodeHash, RunId, Sequence, Timestamp};
use crate::index::{self, CacheRecord, IdRecord, RunRecord, RunState, Standing, UnfinishedRecord, Used};
use crate::log::{self, LOG};
use crate::past::Past;
use crate::payload::{Payload, PayloadError};

/// What is known of a run when an attempt starts or is taken up.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) run: RunId,
    pub(crate) definition: &'static TaskDefinition,
    /// The code that the attempt was started with.
    pub(crate) code: CodeHash,
    /// The caller's id for the run.
    pub(crate) id: Option<String>,
    /// The canonical form of the input.
    pub(crate) input: Bytes,
    /// The input, as it is recorded.
    pub(crate) recorded: Payload,
    /// The hash of the part of the input that counts for the cache.
    pub(crate) counted: [u8; 32],
    /// Which call it was when it was started. `None` if that is not known any more: then its result answers no call.
    pub(crate) call: Option<CallKey>,
    pub(crate) cache: Arc<Ledger>,
    /// When the run was started.
    pub(crate) started_at: Timestamp,
    /// When the first of the attempts was started that followed each other by themselves: the deadline counts from here.
    pub(crate) series_started_at: Timestamp,
    /// When the attempt was started.
    pub(crate) attempt_started_at: Timestamp,
    /// When this life took the attempt up, by the wall clock and by the one that never jumps.
    pub(crate) made_at: (Timestamp, Duration),
    pub(crate) attempt: u32,
    /// Where in the log the attempt begins.
    pub(crate) attempt_at: Sequence,
    /// How many attempts followed each other by themselves, this one included.
    pub(crate) tries: u32,
    pub(crate) parent: Option<Parent>,
    pub(crate) tags: Vec<(String, String)>,
}

/// When a run has taken too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimeLimit {
    /// By elapsed time.
    pub(crate) due: Duration,
    /// By the wall clock.
    pub(crate) wall: Timestamp,
    /// Whether another attempt may follow.
    pub(crate) retries: bool,
}

impl Plan {
    /// What is known of a run by its log.
    pub(crate) fn of_recorded(
        engine: &Inner,
        run: RunId,
        definition: &'static TaskDefinition,
        past: &Past,
        started: &TaskStarted,
        attempt_at: Sequence,
    ) -> Result<Self> {
        let unreadable = |error: PayloadError| -> Error {
            payload_error(format!("run {run}: the input of task {} cannot be read", definition.name), &error)
        };
        let input = unpanicked(|| (definition.canonical)(&started.input, &[])).map_err(unreadable)?.into();
        let counted = definition.counted(&started.input, &input).map_err(unreadable)?;
        let key = index::run_key(run);
        let unfinished = index::read::<UnfinishedRecord>(engine.store()?.as_ref(), index::UNFINISHED, &key)?;
        let counted = (engine.cache.hasher)(&counted);
        // An attempt that is not in the log yet is of today's call.
        let is_new = started.attempt > past.last.attempt;
        let recorded_call = unfinished.map(|record| record.call_key);
        Ok(Self {
            run,
            definition,
            code: started.code,
            id: past.first.id.clone(),
            input,
            recorded: started.input.clone(),
            counted,
            call: match (is_new && !crate::fork::is_fork(&past.first)) || planted(Planted::ForkAnswers) {
                true => Some(definition.call_key(&counted)),
                // Of a fork it is the key that no call has.
                false => recorded_call.or(crate::fork::is_fork(&past.first).then_some(crate::fork::NO_CALL)),
            },
            cache: Arc::clone(&engine.cache),
            started_at: past.first.at,
            series_started_at: past.series_started_at,
            attempt_started_at: started.at,
            made_at: (engine.environment.clock.now(), engine.environment.clock.elapsed()),
            attempt: started.attempt,
            attempt_at,
            tries: past.tries.max(1),
            parent: past.first.parent,
            tags: past.first.tags.clone(),
        })
    }

    /// The hash of the whole input, as `ids` holds it.
    fn input_hash(&self) -> [u8; 32] {
        *blake3::hash(&self.input).as_bytes()
    }

    /// Written with an attempt's first event, at this position.
    pub(crate) fn beginning(&self, started: &TaskStarted, at: Sequence) -> Result<Write> {
        let mut operations = Vec::with_capacity(6);
        operations.push(index::put(index::RUNS, index::run_key(self.run), &self.record(RunState::Unfinished, None))?);
        operations.push(index::put(index::UNFINISHED, index::run_key(self.run), &self.unfinished(None))?);
        // Nobody else appended there: another start under the same child's id, another resume.
        let mut preconditions = Vec::new();
        if started.attempt > 1 || started.parent.is_some() {
            preconditions.push(Precondition::Absent { keyspace: LOG, key: log::key(self.run, at) });
        }
        if let Some(id) = self.id.as_ref().filter(|_| started.attempt == 1) {
            let (absent, put) = self.claim(id)?;
            preconditions.push(absent);
            operations.push(put);
        }
        if started.attempt == 1 {
            for (name, value) in &self.tags {
                operations.push(index::tag(self.run, name, value)?);
            }
        }
        Ok(Write { preconditions, operations })
    }

    /// Makes an id name this run, if it names none yet.
    pub(crate) fn claim(&self, id: &str) -> Result<(Precondition, Operation)> {
        self.claim_key(id.as_bytes().to_vec())
    }

    /// Makes a key of `ids` name this run, if it names none yet.
    pub(crate) fn claim_key(&self, key: Vec<u8>) -> Result<(Precondition, Operation)> {
        let absent = Precondition::Absent { keyspace: index::IDS, key: key.clone() };
        let record = IdRecord { run: self.run, task: self.definition.name.to_owned(), input_hash: self.input_hash() };
        Ok((absent, index::put(index::IDS, key, &record)?))
    }

    /// When another attempt follows by itself, if one does.
    pub(crate) fn retry_at(&self, outcome: &TaskOutcome, at: Timestamp, entropy: &dyn Entropy) -> Option<Timestamp> {
        let policy = &self.definition.policy;
        let TaskOutcome::Err(record) = outcome else { return None };
        if record.terminal || self.tries > policy.retry.retries {
            return None;
        }
        let after = |from: Timestamp, span: Duration| {
            Timestamp(from.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
        };
        let due = after(at, super::effect::wait_before(&policy.retry, self.tries, entropy));
        let in_time = policy.deadline.is_none_or(|deadline| due < after(self.series_started_at, deadline));
        in_time.then_some(due)
    }

    /// When its attempt, or all its attempts, have taken too long.
    pub(crate) fn time_limit(&self) -> Option<TimeLimit> {
        let limit = |started: Timestamp, span: Option<Duration>, retries: bool| {
            let wall = Timestamp(started.0.saturating_add(i64::try_from(span?.as_micros()).ok()?));
            let (now, elapsed) = self.made_at;
            Some(TimeLimit { due: elapsed.saturating_add(super::drive::until(now, wall)), wall, retries })
        };
        let policy = &self.definition.policy;
        let attempt = limit(self.attempt_started_at, policy.timeout, true);
        let all = limit(self.series_started_at, policy.deadline, false);
        attempt.into_iter().chain(all).min()
    }

    /// The error of a run that took too long: an attempt of it (`retries`), or all of them.
    pub(crate) fn out_of_time(&self, retries: bool) -> ErrorRecord {
        let policy = &self.definition.policy;
        let (span, what) = match retries {
            true => (policy.timeout, "an attempt may take"),
            false => (policy.deadline, "all its attempts may take"),
        };
        let span = span.unwrap_or_default();
        ErrorRecord::new(
            ErrorKind::TimedOut,
            format!("task {} took longer than the {span:?} that {what}", self.definition.name),
        )
    }

    /// Written with an attempt's last event. `uses` is what the run called; `None` if some of it was of other code than
    /// today's.
    pub(crate) fn completion(&self, completed: &TaskCompleted, uses: Option<Vec<Used>>) -> Result<Vec<Operation>> {
        let mut operations = Vec::with_capacity(4);
        if completed.retry_at.is_some() {
            let unfinished = self.unfinished(completed.retry_at);
            operations.push(index::put(index::UNFINISHED, index::run_key(self.run), &unfinished)?);
            return Ok(operations);
        }
        let state = match &completed.outcome {
            TaskOutcome::Ok(_) => RunState::Completed,
            TaskOutcome::Err(_) => RunState::Failed,
            TaskOutcome::Cancelled => RunState::Cancelled,
        };
        let record = self.record(state, Some(completed.at));
        operations.push(index::put(index::RUNS, index::run_key(self.run), &record)?);
        operations.push(Operation::Delete { keyspace: index::UNFINISHED, key: index::run_key(self.run) });
        operations.extend(self.entry(completed, uses)?);
        Ok(operations)
    }

    /// What a restart needs to know.
    pub(crate) fn unfinished(&self, retry_at: Option<Timestamp>) -> UnfinishedRecord {
        UnfinishedRecord {
            task: self.definition.name.to_owned(),
            code: self.code,
            call_key: self.call.unwrap_or_else(|| self.definition.call_key(&self.counted)),
            attempt: self.attempt,
            attempt_at: self.attempt_at,
            retry_at,
            parent: self.parent.map(|parent| parent.run),
            crashes: 0,
            crashed_at: Sequence(0),
            standing: Standing::UnderWay,
        }
    }

    /// Enters the result into the cache, if it is one that equal calls of today's version would find.
    fn entry(&self, completed: &TaskCompleted, uses: Option<Vec<Used>>) -> Result<Vec<Operation>> {
        let definition = self.definition;
        let version = definition.cache.version();
        let is_todays_call = self.call == Some(definition.call_key(&self.counted));
        // With a version of the user's, no code plays a part. A result that the engine imposed is a copy.
        let uses = if version.is_some() { Some(Vec::new()) } else { uses.filter(|_| self.code == definition.code) };
        let result = match &completed.outcome {
            TaskOutcome::Ok(result) => Some(result.clone()),
            TaskOutcome::Err(_) if planted(Planted::CachedFailure) => Payload::encode(&0u64).ok(),
            TaskOutcome::Err(_) | TaskOutcome::Cancelled => None,
        };
        let (Some(result), Some(uses), false) = (result, uses, completed.imposed) else {
            return Ok(Vec::new());
        };
        if !self.cache.is_for(definition) || !is_todays_call {
            return Ok(Vec::new());
        }
        let entry = CacheRecord {
            task: definition.name.to_owned(),
            code: completed.code,
            version: version.map(str::to_owned),
            salt: definition.cache.salt.to_owned(),
            input: self.recorded.clone(),
            result,
            uses,
            run: self.run,
            created_at: completed.at,
        };
        self.cache.insertion(definition.entry_key(&self.counted), &entry)
    }

    fn record(&self, state: RunState, finished_at: Option<Timestamp>) -> RunRecord {
        RunRecord {
            task: self.definition.name.to_owned(),
            id: self.id.clone(),
            state,
            started_at: self.started_at,
            finished_at,
            attempts: self.attempt,
            attempt_at: self.attempt_at,
            parent: self.parent.map(|parent| parent.run),
            tags: self.tags.clone(),
        }
    }
}
