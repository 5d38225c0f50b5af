//! Which runs are meant: by task, state, time, input, tag.
//!
//! Used by `runs`, as flags, and by `check`, as one text: `task=digest status=failed since=2h`.
//!
//! Invariant: runs are read a page at a time, the newest first; a run's input is read only if a filter asks for it.

mod moment;
mod written;

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use relive_engine::event::Event;
use relive_engine::id::Timestamp;
use relive_engine::index::{BlockReason, RunState, UnfinishedRecord};
use relive_engine::inspect::{self, StoredRun};
use relive_storage::Read;

use crate::failure::Failure;
use crate::text::{counted, escaped};
use crate::words::nearest;
use moment::{Moment, moment};

/// Which runs are meant. All that is given must hold.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Only runs of this task
    #[arg(long, value_name = "NAME")]
    pub(crate) task: Option<String>,
    /// Only runs that stand so; a blocked run is unfinished, too, and a parked one is blocked
    #[arg(long, value_name = "STATUS")]
    pub(crate) status: Option<Status>,
    /// Only runs that are blocked, for this reason
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub(crate) reason: Option<BlockReason>,
    /// Only runs started since then: `2h`, `3d`, `2026-01-31`, `2026-01-31T08:00`
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Moment>,
    /// Only runs started before then; a day begins at midnight
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Moment>,
    /// Only runs whose input, as `relive log` prints it, contains this text
    #[arg(long, value_name = "TEXT")]
    input: Option<String>,
    /// Only runs with this tag
    #[arg(long, value_name = "NAME=VALUE", value_parser = tag)]
    tag: Option<(String, String)>,
    /// Stop after so many
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<usize>,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Status {
    /// It has not ended
    Unfinished,
    /// It returned a result
    Completed,
    /// It returned an error, or panicked
    Failed,
    /// Somebody cancelled it
    Cancelled,
    /// It cannot go on until somebody acts: `relive runs` says why
    Blocked,
    /// It took the process down too often, or was imported unfinished, and waits for somebody
    Parked,
}

/// A run that a filter lets through.
pub(crate) struct Selected {
    pub(crate) stored: StoredRun,
    /// What a restart knows of it, if it has not ended.
    pub(crate) unfinished: Option<UnfinishedRecord>,
}

impl Filter {
    /// The runs that are meant, the newest first.
    pub(crate) fn select(&self, store: &Arc<dyn Read>, now: Timestamp) -> Selection {
        let runs = match &self.tag {
            Some((name, value)) => inspect::runs_tagged(Arc::clone(store), name, value),
            None => inspect::runs(Arc::clone(store)),
        };
        self.of(runs, store, now)
    }

    /// Those that are blocked, however many: what it costs depends on how many have not ended. `None` if it lets no such run
    /// through.
    pub(crate) fn select_blocked(&self, store: &Arc<dyn Read>, now: Timestamp) -> Option<Selection> {
        let may_be_blocked = matches!(self.status, None | Some(Status::Unfinished | Status::Blocked | Status::Parked));
        let status = Some(if self.status == Some(Status::Parked) { Status::Parked } else { Status::Blocked });
        let filter = Self { status, limit: None, ..self.clone() };
        match filter.tag {
            _ if !may_be_blocked => None,
            Some(_) => Some(filter.select(store, now)),
            None => Some(filter.of(inspect::runs_unfinished(Arc::clone(store)), store, now)),
        }
    }

    fn of(&self, runs: inspect::Runs, store: &Arc<dyn Read>, now: Timestamp) -> Selection {
        Selection {
            since: self.since.as_ref().map(|since| since.at(now)),
            until: self.until.as_ref().map(|until| until.at(now)),
            left: self.limit.unwrap_or(usize::MAX),
            filter: self.clone(),
            store: Arc::clone(store),
            runs,
            roots_only: false,
            children: 0,
            seen: 0,
            other_tasks: BTreeSet::new(),
        }
    }

    /// So many runs, if nobody has said how many.
    pub(crate) fn or_limit(mut self, limit: usize) -> Self {
        self.limit.get_or_insert(limit);
        self
    }

    /// What is asked for, as it is written on the command line.
    fn words(&self) -> Vec<String> {
        let Self { task, status, reason, since, until, input, tag, limit: _ } = self;
        let status = status.and_then(|status| status.to_possible_value());
        let parts = [
            ("task", task.clone()),
            ("status", status.map(|status| status.get_name().to_owned())),
            ("reason", reason.map(|reason| reason.to_string())),
            ("since", since.as_ref().map(ToString::to_string)),
            ("until", until.as_ref().map(ToString::to_string)),
            ("input", input.clone()),
            ("tag", tag.as_ref().map(|(name, value)| format!("{name}={value}"))),
        ];
        let given = parts.into_iter().filter_map(|(name, value)| Some((name, value?)));
        given.map(|(name, value)| format!("--{name} {}", escaped(&value))).collect()
    }

    /// Whether it lets all runs through.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { task, status, reason, since, until, input, tag, limit: _ } = self;
        task.is_none()
            && status.is_none()
            && reason.is_none()
            && since.is_none()
            && until.is_none()
            && input.is_none()
            && tag.is_none()
    }

    /// Whether it lets none through, whatever there is.
    pub(crate) fn is_limited_to_none(&self) -> bool {
        self.limit == Some(0)
    }
}

/// `customer=42`: the name ends at the first `=`.
fn tag(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a tag is written NAME=VALUE"),
    }
}

