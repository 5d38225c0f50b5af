//! What the program knows of its tasks and traces, and the registry of both.
//!
//! Filled at link time by the macros; read at open and by every start.
//!
//! Invariant: one name, one task; one name, one trace.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, Result};
use crate::id::CodeHash;
use crate::payload::{Payload, PayloadCodec, PayloadError};
use crate::retain::Keep;
use crate::run::BoxedFuture;

/// What the program knows of a `#[trace]` function.
#[derive(Debug)]
pub struct TraceDefinition {
    /// Its name on record.
    pub name: &'static str,
    /// Which version of its code.
    pub code: CodeHash,
    /// Where it is defined.
    pub file: &'static str,
    /// Where it is defined.
    pub line: u32,
    /// Where it is defined.
    pub module: &'static str,
    /// Whether it is a plain call outside tasks, and not an error.
    pub outside_call: bool,
    /// How its effect is run.
    pub policy: TracePolicy,
}

/// How a trace's effect is run: what its attribute says.
#[derive(Clone, Copy, Debug)]
pub struct TracePolicy {
    /// When it is tried again.
    pub retry: RetryPolicy,
    /// Longest that one try may take.
    pub timeout: Option<Duration>,
    /// Longest that all tries and the waits between them may take.
    pub deadline: Option<Duration>,
    /// Its effect begins without waiting for what was appended before it.
    pub pure: bool,
    /// Its effect never begins twice: if it is not known how it ended, it is an error of kind `Interrupted`.
    pub at_most_once: bool,
    /// Its effect is a task of the runtime's own, so that it may use another core.
    pub spawn: bool,
    /// Its source is told from which item to go on, and does not start over.
    pub resumes: bool,
    /// Arguments, or fields of arguments (`user.password`), that are masked in the record.
    pub redact: &'static [&'static str],
    /// How its arguments and results are written, if not as the engine says.
    pub codec: Option<PayloadCodec>,
}

impl TracePolicy {
    /// What holds if the attribute says nothing.
    pub const DEFAULT: Self = Self {
        retry: RetryPolicy::DEFAULT,
        timeout: None,
        deadline: None,
        pure: false,
        at_most_once: false,
        spawn: false,
        resumes: false,
        redact: &[],
        codec: None,
    };
}

/// When a failed try is followed by another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// How many tries may follow the first. 0: a failure is final.
    pub retries: u32,
    /// The wait before the second try; each next one is `factor` times as long.
    pub backoff: Duration,
    /// How much longer each wait is than the one before. At least 1.
    pub factor: f64,
    /// Longest wait, unless the first is longer.
    pub backoff_max: Duration,
    /// Whether a wait is a random part, at least half, of what it would be, so that many do not try at the same moment.
    pub jitter: bool,
}

/// Longest wait between tries: 5 min, so that an operator sees the run move.
pub const BACKOFF_MAX_DEFAULT: Duration = Duration::from_secs(5 * 60);

impl RetryPolicy {
    /// No second try. If there are some: 100 ms before the first of them, then twice as long each, at most 5 min.
    pub const DEFAULT: Self = Self {
        retries: 0,
        backoff: Duration::from_millis(100),
        factor: 2.0,
        backoff_max: BACKOFF_MAX_DEFAULT,
        jitter: true,
    };
}

/// What the program knows of a `#[task]` function.
#[derive(Debug)]
pub struct TaskDefinition {
    /// Its name on record.
    pub name: &'static str,
    /// Which version of its code.
    pub code: CodeHash,
    /// Where it is defined.
    pub file: &'static str,
    /// Where it is defined.
    pub line: u32,
    /// Where it is defined.
    pub module: &'static str,
    /// Whether equal calls share a result.
    pub cache: CachePolicy,
    /// How a failed attempt is followed by another.
    pub policy: TaskPolicy,
    /// The canonical form of a recorded input, without the arguments of these names.
    pub canonical: fn(&Payload, &[&str]) -> Result<Vec<u8>, PayloadError>,
    /// The body, for a recorded input.
    pub body: fn(&Payload) -> Result<BoxedFuture, PayloadError>,
}

/// A task as what a body calls: a trace whose effect is a run.
pub fn as_trace(task: &'static TaskDefinition) -> &'static TraceDefinition {
    static KNOWN: Mutex<BTreeMap<(&'static str, [u8; 16]), &'static TraceDefinition>> = Mutex::new(BTreeMap::new());
    // Leaked once per task of the program.
    KNOWN.lock().entry((task.name, *task.version_hash().as_bytes())).or_insert_with(|| {
        Box::leak(Box::new(TraceDefinition {
            name: task.name,
            code: task.version_hash(),
            file: task.file,
            line: task.line,
            module: task.module,
            outside_call: false,
            policy: TracePolicy { codec: task.policy.codec, ..TracePolicy::DEFAULT },
        }))
    })
}

/// Whether equal calls of a task share a result: what its attribute says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// What tells whether a result still holds.
    pub mode: CacheMode,
    /// How long a result holds. `None`: for as long as it is kept.
    pub ttl: Option<Duration>,
    /// Arguments that calls may differ in and still be equal.
    pub ignored: &'static [&'static str],
    /// Another makes other calls of the same.
    pub salt: &'static str,
}

