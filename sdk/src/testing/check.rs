//! What must hold of every life, and what must be the same in two.
//!
//! Invariant: a task that failed has not broken a promise: only what it should have done and did not do is a finding.

use std::fmt;

use relive_engine::error::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use super::life::{Lived, World};
use super::log::Ended;

/// Which promise a task broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Check {
    /// It did what its own log does not hold.
    Divergence,
    /// It came to another result.
    Result,
    /// It called something else, or ended otherwise.
    Calls,
    /// It awaited what is not a trace, or worked on beside the run.
    ForeignAwait,
    /// An effect began again whose success was durable.
    Repeat,
    /// An effect's idempotency key was not what it had been.
    IdempotencyKey,
    /// A value could not be recorded, or not be read back.
    Unrecordable,
    /// Running the body again changed something outside.
    Effect,
    /// It waits for ever.
    Hang,
    /// The engine could not go on for another reason.
    Engine,
}

impl Check {
    /// The promise, as a sentence.
    fn broken(self) -> &'static str {
        match self {
            Self::Divergence => "its body did not do again what its log says it did",
            Self::Result => "it came to another result",
            Self::Calls => "it did something else than before",
            Self::ForeignAwait => "its body awaited or spawned something that is not a trace",
            Self::Repeat => "an effect began again although its success was durable",
            Self::IdempotencyKey => "an idempotency key changed",
            Self::Unrecordable => "a value cannot be recorded",
            Self::Effect => "running its body again changed something outside: an effect is not in a trace",
            Self::Hang => "it waits for ever",
            Self::Engine => "the engine could not run it",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.broken())
    }
}

/// A promise that was broken, and how.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) check: Check,
    /// What differs, in lines.
    pub(crate) what: Vec<String>,
}

impl Finding {
    fn new(check: Check, what: impl Into<String>) -> Self {
        Self { check, what: vec![what.into()] }
    }

    /// What an error of the engine's says of the task.
    pub(crate) fn of(error: &Error) -> Self {
        let check = match error.kind() {
            ErrorKind::Diverged => Check::Divergence,
            ErrorKind::ForeignAwait => Check::ForeignAwait,
            ErrorKind::Payload => Check::Unrecordable,
            ErrorKind::TimedOut => Check::Hang,
            _ => Check::Engine,
        };
        Self::new(check, error.to_string())
    }
}

/// What is wrong with a life, by itself and beside the one it should be like.
pub(crate) fn check(lived: &Lived, reference: Option<&Lived>, world: &World<'_>) -> Option<Finding> {
    let named = |scopes: &[super::memory::Scope]| {
        scopes.first().and_then(|scope| world.memory.name(scope)).map_or_else(String::new, |name| name.to_string())
    };
    if let Some(error) = &lived.error {
        return Some(Finding::of(error));
    }
    if lived.spawned_count > 0 {
        let what =
            "its body spawned a task of tokio's, which goes on beside the run and is not replayed: make it a trace";
        return Some(Finding::new(Check::ForeignAwait, what));
    }
    if !lived.again.is_empty() {
        return Some(Finding::new(Check::Repeat, named(&lived.again)));
    }
    if !lived.changed_keys.is_empty() {
        return Some(Finding::new(Check::IdempotencyKey, named(&lived.changed_keys)));
    }
    if let Some(Ended::Failed(record)) = &lived.log.ended
        && matches!(record.kind, ErrorKind::ForeignAwait | ErrorKind::Payload)
    {
        return Some(Finding::of(&record.to_error()));
    }
    if let Some(error) = &lived.replayed {
        return Some(Finding::of(error));
    }
    if let Some((before, after)) = &lived.changed {
        let what = vec![format!("before the replay   {before}"), format!("after the replay    {after}")];
        return Some(Finding { check: Check::Effect, what });
    }
    if lived.log.is_by_itself() || reference.is_some_and(|reference| reference.log.has_child_beside) {
        // Compared with itself alone: it was replayed.
        return None;
    }
    differs(lived, reference?)
}

/// Where a life parts from the one it should be like.
fn differs(lived: &Lived, reference: &Lived) -> Option<Finding> {
    let at = reference.log.first_difference(&lived.log)?;
    let side = |lived: &Lived| match lived.log.steps.get(at) {
        None => vec!["nothing more".to_owned()],
        Some(step) => std::iter::once(&step.delivered).chain(&step.did).cloned().collect(),
    };
    let (before, after) = (side(reference), side(lived));
    let only = |these: &[String], those: &[String]| {
        let only: Vec<_> = these.iter().filter(|line| !those.contains(line)).cloned().collect();
        if only.is_empty() { these.to_vec() } else { only }
    };
    let only_the_end = [&before, &after].iter().all(|side| side.iter().any(|line| line.starts_with("ends: ")))
        && before.len() == after.len()
        && lived.log.ended != reference.log.ended;
    let check = if only_the_end { Check::Result } else { Check::Calls };
    let mut what = vec![format!("in step {}", at + 1)];
    what.extend(only(&before, &after).into_iter().map(|line| format!("the first time   {line}")));
    what.extend(only(&after, &before).into_iter().map(|line| format!("this time        {line}")));
    Some(Finding { check, what })
}
