//! An event of a log as a line of JSON.

use relive_engine::event::{Cause, ErrorRecord, Event, TaskOutcome, TraceOutcome};
use relive_engine::id::{RunId, Timestamp};
use relive_engine::inspect::{Answered, LoggedEvent};
use relive_engine::value::Value;
use serde::Serialize;

use super::Tags;
use crate::text::snake;
use crate::time::rfc_3339;
use crate::words;

/// An event of a log.
#[derive(Serialize)]
pub(crate) struct EventLine<'a> {
    run: String,
    sequence: u64,
    epoch: u32,
    event: String,
    #[serde(flatten)]
    facts: Facts<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Facts<'a> {
    TaskStarted {
        at: String,
        task: &'a str,
        code: String,
        input: Value,
        attempt: u32,
        cause: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        rerun: Option<RerunObject<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        forked: Option<ForkedObject>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cached_from: Option<String>,
        id: Option<&'a str>,
        parent: Option<ParentObject>,
        tags: Tags<'a>,
    },
    TraceStarted {
        at: String,
        name: &'a str,
        code: String,
        input_hash: String,
        occurrence: u32,
        input: Value,
        file: &'a str,
        line: u32,
        form: &'static str,
        within: Option<u64>,
        child: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        answered: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        group: Option<&'a str>,
    },
    TraceRetried {
        trace: u64,
        name: Option<&'a str>,
        tries: u32,
        error: ErrorObject<'a>,
        due: String,
        started_at: String,
        duration_us: u64,
    },
    TraceYielded {
        trace: u64,
        name: Option<&'a str>,
        index: u64,
        item: Value,
        repeats: Option<u64>,
    },
    TraceCompleted {
        trace: u64,
        name: Option<&'a str>,
        #[serde(flatten)]
        outcome: OutcomeObject<'a>,
        tries: u32,
        started_at: String,
        duration_us: u64,
        repeats: Option<u64>,
    },
    SignalReceived {
        at: String,
        name: &'a str,
        value: Value,
    },
    TaskCompleted {
        at: String,
        #[serde(flatten)]
        outcome: OutcomeObject<'a>,
        imposed: bool,
        code: String,
        retry_at: Option<String>,
    },
    /// Of a version to come.
    Unknown {},
}

#[derive(Serialize)]
struct RerunObject<'a> {
    names: &'a [String],
    edited: bool,
}

#[derive(Serialize)]
struct ForkedObject {
    run: String,
    at: u64,
}

#[derive(Serialize)]
struct ParentObject {
    run: String,
    attempt: u32,
}

/// How a trace or a task ended.
#[derive(Serialize)]
pub(crate) struct OutcomeObject<'a> {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorObject<'a>>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    kind: String,
    message: &'a str,
    sources: &'a [String],
    type_name: &'a str,
    terminal: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
}

impl<'a> ErrorObject<'a> {
    fn of(error: &'a ErrorRecord) -> Self {
        let ErrorRecord { kind, message, sources, type_name, terminal, value } = error;
        let (kind, value) = (snake(&format!("{kind:?}")), value.as_ref().map(|value| value.to_value()));
        Self { kind, message, sources, type_name, terminal: *terminal, value }
    }
}

impl<'a> OutcomeObject<'a> {
    fn ok(output: Value) -> Self {
        Self { outcome: "ok", output: Some(output), error: None }
    }

    fn err(error: &'a ErrorRecord) -> Self {
        Self { outcome: "err", output: None, error: Some(ErrorObject::of(error)) }
    }

    fn other(outcome: &'static str) -> Self {
        Self { outcome, output: None, error: None }
    }

    pub(crate) fn of_trace(outcome: &'a TraceOutcome) -> Self {
        match outcome {
            TraceOutcome::Ok(output) => Self::ok(output.to_value()),
            TraceOutcome::Err(error) => Self::err(error),
            TraceOutcome::Dropped => Self::other("dropped"),
            _ => Self::other("other"),
        }
    }

