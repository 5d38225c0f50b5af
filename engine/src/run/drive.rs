//! The run's loop: does what `replay` decides.
//!
//! One future per attempt. It polls the body, appends what the body did, polls effects once their starts are durable, and
//! hands over what comes of them one at a time.
//!
//! Invariants: an effect is polled only when its start, and all that was appended before it, is durable; the body sees
//! recorded outcomes and nothing else; an outcome is returned only when it is durable.

mod deliver;
mod wait;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::task::coop::Unconstrained;

use crate::commit::Committer;
use crate::divergence::Side;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{ErrorRecord, Event, TaskCompleted, TaskOutcome};
use crate::id::{Epoch, RunId, Sequence, Timestamp};
use crate::log::LogWriter;
use crate::observe::spans;
use crate::post::Closed;
use crate::replay::{Decision, ReplayError, TraceIndex};

use super::alone::Company;
use super::iterator::LogCursor;
use super::mailbox::{Received, Stop};
use super::poll::{Polled, Ready, bury, drop_quietly, poll_body, wake_body};
use super::rest::Rest;
use super::shared::{Body, BodyWaker, BoxedFuture, RunShared, RunState};
use super::turn::Turn;

use self::wait::{Alarm, Waited};

/// How far a run may be ahead of what is durable: 1 MiB, so that memory stays bounded when bodies outrun the disk.
const AHEAD_BYTES_MAX: usize = 1 << 20;

/// Replayed decisions before the runtime gets the thread back.
const DECISIONS_PER_TURN: u32 = 512;

/// What a run's loop takes from its engine.
pub(crate) struct Settings {
    pub(crate) committer: Committer,
    pub(crate) epoch: Epoch,
    /// Whether somebody listens to `on_durable`.
    pub(crate) acknowledges: bool,
    /// Whether a wake by a stranger fails the run.
    pub(crate) strict: bool,
    /// How much a run that only waits must have left to be put to sleep.
    pub(crate) sleep_out_after: Duration,
    /// The runs under way; `None` where no thread may stay awake for a sync.
    pub(crate) company: Option<Arc<Company>>,
}

/// What a loop without effects and writes is to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dry {
    /// Nothing: it is no such loop.
    No,
    /// Whether the body fits the log.
    Replay,
    /// What a new attempt would repeat, and what it would begin.
    Preview,
}

/// A trace whose time is over, and that was not told so.
#[derive(Clone, Copy, Debug)]
struct Over {
    /// Since when.
    since: Timestamp,
    /// The position of its start.
    start: Sequence,
    /// Behind which position that is durable.
    end: Sequence,
    index: TraceIndex,
}

/// How an attempt's loop ended.
pub(crate) enum Ended {
    /// The attempt is over.
    Completed(TaskCompleted),
    /// It only waits, and its body is dropped: its log is good to go on from then.
    Rests(Rest),
}

/// Drives one attempt to its end.
pub(crate) struct Drive {
    shared: Arc<RunShared>,
    settings: Arc<Settings>,
    body: Option<Unconstrained<BoxedFuture>>,
    body_waker: Waker,
    /// Told once, when the first batch is durable.
    on_started: Option<Box<dyn FnOnce() + Send>>,
    /// Starts that are not durable yet, and behind which position they are.
    waiting: VecDeque<(Sequence, TraceIndex)>,
    /// Those whose time was over when the run came to them, the first to be over first: they end before anything begins.
    over: VecDeque<Over>,
    /// The one of them that has ended and is not handed over yet.
    ending: Option<TraceIndex>,
    /// What effects came to, in the order in which it will be delivered.
    ready: VecDeque<Ready>,
    /// Children that the body dropped, once that is durable.
    released: VecDeque<(Sequence, RunId)>,
    /// Where earlier attempts' streams are read.
    cursors: FxHashMap<TraceIndex, LogCursor>,
    /// Effects that were woken and not polled since.
    woken: VecDeque<TraceIndex>,
    /// How often strangers woke the body since it was looked into.
    stranger_count: u64,
    decision_count: u32,
    turn: Turn,
    alarm: Option<Alarm>,
    /// Why the loop ended before the attempt did.
    rest: Option<Rest>,
    is_live: bool,
    /// The attempt's end is decided: until it is durable nobody signals the run.
    closed: Option<Closed>,
    dry: Dry,
    /// What a preview would have appended.
    previewed: Vec<(Sequence, Event)>,
    /// Why a replayed body would not go on by itself where its log ends.
    stuck: Option<String>,
}

