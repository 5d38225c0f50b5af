//! The run's loop: does what `replay` decides.
//!
//! One future per run. It polls the body, appends what the body did, polls effects once their starts are durable, and
//! hands their outcomes over one at a time.
//!
//! Invariants: an effect is polled only when its start, and all that was appended before it, is durable; the body sees
//! recorded outcomes and nothing else; an outcome is returned only when it is durable.

mod wait;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::Duration;

use relive_storage::Write;
use tokio::task::coop::Unconstrained;

use crate::cache::traces;
use crate::commit::{Acknowledged, Committer, Submission, Waiter, failed};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{ErrorRecord, Event, TaskCompleted, TaskOutcome, TraceCompleted};
use crate::id::{Epoch, RunId, Sequence};
use crate::log::{LogReader, LogWriter};
use crate::replay::{Decision, ReplayError, TraceIndex};

use super::alone::Company;
use super::mailbox::{BatchFailure, Received};
use super::plan::Plan;
use super::poll::{Polled, bury, drop_quietly, poll_body, wake_body};
use super::shared::{BodyWaker, BoxedFuture, RunShared};

use self::wait::Waited;

/// How far a run may be ahead of what is durable: 1 MiB, so that memory stays bounded when bodies outrun the disk.
const AHEAD_BYTES_MAX: usize = 1 << 20;

/// Replayed decisions before the runtime gets the thread back.
const DECISIONS_PER_TURN: u32 = 512;

/// What a run's loop takes from its engine.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) committer: Committer,
    pub(crate) epoch: Epoch,
    /// Whether somebody listens to `on_durable`.
    pub(crate) acknowledges: bool,
    /// Whether a wake by a stranger fails the run.
    pub(crate) strict: bool,
    /// The runs under way; `None` where no thread may stay awake for a sync.
    pub(crate) company: Option<Arc<Company>>,
}

/// Drives one run to its end.
pub(crate) struct Drive {
    shared: Arc<RunShared>,
    settings: Settings,
    plan: Plan,
    /// Where the rest of the log is read from; `None` once it is all read.
    reader: Option<LogReader>,
    writer: Option<LogWriter>,
    body: Option<Unconstrained<BoxedFuture>>,
    body_waker: Waker,
    /// Told once, when the first batch is durable.
    on_started: Option<Box<dyn FnOnce() + Send>>,
    batch_count: u64,
    durable_batch: u64,
    /// Batches that are not durable yet: their numbers, sizes, and when they were submitted.
    in_flight: VecDeque<(u64, usize, Duration)>,
    in_flight_bytes: usize,
    /// Starts that are not durable yet, by batch.
    waiting: VecDeque<(u64, TraceIndex)>,
    /// Ended effects, in the order in which they will be delivered.
    ready: VecDeque<(TraceIndex, TraceCompleted)>,
    is_live: bool,
    /// Nothing is to be written or started: the log is only replayed.
    is_dry: bool,
}

impl Drive {
    /// A run whose log is empty so far, and is written by `writer`.
    pub(crate) fn fresh(
        shared: Arc<RunShared>,
        settings: Settings,
        plan: Plan,
        on_started: impl FnOnce() + Send + 'static,
    ) -> Self {
        let writer = LogWriter::new(shared.run, settings.epoch);
        let mut drive = Self::new(shared, settings, plan);
        drive.writer = Some(writer);
        drive.on_started = Some(Box::new(on_started));
        drive
    }

    /// A run whose log is continued.
    pub(crate) fn resumed(shared: Arc<RunShared>, settings: Settings, plan: Plan, reader: LogReader) -> Self {
        let mut drive = Self::new(shared, settings, plan);
        drive.reader = Some(reader);
        drive
    }

    fn new(shared: Arc<RunShared>, settings: Settings, plan: Plan) -> Self {
        Self {
            body_waker: Waker::from(Arc::new(BodyWaker(Arc::clone(&shared)))),
            shared,
            settings,
            plan,
            reader: None,
            writer: None,
            body: None,
            on_started: None,
            batch_count: 0,
            durable_batch: 0,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            is_live: false,
            is_dry: false,
        }
    }

    /// Appends the run's first event by itself, and waits until it is durable: for a run that has to wait for its turn.
    pub(crate) async fn append_first(&mut self, event: Event) -> Result<()> {
        self.append(Sequence(0), vec![event], false)?;
        self.all_durable().await
    }

    /// Cancels a run that waits for its turn: before its body was polled in this life of the process.
    pub(crate) async fn cancel_queued(mut self) -> Result<TaskCompleted> {
        let mut at = Sequence(1);
        if let Some(mut reader) = self.reader.take() {
            while reader.next_batch()?.is_some() {}
            at = reader.position();
            self.writer = Some(reader.into_writer(self.settings.epoch));
        }
        self.impose_at(at, Vec::new(), TaskOutcome::Cancelled).await
    }

