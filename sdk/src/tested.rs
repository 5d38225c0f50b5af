//! What the test kit has to know of each `#[trace]` function: which it is, and what its errors are on record.
//!
//! Registered by the macro's expansion, through `tested!`: without the feature `testing` that macro is empty.

/// Registers a trace for the test kit. Called by the macro's expansion.
#[cfg(feature = "testing")]
#[doc(hidden)]
#[macro_export]
macro_rules! __tested {
    ($name:expr, $function:expr, $error:ty) => {
        $crate::__private::inventory::submit! {
            $crate::testing::Tested {
                name: $name,
                function: $function,
                module: ::core::module_path!(),
                record: |error| error.downcast_ref::<$error>().map(|error| $crate::__private::record_error!(*error)),
                fail: |error| {
                    let error: $error = ::core::convert::From::from(error);
                    $crate::__private::record_error!(error)
                },
            }
        }
    };
    ($name:expr, $function:expr,) => {
        $crate::__private::inventory::submit! {
            $crate::testing::Tested {
                name: $name,
                function: $function,
                module: ::core::module_path!(),
                record: |error| error.downcast_ref::<$crate::Error>().map($crate::Error::to_record),
                fail: |error| error.to_record(),
            }
        }
    };
}

/// Nothing is registered without the feature `testing`.
#[cfg(not(feature = "testing"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __tested {
    ($($ignored:tt)*) => {};
}
