//! `relive runs`: the runs of a store, the newest first.
//!
//! Invariant: at most one page of runs is kept, to find how wide the columns are.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use clap::Args;
use relive_engine::index::{BlockReason, UnfinishedRecord};
use relive_engine::inspect::StoredRun;
use relive_storage::Read;

use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::filter::{Filter, Selected, Selection};
use crate::json;
use crate::look::{self, BAD, BOLD, DIM, Look};
use crate::text::{columns, counted, cut, escaped, padded, right, thousands};
use crate::time;

/// So many runs decide the widths of the columns; what is wider further down is cut.
const MEASURED: usize = 500;

/// List runs, the newest first
///
/// Not those that other runs called (their children), unless they are blocked, and the newest 50, unless asked for more: a last line
/// says what is left out.
///
/// STATE of a run that cannot go on until somebody acts is the reason: `diverged` (the code does not fit its log), `parked` (it took
/// the process down too often), `held` (it was imported unfinished), `unknown-task`, `unreadable` (a value is not of its type),
/// `damaged`, `other`. `relive show` says more; how many there are for each reason is said at the end.
///
/// With --json, all of them, a line per run, with the fields run, task, id, state, started_at, finished_at, duration_us, attempts,
/// retry_at, parked, blocked (reason, since, message), parent, tags.
#[derive(Args, Debug)]
pub(crate) struct Runs {
    #[command(flatten)]
    filter: Filter,
    /// Also runs that other runs called
    #[arg(long)]
    children: bool,
    /// Every run there is that the filters let through, children too
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// So many runs are listed if nobody says how many: 50, about a screen.
const LIMIT_DEFAULT: usize = 50;

/// So many further ones are counted: 1,000, so that a line does not take as long as the list of all.
const COUNTED_MAX: usize = 1000;

impl Runs {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let store = context.store()?;
        let is_whole = self.all || context.json;
        let filter = if is_whole { self.filter.clone() } else { self.filter.clone().or_limit(LIMIT_DEFAULT) };
        let mut runs = filter.select(&store, time::now());
        if !self.children && !self.all {
            runs = runs.roots_only();
        }
        if context.json {
            for selected in runs {
                let Selected { stored, unfinished } = selected?;
                json::line(context.out, &json::RunLine::of(&stored, unfinished.as_ref()))?;
            }
        } else {
            table(runs, self.filter.is_limited_to_none(), &context.look, context.out)?;
            if !self.filter.is_limited_to_none() {
                blocked(&store, &self.filter, &context.look, context.out)?;
            }
        }
        Ok(Status::Success)
    }
}

