//! Forks: a new run that shares another's log up to an event, and goes its own way from there.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;

use relive_engine::engine;
use relive_engine::error::{Error, ErrorKind, Result};
use relive_engine::fork::{self, Set, Substitute};
use relive_engine::id::{RunId, Sequence};
use relive_engine::payload::{Payload, PayloadError};
use relive_engine::value::Value;
use serde::Serialize;

use crate::engine::Engine;
use crate::handle::RunHandle;

/// A fork that is not begun yet. Awaiting it writes it, and gives the new run's handle: then the fork is durable, and goes on.
///
/// Its effects have other idempotency keys than those of the run it shares a log with: a service that was called there is
/// called again for what is not shared. Nobody joins it, and its result is not cached.
#[derive(Clone)]
#[must_use = "a run is forked when this is awaited"]
pub struct Fork {
    engine: engine::Engine,
    run: RunId,
    fork: fork::Fork,
    /// Why the value that is to be set is none.
    refused: Option<PayloadError>,
}

impl std::fmt::Debug for Fork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fork").field("run", &self.run).field("fork", &self.fork).finish_non_exhaustive()
    }
}

impl Engine {
    /// A new run that shares the log of this one up to an event, and goes on from there: nothing happens until it is awaited.
    pub fn fork(&self, run: RunId) -> Fork {
        Fork { engine: self.inner().clone(), run, fork: fork::Fork::default(), refused: None }
    }
}

impl Fork {
    /// The last event that is shared. If that ends the attempt, the one before it: a fork goes on. Without it, that in which the
    /// trace of [`Fork::set`] ended.
    pub fn at(mut self, at: Sequence) -> Self {
        self.fork.at = Some(at);
        self
    }

    /// Has a recorded result be another. The trace: the position of its start or its end in the log, its name if the attempt
    /// calls it once, or `name#2` for the second call. The value is recorded in the codec of that result; whether it is of the
    /// trace's type shows when the body reads it.
    pub fn set(mut self, trace: impl Into<String>, value: impl Serialize) -> Self {
        self.fork.set = Some(Set { trace: trace.into(), value: Substitute::of(&value) });
        self
    }

    /// As [`Fork::set`], with a value that somebody gives as JSON. It is recorded as it is given: whatever serde_json reads as
    /// the trace's type will do, in whichever codec the trace writes its results.
    pub fn set_json(mut self, trace: impl Into<String>, json: &str) -> Self {
        match Payload::json(json) {
            Ok(payload) => self = self.set_payload(trace, payload),
            Err(error) => self.refused = Some(error),
        }
        self
    }

    pub(crate) fn set_payload(mut self, trace: impl Into<String>, payload: Payload) -> Self {
        self.fork.set = Some(Set { trace: trace.into(), value: Substitute::given(payload) });
        self
    }

    /// Writes the fork and says also which event is the last that is shared.
    ///
    /// # Errors
    /// Of kind `UnknownRun` or `UnknownTask`; of kind `Unsupported` if there is no such event or trace, or nothing to go on with.
    pub async fn start(self) -> Result<(RunHandle<Value, Error>, Sequence)> {
        if let Some(why) = self.refused {
            return Err(Error::new(ErrorKind::Payload, format!("the new result is no JSON: {why}")));
        }
        let (handle, at) = self.engine.fork(self.run, self.fork).await?;
        Ok((RunHandle { handle, engine: self.engine, result: PhantomData }, at))
    }
}

impl IntoFuture for Fork {
    type Output = Result<RunHandle<Value, Error>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(self.start().await?.0) })
    }
}
