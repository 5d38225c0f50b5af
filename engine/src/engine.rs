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
use parking_lot::{Mutex, RwLock};
use relive_storage::{Outcome, Precondition, Read, Store, Write};
use rustc_hash::FxHashMap;
use tokio::sync::{Semaphore, mpsc};

use crate::cache::Ledger;
use crate::commit::{Committer, CommitterThread};
use crate::definition::{Registry, TaskDefinition};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, TaskCompleted, TaskOutcome};
use crate::handle::{Cancellation, CellState, Handle, RunCell, RunStatus, Target};
use crate::id::{Epoch, RunId};
use crate::index;
use crate::inspect;
use crate::log::{LOG, LogReader, last_event};
use crate::options::Options;
use crate::payload::Payload;
use crate::reserve::Reservations;
use crate::run::{Company, Environment, Settings, Stop};

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
    /// Whether it runs also if the cache holds its result.
    pub refresh: bool,
    /// Whether a result can be read as the type that the caller wants: a cached one that cannot is none.
    pub readable: fn(&Payload) -> bool,
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

pub(crate) struct Inner {
    /// `None` once it is closed.
    store: RwLock<Option<Arc<dyn Read>>>,
    pub(crate) registry: Registry,
    pub(crate) environment: Arc<Environment>,
    pub(crate) settings: Settings,
    /// A permit per run that may be under way.
    pub(crate) turns: Arc<Semaphore>,
    /// Where runs are spawned.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) runs: Mutex<FxHashMap<RunId, Arc<RunCell>>>,
    pub(crate) reservations: Reservations,
    pub(crate) cache: Arc<Ledger>,
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
        let cache = crate::cache::ledger(store.as_ref(), &options)?;
        let acknowledges = options.on_durable.is_some();
        let (committer, thread) = Committer::start(Arc::clone(&store), options.durability, options.on_durable)?;
        let store: Arc<dyn Read> = store;
        let epoch = crate::recover::next_epoch(store.as_ref(), &committer).await?;
        let (alive, ended) = mpsc::channel(1);
        // On a runtime of one thread, everybody else would wait with the run.
        let has_threads = runtime.runtime_flavor() != tokio::runtime::RuntimeFlavor::CurrentThread;
        let company = has_threads.then(Arc::<Company>::default);
        let inner = Arc::new(Inner {
            store: RwLock::new(Some(store)),
            registry,
            environment: Arc::new(Environment {
                clock: options.clock,
                entropy: options.entropy,
                provided: options.provided,
                decoy: options.strict.then(decoy),
            }),
            settings: Settings { committer, epoch, acknowledges, strict: options.strict, company },
            turns: Arc::new(Semaphore::new(options.runs_max)),
            runtime,
            runs: Mutex::default(),
            reservations: Reservations::default(),
            cache,
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
        self.inner().start(&request).await
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
        if last_event(inner.store()?.as_ref(), run)?.is_none() {
            return Err(Error::new(ErrorKind::UnknownRun, format!("there is no run {run} in this store")));
        }
        crate::execute::replay(&inner, run).await
    }

    /// The cache: to list, evict, explain and rebuild.
    pub fn cache(&self) -> crate::cache::Cache {
        crate::cache::Cache::new(self.inner())
    }

    /// Which life of the process this is: counts the times the store was opened to write.
    pub fn epoch(&self) -> Epoch {
        self.inner().settings.epoch
    }

    /// The store, to be read.
    ///
    /// # Errors
    /// Of kind `Closed` after a shutdown.
    pub fn store(&self) -> Result<Arc<dyn Read>> {
        self.inner().store()
    }

    /// Stops: starts nothing new, lets effects that have begun end and records them for as long as the grace lasts, and
    /// closes the store. Unfinished runs go on when it is opened again. Later calls return at once.
    ///
    /// # Errors
    /// If an earlier commit failed: what was appended since is lost.
    pub async fn shutdown(&self) -> Result<()> {
        let inner = self.inner();
        inner.close(Stop::Drain);
        // Held to the end: a second call waits for the first, and goes on where one that was dropped stopped.
        let mut guard = inner.ended.lock().await;
        let Some(ended) = guard.as_mut() else { return Ok(()) };
        if tokio::time::timeout(inner.grace, ended.recv()).await.is_err() {
            inner.close(Stop::Abort);
            ended.recv().await;
        }
        inner.settle_cache().await;
        inner.settings.committer.close();
        let thread = inner.thread.lock().take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                return Err(Error::new(ErrorKind::Storage, "the committer's thread panicked"));
            }
        }
        // Nobody writes any more; the directory can be opened again when this returns, unless somebody is reading.
        inner.store.write().take();
        *guard = None;
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

impl Inner {
    /// The store, to be read. Not to be kept: a shutdown closes the store when the last reader is gone.
    pub(crate) fn store(&self) -> Result<Arc<dyn Read>> {
        self.store
            .read()
            .clone()
            .ok_or_else(|| Error::new(ErrorKind::Closed, "the engine was shut down: open it again"))
    }

