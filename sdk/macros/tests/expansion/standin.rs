//! The smallest thing that can stand in for `relive`: a log of JSON, no engine. Also the list of what an expansion needs.

mod definition;
mod effect;

use std::marker::PhantomData;
use std::panic::Location;
use std::task::{Context, Poll, Waker};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::__private::{ErrorRecord, TaskMeta, TraceMeta};

type Future<T> = std::pin::Pin<Box<dyn std::future::Future<Output = T> + Send>>;

/// An error: of a typed one, its type's name and its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Error(pub(crate) String);

impl Error {
    pub(crate) fn of<E: TypedError>(error: &E) -> Self {
        Error(format!("{} {}", E::NAME, serde_json::to_string(error).unwrap()))
    }

    pub(crate) fn typed<E: TypedError>(self) -> Result<E, Self> {
        let value = self.0.strip_prefix(E::NAME).and_then(|value| serde_json::from_str(value).ok());
        value.ok_or(self)
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.0.contains("terminal")
    }
}

pub(crate) trait TypedError: std::error::Error + Serialize + DeserializeOwned + Send + Sync + 'static {
    const NAME: &'static str;

    fn is_terminal(&self) -> bool {
        false
    }

    fn engine_error(&self) -> Option<&Error> {
        None
    }
}

/// What every call of a trace holds.
pub(crate) struct Described {
    pub(crate) meta: &'static TraceMeta,
    /// The arguments as they would be in the log.
    pub(crate) recorded: Value,
    /// What tells this call from others, if not its arguments.
    pub(crate) key: Option<Value>,
    pub(crate) caller: &'static Location<'static>,
}

#[must_use = "a trace does nothing until it is awaited"]
pub(crate) struct Trace<T, E> {
    described: Described,
    effect: Box<dyn FnMut() -> Future<Result<T, ErrorRecord>>>,
    error: PhantomData<fn() -> E>,
}

impl<T, E> std::ops::Deref for Trace<T, E> {
    type Target = Described;

    fn deref(&self) -> &Described {
        &self.described
    }
}

impl<T, E> Trace<T, E> {
    /// Runs the effect, again as long as there are retries left: all there is to a trace without a log.
    pub(crate) fn run(mut self) -> Result<T, String> {
        let mut left = self.meta.policy.retry.retries;
        loop {
            match finished((self.effect)()) {
                Err(_) if left > 0 => left -= 1,
                result => return result.map_err(|record| record.0),
            }
        }
    }
}

type Source = Box<dyn FnOnce(u64, __private::Sink) -> Future<Result<(), ErrorRecord>> + Send>;

/// The items of a stream or an iterator.
pub(crate) struct Items<T, E, const ASYNC: bool> {
    described: Described,
    source: Source,
    result: PhantomData<fn() -> (T, E)>,
}

pub(crate) type TraceStream<T, E> = Items<T, E, true>;
pub(crate) type TraceIterator<T, E> = Items<T, E, false>;

impl<T, E, const ASYNC: bool> std::ops::Deref for Items<T, E, ASYNC> {
    type Target = Described;

    fn deref(&self) -> &Described {
        &self.described
    }
}

impl<T: DeserializeOwned, E, const ASYNC: bool> Items<T, E, ASYNC> {
    /// What the source hands on if so many items were handed on before, and how it ends.
    pub(crate) fn run(self, from: u64) -> (Vec<T>, Result<(), String>) {
        let sink = __private::Sink::default();
        let end = finished((self.source)(from, sink.clone())).map_err(|record| record.0);
        (sink.taken().into_iter().map(|item| serde_json::from_value(item).unwrap()).collect(), end)
    }
}

#[must_use = "a call does nothing until it is awaited or given to an engine"]
pub(crate) struct Call<T, E> {
    pub(crate) meta: &'static TaskMeta,
    /// The input as it would be in the log.
    pub(crate) input: Vec<u8>,
    result: PhantomData<fn() -> (T, E)>,
}

