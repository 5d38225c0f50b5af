//! Iterators that are traces: each item is recorded and handed on within the step that asks for it.
//!
//! Invariants: on replay items come from the log, a record at a time; the function is called when the log holds no more, and
//! goes on from there; memory does not grow with the number of items.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll, Waker};

use crate::definition::TraceDefinition;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{ErrorRecord, Event, TraceCompleted, TraceForm, TraceOutcome, TraceYielded};
use crate::id::Sequence;
use crate::log::LogReader;
use crate::panic::drop_quietly;
use crate::payload::Payload;
use crate::replay::{Answer, HandedOn, Hit, Started, digest};

use super::context::{self, Context, EffectContext};
use super::effect;
use super::inline::{
    InlineCall, barrier, begin, context_of, leave, lost, may_go_on, needs_barrier, outside, read_more, recordable,
};
use super::interpose;
use super::shared::{Output, RunShared, RunState};
use super::source::{MakeSource, Source, Sourced};

/// Items are appended when there are so many bytes of them: 64 KiB.
const APPEND_BYTES: usize = 64 << 10;

/// How far a step of items may be ahead of the disk: 1 MiB.
const AHEAD_BYTES_MAX: usize = 1 << 20;

/// A call of an iterator in a body.
pub struct IteratorCall(State);

enum State {
    Inert(Option<(InlineCall, MakeSource)>),
    Open(Box<Open>),
    /// A plain call outside a task, or in an effect.
    Plain(Box<Source>),
    Done,
}

struct Open {
    shared: Arc<RunShared>,
    definition: &'static TraceDefinition,
    sequence: Sequence,
    started: Started,
    make: Option<MakeSource>,
    /// For who stands between the call and the function.
    input: Option<Payload>,
    source: Option<(Source, Arc<EffectContext>)>,
    /// What was handed on before the source was called.
    handed_on: HandedOn,
    index: u64,
    /// Where an earlier attempt's items are read from.
    remembered: Option<Remembered>,
    pending_bytes: usize,
}

/// An earlier attempt's items.
struct Remembered {
    cursor: LogCursor,
    trace: Sequence,
}

impl IteratorCall {
    /// An inert call.
    pub fn new(call: InlineCall, make: MakeSource) -> Self {
        Self(State::Inert(Some((call, make))))
    }

    /// The next item, or the error that ended it; `None` at the end.
    ///
    /// # Errors
    /// The outer error is the engine's own and is not recorded: the call is outside a task, or cannot be recorded.
    ///
    /// # Panics
    /// Unwinds out of the body, without a message, if the body must not go on.
    pub fn next_item(&mut self) -> Option<Result<Output>> {
        if let State::Inert(call) = &mut self.0 {
            let (call, make) = call.take()?;
            match Self::open(call, make) {
                Ok(state) => self.0 = state,
                Err(error) => {
                    self.0 = State::Done;
                    return Some(Err(error));
                }
            }
        }
        let item = match &mut self.0 {
            State::Open(open) => open.next(),
            State::Plain(source) => plain(source),
            State::Inert(_) | State::Done => None,
        };
        if !matches!(item, Some(Ok(_))) {
            // Ended: nothing is to be said of it when it is dropped.
            self.done();
        }
        item.map(Ok)
    }

    /// Drops what is left of the call: no code of the body's, whatever it does.
    fn done(&mut self) {
        match std::mem::replace(&mut self.0, State::Done) {
            State::Open(mut open) => {
                let _left = context::leave();
                if let Some((source, context)) = open.source.take() {
                    let _entered = context::enter(Context::Effect(context));
                    drop_quietly(source);
                }
                drop_quietly(open.make.take());
            }
            // A call that was never begun.
            State::Inert(call) => drop_quietly(call),
            State::Plain(_) | State::Done => {}
        }
    }

