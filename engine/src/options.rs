//! How an engine is set up: settings (numbers) and components (clock, entropy, listeners).
//!
//! Filled by the SDK's builder; taken by `Engine::open`.

use std::any::{Any, TypeId};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use relive_storage::Durability;

use crate::cache::{CACHE_BYTES_MAX_DEFAULT, InputHasher, blake3_of};
use crate::clock::{Clock, SystemClock};
use crate::commit::OnDurable;
use crate::definition::CacheDefault;
use crate::entropy::{Entropy, SystemEntropy};
use crate::error::Result;
use crate::payload::Encoding;
use crate::payload::hook::{self, PayloadHook};
use crate::retain::Keep;
pub use crate::run::SLEEP_OUT_AFTER_DEFAULT;
use crate::run::{Interposer, Provided};

/// How an engine is set up.
pub struct Options {
    /// What an acknowledgement promises. Default: power loss is survived.
    pub durability: Durability,
    /// Whether a task that awaits something foreign fails at once. Default: in debug builds.
    pub strict: bool,
    /// How many runs may be under way at once; more wait for their turn. Default: [`RUNS_MAX_DEFAULT`].
    pub runs_max: usize,
    /// A run that only waits for times, and for longer than this, leaves memory until it is due; `Duration::MAX` for never.
    /// Default: [`SLEEP_OUT_AFTER_DEFAULT`].
    pub sleep_out_after: Duration,
    /// How often a run may be under way when the process dies, without getting on, before it is parked. Default:
    /// [`CRASHES_MAX_DEFAULT`].
    pub crashes_max: u32,
    /// Whether unfinished runs are taken up. If not, each waits until somebody resumes it: for a program that is to do one
    /// thing to a store and leave it. Default: yes.
    pub takes_up: bool,
    /// How long a shutdown waits for effects that have begun. Default: [`SHUTDOWN_GRACE_DEFAULT`].
    pub shutdown_grace: Duration,
    /// How inputs and results are written, where a function's attribute says nothing else. Default: [`Encoding::DEFAULT`].
    pub encoding: Encoding,
    /// What seals payloads that are only read, beside the hook in `encoding`.
    pub payload_hooks: Vec<Arc<dyn PayloadHook>>,
    /// Largest size of all cached results together, in bytes, with what is stored beside them; those used the longest ago
    /// have to go. A result that is larger by itself is not cached. Default: [`CACHE_BYTES_MAX_DEFAULT`].
    pub cache_bytes_max: u64,
    /// Whether calls of tasks that say nothing share results. Default: they do.
    pub cache_default: CacheDefault,
    /// How long runs of tasks that say nothing are kept when they have ended. Default: forever.
    pub keep: Keep,
    /// What inputs are hashed with. Another than blake3 is for tests of what happens when hashes collide.
    pub input_hasher: InputHasher,
    /// Told of every event once it is durable.
    pub on_durable: Option<OnDurable>,
    /// Where time is from.
    pub clock: Arc<dyn Clock>,
    /// Where randomness is from.
    pub entropy: Arc<dyn Entropy>,
    /// Stands between calls and their effects: for tests. Default: nobody does.
    pub interposer: Option<Arc<dyn Interposer>>,
    /// In whose context bodies are polled in strict mode: a runtime without time and I/O that never runs anything. Default: one
    /// for the process.
    pub decoy: Option<tokio::runtime::Handle>,
    /// Whether commits are made on the thread that submits them, each by itself: for tests over a store in memory, where
    /// nothing then happens on another thread. Default: a thread of their own, in groups.
    pub commits_in_place: bool,
    /// Stands between a run and the runtime that polls it: for tests that drop it at a moment of theirs. Default: nobody does.
    pub run_wrapper: Option<RunWrapper>,
    pub(crate) provided: Provided,
}

/// A run's whole task, as a runtime polls it.
pub type RunTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Gives what is spawned in place of a run's task.
pub type RunWrapper = Arc<dyn Fn(RunTask) -> RunTask + Send + Sync>;

/// 10,000 runs at once: a bound on memory that few programs meet.
pub const RUNS_MAX_DEFAULT: usize = 10_000;

/// 3 times: once may be chance, twice bad luck.
pub const CRASHES_MAX_DEFAULT: u32 = 3;

/// 10 s: longer than most calls of a service, shorter than the 30 s after which supervisors kill.
pub const SHUTDOWN_GRACE_DEFAULT: Duration = Duration::from_secs(10);

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            strict: cfg!(debug_assertions),
            runs_max: RUNS_MAX_DEFAULT,
            sleep_out_after: SLEEP_OUT_AFTER_DEFAULT,
            crashes_max: CRASHES_MAX_DEFAULT,
            takes_up: true,
            shutdown_grace: SHUTDOWN_GRACE_DEFAULT,
            encoding: Encoding::DEFAULT,
            payload_hooks: Vec::new(),
            cache_bytes_max: CACHE_BYTES_MAX_DEFAULT,
            cache_default: CacheDefault::Auto,
            keep: Keep::FOREVER,
            input_hasher: blake3_of,
            on_durable: None,
            clock: Arc::new(SystemClock::default()),
            entropy: Arc::new(SystemEntropy),
            interposer: None,
            decoy: None,
            commits_in_place: false,
            run_wrapper: None,
            provided: Provided::default(),
        }
    }
}

impl Options {
    /// Makes what the hooks have sealed readable in this process. Called before the engine is opened.
    ///
    /// # Errors
    /// If an id is out of range, or belongs to another hook in this process.
    pub fn register_payload_hooks(&self) -> Result<()> {
        self.encoding.shared_hook().into_iter().chain(&self.payload_hooks).try_for_each(hook::register)
    }

    /// Gives tasks and traces a value of their own type, for `provided::<T>()`. A second of one type replaces the first.
    pub fn provide<T: Any + Send + Sync>(&mut self, value: Arc<T>) {
        self.provided.insert(TypeId::of::<T>(), value);
    }
}
