//! The engine, with types: opens a store, starts and finds runs.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
#[cfg(feature = "rocks")]
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use relive_engine::clock::Clock;
use relive_engine::commit::Acknowledged;
use relive_engine::definition::Registry;
use relive_engine::divergence::CallSite;
use relive_engine::engine;
use relive_engine::entropy::Entropy;
use relive_engine::error::{Error, ErrorKind, Result};
use relive_engine::event::{Event, Rerun, TaskOutcome};
use relive_engine::handle::{Cancellation, Handle, RunStatus};
use relive_engine::id::{RunId, Sequence};
use relive_engine::inspect::{self, Events, Runs};
use relive_engine::options::Options;
use relive_engine::payload::{Payload, PayloadCodec, PayloadHook};
use relive_engine::replayer::Replayer;
use relive_engine::retain::{Keep, Retained, Retention};
use relive_engine::value::Value;
use relive_storage::{Durability, Read, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::__private::{TaskEntry, TraceEntry};
use crate::cache::Cache;
use crate::task::Call;

/// Durable execution in this process. Clones are the same engine.
///
/// One engine holds a directory; another process that opens it to write gets an error. Call [`Engine::shutdown`] at the
/// end: without it, effects that have begun are cut off and run again next time.
#[derive(Clone)]
pub struct Engine(engine::Engine, Listening);

/// The socket that commands come through, if the engine has a directory; closed with the last clone.
#[cfg(feature = "rocks")]
type Listening = Option<Arc<crate::live::Listener>>;
#[cfg(not(feature = "rocks"))]
type Listening = ();

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("epoch", &self.0.epoch()).finish_non_exhaustive()
    }
}

/// Sets an engine up. Settings are numbers; components are parts of yours.
pub struct Builder(Options);

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("durability", &self.0.durability).finish_non_exhaustive()
    }
}

impl Builder {
    /// How payloads are written, as far as it is set. For the command line.
    #[doc(hidden)]
    pub fn encoding(&self) -> relive_engine::payload::Encoding {
        self.0.encoding.clone()
    }

