//! What the log of a run says of its earlier attempts.
//!
//! Read before a new attempt begins, or one is taken up that is not the first.
//!
//! Invariant: what is read is the log up to the attempt, whole.

use std::sync::Arc;

use relive_storage::Read;

use crate::error::{Error, ErrorKind, Result};
use crate::event::{Batch, Cause, Event, TaskOutcome, TaskStarted};
use crate::id::{RunId, Sequence, Timestamp};
use crate::log::LogReader;
use crate::replay::Memo;

/// What came before an attempt.
pub(crate) struct Past {
    pub(crate) run: RunId,
    /// How the run began.
    pub(crate) first: TaskStarted,
    /// How the attempt began, or the last one if a new one is to follow.
    pub(crate) last: TaskStarted,
    /// How many attempts followed each other by themselves up to `last`.
    pub(crate) tries: u32,
    /// From when their deadline counts: when the first of those was started, or what that one went on with.
    pub(crate) series_started_at: Timestamp,
    /// Whether the last attempt failed: then its time ended with it.
    has_failed: bool,
    pub(crate) memo: Memo,
    /// At the attempt's second batch, or at the log's end.
    pub(crate) reader: LogReader,
    /// The attempt's first batch.
    pub(crate) batch: Option<Batch>,
}

impl Past {
    /// Reads up to the attempt that begins at this position.
    pub(crate) fn of_attempt(store: Arc<dyn Read>, run: RunId, attempt_at: Sequence) -> Result<Self> {
        let mut past = Self::begin(store, run)?;
        while past.batch.as_ref().is_some_and(|batch| batch.first < attempt_at) {
            past.advance()?;
        }
        match past.batch.as_ref().and_then(|batch| batch.events.first().zip(Some(batch.first))) {
            Some((event @ Event::TaskStarted(started), at)) => {
                let started = started.clone();
                if attempt_at.0 > 0 {
                    past.memo.observe(at, event);
                }
                past.follow(started);
                Ok(past)
            }
            _ => Err(missing(run)),
        }
    }

    /// Reads all of it, for an attempt that is to follow.
    pub(crate) fn whole(store: Arc<dyn Read>, run: RunId) -> Result<Self> {
        let mut past = Self::begin(store, run)?;
        while past.batch.is_some() {
            past.advance()?;
        }
        Ok(past)
    }

    fn begin(store: Arc<dyn Read>, run: RunId) -> Result<Self> {
        let mut reader = LogReader::new(store, run);
        let batch = reader.next_batch()?;
        let Some(Event::TaskStarted(first)) = batch.as_ref().and_then(|batch| batch.events.first()).cloned() else {
            return Err(missing(run));
        };
        let series_started_at = first.at;
        Ok(Self {
            run,
            last: first.clone(),
            first,
            tries: 0,
            series_started_at,
            has_failed: false,
            memo: Memo::default(),
            reader,
            batch,
        })
    }

    /// An attempt follows: by itself, or as the first of a new series.
    fn follow(&mut self, started: TaskStarted) {
        (self.tries, self.series_started_at) = self.series(&started);
        self.has_failed = false;
        self.last = started;
    }

    /// How many attempts have followed each other by themselves with this one, and from when their deadline counts. A resume
    /// begins to count anew; but of what was cut short (it was cancelled, it diverged), the time goes on.
    pub(crate) fn series(&self, next: &TaskStarted) -> (u32, Timestamp) {
        match &next.cause {
            Cause::Retried => (self.tries.saturating_add(1), self.series_started_at),
            Cause::Resumed(rerun) if !self.has_failed && !rerun.names.iter().any(|name| *name == next.task) => {
                (1, self.series_started_at)
            }
            _ => (1, next.at),
        }
    }

    /// Puts a batch into the memo, and goes on to the next.
    fn advance(&mut self) -> Result<()> {
        if let Some(batch) = self.batch.take() {
            for (at, event) in (batch.first.0..).map(Sequence).zip(&batch.events) {
                if let Event::TaskStarted(started) = event {
                    self.follow(started.clone());
                }
                if let Event::TaskCompleted(completed) = event {
                    self.has_failed = matches!(completed.outcome, TaskOutcome::Err(_));
                }
                self.memo.observe(at, event);
            }
        }
        self.batch = self.reader.next_batch()?;
        Ok(())
    }
}

fn missing(run: RunId) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("run {run}: its log is empty, or an attempt in it begins with another event"),
    )
}