    pub(crate) fn of_task(outcome: &'a TaskOutcome) -> Self {
        match outcome {
            TaskOutcome::Ok(output) => Self::ok(output.to_value()),
            TaskOutcome::Err(error) => Self::err(error),
            TaskOutcome::Cancelled => Self::other("cancelled"),
            _ => Self::other("other"),
        }
    }
}

impl<'a> EventLine<'a> {
    /// `name` is that of the trace, where the event itself does not say it; `answered`, which run answered for a child.
    pub(crate) fn of(run: RunId, logged: &'a LoggedEvent, name: Option<&'a str>, answered: Option<Answered>) -> Self {
        Self {
            run: run.to_string(),
            sequence: logged.sequence.0,
            epoch: logged.epoch.0,
            event: snake(logged.event.name()),
            facts: Facts::of(&logged.event, name, answered),
        }
    }
}

impl<'a> Facts<'a> {
    fn of(event: &'a Event, name: Option<&'a str>, answered: Option<Answered>) -> Self {
        let at = |at: Timestamp| rfc_3339(at);
        match event {
            Event::TaskStarted(started) => Self::TaskStarted {
                at: at(started.at),
                task: &started.task,
                code: started.code.to_string(),
                input: started.input.to_value(),
                attempt: started.attempt,
                cause: words::cause(&started.cause),
                rerun: match &started.cause {
                    Cause::Resumed(rerun) => Some(RerunObject { names: &rerun.names, edited: rerun.edited }),
                    _ => None,
                },
                forked: match &started.cause {
                    Cause::Forked { run, at } => Some(ForkedObject { run: run.to_string(), at: at.0 }),
                    _ => None,
                },
                cached_from: match &started.cause {
                    Cause::CachedFrom { run } => Some(run.to_string()),
                    _ => None,
                },
                id: started.id.as_deref(),
                parent: started
                    .parent
                    .map(|parent| ParentObject { run: parent.run.to_string(), attempt: parent.attempt }),
                tags: Tags(&started.tags),
            },
            Event::TraceStarted(started) => Self::TraceStarted {
                at: at(started.at),
                name: &started.name,
                code: started.code.to_string(),
                input_hash: started.input_hash.to_string(),
                occurrence: started.occurrence,
                input: started.input.to_value(),
                file: &started.file,
                line: started.line,
                form: words::form(started.form),
                within: started.within.map(|within| within.0),
                child: started.child.map(|child| child.to_string()),
                answered: answered.map(|by| if matches!(by, Answered::Joined(_)) { "joined" } else { "cached" }),
                from: match answered {
                    Some(Answered::Joined(run) | Answered::Cached(Some(run))) => Some(run.to_string()),
                    _ => None,
                },
                group: started.group.as_deref(),
            },
            Event::TraceRetried(retried) => Self::TraceRetried {
                trace: retried.trace.0,
                name,
                tries: retried.tries,
                error: ErrorObject::of(&retried.error),
                due: at(retried.due),
                started_at: at(retried.started_at),
                duration_us: retried.duration_micros,
            },
            Event::TraceYielded(yielded) => Self::TraceYielded {
                trace: yielded.trace.0,
                name,
                index: yielded.index,
                item: yielded.item.to_value(),
                repeats: yielded.repeats.map(|at| at.0),
            },
            Event::TraceCompleted(completed) => Self::TraceCompleted {
                trace: completed.trace.0,
                name,
                outcome: OutcomeObject::of_trace(&completed.outcome),
                tries: completed.tries,
                started_at: at(completed.started_at),
                duration_us: completed.duration_micros,
                repeats: completed.repeats.map(|at| at.0),
            },
            Event::SignalReceived(received) => {
                Self::SignalReceived { at: at(received.at), name: &received.name, value: received.value.to_value() }
            }
            Event::TaskCompleted(completed) => Self::TaskCompleted {
                at: at(completed.at),
                outcome: OutcomeObject::of_task(&completed.outcome),
                imposed: completed.imposed,
                code: completed.code.to_string(),
                retry_at: completed.retry_at.map(at),
            },
            _ => Self::Unknown {},
        }
    }
}
