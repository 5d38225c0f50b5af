//! `relive runs`: the runs of a store, the newest first.
//!
//! Invariant: at most one page of runs is kept, to find how wide the columns are.

use std::io::{self, Write};

use clap::Args;
use relive_engine::inspect::StoredRun;

use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::filter::{Filter, Selected, Selection};
use crate::json;
use crate::look::{self, BOLD, DIM, Look};
use crate::text::{columns, counted, cut, escaped, padded, right, thousands};
use crate::time;

/// So many runs decide the widths of the columns; what is wider further down is cut.
const MEASURED: usize = 500;

/// List runs, the newest first
///
/// Not those that other runs called (their children), and the newest 50, unless asked for more: a last line says what is left
/// out. With --json, all of them, a line per run, with the fields run, task, id, state, started_at, finished_at, duration_us, attempts,
/// retry_at, parked, parent, tags.
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
        }
        Ok(Status::Success)
    }
}

/// A table.
fn table(
    mut runs: Selection,
    is_limited_to_none: bool,
    look: &Look,
    out: &mut (impl Write + ?Sized),
) -> Result<(), Failure> {
    let measured: Vec<Selected> = runs.by_ref().take(MEASURED).collect::<Result<_, _>>()?;
    if measured.is_empty() {
        if !is_limited_to_none {
            writeln!(out, "{}", runs.nothing())?;
        }
        return Ok(());
    }
    let widths = Widths::of(measured.iter().map(|selected| &selected.stored), look);
    widths.head(look, out)?;
    let mut measured = measured.into_iter();
    while let Some(selected) = measured.next().map(Ok).or_else(|| runs.next()) {
        let Selected { stored, unfinished } = selected?;
        widths.line(&stored, unfinished.is_some_and(|unfinished| unfinished.is_parked()), look, out)?;
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
