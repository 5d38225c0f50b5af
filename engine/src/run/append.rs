//! Appends what a run did to its log, and knows how much of that is durable.
//!
//! Part of what a run shares; used by its loop, and by plain functions and effects that call traces.
//!
//! Invariants: events are appended in the order of their positions; items of streams that nothing waits for share a record.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use relive_storage::{Operation, Write};

use crate::commit::{Acknowledged, Submission, Waiter};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::id::Epoch;
use crate::id::Sequence;
use crate::index::Used;
use crate::log::{LogWriter, Spare};
use crate::replay::{Called, Replay};

use super::drive::Settings;
use super::mailbox::{BatchFailure, Mailbox};
use super::plan::Plan;

/// How many bytes of items are kept back while there are more to come: 64 KiB, a record that costs little beside them.
const HELD_BYTES_MAX: usize = 64 << 10;

/// About what an item takes beside its payload.
const ITEM_BYTES: usize = 48;

/// The end of a run's log.
pub(crate) struct Appender {
    pub(crate) plan: Plan,
    settings: Arc<Settings>,
    mailbox: Arc<Mailbox>,
    /// `None` until the log is read.
    writer: Option<LogWriter>,
    /// Behind the last event that was given to the committer.
    submitted: Sequence,
    /// Behind the last event that is known to be durable.
    durable: Sequence,
    /// What is not durable yet: its end, its size, and when it was submitted, if the run was alone then.
    in_flight: VecDeque<(Sequence, usize, Option<Duration>)>,
    in_flight_bytes: usize,
    /// The end of a write that may be refused, until it is durable: nothing is to be written behind it before.
    refusable: Option<Sequence>,
    /// Items that wait for company.
    held: Vec<Event>,
    held_first: Sequence,
    held_bytes: usize,
    /// To be written with the next record.
    operations: Vec<Operation>,
    /// Memory of a batch that is durable.
    spare: Vec<Operation>,
    /// The next record is synced, whatever the durability.
    sync: bool,
    /// What the results of children depend on; `None` if that is not known of one.
    child_uses: Option<Vec<Used>>,
}

impl Appender {
    /// An end that is not known yet.
    pub(crate) fn new(plan: Plan, settings: Arc<Settings>, mailbox: Arc<Mailbox>) -> Self {
        Self {
            plan,
            settings,
            mailbox,
            writer: None,
            submitted: Sequence(0),
            durable: Sequence(0),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            refusable: None,
            held: Vec::new(),
            held_first: Sequence(0),
            held_bytes: 0,
            operations: Vec::new(),
            spare: Vec::new(),
            sync: false,
            child_uses: Some(Vec::new()),
        }
    }

    /// From here on the log is written, behind what is durable already.
    pub(crate) fn continue_with(&mut self, writer: LogWriter, at: Sequence) {
        self.writer = Some(writer);
        self.submitted = at;
        self.durable = at;
    }

    /// Whether the log was read to its end.
    pub(crate) fn is_ready(&self) -> bool {
        self.writer.is_some()
    }

    /// Which life of the process this is.
    pub(crate) fn epoch(&self) -> Epoch {
        self.settings.epoch
    }

