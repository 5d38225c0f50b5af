//! The engine, with types: starts and finds runs.

use std::marker::PhantomData;
#[cfg(feature = "rocks")]
use std::path::Path;
use std::sync::Arc;

use relive_engine::engine;
use relive_engine::error::{Error, ErrorKind, Result};
use relive_engine::event::TaskOutcome;
use relive_engine::handle::{Cancellation, RunStatus};
use relive_engine::id::RunId;
use relive_engine::inspect::{self, Events, Runs};
use relive_engine::options::Options;
use relive_engine::payload::{Payload, within_levels};
use relive_engine::replayer::Replayer;
use relive_engine::retain::{Retained, Retention};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::Builder;
use crate::cache::Cache;
use crate::handle::RunHandle;
use crate::resume::Resume;
use crate::task::Call;

/// Durable execution in this process. Clones are the same engine.
///
/// One engine holds a directory; another process that opens it to write gets an error. Call [`Engine::shutdown`] at the
/// end: without it, effects that have begun are cut off and run again next time. Dropping the last clone blocks its thread until
/// what the runs had appended is durable and the store is closed. A retention pass or a replay that is reading it then closes it as
/// it ends; a command that is being served by the socket keeps the engine until it is.
#[derive(Clone)]
pub struct Engine(pub(crate) engine::Engine, pub(crate) Listening);

