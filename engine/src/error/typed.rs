//! Errors that keep type and value through the log.
//!
//! Recorded by `ErrorRecord::typed`, given back by `Error::typed`.
//!
//! Invariant: an error that cannot be recorded whole is recorded without its value; it is never lost.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::sync::OnceLock;

use rustc_hash::FxHashMap;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::{Error, sources_of};
use crate::event::ErrorRecord;
use crate::payload::{Encoding, Payload, RoundTrip};

/// An error that comes out of the log as the type and the value that went in. Derived by `#[derive(TypedError)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not keep its type through the log",
    note = "derive it: #[derive(Serialize, Deserialize, relive::TypedError)]"
)]
pub trait TypedError: std::error::Error + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its name on record: what is read back under it must have been written as it. Keep it when the type is renamed.
    const NAME: &'static str;

    /// Whether another try is of no use.
    fn is_terminal(&self) -> bool {
        false
    }

    /// The engine's own error, if that is what it holds: kind, message and sources of its record are then those.
    fn engine_error(&self) -> Option<&Error> {
        None
    }
}

impl ErrorRecord {
    /// A record of an error that can be read back from it.
    ///
    /// If its value cannot be, it is left out, and the log of this program (`tracing`) says why.
    pub fn typed<E: TypedError>(error: &E, encoding: &Encoding) -> Self {
        let mut record = match error.engine_error() {
            Some(engine) => engine.to_record(),
            None => Self { sources: sources_of(error.source()), ..Self::of(error) },
        };
        record.type_name = Cow::Borrowed(E::NAME);
        record.terminal |= error.is_terminal();
        // Read back in every build: errors are rare, and one that is known by its message is better than one that is lost.
        let written = Payload::recordable(error, encoding, RoundTrip::of(false))
            .and_then(|payload| payload.decode::<E>().map(|_| payload));
        record.value = match written {
            Ok(payload) => Some(payload),
            Err(why) => {
                tracing::warn!(error = E::NAME, %why, "an error is recorded without its value");
                None
            }
        };
        record
    }

    /// The same record, its value sealed by the encoding's hook if nothing has sealed it yet. Called before it is
    /// appended: errors are also made where no engine is known.
    #[must_use]
    pub fn sealed(mut self, encoding: &Encoding) -> Self {
        self.value = self.value.and_then(|value| value.sealed(encoding).ok());
        self
    }
}

/// A typed error that `?` recognizes. Registered at link time, by the derive.
#[derive(Debug)]
pub struct TypedErrorEntry {
    type_id: fn() -> TypeId,
    record: fn(&dyn Any) -> Option<ErrorRecord>,
}

impl TypedErrorEntry {
    /// The entry of a type.
    pub const fn of<E: TypedError>() -> Self {
        Self { type_id: TypeId::of::<E>, record: |error| error.downcast_ref::<E>().map(record) }
    }
}

inventory::collect!(TypedErrorEntry);

fn record<E: TypedError>(error: &E) -> ErrorRecord {
    ErrorRecord::typed(error, &crate::run::current_encoding())
}

/// The record of an error of a registered type.
pub(super) fn recognized(error: &dyn Any) -> Option<ErrorRecord> {
    type Known = FxHashMap<TypeId, fn(&dyn Any) -> Option<ErrorRecord>>;
    static KNOWN: OnceLock<Known> = OnceLock::new();
    let known = KNOWN
        .get_or_init(|| inventory::iter::<TypedErrorEntry>().map(|entry| ((entry.type_id)(), entry.record)).collect());
    known.get(&error.type_id())?(error)
}

impl Error {
    /// A typed error under the engine's type, as `?` makes it of one whose type is registered (by the derive).
    pub fn of<E: TypedError>(error: &E) -> Self {
        Self::from_record(record(error))
    }

