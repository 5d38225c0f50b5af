//! The engine: starts, joins and finds runs.
//!
//! Called by the SDK with calls whose types are gone; each run is a task of its own (`execute`); what is left from
//! earlier lives of the process is taken up by `recover`.
//!
//! Invariants: identical calls at the same time run once; an id names one run for as long as the run is kept; after
//! `shutdown` nothing is written.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use relive_storage::{Read, Store};
use rustc_hash::FxHashMap;
use tokio::sync::{Semaphore, mpsc};

use crate::cache::Ledger;
use crate::commit::{Commits, Committer, CommitterThread, wakes};
use crate::definition::{Registry, TaskDefinition};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Parent, Rerun, TaskCompleted, TaskOutcome};
use crate::handle::{Cancellation, CellState, Ending, Handle, Held, RunCell, RunStatus, Target};
use crate::id::{Epoch, RunId, Sequence};
use crate::log::last_event;
use crate::observe::Metrics;
use crate::options::Options;
use crate::payload::Payload;
use crate::payload::redact::{RedactionKey, redaction_key};
use crate::post::Post;
use crate::replayer::Replayer;
use crate::reserve::Reservations;
use crate::retain::Retaining;
use crate::run::{Company, Environment, Settings, Stop, closed};
use crate::sleepers::Sleepers;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread;

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
    /// Names and values to find the run by.
    pub tags: Vec<(String, String)>,
    /// If a task's body calls it: the run that it is to be, and for whom.
    pub child: Option<(RunId, Parent)>,
    /// Whether it runs also if the cache holds its result.
    pub refresh: bool,
    /// Whether it joins an equal call, or gets a cached result, also if it has an id of its own.
    pub cached: bool,
    /// Whether a result can be read as the type that the caller wants: a cached one that cannot is none.
    pub readable: fn(&Payload) -> bool,
}

impl Request {
    /// Whether it gets a run of its own: who gives an id wants one.
    pub(crate) fn is_apart(&self) -> bool {
        self.id.is_some() && !self.cached
    }
}

/// An open engine. Clones are the same engine; when the last is dropped, its runs stop where they are, what they had appended
/// is made durable, and the store is closed, unless somebody reads it: then as soon as nobody does. That is an end in order, as
/// a shutdown is: no run counts it as a death of the process.
#[derive(Clone)]
pub struct Engine(Arc<Owner>);

/// An engine that is not kept open.
#[derive(Clone)]
pub struct WeakEngine(Weak<Owner>);

impl WeakEngine {
    /// The engine, if it is still open.
    pub fn upgrade(&self) -> Option<Engine> {
        self.0.upgrade().map(Engine)
    }
}

/// Stops everything when the last clone is gone: the runs hold the inner engine themselves.
struct Owner(Arc<Inner>);

impl Drop for Owner {
    /// Closes the store here and now, not whenever the committer's thread comes to it: at the end of `main`, that would be
    /// while RocksDB's own statics are destroyed, which aborts the process.
    fn drop(&mut self) {
        let inner = &self.0;
        inner.close(Stop::Abort);
        // A listener to what becomes durable may have held the last clone: then the store is closed by and by, which is no end
        // that could be vouched for.
        let closes = inner.committer_thread != Some(thread::current().id());
        if closes && inner.is_writing() {
            inner.settle_soon();
        }
        inner.settings.committer.close();
        if closes {
            // If it panicked, it has said so, and there is nobody to tell.
            inner.join_committer();
        }
        inner.store.write().take();
    }
}

/// A committer whose engine is not open yet: if it does not come to that, its store is closed here and now, too.
struct Starting {
    committer: Committer,
    thread: Option<CommitterThread>,
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.committer.close();
            let _ = thread.join();
        }
    }
}

