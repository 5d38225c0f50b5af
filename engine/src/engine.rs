//! The engine: starts, joins and finds runs.
//!
//! Called by the SDK with calls whose types are gone; each run is a task of its own (`execute`); what is left from
//! earlier lives of the process is taken up by `recover`.
//!
//! Invariants: identical calls at the same time run once; an id names one run for as long as the run is kept; after
//! `shutdown` nothing is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use relive_storage::{Outcome, Precondition, Read, Store, Write};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::commit::{Committer, CommitterThread};
use crate::definition::{CacheMode, Registry, TaskDefinition};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Cause, Event, TaskCompleted, TaskOutcome, TaskStarted};
use crate::handle::{Cancellation, CellState, Handle, RunCell, RunStatus, Target};
use crate::id::{Epoch, RunId, Sequence};
use crate::index::{self, CacheRecord, IdRecord};
use crate::inspect;
use crate::log::{LOG, LogReader, LogWriter, last_event};
use crate::options::Options;
use crate::payload::Payload;
use crate::run::{Environment, Plan, Settings, Stop, closed};

/// A call of a task.
pub struct Request {
    /// Which task.
    pub definition: &'static TaskDefinition,
    /// Its input, as it is recorded.
    pub input: Payload,
    /// The canonical form of its input.
    pub canonical: Bytes,
    /// The caller's id for the run.
    pub id: Option<String>,
}

/// An open engine. Clones are the same engine; when the last is dropped, its runs stop where they are.
#[derive(Clone)]
pub struct Engine(Arc<Owner>);

/// Tells the runs when the last clone is gone: they hold the inner engine themselves.
struct Owner(Arc<Inner>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close(Stop::Abort);
    }
}

/// A call that is under way: as far as others can join it.
enum Call {
    /// Somebody is looking it up; told when that is decided.
    Deciding(Arc<Notify>),
    Run(Arc<RunCell>),
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Registry,
    pub(crate) environment: Arc<Environment>,
    pub(crate) settings: Settings,
    /// A permit per run that may be under way.
    pub(crate) turns: Arc<Semaphore>,
    /// Where runs are spawned.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) runs: Mutex<FxHashMap<RunId, Arc<RunCell>>>,
    calls: Mutex<FxHashMap<[u8; 32], Call>>,
    ids: Mutex<FxHashMap<String, Arc<Notify>>>,
    /// Set by `close`; nothing is started after it.
    closed: AtomicBool,
    /// Cloned into each run's task: the receiver ends when all have ended.
    pub(crate) alive: Mutex<Option<mpsc::Sender<()>>>,
    ended: tokio::sync::Mutex<Option<mpsc::Receiver<()>>>,
    thread: Mutex<Option<CommitterThread>>,
    grace: Duration,
}

