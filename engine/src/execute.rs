//! Runs and effects as tasks of the runtime: the only file that spawns any.
//!
//! Each run waits for its turn, drives its attempts, and tells its cell what came of it.
//!
//! Invariant: at most `runs_max` bodies are under way at once; a queued run is durable already.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tracing::{Instrument, Span};

use crate::asleep::Woken;
use crate::cache::CallKey;
use crate::definition::TaskDefinition;
use crate::engine::Inner;
use crate::error::{Error, ErrorKind, Result, payload_error};
use crate::event::{Batch, Cause, ErrorRecord, Event, Parent, Rerun, TaskCompleted, TaskStarted};
use crate::handle::{CellState, RunCell};
use crate::id::{RunId, Sequence, Timestamp};
use crate::index::UnfinishedRecord;
use crate::log::{LogReader, LogWriter};
use crate::observe::spans;
use crate::past::Past;
use crate::payload::{Payload, PayloadError};
use crate::replay::{Memo, Replay};
use crate::run::{
    Anchor, BoxedFuture, Drive, Dry, Ended, Mailbox, Output, Parts, Plan, Rest, RunShared, Turn, closed, elapsed_of,
    until,
};

/// How a run's task begins.
pub(crate) enum Beginning {
    /// It is new.
    Fresh(Box<(Plan, TaskStarted)>),
    /// An earlier life of the process left it unfinished.
    TakenUp {
        /// Where its last attempt begins.
        attempt_at: Sequence,
        /// If that has failed, when the next is due.
        retry_at: Option<Timestamp>,
        /// If that life did not end in order: what the run has to count.
        died: Option<Box<UnfinishedRecord>>,
    },
    /// It slept, in this life of the process.
    Woken {
        /// When it was due, by elapsed time in microseconds.
        due: i64,
        /// Its turn, if it was woken as it is due.
        permit: Option<OwnedSemaphorePermit>,
    },
    /// A new attempt, for this reason; and whose body it is for, if somebody's.
    Attempt(Cause, Option<Parent>),
}

/// Spawns a run.
pub(crate) fn spawn(
    inner: &Arc<Inner>,
    cell: &Arc<RunCell>,
    beginning: Beginning,
    key: Option<CallKey>,
    alive: mpsc::Sender<()>,
) {
    let (engine, cell) = (Arc::clone(inner), Arc::clone(cell));
    if let Beginning::Fresh(_) = &beginning {
        inner.environment.metrics.runs_started.increment(1);
    }
    let span = spans::run(cell.run, &cell.task);
    let conclusion = Conclusion { engine, cell, key, alive: Some(alive) };
    let whole = async move {
        let result = life(&conclusion.engine, &conclusion.cell, beginning, key).await;
        if let Ok(Some(completed)) = &result {
            spans::ended(&Span::current(), &completed.outcome);
        }
        conclusion.is(result);
    };
    inner.runtime.spawn(whole.instrument(span));
}

/// Spawns what wakes the runs that sleep.
pub(crate) fn spawn_watch(inner: &Arc<Inner>) {
    let Some(alive) = inner.alive.lock().clone() else { return };
    let (clock, turns) = (Arc::clone(&inner.environment.clock), Arc::clone(&inner.turns));
    inner.runtime.spawn(crate::asleep::watch(Arc::downgrade(inner), clock, turns, alive));
}

/// An effect on a task of its own. Dropping it ends the task.
pub(crate) fn spawn_effect(
    runtime: &tokio::runtime::Handle,
    effect: impl Future<Output = Output> + Send + 'static,
) -> BoxedFuture {
    Box::pin(Spawned(runtime.spawn(effect)))
}

/// An effect on a thread that may block. Dropping it does not end the effect.
pub(crate) fn spawn_blocking(
    runtime: &tokio::runtime::Handle,
    effect: impl FnOnce() -> Output + Send + 'static,
) -> BoxedFuture {
    Box::pin(Spawned(runtime.spawn_blocking(effect)))
}