    /// The typed error that this was made of.
    ///
    /// # Errors
    /// The error itself, if it was made of something else, or its value can no longer be read as this type.
    pub fn typed<E: TypedError>(self) -> Result<E, Self> {
        if self.0.type_name != E::NAME {
            return Err(self);
        }
        match self.0.value.as_ref().map(Payload::decode) {
            Some(Ok(error)) => Ok(error),
            _ => Err(self),
        }
    }
}

/// As its record, so that a variant of a typed error can hold one.
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_record().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Error {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ErrorRecord::deserialize(deserializer).map(Self::from_record)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;
    use crate::error::ErrorKind;
    use crate::payload::PayloadCodec;

    /// By hand, what the derive writes.
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    enum Fetch {
        Status { code: u16, url: String },
        Gone,
        Unreadable(#[serde(serialize_with = "no_way")] u8),
        Engine(Error),
    }

    fn no_way<S: Serializer>(_: &u8, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no way"))
    }

    impl fmt::Display for Fetch {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Self::Status { code, url } => write!(f, "{url}: status {code}"),
                Self::Gone => f.write_str("gone"),
                Self::Unreadable(_) => f.write_str("unreadable"),
                Self::Engine(error) => write!(f, "engine: {error}"),
            }
        }
    }

    impl std::error::Error for Fetch {}

    impl TypedError for Fetch {
        const NAME: &'static str = "test::Fetch";

        fn is_terminal(&self) -> bool {
            matches!(self, Self::Gone)
        }

        fn engine_error(&self) -> Option<&Error> {
            if let Self::Engine(error) = self { Some(error) } else { None }
        }
    }

    inventory::submit! { TypedErrorEntry::of::<Fetch>() }

    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct Other;

    impl fmt::Display for Other {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("other")
        }
    }

    impl std::error::Error for Other {}

    impl TypedError for Other {
        const NAME: &'static str = "test::Other";
    }

    #[test]
    fn a_typed_error_comes_back_with_its_value_and_decision() {
        for codec in [PayloadCodec::MESSAGE_PACK, PayloadCodec::JSON, PayloadCodec::BINCODE] {
            let encoding = Encoding::DEFAULT.with_codec(Some(codec));
            let record = ErrorRecord::typed(&Fetch::Status { code: 503, url: "a".into() }, &encoding);
            assert_eq!((record.message.as_str(), record.terminal), ("a: status 503", false));
            // However often it goes through an error of the engine's.
            let error = record.to_error().to_record().to_error();
            let Err(error) = error.typed::<Other>() else { panic!("another type") };
            assert!(matches!(error.typed(), Ok(Fetch::Status { code: 503, url }) if url == "a"));
        }
        let question_mark = || -> crate::error::Result<()> { Err(Fetch::Gone)? };
        let gone = question_mark().unwrap_err();
        assert!(gone.is_terminal());
        assert!(matches!(gone.typed(), Ok(Fetch::Gone)));
        assert!(matches!(Error::of(&Other).typed(), Ok(Other)));
        assert!(Error::msg("plain").typed::<Fetch>().is_err());
    }

    #[test]
    fn an_error_of_the_engine_keeps_its_kind_inside_a_typed_one() {
        let inner = Error::new(ErrorKind::TimedOut, "too long").caused_by(Error::msg("slow")).terminal();
        let expected = inner.to_record();
        let record = ErrorRecord::typed(&Fetch::Engine(inner), &Encoding::DEFAULT);
        assert_eq!((record.kind, record.message.as_str(), record.terminal), (ErrorKind::TimedOut, "too long", true));
        assert_eq!(record.sources, expected.sources);
        let Ok(Fetch::Engine(error)) = record.to_error().typed() else { panic!("not typed") };
        assert_eq!(error.to_record(), expected);
    }

    #[test]
    fn an_error_that_cannot_be_written_is_recorded_without_its_value() {
        let record = ErrorRecord::typed(&Fetch::Unreadable(1), &Encoding::DEFAULT);
        assert_eq!((record.message.as_str(), record.value.clone()), ("unreadable", None));
        assert!(record.to_error().typed::<Fetch>().is_err());
    }
}