    fn open(call: InlineCall, make: MakeSource) -> Result<State> {
        let InlineCall { definition, arguments, file, line } = call;
        let plain = |make| Box::new(Source::open(definition.name, make, HandedOn::default(), true));
        let shared = match context::current() {
            Some(Context::Body(shared)) => shared,
            Some(Context::Effect(outer)) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "{file}:{line}: iterator {} is called inside trace {}: its items are recorded in a task's body \
                         only: call it there, or call an untraced function here",
                        definition.name, outer.name
                    ),
                ));
            }
            None if definition.outside_call => return Ok(State::Plain(plain(make))),
            None => return Err(outside(definition, file, line)),
        };
        let arguments = recordable(definition, arguments)?;
        let input = interpose::input(&shared.environment, &arguments.payload);
        let mut state = shared.state.lock();
        let started = begin(&shared, &mut state, definition, arguments, (file, line), TraceForm::Iterator);
        let Some(sequence) = started.sequence else { leave(state) };
        drop(state);
        Ok(State::Open(Box::new(Open {
            shared,
            definition,
            sequence,
            started,
            make: Some(make),
            input,
            source: None,
            handed_on: HandedOn::default(),
            index: 0,
            remembered: None,
            pending_bytes: 0,
        })))
    }
}

fn plain(source: &mut Source) -> Option<Output> {
    match poll(source) {
        Sourced::Item(item) => Some(Ok(item)),
        Sourced::End(Ok(_)) => None,
        Sourced::End(Err(record)) => Some(Err(record)),
    }
}

fn poll(source: &mut Source) -> Sourced {
    let mut cx = TaskContext::from_waker(Waker::noop());
    for _ in 0..u32::MAX {
        // An iterator never waits; the source gives the thread back while it skips.
        if let Poll::Ready(sourced) = source.poll(&mut cx) {
            return sourced;
        }
    }
    Sourced::End(Err(ErrorRecord::new(ErrorKind::Unsupported, "an iterator waits")))
}

impl Open {
    fn next(&mut self) -> Option<Output> {
        if self.source.is_none() {
            if let Some(answer) = self.recorded() {
                return answer;
            }
            if let Some(answer) = self.recall() {
                return answer;
            }
            self.begin();
        }
        let Some((source, context)) = &mut self.source else { return None };
        let sourced = {
            let _entered = context::enter(Context::Effect(Arc::clone(context)));
            let _runtime = self.shared.environment.runtime.enter();
            effect::unpanicked(self.definition.name, || poll(source)).unwrap_or_else(|record| Sourced::End(Err(record)))
        };
        match sourced {
            Sourced::Item(item) => {
                self.hand_on(item.clone(), None);
                Some(Ok(item))
            }
            // What it found may be that the store failed, which the body must not be told.
            Sourced::End(Err(_)) if self.shared.mailbox.is_over() => lost(&self.shared, self.shared.state.lock()),
            Sourced::End(output) => {
                self.end(&output, None);
                output.err().map(Err)
            }
        }
    }