    /// What an acknowledgement promises. Default: [`Durability::Sync`], power loss is survived;
    /// [`Durability::Buffered`] survives the end of the process only, and does not wait for the disk.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.0.durability = durability;
        self
    }

    /// Whether a task that awaits what is no trace fails at once, also where that does no harm. Default: in debug builds.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.0.strict = strict;
        self
    }

    /// How many runs may be under way at once; more are recorded and wait. At least 1; default 10,000.
    #[must_use]
    pub fn runs_max(mut self, runs_max: usize) -> Self {
        self.0.runs_max = runs_max.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        self
    }

    /// A run that only waits for times (a [`sleep`](crate::sleep), a trace's wait before its next try, its own before its next
    /// attempt), and for longer than this, leaves memory: its task's body is dropped, and rebuilt from the log when it is
    /// due. Default: 5 s; `Duration::MAX` for never. A run with a long log stays longer: a millisecond for each event.
    ///
    /// What a body holds while it sleeps (a file, a lock, a guard) is dropped with it, as in a crash. A run that waits for a
    /// signal or a child too, or holds a stream that is not at its end, stays in memory.
    #[must_use]
    pub fn sleep_out_after(mut self, sleep_out_after: Duration) -> Self {
        self.0.sleep_out_after = sleep_out_after;
        self
    }

    /// How often a run may be under way when the process dies, without getting on between, before it is parked: then it
    /// waits until somebody resumes or cancels it, so that one run cannot take the process down for ever. What only waits
    /// (for a time, a signal, a child) is not counted, and a [`shutdown`](Engine::shutdown) is no death. At least 1;
    /// default 3; `u32::MAX` for never, where processes are killed often for other reasons.
    #[must_use]
    pub fn crashes_max(mut self, crashes_max: u32) -> Self {
        self.0.crashes_max = crashes_max.max(1);
        self
    }

    /// Whether unfinished runs go on when the engine opens. If not, each waits until somebody resumes it: for a program that
    /// is to do one thing to a store and leave it, as `relive resume` does. Default: yes.
    #[must_use]
    pub fn takes_up(mut self, takes_up: bool) -> Self {
        self.0.takes_up = takes_up;
        self
    }

    /// How long a shutdown waits for effects that have begun. Default: 10 s.
    #[must_use]
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.0.shutdown_grace = grace;
        self
    }

    /// How inputs and results are written, where an attribute (`codec = "json"`) says nothing else. Default:
    /// [`PayloadCodec::MESSAGE_PACK`]. What another codec wrote before stays readable.
    #[must_use]
    pub fn payload_codec(mut self, codec: PayloadCodec) -> Self {
        self.0.encoding = self.0.encoding.with_codec(Some(codec));
        self
    }

    /// Largest input, result or item, in bytes as they are stored; one that is larger is an error of kind `Payload`. 1
    /// byte to 32 MiB; default 4 MiB.
    #[must_use]
    pub fn payload_bytes_max(mut self, bytes_max: usize) -> Self {
        self.0.encoding = self.0.encoding.with_bytes_max(bytes_max);
        self
    }

    /// Seals every payload before it is stored, and opens it when it is read: a compression, an encryption. What was
    /// stored before, sealed by nothing, stays readable.
    ///
    /// Payloads are inputs, results, items, signals and the values of typed errors. Not sealed are names, ids, tags and the
    /// messages of errors; and the hash of a trace's input, from which a short input could be guessed, stands beside it
    /// (`redact` keys that hash). Hooks are known to the whole process from when the engine opens, by their ids.
    #[must_use]
    pub fn payload_hook(mut self, hook: impl PayloadHook) -> Self {
        self.0.encoding = self.0.encoding.with_hook(Arc::new(hook));
        self
    }

    /// Opens payloads that this hook has sealed, and seals none: for what stood in [`Builder::payload_hook`] before.
    #[must_use]
    pub fn payload_hook_for_reading(mut self, hook: impl PayloadHook) -> Self {
        self.0.payload_hooks.push(Arc::new(hook));
        self
    }

    /// Largest size of all cached results together, in bytes; what was used the longest ago has to go. 0: nothing is cached.
    /// A result that is larger by itself is not cached. Default: 1 GiB.
    #[must_use]
    pub fn cache_bytes_max(mut self, cache_bytes_max: u64) -> Self {
        self.0.cache_bytes_max = cache_bytes_max;
        self
    }

    /// How long runs are kept when they have ended, of tasks that do not say so themselves (`#[task(keep = "30d")]`): then they
    /// are deleted in the background, with all that is stored of them but cached results. Default: [`Keep::FOREVER`].
    ///
    /// What is never deleted: a run that has not ended (also one that waits, sleeps or was parked), one that an unfinished run
    /// called, one of a task that this program does not have. A child stays for as long as the runs that called it, and goes
    /// with them, unless its task says that it is kept for longer. An id names its run for as long as that is kept; afterwards it
    /// starts a new one, whose [`idempotency_key`](crate::idempotency_key)s are others.
    ///
    /// A run goes within a minute or so after its time is over; where a million runs stay, one that ended out of the order in
    /// which it was started goes within a quarter of an hour. Space on the disk comes back within an hour after that.
    /// An engine that takes up no runs ([`Builder::takes_up`]) deletes none. A count above
    /// [`KEEP_COUNT_MAX`](crate::KEEP_COUNT_MAX) is an error at open.
    #[must_use]
    pub fn keep(mut self, keep: Keep) -> Self {
        self.0.keep = keep;
        self
    }

    /// Is told of every event once it is durable, before anyone who waits for it is woken. Runs on the committer's
    /// thread: keep it short.
    #[must_use]
    pub fn on_durable(mut self, listener: impl Fn(&Acknowledged) + Send + Sync + 'static) -> Self {
        self.0.on_durable = Some(Arc::new(listener));
        self
    }

    /// Gives tasks and traces a value of yours (a client, a pool), for [`provided`](crate::provided). A second of the
    /// same type replaces the first.
    #[must_use]
    pub fn provide<T: Any + Send + Sync>(mut self, value: T) -> Self {
        self.0.provide(Arc::new(value));
        self
    }

    /// Where time is from. Default: the operating system's clocks.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.0.clock = Arc::new(clock);
        self
    }

    /// Where randomness is from: what [`random`](crate::random), [`uuid`](crate::uuid()) and run ids are made of. Default: the
    /// operating system's.
    #[must_use]
    pub fn entropy(mut self, entropy: impl Entropy) -> Self {
        self.0.entropy = Arc::new(entropy);
        self
    }

    /// For tests: what is spawned in place of a run's task.
    #[doc(hidden)]
    #[must_use]
    pub fn run_wrapper(mut self, wrapper: relive_engine::options::RunWrapper) -> Self {
        self.0.run_wrapper = Some(wrapper);
        self
    }

    /// For tests: everything on one thread, with somebody between calls and their effects.
    #[cfg(feature = "testing")]
    pub(crate) fn tested(
        mut self,
        interposer: Arc<dyn relive_engine::run::Interposer>,
        decoy: Option<tokio::runtime::Handle>,
    ) -> Self {
        self.0.decoy = decoy;
        self.0.interposer = Some(interposer);
        self.0.commits_in_place = true;
        self
    }

    /// Opens a directory: creates it (mode 0700) if it is not there. Its unfinished runs go on from here on.
    ///
    /// Must be called inside a tokio runtime, which runs the tasks.
    ///
    /// # Errors
    /// If another process holds the directory, it is not readable and writable, is no Relive store, is of a newer format
    /// or damaged; if two tasks or two traces of this program have one name, or two payload hooks one id.
    #[cfg(feature = "rocks")]
    pub async fn open(self, directory: impl AsRef<Path>) -> Result<Engine> {
        let directory = directory.as_ref().to_owned();
        let listened = directory.clone();
        // Opening reads files: not on a thread that runs tasks.
        let opened = tokio::task::spawn_blocking(move || crate::store::open(&directory)).await;
        let store = opened
            .map_err(|error| Error::new(ErrorKind::Storage, format!("the store cannot be opened: {error}")))??;
        let mut engine = self.open_store(store).await?;
        engine.1 = crate::live::Listener::open(&listened, engine.0.downgrade());
        Ok(engine)
    }

    /// Opens a store of yours: one in memory, one that fails on cue.
    ///
    /// # Errors
    /// As for [`Builder::open`].
    pub async fn open_store(self, store: Arc<dyn Store>) -> Result<Engine> {
        let registry = registry()?;
        self.0.register_payload_hooks()?;
        Ok(Engine(engine::Engine::open(store, registry, self.0).await?, Listening::default()))
    }

    /// Opens a directory to replay its runs against the code of this program: also while an engine has it open. Nothing is
    /// written, no run goes on, and no effect begins.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If the directory is not there or not readable, is no Relive store, is of a newer format or damaged; if two tasks or
    /// two traces of this program have one name, or two payload hooks one id.
    #[cfg(feature = "rocks")]
    pub fn open_reader(self, directory: impl AsRef<Path>) -> Result<Replayer> {
        self.replay_store(crate::store::open_to_read(directory.as_ref())?)
    }

    /// As [`Builder::open_reader`], for a store of yours, or a view of one.
    ///
    /// # Errors
    /// As for [`Builder::open_reader`].
    pub fn replay_store(self, store: Arc<dyn Read>) -> Result<Replayer> {
        self.0.register_payload_hooks()?;
        Replayer::open(store, registry()?, self.0)
    }
}

