//! A call of a `#[trace]` function on an `async fn`, or on a plain one that blocks.
//!
//! Made by the macro's expansion; a future that the task's body awaits.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use relive_engine::definition::TraceDefinition;
use relive_engine::error::{Error, ErrorKind};
use relive_engine::event::ErrorRecord;
use relive_engine::payload::{Payload, PayloadError};
use relive_engine::run::{self, Blocking, CallWork, Effect, TraceCall, TraceFuture};
use serde::de::DeserializeOwned;
use serde::ser::Serialize;

use crate::recorded::{encoded, unreadable};

/// A call of a `#[trace]` function: inert until it is awaited in a task, then recorded.
///
/// Its outcome is the recorded one, live and replayed alike. Dropping it cancels the effect, and the log says so.
#[must_use = "a trace does nothing until it is awaited"]
pub struct Trace<T, E> {
    future: TraceFuture,
    name: &'static str,
    result: PhantomData<fn() -> Result<T, E>>,
}

impl<T, E> std::fmt::Debug for Trace<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T, E> Trace<T, E> {
    pub(crate) fn new(call: TraceCall) -> Self {
        let name = call.definition.name;
        Trace { future: TraceFuture::new(call), name, result: PhantomData }
    }
}

impl<T: DeserializeOwned, E: From<Error>> Future for Trace<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let output = ready!(Pin::new(&mut self.future).poll(cx));
        resolved(self.name, output)
    }
}

/// What a body gets for what is recorded.
pub(crate) fn resolved<T: DeserializeOwned, E: From<Error>>(
    name: &str,
    output: Result<run::Output, Error>,
) -> Poll<Result<T, E>> {
    match output {
        Err(error) => Poll::Ready(Err(error.into())),
        Ok(Err(record)) => Poll::Ready(Err(record.to_error().into())),
        Ok(Ok(payload)) => match payload.decode() {
            Ok(value) => Poll::Ready(Ok(value)),
            // Not a recorded outcome, so not the body's to see: the run waits for code that can read it.
            Err(error) => match run::refuse(unreadable::<T>(name, &error)) {
                Ok(()) => Poll::Pending,
                Err(outside) => Poll::Ready(Err(outside.into())),
            },
        },
    }
}

fn call<T, E>(
    definition: &'static TraceDefinition,
    arguments: Result<run::Arguments, PayloadError>,
    location: &'static Location<'static>,
    effect: Effect,
) -> Trace<T, E> {
    let (file, line) = place(definition, location);
    Trace::new(TraceCall { definition, arguments, file, line, work: CallWork::Effect(effect) })
}

/// Makes a trace's call. Called by the macro's expansion.
#[doc(hidden)]
pub fn trace<T, E, F>(
    definition: &'static TraceDefinition,
    arguments: Result<run::Arguments, PayloadError>,
    location: &'static Location<'static>,
    effect: impl FnOnce() -> F + Send + 'static,
) -> Trace<T, E>
where
    T: Serialize + DeserializeOwned + 'static,
    E: From<Error>,
    F: Future<Output = Result<T, ErrorRecord>> + Send + 'static,
{
    let future = effect();
    let effect = Box::pin(async move { encoded(definition.name, definition.policy.codec, future.await) });
    call(definition, arguments, location, Effect::Once(effect))
}

/// Makes the call of a trace that may be tried again. Called by the macro's expansion.
#[doc(hidden)]
pub fn trace_again<T, E, F>(
    definition: &'static TraceDefinition,
    arguments: Result<run::Arguments, PayloadError>,
    location: &'static Location<'static>,
    mut effect: impl FnMut() -> F + Send + 'static,
) -> Trace<T, E>
where
    T: Serialize + DeserializeOwned + 'static,
    E: From<Error>,
    F: Future<Output = Result<T, ErrorRecord>> + Send + 'static,
{
    let again = Box::new(move || -> run::BoxedFuture {
        let future = effect();
        Box::pin(async move { encoded(definition.name, definition.policy.codec, future.await) })
    });
    call(definition, arguments, location, Effect::Again(again))
}

/// Makes the call of a plain function that blocks. Called by the macro's expansion.
#[doc(hidden)]
pub fn blocking<T, E, G>(
    definition: &'static TraceDefinition,
    arguments: Result<run::Arguments, PayloadError>,
    location: &'static Location<'static>,
    effect: impl FnOnce() -> G,
) -> Trace<T, E>
where
    T: Serialize + DeserializeOwned + 'static,
    E: From<Error>,
    G: FnOnce() -> Result<T, ErrorRecord> + Send + 'static,
{
    let mut run = Some(effect());
    let again = Box::new(move || -> Blocking {
        let run = run.take();
        Box::new(move || match run {
            Some(run) => encoded(definition.name, definition.policy.codec, run()),
            None => Err(ErrorRecord::new(ErrorKind::Unsupported, "it was tried already")),
        })
    });
    call(definition, arguments, location, Effect::Blocking(again))
}

/// Makes the call of a plain function that blocks and may be tried again. Called by the macro's expansion.
#[doc(hidden)]
pub fn blocking_again<T, E, G>(
    definition: &'static TraceDefinition,
    arguments: Result<run::Arguments, PayloadError>,
    location: &'static Location<'static>,
    mut effect: impl FnMut() -> G + Send + 'static,
) -> Trace<T, E>
where
    T: Serialize + DeserializeOwned + 'static,
    E: From<Error>,
    G: FnOnce() -> Result<T, ErrorRecord> + Send + 'static,
{
    let again = Box::new(move || -> Blocking {
        let run = effect();
        Box::new(move || encoded(definition.name, definition.policy.codec, run()))
    });
    call(definition, arguments, location, Effect::Blocking(again))
}

/// Where a call is: the caller's place, or the definition's if the caller is std itself (`.map(fetch)`).
pub(crate) fn place(definition: &'static TraceDefinition, location: &'static Location<'static>) -> (&'static str, u32) {
    if location.file().starts_with("/rustc/") {
        (definition.file, definition.line)
    } else {
        (location.file(), location.line())
    }
}

/// The end of a stream, as it is recorded.
pub(crate) fn unit() -> run::Output {
    Payload::encode(&()).map_err(|error| ErrorRecord::new(ErrorKind::Payload, error.to_string()))
}
