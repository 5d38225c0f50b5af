//! Programs made by hand for the cache's tests: tasks of any code, version and settings, one after the other on one store.
//!
//! A definition here is what the macro would expand to; so two of one name, as before and after an edit, fit into one
//! binary.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use relive::__private::{CacheMode, CachePolicy, TaskMeta, TaskPolicy, TraceEntry, TraceMeta, TracePolicy};
use relive::{Error, ErrorKind, Explanation, Timestamp, trace};
use relive_engine::cache::Cache;
use relive_engine::canonical::{canonical, canonical_without};
use relive_engine::clock::Clock;
use relive_engine::definition::Registry;
use relive_engine::engine::{Engine, Request};
use relive_engine::event::TaskOutcome;
use relive_engine::handle::Handle;
use relive_engine::id::CodeHash;
use relive_engine::options::Options;
use relive_engine::payload::Payload;
use relive_storage::{MemoryStore, Store};
use serde::{Deserialize, Serialize};

use super::support::{Probe, guard};

/// Counts its effects by label; waits at the label's gate if it begins with `held`, and fails if with `fails`.
#[trace(name = "kit.work")]
async fn work(label: String) -> relive::Result<usize> {
    let probe = Probe::here()?;
    if label.starts_with("held") {
        probe.hold(&label).await;
    } else {
        probe.begin(&label);
    }
    if label.starts_with("fails") { Err(Error::msg("the work failed")) } else { Ok(probe.count(&label)) }
}

/// The trace after it: does nothing.
#[trace(name = "kit.rest")]
async fn rest() -> relive::Result<()> {
    Ok(())
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Input {
    pub(crate) label: String,
    pub(crate) verbose: bool,
}

/// A task that does its label's work and returns how often that was done.
pub(crate) fn task(name: &'static str, code: u8, cache: CachePolicy) -> &'static TaskMeta {
    Box::leak(Box::new(TaskMeta {
        name,
        code: CodeHash::from_bytes([code; 16]),
        file: file!(),
        line: line!(),
        module: module_path!(),
        cache,
        policy: TaskPolicy::DEFAULT,
        canonical: |payload, without| canonical_without(&payload.decode::<Input>()?, without),
        body: |payload| {
            relive::__private::task_body(payload, |input: Input| async move {
                let found = async {
                    let count = work(input.label).await?;
                    rest().await?;
                    Ok::<_, Error>(count)
                };
                found.await.map_err(|error| error.to_record())
            })
        },
    }))
}

/// A trace of this name with other code than it has in this binary.
pub(crate) fn edited(name: &'static str) -> &'static TraceMeta {
    Box::leak(Box::new(TraceMeta {
        name,
        code: CodeHash::from_bytes([0xed; 16]),
        file: file!(),
        line: line!(),
        module: module_path!(),
        outside_call: false,
        policy: TracePolicy::DEFAULT,
    }))
}

pub(crate) const AUTO: CachePolicy = CachePolicy::DEFAULT;

pub(crate) const fn version(version: &'static str) -> CachePolicy {
    CachePolicy { mode: CacheMode::Version(version), ..AUTO }
}

/// A clock that the test turns. It starts at 2026-01-02 03:04:05 UTC.
#[derive(Clone)]
pub(crate) struct Watch(Arc<AtomicI64>);

impl Default for Watch {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(1_767_323_045_000_000)))
    }
}

impl Watch {
    pub(crate) fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_micros() as i64, Ordering::SeqCst);
    }
}

impl Clock for Watch {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst) as u64)
    }
}

/// What the lives of a program have in common, and what is different in this one.
#[derive(Clone, Default)]
pub(crate) struct Program {
    pub(crate) store: MemoryStore,
    pub(crate) probe: Probe,
    pub(crate) watch: Watch,
    pub(crate) tasks: Vec<&'static TaskMeta>,
    /// Traces that are other than in this binary.
    pub(crate) edited: Vec<&'static TraceMeta>,
    /// Names of traces that it does not have.
    pub(crate) removed: Vec<&'static str>,
    pub(crate) bytes_max: Option<u64>,
    pub(crate) collides: bool,
}

