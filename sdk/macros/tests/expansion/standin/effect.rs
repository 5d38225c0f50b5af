//! What an expansion hands an effect to, one function for each form, with the bounds of the real ones.

use std::marker::PhantomData;
use std::panic::Location;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::__private::{Arguments, ErrorRecord, PayloadError, TraceMeta};
use super::{Described, Error, Future, Items, Trace, TraceIterator, TraceStream};

type Caller = &'static Location<'static>;
type Encoded = Result<Arguments, PayloadError>;

fn described(meta: &'static TraceMeta, arguments: Encoded, caller: Caller) -> Described {
    let Arguments { recorded, key } = arguments.unwrap();
    Described { meta, recorded, key, caller }
}

pub(crate) fn trace<T, E, F>(
    meta: &'static TraceMeta,
    arguments: Encoded,
    caller: Caller,
    effect: impl FnOnce() -> F + Send + 'static,
) -> Trace<T, E>
where
    T: Serialize + DeserializeOwned + 'static,
    E: From<Error>,
    F: std::future::Future<Output = Result<T, ErrorRecord>> + Send + 'static,
{
    let mut effect = Some(effect);
    trace_again(meta, arguments, caller, move || effect.take().expect("called once")())
}

pub(crate) fn trace_again<T, E, F>(
    meta: &'static TraceMeta,
    arguments: Encoded,
    caller: Caller,
    mut effect: impl FnMut() -> F + Send + 'static,
) -> Trace<T, E>
where
    T: Serialize + DeserializeOwned + 'static,
    E: From<Error>,
    F: std::future::Future<Output = Result<T, ErrorRecord>> + Send + 'static,
{
    let effect = Box::new(move || -> Future<_> { Box::pin(effect()) });
    Trace { described: described(meta, arguments, caller), effect, error: PhantomData }
}

pub(crate) fn inline<T, E>(
    meta: &'static TraceMeta,
    arguments: Encoded,
    caller: Caller,
    effect: impl FnOnce() -> Result<T, ErrorRecord>,
) -> Result<T, E>
where
    T: Serialize + DeserializeOwned + 'static,
    E: From<Error>,
{
    let mut effect = Some(effect);
    inline_again(meta, arguments, caller, move || effect.take().expect("called once")())
}

thread_local! {
    /// What was called in place: there is no call to ask.
    pub(crate) static IN_PLACE: std::cell::RefCell<Vec<Described>> = const { std::cell::RefCell::new(Vec::new()) };
}

pub(crate) fn inline_again<T, E>(
    meta: &'static TraceMeta,
    arguments: Encoded,
    caller: Caller,
    mut effect: impl FnMut() -> Result<T, ErrorRecord>,
) -> Result<T, E>
where
    T: Serialize + DeserializeOwned + 'static,
    E: From<Error>,
{
    IN_PLACE.with_borrow_mut(|calls| calls.push(described(meta, arguments, caller)));
    let mut left = meta.policy.retry.retries;
    loop {
        match effect() {
            Err(_) if left > 0 => left -= 1,
            result => return result.map_err(|record| Error(record.0).into()),
        }
    }
}

pub(crate) fn blocking<T, E, G>(
    meta: &'static TraceMeta,
    arguments: Encoded,
    caller: Caller,
    effect: impl FnOnce() -> G,
) -> Trace<T, E>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    E: From<Error>,
    G: FnOnce() -> Result<T, ErrorRecord> + Send + 'static,
{
    let mut work = Some(effect());
    blocking_again(meta, arguments, caller, move || work.take().expect("called once"))
}

pub(crate) fn blocking_again<T, E, G>(
    meta: &'static TraceMeta,
    arguments: Encoded,
    caller: Caller,
    mut effect: impl FnMut() -> G + Send + 'static,
) -> Trace<T, E>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    E: From<Error>,
    G: FnOnce() -> Result<T, ErrorRecord> + Send + 'static,
{
    trace_again(meta, arguments, caller, move || std::future::ready(std::thread::spawn(effect()).join().unwrap()))
}

#[derive(Clone, Default)]
pub(crate) struct Sink(Arc<Mutex<Vec<Value>>>);

impl Sink {
    pub(crate) fn taken(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn hand_on<T: Serialize, E>(
        &self,
        item: Result<T, E>,
        record: &impl Fn(&E) -> ErrorRecord,
    ) -> Result<(), ErrorRecord> {
        let value = item.map_err(|error| record(&error))?;
        self.0.lock().unwrap().push(serde_json::to_value(value).unwrap());
        Ok(())
    }
}

pub(crate) fn stream<T, E, F>(
    meta: &'static TraceMeta,
    arguments: Encoded,
    caller: Caller,
    source: impl FnOnce(u64, Sink) -> F + Send + 'static,
) -> TraceStream<T, E>
where
    T: Serialize + DeserializeOwned + 'static,
    E: From<Error>,
    F: std::future::Future<Output = Result<(), ErrorRecord>> + Send + 'static,
{
    items(described(meta, arguments, caller), source)
}

pub(crate) fn iterator<T, E, F>(
    meta: &'static TraceMeta,
    arguments: Encoded,
    caller: Caller,
    source: impl FnOnce(u64, Sink) -> F + Send + 'static,
) -> TraceIterator<T, E>
where
    T: Serialize + DeserializeOwned + 'static,
    E: From<Error>,
    F: std::future::Future<Output = Result<(), ErrorRecord>> + Send + 'static,
{
    items(described(meta, arguments, caller), source)
}

fn items<T, E, F, const ASYNC: bool>(
    described: Described,
    source: impl FnOnce(u64, Sink) -> F + Send + 'static,
) -> Items<T, E, ASYNC>
where
    F: std::future::Future<Output = Result<(), ErrorRecord>> + Send + 'static,
{
    Items { described, source: Box::new(|from, sink| Box::pin(source(from, sink))), result: PhantomData }
}

pub(crate) async fn forward_stream<T: Serialize, E>(
    source: impl Stream<Item = Result<T, E>>,
    sink: Sink,
    record: impl Fn(&E) -> ErrorRecord,
) -> Result<(), ErrorRecord> {
    let mut source = std::pin::pin!(source);
    while let Some(item) = source.next().await {
        sink.hand_on(item, &record)?;
    }
    Ok(())
}

pub(crate) async fn forward_iterator<T: Serialize, E>(
    source: impl IntoIterator<Item = Result<T, E>>,
    sink: Sink,
    record: impl Fn(&E) -> ErrorRecord,
) -> Result<(), ErrorRecord> {
    for item in source {
        sink.hand_on(item, &record)?;
        // As the real one, which waits for room: so the iterator is held over an await.
        std::future::ready(()).await;
    }
    Ok(())
}

pub(crate) fn resumed_at<N: TryFrom<u64> + std::ops::Add<Output = N>>(argument: N, from: u64) -> N {
    argument + N::try_from(from).ok().expect("so many items fit")
}
