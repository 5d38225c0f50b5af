//! What a result depends on: the traces and child tasks that its run called, with their code then.
//!
//! Filled in by `plan` when a run ends; checked by `lookup`; found again in a log by `rebuild`.
//!
//! Invariant: a list holds each name once, in the order of first calls. Where one name had two codes, there is no list:
//! such a result depends on no one version. Where it waited for a signal, there is none, either: that is no function's.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use relive_storage::Read;
use rustc_hash::FxHashMap;

use crate::definition::{Registry, TaskDefinition};
use crate::engine::Inner;
use crate::error::Result;
use crate::event::{Cause, Event, TaskCompleted, TaskOutcome, TaskStarted, TraceOutcome};
use crate::id::{CodeHash, Epoch, RunId, Sequence};
use crate::index::Used;
use crate::log::LogReader;
use crate::payload::Payload;
use crate::replay::SIGNAL;

use super::lookup::version_reason;

/// Deepest chain of child runs that is followed in logs: 64. A result found deeper is not proven.
const DEPTH_MAX: u32 = 64;

impl Used {
    /// A trace with its code.
    pub fn trace(name: impl Into<String>, code: CodeHash) -> Self {
        Self { name: name.into(), code, is_task: false }
    }

    /// Whether it waited for a signal: then the result is what somebody answered, once, and no other call's.
    pub(crate) fn is_signal(&self) -> bool {
        !self.is_task && self.name == SIGNAL
    }

    /// A task that was called as a child run, as this program has it: with its code, or with what stands for the user's
    /// version.
    pub fn task(definition: &TaskDefinition) -> Self {
        Self { name: definition.name.to_owned(), code: definition.version_hash(), is_task: true }
    }
}

/// Adds what a child run used to what its parent did. False if the two had other code under one name: then the parent's
/// result is not to be cached.
#[must_use]
pub fn merge(uses: &mut Vec<Used>, child: &[Used]) -> bool {
    child.iter().all(|used| add(uses, used.clone()))
}

fn add(uses: &mut Vec<Used>, used: Used) -> bool {
    match uses.iter().find(|other| other.is_task == used.is_task && other.name == used.name) {
        Some(other) => other.code == used.code,
        None => {
            uses.push(used);
            true
        }
    }
}

/// What the log of a finished run proves.
pub(crate) struct Proof {
    pub(crate) started: TaskStarted,
    pub(crate) completed: TaskCompleted,
    pub(crate) uses: Vec<Used>,
}

/// What the log of a run proves of its result; `None` if it holds no success of one attempt and one version of the code, or
/// if it waited for a signal.
///
/// Of child tasks with a version of the user's the log does not say which it was: then there is no proof, either.
pub(crate) fn proof(store: &Arc<dyn Read>, registry: &Registry, run: RunId) -> Result<Option<Proof>> {
    proof_at(store, registry, run, 0)
}

fn proof_at(store: &Arc<dyn Read>, registry: &Registry, run: RunId, depth: u32) -> Result<Option<Proof>> {
    if depth > DEPTH_MAX {
        return Ok(None);
    }
    let mut reader = LogReader::new(Arc::clone(store), run);
    let mut begun: Option<TaskStarted> = None;
    let mut uses = Vec::new();
    // Traces under way, and in which life of the process they began.
    let mut open: FxHashMap<Sequence, Epoch> = FxHashMap::default();
    while let Some(batch) = reader.next_batch()? {
        for (at, event) in (batch.first.0..).map(Sequence).zip(batch.events) {
            match event {
                Event::TaskStarted(started) if begun.is_none() && started.cause == Cause::New => begun = Some(started),
                // A second attempt may hand on what another version of the code found; a cached result is a copy.
                Event::TaskStarted(_) => return Ok(None),
                Event::TraceStarted(call) => {
                    let is_task = call.child.is_some();
                    let mut used = Used { name: call.name.into_owned(), code: call.code, is_task };
                    if let Some(child) = call.child {
                        let Some(of_child) = proven_uses(store, registry, child, &mut used, depth)? else {
                            return Ok(None);
                        };
                        if !merge(&mut uses, &of_child) {
                            return Ok(None);
                        }
                    }
                    if used.is_signal() || !add(&mut uses, used) {
                        return Ok(None);
                    }
                    open.insert(at, batch.epoch);
                }
                // An effect that ran again after a restart may have been of other code than its start says.
                Event::TraceCompleted(completed)
                    if open.remove(&completed.trace) != Some(batch.epoch)
                        && completed.outcome != TraceOutcome::Dropped =>
                {
                    return Ok(None);
                }
                Event::TaskCompleted(completed) => {
                    let Some(started) = begun else { return Ok(None) };
                    let proves = matches!(completed.outcome, TaskOutcome::Ok(_))
                        && !completed.imposed
                        && completed.code == started.code;
                    return Ok(proves.then_some(Proof { started, completed, uses }));
                }
                _ => {}
            }
        }
    }
    Ok(None)
}

impl Inner {
    /// See `Cache::child_uses`.
    pub(crate) fn child_uses(
        &self,
        child: &TaskDefinition,
        run: RunId,
        input: &Payload,
        result: &Payload,
    ) -> Result<Option<Vec<Used>>> {
        if child.cache.version().is_some() {
            return Ok(Some(Vec::new()));
        }
        if let Ok(counted) = child.counted_of(input)
            && let Some((record, _)) = self.entry(&child.entry_key(&(self.cache.hasher)(&counted)))?
            && record.task == child.name
            && version_reason(child, &record).is_none()
            && record.result == *result
            && child.counted_of(&record.input).is_ok_and(|other| other == counted)
        {
            // Whichever run found it: as long as this holds, the call gives this result.
            return Ok(Some(record.uses));
        }
        Ok(proof(&self.store()?, &self.registry, run)?.map(|proof| proof.uses))
    }
}

/// What the log of a child run proves of its uses, if anything. Its code is what it was begun with.
fn proven_uses(
    store: &Arc<dyn Read>,
    registry: &Registry,
    child: RunId,
    used: &mut Used,
    depth: u32,
) -> Result<Option<Vec<Used>>> {
    let Some(definition) = registry.task(&used.name) else { return Ok(None) };
    if definition.cache.version().is_some() {
        return Ok(None);
    }
    let Some(proof) = proof_at(store, registry, child, depth + 1)? else { return Ok(None) };
    used.code = proof.started.code;
    Ok(Some(proof.uses))
}
