//! `relive runs`: the runs of a store, the newest first.
//!
//! Invariant: at most one page of runs is kept, to find how wide the columns are.

use std::io::{self, Write};
use std::sync::Arc;

use clap::Args;
use relive_engine::index::{RunState, UnfinishedRecord};
use relive_engine::inspect::{self, StoredRun};
use relive_storage::Read;

use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;
use crate::look::{self, BOLD, DIM, Look};
use crate::text::{columns, cut, escaped, padded, right};
use crate::time;

/// So many runs decide the widths of the columns; what is wider further down is cut.
const MEASURED: usize = 500;

/// List runs, the newest first
///
/// With --json, a line per run, with the fields run, task, id, state, started_at, finished_at, duration_us, attempts,
/// retry_at, parked, parent, tags.
#[derive(Args, Debug)]
pub(crate) struct Runs {
    /// Only those with this tag
    #[arg(long, value_name = "NAME=VALUE", value_parser = tag)]
    tag: Option<(String, String)>,
    /// Stop after so many
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<usize>,
}

impl Runs {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let store = context.store()?;
        let runs = match &self.tag {
            Some((name, value)) => inspect::runs_tagged(Arc::clone(&store), name, value),
            None => inspect::runs(Arc::clone(&store)),
        };
        let limit = self.limit.unwrap_or(usize::MAX);
        if context.json {
            json(store.as_ref(), runs, limit, context.out)?;
        } else {
            table(store.as_ref(), runs, self.tag.as_ref(), limit, &context.look, context.out)?;
        }
        Ok(Status::Success)
    }
}

/// `customer=42`: the name ends at the first `=`.
fn tag(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a tag is written NAME=VALUE"),
    }
}

/// Lines of JSON.
fn json(store: &dyn Read, runs: inspect::Runs, limit: usize, out: &mut (impl Write + ?Sized)) -> Result<(), Failure> {
    for stored in runs.take(limit) {
        let stored = stored?;
        let unfinished = unfinished(store, &stored)?;
        json::line(out, &json::RunLine::of(&stored, unfinished.as_ref()))?;
    }
    Ok(())
}

/// A table.
fn table(
    store: &dyn Read,
    runs: inspect::Runs,
    tag: Option<&(String, String)>,
    limit: usize,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> Result<(), Failure> {
    let mut runs = runs.take(limit);
    let measured: Vec<_> = runs.by_ref().take(MEASURED).collect();
    let widths = Widths::of(measured.iter().flatten(), look);
    let mut any = false;
    for stored in measured.into_iter().chain(runs) {
        let stored = stored?;
        if !any {
            widths.head(look, out)?;
            any = true;
        }
        let is_parked = unfinished(store, &stored)?.is_some_and(|unfinished| unfinished.parked);
        widths.line(&stored, is_parked, look, out)?;
    }
    if !any && limit > 0 {
        match tag {
            Some((name, value)) => writeln!(out, "no runs with the tag {}={}", escaped(name), escaped(value))?,
            None => writeln!(out, "no runs yet")?,
        }
    }
    Ok(())
}

/// What a restart knows of a run that has not ended.
fn unfinished(store: &dyn Read, stored: &StoredRun) -> Result<Option<UnfinishedRecord>, Failure> {
    match stored.record.state {
        RunState::Unfinished => Ok(inspect::unfinished(store, stored.run)?),
        _ => Ok(None),
    }
}

const RUN: usize = 26;
const STATE: usize = 10;
const STARTED: usize = 19;

/// The columns whose widths depend on what is in them.
struct Widths {
    task: usize,
    duration: usize,
    id: usize,
}

impl Widths {
    fn of<'a>(runs: impl Iterator<Item = &'a StoredRun>, look: &Look) -> Self {
        let mut widths = Self { task: 4, duration: 4, id: 0 };
        for stored in runs {
            widths.task = widths.task.max(columns(&escaped(&stored.record.task)));
            widths.duration = widths.duration.max(columns(&duration(stored)));
            widths.id = widths.id.max(stored.record.id.as_ref().map_or(0, |id| columns(&escaped(id))));
        }
        // A task's name never gets more than half of what is free; the ids get what is left.
        let fixed = RUN + 2 + STATE + 2 + STARTED + 2 + widths.duration + 2;
        let free = look.width.saturating_sub(fixed);
        let id = if widths.id > 0 { widths.id.max(2) + 2 } else { 0 };
        widths.task = widths.task.min(free.saturating_sub(id).max(free / 2)).max(8);
        widths.id = widths.id.min(free.saturating_sub(widths.task + 2)).max(if widths.id > 0 { 8 } else { 0 });
        widths
    }

    fn head(&self, look: &Look, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let id = if self.id > 0 { "  ID" } else { "" };
        let (run, task) = (padded("RUN", RUN), padded("TASK", self.task));
        let (state, started) = (padded("STATE", STATE), padded("STARTED", STARTED));
        let line = format!("{run}  {task}  {state}  {started}  {}{id}", right("TOOK", self.duration));
        writeln!(out, "{}", look.paint(BOLD, line))
    }

    fn line(
        &self,
        stored: &StoredRun,
        is_parked: bool,
        look: &Look,
        out: &mut (impl Write + ?Sized),
    ) -> io::Result<()> {
        let record = &stored.record;
        let (word, style) = if is_parked { look::PARKED } else { look::state(record.state) };
        write!(
            out,
            "{}  {}  {}  {}  {}",
            stored.run,
            padded(&cut(&escaped(&record.task), self.task), self.task),
            look.paint(style, padded(word, STATE)),
            look.paint(DIM, time::to_the_second(record.started_at, &look.zone)),
            right(&duration(stored), self.duration),
        )?;
        match &record.id {
            Some(id) => writeln!(out, "  {}", cut(&escaped(id), self.id)),
            None => writeln!(out),
        }
    }
}

fn duration(stored: &StoredRun) -> String {
    let record = &stored.record;
    record
        .finished_at
        .map_or_else(|| "-".to_owned(), |finished_at| time::duration(time::between(record.started_at, finished_at)))
}