impl Engine {
    /// Opens a store: takes up its unfinished runs, and from here on starts new ones.
    ///
    /// # Errors
    /// If two tasks or traces have one name, there is no tokio runtime, or the store cannot be read or written.
    pub async fn open(store: Arc<dyn Store>, registry: Registry, options: Options) -> Result<Self> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| {
            Error::new(ErrorKind::Unsupported, "an engine is opened inside a tokio runtime: its runs are tasks there")
        })?;
        let acknowledges = options.on_durable.is_some();
        let (committer, thread) = Committer::start(Arc::clone(&store), options.durability, options.on_durable)?;
        let epoch = crate::recover::next_epoch(store.as_ref(), &committer).await?;
        let (alive, ended) = mpsc::channel(1);
        let inner = Arc::new(Inner {
            store,
            registry,
            environment: Arc::new(Environment {
                clock: options.clock,
                entropy: options.entropy,
                provided: options.provided,
                decoy: options.strict.then(decoy),
            }),
            settings: Settings { committer, epoch, acknowledges, strict: options.strict },
            turns: Arc::new(Semaphore::new(options.runs_max)),
            runtime,
            runs: Mutex::default(),
            calls: Mutex::default(),
            ids: Mutex::default(),
            closed: AtomicBool::new(false),
            alive: Mutex::new(Some(alive)),
            ended: tokio::sync::Mutex::new(Some(ended)),
            thread: Mutex::new(Some(thread)),
            grace: options.shutdown_grace,
        });
        let engine = Self(Arc::new(Owner(Arc::clone(&inner))));
        crate::recover::take_up(&inner)?;
        Ok(engine)
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.0.0
    }

    /// Finds, joins or starts the run of a call. When this returns, the run's first event is durable.
    ///
    /// # Errors
    /// If the id belongs to another call, the engine is closed, or the store fails.
    pub async fn start(&self, request: Request) -> Result<Handle> {
        let inner = self.inner();
        loop {
            inner.check_open()?;
            let _reserved = match &request.id {
                None => None,
                Some(id) => match inner.reserve_id(id) {
                    Ok(reserved) => Some(reserved),
                    Err(other) => {
                        other.await;
                        continue;
                    }
                },
            };
            if let Some(id) = &request.id
                && let Some(record) = index::read::<IdRecord>(inner.store_read(), index::IDS, id.as_bytes())?
            {
                return inner.known_id(&request, id, &record);
            }
            if request.definition.cache == CacheMode::Off {
                return inner.fresh(&request, None).await;
            }
            let key = call_key(request.definition.name, blake3::hash(&request.canonical).as_bytes());
            let reserved = match inner.reserve_call(key) {
                Reserve::Reserved(reserved) => reserved,
                Reserve::Run(cell) => {
                    if inner.input_of(&cell)? == request.canonical {
                        return inner.join(&request, cell).await;
                    }
                    // Another input with the same hash: run beside it, and joined by nobody.
                    return inner.fresh(&request, None).await;
                }
                Reserve::Deciding(other) => {
                    other.await;
                    continue;
                }
            };
            if let Some(entry) = inner.cached(&request)? {
                return inner.from_cache(&request, entry).await;
            }
            return inner.fresh(&request, Some(reserved)).await;
        }
    }

    /// The run with this id, whatever its state.
    ///
    /// # Errors
    /// Of kind `UnknownRun` if there is none.
    pub fn handle(&self, run: RunId) -> Result<Handle> {
        self.inner().handle(run)
    }

    /// Cancels a run: it stops at its next await. When this returns, the reply is durable.
    ///
    /// # Errors
    /// If there is no such run, the engine is closed, or the store fails.
    pub async fn cancel(&self, run: RunId) -> Result<Cancellation> {
        let inner = self.inner();
        inner.check_open()?;
        let Target::Live(cell) = self.handle(run)?.target else { return Ok(Cancellation::AlreadyEnded) };
        cell.mailbox.cancel();
        match cell.ended().await {
            Ok(outcome) if *outcome == TaskOutcome::Cancelled => Ok(Cancellation::Cancelled),
            Ok(_) => Ok(Cancellation::AlreadyEnded),
            Err(_) if matches!(cell.state(), CellState::Waiting(_)) => inner.cancel_waiting(&cell).await,
            Err(error) => Err(error),
        }
    }

    /// How a run stands: the engine's own knowledge first, then what is stored.
    ///
    /// # Errors
    /// As for [`Engine::handle`].
    pub fn status(&self, run: RunId) -> Result<RunStatus> {
        Ok(self.handle(run)?.status())
    }

    /// Runs a task's body against the log of one of its runs, without effects and without writes: the outcome, if the log
    /// holds the whole attempt, or `None` if the run is unfinished.
    ///
    /// # Errors
    /// Of kind `Diverged` if the body does not fit the log; if the run or its task is unknown, or the log is damaged.
    pub async fn replay(&self, run: RunId) -> Result<Option<TaskCompleted>> {
        let inner = Arc::clone(self.inner());
        if last_event(inner.store_read(), run)?.is_none() {
            return Err(Error::new(ErrorKind::UnknownRun, format!("there is no run {run} in this store")));
        }
        crate::execute::replay(&inner, run).await
    }

    /// Which life of the process this is: counts the times the store was opened to write.
    pub fn epoch(&self) -> Epoch {
        self.inner().settings.epoch
    }

    /// The store, to be read.
    pub fn store(&self) -> Arc<dyn Read> {
        Arc::clone(&self.inner().store) as Arc<dyn Read>
    }

    /// Stops: starts nothing new, lets effects that have begun end and records them for as long as the grace lasts, and
    /// closes the store. Unfinished runs go on when it is opened again. Later calls return at once.
    ///
    /// # Errors
    /// If an earlier commit failed: what was appended since is lost.
    pub async fn shutdown(&self) -> Result<()> {
        let inner = self.inner();
        inner.close(Stop::Drain);
        let Some(mut ended) = inner.ended.lock().await.take() else { return Ok(()) };
        if tokio::time::timeout(inner.grace, ended.recv()).await.is_err() {
            inner.close(Stop::Abort);
            ended.recv().await;
        }
        inner.settings.committer.close();
        let thread = inner.thread.lock().take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                return Err(Error::new(ErrorKind::Storage, "the committer's thread panicked"));
            }
        }
        inner.settings.committer.failure().map_or(Ok(()), Err)
    }
}

