//! A call of a `#[task]` function.
//!
//! Made by the macro's expansion; given to an engine, which finds, joins or starts its run.

use std::future::Future;
use std::marker::PhantomData;

use relive_engine::canonical::{canonical, canonical_without};
use relive_engine::definition::TaskDefinition;
use relive_engine::engine::Request;
use relive_engine::error::{Error, ErrorKind};
use relive_engine::event::ErrorRecord;
use relive_engine::payload::{Payload, PayloadError};
use relive_engine::run::BoxedFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::trace::encoded;

/// A call of a `#[task]` function: inert until it is given to [`Engine::run`](crate::Engine::run) or
/// [`Engine::start`](crate::Engine::start).
#[must_use = "a task does nothing until it is given to an engine"]
pub struct Call<T, E> {
    definition: &'static TaskDefinition,
    input: Result<(Payload, Vec<u8>), PayloadError>,
    id: Option<String>,
    refresh: bool,
    result: PhantomData<fn() -> Result<T, E>>,
}

/// Longest id of a run that a caller may choose: 512 bytes, as it is a key.
pub const ID_BYTES_MAX: usize = 512;

impl<T, E> std::fmt::Debug for Call<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("task", &self.definition.name).field("id", &self.id).finish_non_exhaustive()
    }
}

impl<T, E> Call<T, E> {
    /// Names the run: the same call under the same id gets the same outcome for as long as the run is kept, also a
    /// failure; another call under it is an error. 1 to 512 bytes.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Runs the call also if the cache holds its result; what it finds replaces that.
    ///
    /// If an equal call is under way that was itself started by a refresh, it is joined; any other may have begun too long
    /// ago, so this runs beside it, and the result of that one is not cached. Equal calls that come later join this run.
    /// Where an id names a run already, that run is the answer all the same.
    pub fn refresh(mut self) -> Self {
        self.refresh = true;
        self
    }

    pub(crate) fn into_request(self) -> Result<Request, Error>
    where
        T: DeserializeOwned,
    {
        let name = self.definition.name;
        let (input, canonical) = self.input.map_err(|error| {
            Error::new(ErrorKind::Payload, format!("the arguments of task {name} cannot be recorded: {error}"))
        })?;
        if let Some(id) = &self.id
            && !(1..=ID_BYTES_MAX).contains(&id.len())
        {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the id of a run of task {name} has {} bytes: 1 to {ID_BYTES_MAX} are possible", id.len()),
            ));
        }
        let readable = |payload: &Payload| payload.decode::<T>().is_ok();
        Ok(Request {
            definition: self.definition,
            input,
            canonical: canonical.into(),
            id: self.id,
            refresh: self.refresh,
            readable,
        })
    }
}

/// Makes a task's call. Called by the macro's expansion.
#[doc(hidden)]
pub fn call<T, E, I>(definition: &'static TaskDefinition, input: &I) -> Call<T, E>
where
    I: Serialize,
    E: From<Error>,
{
    let input = Payload::encode(input).and_then(|payload| Ok((payload, canonical(input)?)));
    Call { definition, input, id: None, refresh: false, result: PhantomData }
}

/// The canonical form of a recorded input, without the arguments of these names. Called by the macro's expansion.
///
/// # Errors
/// If the payload cannot be read as an input of this type.
#[doc(hidden)]
pub fn canonical_input<I: Serialize + DeserializeOwned>(
    payload: &Payload,
    without: &[&str],
) -> Result<Vec<u8>, PayloadError> {
    canonical_without(&payload.decode::<I>()?, without)
}

/// The body for a recorded input. Called by the macro's expansion.
///
/// # Errors
/// If the payload cannot be read as an input of this type.
#[doc(hidden)]
pub fn task_body<I, T, F>(payload: &Payload, body: impl FnOnce(I) -> F) -> Result<BoxedFuture, PayloadError>
where
    I: DeserializeOwned,
    T: Serialize + DeserializeOwned + 'static,
    F: Future<Output = Result<T, ErrorRecord>> + Send + 'static,
{
    let future = body(payload.decode()?);
    Ok(Box::pin(async move { encoded("the task", future.await) }))
}
