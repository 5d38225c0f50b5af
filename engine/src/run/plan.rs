//! What a run writes to the indexes at its start and its end, beside its log.
//!
//! Used by `drive`, which puts it into the atomic write of the events it follows from.
//!
//! Invariant: an entry is made in the cache only for a result that the code of today, unmixed, found.

use std::sync::Arc;

use bytes::Bytes;
use relive_storage::{Operation, Precondition, Write};

use crate::cache::{CallKey, Ledger};
use crate::definition::{CacheMode, TaskDefinition};
use crate::engine::Inner;
use crate::error::{Error, Result, payload_error};
use crate::event::{TaskCompleted, TaskOutcome, TaskStarted};
use crate::execute::unpanicked;
use crate::id::{CodeHash, RunId, Sequence, Timestamp};
use crate::index::{self, CacheRecord, IdRecord, RunRecord, RunState, UnfinishedRecord, Used};
use crate::payload::{Payload, PayloadError};

/// What is known of a run when it starts or is taken up.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) run: RunId,
    pub(crate) definition: &'static TaskDefinition,
    /// The code that the run was started with.
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
    pub(crate) started_at: Timestamp,
}

impl Plan {
    /// What is known of a run by its log.
    pub(crate) fn of_recorded(
        engine: &Inner,
        run: RunId,
        definition: &'static TaskDefinition,
        started: &TaskStarted,
    ) -> Result<Self> {
        let unreadable = |error: PayloadError| -> Error {
            payload_error(format!("run {run}: the input of task {} cannot be read", definition.name), &error)
        };
        let input = unpanicked(|| (definition.canonical)(&started.input, &[])).map_err(unreadable)?.into();
        let counted = definition.counted(&started.input, &input).map_err(unreadable)?;
        let key = index::run_key(run);
        let unfinished = index::read::<UnfinishedRecord>(engine.store()?.as_ref(), index::UNFINISHED, &key)?;
        Ok(Self {
            run,
            definition,
            code: started.code,
            id: started.id.clone(),
            input,
            recorded: started.input.clone(),
            counted: (engine.cache.hasher)(&counted),
            call: unfinished.map(|record| record.call_key),
            cache: Arc::clone(&engine.cache),
            started_at: started.at,
        })
    }

    /// The hash of the whole input, as `ids` holds it.
    fn input_hash(&self) -> [u8; 32] {
        *blake3::hash(&self.input).as_bytes()
    }

    /// Written with the first event.
    pub(crate) fn creation(&self) -> Result<Write> {
        let mut operations = Vec::with_capacity(6);
        operations.push(index::put(index::RUNS, index::run_key(self.run), &self.record(RunState::Unfinished, None))?);
        let unfinished = UnfinishedRecord {
            task: self.definition.name.to_owned(),
            code: self.code,
            call_key: self.call.unwrap_or_else(|| self.definition.call_key(&self.counted)),
            attempt: 1,
            attempt_at: Sequence(0),
            retry_at: None,
            parent: None,
            crashes: 0,
            crashed_at: Sequence(0),
        };
        operations.push(index::put(index::UNFINISHED, index::run_key(self.run), &unfinished)?);
        let mut preconditions = Vec::new();
        if let Some(id) = &self.id {
            let (absent, put) = self.claim(id)?;
            preconditions.push(absent);
            operations.push(put);
        }
        Ok(Write { preconditions, operations })
    }

    /// Makes an id name this run, if it names none yet.
    pub(crate) fn claim(&self, id: &str) -> Result<(Precondition, Operation)> {
        let key = id.as_bytes().to_vec();
        let absent = Precondition::Absent { keyspace: index::IDS, key: key.clone() };
        let record = IdRecord { run: self.run, task: self.definition.name.to_owned(), input_hash: self.input_hash() };
        Ok((absent, index::put(index::IDS, key, &record)?))
    }

    /// Written with the last event. `uses` is what the run called; `None` if some of it was of other code than today's.
    pub(crate) fn completion(&self, completed: &TaskCompleted, uses: Option<Vec<Used>>) -> Result<Vec<Operation>> {
        let mut operations = Vec::with_capacity(4);
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

    /// Enters the result into the cache, if it is one that equal calls of today's version would find.
    fn entry(&self, completed: &TaskCompleted, uses: Option<Vec<Used>>) -> Result<Vec<Operation>> {
        let definition = self.definition;
        let version = definition.cache.version();
        let is_todays_call = self.call == Some(definition.call_key(&self.counted));
        // With a version of the user's, no code plays a part. A result that the engine imposed is a copy.
        let uses = if version.is_some() { Some(Vec::new()) } else { uses.filter(|_| self.code == definition.code) };
        let (TaskOutcome::Ok(result), Some(uses), false) = (&completed.outcome, uses, completed.imposed) else {
            return Ok(Vec::new());
        };
        if definition.cache.mode == CacheMode::Off || !is_todays_call {
            return Ok(Vec::new());
        }
        let entry = CacheRecord {
            task: definition.name.to_owned(),
            code: completed.code,
            version: version.map(str::to_owned),
            salt: definition.cache.salt.to_owned(),
            input: self.recorded.clone(),
            result: result.clone(),
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
            attempts: 1,
            attempt_at: Sequence(0),
            parent: None,
            tags: Vec::new(),
        }
    }
}