    pub(crate) fn check_open(&self) -> Result<()> {
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

    pub(crate) fn handle(&self, run: RunId) -> Result<Handle> {
        if let Some(cell) = self.runs.lock().get(&run) {
            return Ok(Handle { run, target: Target::Live(Arc::clone(cell)) });
        }
        match last_event(self.store()?.as_ref(), run)? {
            Some((_, Event::TaskCompleted(TaskCompleted { outcome, .. }))) => {
                Ok(Handle { run, target: Target::Done(Arc::new(outcome)) })
            }
            Some(_) => {
                Err(Error::new(ErrorKind::Closed, format!("run {run} is unfinished, and this engine has stopped it")))
            }
            None => Err(Error::new(ErrorKind::UnknownRun, format!("there is no run {run} in this store"))),
        }
    }

    /// Cancels a run that no loop is driving.
    async fn cancel_waiting(self: &Arc<Self>, cell: &Arc<RunCell>) -> Result<Cancellation> {
        let run = cell.run;
        let mut reader = LogReader::new(self.store()?, run);
        while reader.next_batch()?.is_some() {}
        let started = crate::recover::first_event(self.store()?, run)?;
        let (at, first) = (self.environment.clock.now(), reader.position());
        let completed =
            TaskCompleted { outcome: TaskOutcome::Cancelled, imposed: true, code: started.code, retry_at: None, at };
        let mut writer = reader.into_writer(self.settings.epoch);
        let (mut operations, _) = writer.append(first, vec![Event::TaskCompleted(completed)], true)?;
        if let Some(mut record) = inspect::run(self.store()?.as_ref(), run)? {
            record.state = index::RunState::Cancelled;
            record.finished_at = Some(at);
            operations.push(index::put(index::RUNS, index::run_key(run), &record)?);
        }
        operations.push(relive_storage::Operation::Delete { keyspace: index::UNFINISHED, key: index::run_key(run) });
        // Somebody else may be cancelling it, too: who appends first has cancelled it.
        let absent = Precondition::Absent { keyspace: LOG, key: crate::log::key(run, first) };
        match self.settings.committer.commit(Write { preconditions: vec![absent], operations }).await? {
            Outcome::Refused { .. } => {
                return match last_event(self.store()?.as_ref(), run)? {
                    Some((_, Event::TaskCompleted(_))) => Ok(Cancellation::AlreadyEnded),
                    _ => Err(Error::new(
                        ErrorKind::Storage,
                        format!("run {run} moved while it was cancelled: try again"),
                    )),
                };
            }
            Outcome::Applied => {}
        }
        self.runs.lock().remove(&run);
        self.unjoinable(run);
        cell.set(CellState::Done(Arc::new(TaskOutcome::Cancelled)));
        Ok(Cancellation::Cancelled)
    }
}
