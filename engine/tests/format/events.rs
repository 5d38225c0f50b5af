//! Any event at all, for property tests.
//!
//! Invariant: every variant and every field is drawn; a field left at one value would be a field that is not tested.

use proptest::prelude::*;
use relive_engine::event::{
    Batch, Cause, ErrorRecord, Event, Parent, Rerun, SignalReceived, TaskCompleted, TaskOutcome, TaskStarted,
    TraceCompleted, TraceForm, TraceOutcome, TraceRetried, TraceStarted, TraceYielded,
};
use relive_engine::id::{CodeHash, Epoch, InputHash, RunId, Sequence, Timestamp};
use relive_engine::payload::{Payload, PayloadCodec};

use crate::history::{ERROR_KINDS, FORMS};
use crate::recipe::{in_codec, sealed};

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
        trace_retried().prop_map(Event::TraceRetried),
        trace_yielded().prop_map(Event::TraceYielded),
        signal_received().prop_map(Event::SignalReceived),
    ]
}

prop_compose! {
    fn task_started()(
        task in ".*", code in code(), input in payload(), attempt in any::<u32>(), cause in cause(),
        id in prop::option::of(".*"), parent in prop::option::of(parent()),
        tags in prop::collection::vec((".*", ".*"), 0..3), at in moment(),
    ) -> TaskStarted {
        TaskStarted { task: task.into(), code, input, attempt, cause, id, parent, tags, at }
    }
}

fn cause() -> impl Strategy<Value = Cause> {
    let rerun = (prop::collection::vec(".*", 0..3), any::<bool>());
    prop_oneof![
        Just(Cause::New),
        Just(Cause::Cached),
        run().prop_map(|run| Cause::CachedFrom { run }),
        rerun.prop_map(|(names, edited)| Cause::Resumed(Rerun { names, edited })),
        Just(Cause::Retried),
        (run(), any::<u64>()).prop_map(|(run, at)| Cause::Forked { run, at: Sequence(at) }),
    ]
}

fn parent() -> impl Strategy<Value = Parent> {
    (run(), any::<u32>()).prop_map(|(run, attempt)| Parent { run, attempt })
}

prop_compose! {
    fn trace_started()(
        name in ".*", code in code(), hash in any::<[u8; 16]>(), occurrence in any::<u32>(), input in payload(),
        (file, line) in (".*", any::<u32>()), form in form(), within in prop::option::of(any::<u64>()),
        child in prop::option::of(run()), group in prop::option::of(".*"), at in moment(),
    ) -> TraceStarted {
        TraceStarted {
            name: name.into(),
            code,
            input_hash: InputHash::from_bytes(hash),
            occurrence,
            input,
            file: file.into(),
            line,
            form,
            within: within.map(Sequence),
            child,
            group,
            at,
        }
    }
}

fn form() -> impl Strategy<Value = TraceForm> {
    prop::sample::select(&FORMS[..])
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
        repeats in prop::option::of(any::<u64>()),
    ) -> TraceCompleted {
        let repeats = repeats.map(Sequence);
        TraceCompleted { trace: Sequence(trace), outcome, tries, started_at, duration_micros, repeats }
    }
}

prop_compose! {
    fn task_completed()(
        outcome in prop_oneof![
            payload().prop_map(TaskOutcome::Ok),
            error().prop_map(TaskOutcome::Err),
            Just(TaskOutcome::Cancelled),
        ],
        imposed in any::<bool>(), code in code(), retry_at in prop::option::of(moment()), at in moment(),
    ) -> TaskCompleted {
        TaskCompleted { outcome, imposed, code, retry_at, at }
    }
}

prop_compose! {
    fn trace_retried()(
        trace in any::<u64>(), tries in any::<u32>(), error in error(), due in moment(), started_at in moment(),
        duration_micros in any::<u64>(),
    ) -> TraceRetried {
        TraceRetried { trace: Sequence(trace), tries, error, due, started_at, duration_micros }
    }
}

prop_compose! {
    fn trace_yielded()(
        trace in any::<u64>(), index in any::<u64>(), item in payload(), repeats in prop::option::of(any::<u64>()),
    ) -> TraceYielded {
        TraceYielded { trace: Sequence(trace), index, item, repeats: repeats.map(Sequence) }
    }
}

prop_compose! {
    fn signal_received()(name in ".*", value in payload(), at in moment()) -> SignalReceived {
        SignalReceived { name, value, at }
    }
}

prop_compose! {
    fn error()(
        kind in prop::sample::select(&ERROR_KINDS[..]), message in ".*",
        sources in prop::collection::vec(".*", 0..4), type_name in ".*", terminal in any::<bool>(),
        value in prop::option::of(payload()),
    ) -> ErrorRecord {
        ErrorRecord { kind, message, sources, type_name: type_name.into(), terminal, value }
    }
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        any::<i64>().prop_map(|value| encoded(&value)),
        ".*".prop_map(|value| encoded(&value)),
        prop::collection::vec(any::<u8>(), 0..400).prop_map(|value| encoded(&value)),
        prop::collection::btree_map(".*", prop::option::of(any::<f64>()), 0..4).prop_map(|value| encoded(&value)),
        any::<u64>().prop_map(|value| in_codec(PayloadCodec::JSON, &value)),
        any::<i128>().prop_map(|value| in_codec(PayloadCodec::BINCODE, &value)),
        ".*".prop_map(|value| sealed(&value)),
    ]
}

fn run() -> impl Strategy<Value = RunId> {
    any::<[u8; 16]>().prop_map(RunId::from_bytes)
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
