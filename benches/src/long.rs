//! Long finished runs replayed by a reader: events per second, and the most memory that takes, at three lengths.
//!
//! Each run is a chain of traces of distinct inputs. It is replayed in a process of its own (this program again), so that
//! what the writing left in memory does not count.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use relive::{
    Durability, Engine, Epoch, Event, Payload, PayloadError, RunId, Sequence, TaskCompleted, TaskOutcome, TaskStarted,
    TraceCompleted, TraceOutcome, TraceStarted, Verdict, task, trace,
};
use relive_engine::log::LogWriter;
use relive_engine::payload::redact::RedactionKey;
use relive_engine::payload::{Arguments, Encoding};
use relive_engine::schema::SCHEMA;
use relive_storage::{Operation, Read, RocksReader, RocksStore, Store as _, Write};

use crate::memory::Peak;
use crate::meter::now;
use crate::samples::Samples;
use crate::setting::{close, open, open_store};
use crate::{Bound, Failure, Figure, Setting};

/// The figures of each length: how fast, how much memory.
const KEYS: [(&str, &str); 3] = [
    ("replayer_short_events_per_s", "replayer_short_peak_mib"),
    ("replayer_long_events_per_s", "replayer_long_peak_mib"),
    ("replayer_longest_events_per_s", "replayer_longest_peak_mib"),
];

/// How often a run is replayed; the first time fills caches and does not count.
const ROUNDS: u32 = 3;

#[trace]
async fn knot(index: u32) -> relive::Result<u32> {
    Ok(index)
}

#[task(cache = "off")]
pub(crate) async fn rope(knots: u32) -> relive::Result<u64> {
    let mut sum = 0;
    for index in 0..knots {
        sum += u64::from(knot(index).await?);
    }
    Ok(sum)
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for (knots, (rate_key, memory_key)) in setting.sizes.long_traces.into_iter().zip(KEYS) {
        let scratch = setting.scratch()?;
        let path = scratch.path().join("relive");
        let run = setting.runtime()?.block_on(write(&path, knots))?;
        let output = Command::new(std::env::current_exe()?)
            .args(["--replay", &run.to_string()])
            .arg("--dir")
            .arg(&path)
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let text = String::from_utf8(output.stdout)?;
        let [events, rate, mib] = text.split_whitespace().map(str::parse::<f64>).collect::<Result<Vec<_>, _>>()?[..]
        else {
            return Err(format!("the process that replays said: {text}").into());
        };
        let rate = Figure::new(rate_key, format!("replay of a finished run of {events} events, per s"), rate);
        // What a short run takes is mostly its beginning.
        let rate = if events >= 100_000.0 { rate.bound(Bound::AtLeast(500_000.0)) } else { rate };
        let memory = Figure::new(memory_key, "  most resident memory, MiB", mib).bound(Bound::AtMost(200.0));
        figures.extend([rate, memory]);
    }
    Ok(figures)
}

/// Writes a store with a finished run of so many knots: one knot by an engine, and as many more of the same by hand, as an
/// engine writes them.
async fn write(path: &Path, knots: u32) -> Result<RunId, Failure> {
    let store = open_store(path)?;
    let engine = open(Engine::builder().durability(Durability::Buffered), &store).await?;
    let handle = engine.start(rope(1)).await?;
    let template = handle.id();
    handle.await?;
    let events =
        engine.events(template).map(|logged| logged.map(|logged| logged.event)).collect::<Result<Vec<_>, _>>()?;
    close(engine, &store).await?;
    let [Event::TaskStarted(task), Event::TraceStarted(call), Event::TraceCompleted(end), Event::TaskCompleted(ended)] =
        events.as_slice()
    else {
        return Err("a task with one trace has four events".into());
    };
    let arguments = |name: &str, value: u32| Arguments::of(&BTreeMap::from([(name, value)]), &Encoding::DEFAULT, &[]);
    let key = RedactionKey::from_bytes([0; 32]);
    let called = |index: u32| {
        let arguments = arguments("index", index)?;
        Ok::<_, PayloadError>(Event::TraceStarted(TraceStarted {
            input_hash: arguments.hash(&key),
            input: arguments.payload,
            ..call.clone()
        }))
    };
    let run = RunId::from_bytes([1; 16]);
    let mut writer = LogWriter::new(run, Epoch(1));
    let input = arguments("knots", knots)?.payload;
    let mut batch = vec![Event::TaskStarted(TaskStarted { input, ..task.clone() }), called(0)?];
    let (mut at, mut operations) = (0, Vec::new());
    for index in 0..knots {
        let trace = Sequence(at + batch.len() as u64 - 1);
        let (appended, _) = writer.append(Sequence(at), std::mem::take(&mut batch), true)?;
        at = trace.0 + 1;
        operations.extend(appended);
        let outcome = TraceOutcome::Ok(Payload::encode(&index)?);
        batch.push(Event::TraceCompleted(TraceCompleted { trace, outcome, ..end.clone() }));
        batch.push(match index + 1 {
            next if next < knots => called(next)?,
            _ => {
                let sum = (0..u64::from(knots)).sum::<u64>();
                Event::TaskCompleted(TaskCompleted {
                    outcome: TaskOutcome::Ok(Payload::encode(&sum)?),
                    ..ended.clone()
                })
            }
        });
        if operations.len() >= 1000 {
            commit(&store, std::mem::take(&mut operations))?;
        }
    }
    operations.extend(writer.append(Sequence(at), batch, true)?.0);
    commit(&store, operations)?;
    Ok(run)
}

fn commit(store: &RocksStore, operations: Vec<Operation>) -> Result<(), Failure> {
    let write = Write { preconditions: Vec::new(), operations };
    store.commit(&[write], Durability::Buffered).map_err(|failed| failed.error)?;
    Ok(())
}

/// The process that replays: tells how many events, how many per second, and the most memory, MiB.
///
/// # Errors
/// If the run cannot be replayed, or does not fit.
pub fn replay(directory: &Path, run: RunId) -> Result<String, Failure> {
    let peak = Peak::watch()?;
    let store: Arc<dyn Read> = Arc::new(RocksReader::open(directory, SCHEMA.format)?);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (mut rates, mut event_count) = (Samples::default(), 0);
    runtime.block_on(async {
        let replayer = Engine::builder().strict(false).replay_store(store)?;
        for round in 0..=ROUNDS {
            let began = now();
            let replayed = replayer.replay(run).await?;
            let seconds = began.elapsed().as_secs_f64();
            event_count = replayed.event_count;
            if !matches!(replayed.verdict, Verdict::Same(_)) {
                return Err("the code does not fit the run".into());
            }
            if round > 0 {
                rates.push(event_count as f64 / seconds);
            }
        }
        Ok::<_, Failure>(())
    })?;
    Ok(format!("{event_count} {} {}", rates.median(), peak.mib()?))
}