impl<T: DeserializeOwned, E> Call<T, E> {
    /// Runs the task as recovery does: from the log and the static alone.
    pub(crate) fn run(self) -> Result<T, String> {
        let value = finished((self.meta.body)(&self.input)).map_err(|record| record.0)?;
        Ok(serde_json::from_value(value).unwrap())
    }

    pub(crate) fn recorded(&self) -> Value {
        serde_json::from_slice(&self.input).unwrap()
    }
}

fn finished<T>(mut future: Future<T>) -> T {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

pub(crate) mod __private {
    pub(crate) use std::time::Duration;

    pub(crate) use ::inventory;
    pub(crate) use ::serde;
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    pub(crate) use super::definition::*;
    pub(crate) use super::effect::*;
    use super::*;

    #[derive(Debug)]
    pub(crate) struct ErrorRecord(pub(crate) String);

    macro_rules! record_error {
        ($error:expr) => {
            $crate::__private::ErrorRecord(format!("{:?}", $error))
        };
    }
    pub(crate) use record_error;

    #[diagnostic::on_unimplemented(message = "a trace or task returns `Result<T, E>`, not `{Self}`")]
    pub(crate) trait ReturnsResult {
        type Value;
        type Error;
    }

    impl<T, E> ReturnsResult for Result<T, E> {
        type Value = T;
        type Error = E;
    }

    pub(crate) trait ArgumentList {
        fn push(&self, recorded: &mut Vec<Value>);
    }

    impl ArgumentList for () {
        fn push(&self, _: &mut Vec<Value>) {}
    }

    impl<T: Serialize + ?Sized, R: ArgumentList> ArgumentList for ((&'static str, &T), R) {
        fn push(&self, recorded: &mut Vec<Value>) {
            let ((name, value), rest) = self;
            recorded.push(serde_json::json!([name, value]));
            rest.push(recorded);
        }
    }

    pub(crate) struct Arguments {
        pub(crate) recorded: Value,
        pub(crate) key: Option<Value>,
    }

    #[derive(Debug)]
    pub(crate) struct PayloadError;

    impl Arguments {
        pub(crate) fn of<L: ArgumentList>(_: &'static TraceMeta, list: &L) -> Result<Self, PayloadError> {
            let mut recorded = vec![];
            list.push(&mut recorded);
            Ok(Arguments { recorded: recorded.into(), key: None })
        }
    }

    pub(crate) fn keyed<K: Serialize + ?Sized>(
        arguments: Result<Arguments, PayloadError>,
        key: &K,
    ) -> Result<Arguments, PayloadError> {
        Ok(Arguments { key: Some(serde_json::to_value(key).unwrap()), ..arguments? })
    }

    /// Opaque, so that an argument that is no data is reported where it stands, and nowhere else.
    pub(crate) fn recordable<T: Serialize + ?Sized>(value: &T) -> impl Serialize + '_ {
        value
    }

    pub(crate) fn own<T: ToOwned + ?Sized>(borrowed: &T) -> T::Owned {
        borrowed.to_owned()
    }

    pub(crate) fn canonical_input<I: Serialize + DeserializeOwned>(payload: &[u8], without: &[&str]) -> Value {
        let mut value = serde_json::to_value(serde_json::from_slice::<I>(payload).unwrap()).unwrap();
        value.as_object_mut().unwrap().retain(|name, _| !without.contains(&name.as_str()));
        value
    }

    pub(crate) fn task_body<I, T, F>(payload: &[u8], body: impl FnOnce(I) -> F) -> Future<Result<Value, ErrorRecord>>
    where
        I: DeserializeOwned,
        T: Serialize + DeserializeOwned,
        F: std::future::Future<Output = Result<T, ErrorRecord>> + Send + 'static,
    {
        let body = body(serde_json::from_slice(payload).unwrap());
        Box::pin(async { body.await.map(|value| serde_json::to_value(value).unwrap()) })
    }

    pub(crate) fn call<T, E, I>(meta: &'static TaskMeta, input: &I) -> Call<T, E>
    where
        I: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        Call { meta, input: serde_json::to_vec(input).unwrap(), result: PhantomData }
    }
}
