//! A run, with the types of its task.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;

use relive_engine::engine;
use relive_engine::error::{Error, ErrorKind, Result};
use relive_engine::event::TaskOutcome;
use relive_engine::handle::{Cancellation, Handle, RunStatus};
use relive_engine::id::RunId;
use serde::de::DeserializeOwned;
/// A run. Awaiting it gives the task's result; dropping it leaves the run going.
pub struct RunHandle<T, E> {
    pub(crate) handle: Handle,
    pub(crate) engine: engine::Engine,
    pub(crate) result: PhantomData<fn() -> Result<T, E>>,
}

impl<T, E> std::fmt::Debug for RunHandle<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunHandle").field("id", &self.id()).field("status", &self.status()).finish_non_exhaustive()
    }
}

impl<T, E> RunHandle<T, E> {
    /// The run's id. Of a cached result, that of the run that found it; if the call has an id or a tag, that of a run that was
    /// written to say so.
    pub fn id(&self) -> RunId {
        self.handle.run()
    }

    /// How the run stands now.
    pub fn status(&self) -> RunStatus {
        self.handle.status()
    }

    /// Cancels the run: it stops at its next await. The reply is durable.
    ///
    /// # Errors
    /// If the engine is closed, or the store fails.
    pub async fn cancel(&self) -> Result<Cancellation> {
        self.engine.cancel(self.id()).await
    }
}

impl<T, E> IntoFuture for RunHandle<T, E>
where
    T: DeserializeOwned,
    E: From<Error>,
{
    type Output = Result<T, E>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        // The engine is not kept: a run that is waited for does not keep it from being dropped.
        let handle = self.handle;
        Box::pin(async move {
            match &*handle.outcome().await? {
                TaskOutcome::Ok(payload) => payload.decode().map_err(|error| {
                    let type_name = std::any::type_name::<T>();
                    let why = format!("the result of run {} cannot be read as {type_name}: {error}", handle.run());
                    Error::new(ErrorKind::Payload, why).into()
                }),
                TaskOutcome::Err(record) => Err(record.to_error().into()),
                _ => Err(Error::new(ErrorKind::Cancelled, format!("run {} was cancelled", handle.run())).into()),
            }
        })
    }
}