/// What is linked into this program.
fn registry() -> Result<Registry> {
    let tasks = inventory::iter::<TaskEntry>().map(|entry| entry.0);
    let traces = inventory::iter::<TraceEntry>().map(|entry| entry.0);
    Registry::new(tasks, traces)
}

impl Engine {
    /// Opens a directory with the defaults. See [`Builder::open`].
    ///
    /// # Errors
    /// As for [`Builder::open`].
    #[cfg(feature = "rocks")]
    pub async fn open(directory: impl AsRef<Path>) -> Result<Self> {
        Self::builder().open(directory).await
    }

    /// Sets an engine up.
    pub fn builder() -> Builder {
        Builder(Options::default())
    }

    /// The store, to be read. Not to be kept: it is closed when the last reader is gone.
    ///
    /// # Errors
    /// Of kind `Closed` after a shutdown.
    #[doc(hidden)]
    pub fn store(&self) -> Result<Arc<dyn relive_storage::Read>> {
        self.0.store()
    }

    /// How a run ends, whatever its types. For the command line.
    ///
    /// # Errors
    /// If there is no such run, it cannot go on, or the engine stops before it ends.
    #[doc(hidden)]
    pub async fn outcome(&self, run: RunId) -> Result<TaskOutcome> {
        Ok(self.0.handle(run)?.outcome().await?.as_ref().clone())
    }

