//! A call of a `#[trace]` function.
//!
//! Made by the macro's expansion; a future that the task's body awaits.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use relive_engine::canonical::canonical;
use relive_engine::definition::TraceDefinition;
use relive_engine::error::{Error, ErrorKind};
use relive_engine::event::ErrorRecord;
use relive_engine::id::InputHash;
use relive_engine::payload::{Payload, PayloadError};
use relive_engine::run;
use relive_engine::run::{TraceCall, TraceFuture};
use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeMap, Serializer};

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

impl<T: DeserializeOwned, E: From<Error>> Future for Trace<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let output = match ready!(Pin::new(&mut self.future).poll(cx)) {
            Ok(output) => output,
            Err(error) => return Poll::Ready(Err(error.into())),
        };
        match output {
            Err(record) => Poll::Ready(Err(record.to_error().into())),
            Ok(payload) => match payload.decode() {
                Ok(value) => Poll::Ready(Ok(value)),
                Err(error) => {
                    // Not a recorded outcome, so not the body's to see: the run waits for code that can read it.
                    let type_name = std::any::type_name::<T>();
                    let why = format!("a result of trace {} cannot be read as {type_name}: {error}", self.name);
                    match run::refuse(Error::new(ErrorKind::Payload, why)) {
                        Ok(()) => Poll::Pending,
                        Err(outside) => Poll::Ready(Err(outside.into())),
                    }
                }
            },
        }
    }
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
    let effect = Box::pin(async move { encoded(definition.name, future.await) });
    let (file, line) = place(definition, location);
    let future = TraceFuture::new(TraceCall { definition, arguments, file, line, effect });
    Trace { future, name: definition.name, result: PhantomData }
}

/// Where a call is: the caller's place, or the definition's if the caller is std itself (`.map(fetch)`).
fn place(definition: &'static TraceDefinition, location: &'static Location<'static>) -> (&'static str, u32) {
    if location.file().starts_with("/rustc/") {
        (definition.file, definition.line)
    } else {
        (location.file(), location.line())
    }
}

/// The recorded form of a result; one that cannot be recorded is a recorded failure that says so.
pub(crate) fn encoded<T: Serialize + DeserializeOwned>(name: &str, result: Result<T, ErrorRecord>) -> run::Output {
    let value = result?;
    recordable_result(&value).map_err(|error| {
        let type_name = std::any::type_name::<T>();
        ErrorRecord::new(
            ErrorKind::Payload,
            format!("the result of {name}, a {type_name}, cannot be recorded: {error}"),
        )
    })
}

/// The payload of a result that can be read back. What cannot is refused now, when it is known where it came from, and not
/// after the effect is done and its record useless.
fn recordable_result<T: Serialize + DeserializeOwned>(value: &T) -> Result<Payload, PayloadError> {
    canonical(value)?;
    let payload = Payload::encode(value)?;
    payload.decode::<T>()?;
    Ok(payload)
}

/// Named arguments, as nested pairs: `(("a", &a), (("b", &b), ()))`.
#[doc(hidden)]
pub trait ArgumentList {
    /// How many there are.
    const COUNT: usize;

    /// Writes each as an entry of a map.
    ///
    /// # Errors
    /// If one's own `Serialize` fails.
    fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;
}

impl ArgumentList for () {
    const COUNT: usize = 0;

    fn write<M: SerializeMap>(&self, _map: &mut M) -> Result<(), M::Error> {
        Ok(())
    }
}

impl<T: Serialize + ?Sized, Rest: ArgumentList> ArgumentList for ((&str, &T), Rest) {
    const COUNT: usize = 1 + Rest::COUNT;

    fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry(self.0.0, self.0.1)?;
        self.1.write(map)
    }
}

struct Named<'a, L>(&'a L);

impl<L: ArgumentList> Serialize for Named<'_, L> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(L::COUNT))?;
        self.0.write(&mut map)?;
        map.end()
    }
}

/// Marks an argument that must be `Serialize`, so that the compiler's error is at its type. Called by the macro's expansion.
#[doc(hidden)]
pub fn recordable<T: Serialize + ?Sized>(value: &T) -> impl Serialize + '_ {
    value
}

/// Encodes arguments. Called by the macro's expansion.
#[doc(hidden)]
#[derive(Debug)]
pub struct Arguments;

impl Arguments {
    /// The payload and the hash of a call's arguments.
    ///
    /// # Errors
    /// If one's own `Serialize` fails.
    pub fn encode<L: ArgumentList>(list: &L) -> Result<run::Arguments, PayloadError> {
        let named = Named(list);
        Ok(run::Arguments { payload: Payload::encode(&named)?, hash: InputHash::of(&canonical(&named)?) })
    }
}
