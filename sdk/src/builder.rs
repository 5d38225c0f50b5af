//! How an engine is set up and opened, with types.

use std::any::Any;
#[cfg(feature = "rocks")]
use std::io::ErrorKind::PermissionDenied;
#[cfg(feature = "rocks")]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use relive_engine::clock::Clock;
use relive_engine::commit::Acknowledged;
use relive_engine::definition::{CacheDefault, Registry};
use relive_engine::engine;
use relive_engine::entropy::Entropy;
use relive_engine::error::Result;
#[cfg(feature = "rocks")]
use relive_engine::error::{Error, ErrorKind};
use relive_engine::options::Options;
use relive_engine::payload::{PayloadCodec, PayloadHook};
use relive_engine::replayer::Replayer;
use relive_engine::retain::Keep;
use relive_storage::{Durability, Read, Store};

use crate::__private::{TaskEntry, TraceEntry};
use crate::engine::{Engine, Listening};

/// Sets an engine up. Settings are numbers; components are parts of yours.
pub struct Builder(pub(crate) Options);

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

    /// Whether calls of tasks that say nothing of the cache are joined and share results. Default: [`CacheDefault::Auto`], they
    /// do. What a task's own attribute says (`cache`, `version`, `ttl`, `ignore` or `salt`) counts more.
    #[must_use]
    pub fn cache_default(mut self, cache_default: CacheDefault) -> Self {
        self.0.cache_default = cache_default;
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
    /// thread: keep it short. It must not wait for the thread that drops the engine, which waits for the one that commits.
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
    /// Must be called inside a tokio runtime, which runs the tasks. The engine stays with the directory that is there now,
    /// whatever becomes of the path; if that is moved, replaced or removed, the next commit fails, and nothing is written until
    /// the engine is opened again.
    ///
    /// # Errors
    /// If another process holds the directory, it is not readable and writable, is no Relive store, is of a newer format
    /// or damaged; if two tasks or two traces of this program have one name, or two payload hooks one id.
    #[cfg(feature = "rocks")]
    pub async fn open(self, directory: impl AsRef<Path>) -> Result<Engine> {
        let directory = from_here(directory.as_ref());
        // Opening reads files: not on a thread that runs tasks.
        let opened = tokio::task::spawn_blocking(move || crate::store::open(&directory)).await;
        let (store, held) = opened
            .map_err(|error| Error::new(ErrorKind::Storage, format!("the store cannot be opened: {error}")))??;
        let mut engine = self.open_store(store).await?;
        engine.1 = crate::live::Listener::open(held, engine.0.downgrade());
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

/// What a path means now: a relative one may mean another directory while another thread opens it.
#[cfg(feature = "rocks")]
fn from_here(path: &Path) -> PathBuf {
    match std::path::absolute(path) {
        // Below a directory that this user may not search, only a relative path leads anywhere.
        Ok(absolute)
            if path.is_relative()
                && std::fs::metadata(&absolute).is_err_and(|error| error.kind() == PermissionDenied) =>
        {
            path.to_owned()
        }
        Ok(absolute) => absolute,
        Err(_) => path.to_owned(),
    }
}

/// What is linked into this program.
fn registry() -> Result<Registry> {
    let tasks = inventory::iter::<TaskEntry>().map(|entry| entry.0);
    let traces = inventory::iter::<TraceEntry>().map(|entry| entry.0);
    Registry::new(tasks, traces)
}
