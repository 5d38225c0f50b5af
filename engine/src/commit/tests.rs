//! What the committer counts, and what it tells where a recorder or a waker panics.

use std::sync::mpsc;

use metrics::{Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use relive_storage::{MemoryStore, Operation};

use super::*;
use crate::index::META;

/// Knows only the depth of the queue.
#[derive(Clone, Default)]
struct Depth(Arc<parking_lot::Mutex<f64>>);

impl GaugeFn for Depth {
    fn increment(&self, value: f64) {
        *self.0.lock() += value;
    }

    fn decrement(&self, value: f64) {
        *self.0.lock() -= value;
    }

    fn set(&self, value: f64) {
        *self.0.lock() = value;
    }
}

impl Recorder for Depth {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        if key.name().ends_with("queue_depth") { Gauge::from_arc(Arc::new(self.clone())) } else { Gauge::noop() }
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn submission(number: u8) -> (Submission, oneshot::Receiver<Result<Outcome>>) {
    let (sender, receiver) = oneshot::channel();
    let put = Operation::Put { keyspace: META, key: vec![number], value: vec![number] };
    let event = crate::event::Event::TraceYielded(crate::event::TraceYielded {
        trace: Sequence(1),
        index: 0,
        item: crate::payload::Payload::encode(&number).expect("a number is small"),
        repeats: None,
    });
    let acknowledged = Acknowledged { run: RunId::from_bytes([number; 16]), sequence: Sequence(0), event };
    let write = Write { preconditions: Vec::new(), operations: vec![put] };
    let submission =
        Submission { write, bytes: 1, events: vec![acknowledged], waiter: Waiter::Once(sender), sync: false };
    (submission, receiver)
}

#[test]
fn what_is_submitted_as_the_thread_ends_is_not_counted_for_ever() {
    let depth = Depth::default();
    let metrics =
        metrics::with_local_recorder(&depth, || Arc::new(Metrics::new(&crate::definition::Registry::default())));
    let (told, tells) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let goes_on = parking_lot::Mutex::new(goes_on);
    let listener: OnDurable = Arc::new(move |_| {
        told.send(()).unwrap();
        goes_on.lock().recv().unwrap();
    });
    let store = Arc::new(MemoryStore::new());
    let commits = Commits::new(store, Durability::Sync, Some(listener), metrics);
    let (committer, thread) = Committer::start(commits).unwrap();
    let (first, first_outcome) = submission(1);
    committer.submit(first);
    tells.recv().unwrap();
    // The thread is busy: it finds the end, and then what was sent too late.
    committer.close();
    let (second, second_outcome) = submission(2);
    committer.submit(second);
    assert_eq!(*depth.0.lock(), 1.0);
    go_on.send(()).unwrap();
    thread.join().unwrap();
    assert_eq!(first_outcome.blocking_recv().unwrap().unwrap(), Outcome::Applied);
    assert!(second_outcome.blocking_recv().is_err(), "it is told that nothing was written");
    assert_eq!(*depth.0.lock(), 0.0);
}
