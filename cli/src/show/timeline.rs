//! A run's log as rows: one per trace, in the order of their starts, with headings where attempts begin.
//!
//! Read by `show`, drawn by `draw`.
//!
//! Invariant: memory is bounded by the rows that are kept and the lives and attempts of the run, whatever the log holds;
//! the totals count everything.

use std::collections::VecDeque;
use std::sync::Arc;

use relive_engine::error::{Error, ErrorKind, Result};
use relive_engine::event::{
    ErrorRecord, Event, TaskCompleted, TaskOutcome, TaskStarted, TraceCompleted, TraceForm, TraceOutcome, TraceStarted,
};
use relive_engine::id::{Epoch, RunId, Sequence, Timestamp};
use relive_engine::inspect;
use relive_engine::replay::{SIGNAL, SLEEP};
use relive_storage::Read;

use super::row::{End, Heading, Life, Outcome, Part, Retry, Row, Totals, Trace, What};
use crate::call::{self, OneLine};
use crate::text::{columns, cut, cut_display, escaped};
use crate::{time, words};

/// Longest error or value that is kept with its row: 500 columns, as wide as output gets.
const KEPT_COLUMNS: usize = 500;

/// What is kept of a log.
#[derive(Debug)]
pub(super) struct Timeline {
    pub(super) run: RunId,
    /// Of the latest attempt.
    pub(super) started: TaskStarted,
    /// How the latest attempt ended.
    pub(super) ended: Option<TaskCompleted>,
    pub(super) first: Vec<Row>,
    /// The rows behind those that were left out.
    pub(super) last: VecDeque<Row>,
    /// How many rows there are in all.
    rows: u64,
    /// Of the latest attempt.
    pub(super) totals: Totals,
    /// The last life of each attempt.
    pub(super) attempts: Vec<Epoch>,
    /// In the order of the log; never empty.
    pub(super) lives: Vec<Life>,
    /// The call that failed last in the latest attempt, as it is drawn, and what it said.
    failed: Option<(Sequence, String, String)>,
    /// Of calls that joined the run.
    pub(super) joined_tags: Vec<(String, String)>,
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
        let mut events = inspect::events(Arc::clone(&store), run);
        let missing = || Error::new(ErrorKind::UnknownRun, format!("there is no run {run}"));
        let first = events.next().ok_or_else(missing)??;
        let Event::TaskStarted(started) = first.event else {
            let why = format!("run {run} at event 0: the log begins with {}", first.event.name());
            return Err(Error::new(ErrorKind::Corrupt, why));
        };
        let part = Part { epoch: first.epoch, attempt: 0 };
        let mut timeline = Self {
            run,
            ended: None,
            first: Vec::new(),
            last: VecDeque::new(),
            rows: 0,
            totals: Totals::default(),
            attempts: vec![first.epoch],
            lives: vec![Life { part, first: started.at, last: started.at }],
            failed: None,
            joined_tags: Vec::new(),
            damage: None,
            started,
        };
        for event in events {
            match event {
                Ok(logged) => timeline.take(logged.sequence, logged.epoch, logged.event, keep),
                Err(error) => timeline.damage = Some(error),
            }
        }
        timeline.joined_tags = inspect::joined_tags(store.as_ref(), run)?;
        for row in timeline.first.iter_mut().chain(&mut timeline.last) {
            if let What::Trace(trace) = &mut row.what {
                // What cannot be read is told of where that run is shown.
                trace.answered = trace.child.and_then(|child| inspect::answered(&store, child).ok().flatten());
            }
        }
        Ok(timeline)
    }

    fn take(&mut self, sequence: Sequence, epoch: Epoch, event: Event, keep: Keep) {
        match event {
            Event::TaskStarted(started) => self.attempt_started(sequence, epoch, started, keep),
            Event::TraceStarted(started) => {
                self.witnessed(epoch, started.at);
                self.totals.started += 1;
                let trace = trace(epoch, &started, keep.label_columns);
                self.push(sequence, What::Trace(Box::new(trace)), keep);
            }
            Event::TraceRetried(retried) => {
                self.witnessed(epoch, retried.started_at);
                self.witnessed(epoch, time::later(retried.started_at, retried.duration_micros));
                self.totals.effect_micros = self.totals.effect_micros.saturating_add(retried.duration_micros);
                let error = cut_display(&OneLine(&retried.error), KEPT_COLUMNS);
                match self.trace(retried.trace) {
                    Some(trace) if trace.is_signal => self.push(sequence, What::SetAside(error), keep),
                    Some(trace) => trace.retry = Some(Retry { tries: retried.tries, error, due: retried.due }),
                    None => {}
                }
            }
            Event::TraceYielded(yielded) => {
                if let Some(trace) = self.trace(yielded.trace) {
                    trace.items = Some(trace.items.unwrap_or(0).max(yielded.index.saturating_add(1)));
                }
            }
            Event::TraceCompleted(completed) => self.trace_completed(epoch, &completed),
            Event::SignalReceived(received) => {
                // It was sent when it was sent: maybe in another life.
                let value = cut_display(&received.value.to_value(), KEPT_COLUMNS);
                let text = format!("signal {} = {value}", escaped(&received.name));
                self.push(sequence, What::Signal(text), keep);
            }
            Event::TaskCompleted(completed) => {
                self.witnessed(epoch, completed.at);
                self.ended = Some(completed);
            }
            // Events of versions to come have no place here; `log` lists them.
            _ => {}
        }
    }

    fn attempt_started(&mut self, sequence: Sequence, epoch: Epoch, started: TaskStarted, keep: Keep) {
        let before = format!("attempt {}: {}", self.started.attempt, end_of_attempt(self.ended.as_ref()));
        let attempt = format!("attempt {}, {}", started.attempt, words::whole_cause(&started.cause));
        self.attempts.push(epoch);
        self.totals = Totals::default();
        self.witnessed(epoch, started.at);
        let heading = Heading { before, attempt, at: started.at };
        self.push(sequence, What::Attempt(Box::new(heading)), keep);
        self.started = started;
        self.ended = None;
        self.failed = None;
    }

    /// The call that a failed attempt's error is from: the last that failed, if the task passed its error on.
    pub(super) fn origin(&self, error: &ErrorRecord) -> Option<(Sequence, &str)> {
        let (sequence, label, message) = self.failed.as_ref()?;
        let is_passed_on = error.message == *message || error.sources.contains(message);
        is_passed_on.then_some((*sequence, label.as_str()))
    }

    /// A moment of this life in the latest attempt. Events of one life follow each other.
    fn witnessed(&mut self, epoch: Epoch, at: Timestamp) {
        let part = Part { epoch, attempt: self.attempt() };
        match self.lives.last_mut() {
            Some(life) if life.part == part => {
                life.first = life.first.min(at);
                life.last = life.last.max(at);
            }
            _ => {
                self.totals.executed = 0;
                if let Some(last) = self.attempts.last_mut() {
                    *last = epoch;
                }
                self.lives.push(Life { part, first: at, last: at });
            }
        }
    }

    fn push(&mut self, sequence: Sequence, what: What, keep: Keep) {
        let row = Row { sequence, attempt: self.attempt(), what };
        self.rows += 1;
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
        let repeated = completed.repeats.is_some();
        if !repeated {
            self.witnessed(epoch, completed.started_at);
            self.witnessed(epoch, time::later(completed.started_at, completed.duration_micros));
        }
        let totals = &mut self.totals;
        if repeated {
            totals.repeated += 1;
        } else {
            totals.executed += 1;
            totals.effect_micros = totals.effect_micros.saturating_add(completed.duration_micros);
        }
        match &completed.outcome {
            TraceOutcome::Ok(_) => totals.ok += 1,
            TraceOutcome::Err(_) => totals.err += 1,
            _ => totals.dropped += 1,
        }
        let Some(trace) = self.trace(completed.trace) else { return };
        let outcome = match &completed.outcome {
            TraceOutcome::Ok(output) if trace.immediate => {
                Outcome::Ok(call::immediate_value(trace.label.split('(').next().unwrap_or_default(), output))
            }
            TraceOutcome::Ok(_) => Outcome::Ok(String::new()),
            TraceOutcome::Err(error) => Outcome::Err(cut_display(&OneLine(error), KEPT_COLUMNS)),
            _ => Outcome::Dropped,
        };
        let failed = match &completed.outcome {
            TraceOutcome::Err(error) => Some((completed.trace, trace.label.clone(), error.message.clone())),
            _ => None,
        };
        // Where a run left memory meanwhile, the recorded time is that of the last look at what it waits for.
        let (since, at) = if trace.waits { (trace.epoch, trace.at) } else { (epoch, completed.started_at) };
        let until = time::later(completed.started_at, completed.duration_micros);
        trace.end = Some(End {
            outcome,
            epoch,
            since,
            begun: completed.tries > 0,
            repeated,
            tries: completed.tries,
            at,
            micros: time::between(at, until),
        });
        if failed.is_some() {
            self.failed = failed;
        }
    }

    /// A trace, if its row is kept: rows are in the order of their sequences.
    fn trace(&mut self, trace: Sequence) -> Option<&mut Trace> {
        let row = match self.first.binary_search_by_key(&trace, |row| row.sequence) {
            Ok(index) => self.first.get_mut(index),
            Err(_) => {
                let index = self.last.binary_search_by_key(&trace, |row| row.sequence).ok()?;
                self.last.get_mut(index)
            }
        };
        match row.map(|row| &mut row.what) {
            Some(What::Trace(trace)) => Some(trace),
            _ => None,
        }
    }

    /// Which attempt is the latest, from 0.
    pub(super) fn attempt(&self) -> u32 {
        self.attempts.len() as u32 - 1
    }

    /// The last life of an attempt.
    pub(super) fn last_epoch(&self, attempt: u32) -> Epoch {
        self.attempts.get(attempt as usize).copied().unwrap_or_default()
    }

    /// Whether an attempt is over, so that what it left open never ends.
    pub(super) fn is_over(&self, attempt: u32) -> bool {
        attempt < self.attempt() || self.ended.is_some()
    }

    /// How many rows were left out between the first and the last ones.
    pub(super) fn left_out(&self) -> u64 {
        self.rows - (self.first.len() + self.last.len()) as u64
    }
}