/// `diverged`, `parked`, …
pub(crate) fn reason(text: &str) -> Result<BlockReason, String> {
    BlockReason::ALL.into_iter().find(|reason| reason.as_str() == text).ok_or_else(|| {
        let names = BlockReason::ALL.map(BlockReason::as_str).join(", ");
        format!("a run is blocked for one of these reasons: {names}")
    })
}

/// So many names of other tasks are kept, to name one that was meant: 1,000, more than programs have.
const OTHER_TASKS_MAX: usize = 1000;

/// The runs that a filter lets through. After an error it ends.
pub(crate) struct Selection {
    filter: Filter,
    store: Arc<dyn Read>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    runs: inspect::Runs,
    left: usize,
    /// Whether children are passed over.
    roots_only: bool,
    /// How many children that the filter lets through were passed over.
    children: u64,
    /// How many runs were looked at: with a tag, of those that have it.
    seen: u64,
    /// Tasks that runs are of which were not meant.
    other_tasks: BTreeSet<String>,
}

impl Selection {
    /// Passes over the runs that other runs called.
    pub(crate) fn roots_only(mut self) -> Self {
        self.roots_only = true;
        self
    }

    /// Goes on after the limit, for so many more runs.
    pub(crate) fn go_on(&mut self, more: usize) {
        self.left = more;
    }

    /// How many children that the filter lets through were passed over so far.
    pub(crate) fn children(&self) -> u64 {
        self.children
    }

    /// Why there is none, if there is none: which filters found nothing together, with the task that was probably meant.
    pub(crate) fn nothing(&self) -> String {
        if self.children > 0 {
            let children = counted(self.children, "run");
            return format!("no such runs, but {children} that other runs called (--children lists them)");
        }
        if self.filter.is_empty() {
            return "no runs yet".to_owned();
        }
        let of_task = self.filter.task.as_ref().filter(|task| !self.other_tasks.contains(*task));
        if let Some(task) = of_task {
            let other_tasks = self.other_tasks.iter().map(String::as_str);
            if let Some(nearest) = nearest(task, other_tasks) {
                return format!("no runs of a task {}; there are runs of {}", escaped(task), escaped(nearest));
            }
        }
        let mut words = self.filter.words();
        let of = match &self.filter.tag {
            // Only those that have it were looked at.
            Some((name, value)) => {
                words.pop();
                format!(" with the tag {}={}", escaped(name), escaped(value))
            }
            None => String::new(),
        };
        if self.seen == 0 {
            return if of.is_empty() { "no runs yet".to_owned() } else { format!("no runs{of}") };
        }
        format!("none of the {}{of} matches {}", counted(self.seen, "run"), words.join(" and "))
    }

    fn lets_through(&mut self, stored: StoredRun) -> Result<Option<Selected>, Failure> {
        self.seen += 1;
        let (filter, record) = (&self.filter, &stored.record);
        if let Some(task) = &filter.task
            && *task != record.task
        {
            if self.other_tasks.len() < OTHER_TASKS_MAX && !self.other_tasks.contains(&record.task) {
                self.other_tasks.insert(record.task.clone());
            }
            return Ok(None);
        }
        let is_in_time = self.since.is_none_or(|since| record.started_at >= since)
            && self.until.is_none_or(|until| record.started_at < until);
        let may_stand_so = match filter.status {
            None => true,
            Some(Status::Unfinished | Status::Blocked | Status::Parked) => record.state == RunState::Unfinished,
            Some(Status::Completed) => record.state == RunState::Completed,
            Some(Status::Failed) => record.state == RunState::Failed,
            Some(Status::Cancelled) => record.state == RunState::Cancelled,
        };
        if !is_in_time || !may_stand_so {
            return Ok(None);
        }
        let unfinished = match record.state {
            RunState::Unfinished => inspect::unfinished(self.store.as_ref(), stored.run)?,
            _ => None,
        };
        let reason = unfinished.as_ref().and_then(UnfinishedRecord::block_reason);
        let stands_so = match filter.status {
            Some(Status::Blocked) => reason.is_some(),
            Some(Status::Parked) => matches!(reason, Some(BlockReason::Parked | BlockReason::Held)),
            _ => true,
        };
        if !stands_so || (filter.reason.is_some() && filter.reason != reason) || !self.has_input(&stored)? {
            return Ok(None);
        }
        // A blocked child is what its parents wait for: nobody else tells of it.
        if self.roots_only && stored.record.parent.is_some() && reason.is_none() {
            self.children += 1;
            return Ok(None);
        }
        Ok(Some(Selected { stored, unfinished }))
    }

    fn has_input(&self, stored: &StoredRun) -> Result<bool, Failure> {
        let Some(text) = &self.filter.input else { return Ok(true) };
        let first = inspect::events(Arc::clone(&self.store), stored.run).next().transpose()?;
        Ok(match first.map(|logged| logged.event) {
            Some(Event::TaskStarted(started)) => started.input.to_value().to_string().contains(text),
            _ => false,
        })
    }
}

impl Iterator for Selection {
    type Item = Result<Selected, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 {
            let selected = match self.runs.next()? {
                Ok(stored) => self.lets_through(stored),
                Err(error) => Err(error.into()),
            };
            match selected {
                Ok(None) => {}
                Ok(Some(selected)) => {
                    self.left -= 1;
                    return Some(Ok(selected));
                }
                Err(error) => {
                    self.left = 0;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
