//! How much memory this process holds while something is measured.
//!
//! Invariant: what is told is the largest of many readings, so a short peak between two may be missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::Failure;
use crate::meter::pass_blocking;

/// Between two readings: 5 ms.
const INTERVAL: Duration = Duration::from_millis(5);

/// Reads the resident memory again and again until it is asked.
pub(crate) struct Peak {
    stop: Arc<AtomicBool>,
    largest: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Peak {
    /// Begins to read.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let (stop, largest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(resident_kib()?)));
        let thread = std::thread::spawn({
            let (stop, largest) = (Arc::clone(&stop), Arc::clone(&largest));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(kib) = resident_kib() {
                        largest.fetch_max(kib, Ordering::Relaxed);
                    }
                    pass_blocking(INTERVAL);
                }
            }
        });
        Ok(Self { stop, largest, thread })
    }

    /// The largest reading, MiB.
    pub(crate) fn mib(self) -> Result<f64, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the thread that reads the memory panicked")?;
        Ok(self.largest.load(Ordering::Relaxed) as f64 / 1024.0)
    }
}

/// What of this process is in memory now, MiB.
pub(crate) fn resident_mib() -> Result<f64, Failure> {
    Ok(resident_kib()? as f64 / 1024.0)
}

/// What of this process is in memory, KiB.
fn resident_kib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| format!("the memory of this process cannot be read: /proc/self/status: {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok());
    kib.ok_or_else(|| "the memory of this process cannot be read: /proc/self/status has no VmRSS".into())
}
