//! Which recorded result is changed in a fork, and how it is written.
//!
//! Invariant: a name that several calls have names none of them.

use std::collections::BTreeMap;

use super::Substitute;
use crate::error::Result;
use crate::event::{Event, TraceForm, TraceOutcome};
use crate::id::Sequence;
use crate::payload::Encoding;

/// A trace that somebody named.
pub(super) struct Target {
    text: String,
    kind: Kind,
    /// Calls of the attempt that could be meant and have not ended: which of them it is.
    open: BTreeMap<Sequence, u64>,
    /// How many calls of the name there were in the attempt.
    calls: u64,
    /// Where those ended that could be meant.
    ended: Vec<Sequence>,
}

enum Kind {
    /// The position of a start or an end.
    At(Sequence),
    /// A name, and which call of it, from 1.
    Named(String, Option<u64>),
}

impl Target {
    pub(super) fn parse(text: &str) -> Self {
        let kind = match (text.parse(), text.rsplit_once('#')) {
            (Ok(at), _) => Kind::At(Sequence(at)),
            (_, Some((name, number))) if number.parse::<u64>().is_ok_and(|number| number > 0) => {
                Kind::Named(name.to_owned(), number.parse().ok())
            }
            _ => Kind::Named(text.to_owned(), None),
        };
        Self { text: text.to_owned(), kind, open: BTreeMap::new(), calls: 0, ended: Vec::new() }
    }

    /// Takes the next event of what is shared.
    pub(super) fn observe(&mut self, at: Sequence, event: &Event) {
        match event {
            // Only the last attempt counts: its part of a log replays by itself.
            Event::TaskStarted(_) => {
                self.open.clear();
                self.ended.clear();
                self.calls = 0;
            }
            // What a stream yields is not its outcome.
            Event::TraceStarted(started)
                if started.within.is_none() && matches!(started.form, TraceForm::Future | TraceForm::Inline) =>
            {
                let is_meant = match &self.kind {
                    Kind::At(_) => true,
                    Kind::Named(name, _) => *name == started.name,
                };
                if is_meant {
                    self.calls += 1;
                    self.open.insert(at, self.calls);
                }
            }
            Event::TraceCompleted(completed) => {
                let Some(number) = self.open.remove(&completed.trace) else { return };
                let is_meant = match &self.kind {
                    Kind::At(meant) => [at, completed.trace].contains(meant),
                    Kind::Named(_, meant) => meant.is_none_or(|meant| meant == number),
                };
                if is_meant && completed.outcome != TraceOutcome::Dropped {
                    self.ended.push(at);
                }
            }
            _ => {}
        }
    }

    /// The event whose outcome is changed; or why there is none.
    pub(super) fn found(&self) -> Result<Sequence, String> {
        let text = &self.text;
        match (&self.kind, self.ended.as_slice()) {
            (_, [only]) if self.calls == 1 || !matches!(self.kind, Kind::Named(_, None)) => Ok(*only),
            (_, []) => {
                Err(format!("no trace `{text}` of its last attempt (and no stream) has ended in what is shared"))
            }
            (Kind::Named(name, _), _) => {
                let calls = self.calls;
                Err(format!("{calls} traces are named `{text}` in what is shared: say which, as in `{name}#2`"))
            }
            (Kind::At(_), _) => Err(format!("`{text}` names two traces")),
        }
    }
}

/// Replaces the outcome of a trace. A value of a program's is written in the codec that the outcome was written in.
pub(super) fn replace(event: &mut Event, value: &Substitute, encoding: &Encoding) -> Result<()> {
    let Event::TraceCompleted(completed) = event else { return Ok(()) };
    let codec = match &completed.outcome {
        TraceOutcome::Ok(payload) => payload.codec(),
        _ => encoding.codec(),
    };
    let payload = value
        .recorded(codec, encoding)
        .map_err(|error| crate::error::payload_error("the new result cannot be written", &error))?;
    completed.outcome = TraceOutcome::Ok(payload);
    // It repeats nothing any more.
    completed.repeats = None;
    Ok(())
}