    /// The engine that is inside.
    pub(crate) fn inner(&self) -> &engine::Engine {
        &self.0
    }

    /// The same engine, for who is asked through its socket.
    #[cfg(all(feature = "rocks", unix))]
    pub(crate) fn unlistened(engine: engine::Engine) -> Self {
        Self(engine, None)
    }

    /// Deletes finished runs that a rule names, with all that is stored of them; never one that an unfinished run called, and
    /// no entry of the cache. When this returns, they are gone, durably, and their space is given back.
    ///
    /// # Errors
    /// If the engine is closed, the store fails, or a log that has to be read is damaged. What was deleted by then is gone.
    pub async fn retain(&self, rule: Retention) -> Result<Retained> {
        self.0.retain(rule).await
    }

    /// The result of a call: from the cache, of the run of the same call that is under way, or of a new run. Dropping
    /// the future leaves the run going.
    ///
    /// # Errors
    /// The task's own; or the engine's, as the task's error type: a failed store, a closed engine, a divergence.
    pub async fn run<T, E>(&self, call: Call<T, E>) -> Result<T, E>
    where
        T: DeserializeOwned,
        E: From<Error>,
    {
        self.start(call).await?.await
    }

    /// A handle on the run of a call: a new one, the one that is under way, or one that ended. When this returns, the
    /// run's first event is durable.
    ///
    /// # Errors
    /// If the id names another call's run, the engine is closed, or the store fails.
    pub async fn start<T, E>(&self, call: Call<T, E>) -> Result<RunHandle<T, E>>
    where
        T: DeserializeOwned,
    {
        let handle = self.0.start(call.into_request(self.0.encoding())?).await?;
        Ok(RunHandle { handle, engine: self.0.clone(), result: PhantomData })
    }

    /// A handle on a run by its id, if the caller knows its types.
    ///
    /// # Errors
    /// Of kind `UnknownRun` if there is no such run.
    pub fn handle<T, E>(&self, run: RunId) -> Result<RunHandle<T, E>> {
        Ok(RunHandle { handle: self.0.handle(run)?, engine: self.0.clone(), result: PhantomData })
    }

    /// How a run stands.
    ///
    /// # Errors
    /// Of kind `UnknownRun` if there is no such run.
    pub fn status(&self, run: RunId) -> Result<RunStatus> {
        self.0.status(run)
    }

    /// Cancels a run: it stops at its next await. The reply is durable.
    ///
    /// # Errors
    /// If there is no such run, the engine is closed, or the store fails.
    pub async fn cancel(&self, run: RunId) -> Result<Cancellation> {
        self.0.cancel(run).await
    }

