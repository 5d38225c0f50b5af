//! Deletes runs in the background when their time is over: a task of its own, if a task or the engine says how long runs are
//! kept.
//!
//! Spawned by `execute` when the engine opens; each slice of the work (`pass`) is done on a thread that may block.
//!
//! Invariant: what goes wrong is told, and stops nothing else; a shutdown waits for no more than what has begun.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use tokio::sync::{Notify, mpsc};

use super::pass::Pass;
use crate::engine::Inner;
use crate::error::{ErrorKind, Result};
use crate::options::Options;

/// What an engine holds of it.
#[derive(Default)]
pub(crate) struct Retaining {
    /// Held by the one who deletes runs.
    pub(crate) alone: Arc<tokio::sync::Mutex<()>>,
    /// Somebody has asked for runs to be deleted since this was looked at.
    pub(crate) asked: AtomicBool,
    /// Told once, when the engine closes.
    pub(crate) closed: Arc<Notify>,
}

/// What there is to do while an engine is open.
pub(crate) struct Duty(Pass);

impl Duty {
    /// `None` if there is nothing to do: everything is kept, or this engine is only opened for something else, or it is a
    /// test's, whose time flows when nobody does anything.
    ///
    /// # Errors
    /// If a task or the engine is to keep more by number than can be counted.
    pub(crate) fn of(registry: &crate::definition::Registry, options: &Options) -> Result<Option<Self>> {
        let pass = Pass::new(registry, options.keep, options.clock.as_ref())?;
        Ok(pass.filter(|_| options.takes_up && options.interposer.is_none()).map(Self))
    }
}

/// Does it, until the engine closes.
pub(crate) async fn keep(inner: Weak<Inner>, duty: Duty, _alive: mpsc::Sender<()>) {
    let mut pass = duty.0;
    loop {
        let Some(engine) = inner.upgrade() else { return };
        let slice = |inner: &Arc<Inner>| {
            let more = pass.slice(inner);
            Ok((pass, more))
        };
        let sliced = crate::cache::evict::alone(&engine, &engine.retaining.alone, slice).await;
        let more;
        (pass, more) = match sliced {
            Ok(sliced) => sliced,
            Err(error) if error.kind() == ErrorKind::Closed => return,
            Err(error) => {
                tracing::error!(%error, "runs whose time is over are not deleted any more until the engine is opened again");
                engine.environment.metrics.retention_errors.increment(1);
                return;
            }
        };
        match more {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) if error.kind() == ErrorKind::Closed => return,
            Err(error) => {
                tracing::warn!(%error, "runs whose time is over could not be deleted: it is tried again");
                engine.environment.metrics.retention_errors.increment(1);
            }
        }
        let (clock, closed) = (Arc::clone(&engine.environment.clock), Arc::clone(&engine.retaining.closed));
        drop(engine);
        let due = clock.elapsed() + pass.every();
        tokio::select! {
            biased;
            () = closed.notified() => return,
            () = clock.sleep_until(due) => {}
        }
    }
}
