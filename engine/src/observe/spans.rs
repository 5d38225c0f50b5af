//! Spans: `relive.run`, `relive.attempt`, `relive.trace`, `relive.try`, all at level info with the target `relive`.
//!
//! Made where a run, an attempt, a call or a try begins; entered around each poll of the user's code (`run/context`), so
//! that whatever is logged inside carries them.
//!
//! | span | fields |
//! |---|---|
//! | `relive.run` | `run`, `task`, `parent` (the run whose body called it), `id` (the caller's), `state` (once it has ended) |
//! | `relive.attempt` | `run`, `attempt`, `cause`, `state` |
//! | `relive.trace` | `run`, `trace` (the position of its start in the log; not of one that an effect called and that ended before), `name`, `occurrence`, `replayed`, `outcome`, `tries` |
//! | `relive.try` | `try` (counts from 1), `outcome` |
//!
//! A run's span is a root: runs that start each other would else be nested without end, and none be closed before the last. It
//! follows from the span that it was started in.
//!
//! Invariant: a trace's `replayed` is true exactly if its outcome was not found by an effect of this attempt in this process.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use tracing::field::Empty;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Span};

use crate::event::{Cause, TaskOutcome, TraceOutcome};
use crate::id::{RunId, Sequence};
use crate::run::{BoxedFuture, Output};

/// A run's part of its life in this process. `parent`: the run whose body called it.
pub(crate) fn run(run: RunId, task: &str, parent: impl FnOnce() -> Option<RunId>) -> Span {
    let span = tracing::info_span!(
        target: "relive", parent: None, "relive.run",
        %run, task, parent = Empty, id = Empty, state = Empty
    );
    if !span.is_disabled() {
        if let Some(parent) = parent() {
            span.record("parent", tracing::field::display(parent));
        }
        // Nothing, if it is started in no span.
        span.follows_from(Span::current());
    }
    span
}

/// An attempt: the body runs in it.
pub(crate) fn attempt(run: RunId, attempt: u32, cause: &Cause) -> Span {
    let cause = match cause {
        Cause::New => "new",
        Cause::Cached | Cause::CachedFrom { .. } => "cached",
        Cause::Resumed(_) => "resumed",
        Cause::Retried => "retried",
        Cause::Forked { .. } => "forked",
    };
    tracing::info_span!(target: "relive", "relive.attempt", %run, attempt, cause, state = Empty)
}

/// A call of a trace. Whether it is replayed is told once it is known.
pub(crate) fn trace(run: RunId, sequence: Option<Sequence>, name: &str, occurrence: u32) -> Span {
    tracing::info_span!(
        target: "relive", "relive.trace",
        %run, trace = sequence.map(|sequence| sequence.0), name, occurrence, replayed = Empty, outcome = Empty, tries = Empty
    )
}

/// One try of an effect, in the span of its trace.
pub(crate) fn attempted(number: u32) -> Span {
    tracing::info_span!(target: "relive", "relive.try", "try" = number, outcome = Empty)
}

/// Tells the caller's id of a run, once its log is read.
pub(crate) fn identify(id: Option<&str>) {
    if let Some(id) = id {
        let span = Span::current();
        // Where the run's own span is filtered out, this is somebody else's, which has no such field.
        if span.metadata().is_some_and(|metadata| metadata.name() == "relive.run") {
            span.record("id", id);
        }
    }
}

/// Tells how a run or an attempt ended.
pub(crate) fn ended(span: &Span, outcome: &TaskOutcome) {
    if !span.is_disabled() {
        span.record("state", super::metrics::state(outcome));
    }
}

/// A trace's effect begins: what it finds is new.
pub(crate) fn executes(span: Option<&Span>) {
    if let Some(span) = span.filter(|span| !span.is_disabled()) {
        span.record("replayed", false);
    }
}

/// A trace's outcome was recorded before.
pub(crate) fn replayed(span: Option<&Span>, outcome: &TraceOutcome) {
    if let Some(span) = span.filter(|span| !span.is_disabled()) {
        span.record("replayed", true);
        span.record("outcome", super::word(outcome));
    }
}

/// A trace's effect has ended, or was dropped.
pub(crate) fn completed(span: Option<&Span>, outcome: &TraceOutcome, tries: u32) {
    if let Some(span) = span.filter(|span| !span.is_disabled()) {
        span.record("outcome", super::word(outcome));
        span.record("tries", tries);
    }
}

/// A try has ended.
pub(crate) fn try_ended(span: &Span, output: &Output) {
    if !span.is_disabled() {
        span.record("outcome", if output.is_ok() { "ok" } else { "error" });
    }
}

/// An effect that is tried once, in the span of its try. Without a subscriber it is the effect itself.
pub(crate) fn only_try(effect: BoxedFuture) -> BoxedFuture {
    if LevelFilter::current() < Level::INFO { effect } else { Box::pin(OnlyTry { effect, span: None }) }
}

struct OnlyTry {
    effect: BoxedFuture,
    /// Made when the effect begins: a replayed trace has no try.
    span: Option<Span>,
}

impl Future for OnlyTry {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Output> {
        let this = &mut *self;
        let span = this.span.get_or_insert_with(|| attempted(1));
        let polled = span.in_scope(|| this.effect.as_mut().poll(cx));
        if let Poll::Ready(output) = &polled {
            try_ended(span, output);
        }
        polled
    }
}
