//! Whether the time of a run is over, and whether somebody still needs it.
//!
//! Used by `pass`; reads the run's own row and those of the runs that called it, and no logs.
//!
//! Invariant: a run that an unfinished one called stays, also if there are others between them; a child does not go before
//! those that called it.

use std::sync::Arc;

use relive_storage::Read;

use super::keep::Keep;
use crate::definition::Registry;
use crate::error::Result;
use crate::id::{RunId, Timestamp};
use crate::index::{self, RunRecord, RunState};
use crate::inspect;

/// Runs that are looked at on the way up from one: 1,024, as a call may be joined by any number of others. Where there are
/// more, the run stays.
const CALLERS_MAX: usize = 1_024;

/// What is to become of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stays, as far as is known now.
    Stays,
    /// Its time is over then, if nothing comes in between.
    At(Timestamp),
    /// It goes.
    Goes,
    /// It goes if there are so many newer ones, and its age is over by now.
    Counts {
        /// How many.
        count: u32,
        /// Whether its age is over.
        is_old: bool,
    },
}

/// Judges runs as they stand now.
pub(super) struct Judge<'a> {
    pub(super) registry: &'a Registry,
    pub(super) store: Arc<dyn Read>,
    /// What holds for tasks that say nothing.
    pub(super) default: Keep,
    pub(super) now: Timestamp,
}

/// What there is above a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Above {
    /// Nobody that called it is there, or only runs that it called itself.
    Nothing,
    /// Runs that have ended.
    Finished,
    /// One that has not; or more than can be looked at.
    Unfinished,
}

impl Judge<'_> {
    pub(super) fn judge(&self, run: RunId, record: &RunRecord) -> Result<Verdict> {
        let Some(finished_at) = record.finished_at.filter(|_| record.state != RunState::Unfinished) else {
            return Ok(Verdict::Stays);
        };
        // Of a task that the program does not have, it is not known what it says.
        let Some(task) = self.registry.task(&record.task) else { return Ok(Verdict::Stays) };
        let own = task.policy.keep;
        let by_itself = if record.parent.is_some() && own.is_none() && !self.is_wanted(run)? {
            Verdict::Goes
        } else {
            self.by_itself(own.unwrap_or(self.default), finished_at)
        };
        // What is over later at the earliest needs no look at others; what is counted is looked at when it is one too many.
        let is_counted = record.parent.is_none() && matches!(by_itself, Verdict::Counts { .. });
        if is_counted || matches!(by_itself, Verdict::Stays | Verdict::At(_)) {
            return Ok(by_itself);
        }
        match (self.above(run, record)?, record.parent) {
            (Above::Unfinished, _) => Ok(Verdict::Stays),
            (Above::Finished, Some(parent)) => Ok(self.due_with(parent)?.map_or(Verdict::Stays, Verdict::At)),
            _ => Ok(by_itself),
        }
    }

    /// Whether no unfinished run needs this one.
    pub(super) fn is_free(&self, run: RunId, record: &RunRecord) -> Result<bool> {
        Ok(self.above(run, record)? != Above::Unfinished)
    }

    fn by_itself(&self, keep: Keep, finished_at: Timestamp) -> Verdict {
        let Some(due) = keep.due(finished_at) else { return Verdict::Stays };
        match keep.count {
            Some(count) => Verdict::Counts { count, is_old: due <= self.now },
            None if due <= self.now => Verdict::Goes,
            None => Verdict::At(due),
        }
    }

    /// Whether somebody outside started, joined, resumed or imported a child: then it does not just go with those that called it.
    fn is_wanted(&self, run: RunId) -> Result<bool> {
        Ok(index::holders(self.store.as_ref(), run)?.iter().any(|(call, _)| call.is_none()))
    }

    /// Those that called a run, as far as they are there.
    fn callers(&self, run: RunId, record: &RunRecord) -> Result<Vec<(RunId, RunRecord)>> {
        let joined = index::holders(self.store.as_ref(), run)?.into_iter();
        let joined = joined.filter_map(|(call, by)| call.map(|_| by));
        let mut callers = Vec::new();
        for caller in record.parent.into_iter().chain(joined) {
            if let Some(record) = inspect::run(self.store.as_ref(), caller)? {
                callers.push((caller, record));
            }
        }
        Ok(callers)
    }

    /// Looks at all that called a run, and at those that called them.
    fn above(&self, run: RunId, record: &RunRecord) -> Result<Above> {
        let mut above = Above::Nothing;
        for caller in self.callers(run, record)? {
            let (mut seen, mut open, mut is_circle) = (vec![caller.0], vec![caller], false);
            while let Some((caller, record)) = open.pop() {
                if caller == run {
                    is_circle = true;
                    continue;
                }
                if record.state == RunState::Unfinished || seen.len() > CALLERS_MAX {
                    return Ok(Above::Unfinished);
                }
                for next in self.callers(caller, &record)? {
                    if !seen.contains(&next.0) {
                        seen.push(next.0);
                        open.push(next);
                    }
                }
            }
            if !is_circle {
                above = Above::Finished;
            }
        }
        Ok(above)
    }

    /// When the run goes at the top of those that called a child; `None` if that is not known.
    fn due_with(&self, parent: RunId) -> Result<Option<Timestamp>> {
        let mut top = None;
        let mut next = Some(parent);
        for _ in 0..CALLERS_MAX {
            let Some(run) = next else { break };
            let Some(record) = inspect::run(self.store.as_ref(), run)? else { break };
            next = record.parent;
            top = Some(record);
        }
        let known =
            top.and_then(|top| Some((self.registry.task(&top.task)?.policy.keep, top.finished_at?, top.parent)));
        Ok(match known {
            // Those that called it are gone.
            Some((None, _, Some(_))) => Some(self.now),
            Some((own, finished_at, _)) => {
                let keep = own.unwrap_or(self.default);
                keep.due(finished_at).filter(|_| keep.count.is_none())
            }
            None => None,
        })
    }
}