/// A runtime without time and I/O that never runs anything: one for the process.
fn decoy() -> tokio::runtime::Handle {
    static DECOY: std::sync::OnceLock<Option<tokio::runtime::Runtime>> = std::sync::OnceLock::new();
    let decoy = DECOY.get_or_init(|| tokio::runtime::Builder::new_current_thread().build().ok());
    match decoy {
        Some(runtime) => runtime.handle().clone(),
        // Without it, foreign awaits are found out when they wake the body.
        None => tokio::runtime::Handle::current(),
    }
}

/// What identical calls have in common. Without the code: an unfinished run is joined after an edit, too, as a second one
/// would repeat its effects.
pub(crate) fn call_key(task: &str, input_hash: &[u8; 32]) -> [u8; 32] {
    index::cache_key(task, crate::id::CodeHash::from_bytes([0; 16]), input_hash)
}

/// The answer to who wants to start a call.
enum Reserve {
    Reserved(ReservedCall),
    Run(Arc<RunCell>),
    Deciding(tokio::sync::futures::OwnedNotified),
}

/// The right to decide what becomes of a call; others wait until it is dropped.
struct ReservedCall {
    inner: Arc<Inner>,
    key: [u8; 32],
    notify: Arc<Notify>,
}

impl ReservedCall {
    /// The call is this run from now on.
    fn becomes(self, cell: &Arc<RunCell>) {
        self.inner.calls.lock().insert(self.key, Call::Run(Arc::clone(cell)));
    }
}

impl Drop for ReservedCall {
    fn drop(&mut self) {
        let mut calls = self.inner.calls.lock();
        if matches!(calls.get(&self.key), Some(Call::Deciding(_))) {
            calls.remove(&self.key);
        }
        drop(calls);
        self.notify.notify_waiters();
    }
}

/// The right to decide which run an id names; others wait until it is dropped.
struct ReservedId {
    inner: Arc<Inner>,
    id: String,
    notify: Arc<Notify>,
}

impl Drop for ReservedId {
    fn drop(&mut self) {
        self.inner.ids.lock().remove(&self.id);
        self.notify.notify_waiters();
    }
}

