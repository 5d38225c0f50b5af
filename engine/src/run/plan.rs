//! What a run writes to the indexes at its start and its end, beside its log.
//!
//! Used by `drive`, which puts it into the atomic write of the events it follows from.
//!
//! Invariant: an entry is made in the cache only for a result that the code of today, unmixed, found.

use std::borrow::Cow;

use bytes::Bytes;
use relive_storage::{Operation, Precondition, Write};

use crate::definition::{CacheMode, TaskDefinition};
use crate::error::Result;
use crate::event::{TaskCompleted, TaskOutcome};
use crate::id::{CodeHash, RunId, Sequence, Timestamp};
use crate::index::{self, CacheRecord, IdRecord, RunRecord, RunState, UnfinishedRecord};

/// What is known of a run when it starts or is taken up.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) run: RunId,
    pub(crate) definition: &'static TaskDefinition,
    /// The code that the run was started with.
    pub(crate) code: CodeHash,
    /// The caller's id for the run.
    pub(crate) id: Option<String>,
    /// The canonical form of the input.
    pub(crate) input: Bytes,
    pub(crate) started_at: Timestamp,
}

impl Plan {
    /// The hash of the input, as the indexes hold it.
    pub(crate) fn input_hash(&self) -> [u8; 32] {
        *blake3::hash(&self.input).as_bytes()
    }

    /// Written with the first event.
    pub(crate) fn creation(&self) -> Result<Write> {
        let mut operations = Vec::with_capacity(6);
        operations.push(index::put(index::RUNS, index::run_key(self.run), &self.record(RunState::Unfinished, None))?);
        let unfinished = UnfinishedRecord {
            task: self.definition.name.to_owned(),
            code: self.code,
            input_hash: self.input_hash(),
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

    /// Written with the last event.
    pub(crate) fn completion(
        &self,
        completed: &TaskCompleted,
        used_traces: Option<&[(Cow<'static, str>, CodeHash)]>,
    ) -> Result<Vec<Operation>> {
        let mut operations = Vec::with_capacity(4);
        let state = match &completed.outcome {
            TaskOutcome::Ok(_) => RunState::Completed,
            TaskOutcome::Err(_) => RunState::Failed,
            TaskOutcome::Cancelled => RunState::Cancelled,
        };
        let record = self.record(state, Some(completed.at));
        operations.push(index::put(index::RUNS, index::run_key(self.run), &record)?);
        operations.push(Operation::Delete { keyspace: index::UNFINISHED, key: index::run_key(self.run) });
        if let (TaskOutcome::Ok(result), Some(traces)) = (&completed.outcome, used_traces)
            && self.definition.cache.mode == CacheMode::Auto
            && self.code == self.definition.code
        {
            let entry = CacheRecord {
                task: self.definition.name.to_owned(),
                code: self.code,
                input: self.input.clone(),
                result: result.clone(),
                traces: traces.iter().map(|(name, code)| (name.to_string(), *code)).collect(),
                run: self.run,
                created_at: completed.at,
            };
            let key = index::cache_key(self.definition.name, self.code, &self.input_hash());
            operations.push(index::put(index::CACHE, key.to_vec(), &entry)?);
        }
        Ok(operations)
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