/// The socket that commands come through, if the engine has a directory; closed with the last clone.
#[cfg(feature = "rocks")]
pub(crate) type Listening = Option<Arc<crate::live::Listener>>;
#[cfg(not(feature = "rocks"))]
pub(crate) type Listening = std::marker::PhantomData<()>;

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("epoch", &self.0.epoch()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens a directory with the defaults. See [`Builder::open`].
    ///
    /// # Errors
    /// As for [`Builder::open`].
    #[cfg(feature = "rocks")]
    pub async fn open(directory: impl AsRef<Path>) -> Result<Self> {
        Self::builder().open(directory).await
    }

    /// Sets an engine up.
    pub fn builder() -> Builder {
        Builder(Options::default())
    }

    /// The store, to be read. Not to be kept: it is closed when the last reader is gone.
    ///
    /// # Errors
    /// Of kind `Closed` after a shutdown.
    #[doc(hidden)]
    pub fn store(&self) -> Result<Arc<dyn relive_storage::Read>> {
        self.0.store()
    }

    /// How a run ends, whatever its types. For the command line.
    ///
    /// # Errors
    /// If there is no such run, it cannot go on, or the engine stops before it ends.
    #[doc(hidden)]
    pub async fn outcome(&self, run: RunId) -> Result<TaskOutcome> {
        Ok(self.0.handle(run)?.outcome().await?.as_ref().clone())
    }

    /// The engine that is inside.
    pub(crate) fn inner(&self) -> &engine::Engine {
        &self.0
    }

    /// The same engine, for who is asked through its socket.
    #[cfg(all(feature = "rocks", unix))]
    pub(crate) fn unlistened(engine: engine::Engine) -> Self {
        Self(engine, None)
    }

    /// Deletes finished runs that a rule names, with all that is stored of them; never one that an unfinished run called, and
    /// no entry of the cache. When this returns, they are gone, durably, and their space is given back.
    ///
    /// # Errors
    /// If the engine is closed, the store fails, or a log that has to be read is damaged. What was deleted by then is gone.
    pub async fn retain(&self, rule: Retention) -> Result<Retained> {
        self.0.retain(rule).await
    }

    /// The result of a call: from the cache, of the run of the same call that is under way, or of a new run; with an id of its
    /// own ([`Call::id`](crate::Call::id)), of the run that this names, or a new one. Dropping the future leaves the run going.
    ///
    /// # Errors
    /// The task's own; or the engine's, as the task's error type: a failed store, a closed engine, a divergence.
    pub async fn run<T, E>(&self, call: Call<T, E>) -> Result<T, E>
    where
        T: DeserializeOwned,
        E: From<Error>,
    {
        self.start(call).await?.await
    }

    /// A handle on the run of a call: a new one, the one that is under way, or one that ended. When this returns, the
    /// run's first event is durable.
    ///
    /// # Errors
    /// If the id names another call's run, the engine is closed, or the store fails.
    pub async fn start<T, E>(&self, call: Call<T, E>) -> Result<RunHandle<T, E>>
    where
        T: DeserializeOwned,
    {
        let handle = self.0.start(call.into_request(self.0.encoding())?).await?;
        Ok(RunHandle { handle, engine: self.0.clone(), result: PhantomData })
    }

    /// A handle on a run by its id, if the caller knows its types.
    ///
    /// # Errors
    /// Of kind `UnknownRun` if there is no such run.
    pub fn handle<T, E>(&self, run: RunId) -> Result<RunHandle<T, E>> {
        Ok(RunHandle { handle: self.0.handle(run)?, engine: self.0.clone(), result: PhantomData })
    }

    /// How a run stands.
    ///
    /// # Errors
    /// Of kind `UnknownRun` if there is no such run.
    pub fn status(&self, run: RunId) -> Result<RunStatus> {
        self.0.status(run)
    }

    /// Cancels a run: it stops at its next await. The reply is durable.
    ///
    /// # Errors
    /// If there is no such run, the engine is closed, or the store fails.
    pub async fn cancel(&self, run: RunId) -> Result<Cancellation> {
        self.0.cancel(run).await
    }

    /// Signals a run: hands a value to [`signal`](crate::signal) of this name in its body, now or later. When this returns,
    /// the signal is durable; it is kept until somebody waits for it.
    ///
    /// # Errors
    /// Of kind `UnknownRun`; of kind `Ended` if the run has ended; of kind `Payload` if the run waits for another type (then
    /// nothing is recorded), or the value cannot be recorded.
    pub async fn signal<T: Serialize>(&self, run: RunId, name: &str, value: T) -> Result<()> {
        let written = within_levels(&value).and_then(|()| Payload::encode_with(self.0.encoding(), &value));
        let payload = written.map_err(|error| {
            Error::new(ErrorKind::Payload, format!("the value of signal {name} cannot be recorded: {error}"))
        })?;
        self.0.signal(run, name, payload).await
    }

    /// As [`Engine::signal`], with a value that somebody gives as JSON, as a webhook does. It is recorded as it is given: whatever
    /// serde_json reads as the type that is waited for will do.
    ///
    /// # Errors
    /// As there; of kind `Payload` also if it is no JSON. JSON has no infinity and no NaN.
    pub async fn signal_json(&self, run: RunId, name: &str, json: &str) -> Result<()> {
        let payload = Payload::json(json).map_err(|error| {
            Error::new(ErrorKind::Payload, format!("the value of signal {name} is no JSON: {error}"))
        })?;
        self.signal_payload(run, name, payload).await
    }

    /// As [`Engine::signal`], with a value that is encoded already.
    pub(crate) async fn signal_payload(&self, run: RunId, name: &str, payload: Payload) -> Result<()> {
        let payload = payload.recorded_as(self.0.encoding()).map_err(|error| {
            Error::new(ErrorKind::Payload, format!("the value of signal {name} cannot be recorded: {error}"))
        })?;
        self.0.signal(run, name, payload).await
    }

    /// A new attempt of a run that failed, was cancelled, diverged, or waits for its task: nothing happens until it is
    /// awaited. What earlier attempts found is not found again.
    pub fn resume(&self, run: RunId) -> Resume {
        Resume::new(self.0.clone(), run)
    }

    /// The runs with this tag, the newest first; read a page at a time.
    pub fn runs_tagged(&self, name: &str, value: &str) -> Runs {
        self.0.store().map_or_else(Runs::from, |store| inspect::runs_tagged(store, name, value))
    }

    /// The cached results: to list them, to see why a call would miss, and to throw some out.
    pub fn cache(&self) -> Cache {
        Cache::new(self.0.cache())
    }

    /// All runs of the store, the newest first; read a page at a time.
    pub fn runs(&self) -> Runs {
        self.0.store().map_or_else(Runs::from, inspect::runs)
    }

    /// The events of a run, from its first; read a page at a time. A run that is not there has none.
    pub fn events(&self, run: RunId) -> Events {
        self.0.store().map_or_else(Events::from, |store| inspect::events(store, run))
    }

    /// Runs a task's body against the log of one of its runs, without effects and without writes. Gives the attempt's
    /// outcome, the same as the log's, or `None` if the run is unfinished: the log fits as far as it goes.
    /// [`Engine::replayer`] says more of code that does not fit.
    ///
    /// # Errors
    /// Of kind `Diverged` if the code does not fit the log; of kind `UnknownRun` or `UnknownTask`; if the log is damaged.
    pub async fn replay(&self, run: RunId) -> Result<Option<TaskOutcome>> {
        Ok(self.0.replay(run).await?.map(|completed| completed.outcome))
    }

    /// Replays runs and explains what does not fit: which change, which values, what probably made the difference.
    pub fn replayer(&self) -> Replayer {
        self.0.replayer()
    }

    /// Stops: starts nothing new, waits for effects that have begun (as long as the grace lasts) and records them, and
    /// closes the store. Unfinished runs go on when it is opened again; who waits for one gets an error of kind `Closed`.
    ///
    /// # Errors
    /// If a commit had failed before, or the store's directory was moved, replaced or removed.
    pub async fn shutdown(&self) -> Result<()> {
        #[cfg(feature = "rocks")]
        if let Some(listener) = &self.1 {
            listener.close();
        }
        self.0.shutdown().await
    }
}
