//! A run's log as rows: one per trace, in the order of their starts.
//!
//! Read by `show`, drawn by `draw`.
//!
//! Invariant: memory is bounded by the rows that are kept and the lives of the run, whatever the log holds; the totals
//! count everything.

use std::collections::VecDeque;
use std::sync::Arc;

use relive_engine::error::{Error, ErrorKind, Result};
use relive_engine::event::{Event, TaskCompleted, TaskStarted, TraceCompleted, TraceOutcome, TraceStarted};
use relive_engine::id::{Epoch, RunId, Sequence, Timestamp};
use relive_engine::inspect;
use relive_storage::Read;

use crate::call;
use crate::time;

/// A trace.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) sequence: Sequence,
    /// The call, cut to what can be shown.
    pub(super) label: String,
    /// Whether it is one of `now`, `random`, `uuid`.
    pub(super) immediate: bool,
    /// Which life started it.
    pub(super) epoch: Epoch,
    pub(super) at: Timestamp,
    /// `None` if it is open.
    pub(super) end: Option<End>,
}

/// How a trace ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    /// Which life completed it.
    pub(super) epoch: Epoch,
    /// Whether its effect had begun.
    pub(super) begun: bool,
    pub(super) at: Timestamp,
    pub(super) micros: u64,
}

/// What is shown of an outcome.
#[derive(Debug)]
pub(super) enum Outcome {
    /// For an immediate trace, with what it returned.
    Ok(String),
    /// With the error.
    Err(String),
    Dropped,
}

/// From the first to the last moment that one life of the process wrote about the run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) epoch: Epoch,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

/// How many traces there are of a kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) started: u64,
    pub(super) ok: u64,
    pub(super) err: u64,
    pub(super) dropped: u64,
    /// Ended in the run's last life.
    pub(super) executed: u64,
    pub(super) effect_micros: u64,
}

impl Totals {
    pub(super) fn ended(&self) -> u64 {
        self.ok + self.err + self.dropped
    }

    pub(super) fn open(&self) -> u64 {
        self.started - self.ended()
    }
}

/// What is kept of a log.
#[derive(Debug)]
pub(super) struct Timeline {
    pub(super) run: RunId,
    /// Of the latest attempt.
    pub(super) started: TaskStarted,
    pub(super) ended: Option<TaskCompleted>,
    pub(super) first: Vec<Row>,
    /// The rows behind those that were left out.
    pub(super) last: VecDeque<Row>,
    pub(super) totals: Totals,
    /// In the order of their epochs; never empty.
    pub(super) lives: Vec<Life>,
    /// Why the log could not be read to its end.
    pub(super) damage: Option<Error>,
}

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// How many rows at the beginning, and as many at the end.
    pub(super) rows_each: usize,
    /// How wide a label is at most.
    pub(super) label_columns: usize,
}

impl Timeline {
    /// Reads a log to its end, or to where it is damaged.
    pub(super) fn read(store: Arc<dyn Read>, run: RunId, keep: Keep) -> Result<Self> {
        let mut events = inspect::events(store, run);
        let missing = || Error::new(ErrorKind::UnknownRun, format!("there is no run {run}"));
        let first = events.next().ok_or_else(missing)??;
        let Event::TaskStarted(started) = first.event else {
            let why = format!("run {run} at event 0: the log begins with {}", first.event.name());
            return Err(Error::new(ErrorKind::Corrupt, why));
        };
        let life = Life { epoch: first.epoch, first: started.at, last: started.at };
        let mut timeline = Self {
            run,
            started,
            ended: None,
            first: Vec::new(),
            last: VecDeque::new(),
            totals: Totals::default(),
            lives: vec![life],
            damage: None,
        };
        for event in events {
            match event {
                Ok(logged) => timeline.take(logged.sequence, logged.epoch, logged.event, keep),
                Err(error) => timeline.damage = Some(error),
            }
        }
        Ok(timeline)
    }