pub(crate) struct Inner {
    /// Itself, for those who hold runs.
    own: Weak<Self>,
    /// `None` once it is closed.
    store: RwLock<Option<Arc<dyn Read>>>,
    pub(crate) registry: Registry,
    pub(crate) environment: Arc<Environment>,
    pub(crate) settings: Arc<Settings>,
    /// A permit per run that may be under way.
    pub(crate) turns: Arc<Semaphore>,
    /// Where runs are spawned.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) runs: Arc<Mutex<FxHashMap<RunId, Arc<RunCell>>>>,
    /// Who signals which of them.
    pub(crate) post: Arc<Post>,
    /// Those that only wait for a time, and are not in memory until then.
    pub(crate) sleepers: Arc<Sleepers>,
    pub(crate) reservations: Reservations,
    /// Which runs each run waits for.
    pub(crate) waits: Mutex<FxHashMap<RunId, Vec<RunId>>>,
    /// Counts the signals of this life of the process.
    pub(crate) signal_count: AtomicU64,
    pub(crate) cache: Arc<Ledger>,
    pub(crate) retaining: Retaining,
    /// Set by `close`; nothing is started after it.
    closed: AtomicBool,
    /// Cloned into each run's task: the receiver ends when all have ended.
    pub(crate) alive: Mutex<Option<mpsc::Sender<()>>>,
    ended: tokio::sync::Mutex<Option<mpsc::Receiver<()>>>,
    /// Taken by who joins it, who holds the lock until it has ended.
    thread: Mutex<Option<CommitterThread>>,
    committer_thread: Option<thread::ThreadId>,
    grace: Duration,
    /// How often a run may be under way when the process dies, before it is parked.
    pub(crate) crashes_max: u32,
    /// Whether unfinished runs were taken up.
    pub(crate) takes_up: bool,
    /// Whether an end in order may be recorded as one: not, if an earlier life died and nobody has counted that.
    pub(crate) marks_end: AtomicBool,
}

