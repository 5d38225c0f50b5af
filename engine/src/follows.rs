//! What the indexes must say of a run: what follows from its log.
//!
//! Fed with a log from its first event on, by `export` (whose files hold logs only) and `verify` (which compares).
//!
//! Invariant: for a log that an engine wrote, the records are those that stand beside it; only the call key of an
//! unfinished run and how often the process died under it follow from no log.

use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, TaskCompleted, TaskOutcome, TaskStarted};
use crate::id::{Epoch, RunId, Sequence};
use crate::index::{RunRecord, RunState, Standing, UnfinishedRecord};

/// A log's beginnings and ends, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Follows {
    /// How the run began.
    first: Option<TaskStarted>,
    /// How its last attempt began.
    last: Option<TaskStarted>,
    attempt_at: Sequence,
    /// How its last attempt ended, if it has.
    completed: Option<TaskCompleted>,
    /// Events so far.
    pub(crate) event_count: u64,
    /// The last life of the process that wrote any of it.
    pub(crate) epoch: Epoch,
}

impl Follows {
    /// Takes the next event of the log.
    ///
    /// # Errors
    /// If it cannot stand there: a log is a row of attempts, and each begins and ends.
    pub(crate) fn observe(&mut self, run: RunId, epoch: Epoch, event: &Event) -> Result<()> {
        let at = Sequence(self.event_count);
        let misplaced = |why: &str| {
            let name = event.name();
            Err(Error::new(ErrorKind::Corrupt, format!("run {run} at event {at}: a {name} {why}")))
        };
        match event {
            Event::TaskStarted(started) => {
                self.first.get_or_insert_with(|| started.clone());
                self.last = Some(started.clone());
                (self.attempt_at, self.completed) = (at, None);
            }
            _ if self.first.is_none() => return misplaced("stands before any attempt"),
            // A signal may be taken into the log of a run whose next attempt is due, as may a cancellation.
            Event::TaskCompleted(completed) => {
                if self.completed.as_ref().is_some_and(|before| before.retry_at.is_none()) {
                    return misplaced("follows the end of its attempt");
                }
                self.completed = Some(completed.clone());
            }
            _ => {}
        }
        self.event_count += 1;
        self.epoch = self.epoch.max(epoch);
        Ok(())
    }

    /// How the run began; `None` if its log is empty.
    pub(crate) fn first(&self) -> Option<&TaskStarted> {
        self.first.as_ref()
    }

    /// The run's row in `runs`; `None` if its log is empty.
    pub(crate) fn record(&self) -> Option<RunRecord> {
        let (first, last) = (self.first.as_ref()?, self.last.as_ref()?);
        let end = self.completed.as_ref().filter(|completed| completed.retry_at.is_none());
        Some(RunRecord {
            task: first.task.to_string(),
            id: first.id.clone(),
            state: end.map_or(RunState::Unfinished, |completed| state(&completed.outcome)),
            started_at: first.at,
            finished_at: end.map(|completed| completed.at),
            attempts: last.attempt,
            attempt_at: self.attempt_at,
            parent: first.parent.map(|parent| parent.run),
            tags: first.tags.clone(),
        })
    }

    /// The run's row in `unfinished`, less what does not follow from the log; `None` if it has ended or is empty.
    pub(crate) fn unfinished(&self, call_key: [u8; 32]) -> Option<UnfinishedRecord> {
        let (first, last) = (self.first.as_ref()?, self.last.as_ref()?);
        let retry_at = match &self.completed {
            Some(completed) => Some(completed.retry_at?),
            None => None,
        };
        Some(UnfinishedRecord {
            task: first.task.to_string(),
            code: last.code,
            call_key,
            attempt: last.attempt,
            attempt_at: self.attempt_at,
            retry_at,
            parent: first.parent.map(|parent| parent.run),
            crashes: 0,
            crashed_at: Sequence(0),
            standing: Standing::UnderWay,
        })
    }
}

/// How a run stands that ended so.
pub(crate) fn state(outcome: &TaskOutcome) -> RunState {
    match outcome {
        TaskOutcome::Ok(_) => RunState::Completed,
        TaskOutcome::Err(_) => RunState::Failed,
        TaskOutcome::Cancelled => RunState::Cancelled,
    }
}
