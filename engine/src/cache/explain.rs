//! Why a call would miss the cache, or hit it, for people.
//!
//! Goes the way of `start`, but reads only. Where there is no entry for the call, it looks for the one that comes nearest.
//!
//! Invariant: a call that is explained as a hit would be one, if nothing happens in between; also the reverse.

mod show;

use std::sync::Arc;

use relive_storage::{KeyRange, Order, PageLimit, Read};

use crate::canonical::canonical_of_read;
use crate::definition::TaskDefinition;
use crate::engine::{Inner, Request};
use crate::error::{Result, storage_error};
use crate::event::{Event, TaskCompleted, TaskOutcome};
use crate::id::{CodeHash, RunId, Timestamp};
use crate::index::{self, CacheRecord, IdRecord, RunRecord, RunState};
use crate::log::last_event;
use crate::replay::SIGNAL;
use crate::value::Value;

use super::key::{EntryKey, Version};
use super::list::{self, Entry};
use super::lookup::{Sought, version_reason};

/// Entries of a task that are compared with a call that has none: 1,000, a fraction of a second.
const ENTRIES_MAX: usize = 1000;

/// Runs among which the last one of a call is looked for: the 1,000 newest.
const RUNS_MAX: usize = 1000;

/// What would become of a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Explanation {
    /// Its id names a run already: that is the call's.
    Named {
        /// The id.
        id: String,
        /// The run.
        run: RunId,
    },
    /// An equal call is under way: it would wait for that one.
    Joined {
        /// The run of that call.
        run: RunId,
    },
    /// It would get a cached result.
    Hit {
        /// The entry that holds it.
        entry: Box<Entry>,
    },
    /// It would run.
    Miss {
        /// The task.
        task: String,
        /// Why it has no cached result; never empty.
        reasons: Vec<Reason>,
    },
}

impl Explanation {
    /// Why it would miss; nothing, if it would not.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Miss { reasons, .. } => reasons,
            _ => &[],
        }
    }
}

/// Why a call would miss.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// The task is not cached: `cache = "off"`.
    CacheOff,
    /// The call asks to run anew: `refresh`.
    Refreshed,
    /// No call of this task has a result in the cache.
    NeverCached,
    /// Only calls with other arguments have; this is the one that has the most in common.
    OtherInput {
        /// The run that found its result.
        run: RunId,
        /// The first argument that differs.
        argument: String,
        /// Its value there; `None` if there is no such argument.
        cached: Option<Value>,
        /// Its value in this call; `None` if there is no such argument.
        called: Option<Value>,
    },
    /// The result is of another version of the user's, or from when there was one, or there was none.
    OtherVersion {
        /// That of the result.
        cached: Version,
        /// Today's.
        now: Version,
    },
    /// The result was found under another salt.
    OtherSalt {
        /// That one.
        cached: String,
        /// Today's.
        now: String,
    },
    /// The task's code is not what it was when it found the result.
    TaskEdited {
        /// What it was.
        cached: CodeHash,
        /// What it is.
        now: CodeHash,
        /// The run that found the result.
        run: RunId,
    },
    /// The code of a trace that the result depends on is not what it was.
    TraceEdited {
        /// The trace.
        name: String,
        /// What its code was.
        cached: CodeHash,
        /// What it is.
        now: CodeHash,
    },
    /// The code, or the version, of a child task that the result depends on is not what it was.
    ChildEdited {
        /// The task.
        name: String,
        /// What its code was.
        cached: CodeHash,
        /// What it is.
        now: CodeHash,
    },
    /// The last run of this call waited for a signal: what somebody answered it is no other call's result.
    Signalled {
        /// That run.
        run: RunId,
    },
    /// The call has an id of its own, and so gets a run of its own, unless it is `cached()`.
    OwnId {
        /// The id.
        id: String,
    },
    /// The result depends on something that this program does not have.
    Unknown {
        /// Its name.
        name: String,
        /// Whether it is a task; else it is a trace.
        is_task: bool,
    },
    /// The result has outlived the task's time to live.
    Expired {
        /// Since when.
        at: Timestamp,
    },
    /// The entry cannot be read as this program's types.
    Unreadable {
        /// The run that found the result.
        run: RunId,
        /// Why not.
        why: String,
    },
    /// There was a result, and it was thrown out. (Known of the last few thousand, since the engine was opened.)
    Evicted {
        /// When.
        at: Timestamp,
    },
    /// The last run of this call failed, or was cancelled: such are not cached.
    LastRunFailed {
        /// That run.
        run: RunId,
        /// Its error.
        error: String,
    },
}

