//! Any event at all, for property tests.
//!
//! Invariant: every variant and every field is drawn; a field left at one value would be a field that is not tested.

use proptest::prelude::*;
use relive_engine::event::{
    Batch, Cause, ErrorRecord, Event, TaskCompleted, TaskOutcome, TaskStarted, TraceCompleted, TraceOutcome,
    TraceStarted,
};
use relive_engine::id::{CodeHash, Epoch, InputHash, Sequence, Timestamp};
use relive_engine::payload::Payload;

use crate::history::ERROR_KINDS;

pub(crate) fn batch() -> impl Strategy<Value = Batch> {
    let events = prop::collection::vec(event(), 1..8);
    (any::<u64>(), any::<u32>(), any::<bool>(), events).prop_map(|(first, epoch, settled, events)| Batch {
        first: Sequence(first),
        epoch: Epoch(epoch),
        settled,
        events,
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        task_started().prop_map(Event::TaskStarted),
        trace_started().prop_map(Event::TraceStarted),
        trace_completed().prop_map(Event::TraceCompleted),
        task_completed().prop_map(Event::TaskCompleted),
    ]
}

prop_compose! {
    fn task_started()(
        task in ".*", code in code(), input in payload(), attempt in any::<u32>(),
        cause in prop_oneof![Just(Cause::New), Just(Cause::Cached)],
        id in prop::option::of(".*"), at in moment(),
    ) -> TaskStarted {
        TaskStarted { task: task.into(), code, input, attempt, cause, id, at }
    }
}

prop_compose! {
    fn trace_started()(
        name in ".*", code in code(), hash in any::<[u8; 16]>(), occurrence in any::<u32>(), input in payload(),
        file in ".*", line in any::<u32>(), immediate in any::<bool>(), at in moment(),
    ) -> TraceStarted {
        let input_hash = InputHash::from_bytes(hash);
        TraceStarted { name: name.into(), code, input_hash, occurrence, input, file: file.into(), line, immediate, at }
    }
}

prop_compose! {
    fn trace_completed()(
        trace in any::<u64>(),
        outcome in prop_oneof![
            payload().prop_map(TraceOutcome::Ok),
            error().prop_map(TraceOutcome::Err),
            Just(TraceOutcome::Dropped),
        ],
        tries in any::<u32>(), started_at in moment(), duration_micros in any::<u64>(),
    ) -> TraceCompleted {
        TraceCompleted { trace: Sequence(trace), outcome, tries, started_at, duration_micros }
    }
}

prop_compose! {
    fn task_completed()(
        outcome in prop_oneof![
            payload().prop_map(TaskOutcome::Ok),
            error().prop_map(TaskOutcome::Err),
            Just(TaskOutcome::Cancelled),
        ],
        imposed in any::<bool>(), code in code(), at in moment(),
    ) -> TaskCompleted {
        TaskCompleted { outcome, imposed, code, at }
    }
}

prop_compose! {
    fn error()(
        kind in prop::sample::select(&ERROR_KINDS[..]), message in ".*",
        sources in prop::collection::vec(".*", 0..4), type_name in ".*",
    ) -> ErrorRecord {
        ErrorRecord { kind, message, sources, type_name: type_name.into() }
    }
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        any::<i64>().prop_map(|value| encoded(&value)),
        ".*".prop_map(|value| encoded(&value)),
        prop::collection::vec(any::<u8>(), 0..400).prop_map(|value| encoded(&value)),
        prop::collection::btree_map(".*", prop::option::of(any::<f64>()), 0..4).prop_map(|value| encoded(&value)),
    ]
}

fn encoded<T: serde::Serialize>(value: &T) -> Payload {
    Payload::encode(value).expect("plain data")
}

fn code() -> impl Strategy<Value = CodeHash> {
    any::<[u8; 16]>().prop_map(CodeHash::from_bytes)
}

fn moment() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp)
}