/// How far a body fits the log that it was replayed against.
pub(crate) struct Fit {
    /// How the log says that the attempt ended; `None` if it is unfinished.
    pub(crate) completed: Option<TaskCompleted>,
    /// Behind the last event that was replayed.
    pub(crate) end: Sequence,
    /// What the body does beyond the log, before it waits for anything.
    pub(crate) next: Vec<Event>,
    /// Why it would not go on by itself from there.
    pub(crate) stuck: Option<String>,
}

impl Drive {
    /// An attempt whose log is continued by `writer` at this position, or read first.
    pub(crate) fn new(
        shared: Arc<RunShared>,
        settings: Arc<Settings>,
        writer: Option<(LogWriter, Sequence)>,
    ) -> Box<Self> {
        if let Some((writer, at)) = writer {
            shared.state.lock().appender.continue_with(writer, at);
            shared.mailbox.durable(at.0, Vec::new());
        }
        Box::new(Self {
            body_waker: Waker::from(Arc::new(BodyWaker(Arc::clone(&shared)))),
            dry: shared.dry,
            shared,
            settings,
            body: None,
            on_started: None,
            waiting: VecDeque::new(),
            over: VecDeque::new(),
            ending: None,
            ready: VecDeque::new(),
            released: VecDeque::new(),
            cursors: FxHashMap::default(),
            woken: VecDeque::new(),
            stranger_count: 0,
            decision_count: 0,
            turn: Turn::none(),
            alarm: None,
            rest: None,
            is_live: false,
            closed: None,
            previewed: Vec::new(),
            stuck: None,
        })
    }

    /// Is told when the attempt's first batch is durable.
    pub(crate) fn on_started(mut self: Box<Self>, tell: impl FnOnce() + Send + 'static) -> Box<Self> {
        self.on_started = Some(Box::new(tell));
        self
    }

    /// Appends the attempt's first event by itself, and waits until it is durable: for a run that has to wait for its turn.
    pub(crate) async fn append_first(&mut self, writer: LogWriter, at: Sequence, event: Event) -> Result<()> {
        {
            let mut state = self.shared.state.lock();
            let RunState { appender, .. } = &mut *state;
            appender.continue_with(writer, at);
            appender.append_events(at, vec![event])?;
        }
        self.all_durable().await
    }

    /// Cancels a run that waits for its turn: before its body was polled in this life of the process.
    pub(crate) async fn cancel_queued(mut self: Box<Self>) -> Result<TaskCompleted> {
        let mut events = self.last_signals().await?;
        let completed = self.imposed(TaskOutcome::Cancelled, None);
        events.push(Event::TaskCompleted(completed.clone()));
        {
            let mut state = self.shared.state.lock();
            while !state.appender.is_ready() {
                self.shared.read(&mut state)?;
            }
            let at = state.appender.submitted();
            state.appender.append_events(at, events)?;
        }
        self.all_durable().await?;
        Ok(completed)
    }

    /// Replays as far as the log goes: no effect, no write.
    pub(crate) async fn replay(mut self: Box<Self>, body: Body) -> Result<Fit> {
        let completed = self.run_to_end(body).await?;
        let (end, next) = self.shared.state.lock().replay.take_pending();
        Ok(Fit { completed, end, next, stuck: self.stuck.take() })
    }