struct Spawned(JoinHandle<Output>);

impl Future for Spawned {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        match std::task::ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(output) => Poll::Ready(output),
            // Nobody here cancels a task that is still awaited: the runtime goes away, and the run with it. That is no
            // outcome of the effect's, so it must not be recorded as one.
            Err(error) if error.is_cancelled() => Poll::Pending,
            Err(error) => {
                Poll::Ready(Err(ErrorRecord::new(ErrorKind::Panicked, format!("the effect's task: {error}"))))
            }
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells a run's cell what came of it, however its task ends: also if user code panics where nobody catches it, or the
/// runtime goes away.
struct Conclusion {
    engine: Arc<Inner>,
    cell: Arc<RunCell>,
    key: Option<CallKey>,
    /// Dropped last: who waits for all runs finds everything told.
    alive: Option<mpsc::Sender<()>>,
}

impl Conclusion {
    /// `None`: it sleeps, and whoever asks is told so already.
    fn is(mut self, result: Result<Option<TaskCompleted>>) {
        match result.transpose() {
            Some(result) => self.tell(result),
            None => self.alive = None,
        }
    }

    fn tell(&mut self, result: Result<TaskCompleted>) {
        if self.alive.is_none() {
            return;
        }
        let Self { engine, cell, key, .. } = self;
        match result {
            Ok(completed) => {
                // Out of the maps first: who is woken by the outcome and calls again finds the cache.
                engine.forget(cell, *key);
                cell.set(CellState::Done(Arc::new(completed.outcome)));
            }
            Err(error) => {
                // A run whose log stands waits, and is joined, so that no second one repeats its effects.
                let never_began = || {
                    matches!(cell.state(), CellState::Starting)
                        && (error.kind() == ErrorKind::IdTaken || !engine.is_unfinished(cell.run))
                };
                let stopped =
                    error.kind() == ErrorKind::Closed || engine.settings.committer.failure().is_some() || never_began();
                if stopped {
                    engine.forget(cell, *key);
                    cell.set(CellState::Stopped(Arc::new(error)));
                } else {
                    tracing::error!(run = %cell.run, task = %cell.task, %error, "the run cannot go on and waits");
                    cell.set(CellState::Waiting(Arc::new(error)));
                }
            }
        }
        self.alive = None;
    }
}

impl Drop for Conclusion {
    fn drop(&mut self) {
        let run = self.cell.run;
        let why = format!("run {run} was cut off: code of the task panicked outside its body, or the runtime ended");
        self.tell(Err(Error::new(ErrorKind::Panicked, why)));
    }
}

/// A run from its beginning in this life of the process to its end: attempt after attempt. `None`: it was put to sleep.
///
/// What most runs never come to is boxed: each run that is under way holds this future in memory.
async fn life(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    beginning: Beginning,
    key: Option<CallKey>,
) -> Result<Option<TaskCompleted>> {
    let mut ended = match beginning {
        Beginning::Fresh(fresh) => {
            let (plan, started) = *fresh;
            let writer = LogWriter::new(plan.run, engine.settings.epoch);
            match begin(engine, cell, Box::new(Attempt { plan, started, memo: Memo::default(), writer }), None)? {
                Begun::UnderWay { drive, body, turn } => drive.run(body, turn).await?.into(),
                Begun::Queued(queued) => Box::pin(queued.run(engine, cell)).await?.into(),
            }
        }
        // Reckoned by the wall clock, as it was decided in another life.
        Beginning::TakenUp { retry_at: Some(due), .. } => {
            let left = until(engine.environment.clock.now(), due);
            Box::pin(between(engine, cell, left, key)).await?
        }
        Beginning::TakenUp { attempt_at, died, .. } => Box::pin(taken_up(engine, cell, attempt_at, died)).await?,
        Beginning::Woken { due, permit } => Box::pin(woken(engine, cell, due, permit, key)).await?,
        Beginning::Attempt(cause, caller) => Box::pin(attempt(engine, cell, cause, caller, None)).await?.into(),
    };
    loop {
        ended = match ended {
            Next::Ended(completed) => match completed.retry_at {
                // Decided in this life: whatever the wall clock says by now.
                Some(due) => Box::pin(between(engine, cell, until(completed.at, due), key)).await?,
                None => return Ok(Some(completed)),
            },
            Next::Rests(rest) => match Box::pin(engine.fall_asleep(cell, key, rest)).await? {
                Some(woken) => Box::pin(goes_on(engine, cell, woken, None)).await?,
                None => return Ok(None),
            },
            Next::Sleeps => return Ok(None),
        };
    }
}

/// Where a run has come to.
enum Next {
    /// An attempt is over.
    Ended(TaskCompleted),
    /// It could be put to sleep.
    Rests(Rest),
    /// It was put to sleep.
    Sleeps,
}

impl From<Ended> for Next {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Completed(completed) => Self::Ended(completed),
            Ended::Rests(rest) => Self::Rests(rest),
        }
    }
}