impl CachePolicy {
    /// What holds if the attribute says nothing.
    pub const DEFAULT: Self = Self { mode: CacheMode::Unsaid, ttl: None, ignored: &[], salt: "" };
}

/// What tells whether a cached result still holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheMode {
    /// The attribute does not say: as the engine does ([`CacheDefault`]).
    #[default]
    Unsaid,
    /// It does as long as the task's code and that of the traces it used are what they were.
    Auto,
    /// Nothing is cached: calls are neither looked up nor joined.
    Off,
    /// It does as long as this version is what it was, whatever the code.
    Version(&'static str),
}

/// Whether calls of tasks whose attributes say nothing of the cache share results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheDefault {
    /// They do, as with `cache = "auto"`.
    #[default]
    Auto,
    /// They do not, as with `cache = "off"`.
    Off,
}

/// How attempts at a task are made: what its attribute says.
#[derive(Clone, Copy, Debug)]
pub struct TaskPolicy {
    /// When a failed attempt is followed by another.
    pub retry: RetryPolicy,
    /// Longest that one attempt may take.
    pub timeout: Option<Duration>,
    /// Longest that all attempts and the waits between them may take.
    pub deadline: Option<Duration>,
    /// Whether a run that no longer fits its log goes on as a new attempt, and does not wait.
    pub new_attempt_on_divergence: bool,
    /// How its arguments and results are written, if not as the engine says.
    pub codec: Option<PayloadCodec>,
    /// How long its runs are kept when they have ended, if not as the engine says.
    pub keep: Option<Keep>,
}

impl TaskPolicy {
    /// What holds if the attribute says nothing.
    pub const DEFAULT: Self = Self {
        retry: RetryPolicy::DEFAULT,
        timeout: None,
        deadline: None,
        new_attempt_on_divergence: false,
        codec: None,
        keep: None,
    };
}

/// All tasks and traces that are linked into the program.
#[derive(Debug, Default)]
pub struct Registry {
    tasks: BTreeMap<&'static str, &'static TaskDefinition>,
    traces: BTreeMap<&'static str, &'static TraceDefinition>,
}

impl Registry {
    /// Gathers definitions.
    ///
    /// # Errors
    /// Of kind `DuplicateName` if two tasks or two traces have one name; says where both are.
    pub fn new(
        tasks: impl IntoIterator<Item = &'static TaskDefinition>,
        traces: impl IntoIterator<Item = &'static TraceDefinition>,
    ) -> Result<Self> {
        let mut registry = Self::default();
        for task in tasks {
            if let Some(other) = registry.tasks.insert(task.name, task) {
                let places = [(other.module, other.file, other.line), (task.module, task.file, task.line)];
                distinct("task", task.name, places)?;
            }
        }
        for trace in traces {
            if let Some(other) = registry.traces.insert(trace.name, trace) {
                let places = [(other.module, other.file, other.line), (trace.module, trace.file, trace.line)];
                distinct("trace", trace.name, places)?;
            }
        }
        Ok(registry)
    }

    /// The task of this name.
    pub fn task(&self, name: &str) -> Option<&'static TaskDefinition> {
        self.tasks.get(name).copied()
    }

    /// The names of all tasks, in order.
    pub fn task_names(&self) -> impl Iterator<Item = &'static str> {
        self.tasks.keys().copied()
    }

    /// All tasks.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = &'static TaskDefinition> {
        self.tasks.values().copied()
    }

    /// All traces.
    pub(crate) fn traces(&self) -> impl Iterator<Item = &'static TraceDefinition> {
        self.traces.values().copied()
    }

    /// The trace of this name.
    pub fn trace(&self, name: &str) -> Option<&'static TraceDefinition> {
        self.traces.get(name).copied()
    }
}

type Place = (&'static str, &'static str, u32);

/// Two definitions of one name: an error, unless they are one that was registered twice.
fn distinct(what: &str, name: &str, [a, b]: [Place; 2]) -> Result<()> {
    if a == b {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::DuplicateName,
        format!(
            "two {what}s are named `{name}`: {}::{name} ({}:{}) and {}::{name} ({}:{}); logs tell them apart by name, so give \
             one of them another by #[{what}(name = \"…\")]",
            a.0, a.1, a.2, b.0, b.1, b.2
        ),
    ))
}