    /// Runs a new attempt as far as earlier ones know: no effect, no write. Gives the events that it would append.
    pub(crate) async fn preview(mut self: Box<Self>, body: Body) -> Result<Vec<(Sequence, Event)>> {
        self.run_to_end(body).await?;
        Ok(std::mem::take(&mut self.previewed))
    }

    /// Runs to the end. An error says why the run did not get there; its log is good to go on from.
    pub(crate) async fn run(mut self: Box<Self>, body: Body, turn: Turn) -> Result<Ended> {
        let run = self.shared.run;
        self.turn = turn;
        // Only a dry loop stops before the end, and one that rests.
        let result = self.run_to_end(body).await;
        if result.is_ok() {
            self.release_all();
        }
        // Those that were let go know it before they could go on.
        self.shared.decides();
        match result? {
            Some(completed) => {
                spans::ended(&self.shared.span, &completed.outcome);
                Ok(Ended::Completed(completed))
            }
            None => self.rest.take().map(Ended::Rests).ok_or_else(|| closed(run)),
        }
    }

    async fn run_to_end(&mut self, mut body: Body) -> Result<Option<TaskCompleted>> {
        self.body = body.take().map(tokio::task::unconstrained);
        let _present = self.settings.company.as_ref().map(Company::join);
        self.shared.mailbox.begins();
        let result = self.steps().await;
        self.shared.state.lock().is_over = true;
        if result.is_err() && self.dry == Dry::No {
            // What was appended is decided before anyone hears of the error: a failed commit is an error of its own.
            let _ = self.all_durable().await;
        }
        self.shared.mailbox.ends();
        self.gather_children();
        self.shared.closing.store(true, Ordering::Relaxed);
        drop_quietly(&self.shared, self.body.take());
        let traces = std::mem::take(&mut self.shared.state.lock().traces);
        drop_quietly(&self.shared, traces);
        drop(bury(&self.shared));
        result
    }

    // What is rare is boxed, and what is decided without waiting is decided in `advance`: a run that waits holds this
    // future in memory, and whoever polls it reads it.
    async fn steps(&mut self) -> Result<Option<TaskCompleted>> {
        loop {
            let waited = match self.advance()? {
                Pause::Stop => return Ok(None),
                Pause::Finished(completed) => {
                    if self.dry == Dry::No {
                        self.all_durable().await?;
                    }
                    return Ok(Some(*completed));
                }
                Pause::Turn => {
                    tokio::task::yield_now().await;
                    if self.shared.mailbox.is_aborted() {
                        return Err(closed(self.shared.run));
                    }
                    Waited::Delivered
                }
                Pause::Recall { index, at } => {
                    if self.dry == Dry::No && self.keep_up().await? {
                        Waited::Ended(Box::new(Imposed { outcome: TaskOutcome::Cancelled, may_retry: false }))
                    } else {
                        self.recall(index, at)?;
                        Waited::Delivered
                    }
                }
                Pause::Last => {
                    let signals = Box::pin(self.last_signals()).await?;
                    self.shared.state.lock().replay.before_end(signals);
                    Waited::Delivered
                }
                Pause::Wait => self.wait().await?,
                Pause::Impose(imposed) => Waited::Ended(imposed),
            };
            match waited {
                Waited::Delivered => {}
                Waited::Ended(imposed) => return Box::pin(self.impose(*imposed)).await.map(Some),
                Waited::Rests(rest) => {
                    self.rest = Some(rest);
                    return Ok(None);
                }
            }
        }
    }

