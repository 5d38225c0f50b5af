//! What the program knows of its tasks and traces, and the registry of both.
//!
//! Filled at link time by the macros; read at open and by every start.
//!
//! Invariant: one name, one task; one name, one trace.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::id::CodeHash;
use crate::payload::{Payload, PayloadError};
use crate::run::BoxedFuture;
pub use crate::run::TraceDefinition;

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
    pub cache: CacheMode,
    /// The canonical form of a recorded input.
    pub canonical: fn(&Payload) -> Result<Vec<u8>, PayloadError>,
    /// The body, for a recorded input.
    pub body: fn(&Payload) -> Result<BoxedFuture, PayloadError>,
}

/// Whether equal calls of a task share a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheMode {
    /// Yes, as long as the task's code and that of the traces it used are what they were.
    #[default]
    Auto,
    /// No: neither looked up nor joined.
    Off,
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
