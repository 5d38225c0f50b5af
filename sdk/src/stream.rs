//! Calls of `#[trace]` functions that return streams and iterators: every item is recorded and handed on as it comes.
//!
//! Made by the macro's expansion.
//!
//! Invariant: memory is bounded by one item, whatever the stream's length, live and on replay.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use relive_engine::definition::TraceDefinition;
use relive_engine::error::{Error, ErrorKind};
use relive_engine::event::ErrorRecord;
use relive_engine::panic::Contained;
use relive_engine::payload::PayloadError;
use relive_engine::run::{self, CallWork, InlineCall, Item, IteratorCall, MakeSource, Sink, TraceCall, TraceFuture};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::recorded::{recordable_result, unreadable};
use crate::trace::{place, unit};

/// A call of a `#[trace]` function that returns a stream: inert until it is polled in a task.
///
/// Items come from the log as far as it goes, then from the function. An error is the last item. Dropping it ends the
/// function, and the log says so.
#[must_use = "a stream does nothing until it is polled"]
pub struct TraceStream<T, E> {
    future: TraceFuture,
    name: &'static str,
    is_over: bool,
    item: PhantomData<fn() -> Result<T, E>>,
}

impl<T, E> std::fmt::Debug for TraceStream<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TraceStream").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned, E: From<Error>> Stream for TraceStream<T, E> {
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let item = ready!(self.future.poll_item(cx));
        let error = match item {
            Ok(Item::Next(payload)) => match payload.decode() {
                Ok(value) => return Poll::Ready(Some(Ok(value))),
                // Not a recorded outcome, so not the body's to see: the run waits for code that can read it.
                Err(error) => match run::refuse(unreadable::<T>(self.name, &error)) {
                    Ok(()) => return Poll::Pending,
                    Err(outside) => outside,
                },
            },
            Ok(Item::End) => {
                self.is_over = true;
                return Poll::Ready(None);
            }
            Ok(Item::Failed(record)) => record.to_error(),
            Err(error) => error,
        };
        self.is_over = true;
        Poll::Ready(Some(Err(error.into())))
    }
}

/// A call of a `#[trace]` function that returns an iterator: inert until it is asked for an item in a task.
///
/// Items come from the log as far as it goes, then from the function. An error is the last item. Dropping it before its end
/// is in the log, too.
#[must_use = "an iterator does nothing until it is asked for an item"]
pub struct TraceIterator<T, E> {
    call: IteratorCall,
    name: &'static str,
    item: PhantomData<fn() -> Result<T, E>>,
}

impl<T, E> std::fmt::Debug for TraceIterator<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TraceIterator").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned, E: From<Error>> Iterator for TraceIterator<T, E> {
    type Item = Result<T, E>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self.call.next_item()? {
            Err(error) => Err(error.into()),
            Ok(Err(record)) => Err(record.to_error().into()),
            Ok(Ok(payload)) => {
                payload.decode().map_err(|error| run::refuse_inline(unreadable::<T>(self.name, &error)).into())
            }
        })
    }
}

/// Makes a stream's call. Called by the macro's expansion.
#[doc(hidden)]
pub fn stream<T, E, F>(
    definition: &'static TraceDefinition,
    arguments: Result<run::Arguments, PayloadError>,
    location: &'static Location<'static>,
    source: impl FnOnce(u64, Sink) -> F + Send + 'static,
) -> TraceStream<T, E>
where
    T: Serialize + DeserializeOwned + 'static,
    E: From<Error>,
    F: Future<Output = Result<(), ErrorRecord>> + Send + 'static,
{
    let (file, line) = place(definition, location);
    let work = CallWork::Stream(make(source));
    let future = TraceFuture::new(TraceCall { definition, arguments, file, line, work });
    TraceStream { future, name: definition.name, is_over: false, item: PhantomData }
}

/// Makes an iterator's call. Called by the macro's expansion.
#[doc(hidden)]
pub fn iterator<T, E, F>(
    definition: &'static TraceDefinition,
    arguments: Result<run::Arguments, PayloadError>,
    location: &'static Location<'static>,
    source: impl FnOnce(u64, Sink) -> F + Send + 'static,
) -> TraceIterator<T, E>
where
    T: Serialize + DeserializeOwned + 'static,
    E: From<Error>,
    F: Future<Output = Result<(), ErrorRecord>> + Send + 'static,
{
    let (file, line) = place(definition, location);
    let call = InlineCall { definition, arguments, file, line };
    TraceIterator { call: IteratorCall::new(call, make(source)), name: definition.name, item: PhantomData }
}

fn make<F>(source: impl FnOnce(u64, Sink) -> F + Send + 'static) -> MakeSource
where
    F: Future<Output = Result<(), ErrorRecord>> + Send + 'static,
{
    Box::new(move |from, sink| {
        let source = source(from, sink);
        Box::pin(async move {
            source.await?;
            unit()
        })
    })
}

fn item<T: Serialize + DeserializeOwned>(value: &T) -> Result<relive_engine::payload::Payload, ErrorRecord> {
    recordable_result(run::effect_codec(), value).map_err(|error| {
        let type_name = std::any::type_name::<T>();
        ErrorRecord::new(ErrorKind::Payload, format!("an item, a {type_name}, cannot be recorded: {error}"))
    })
}

/// Hands a stream's items on. Called by the macro's expansion.
///
/// # Errors
/// The stream's first error, which ends it.
#[doc(hidden)]
pub async fn forward_stream<S, T, E>(
    source: S,
    sink: Sink,
    record: impl Fn(&E) -> ErrorRecord,
) -> Result<(), ErrorRecord>
where
    S: Stream<Item = Result<T, E>>,
    T: Serialize + DeserializeOwned,
{
    // Dropped at its end, or before: what its destructor does is no outcome, and no replay calls it.
    let mut source = Contained::new(Box::pin(source));
    let next = |source: &mut Contained<Pin<Box<S>>>, cx: &mut Context<'_>| match source.get_mut() {
        Some(source) => source.as_mut().poll_next(cx),
        None => Poll::Ready(None),
    };
    while let Some(value) = poll_fn(|cx| next(&mut source, cx)).await {
        sink.send(item(&value.map_err(|error| record(&error))?)?).await;
    }
    Ok(())
}

/// Hands an iterator's items on. Called by the macro's expansion.
///
/// # Errors
/// The iterator's first error, which ends it.
#[doc(hidden)]
pub async fn forward_iterator<I, T, E>(
    source: I,
    sink: Sink,
    record: impl Fn(&E) -> ErrorRecord,
) -> Result<(), ErrorRecord>
where
    I: IntoIterator<Item = Result<T, E>>,
    T: Serialize + DeserializeOwned,
{
    let mut source = Contained::new(source.into_iter());
    while let Some(value) = source.get_mut().and_then(Iterator::next) {
        sink.send(item(&value.map_err(|error| record(&error))?)?).await;
    }
    Ok(())
}

/// The number of an item, as a parameter that says where to go on.
#[doc(hidden)]
pub trait Offset {
    /// So many further on.
    #[must_use]
    fn after(self, count: u64) -> Self;
}

macro_rules! offset {
    ($($type:ty),*) => {$(
        impl Offset for $type {
            fn after(self, count: u64) -> Self {
                self.saturating_add(<$type>::try_from(count).unwrap_or(<$type>::MAX))
            }
        }
    )*};
}
offset!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

/// The parameter that says where to go on: its own value, and what was handed on already. Called by the macro's expansion.
#[doc(hidden)]
pub fn resumed_at<N: Offset>(argument: N, count: u64) -> N {
    argument.after(count)
}