    /// Does what is decided, until there is something to wait for.
    fn advance(&mut self) -> Result<Pause> {
        loop {
            self.decision_count = self.decision_count.wrapping_add(1);
            if self.decision_count.is_multiple_of(DECISIONS_PER_TURN) {
                return Ok(Pause::Turn);
            }
            let decision = self.shared.state.lock().replay.next();
            match decision.map_err(|error| self.shared.replay_error(error))? {
                Decision::NeedHistory => self.shared.read(&mut self.shared.state.lock())?,
                Decision::Poll { wake } => match self.step(wake)? {
                    Stepped::On => {}
                    Stepped::Stop => return Ok(Pause::Stop),
                    Stepped::Failed(record) => {
                        let outcome = TaskOutcome::Err(*record);
                        return Ok(Pause::Impose(Box::new(Imposed { outcome, may_retry: true })));
                    }
                },
                Decision::Wait if self.dry == Dry::Replay => {
                    if self.shared.state.lock().awaited_count == 0 {
                        self.stuck = Some("the task waits for something that is not a trace".to_owned());
                    }
                    return Ok(Pause::Stop);
                }
                Decision::Append | Decision::Recall { .. } if self.dry == Dry::Replay => return Ok(Pause::Stop),
                Decision::Wait if self.dry == Dry::Preview => return Ok(Pause::Stop),
                Decision::Append if self.dry == Dry::Preview => {
                    let (first, events) = self.shared.state.lock().replay.take_pending();
                    self.previewed.extend((first.0..).map(Sequence).zip(events));
                }
                Decision::Append => {
                    if !self.append()? {
                        return Ok(Pause::Last);
                    }
                }
                Decision::Recall { index, at } => return Ok(Pause::Recall { index, at }),
                Decision::Wait => return Ok(Pause::Wait),
                Decision::Finished(completed) => return Ok(Pause::Finished(completed)),
            }
        }
    }

    /// Hands a result over, if there is one to, and polls the body until it rests.
    fn step(&mut self, wake: Option<TraceIndex>) -> Result<Stepped> {
        if let Some(index) = wake {
            wake_body(&self.shared, index);
        }
        let Some(body) = &mut self.body else { return Ok(Stepped::On) };
        let mut polled = poll_body(&self.shared, body, &self.body_waker);
        let mut guard = bury(&self.shared);
        let state = &mut *guard;
        if state.fatal.is_none() && state.replay.needs_more() {
            // Only an iterator's step is read in parts: the rest is needed to compare.
            while state.replay.needs_more() {
                self.shared.read_step(state)?;
            }
        }
        let is_live = state.replay.is_open_ended();
        // Of the body's own doing; or its time was over when it was to begin a plain function.
        let is_foreign = |error: &Error| matches!(error.kind(), ErrorKind::ForeignAwait | ErrorKind::TimedOut);
        if self.dry == Dry::Replay
            && let Some(error) = state.fatal.take_if(|error| is_foreign(error))
        {
            polled = Polled::Foreign(error.to_record());
        }
        if let Some(error) = state.fatal.take() {
            // An await of something foreign is the run's failure; what the log or the types brought about is not.
            return if is_live && is_foreign(&error) && self.dry == Dry::No {
                Ok(Stepped::Failed(Box::new(error.to_record())))
            } else {
                Err(error)
            };
        }
        let output = match polled {
            Polled::Finished(output) => Some(output),
            // A plain function that would have run for the first time.
            Polled::Unwound if is_live && self.dry == Dry::Replay => return Ok(Stepped::Stop),
            Polled::Unwound if is_live && self.dry == Dry::Preview => {
                let (first, events) = state.replay.take_pending();
                self.previewed.extend((first.0..).map(Sequence).zip(events));
                return Ok(Stepped::Stop);
            }
            Polled::Rests | Polled::Unwound => None,
            Polled::Foreign(record) if is_live && self.dry != Dry::No => {
                self.stuck = Some(record.message);
                return Ok(Stepped::Stop);
            }
            Polled::Foreign(record) if is_live => return Ok(Stepped::Failed(Box::new(record))),
            // The log says that it did something else: compared below.
            Polled::Foreign(record) => Some(Err(record)),
        };
        let finish = output.map(|output| {
            let outcome = output.map_or_else(TaskOutcome::Err, TaskOutcome::Ok);
            let plan = &state.appender.plan;
            let at = self.shared.environment.clock.now();
            let retry_at = plan.retry_at(&outcome, at, self.shared.environment.entropy.as_ref());
            TaskCompleted { outcome, imposed: false, code: plan.definition.code, retry_at, at }
        });
        state.is_over |= finish.is_some();
        let settled = state.replay.polled(finish);
        if !state.replay.is_live() && !state.replay.is_dirty() {
            // What was started in the past is gathered when the run goes live.
            state.new_starts.clear();
        }
        settled.map_err(|mut error| {
            if let ReplayError::Diverged(divergence) = &mut error {
                divergence.is_stuck = divergence.called == Some(Side::Waiting) && state.awaited_count == 0;
            }
            self.shared.replay_error(error)
        })?;
        let children = state.replay.take_children();
        drop(guard);
        for (call, result) in children {
            // Reads the store: with the lock free.
            let uses = self.shared.engine.upgrade().and_then(|engine| engine.uses_of_child(&call, &result));
            self.shared.state.lock().appender.depends_on(uses);
        }
        Ok(Stepped::On)
    }