impl Inner {
    /// See `Cache::explain`.
    pub(crate) fn explain(self: &Arc<Self>, request: &Request) -> Result<Explanation> {
        self.check_open()?;
        self.check_input(request)?;
        let (definition, store) = (request.definition, self.store()?);
        if let Some(id) = &request.id
            && let Some(record) = index::read::<IdRecord>(store.as_ref(), index::IDS, id.as_bytes())?
        {
            let run = self.known_id(request, id, &record)?.run;
            return Ok(Explanation::Named { id: id.clone(), run });
        }
        let miss = |reasons| Ok(Explanation::Miss { task: definition.name.to_owned(), reasons });
        if !self.cache.is_for(definition) {
            return miss(vec![Reason::CacheOff]);
        }
        if let Some(id) = request.id.as_ref().filter(|_| request.is_apart()) {
            return miss(vec![Reason::OwnId { id: id.clone() }]);
        }
        let sought = self.sought(request)?;
        // Held while it is looked at.
        let _roused = self.rouse_call(&sought.call, &self.sleepers.of_call(&sought.call))?;
        if let Some(running) = self.running(&sought.call)
            && (running.is_refresh || !request.refresh)
            && self.counted_of(&running)? == sought.counted
        {
            return Ok(Explanation::Joined { run: running.cell.run });
        }
        if request.refresh {
            return miss(vec![Reason::Refreshed]);
        }
        let entry = match self.entry(&sought.entry)? {
            Some((record, bytes)) => Some((sought.entry, record, bytes)),
            None => self.entry_of_before(request, &sought)?,
        };
        let mut reasons = match entry {
            Some((key, record, bytes)) => {
                let against = self.objections(request, &sought, &record, self.environment.clock.now());
                if against.is_empty() {
                    let entry = list::entry(store.as_ref(), self, key, record, bytes)?;
                    return Ok(Explanation::Hit { entry: Box::new(entry) });
                }
                against
            }
            None => self.absence(request, &sought)?,
        };
        reasons.extend(self.last_failure(request, &sought)?);
        miss(reasons)
    }

    /// Why there is no entry for a call.
    fn absence(self: &Arc<Self>, request: &Request, sought: &Sought) -> Result<Vec<Reason>> {
        let definition = request.definition;
        let mut reasons: Vec<_> =
            self.cache.evicted_at(&sought.entry).map(|at| Reason::Evicted { at }).into_iter().collect();
        // The same input under another version.
        let mut newest: Option<CacheRecord> = None;
        let mut entries = list::under(self.store()?, self, sought.entry.input());
        while let Some((_, record, _)) = entries.next_record()? {
            let same = definition.counted_of(&record.input).is_ok_and(|counted| counted == sought.counted);
            if same && newest.as_ref().is_none_or(|newest| newest.created_at <= record.created_at) {
                newest = Some(record);
            }
        }
        if let Some(record) = newest {
            reasons.extend(version_reason(definition, &record));
            return Ok(reasons);
        }
        let mut nearest: Option<(usize, CacheRecord)> = None;
        let mut entries = list::under(self.store()?, self, &EntryKey::task(definition.name));
        for _ in 0..ENTRIES_MAX {
            let Some((_, record, _)) = entries.next_record()? else { break };
            let count = differences(request, &record).count();
            let is_nearer = nearest.as_ref().is_none_or(|(least, other)| {
                (count, std::cmp::Reverse(record.created_at)) < (*least, std::cmp::Reverse(other.created_at))
            });
            if is_nearer {
                nearest = Some((count, record));
            }
        }
        reasons.push(nearest.map_or(Reason::NeverCached, |(_, record)| other_input(request, &record)));
        Ok(reasons)
    }