/// How many runs are blocked of those that a filter lets through, by reason: also of those beyond its limit.
fn blocked(
    store: &Arc<dyn Read>,
    filter: &Filter,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> Result<(), Failure> {
    let Some(blocked) = filter.select_blocked(store, time::now()) else { return Ok(()) };
    let mut counts = BTreeMap::<BlockReason, u64>::new();
    for selected in blocked {
        if let Some(reason) = selected?.unfinished.as_ref().and_then(UnfinishedRecord::block_reason) {
            *counts.entry(reason).or_default() += 1;
        }
    }
    if !counts.is_empty() {
        let each: Vec<_> = counts.iter().map(|(reason, count)| format!("{} {reason}", thousands(*count))).collect();
        writeln!(out, "{} {}", look.paint(BAD, "blocked:"), each.join(", "))?;
    }
    Ok(())
}

/// A table.
fn table(
    mut runs: Selection,
    is_limited_to_none: bool,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> Result<(), Failure> {
    if !rows(runs.by_ref(), look, out)? {
        if !is_limited_to_none {
            writeln!(out, "{}", runs.nothing())?;
        }
        return Ok(());
    }
    left_out(&mut runs, look, out)
}

/// Says what is not in the list, and how to see it.
fn left_out(runs: &mut Selection, look: &Look, out: &mut (impl Write + ?Sized)) -> Result<(), Failure> {
    let children = runs.children();
    runs.go_on(COUNTED_MAX + 1);
    let mut more = 0;
    for selected in runs.by_ref() {
        selected?;
        more += 1;
    }
    let mut parts = Vec::new();
    match more {
        0 => {}
        _ if more > COUNTED_MAX as u64 => {
            parts.push(format!("more than {} runs (--limit N or --all)", thousands(COUNTED_MAX as u64)));
        }
        _ => parts.push(format!("{} (--limit N or --all)", counted(more, "run"))),
    }
    if children > 0 {
        parts.push(format!("{} that other runs called (--children)", counted(children, "run")));
    }
    if !parts.is_empty() {
        writeln!(out, "{}", look.paint(DIM, format!("not listed: {}", parts.join(", "))))?;
    }
    Ok(())
}

/// The rows of a table, below its head. Says whether there are any.
pub(crate) fn rows(
    mut runs: impl Iterator<Item = Result<Selected, Failure>>,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> Result<bool, Failure> {
    let measured: Vec<Selected> = runs.by_ref().take(MEASURED).collect::<Result<_, _>>()?;
    if measured.is_empty() {
        return Ok(false);
    }
    let widths = Widths::of(&measured, look);
    widths.head(look, out)?;
    for selected in measured.into_iter().map(Ok).chain(runs) {
        widths.line(&selected?, look, out)?;
    }
    Ok(true)
}

const RUN: usize = 26;
const STATE: usize = 10;
const STARTED: usize = 19;

/// The columns whose widths depend on what is in them.
struct Widths {
    task: usize,
    state: usize,
    /// 0 if none is blocked.
    since: usize,
    duration: usize,
    id: usize,
}

impl Widths {
    fn of(runs: &[Selected], look: &Look) -> Self {
        let mut widths = Self { task: 4, state: STATE, since: 0, duration: 4, id: 0 };
        for Selected { stored, unfinished } in runs {
            if let Some(reason) = unfinished.as_ref().and_then(UnfinishedRecord::block_reason) {
                widths.state = widths.state.max(reason.as_str().len());
                widths.since = STARTED;
            }
            widths.task = widths.task.max(columns(&escaped(&stored.record.task)));
            widths.duration = widths.duration.max(columns(&duration(stored)));
            widths.id = widths.id.max(stored.record.id.as_ref().map_or(0, |id| columns(&escaped(id))));
        }
        // A task's name never gets more than half of what is free; the ids get what is left.
        let since = if widths.since > 0 { widths.since + 2 } else { 0 };
        let fixed = RUN + 2 + widths.state + 2 + STARTED + 2 + widths.duration + 2 + since;
        let free = look.width.saturating_sub(fixed);
        let id = if widths.id > 0 { widths.id.max(2) + 2 } else { 0 };
        widths.task = widths.task.min(free.saturating_sub(id).max(free / 2)).max(8);
        widths.id = widths.id.min(free.saturating_sub(widths.task + 2)).max(if widths.id > 0 { 8 } else { 0 });
        widths
    }

    fn head(&self, look: &Look, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let id = if self.id > 0 { "  ID" } else { "" };
        let (run, task) = (padded("RUN", RUN), padded("TASK", self.task));
        let (state, started) = (padded("STATE", self.state), padded("STARTED", STARTED));
        let since = if self.since > 0 { format!("  {}", padded("BLOCKED SINCE", self.since)) } else { String::new() };
        let line = format!("{run}  {task}  {state}  {started}  {}{since}{id}", right("TOOK", self.duration));
        writeln!(out, "{}", look.paint(BOLD, line))
    }

    fn line(&self, selected: &Selected, look: &Look, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let Selected { stored, unfinished } = selected;
        let record = &stored.record;
        let reason = unfinished.as_ref().and_then(UnfinishedRecord::block_reason);
        let (word, style) = reason.map_or_else(|| look::state(record.state), |reason| (reason.as_str(), BAD));
        write!(
            out,
            "{}  {}  {}  {}  {}",
            stored.run,
            padded(&cut(&escaped(&record.task), self.task), self.task),
            look.paint(style, padded(word, self.state)),
            look.paint(DIM, time::to_the_second(record.started_at, &look.zone)),
            right(&duration(stored), self.duration),
        )?;
        if self.since > 0 {
            let since = unfinished.as_ref().and_then(UnfinishedRecord::blocked_since);
            let since = since.map(|since| time::to_the_second(since, &look.zone)).unwrap_or_default();
            let is_last = record.id.is_none();
            write!(out, "  {}", if is_last { since } else { padded(&since, self.since) })?;
        }
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
