//! Arguments and results as they are recorded.
//!
//! Used by the macros' expansions and by every form of a trace.
//!
//! Invariant: what is recorded can be read back; what cannot is refused when it is recorded.

use relive_engine::definition::TraceDefinition;
use relive_engine::error::{Error, ErrorKind};
use relive_engine::event::ErrorRecord;
use relive_engine::payload::{Payload, PayloadCodec, PayloadError, RoundTrip};
use relive_engine::run;
use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// The recorded form of a result; one that cannot be recorded is a recorded failure that says so.
pub(crate) fn encoded<T: Serialize + DeserializeOwned>(
    name: &str,
    codec: Option<PayloadCodec>,
    result: Result<T, ErrorRecord>,
) -> run::Output {
    let value = result?;
    recordable_result(codec, &value).map_err(|error| {
        let type_name = std::any::type_name::<T>();
        ErrorRecord::new(
            ErrorKind::Payload,
            format!("the result of {name}, a {type_name}, cannot be recorded: {error}"),
        )
    })
}

/// The payload of a result that can be read back. What cannot is refused now, when it is known where it came from, and not
/// after the effect is done and its record useless.
pub(crate) fn recordable_result<T: Serialize + DeserializeOwned>(
    codec: Option<PayloadCodec>,
    value: &T,
) -> Result<Payload, PayloadError> {
    Payload::recordable(value, &run::current_encoding().with_codec(codec), RoundTrip::of(run::is_strict()))
}

/// A recorded result that today's type cannot read.
pub(crate) fn unreadable<T>(name: &str, error: &PayloadError) -> Error {
    let type_name = std::any::type_name::<T>();
    Error::new(ErrorKind::Payload, format!("a result of trace {name} cannot be read as {type_name}: {error}"))
}

/// Named arguments, as nested pairs: `(("a", &a), (("b", &b), ()))`.
#[doc(hidden)]
pub trait ArgumentList {
    /// How many there are.
    const COUNT: usize;

    /// The first whose type has no order of its own, by its name: its form differs from run to run.
    fn unordered(&self) -> Option<&str>;

    /// Writes each as an entry of a map.
    ///
    /// # Errors
    /// If one's own `Serialize` fails.
    fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;
}

impl ArgumentList for () {
    const COUNT: usize = 0;

    fn unordered(&self) -> Option<&str> {
        None
    }

    fn write<M: SerializeMap>(&self, _map: &mut M) -> Result<(), M::Error> {
        Ok(())
    }
}

impl<T: Serialize + ?Sized, Rest: ArgumentList> ArgumentList for ((&str, &T), Rest) {
    const COUNT: usize = 1 + Rest::COUNT;

    fn unordered(&self) -> Option<&str> {
        let type_name = std::any::type_name::<T>();
        let is_set = type_name.contains("HashSet<") && !type_name.contains("Unordered<");
        if is_set { Some(self.0.0) } else { self.1.unordered() }
    }

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
    pub fn of<L: ArgumentList>(definition: &'static TraceDefinition, list: &L) -> Result<run::Arguments, PayloadError> {
        if let Some(name) = list.unordered() {
            return Err(PayloadError::new(format!(
                "argument `{name}` is a HashSet, whose order is another in every run, so the call would not be known again: \
                 use a BTreeSet, or wrap it by relive::unordered(…)"
            )));
        }
        let encoding = run::current_encoding().with_codec(definition.policy.codec);
        run::Arguments::of(&Named(list), &encoding, definition.policy.redact)
    }
}

/// Makes a trace known by a key instead of its arguments. Called by the macro's expansion.
///
/// # Errors
/// If the arguments or the key cannot be recorded.
#[doc(hidden)]
pub fn keyed<K: Serialize + ?Sized>(
    arguments: Result<run::Arguments, PayloadError>,
    key: &K,
) -> Result<run::Arguments, PayloadError> {
    arguments?.keyed(key)
}
