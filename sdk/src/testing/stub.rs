//! What runs in place of traces: stubs by name, and failures that are drawn by chance.
//!
//! Filled by the builders of [`Determinism`](super::Determinism) and [`TestEngine`](super::TestEngine); asked by `stage`.
//!
//! Invariant: what a stub finds is recorded as if the function itself had found it: in the same codec, with the same error.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use relive_engine::error::{Error, ErrorKind};
use relive_engine::event::ErrorRecord;
use relive_engine::payload::{Payload, PayloadError};
use relive_engine::run::{self, Output};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::function::Tested;
use crate::recorded::{encoded, recordable_result};

/// What runs in place of a trace.
#[derive(Clone)]
pub struct Stub {
    pub(crate) name: String,
    pub(crate) found: Found,
}

/// Finds something for recorded arguments.
pub(crate) type Finds<T> = dyn Fn(&Payload) -> T + Send + Sync;

/// What a stub finds for the recorded arguments.
#[derive(Clone)]
pub(crate) enum Found {
    One(Arc<Finds<Output>>),
    /// The items of a stream or an iterator; an error is the last.
    Many(Arc<Finds<Vec<Output>>>),
}

impl std::fmt::Debug for Stub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stub").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Stub {
    pub(crate) fn one<T, E>(
        name: &str,
        found: impl Fn(&Payload) -> Result<Result<T, E>, PayloadError> + Send + Sync + 'static,
    ) -> Self
    where
        T: Serialize + DeserializeOwned + 'static,
        E: 'static,
    {
        let of = name.to_owned();
        let found = move |arguments: &Payload| {
            let result = found(arguments).map_err(|error| unreadable(&of, &error))?;
            encoded(&of, run::effect_codec(), result.map_err(|error| record(&of, &error)))
        };
        Self { name: name.to_owned(), found: Found::One(Arc::new(found)) }
    }

    pub(crate) fn many<T, E>(
        name: &str,
        found: impl Fn(&Payload) -> Result<Vec<Result<T, E>>, PayloadError> + Send + Sync + 'static,
    ) -> Self
    where
        T: Serialize + DeserializeOwned + 'static,
        E: 'static,
    {
        let of = name.to_owned();
        let found = move |arguments: &Payload| {
            let results = match found(arguments) {
                Ok(results) => results,
                Err(error) => return vec![Err(unreadable(&of, &error))],
            };
            let item = |result: Result<T, E>| {
                let value = result.map_err(|error| record(&of, &error))?;
                recordable_result(run::effect_codec(), &value).map_err(|error| unreadable(&of, &error))
            };
            results.into_iter().map(item).collect()
        };
        Self { name: name.to_owned(), found: Found::Many(Arc::new(found)) }
    }
}

fn unreadable(name: &str, error: &PayloadError) -> ErrorRecord {
    let message = format!("the stub of {name} does not fit its recorded arguments or result: {error}");
    ErrorRecord::new(ErrorKind::Payload, message)
}

/// The record of a stub's error.
fn record<E: Any>(name: &str, error: &E) -> ErrorRecord {
    let by_type = Tested::named(name).and_then(|tested| (tested.record)(error));
    let own = || (error as &dyn Any).downcast_ref::<Error>().map(Error::to_record);
    by_type.or_else(own).unwrap_or_else(|| {
        let type_name = std::any::type_name::<E>();
        ErrorRecord::new(ErrorKind::Failed, format!("the stub of {name} returned an error of type {type_name}"))
    })
}

/// The record of a failure that the kit makes, as the trace's own error type.
pub(crate) fn failure(name: &str) -> ErrorRecord {
    let error = Error::new(ErrorKind::Failed, format!("{name} was made to fail"));
    Tested::named(name).map_or_else(|| error.to_record(), |tested| (tested.fail)(Error::from_record(error.to_record())))
}

/// A panic that the kit makes: it happens, with a value that panics once more when it is dropped, and is recorded as the
/// engine records one.
pub(crate) fn panicked(name: &str) -> ErrorRecord {
    let caught = relive_engine::panic::catch(|| std::panic::panic_any(Explosive));
    debug_assert!(caught.is_err(), "it panicked");
    ErrorRecord::new(ErrorKind::Panicked, format!("trace {name} panicked: it was made to"))
}

/// Panics when it is dropped.
struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        std::panic::panic_any("a destructor's panic");
    }
}

/// How often the calls of a trace go wrong by chance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chance {
    pub(crate) fail: f64,
    pub(crate) panic: f64,
    pub(crate) delay: f64,
    pub(crate) delayed: Duration,
}

/// All stubs, and all that goes wrong by chance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stubs {
    pub(crate) stubs: BTreeMap<String, Stub>,
    pub(crate) chances: BTreeMap<String, Chance>,
}

impl Stubs {
    pub(crate) fn insert(&mut self, stub: Stub) {
        self.stubs.insert(stub.name.clone(), stub);
    }

    /// Changes the chances of a trace.
    ///
    /// # Panics
    /// If this is no probability.
    pub(crate) fn chance(&mut self, name: &str, probability: f64, change: impl FnOnce(&mut Chance)) {
        assert!((0.0..=1.0).contains(&probability), "{probability} is no probability: 0 to 1 are possible");
        change(self.chances.entry(name.to_owned()).or_default());
    }

    /// Refuses names that no trace of the program has.
    ///
    /// # Panics
    /// If there is such a name.
    pub(crate) fn check_names(&self) {
        let known: Vec<_> =
            crate::__private::inventory::iter::<crate::__private::TraceEntry>().map(|entry| entry.0.name).collect();
        let unknown = self.stubs.keys().chain(self.chances.keys()).find(|name| !known.contains(&name.as_str()));
        if let Some(name) = unknown {
            panic!("no trace of this program is named `{name}`: it has {known:?}");
        }
    }
}
