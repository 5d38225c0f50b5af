//! Where a task's code and its log part.
//!
//! Made by `replay`; shown to operators as part of the error.
//!
//! Invariant: it names run, event, both sides, and the first argument that differs where two calls can be compared.

use std::fmt;

use crate::event::{TaskOutcome, TraceStarted};
use crate::id::{InputHash, RunId, Sequence};
use crate::value::Value;

/// How a task's code no longer fits the log of one of its runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// Which run.
    pub run: RunId,
    /// The task's name.
    pub task: String,
    /// The first event of the log that does not fit.
    pub sequence: Sequence,
    /// What the log holds there; `None` if it holds nothing more in this step.
    pub logged: Option<Side>,
    /// What the code did; `None` if it did nothing more in this step.
    pub called: Option<Side>,
    /// The outcomes behind [`Side::Finished`].
    pub outcomes: Box<Outcomes>,
    /// Whether the body waits, and for no trace: nothing would ever wake it.
    pub is_stuck: bool,
}

/// How the two sides of a divergence finished, where they did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcomes {
    /// As the log holds it.
    pub logged: Option<TaskOutcome>,
    /// As the code did.
    pub called: Option<TaskOutcome>,
}

/// One side of a divergence.
#[derive(Clone, Debug, PartialEq)]
pub enum Side {
    /// A call of a trace.
    Call(CallSite),
    /// The body dropped a trace.
    Drop(CallSite),
    /// The body finished, with this outcome in a few words.
    Finished(String),
    /// The body waits.
    Waiting,
}

/// A call of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct CallSite {
    /// The trace's name.
    pub name: String,
    /// Its arguments.
    pub input: Value,
    /// The hash that equal calls share.
    pub input_hash: InputHash,
    /// How many equal calls came before it.
    pub occurrence: u32,
    /// The file of the call.
    pub file: String,
    /// The line of the call.
    pub line: u32,
}

impl CallSite {
    /// The call that an event holds.
    pub fn of(call: &TraceStarted) -> Self {
        Self {
            name: call.name.to_string(),
            input: call.input.to_value(),
            input_hash: call.input_hash,
            occurrence: call.occurrence,
            file: call.file.to_string(),
            line: call.line,
        }
    }
}

impl Divergence {
    /// The first argument in which two calls of one trace differ: its name, the log's value, the code's value.
    pub fn first_difference(&self) -> Option<(String, Value, Value)> {
        let (Some(Side::Call(logged)), Some(Side::Call(called))) = (&self.logged, &self.called) else { return None };
        if logged.name != called.name {
            return None;
        }
        let (Value::Map(old), Value::Map(new)) = (&logged.input, &called.input) else { return None };
        let value_in = |entries: &[(Value, Value)], key: &Value| {
            entries.iter().find(|(k, _)| k == key).map_or(Value::Null, |(_, value)| value.clone())
        };
        old.iter().chain(new).map(|(key, _)| key).find_map(|key| {
            let (old, new) = (value_in(old, key), value_in(new, key));
            let name = if let Value::Text(text) = key { text.clone() } else { key.to_string() };
            (old != new).then_some((name, old, new))
        })
    }
}

/// Longest value that is shown in an error's message, in characters.
const SHOWN_MAX: usize = 120;

impl fmt::Display for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        match &self.input {
            Value::Map(entries) => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    let key = if let Value::Text(text) = key { text.clone() } else { key.to_string() };
                    write!(f, "{}{key}: {}", if index > 0 { ", " } else { "" }, value.excerpt(SHOWN_MAX))?;
                }
            }
            other => f.write_str(&other.excerpt(SHOWN_MAX))?,
        }
        f.write_str(")")?;
        if self.occurrence > 0 {
            write!(f, " (call {} of its kind)", u64::from(self.occurrence) + 1)?;
        }
        Ok(())
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} of task {} at event {}: ", self.run, self.task, self.sequence)?;
        match &self.logged {
            Some(Side::Call(call)) => write!(f, "the log holds {call}, called at {}:{}", call.file, call.line)?,
            Some(Side::Drop(call)) => write!(f, "the log holds that {call} was dropped")?,
            Some(Side::Finished(outcome)) => write!(f, "the log holds that the task finished with {outcome}")?,
            Some(Side::Waiting) | None => write!(f, "the log holds nothing more in this step")?,
        }
        match &self.called {
            Some(Side::Call(call)) => write!(f, "; the task called {call} at {}:{}", call.file, call.line)?,
            Some(Side::Drop(call)) => write!(f, "; the task dropped {call}")?,
            Some(Side::Finished(outcome)) => write!(f, "; the task finished with {outcome}")?,
            Some(Side::Waiting) | None => write!(f, "; the task did not")?,
        }
        if let Some((argument, logged, called)) = self.first_difference() {
            let (logged, called) = (logged.excerpt(SHOWN_MAX), called.excerpt(SHOWN_MAX));
            write!(f, "; argument `{argument}` was {logged} and is {called}")?;
        }
        f.write_str(". No new effect was started and the log is as it was.")
    }
}