    fn take(&mut self, sequence: Sequence, epoch: Epoch, event: Event, keep: Keep) {
        match event {
            Event::TaskStarted(started) => {
                self.witnessed(epoch, started.at);
                self.started = started;
                self.ended = None;
            }
            Event::TraceStarted(started) => {
                self.witnessed(epoch, started.at);
                self.trace_started(sequence, epoch, &started, keep);
            }
            Event::TraceCompleted(completed) => {
                self.witnessed(epoch, completed.started_at);
                self.witnessed(epoch, time::later(completed.started_at, completed.duration_micros));
                self.trace_completed(epoch, &completed);
            }
            Event::TaskCompleted(completed) => {
                self.witnessed(epoch, completed.at);
                self.ended = Some(completed);
            }
            // Events of versions to come have no place here; `log` lists them.
            _ => {}
        }
    }

    /// A moment of this life. Events of one life follow each other.
    fn witnessed(&mut self, epoch: Epoch, at: Timestamp) {
        match self.lives.last_mut() {
            Some(life) if life.epoch == epoch => {
                life.first = life.first.min(at);
                life.last = life.last.max(at);
            }
            _ => {
                self.totals.executed = 0;
                self.lives.push(Life { epoch, first: at, last: at });
            }
        }
    }

    fn trace_started(&mut self, sequence: Sequence, epoch: Epoch, started: &TraceStarted, keep: Keep) {
        self.totals.started += 1;
        let label = call::call(&started.name, &started.input, keep.label_columns);
        let row = Row { sequence, label, immediate: started.form.is_inline(), epoch, at: started.at, end: None };
        if self.first.len() < keep.rows_each {
            self.first.push(row);
            return;
        }
        if self.last.len() >= keep.rows_each {
            self.last.pop_front();
        }
        self.last.push_back(row);
    }

    fn trace_completed(&mut self, epoch: Epoch, completed: &TraceCompleted) {
        let totals = &mut self.totals;
        totals.executed += 1;
        totals.effect_micros = totals.effect_micros.saturating_add(completed.duration_micros);
        match &completed.outcome {
            TraceOutcome::Ok(_) => totals.ok += 1,
            TraceOutcome::Err(_) => totals.err += 1,
            _ => totals.dropped += 1,
        }
        let Some(row) = self.row(completed.trace) else { return };
        let outcome = match &completed.outcome {
            TraceOutcome::Ok(output) if row.immediate => {
                Outcome::Ok(call::immediate_value(row.label.split('(').next().unwrap_or_default(), output))
            }
            TraceOutcome::Ok(_) => Outcome::Ok(String::new()),
            TraceOutcome::Err(error) => Outcome::Err(crate::text::cut_display(&call::OneLine(error), ERROR_COLUMNS)),
            _ => Outcome::Dropped,
        };
        row.end = Some(End {
            outcome,
            epoch,
            begun: completed.tries > 0,
            at: completed.started_at,
            micros: completed.duration_micros,
        });
    }

    /// The row of a trace, if it is kept: rows are in the order of their sequences.
    fn row(&mut self, trace: Sequence) -> Option<&mut Row> {
        match self.first.binary_search_by_key(&trace, |row| row.sequence) {
            Ok(index) => self.first.get_mut(index),
            Err(_) => {
                let index = self.last.binary_search_by_key(&trace, |row| row.sequence).ok()?;
                self.last.get_mut(index)
            }
        }
    }

    /// The run's last life.
    pub(super) fn last_epoch(&self) -> Epoch {
        self.lives.last().map_or(Epoch(0), |life| life.epoch)
    }

    /// How many rows were left out between the first and the last ones.
    pub(super) fn left_out(&self) -> u64 {
        self.totals.started - (self.first.len() + self.last.len()) as u64
    }
}

/// Longest error that is kept with its row: 500 columns, as wide as output gets.
const ERROR_COLUMNS: usize = 500;