    /// What the log holds of this attempt. `None`: nothing more. Else what the body gets.
    fn recorded(&mut self) -> Option<Option<Output>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        loop {
            match state.replay.answer(self.sequence) {
                Ok(None) => return None,
                Ok(Some(Answer::Item(item))) => {
                    digest(&mut self.handed_on.digest, &item);
                    self.handed_on.count += 1;
                    self.index += 1;
                    return Some(Some(Ok(item)));
                }
                Ok(Some(Answer::End(outcome))) => {
                    drop(state);
                    self.replayed(&outcome);
                    return Some(match outcome {
                        TraceOutcome::Ok(_) => None,
                        TraceOutcome::Err(record) => Some(Err(record)),
                        TraceOutcome::Dropped => leave(shared.state.lock()),
                    });
                }
                Err(_) => {
                    if !read_more(&shared, &mut state) {
                        leave(state);
                    }
                }
            }
        }
    }

    /// What an earlier attempt handed on. `None`: nothing more. Else what the body gets.
    fn recall(&mut self) -> Option<Option<Output>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        if self.started.hit.is_some() {
            // Behind what the log holds of a step that is complete, there is nothing to hand on.
            state = may_go_on(&shared, state);
        }
        let event = match self.started.hit {
            Some(Hit::Outcome(at)) => shared.event_at(at).map(|event| Some((at, event))),
            Some(Hit::Items { start, first }) => self.remembered_event(start, first),
            Some(Hit::Began) | None => Ok(None),
        };
        match event {
            Err(error) => {
                state.fatal.get_or_insert(error);
                leave(state)
            }
            Ok(Some((at, Event::TraceYielded(yielded)))) => {
                drop(state);
                digest(&mut self.handed_on.digest, &yielded.item);
                self.handed_on.count += 1;
                self.hand_on(yielded.item.clone(), Some(at));
                Some(Some(Ok(yielded.item)))
            }
            Ok(Some((at, Event::TraceCompleted(completed)))) => {
                drop(state);
                let output = match completed.outcome {
                    TraceOutcome::Ok(payload) => Ok(payload),
                    TraceOutcome::Err(record) => Err(record),
                    // It was interrupted there: the source goes on.
                    TraceOutcome::Dropped => return None,
                };
                self.end(&output, Some(at));
                Some(output.err().map(Err))
            }
            Ok(_) => None,
        }
    }

    fn remembered_event(&mut self, start: Sequence, first: Sequence) -> Result<Option<(Sequence, Event)>> {
        if self.remembered.is_none() {
            // What this attempt repeated already is in its own log.
            let cursor = LogCursor::new(LogReader::starting_at(self.shared.store()?, self.shared.run, first)?, first);
            self.remembered = Some(Remembered { cursor, trace: start });
            for _ in 0..self.index {
                self.next_remembered()?;
            }
        }
        self.next_remembered()
    }

    fn next_remembered(&mut self) -> Result<Option<(Sequence, Event)>> {
        match &mut self.remembered {
            Some(remembered) => remembered.cursor.next_of(remembered.trace),
            None => Ok(None),
        }
    }

    /// Calls the function, for the first time in this life of the process.
    fn begin(&mut self) {
        let shared = Arc::clone(&self.shared);
        let state = shared.state.lock();
        let state = if needs_barrier(&shared, self.definition) {
            barrier(&shared, state, self.definition, &self.started)
        } else {
            state
        };
        drop(state);
        // It may take long; what is over ends after it.
        shared.decides();
        self.pending_bytes = 0;
        let context = context_of(&shared, self.definition, self.sequence, &self.started);
        let Some(make) = self.make.take() else { return };
        let make = interpose::source(&context, self.definition, self.input.take(), make);
        context.effect_begins();
        let handed_on = std::mem::take(&mut self.handed_on);
        let resumes = self.definition.policy.resumes;
        let name = self.definition.name;
        let source = {
            let _entered = context::enter(Context::Effect(Arc::clone(&context)));
            effect::unpanicked(name, || Source::open(name, make, handed_on, resumes))
        };
        match source {
            Ok(source) => self.source = Some((source, context)),
            Err(record) => {
                let make: MakeSource = Box::new(move |_, _| Box::pin(std::future::ready(Err(record))));
                self.source = Some((Source::open(name, make, HandedOn::default(), true), context));
            }
        }
    }

    fn hand_on(&mut self, item: Payload, repeats: Option<Sequence>) {
        self.pending_bytes += item.bytes().len() + 48;
        let yielded = TraceYielded { trace: self.sequence, index: self.index, item, repeats };
        self.index += 1;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        state.replay.yielded_at_once(yielded);
        if self.pending_bytes < APPEND_BYTES {
            return;
        }
        self.pending_bytes = 0;
        let RunState { replay, appender, .. } = &mut *state;
        let appended = appender.append_now(replay, false);
        let received = shared.mailbox.look(Waker::noop());
        let noted = appender.note(received.durable, received.failure.as_ref());
        let is_ahead = appender.is_ahead(AHEAD_BYTES_MAX);
        match appended.and_then(|end| noted.map(|()| end)) {
            Ok(end) if is_ahead => {
                drop(state);
                if !shared.mailbox.block_until(end.0) {
                    let mut state = shared.state.lock();
                    state.fatal.get_or_insert_with(|| super::drive::closed(shared.run));
                    leave(state);
                }
                let _ = shared.state.lock().appender.note(end.0, None);
            }
            Ok(_) => {}
            Err(error) => {
                state.fatal.get_or_insert(error);
                leave(state)
            }
        }
    }

    fn end(&mut self, output: &Output, repeats: Option<Sequence>) {
        let at = self.shared.environment.clock.now();
        let outcome = match output {
            Ok(payload) => TraceOutcome::Ok(payload.clone()),
            Err(record) => TraceOutcome::Err(record.clone()),
        };
        let completed = self.completed(outcome, at, repeats);
        match &self.source {
            Some((_, context)) => context.effect_ended(&completed.outcome, completed.tries, None),
            None => self.replayed(&completed.outcome),
        }
        self.shared.state.lock().replay.completed_at_once(completed);
    }

    fn replayed(&self, outcome: &TraceOutcome) {
        super::inline::replayed(&self.shared, self.definition, Some(self.sequence), self.started.occurrence, outcome);
    }

    fn completed(
        &self,
        outcome: TraceOutcome,
        started_at: crate::id::Timestamp,
        repeats: Option<Sequence>,
    ) -> TraceCompleted {
        TraceCompleted {
            trace: self.sequence,
            outcome,
            tries: u32::from(self.source.is_some()),
            started_at,
            duration_micros: 0,
            repeats,
        }
    }
}