impl Inner {
    fn store_read(&self) -> &dyn Read {
        self.store.as_ref()
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the engine was shut down: open it again"));
        }
        self.settings.committer.failure().map_or(Ok(()), Err)
    }

    /// Starts nothing from now on, and tells all runs.
    fn close(&self, stop: Stop) {
        self.closed.store(true, Ordering::Release);
        self.alive.lock().take();
        for cell in self.runs.lock().values() {
            cell.mailbox.stop(stop);
        }
    }

    fn reserve_id(self: &Arc<Self>, id: &str) -> Result<ReservedId, tokio::sync::futures::OwnedNotified> {
        let mut ids = self.ids.lock();
        if let Some(notify) = ids.get(id) {
            return Err(Arc::clone(notify).notified_owned());
        }
        let notify = Arc::new(Notify::new());
        ids.insert(id.to_owned(), Arc::clone(&notify));
        Ok(ReservedId { inner: Arc::clone(self), id: id.to_owned(), notify })
    }

    fn reserve_call(self: &Arc<Self>, key: [u8; 32]) -> Reserve {
        let mut calls = self.calls.lock();
        match calls.get(&key) {
            Some(Call::Run(cell)) => Reserve::Run(Arc::clone(cell)),
            Some(Call::Deciding(notify)) => Reserve::Deciding(Arc::clone(notify).notified_owned()),
            None => {
                let notify = Arc::new(Notify::new());
                calls.insert(key, Call::Deciding(Arc::clone(&notify)));
                Reserve::Reserved(ReservedCall { inner: Arc::clone(self), key, notify })
            }
        }
    }

    /// Makes a run that was taken up joinable.
    pub(crate) fn joinable(&self, key: [u8; 32], cell: &Arc<RunCell>) {
        self.calls.lock().insert(key, Call::Run(Arc::clone(cell)));
    }

    /// Forgets a run that has ended. Its record tells the rest.
    pub(crate) fn forget(&self, cell: &RunCell, key: Option<[u8; 32]>) {
        self.runs.lock().remove(&cell.run);
        if let Some(key) = key {
            let mut calls = self.calls.lock();
            if matches!(calls.get(&key), Some(Call::Run(other)) if other.run == cell.run) {
                calls.remove(&key);
            }
        }
    }

    fn handle(&self, run: RunId) -> Result<Handle> {
        if let Some(cell) = self.runs.lock().get(&run) {
            return Ok(Handle { run, target: Target::Live(Arc::clone(cell)) });
        }
        match last_event(self.store_read(), run)? {
            Some((_, Event::TaskCompleted(TaskCompleted { outcome, .. }))) => {
                Ok(Handle { run, target: Target::Done(Arc::new(outcome)) })
            }
            Some(_) => {
                Err(Error::new(ErrorKind::Closed, format!("run {run} is unfinished, and this engine has stopped it")))
            }
            None => Err(Error::new(ErrorKind::UnknownRun, format!("there is no run {run} in this store"))),
        }
    }

    /// The run that an id names, if the call is the same.
    fn known_id(&self, request: &Request, id: &str, record: &IdRecord) -> Result<Handle> {
        let taken = |what: &str| {
            Err(Error::new(ErrorKind::IdTaken, format!("id `{id}` names run {} of {what}: use another id", record.run)))
        };
        if record.task != request.definition.name {
            return taken(&format!("task {}", record.task));
        }
        let handle = self.handle(record.run)?;
        let known = match &handle.target {
            Target::Live(cell) => self.input_of(cell)?,
            Target::Done(_) => self.stored_input(record.run, request.definition)?,
        };
        if known != request.canonical {
            return taken("the same task with another input");
        }
        Ok(handle)
    }

    /// The canonical form of a run's input.
    fn input_of(&self, cell: &RunCell) -> Result<Bytes> {
        if let Some(input) = cell.input.get() {
            return Ok(input.clone());
        }
        let Some(definition) = self.registry.task(&cell.task) else {
            return Err(Error::new(
                ErrorKind::UnknownTask,
                format!("run {}: task {} is not linked in", cell.run, cell.task),
            ));
        };
        let input = self.stored_input(cell.run, definition)?;
        Ok(cell.input.get_or_init(|| input).clone())
    }

    fn stored_input(&self, run: RunId, definition: &TaskDefinition) -> Result<Bytes> {
        let started = crate::recover::first_event(Arc::clone(&self.store) as Arc<dyn Read>, run)?;
        let canonical = (definition.canonical)(&started.input).map_err(|error| {
            crate::error::payload_error(
                format!("run {run}: the input of task {} cannot be read", definition.name),
                &error,
            )
        })?;
        Ok(canonical.into())
    }

    /// An entry of the cache that holds for this call.
    fn cached(&self, request: &Request) -> Result<Option<CacheRecord>> {
        let definition = request.definition;
        let key = index::cache_key(definition.name, definition.code, blake3::hash(&request.canonical).as_bytes());
        let entry = index::read::<CacheRecord>(self.store_read(), index::CACHE, &key)?;
        Ok(entry.filter(|entry| {
            // The hash is never enough.
            entry.task == definition.name
                && entry.code == definition.code
                && entry.input == request.canonical
                && entry
                    .traces
                    .iter()
                    .all(|(name, code)| self.registry.trace(name).is_some_and(|now| now.code == *code))
        }))
    }

    /// A handle on a cached result. Under an id, a run is written that says where the result is from.
    async fn from_cache(self: &Arc<Self>, request: &Request, entry: CacheRecord) -> Result<Handle> {
        let outcome = TaskOutcome::Ok(entry.result);
        if request.id.is_none() {
            return Ok(Handle { run: entry.run, target: Target::Done(Arc::new(outcome)) });
        }
        let plan = self.plan(request)?;
        let at = plan.started_at;
        let completed = TaskCompleted { outcome: outcome.clone(), imposed: true, code: request.definition.code, at };
        let started = self.started(request, &plan, Cause::Cached);
        let mut writer = LogWriter::new(plan.run, self.settings.epoch);
        let events = vec![Event::TaskStarted(started), Event::TaskCompleted(completed.clone())];
        let mut write = plan.creation()?;
        write.operations.extend(plan.completion(&completed, None)?);
        write.operations.extend(writer.append(Sequence(0), events, true)?.0);
        self.applied(write).await?;
        Ok(Handle { run: plan.run, target: Target::Done(Arc::new(outcome)) })
    }

    /// A handle on a run of the same call that is under way. An id names it from now on, too.
    async fn join(self: &Arc<Self>, request: &Request, cell: Arc<RunCell>) -> Result<Handle> {
        cell.started().await?;
        if let Some(id) = &request.id {
            let mut plan = self.plan(request)?;
            plan.run = cell.run;
            let (absent, put) = plan.claim(id)?;
            self.applied(Write { preconditions: vec![absent], operations: vec![put] }).await?;
        }
        Ok(Handle { run: cell.run, target: Target::Live(cell) })
    }

    async fn applied(&self, write: Write) -> Result<()> {
        match self.settings.committer.commit(write).await? {
            Outcome::Applied => Ok(()),
            Outcome::Refused { .. } => {
                Err(Error::new(ErrorKind::IdTaken, "another start under the same id was faster: call again"))
            }
        }
    }

    /// Starts a run.
    async fn fresh(self: &Arc<Self>, request: &Request, reserved: Option<ReservedCall>) -> Result<Handle> {
        let plan = self.plan(request)?;
        let started = self.started(request, &plan, Cause::New);
        let cell = RunCell::new(plan.run, request.definition.name, CellState::Starting);
        let _ = cell.input.set(request.canonical.clone());
        let key = reserved.as_ref().map(|reserved| reserved.key);
        let alive = {
            // Held while the run is entered, so that a shutdown at the same time finds it.
            let guard = self.alive.lock();
            let Some(alive) = guard.clone() else { return Err(closed(plan.run)) };
            self.runs.lock().insert(plan.run, Arc::clone(&cell));
            alive
        };
        if let Some(reserved) = reserved {
            reserved.becomes(&cell);
        }
        crate::execute::spawn_fresh(self, &cell, plan, started, key, alive);
        cell.started().await?;
        Ok(Handle { run: cell.run, target: Target::Live(cell) })
    }

    fn plan(&self, request: &Request) -> Result<Plan> {
        let started_at = self.environment.clock.now();
        let mut random = [0; 10];
        self.environment
            .entropy
            .fill(&mut random)
            .map_err(|why| Error::new(ErrorKind::Storage, format!("no randomness for a run's id: {why}")))?;
        Ok(Plan {
            run: RunId::new(started_at, random),
            definition: request.definition,
            code: request.definition.code,
            id: request.id.clone(),
            input: request.canonical.clone(),
            started_at,
        })
    }

    fn started(&self, request: &Request, plan: &Plan, cause: Cause) -> TaskStarted {
        TaskStarted {
            task: request.definition.name.into(),
            code: request.definition.code,
            input: request.input.clone(),
            attempt: 1,
            cause,
            id: request.id.clone(),
            at: plan.started_at,
        }
    }

    /// Cancels a run that no loop is driving.
    async fn cancel_waiting(self: &Arc<Self>, cell: &Arc<RunCell>) -> Result<Cancellation> {
        let run = cell.run;
        let mut reader = LogReader::new(Arc::clone(&self.store) as Arc<dyn Read>, run);
        while reader.next_batch()?.is_some() {}
        let started = crate::recover::first_event(Arc::clone(&self.store) as Arc<dyn Read>, run)?;
        let (at, first) = (self.environment.clock.now(), reader.position());
        let completed = TaskCompleted { outcome: TaskOutcome::Cancelled, imposed: true, code: started.code, at };
        let mut writer = reader.into_writer(self.settings.epoch);
        let (mut operations, _) = writer.append(first, vec![Event::TaskCompleted(completed)], true)?;
        if let Some(mut record) = inspect::run(self.store_read(), run)? {
            record.state = index::RunState::Cancelled;
            record.finished_at = Some(at);
            operations.push(index::put(index::RUNS, index::run_key(run), &record)?);
        }
        operations.push(relive_storage::Operation::Delete { keyspace: index::UNFINISHED, key: index::run_key(run) });
        // Somebody else may be cancelling it, too: who appends first has cancelled it.
        let absent = Precondition::Absent { keyspace: LOG, key: crate::log::key(run, first) };
        match self.settings.committer.commit(Write { preconditions: vec![absent], operations }).await? {
            Outcome::Refused { .. } => return Ok(Cancellation::AlreadyEnded),
            Outcome::Applied => {}
        }
        self.runs.lock().remove(&run);
        self.calls.lock().retain(|_, call| !matches!(call, Call::Run(other) if other.run == run));
        cell.set(CellState::Done(Arc::new(TaskOutcome::Cancelled)));
        Ok(Cancellation::Cancelled)
    }
}