impl Program {
    pub(crate) fn of(task: &'static TaskMeta) -> Self {
        Self { tasks: vec![task], ..Self::default() }
    }

    /// The same with another task in place of its first.
    pub(crate) fn with(&self, task: &'static TaskMeta) -> Self {
        Self { tasks: vec![task], ..self.clone() }
    }

    /// The same on a copy of the store: what another process finds that opens it now.
    pub(crate) fn crashed(&self) -> Self {
        Self { store: self.store.copy(), ..self.clone() }
    }

    pub(crate) async fn open(&self) -> Life {
        let mut options = Options::default();
        options.clock = Arc::new(self.watch.clone());
        options.provide(Arc::new(self.probe.clone()));
        options.cache_bytes_max = self.bytes_max.unwrap_or(options.cache_bytes_max);
        if self.collides {
            options.input_hasher = |_| [7; 32];
        }
        let other = |name: &str| self.edited.iter().any(|trace| trace.name == name) || self.removed.contains(&name);
        let linked = relive::__private::inventory::iter::<TraceEntry>().map(|entry| entry.0);
        let traces = linked.filter(|trace| !other(trace.name)).chain(self.edited.iter().copied());
        let registry = Registry::new(self.tasks.iter().copied(), traces).expect("names are distinct");
        let store = Arc::new(self.store.clone()) as Arc<dyn Store>;
        let engine = Engine::open(store, registry, options).await.expect("opens");
        Life { engine, task: self.tasks[0] }
    }
}

/// An engine, and the task that is called.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) engine: Engine,
    task: &'static TaskMeta,
}

impl Life {
    pub(crate) fn request(&self, label: &str, verbose: bool) -> Request {
        request(self.task, label, verbose)
    }

    pub(crate) fn cache(&self) -> Cache {
        self.engine.cache()
    }

    /// What a call returns: how often its work was done.
    pub(crate) async fn call(&self, label: &str) -> usize {
        self.run(self.request(label, false)).await.expect("succeeds")
    }

    pub(crate) async fn refresh(&self, label: &str) -> usize {
        self.run(Request { refresh: true, ..self.request(label, false) }).await.expect("succeeds")
    }

    pub(crate) async fn start(&self, request: Request) -> Handle {
        self.engine.start(request).await.expect("starts")
    }

    pub(crate) async fn run(&self, request: Request) -> relive::Result<usize> {
        value(self.engine.start(request).await?).await
    }

    /// Why a call would miss, or what else would become of it.
    pub(crate) fn explain(&self, label: &str) -> Explanation {
        self.cache().explain(&self.request(label, false)).expect("can be explained")
    }

    /// The labels of the cached calls, in order.
    pub(crate) fn labels(&self) -> Vec<String> {
        let label = |entry: relive::Result<relive::Entry>| match entry.expect("readable").input.get("label") {
            Some(relive::Value::Text(label)) => label.clone(),
            other => panic!("no label: {other:?}"),
        };
        let mut labels: Vec<_> = self.cache().list().map(label).collect();
        labels.sort();
        labels
    }
}

/// What a run returns.
pub(crate) async fn value(handle: Handle) -> relive::Result<usize> {
    match &*guard(handle.outcome()).await? {
        TaskOutcome::Ok(payload) => Ok(payload.decode().expect("a number")),
        TaskOutcome::Err(record) => Err(record.to_error()),
        _ => Err(Error::new(ErrorKind::Cancelled, "cancelled")),
    }
}

pub(crate) fn request(task: &'static TaskMeta, label: &str, verbose: bool) -> Request {
    let input = Input { label: label.to_owned(), verbose };
    Request {
        definition: task,
        input: Payload::encode(&input).expect("plain data"),
        canonical: Bytes::from(canonical(&input).expect("plain data")),
        id: None,
        tags: Vec::new(),
        child: None,
        refresh: false,
        cached: false,
        readable: |payload| payload.decode::<usize>().is_ok(),
    }
}