    /// Appends what is pending, as the end of a step. `false` if it ends the attempt, and somebody may signal the run just
    /// now: of a run of which nothing is stored, nobody can.
    fn append(&mut self) -> Result<bool> {
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        if self.closed.is_none() && state.replay.ends() && state.appender.submitted() > Sequence(0) {
            return Ok(false);
        }
        let end = state.appender.append(&mut state.replay, true)?;
        let mut any_known = false;
        for index in std::mem::take(&mut state.new_starts) {
            let slot = state.traces.get(&index);
            any_known |= slot.is_some_and(|slot| slot.is_known);
            if slot.is_some_and(|slot| slot.definition.policy.pure) {
                self.waiting.push_front((Sequence(0), index));
            } else {
                self.waiting.push_back((end, index));
            }
        }
        self.released.extend(state.released.drain(..).map(|child| (end, child)));
        if any_known && self.is_live {
            Self::part_over(&mut self.waiting, &mut self.over, state);
        }
        Ok(true)
    }

    /// Takes those out of what is to begin whose time is over.
    fn part_over(waiting: &mut VecDeque<(Sequence, TraceIndex)>, over: &mut VecDeque<Over>, state: &RunState) {
        waiting.retain(|(end, index)| {
            let Some(slot) = state.traces.get(index) else { return true };
            let Some(since) = slot.over_since() else { return true };
            over.push_back(Over { since, start: slot.context.sequence, end: *end, index: *index });
            false
        });
        over.make_contiguous().sort_unstable_by_key(|over| (over.since, over.start));
    }

    fn imposed(&self, outcome: TaskOutcome, retry_at: Option<Timestamp>) -> TaskCompleted {
        let code = self.shared.state.lock().appender.plan.definition.code;
        TaskCompleted { outcome, imposed: true, code, retry_at, at: self.shared.environment.clock.now() }
    }

    /// Ends the attempt from outside the body, between two steps, and waits until that is durable.
    async fn impose(&mut self, imposed: Imposed) -> Result<TaskCompleted> {
        let Imposed { outcome, may_retry } = imposed;
        let at = self.shared.environment.clock.now();
        let retry_at = {
            let state = self.shared.state.lock();
            let entropy = self.shared.environment.entropy.as_ref();
            may_retry.then(|| state.appender.plan.retry_at(&outcome, at, entropy)).flatten()
        };
        let signals = self.last_signals().await?;
        let completed = self.imposed(outcome, retry_at);
        {
            let mut state = self.shared.state.lock();
            let state = &mut *state;
            state.is_over = true;
            state.replay.impose(completed.clone());
            state.replay.before_end(signals);
            state.appender.append(&mut state.replay, true)?;
        }
        self.all_durable().await?;
        Ok(completed)
    }