    /// Written with the next record.
    pub(crate) fn also(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    /// The next record is synced, also where durability is buffered.
    pub(crate) fn sync_next(&mut self) {
        self.sync = true;
    }

    /// Appends what the replay has to append. Returns the position behind it: what waits for it waits for that.
    pub(crate) fn append(&mut self, replay: &mut Replay, settled: bool) -> Result<Sequence> {
        let (first, events) = replay.take_pending();
        let end = Sequence(first.0 + events.len() as u64);
        if events.is_empty() {
            return Ok(self.end());
        }
        let only_items = settled && events.iter().all(|event| matches!(event, Event::TraceYielded(_)));
        if self.held.is_empty() {
            self.held_first = first;
            self.held = events;
        } else {
            self.held.extend(events);
        }
        if only_items {
            let last = self.held.last().map_or(0, |event| match event {
                Event::TraceYielded(yielded) => yielded.item.bytes().len(),
                _ => 0,
            });
            self.held_bytes += ITEM_BYTES + last;
            if self.held_bytes < HELD_BYTES_MAX {
                return Ok(end);
            }
        }
        self.submit(replay.used(), settled)?;
        Ok(end)
    }

    /// Appends events that no replay knows: the first of a run that waits for its turn, the last of one that never got it.
    pub(crate) fn append_events(&mut self, at: Sequence, events: Vec<Event>) -> Result<()> {
        self.held_first = at;
        self.held = events;
        self.submit(None, false)
    }

    /// What a child's result depends on is what this run's does. `None`: that is not known.
    pub(crate) fn depends_on(&mut self, child: Option<Vec<Used>>) {
        self.child_uses = match (self.child_uses.take(), child) {
            (Some(mut uses), Some(child)) => crate::cache::merge(&mut uses, &child).then_some(uses),
            _ => None,
        };
    }

    /// All that the run used. `None`: its result is not to be cached.
    fn uses(&self, called: Option<&[Called]>) -> Option<Vec<Used>> {
        let mut uses = self.child_uses.clone()?;
        let called = called?.iter().map(|called| Used {
            name: called.name.to_string(),
            code: called.code,
            is_task: called.is_task,
        });
        let called: Vec<_> = called.collect();
        let is_one = crate::cache::merge(&mut uses, &called);
        (is_one && !uses.iter().any(Used::is_signal)).then_some(uses)
    }

    fn held_end(&self) -> Sequence {
        Sequence(self.held_first.0 + self.held.len() as u64)
    }

    /// Gives what is kept back to the committer.
    pub(crate) fn flush(&mut self, replay: &Replay) -> Result<()> {
        if self.held.is_empty() { Ok(()) } else { self.submit(replay.used(), true) }
    }

    /// As [`Appender::append`], and keeps nothing back.
    pub(crate) fn append_now(&mut self, replay: &mut Replay, settled: bool) -> Result<Sequence> {
        let end = self.append(replay, settled)?;
        self.flush(replay)?;
        Ok(end)
    }

    fn submit(&mut self, used: Option<&[Called]>, settled: bool) -> Result<()> {
        let run = self.plan.run;
        let (uses, is_last) = match self.held.last() {
            Some(Event::TaskCompleted(completed)) => (self.uses(used), completed.retry_at.is_none()),
            _ => (None, false),
        };
        let Some(writer) = &mut self.writer else {
            return Err(Error::new(ErrorKind::Corrupt, format!("run {run}: appended before its log was read")));
        };
        let (first, events) = (self.held_first, std::mem::take(&mut self.held));
        self.held_bytes = 0;
        let end = Sequence(first.0 + events.len() as u64);
        let (operations, spare) = Spare::of(std::mem::take(&mut self.spare));
        let mut write = match events.first() {
            Some(Event::TaskStarted(started)) => self.plan.beginning(started, first)?,
            _ => Write { preconditions: Vec::new(), operations },
        };
        if let Some(Event::TaskCompleted(completed)) = events.last() {
            write.operations.extend(self.plan.completion(completed, uses)?);
        }
        write.operations.append(&mut self.operations);
        let acknowledged = if self.settings.acknowledges {
            let numbered = (first.0..).zip(&events);
            numbered.map(|(at, event)| Acknowledged { run, sequence: Sequence(at), event: event.clone() }).collect()
        } else {
            Vec::new()
        };
        // The log's record goes last: its memory is what comes back.
        let bytes = writer.append_to(&mut write.operations, spare, first, events, settled)?;
        let now = self.settings.company.as_ref().and_then(|company| company.now());
        self.in_flight.push_back((end, bytes, now));
        self.in_flight_bytes += bytes;
        self.submitted = end;
        if !write.preconditions.is_empty() {
            self.refusable = Some(end);
        }
        let waiter = Waiter::run(Arc::clone(&self.mailbox), end.0, is_last);
        let sync = std::mem::take(&mut self.sync);
        self.settings.committer.submit(Submission { write, bytes, events: acknowledged, waiter, sync });
        Ok(())
    }

    /// Takes memory back, for the next batch.
    pub(crate) fn reuse(&mut self, spare: Vec<Operation>) {
        if self.spare.capacity() == 0 {
            self.spare = spare;
        }
    }

    /// Notes how much is durable by now.
    ///
    /// # Errors
    /// If a commit failed, or was refused.
    pub(crate) fn note(&mut self, durable: u64, failure: Option<&BatchFailure>) -> Result<()> {
        if let Some(failure) = failure {
            return Err(failure.error(self.plan.run));
        }
        self.durable = self.durable.max(Sequence(durable));
        self.refusable = self.refusable.filter(|end| *end > self.durable);
        while let Some((end, bytes, submitted)) = self.in_flight.front().copied()
            && end <= self.durable
        {
            self.in_flight_bytes -= bytes;
            self.in_flight.pop_front();
            if let (Some(company), Some(submitted)) = (&self.settings.company, submitted) {
                company.waited(submitted);
            }
        }
        Ok(())
    }

    /// Behind the last event that is known to be durable.
    pub(crate) fn durable(&self) -> Sequence {
        self.durable
    }

    /// Behind the last event that was given to the committer.
    pub(crate) fn submitted(&self) -> Sequence {
        self.submitted
    }

    /// Behind the last event that was appended.
    pub(crate) fn end(&self) -> Sequence {
        self.submitted.max(self.held_end())
    }

    /// Whether all that was appended is durable.
    pub(crate) fn is_durable(&self) -> bool {
        self.held.is_empty() && self.in_flight.is_empty()
    }

    /// Whether the disk has to catch up before more is written: so much is not durable yet, or the attempt's first write may
    /// be refused, and what stands behind it would then stand in another's log.
    pub(crate) fn is_ahead(&self, bytes_max: usize) -> bool {
        self.in_flight_bytes >= bytes_max || self.refusable.is_some()
    }
}