    /// Signals a run: hands a value to [`signal`](crate::signal) of this name in its body, now or later. When this returns,
    /// the signal is durable; it is kept until somebody waits for it.
    ///
    /// # Errors
    /// Of kind `UnknownRun`; of kind `Ended` if the run has ended; of kind `Payload` if the run waits for another type (then
    /// nothing is recorded), or the value cannot be recorded.
    pub async fn signal<T: Serialize>(&self, run: RunId, name: &str, value: T) -> Result<()> {
        let payload = Payload::encode_with(self.0.encoding(), &value).map_err(|error| {
            Error::new(ErrorKind::Payload, format!("the value of signal {name} cannot be recorded: {error}"))
        })?;
        self.0.signal(run, name, payload).await
    }

    /// As [`Engine::signal`], with a value that is encoded already.
    #[cfg(feature = "testing")]
    pub(crate) async fn signal_payload(&self, run: RunId, name: &str, payload: Payload) -> Result<()> {
        self.0.signal(run, name, payload).await
    }

    /// A new attempt of a run that failed, was cancelled, diverged, or waits for its task: nothing happens until it is
    /// awaited. What earlier attempts found is not found again.
    pub fn resume(&self, run: RunId) -> Resume {
        Resume { engine: self.0.clone(), run, rerun: Rerun::default() }
    }

    /// The runs with this tag, the newest first; read a page at a time.
    pub fn runs_tagged(&self, name: &str, value: &str) -> Runs {
        self.0.store().map_or_else(Runs::from, |store| inspect::runs_tagged(store, name, value))
    }

    /// The cached results: to list them, to see why a call would miss, and to throw some out.
    pub fn cache(&self) -> Cache {
        Cache::new(self.0.cache())
    }

    /// All runs of the store, the newest first; read a page at a time.
    pub fn runs(&self) -> Runs {
        self.0.store().map_or_else(Runs::from, inspect::runs)
    }

    /// The events of a run, from its first; read a page at a time. A run that is not there has none.
    pub fn events(&self, run: RunId) -> Events {
        self.0.store().map_or_else(Events::from, |store| inspect::events(store, run))
    }

    /// Runs a task's body against the log of one of its runs, without effects and without writes. Gives the attempt's
    /// outcome, the same as the log's, or `None` if the run is unfinished: the log fits as far as it goes.
    /// [`Engine::replayer`] says more of code that does not fit.
    ///
    /// # Errors
    /// Of kind `Diverged` if the code does not fit the log; of kind `UnknownRun` or `UnknownTask`; if the log is damaged.
    pub async fn replay(&self, run: RunId) -> Result<Option<TaskOutcome>> {
        Ok(self.0.replay(run).await?.map(|completed| completed.outcome))
    }

    /// Replays runs and explains what does not fit: which change, which values, what probably made the difference.
    pub fn replayer(&self) -> Replayer {
        self.0.replayer()
    }

    /// Stops: starts nothing new, waits for effects that have begun (as long as the grace lasts) and records them, and
    /// closes the store. Unfinished runs go on when it is opened again; who waits for one gets an error of kind `Closed`.
    ///
    /// # Errors
    /// If a commit had failed before.
    pub async fn shutdown(&self) -> Result<()> {
        #[cfg(feature = "rocks")]
        if let Some(listener) = &self.1 {
            listener.close();
        }
        self.0.shutdown().await
    }
}

/// A new attempt that is not begun yet. Awaiting it begins it, and gives the run's handle: then the attempt's first event
/// is durable.
#[derive(Clone)]
#[must_use = "a run is resumed when this is awaited"]
pub struct Resume {
    engine: engine::Engine,
    run: RunId,
    rerun: Rerun,
}

impl std::fmt::Debug for Resume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resume").field("run", &self.run).field("rerun", &self.rerun).finish_non_exhaustive()
    }
}