fn trace(epoch: Epoch, started: &TraceStarted, label_columns: usize) -> Trace {
    let immediate = words::is_immediate(started);
    let group = started.group.as_ref().filter(|_| !immediate);
    let group = group.map(|group| format!("{} › ", cut(&escaped(group), label_columns / 3))).unwrap_or_default();
    let call = call::call(&started.name, &started.input, label_columns.saturating_sub(columns(&group)));
    Trace {
        label: format!("{group}{call}"),
        immediate,
        is_signal: started.name == SIGNAL,
        within: started.within,
        child: started.child,
        waits: matches!(started.name.as_ref(), SLEEP | SIGNAL),
        answered: None,
        items: matches!(started.form, TraceForm::Stream | TraceForm::Iterator).then_some(0),
        retry: None,
        epoch,
        at: started.at,
        end: None,
    }
}

/// How an attempt ended, before another began.
fn end_of_attempt(ended: Option<&TaskCompleted>) -> String {
    match ended.map(|ended| &ended.outcome) {
        None => "did not end".to_owned(),
        Some(TaskOutcome::Ok(_)) => "ok".to_owned(),
        Some(TaskOutcome::Err(error)) => format!("err, {}", cut_display(&OneLine(error), KEPT_COLUMNS)),
        Some(_) => "cancelled".to_owned(),
    }
}
