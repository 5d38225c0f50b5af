//! The smallest thing that can stand in for `relive`: a log of JSON, no engine. Also the list of what an expansion needs.

use std::marker::PhantomData;
use std::panic::Location;
use std::task::{Context, Poll, Waker};

use serde_json::Value;

use self::__private::{ErrorRecord, TaskMeta, TraceMeta};

type Future<T> = std::pin::Pin<Box<dyn std::future::Future<Output = T> + Send>>;

#[derive(Debug, PartialEq)]
pub(crate) struct Error(pub(crate) String);

#[must_use = "a trace does nothing until it is awaited"]
pub(crate) struct Trace<T, E> {
    pub(crate) meta: &'static TraceMeta,
    /// The arguments as they would be in the log.
    pub(crate) recorded: Value,
    pub(crate) caller: &'static Location<'static>,
    effect: Future<Result<T, ErrorRecord>>,
    error: PhantomData<fn() -> E>,
}

impl<T, E> Trace<T, E> {
    /// Runs the effect: all there is to a trace without a log.
    pub(crate) fn run(self) -> Result<T, String> {
        finished(self.effect).map_err(|record| record.0)
    }
}

#[must_use = "a call does nothing until it is awaited or given to an engine"]
pub(crate) struct Call<T, E> {
    pub(crate) meta: &'static TaskMeta,
    /// The input as it would be in the log.
    pub(crate) input: Vec<u8>,
    result: PhantomData<fn() -> (T, E)>,
}

impl<T: serde::de::DeserializeOwned, E> Call<T, E> {
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
    pub(crate) use ::inventory;
    pub(crate) use ::serde;
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;

    pub(crate) struct TraceMeta {
        pub(crate) name: &'static str,
        pub(crate) code: CodeHash,
        pub(crate) file: &'static str,
        pub(crate) line: u32,
        pub(crate) module: &'static str,
        pub(crate) outside_call: bool,
    }

    pub(crate) struct TaskMeta {
        pub(crate) name: &'static str,
        pub(crate) code: CodeHash,
        pub(crate) file: &'static str,
        pub(crate) line: u32,
        pub(crate) module: &'static str,
        pub(crate) cache: CacheMode,
        pub(crate) canonical: fn(&[u8]) -> Value,
        pub(crate) body: fn(&[u8]) -> Future<Result<Value, ErrorRecord>>,
    }

    pub(crate) struct TraceEntry(pub(crate) &'static TraceMeta);
    pub(crate) struct TaskEntry(pub(crate) &'static TaskMeta);
    inventory::collect!(TraceEntry);
    inventory::collect!(TaskEntry);

    #[derive(Debug, PartialEq)]
    pub(crate) enum CacheMode {
        Auto,
        Off,
    }

    #[derive(Debug, PartialEq)]
    pub(crate) struct CodeHash([u8; 16]);

    impl CodeHash {
        pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
            CodeHash(bytes)
        }
    }

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

    pub(crate) struct Arguments(Value);

    impl Arguments {
        pub(crate) fn encode<L: ArgumentList>(list: &L) -> Self {
            let mut recorded = vec![];
            list.push(&mut recorded);
            Arguments(recorded.into())
        }
    }

    /// Opaque, so that an argument that is no data is reported where it stands, and nowhere else.
    pub(crate) fn recordable<T: Serialize + ?Sized>(value: &T) -> impl Serialize + '_ {
        value
    }

    pub(crate) fn own<T: ToOwned + ?Sized>(borrowed: &T) -> T::Owned {
        borrowed.to_owned()
    }

    pub(crate) fn trace<T, E, C, F>(
        meta: &'static TraceMeta,
        arguments: Arguments,
        caller: &'static Location<'static>,
        effect: C,
    ) -> Trace<T, E>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        E: From<Error>,
        C: FnOnce() -> F + Send + 'static,
        F: std::future::Future<Output = Result<T, ErrorRecord>> + Send + 'static,
    {
        let effect = Box::pin(async { effect().await });
        Trace { meta, recorded: arguments.0, caller, effect, error: PhantomData }
    }

    pub(crate) fn canonical_input<I: Serialize + DeserializeOwned>(payload: &[u8]) -> Value {
        serde_json::to_value(serde_json::from_slice::<I>(payload).unwrap()).unwrap()
    }

    pub(crate) fn task_body<I, T, C, F>(payload: &[u8], body: C) -> Future<Result<Value, ErrorRecord>>
    where
        I: DeserializeOwned,
        T: Serialize + DeserializeOwned,
        C: FnOnce(I) -> F,
        F: std::future::Future<Output = Result<T, ErrorRecord>> + Send + 'static,
    {
        let body = body(serde_json::from_slice(payload).unwrap());
        Box::pin(async { body.await.map(|value| serde_json::to_value(value).unwrap()) })
    }

    pub(crate) fn call<I, T, E>(meta: &'static TaskMeta, input: &I) -> Call<T, E>
    where
        I: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        Call { meta, input: serde_json::to_vec(input).unwrap(), result: PhantomData }
    }
}