    /// How the last run of a call failed, if it did; or that it made no entry, as it waited for a signal.
    fn last_failure(&self, request: &Request, sought: &Sought) -> Result<Option<Reason>> {
        let (definition, store) = (request.definition, self.store()?);
        let (mut range, mut left) = (KeyRange::all(), RUNS_MAX);
        while left > 0 {
            let limit = PageLimit { row_count: left.min(100), ..PageLimit::default() };
            let page = store.scan(index::RUNS, &range, Order::Descending, limit).map_err(storage_error)?;
            for row in &page.rows {
                let record: RunRecord = index::open(index::RUNS, &row.key, &row.value)?;
                if record.task != definition.name || record.state == RunState::Unfinished {
                    continue;
                }
                let run = index::run_of(index::RUNS, &row.key)?;
                let started = crate::recover::first_event(Arc::clone(&store), run)?;
                if definition.counted_of(&started.input).is_ok_and(|counted| counted == sought.counted) {
                    let error = match last_event(store.as_ref(), run)? {
                        Some((_, Event::TaskCompleted(TaskCompleted { outcome, .. }))) => match outcome {
                            TaskOutcome::Err(error) => error.to_string(),
                            TaskOutcome::Cancelled => "it was cancelled".to_owned(),
                            TaskOutcome::Ok(_) => return signalled(definition, store, run),
                        },
                        _ => return Ok(None),
                    };
                    return Ok(Some(Reason::LastRunFailed { run, error }));
                }
            }
            left -= page.rows.len().min(left);
            match page.rows.last() {
                Some(last) if page.more => range.end = Some(last.key.clone()),
                _ => break,
            }
        }
        Ok(None)
    }
}

/// Whether a run made no entry as it waited for a signal.
fn signalled(definition: &TaskDefinition, store: Arc<dyn Read>, run: RunId) -> Result<Option<Reason>> {
    if definition.cache.version().is_some() {
        return Ok(None);
    }
    for logged in crate::inspect::events(store, run) {
        if matches!(logged?.event, Event::TraceStarted(call) if call.child.is_none() && call.name == SIGNAL) {
            return Ok(Some(Reason::Signalled { run }));
        }
    }
    Ok(None)
}

/// The first argument that differs.
pub(super) fn other_input(request: &Request, record: &CacheRecord) -> Reason {
    let (argument, cached, called) = differences(request, record).next().unwrap_or_default();
    Reason::OtherInput { run: record.run, argument, cached, called }
}

type Difference = (String, Option<Value>, Option<Value>);

/// The arguments that count and differ, in the order of the call's: each with its value in the entry and in the call.
fn differences(request: &Request, record: &CacheRecord) -> impl Iterator<Item = Difference> + use<> {
    let entries = |value| match value {
        Value::Map(entries) => entries,
        other => vec![(Value::Text(String::new()), other)],
    };
    let mut cached = entries(record.input.to_value());
    let ignored = request.definition.cache.ignored;
    let mut all = Vec::new();
    for (name, value) in entries(request.input.to_value()) {
        let at = cached.iter().position(|(other, _)| *other == name);
        let other = at.map(|at| cached.remove(at).1);
        all.push((name, other, Some(value)));
    }
    all.extend(cached.into_iter().map(|(name, value)| (name, Some(value), None)));
    all.into_iter().filter_map(move |(name, cached, called)| {
        let name = match name {
            Value::Text(name) => name,
            other => other.to_string(),
        };
        // As the cache compares them: the order of a map is no difference.
        let same = match (&cached, &called) {
            (Some(cached), Some(called)) => canonical_of_read(cached).ok() == canonical_of_read(called).ok(),
            _ => false,
        };
        (!same && !ignored.contains(&name.as_str())).then_some((name, cached, called))
    })
}