impl Engine {
    /// Opens a store: takes up its unfinished runs, and from here on starts new ones.
    ///
    /// # Errors
    /// If two tasks or traces have one name, there is no tokio runtime, or the store cannot be read or written.
    pub async fn open(store: Arc<dyn Store>, registry: Registry, mut options: Options) -> Result<Self> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| {
            Error::new(ErrorKind::Unsupported, "an engine is opened inside a tokio runtime: its runs are tasks there")
        })?;
        let cache = crate::cache::ledger(store.as_ref(), &options)?;
        let duty = crate::retain::Duty::of(&registry, &options)?;
        let acknowledges = options.on_durable.is_some();
        let metrics = Arc::new(Metrics::new(&registry));
        let on_durable = options.on_durable.take();
        let commits = Commits::new(Arc::clone(&store), options.durability, on_durable, Arc::clone(&metrics));
        let (committer, thread) = if options.commits_in_place {
            (Committer::in_place(commits), None)
        } else {
            Committer::start(commits).map(|(committer, thread)| (committer, Some(thread)))?
        };
        let mut starting = Starting { committer: committer.clone(), thread };
        let store: Arc<dyn Read> = store;
        let (redaction, drawn) = redaction_key(store.as_ref(), options.entropy.as_ref())?;
        let (epoch, in_order) = crate::recover::next_epoch(store.as_ref(), &committer, drawn).await?;
        // On a runtime of one thread, everybody else would wait with the run.
        let has_threads = runtime.runtime_flavor() != tokio::runtime::RuntimeFlavor::CurrentThread;
        let company = has_threads.then(Arc::<Company>::default);
        let settings = Arc::new(Settings {
            committer,
            epoch,
            acknowledges,
            strict: options.strict,
            sleep_out_after: options.sleep_out_after,
            company,
        });
        let thread = starting.thread.take();
        let parts =
            Parts { store, registry, settings, redaction, metrics, cache, runtime, thread, writes: true, in_order };
        let inner = Inner::new(parts, options);
        inner.settings.committer.tell(Arc::downgrade(&inner));
        let engine = Self(Arc::new(Owner(Arc::clone(&inner))));
        crate::recover::take_up(&inner, in_order).await?;
        inner.marks_end.fetch_or(inner.takes_up, Ordering::Relaxed);
        crate::execute::spawn_watch(&inner);
        if let Some(duty) = duty {
            crate::execute::spawn_retention(&inner, duty);
        }
        Ok(engine)
    }

    /// How payloads are written, where an attribute says nothing else.
    pub fn encoding(&self) -> &crate::payload::Encoding {
        &self.inner().environment.encoding
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
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
        loop {
            let ending = {
                // A resume at the same time forgets what the run was told before.
                let _runs = inner.runs.lock();
                cell.mailbox.cancel();
                cell.cell().ends()
            };
            let Some(ending) = ending else {
                inner.tend(cell.cell())?;
                match cell.ended().await {
                    Ok(outcome) if *outcome == TaskOutcome::Cancelled => return Ok(Cancellation::Cancelled),
                    Ok(_) => return Ok(Cancellation::AlreadyEnded),
                    // It does not end by itself.
                    Err(_) if cell.is_blocked() => continue,
                    Err(error) => return Err(error),
                }
            };
            let completed = inner.cancel_unfinished(run).await?;
            let cancelled = completed.outcome == TaskOutcome::Cancelled;
            inner.over(&ending, completed);
            return Ok(if cancelled { Cancellation::Cancelled } else { Cancellation::AlreadyEnded });
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
        crate::dry::replay_last(self.inner(), run).await
    }

    /// Replays runs, and says more of what it finds. It does not keep the engine open.
    pub fn replayer(&self) -> Replayer {
        Replayer::of(Arc::clone(self.inner()))
    }

    /// Signals a run: hands a value to who waits, or will wait, for this name in its body. When this returns, the signal is
    /// durable.
    ///
    /// # Errors
    /// Of kind `UnknownRun` or `Ended`; of kind `Payload` if the run waits for another type: then nothing is recorded.
    pub async fn signal(&self, run: RunId, name: &str, value: Payload) -> Result<()> {
        self.inner().signal(run, name, value).await
    }

    /// Begins a new attempt of a run that failed, was cancelled, or waits (it diverged, was parked, its task was missing). What earlier
    /// attempts found is not found again, less what `rerun` names. When this returns, the attempt's first event is durable.
    ///
    /// # Errors
    /// Of kind `UnknownRun`, `UnknownTask`; of kind `Ended` if it has completed; of kind `Unsupported` if it is under way.
    pub async fn resume(&self, run: RunId, rerun: Rerun) -> Result<Handle> {
        self.inner().resume(run, rerun).await
    }

    /// Forks a run: a new one shares its log up to an event, and goes on from there by itself; one recorded result may be
    /// another in it. When this returns, the fork is durable. Gives also the last event that is shared.
    ///
    /// # Errors
    /// Of kind `UnknownRun` or `UnknownTask`; of kind `Unsupported` if there is no such event or trace. Whether the body fits what was
    /// changed is only known when it is replayed: if not, the fork waits, with that error.
    pub async fn fork(&self, run: RunId, fork: crate::fork::Fork) -> Result<(Handle, Sequence)> {
        self.inner().fork(run, fork).await
    }

    /// What a new attempt of a run would append before it begins its first effects. Nothing is run and nothing written.
    ///
    /// # Errors
    /// As for [`Engine::resume`], and whatever keeps the attempt from beginning.
    pub async fn preview(&self, run: RunId, rerun: Rerun) -> Result<Vec<(Sequence, Event)>> {
        crate::dry::preview(self.inner(), run, rerun).await
    }

    /// Deletes finished runs that a rule names, with all that is stored of them; never one that an unfinished run called.
    /// Entries of the cache stay. When this returns, they are gone, durably, and their space is given back.
    ///
    /// # Errors
    /// If the engine is closed, the store fails, or a log that has to be read is damaged. What was deleted by then is gone.
    pub async fn retain(&self, rule: crate::retain::Retention) -> Result<crate::retain::Retained> {
        let inner = self.inner();
        crate::cache::evict::alone(inner, &inner.retaining.alone, move |inner| crate::retain::retain(inner, &rule))
            .await
    }

    /// How the engine is reached by somebody who does not keep it open.
    pub fn downgrade(&self) -> WeakEngine {
        WeakEngine(Arc::downgrade(&self.0))
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
        inner.settle().await;
        // Commits look for themselves; this is for what was written long before.
        let is_in_place = inner.settings.committer.check();
        inner.settings.committer.close();
        let joining = Arc::clone(inner);
        // Goes on if this is dropped; who comes later waits for it.
        if !tokio::task::spawn_blocking(move || joining.join_committer()).await.unwrap_or(false) {
            return Err(Error::new(ErrorKind::Storage, "the committer's thread panicked, or the runtime ended"));
        }
        // Nobody writes any more; the directory can be opened again when this returns, unless somebody is reading.
        inner.store.write().take();
        *guard = None;
        inner.settings.committer.failure().map_or(is_in_place, Err)
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

/// What an engine is made of, beside its options.
struct Parts {
    store: Arc<dyn Read>,
    registry: Registry,
    settings: Arc<Settings>,
    redaction: RedactionKey,
    metrics: Arc<Metrics>,
    cache: Arc<Ledger>,
    runtime: tokio::runtime::Handle,
    /// `None` if whoever submits commits.
    thread: Option<CommitterThread>,
    /// If not, nothing is started, either.
    writes: bool,
    /// Whether the life before ended in order.
    in_order: bool,
}

impl Inner {
    fn new(parts: Parts, options: Options) -> Arc<Self> {
        let Parts { store, registry, settings, redaction, metrics, cache, runtime, thread, writes, in_order } = parts;
        let (alive, ended) = mpsc::channel(1);
        Arc::new_cyclic(|own| Self {
            own: Weak::clone(own),
            sleepers: Arc::new(Sleepers::new(Arc::clone(&metrics))),
            store: RwLock::new(Some(store)),
            registry,
            environment: Arc::new(Environment {
                clock: options.clock,
                entropy: options.entropy,
                provided: options.provided,
                encoding: options.encoding,
                redaction,
                decoy: options.strict.then(|| options.decoy.unwrap_or_else(decoy)),
                lingering: Arc::default(),
                interposer: options.interposer,
                run_wrapper: options.run_wrapper,
                runtime: runtime.clone(),
                metrics,
            }),
            settings,
            turns: Arc::new(Semaphore::new(options.runs_max)),
            runtime,
            runs: Arc::default(),
            post: Arc::default(),
            reservations: Reservations::default(),
            waits: Mutex::default(),
            signal_count: AtomicU64::new(0),
            cache,
            retaining: Retaining::default(),
            closed: AtomicBool::new(!writes),
            alive: Mutex::new(writes.then_some(alive)),
            ended: tokio::sync::Mutex::new(writes.then_some(ended)),
            committer_thread: thread.as_ref().map(|thread| thread.thread().id()),
            thread: Mutex::new(thread),
            grace: options.shutdown_grace,
            crashes_max: options.crashes_max,
            takes_up: options.takes_up,
            marks_end: AtomicBool::new(in_order),
        })
    }

    /// Of a store that is only read: nothing is started, and what is written is refused.
    pub(crate) fn reading(store: Arc<dyn Read>, registry: Registry, options: Options) -> Result<Arc<Self>> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| {
            Error::new(ErrorKind::Unsupported, "runs are replayed inside a tokio runtime: effects would be tasks there")
        })?;
        let cache = crate::cache::ledger(store.as_ref(), &options)?;
        let metrics = Arc::new(Metrics::new(&registry));
        // A store without a key holds nothing that was hashed with one: any will do.
        let (redaction, _) = redaction_key(store.as_ref(), options.entropy.as_ref())?;
        let committer = Committer::closed(Arc::clone(&metrics));
        let settings = Settings {
            committer,
            epoch: Epoch(0),
            acknowledges: false,
            strict: options.strict,
            sleep_out_after: Duration::MAX,
            company: None,
        };
        Ok(Self::new(
            Parts {
                store,
                registry,
                settings: Arc::new(settings),
                redaction,
                metrics,
                cache,
                runtime,
                thread: None,
                writes: false,
                in_order: false,
            },
            options,
        ))
    }

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

    /// Whether what is written still gets to the disk: it was not shut down, and no commit has failed.
    fn is_writing(&self) -> bool {
        self.store.read().is_some() && self.settings.committer.failure().is_none()
    }

    /// A run that could not go on has ended.
    pub(crate) fn over(&self, ending: &Ending, completed: TaskCompleted) {
        let cell = ending.cell();
        crate::observe::events::ended(cell.run, &cell.task, &completed);
        // Known until nobody joins it any more: from then on it can be resumed, with a cell of its own.
        self.unjoinable(cell.run);
        self.runs.lock().remove(&cell.run);
        cell.set(CellState::Done(Arc::new(completed.outcome)));
    }

    /// Waits on this thread until the committer's has ended. `false` if that panicked.
    fn join_committer(&self) -> bool {
        let mut thread = self.thread.lock();
        thread.take().is_none_or(|thread| thread.join().is_ok())
    }

    /// Starts nothing from now on, and tells all runs.
    fn close(&self, stop: Stop) {
        self.closed.store(true, Ordering::Release);
        self.alive.lock().take();
        self.sleepers.close();
        self.retaining.closed.notify_one();
        let mut asleep = Vec::new();
        for cell in self.runs.lock().values() {
            cell.mailbox.stop(stop);
            if cell.is_asleep() {
                asleep.push(Arc::clone(cell));
            }
        }
        // Nobody drives them: whoever waits for them is told here.
        for cell in asleep {
            cell.set(CellState::Stopped(Arc::new(closed(cell.run))));
        }
    }

    /// The first commit that failed: told to every run and to all that wait for one, whatever for.
    pub(crate) fn commit_failed(&self, why: &str) {
        // Nobody is woken to write what cannot be written.
        self.sleepers.close();
        self.retaining.closed.notify_one();
        let cells: Vec<_> = self.runs.lock().values().cloned().collect();
        for cell in cells {
            // Who waits for a run may have a waker of the program's own: one that panics keeps none of the others from being told.
            wakes(|| cell.commit_failed(why));
        }
    }

    /// For a cell that was just entered among the runs: it may have come after all others were told that a commit failed.
    pub(crate) fn heed_failure(&self, cell: &RunCell) {
        if let Some(why) = self.settings.committer.failure_reason() {
            cell.commit_failed(&why);
        }
    }

    /// A cell that somebody holds. Under the lock of the runs, where it is found; or before its run is spawned.
    pub(crate) fn held(&self, cell: &Arc<RunCell>) -> Held {
        Held::new(cell, &self.own)
    }

    /// A cell that was found elsewhere than among the runs. `None` if its run sleeps and has let it go meanwhile.
    pub(crate) fn hold(&self, cell: &Arc<RunCell>) -> Option<Held> {
        let runs = self.runs.lock();
        let is_known = runs.get(&cell.run).is_some_and(|known| Arc::ptr_eq(known, cell));
        (is_known || !cell.is_asleep()).then(|| self.held(cell))
    }

    pub(crate) fn handle(&self, run: RunId) -> Result<Handle> {
        if let Some(cell) = self.runs.lock().get(&run) {
            return Ok(Handle { run, target: Target::Live(self.held(cell)) });
        }
        match last_event(self.store()?.as_ref(), run)? {
            Some((_, Event::TaskCompleted(TaskCompleted { outcome, retry_at: None, .. }))) => {
                Ok(Handle { run, target: Target::Done(Arc::new(outcome)) })
            }
            Some(_) => match self.known(run)? {
                Some(cell) => Ok(Handle { run, target: Target::Live(cell) }),
                None => {
                    let why = format!("run {run} is unfinished, and this engine has stopped it");
                    Err(Error::new(ErrorKind::Closed, why))
                }
            },
            None => Err(Error::new(ErrorKind::UnknownRun, format!("there is no run {run} in this store"))),
        }
    }
}