impl Resume {
    /// Finds the results of this trace anew, whatever earlier attempts found.
    pub fn rerun(mut self, trace: impl Into<String>) -> Self {
        self.rerun.names.push(trace.into());
        self
    }

    /// Finds the results of traces anew whose code was edited since.
    pub fn rerun_edited(mut self) -> Self {
        self.rerun.edited = true;
        self
    }

    /// What the attempt would do: nothing is run and nothing written.
    ///
    /// # Errors
    /// Whatever keeps the attempt from beginning: the run or its task is unknown, its input cannot be read.
    pub async fn preview(&self) -> Result<Preview> {
        Ok(Preview::of(self.engine.preview(self.run, self.rerun.clone()).await?))
    }
}

impl IntoFuture for Resume {
    type Output = Result<RunHandle<Value, Error>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let handle = self.engine.resume(self.run, self.rerun).await?;
            Ok(RunHandle { handle, engine: self.engine, result: PhantomData })
        })
    }
}

/// What a new attempt would do before it waits for its first effect.
#[derive(Clone, Debug, Default)]
pub struct Preview {
    /// Calls whose results are there: they are not run.
    pub repeated: Vec<CallSite>,
    /// Calls that begin to run.
    pub runs: Vec<CallSite>,
    /// How the task ends, if it needs no effect for that.
    pub outcome: Option<TaskOutcome>,
}

impl Preview {
    fn of(events: Vec<(Sequence, Event)>) -> Self {
        let mut preview = Self::default();
        let mut ended = BTreeMap::new();
        for (_, event) in &events {
            match event {
                Event::TraceCompleted(completed) => {
                    ended.insert(completed.trace, completed.repeats.is_some());
                }
                Event::TaskCompleted(completed) => preview.outcome = Some(completed.outcome.clone()),
                _ => {}
            }
        }
        for (at, event) in &events {
            let Event::TraceStarted(started) = event else { continue };
            match ended.get(at) {
                Some(true) => preview.repeated.push(CallSite::of(started)),
                // Dropped, or answered at once.
                Some(false) => {}
                None => preview.runs.push(CallSite::of(started)),
            }
        }
        preview
    }
}

/// A run. Awaiting it gives the task's result; dropping it leaves the run going.
pub struct RunHandle<T, E> {
    pub(crate) handle: Handle,
    pub(crate) engine: engine::Engine,
    pub(crate) result: PhantomData<fn() -> Result<T, E>>,
}

impl<T, E> std::fmt::Debug for RunHandle<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunHandle").field("id", &self.id()).field("status", &self.status()).finish_non_exhaustive()
    }
}

impl<T, E> RunHandle<T, E> {
    /// The run's id. Of a cached result, that of the run that found it.
    pub fn id(&self) -> RunId {
        self.handle.run()
    }

    /// How the run stands now.
    pub fn status(&self) -> RunStatus {
        self.handle.status()
    }

    /// Cancels the run: it stops at its next await. The reply is durable.
    ///
    /// # Errors
    /// If the engine is closed, or the store fails.
    pub async fn cancel(&self) -> Result<Cancellation> {
        self.engine.cancel(self.id()).await
    }
}

impl<T, E> IntoFuture for RunHandle<T, E>
where
    T: DeserializeOwned,
    E: From<Error>,
{
    type Output = Result<T, E>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        // The engine is not kept: a run that is waited for does not keep it from being dropped.
        let handle = self.handle;
        Box::pin(async move {
            match &*handle.outcome().await? {
                TaskOutcome::Ok(payload) => payload.decode().map_err(|error| {
                    let type_name = std::any::type_name::<T>();
                    let why = format!("the result of run {} cannot be read as {type_name}: {error}", handle.run());
                    Error::new(ErrorKind::Payload, why).into()
                }),
                TaskOutcome::Err(record) => Err(record.to_error().into()),
                _ => Err(Error::new(ErrorKind::Cancelled, format!("run {} was cancelled", handle.run())).into()),
            }
        })
    }
}
