//! How a user's error becomes a record: by what the error's type can do.
//!
//! Used by the macros' expansions through `record_error!`, which picks the first of: Relive's own error, a typed
//! one, any `std::error::Error`, anything that displays, anything else that has a debug form.
//!
//! Invariant: the body gets the same error live and replayed, as both are made from the record.

use std::borrow::Cow;
use std::fmt::{Debug, Display};

use relive_engine::error::{Error, ErrorKind, TypedError, debugged, displayed};
use relive_engine::event::ErrorRecord;
use relive_engine::run;

/// An error whose type decides how it is recorded. The traits below are tried from the nearest reference on.
#[derive(Debug)]
pub struct Recorded<'a, E>(pub &'a E);

/// Relive's own error: kind, message and sources.
pub trait RecordRelive {
    /// The record.
    fn record(&self) -> ErrorRecord;
}

impl RecordRelive for &&&&Recorded<'_, Error> {
    fn record(&self) -> ErrorRecord {
        self.0.to_record()
    }
}

/// An error that keeps its type: message, sources and the value.
pub trait RecordTyped {
    /// The record.
    fn record(&self) -> ErrorRecord;
}

impl<E: TypedError> RecordTyped for &&&Recorded<'_, E> {
    fn record(&self) -> ErrorRecord {
        ErrorRecord::typed(self.0, &run::current_encoding())
    }
}

/// Any error of std's kind: message and sources.
pub trait RecordStd {
    /// The record.
    fn record(&self) -> ErrorRecord;
}

impl<E: std::error::Error> RecordStd for &&Recorded<'_, E> {
    fn record(&self) -> ErrorRecord {
        ErrorRecord::of(self.0)
    }
}

/// Anything that displays: its message.
pub trait RecordDisplay {
    /// The record.
    fn record(&self) -> ErrorRecord;
}

impl<E: Display> RecordDisplay for &Recorded<'_, E> {
    fn record(&self) -> ErrorRecord {
        named::<E>(displayed(self.0))
    }
}

/// Anything else: its debug form.
pub trait RecordDebug {
    /// The record.
    fn record(&self) -> ErrorRecord;
}

impl<E: Debug> RecordDebug for Recorded<'_, E> {
    fn record(&self) -> ErrorRecord {
        named::<E>(debugged(self.0))
    }
}

fn named<E>(message: String) -> ErrorRecord {
    ErrorRecord { type_name: Cow::Borrowed(std::any::type_name::<E>()), ..ErrorRecord::new(ErrorKind::Failed, message) }
}

/// The record of an error of any type.
#[doc(hidden)]
#[macro_export]
macro_rules! __record_error {
    ($error:expr) => {{
        #[allow(unused_imports, reason = "which of them is used depends on the error's type")]
        use $crate::__private::{
            RecordDebug as _, RecordDisplay as _, RecordRelive as _, RecordStd as _, RecordTyped as _,
        };
        (&&&&&$crate::__private::Recorded(&$error)).record()
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct Typed {
        code: u8,
    }

    impl Display for Typed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "code {}", self.code)
        }
    }

    impl std::error::Error for Typed {}

    impl TypedError for Typed {
        const NAME: &'static str = "tests::Typed";

        fn is_terminal(&self) -> bool {
            true
        }
    }

    #[test]
    fn the_best_form_an_error_has_is_recorded() {
        struct Shown;
        impl Display for Shown {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("shown")
            }
        }
        #[derive(Debug)]
        #[expect(dead_code, reason = "read by its debug form")]
        struct Debugged(u8);
        let own = crate::__record_error!(Error::new(ErrorKind::NotProvided, "own"));
        assert_eq!((own.kind, own.message.as_str()), (ErrorKind::NotProvided, "own"));
        let std = crate::__record_error!("x".parse::<u8>().unwrap_err());
        assert_eq!(
            (std.message.as_str(), &*std.type_name),
            ("invalid digit found in string", "core::num::error::ParseIntError")
        );
        let typed = crate::__record_error!(Typed { code: 7 });
        assert_eq!((typed.message.as_str(), &*typed.type_name, typed.terminal), ("code 7", "tests::Typed", true));
        assert!(matches!(typed.to_error().typed(), Ok(Typed { code: 7 })));
        assert_eq!(crate::__record_error!(Shown).message, "shown");
        assert_eq!(crate::__record_error!(Debugged(1)).message, "Debugged(1)");
    }
}