    /// Waits until everything appended is durable.
    async fn all_durable(&mut self) -> Result<()> {
        poll_fn(|cx| {
            let received = self.shared.mailbox.look(cx.waker());
            if let Err(error) = self.note(&received) {
                return Poll::Ready(Err(error));
            }
            {
                let mut state = self.shared.state.lock();
                let RunState { replay, appender, .. } = &mut *state;
                appender.flush(replay)?;
                if appender.is_durable() {
                    return Poll::Ready(Ok(()));
                }
            }
            if self.stays_awake() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    /// Waits, if the run is too far ahead of the disk: what earlier attempts found is repeated faster than it is written.
    /// Says whether the run is to be cancelled instead.
    async fn keep_up(&mut self) -> Result<bool> {
        poll_fn(|cx| {
            let received = self.shared.mailbox.look(cx.waker());
            self.note(&received)?;
            if received.stop == Some(Stop::Abort) {
                return Poll::Ready(Err(closed(self.shared.run)));
            }
            match self.shared.state.lock().appender.is_ahead(AHEAD_BYTES_MAX) {
                true => Poll::Pending,
                false => Poll::Ready(Ok(received.cancelled)),
            }
        })
        .await
    }

    fn note(&mut self, received: &Received) -> Result<()> {
        let mut state = self.shared.state.lock();
        let before = state.appender.durable();
        state.appender.note(received.durable, received.failure.as_ref())?;
        let is_first = state.appender.durable() > before;
        drop(state);
        self.tell_started(is_first);
        Ok(())
    }

    fn tell_started(&mut self, is_first: bool) {
        if is_first && let Some(tell) = self.on_started.take() {
            tell();
        }
    }

    /// Waits on this thread for the disk, if that is all there is to do. Says whether there is news.
    fn stays_awake(&self) -> bool {
        let Some(company) = self.settings.company.as_ref().filter(|company| company.is_alone()) else { return false };
        let submitted = {
            let state = self.shared.state.lock();
            if state.appender.is_durable() {
                return false;
            }
            state.appender.submitted()
        };
        company.stay_awake(&self.shared.mailbox, submitted.0)
    }

    /// The children that are open when the attempt ends.
    fn gather_children(&mut self) {
        let mut state = self.shared.state.lock();
        let open: Vec<_> = state.traces.values().filter_map(|slot| slot.child).collect();
        let released = state.released.drain(..).chain(open);
        self.released.extend(released.map(|child| (Sequence(0), child)));
    }

    /// The attempt is over, durably: nobody here waits for its children any more.
    fn release_all(&mut self) {
        for (_, child) in self.released.drain(..) {
            release(&self.shared, child);
        }
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        // Only if the loop was dropped half way: the runtime went away.
        if let Some(body) = self.body.take() {
            drop_quietly(&self.shared, body);
        }
    }
}

fn release(shared: &RunShared, child: RunId) {
    if let Some(engine) = shared.engine.upgrade() {
        engine.release_child(child);
    }
}

/// What became of a step.
enum Stepped {
    On,
    /// A dry loop has come as far as it may.
    Stop,
    /// The body did what a task must not do, while live.
    Failed(Box<ErrorRecord>),
}

/// What the loop waits for.
enum Pause {
    /// The next delivery.
    Wait,
    /// The runtime had no turn for long.
    Turn,
    /// The disk, before an earlier attempt's event is handed over.
    Recall { index: TraceIndex, at: Sequence },
    /// Those who signal the run, as the attempt ends.
    Last,
    /// The end that the engine imposes.
    Impose(Box<Imposed>),
    /// Nothing any more: the attempt is over.
    Finished(Box<TaskCompleted>),
    /// Nothing any more: a dry loop has come as far as it may.
    Stop,
}

/// An end of the attempt that comes from outside its body.
struct Imposed {
    outcome: TaskOutcome,
    /// Whether another attempt may follow by itself.
    may_retry: bool,
}

/// The engine was shut down before the run ended.
pub(crate) fn closed(run: RunId) -> Error {
    Error::new(ErrorKind::Closed, format!("the engine was shut down; run {run} goes on when its store is opened again"))
}

/// How long from now, by the wall clock, until a moment.
pub(crate) fn until(now: Timestamp, due: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(due.0.saturating_sub(now.0)).unwrap_or(0))
}
