//! What a function item tells about itself: a task's arguments and result, a trace's arguments, result and name.
//!
//! Types come from the function's signature, so that inputs and stubs are checked by the compiler; a trace's definition is
//! found by the path in the function's type name, as functions have no other name at run time.
//!
//! Invariant: a function that cannot be told is refused with what to call instead, never taken for another.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use relive_engine::error::Error;
use relive_engine::event::ErrorRecord;
use relive_engine::payload::{Payload, PayloadError};
use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::stub::Stub;
use crate::__private::inventory;
use crate::stream::{TraceIterator, TraceStream};
use crate::task::Call;
use crate::trace::Trace;

/// A `#[trace]` function. Registered by the macro's expansion.
#[doc(hidden)]
#[derive(Debug)]
pub struct Tested {
    /// The name on record.
    pub name: &'static str,
    /// The function's own name.
    pub function: &'static str,
    /// The module it is in.
    pub module: &'static str,
    /// The record of one of its errors, if it is of the function's type.
    pub record: fn(&dyn std::any::Any) -> Option<ErrorRecord>,
    /// The record of an error of the engine's, as the function's own type.
    pub fail: fn(Error) -> ErrorRecord,
}
inventory::collect!(Tested);

impl Tested {
    /// The trace of this name on record.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        inventory::iter::<Self>().find(|tested| tested.name == name)
    }

    /// The trace that a function item is.
    ///
    /// # Panics
    /// If it cannot be told: it is a closure, or several traces of one module have its name.
    pub(crate) fn of<F>() -> &'static Self {
        let path = path_of::<F>();
        let is_of = |tested: &&Self| {
            let inside = path.strip_prefix(tested.module).and_then(|rest| rest.strip_prefix("::"));
            inside.is_some_and(|inside| inside.rsplit("::").next() == Some(tested.function))
        };
        let found: Vec<_> = inventory::iter::<Self>().filter(is_of).collect();
        let exact = found.iter().find(|tested| path == format!("{}::{}", tested.module, tested.function));
        match (exact, found.as_slice()) {
            (Some(exact), _) => exact,
            (None, [only]) => only,
            (None, []) => panic!("{path} is no #[trace] function: name the trace, as in `stub_named(\"fetch\", …)`"),
            (None, several) => {
                let names: Vec<_> = several.iter().map(|tested| tested.name).collect();
                panic!("{path} may be any of {names:?}: name the trace, as in `stub_named(\"fetch\", …)`")
            }
        }
    }
}

/// The path of a function item, less its type parameters.
fn path_of<F>() -> String {
    let mut depth = 0usize;
    let name = std::any::type_name::<F>();
    let mut path = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            other if depth == 0 => path.push(other),
            _ => {}
        }
    }
    path.trim_end_matches("::").to_owned()
}

/// A `#[task]` function, or a closure that calls one. Its arguments are one input: none is `()`, several are a tuple.
pub trait TaskFunction<Marker> {
    /// Its arguments.
    type Input;
    /// What it returns.
    type Value;
    /// Its error.
    type Error;

    /// Its call.
    fn call(&self, input: Self::Input) -> Call<Self::Value, Self::Error>;
}

/// A `#[trace]` function. Its arguments are one input: none is `()`, several are a tuple.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no #[trace] function that can be stubbed by itself",
    label = "its arguments are not all recorded data",
    note = "name the trace, and take its arguments as a map or a struct: `stub_named(\"fetch\", |input: relive::Value| …)`"
)]
pub trait TraceFunction<Marker> {
    /// Its arguments. References live for ever: what they borrow is leaked, once per call that is stubbed.
    type Input;
    /// What it returns.
    type Returned: Returned;

    /// Its arguments, as they were recorded.
    ///
    /// # Errors
    /// If they are not of these types.
    #[doc(hidden)]
    fn input(arguments: &Payload) -> Result<Self::Input, PayloadError>;
}

/// What a call of a `#[trace]` function returns, and what a stub returns for it.
pub trait Returned {
    /// What a stub returns: the result, or the results that are its items.
    type Stubbed: Stubbed;
}

impl<T: Serialize + DeserializeOwned + 'static, E: 'static> Returned for Trace<T, E> {
    type Stubbed = Result<T, E>;
}

impl<T: Serialize + DeserializeOwned + 'static, E: 'static> Returned for Result<T, E> {
    type Stubbed = Self;
}

impl<T: Serialize + DeserializeOwned + 'static, E: 'static> Returned for TraceStream<T, E> {
    type Stubbed = Vec<Result<T, E>>;
}

impl<T: Serialize + DeserializeOwned + 'static, E: 'static> Returned for TraceIterator<T, E> {
    type Stubbed = Vec<Result<T, E>>;
}

/// What a stub returns.
pub trait Stubbed: Sized {
    #[doc(hidden)]
    fn stub(name: &str, found: impl Fn(&Payload) -> Result<Self, PayloadError> + Send + Sync + 'static) -> Stub;
}

impl<T: Serialize + DeserializeOwned + 'static, E: 'static> Stubbed for Result<T, E> {
    fn stub(name: &str, found: impl Fn(&Payload) -> Result<Self, PayloadError> + Send + Sync + 'static) -> Stub {
        Stub::one(name, found)
    }
}

impl<T: Serialize + DeserializeOwned + 'static, E: 'static> Stubbed for Vec<Result<T, E>> {
    fn stub(name: &str, found: impl Fn(&Payload) -> Result<Self, PayloadError> + Send + Sync + 'static) -> Stub {
        Stub::many(name, found)
    }
}

/// An argument of a trace, as it comes out of the record.
pub trait Argument<Marker>: Sized {
    /// What is recorded of it.
    #[doc(hidden)]
    type Recorded: Deserialize<'static>;