impl Drop for IteratorCall {
    fn drop(&mut self) {
        self.abandon();
        self.done();
    }
}

impl IteratorCall {
    /// Tells the log that the body dropped it, if it has not ended.
    fn abandon(&self) {
        let State::Open(open) = &self.0 else { return };
        let shared = Arc::clone(&open.shared);
        if shared.closing.load(Ordering::Relaxed) || !context::is_body_of(shared.run) {
            return;
        }
        let at = shared.environment.clock.now();
        if let Some((_, context)) = &open.source {
            context.effect_ended(&TraceOutcome::Dropped, 1, None);
        }
        let mut state = shared.state.lock();
        loop {
            let completed = |_| open.completed(TraceOutcome::Dropped, at, None);
            match state.replay.abandon_inline(open.sequence, completed) {
                Ok(()) => return,
                Err(_) => {
                    if !read_more(&shared, &mut state) {
                        return;
                    }
                }
            }
        }
    }
}

/// Reads a log event by event.
pub(crate) struct LogCursor {
    reader: LogReader,
    at: Sequence,
    batch: std::vec::IntoIter<Event>,
    from: Sequence,
}

impl LogCursor {
    /// From this event on; the reader is at its record.
    pub(crate) fn new(reader: LogReader, from: Sequence) -> Self {
        Self { at: reader.position(), reader, batch: Vec::new().into_iter(), from }
    }

    /// The next item or the end of a stream or iterator; `None` when its attempt is over.
    pub(crate) fn next_of(&mut self, trace: Sequence) -> Result<Option<(Sequence, Event)>> {
        loop {
            let Some(event) = self.batch.next() else {
                let Some(batch) = self.reader.next_batch()? else { return Ok(None) };
                self.at = batch.first;
                self.batch = batch.events.into_iter();
                continue;
            };
            let at = self.at;
            self.at.0 += 1;
            if at < self.from {
                continue;
            }
            match &event {
                Event::TraceYielded(yielded) if yielded.trace == trace => return Ok(Some((at, event))),
                Event::TraceCompleted(completed) if completed.trace == trace => {
                    let dropped = completed.outcome == TraceOutcome::Dropped;
                    return Ok((!dropped).then_some((at, event)));
                }
                Event::TaskStarted(_) | Event::TaskCompleted(_) => return Ok(None),
                _ => {}
            }
        }
    }
}