    /// Replays as far as the log goes: no effect, no write. `None` if the run is unfinished.
    pub(crate) async fn replay(mut self, body: BoxedFuture) -> Result<Option<TaskCompleted>> {
        self.is_dry = true;
        self.run_to_end(body).await
    }

    /// Runs to the end. An error says why the run did not get there; its log is good to go on from.
    pub(crate) async fn run(self, body: BoxedFuture) -> Result<TaskCompleted> {
        let run = self.shared.run;
        // Only a dry replay stops before the end.
        self.run_to_end(body).await?.ok_or_else(|| closed(run))
    }

    async fn run_to_end(mut self, body: BoxedFuture) -> Result<Option<TaskCompleted>> {
        self.body = Some(tokio::task::unconstrained(body));
        let _present = self.settings.company.as_ref().map(Company::join);
        let result = self.steps().await;
        if result.is_err() {
            // What was appended is decided before anyone hears of the error: a failed commit is an error of its own.
            let _ = self.all_durable().await;
        }
        self.shared.closing.store(true, Ordering::Relaxed);
        drop_quietly(&self.shared, self.body.take());
        let traces = std::mem::take(&mut self.shared.state.lock().traces);
        drop_quietly(&self.shared, traces);
        bury(&self.shared);
        result
    }

    async fn steps(&mut self) -> Result<Option<TaskCompleted>> {
        for decisions in 1u32.. {
            if decisions.is_multiple_of(DECISIONS_PER_TURN) {
                tokio::task::yield_now().await;
                if self.shared.mailbox.is_aborted() {
                    return Err(closed(self.shared.run));
                }
            }
            let decision = self.shared.state.lock().replay.next();
            match decision.map_err(|error| self.replay_error(error))? {
                Decision::NeedHistory => self.read()?,
                Decision::Poll { wake } => match self.step(wake)? {
                    None => {}
                    Some(_) if self.is_dry => return Ok(None),
                    Some(record) => return self.impose(TaskOutcome::Err(record)).await.map(Some),
                },
                Decision::Append { .. } | Decision::Wait if self.is_dry => return Ok(None),
                Decision::Append { first, events } => self.append(first, events, true)?,
                Decision::Wait => match self.wait().await? {
                    Waited::Delivery(index, completed) => self.shared.state.lock().replay.completed(index, completed),
                    Waited::Cancelled => return self.impose(TaskOutcome::Cancelled).await.map(Some),
                    Waited::Foreign(record) => return self.impose(TaskOutcome::Err(record)).await.map(Some),
                },
                Decision::Finished(completed) => {
                    self.all_durable().await?;
                    return Ok(Some(completed));
                }
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Gives the replay the next batch of the log.
    fn read(&mut self) -> Result<()> {
        let batch = self.reader.as_mut().map_or(Ok(None), LogReader::next_batch)?;
        let mut state = self.shared.state.lock();
        match batch {
            Some(batch) => state.replay.feed(batch),
            None => {
                state.replay.end_history();
                if let Some(reader) = self.reader.take() {
                    self.writer = Some(reader.into_writer(self.settings.epoch));
                }
            }
        }
        Ok(())
    }

    /// Hands a result over, if there is one to, and polls the body until it rests. A record says that the body did what
    /// a task must not do, while live.
    fn step(&mut self, wake: Option<TraceIndex>) -> Result<Option<ErrorRecord>> {
        if let Some(index) = wake {
            wake_body(&self.shared, index);
        }
        let Some(body) = &mut self.body else { return Ok(None) };
        let polled = poll_body(&self.shared, body, &self.body_waker);
        bury(&self.shared);
        let mut state = self.shared.state.lock();
        let is_live = state.replay.is_open_ended();
        if let Some(error) = state.fatal.take() {
            // An await of something foreign is the run's failure; what the log or the types brought about is not.
            return if is_live && error.kind() == ErrorKind::ForeignAwait {
                Ok(Some(error.to_record()))
            } else {
                Err(error)
            };
        }
        let output = match polled {
            Polled::Finished(output) => Some(output),
            Polled::Rests | Polled::Unwound => None,
            Polled::Foreign(record) if is_live => return Ok(Some(record)),
            // The log says that it did something else: compared below.
            Polled::Foreign(record) => Some(Err(record)),
        };
        let finish = output.map(|output| TaskCompleted {
            outcome: output.map_or_else(TaskOutcome::Err, TaskOutcome::Ok),
            imposed: false,
            retry_at: None,
            code: self.plan.definition.code,
            at: self.shared.environment.clock.now(),
        });
        let settled = state.replay.polled(finish);
        if !state.replay.is_live() && !state.replay.is_dirty() {
            // What was started in the past is gathered when the run goes live.
            state.new_starts.clear();
        }
        drop(state);
        settled.map_err(|error| self.replay_error(error))?;
        Ok(None)
    }

    fn append(&mut self, first: Sequence, events: Vec<Event>, settled: bool) -> Result<()> {
        let Some(writer) = &mut self.writer else {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("run {}: appended before its log was read", self.shared.run),
            ));
        };
        let mut write = if first.0 == 0 { self.plan.creation()? } else { Write::default() };
        if let Some(Event::TaskCompleted(completed)) = events.last() {
            let state = self.shared.state.lock();
            write.operations.extend(self.plan.completion(completed, state.replay.used_traces().map(traces))?);
        }
        let acknowledged = if self.settings.acknowledges {
            let run = self.shared.run;
            let positions = first.0..;
            let numbered = positions.zip(&events);
            numbered.map(|(at, event)| Acknowledged { run, sequence: Sequence(at), event: event.clone() }).collect()
        } else {
            Vec::new()
        };
        let (operations, bytes) = writer.append(first, events, settled)?;
        write.operations.extend(operations);
        self.batch_count += 1;
        let batch = self.batch_count;
        let now = self.settings.company.as_ref().map_or(Duration::ZERO, |company| company.now());
        self.in_flight.push_back((batch, bytes, now));
        self.in_flight_bytes += bytes;
        let new_starts = std::mem::take(&mut self.shared.state.lock().new_starts);
        self.waiting.extend(new_starts.into_iter().map(|index| (batch, index)));
        let waiter = Waiter::Run { mailbox: Arc::clone(&self.shared.mailbox), batch };
        self.settings.committer.submit(Submission { write, bytes, events: acknowledged, waiter });
        Ok(())
    }

    /// Ends the attempt from outside the body, between two steps, and waits until that is durable.
    async fn impose(&mut self, outcome: TaskOutcome) -> Result<TaskCompleted> {
        let (first, events) = self.shared.state.lock().replay.imposed();
        self.impose_at(first, events, outcome).await
    }

    async fn impose_at(
        &mut self,
        first: Sequence,
        mut events: Vec<Event>,
        outcome: TaskOutcome,
    ) -> Result<TaskCompleted> {
        let at = self.shared.environment.clock.now();
        let completed = TaskCompleted { outcome, imposed: true, code: self.plan.definition.code, retry_at: None, at };
        events.push(Event::TaskCompleted(completed.clone()));
        self.append(first, events, true)?;
        self.all_durable().await?;
        Ok(completed)
    }

    /// Waits until everything appended is durable.
    async fn all_durable(&mut self) -> Result<()> {
        poll_fn(|cx| {
            let received = self.shared.mailbox.receive(cx.waker());
            if let Err(error) = self.note(&received) {
                return Poll::Ready(Err(error));
            }
            if self.durable_batch >= self.batch_count {
                return Poll::Ready(Ok(()));
            }
            if self.stays_awake() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    fn note(&mut self, received: &Received) -> Result<()> {
        if let Some(failure) = &received.failure {
            return Err(match failure {
                BatchFailure::Failed(why) => failed(why),
                BatchFailure::Refused => Error::new(
                    ErrorKind::IdTaken,
                    format!("run {}: another start under the same id was faster", self.shared.run),
                ),
            });
        }
        self.durable_batch = self.durable_batch.max(received.durable_batch);
        while let Some((batch, bytes, submitted)) = self.in_flight.front().copied()
            && batch <= self.durable_batch
        {
            self.in_flight_bytes -= bytes;
            self.in_flight.pop_front();
            if let Some(company) = &self.settings.company {
                company.waited(submitted);
            }
        }
        if self.durable_batch > 0
            && let Some(tell) = self.on_started.take()
        {
            tell();
        }
        Ok(())
    }

    fn replay_error(&self, error: ReplayError) -> Error {
        match error {
            ReplayError::Diverged(divergence) => Error::diverged(*divergence),
            ReplayError::Impossible { sequence, why } => {
                Error::new(ErrorKind::Corrupt, format!("run {} at event {sequence}: {why}", self.shared.run))
            }
        }
    }
}

/// The engine was shut down before the run ended.
pub(crate) fn closed(run: RunId) -> Error {
    Error::new(ErrorKind::Closed, format!("the engine was shut down; run {run} goes on when its store is opened again"))
}
