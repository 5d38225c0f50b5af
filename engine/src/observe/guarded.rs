//! A recorder's handles, whose panics harm nobody: they are the program's code, called on the committer's thread and in runs.
//!
//! Used by `metrics` in place of the facade's own types and macros.
//!
//! Invariant: what a recorder does decides nothing; that it panicked is told by `tracing`, once for each process.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::panic::catch;

/// Calls the recorder. `None` if it panicked.
pub(super) fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    static TOLD: AtomicBool = AtomicBool::new(false);
    match catch(call) {
        Ok(done) => Some(done),
        Err(why) => {
            if !TOLD.swap(true, Ordering::Relaxed) {
                // A subscriber is the program's code, too.
                let _ = catch(|| tracing::error!(%why, "the metrics recorder panicked; what it was told is lost"));
            }
            None
        }
    }
}

/// A counter, or none if the recorder panicked when it was asked for one.
pub(crate) struct Counter(pub(super) Option<metrics::Counter>);

impl Counter {
    pub(crate) fn increment(&self, by: u64) {
        if let Some(counter) = &self.0 {
            guarded(|| counter.increment(by));
        }
    }
}

/// A gauge, or none if the recorder panicked when it was asked for one.
#[derive(Clone)]
pub(crate) struct Gauge(pub(super) Option<metrics::Gauge>);

impl Gauge {
    pub(crate) fn increment(&self, by: f64) {
        if let Some(gauge) = &self.0 {
            guarded(|| gauge.increment(by));
        }
    }

    pub(crate) fn decrement(&self, by: f64) {
        if let Some(gauge) = &self.0 {
            guarded(|| gauge.decrement(by));
        }
    }
}

/// A histogram, or none if the recorder panicked when it was asked for one.
pub(crate) struct Histogram(pub(super) Option<metrics::Histogram>);

impl Histogram {
    pub(crate) fn record(&self, value: impl metrics::IntoF64) {
        if let Some(histogram) = &self.0 {
            guarded(|| histogram.record(value));
        }
    }
}

/// Counted by a gauge for as long as it is held.
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn by(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

macro_rules! counter {
    ($($key:tt)*) => {
        $crate::observe::guarded::Counter($crate::observe::guarded::guarded(|| metrics::counter!($($key)*)))
    };
}

macro_rules! gauge {
    ($($key:tt)*) => {
        $crate::observe::guarded::Gauge($crate::observe::guarded::guarded(|| metrics::gauge!($($key)*)))
    };
}

macro_rules! histogram {
    ($($key:tt)*) => {
        $crate::observe::guarded::Histogram($crate::observe::guarded::guarded(|| metrics::histogram!($($key)*)))
    };
}

pub(super) use {counter, gauge, histogram};