/// Between two attempts: waits until the next is due, asleep if that is long.
async fn between(engine: &Arc<Inner>, cell: &Arc<RunCell>, left: Duration, key: Option<CallKey>) -> Result<Next> {
    let due = engine.environment.clock.elapsed().saturating_add(left);
    next_attempt_at(engine, cell, due, key, None).await
}

async fn next_attempt_at(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    due: Duration,
    key: Option<CallKey>,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<Next> {
    let sleep_out_after = engine.settings.sleep_out_after;
    let left = due.saturating_sub(engine.environment.clock.elapsed());
    if sleep_out_after < Duration::MAX && left > sleep_out_after && engine.sleeps_between(cell, key, due)? {
        return Ok(Next::Sleeps);
    }
    match pause(engine, cell, due).await? {
        true => Ok(Next::Ended(engine.cancel_unfinished(cell.run).await?)),
        false => Ok(attempt(engine, cell, Cause::Retried, None, permit).await?.into()),
    }
}

/// Goes on where a run was put to sleep.
async fn woken(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    due: i64,
    permit: Option<OwnedSemaphorePermit>,
    key: Option<CallKey>,
) -> Result<Next> {
    let woken = engine.woken(cell.run, due)?;
    if woken.record.retry_at.is_some() {
        return next_attempt_at(engine, cell, elapsed_of(due), key, permit).await;
    }
    goes_on(engine, cell, woken, permit).await
}

/// Takes up an attempt that slept, or was about to.
async fn goes_on(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    woken: Woken,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<Next> {
    cell.set(CellState::Queued);
    let permit = permit.map(|permit| Turn::held(&engine.turns, permit));
    let turn = match permit {
        // Cancelled, it needs no body.
        Some(turn) if !cell.mailbox.is_called() => turn,
        _ => match turn(engine, cell).await? {
            Got::Turn(turn) => turn,
            Got::Cancelled => return Ok(Next::Ended(engine.cancel_unfinished(cell.run).await?)),
        },
    };
    cell.set(CellState::Running);
    let attempt_at = woken.record.attempt_at;
    let anchor = engine.gets_up(cell.run, woken).await?;
    in_its_turn(engine, cell, attempt_at, anchor, turn).await
}

/// Waits until the next attempt is due, by elapsed time. Says whether the run was cancelled instead.
async fn pause(engine: &Inner, cell: &RunCell, due: Duration) -> Result<bool> {
    // Not queued: it waits for a time, and for nobody's turn.
    cell.set(CellState::Running);
    let clock = &engine.environment.clock;
    let is_due = clock.elapsed() >= due;
    let mut alarm = clock.sleep_until(due);
    poll_fn(|cx| {
        let received = cell.mailbox.look(cx.waker());
        if received.stop.is_some() {
            return Poll::Ready(Err(closed(cell.run)));
        }
        if received.cancelled {
            return Poll::Ready(Ok(true));
        }
        if is_due {
            return Poll::Ready(Ok(false));
        }
        alarm.as_mut().poll(cx).map(|()| Ok(false))
    })
    .await
}

/// What a run that waits for its turn gets.
enum Got {
    Turn(Turn),
    Cancelled,
}

async fn turn(engine: &Inner, cell: &RunCell) -> Result<Got> {
    let mut permit = std::pin::pin!(Arc::clone(&engine.turns).acquire_owned());
    poll_fn(|cx| {
        let received = cell.mailbox.look(cx.waker());
        if received.stop.is_some() {
            return Poll::Ready(Err(closed(cell.run)));
        }
        if received.cancelled {
            return Poll::Ready(Ok(Got::Cancelled));
        }
        // The semaphore is never closed.
        let permit = std::task::ready!(permit.as_mut().poll(cx)).map_err(|_| closed(cell.run));
        Poll::Ready(permit.map(|permit| Got::Turn(Turn::held(&engine.turns, permit))))
    })
    .await
}

/// An attempt that is not in the log yet.
struct Attempt {
    plan: Plan,
    started: TaskStarted,
    memo: Memo,
    writer: LogWriter,
}

/// An attempt that was begun.
enum Begun {
    UnderWay { drive: Box<Drive>, body: BoxedFuture, turn: Turn },
    Queued(Box<Queued>),
}

/// An attempt that waits for its turn.
struct Queued {
    drive: Box<Drive>,
    shared: Arc<RunShared>,
    body: BoxedFuture,
    writer: LogWriter,
    at: Sequence,
    event: Event,
}

/// Begins an attempt that is not in the log yet: at once, if there is a turn for it.
fn begin(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    attempt: Box<Attempt>,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<Begun> {
    let Attempt { plan, started, memo, writer } = *attempt;
    let body = body(&plan, &started.input)?;
    let (run, at, task) = (plan.run, plan.attempt_at, started.task.clone());
    let span = attempt_span(&plan, &started.cause);
    let event = Event::TaskStarted(started);
    let tell = {
        let cell = Arc::clone(cell);
        move || {
            if matches!(cell.state(), CellState::Starting) {
                cell.set(CellState::Running);
            }
        }
    };
    let settings = Arc::clone(&engine.settings);
    Ok(match permit.or_else(|| Arc::clone(&engine.turns).try_acquire_owned().ok()) {
        Some(permit) => {
            let replay = Replay::fresh(run, task, memo, at, event);
            let shared = share(engine, &cell.mailbox, plan, replay, None, (Some(span), Dry::No), None)?;
            cell.drive(&shared);
            let drive = Drive::new(shared, settings, Some((writer, at))).on_started(tell);
            Begun::UnderWay { drive, body, turn: Turn::held(&engine.turns, permit) }
        }
        None => {
            let replay = Replay::new(run, task, memo);
            let shared = share(engine, &cell.mailbox, plan, replay, None, (Some(span), Dry::No), None)?;
            cell.drive(&shared);
            let drive = Drive::new(Arc::clone(&shared), settings, None).on_started(tell);
            Begun::Queued(Box::new(Queued { drive, shared, body, writer, at, event }))
        }
    })
}

/// Begins an attempt that is not in the log yet, and drives it.
async fn first_or_next(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    attempt: Box<Attempt>,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<Ended> {
    match begin(engine, cell, attempt, permit)? {
        Begun::UnderWay { drive, body, turn } => drive.run(body, turn).await,
        Begun::Queued(queued) => queued.run(engine, cell).await,
    }
}

impl Queued {
    /// Durable first, so that the caller need not wait for a turn; then the turn is waited for.
    async fn run(self, engine: &Arc<Inner>, cell: &Arc<RunCell>) -> Result<Ended> {
        let Self { mut drive, shared, body, writer, at, event } = self;
        drive.append_first(writer, at, event.clone()).await?;
        cell.set(CellState::Queued);
        let turn = match turn(engine, cell).await? {
            Got::Turn(turn) => turn,
            Got::Cancelled => {
                let completed = drive.cancel_queued().await?;
                engine.release_children(cell.run);
                return Ok(Ended::Completed(completed));
            }
        };
        cell.set(CellState::Running);
        let batch = Batch { first: at, epoch: engine.settings.epoch, settled: false, events: vec![event] };
        {
            let mut state = shared.state.lock();
            state.replay.feed(batch);
            state.replay.end_history();
        }
        drop(shared);
        drive.run(body, turn).await
    }
}

/// Takes an attempt up where its log ends.
async fn taken_up(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    attempt_at: Sequence,
    died: Option<Box<UnfinishedRecord>>,
) -> Result<Next> {
    cell.set(CellState::Queued);
    let turn = match turn(engine, cell).await? {
        Got::Turn(turn) => turn,
        // Without its body: its log is not held in memory for that.
        Got::Cancelled => return Ok(Next::Ended(engine.cancel_unfinished(cell.run).await?)),
    };
    cell.set(CellState::Running);
    if let Some(record) = died
        && let Some(error) = crate::park::count(engine, cell.run, *record).await?
    {
        return Err(error);
    }
    in_its_turn(engine, cell, attempt_at, None, turn).await
}

/// Goes on with an attempt from its log.
async fn in_its_turn(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    attempt_at: Sequence,
    anchor: Option<Anchor>,
    turn: Turn,
) -> Result<Next> {
    let definition = definition(engine, cell)?;
    let past = Past::of_attempt(engine.store()?, cell.run, attempt_at)?;
    let (shared, body) = recorded(engine, definition, &cell.mailbox, past, attempt_at, Dry::No, anchor)?;
    cell.drive(&shared);
    let drive = Drive::new(shared, Arc::clone(&engine.settings), None);
    let ended = match drive.run(body, turn).await {
        Err(error) if error.kind() == ErrorKind::Diverged && definition.policy.new_attempt_on_divergence => {
            tracing::warn!(run = %cell.run, %error, "the run diverged, and goes on as a new attempt");
            attempt(engine, cell, Cause::Resumed(Rerun::default()), None, None).await?
        }
        result => result?,
    };
    Ok(ended.into())
}

/// Begins a new attempt with what the earlier ones found.
async fn attempt(
    engine: &Arc<Inner>,
    cell: &Arc<RunCell>,
    cause: Cause,
    caller: Option<Parent>,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<Ended> {
    let mut ended = std::pin::pin!(engine.environment.lingering.none(cell.run));
    poll_fn(|cx| {
        // A thread that never ends must not keep a shutdown waiting.
        if cell.mailbox.look(cx.waker()).stop.is_some() {
            return Poll::Ready(Err(closed(cell.run)));
        }
        ended.as_mut().poll(cx).map(Ok)
    })
    .await?;
    let definition = definition(engine, cell)?;
    let (plan, started, past) = next_attempt(engine, cell.run, definition, cause, caller)?;
    let writer = past.reader.into_writer(engine.settings.epoch);
    first_or_next(engine, cell, Box::new(Attempt { plan, started, memo: past.memo, writer }), permit).await
}

/// What a new attempt begins with.
pub(crate) fn next_attempt(
    engine: &Inner,
    run: RunId,
    definition: &'static TaskDefinition,
    cause: Cause,
    caller: Option<Parent>,
) -> Result<(Plan, TaskStarted, Past)> {
    let mut past = Past::whole(engine.store()?, run)?;
    let at = past.reader.position();
    let now = engine.environment.clock.now();
    let started = TaskStarted {
        code: definition.code,
        attempt: past.last.attempt.saturating_add(1),
        cause,
        parent: caller.or_else(|| engine.parent_of(past.last.parent)),
        at: now,
        ..past.last.clone()
    };
    past.memo.observe(at, &Event::TaskStarted(started.clone()));
    let mut plan = Plan::of_recorded(engine, run, definition, &past, &started, at)?;
    (plan.tries, plan.series_started_at) =
        if started.cause == Cause::Retried { (past.tries.saturating_add(1), past.series_started_at) } else { (1, now) };
    Ok((plan, started, past))
}

fn definition(engine: &Inner, cell: &RunCell) -> Result<&'static TaskDefinition> {
    engine.registry.task(&cell.task).ok_or_else(|| unknown_task(cell))
}

/// An attempt whose past is read: fed with its first batch, and the body for the recorded input.
pub(crate) fn recorded(
    engine: &Arc<Inner>,
    definition: &'static TaskDefinition,
    mailbox: &Arc<Mailbox>,
    mut past: Past,
    attempt_at: Sequence,
    dry: Dry,
    anchor: Option<Anchor>,
) -> Result<(Arc<RunShared>, BoxedFuture)> {
    let run = past.run;
    let mut plan = Plan::of_recorded(engine, run, definition, &past, &past.last, attempt_at)?;
    if let Some(anchor) = anchor {
        plan.made_at.0 = anchor.at(plan.made_at.1);
    }
    let body = body(&plan, &past.last.input)?;
    let mut replay = Replay::new(run, past.last.task.clone(), past.memo);
    if let Some(batch) = past.batch.take() {
        replay.feed(batch);
    }
    let span = (dry == Dry::No).then(|| attempt_span(&plan, &past.last.cause));
    let shared = share(engine, mailbox, plan, replay, Some(past.reader), (span, dry), anchor)?;
    Ok((shared, body))
}

/// The span of an attempt, in that of its run.
fn attempt_span(plan: &Plan, cause: &Cause) -> Span {
    spans::identify(plan.id.as_deref());
    spans::attempt(plan.run, plan.attempt, cause)
}

/// `span` is `None` where nothing is written or started.
pub(crate) fn share(
    engine: &Arc<Inner>,
    mailbox: &Arc<Mailbox>,
    plan: Plan,
    replay: Replay,
    reader: Option<LogReader>,
    (span, dry): (Option<Span>, Dry),
    anchor: Option<Anchor>,
) -> Result<Arc<RunShared>> {
    Ok(RunShared::new(Parts {
        plan,
        environment: Arc::clone(&engine.environment),
        engine: Arc::downgrade(engine),
        settings: Arc::clone(&engine.settings),
        mailbox: Arc::clone(mailbox),
        replay,
        reader,
        store: engine.store()?,
        dry,
        span: span.unwrap_or_else(Span::none),
        anchor,
    }))
}

/// Calls code of the user's that reads a value back; a panic in it is an error like any other.
pub(crate) fn unpanicked<T>(read: impl FnOnce() -> Result<T, PayloadError>) -> Result<T, PayloadError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(PayloadError::new("its type's own code panicked when it was read back")))
}

pub(crate) fn body(plan: &Plan, input: &Payload) -> Result<BoxedFuture> {
    unpanicked(|| (plan.definition.body)(input)).map_err(|error| {
        let (run, task) = (plan.run, plan.definition.name);
        payload_error(format!("run {run}: the input of task {task} cannot be read back"), &error)
    })
}

/// No task of this name is linked in.
pub(crate) fn unknown_task(cell: &RunCell) -> Error {
    Error::new(
        ErrorKind::UnknownTask,
        format!(
            "run {} is of task {}, which this program does not have: it waits for one that does (a renamed task keeps its \
             runs by #[task(name = \"{}\")])",
            cell.run, cell.task, cell.task
        ),
    )
}