    #[doc(hidden)]
    fn given(recorded: Self::Recorded) -> Self;
}

/// Marks an argument that is recorded as it is; a `&str` among them.
#[derive(Debug)]
pub struct Owned;

/// Marks an argument that is a reference.
#[derive(Debug)]
pub struct Lent;

/// Marks an argument that is a slice.
#[derive(Debug)]
pub struct Slice;

impl<A: Deserialize<'static>> Argument<Owned> for A {
    type Recorded = A;

    fn given(recorded: A) -> A {
        recorded
    }
}

impl<B: Deserialize<'static>> Argument<Lent> for &'static B {
    type Recorded = B;

    fn given(recorded: B) -> Self {
        Box::leak(Box::new(recorded))
    }
}

impl<B: Deserialize<'static>> Argument<Slice> for &'static [B] {
    type Recorded = Vec<B>;

    fn given(recorded: Vec<B>) -> Self {
        recorded.leak()
    }
}

/// The values of a map, in order, whatever their names.
struct Positional<T>(T);

fn positional<T>(arguments: &Payload) -> Result<T, PayloadError>
where
    Positional<T>: Deserialize<'static>,
{
    // Leaked, as arguments may borrow from it.
    let arguments: &'static Payload = Box::leak(Box::new(arguments.clone()));
    Ok(arguments.decode_borrowed::<Positional<T>>()?.0)
}

macro_rules! functions {
    ($(($($argument:ident $marker:ident $value:ident),*) => $input:ty, $made:tt, $count:literal;)*) => {$(
        impl<Function, T, E, $($argument),*> TaskFunction<fn($($argument),*) -> (T, E)> for Function
        where
            Function: Fn($($argument),*) -> Call<T, E>,
        {
            type Input = $input;
            type Value = T;
            type Error = E;

            fn call(&self, input: Self::Input) -> Call<T, E> {
                let $made = input;
                self($($value),*)
            }
        }

        impl<Function, R, $($argument, $marker),*> TraceFunction<(fn($($argument),*) -> R, ($($marker,)*))> for Function
        where
            Function: Fn($($argument),*) -> R,
            R: Returned,
            $($argument: Argument<$marker>,)*
        {
            type Input = $input;
            type Returned = R;

            fn input(arguments: &Payload) -> Result<Self::Input, PayloadError> {
                let recorded: ($($argument::Recorded,)*) = positional(arguments)?;
                let ($($value,)*) = recorded;
                $(let $value = $argument::given($value);)*
                Ok($made)
            }
        }

        impl<$($argument: Deserialize<'static>),*> Deserialize<'static> for Positional<($($argument,)*)> {
            fn deserialize<De: Deserializer<'static>>(deserializer: De) -> Result<Self, De::Error> {
                struct Values<$($argument),*>(PhantomData<fn() -> ($($argument,)*)>);
                impl<$($argument: Deserialize<'static>),*> Visitor<'static> for Values<$($argument),*> {
                    type Value = Positional<($($argument,)*)>;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "{} recorded arguments", $count)
                    }

                    #[allow(unused_mut, reason = "without arguments nothing is read")]
                    fn visit_map<Ma: MapAccess<'static>>(self, mut map: Ma) -> Result<Self::Value, Ma::Error> {
                        $(
                            let Some((_, $value)) = map.next_entry::<String, $argument>()? else {
                                return Err(serde::de::Error::invalid_length(0, &self));
                            };
                        )*
                        if map.next_entry::<String, IgnoredAny>()?.is_some() {
                            return Err(serde::de::Error::invalid_length($count + 1, &self));
                        }
                        Ok(Positional(($($value,)*)))
                    }
                }
                deserializer.deserialize_map(Values(PhantomData))
            }
        }
    )*};
}

functions! {
    () => (), (), 0;
    (A1 M1 a) => A1, a, 1;
    (A1 M1 a, A2 M2 b) => (A1, A2), (a, b), 2;
    (A1 M1 a, A2 M2 b, A3 M3 c) => (A1, A2, A3), (a, b, c), 3;
    (A1 M1 a, A2 M2 b, A3 M3 c, A4 M4 d) => (A1, A2, A3, A4), (a, b, c, d), 4;
    (A1 M1 a, A2 M2 b, A3 M3 c, A4 M4 d, A5 M5 e) => (A1, A2, A3, A4, A5), (a, b, c, d, e), 5;
    (A1 M1 a, A2 M2 b, A3 M3 c, A4 M4 d, A5 M5 e, A6 M6 f) => (A1, A2, A3, A4, A5, A6), (a, b, c, d, e, f), 6;
}

/// A stub of this function.
pub(crate) fn stub_of<F, M, S>(stub: S) -> Stub
where
    F: TraceFunction<M>,
    S: Fn(F::Input) -> <F::Returned as Returned>::Stubbed + Send + Sync + 'static,
    F: 'static,
    M: 'static,
{
    let stub = Arc::new(stub);
    <F::Returned as Returned>::Stubbed::stub(Tested::of::<F>().name, move |arguments| Ok(stub(F::input(arguments)?)))
}
