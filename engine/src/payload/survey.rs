//! What a value could lose when it is recorded, told by looking at it once, without writing it.
//!
//! Called by `recordable` in every build, so it allocates nothing.
//!
//! Invariant: a value that passes and is written is not read back as another one for want of a codec's means (an
//! `Option` that holds nothing, a number that JSON lacks, a field that bincode would not miss, too many levels).

use std::cell::Cell;

use serde::ser::{self, Serialize};

use super::{Depth, PayloadCodec, PayloadError, TooDeep};
use crate::panic::catch;

/// Looks at a value that is to be written in this codec.
///
/// # Errors
/// If the codec would lose something of it, or the value's own `Serialize` fails.
pub(super) fn survey<T: Serialize + ?Sized>(value: &T, codec: PayloadCodec) -> Result<Form, PayloadError> {
    survey_within(value, codec, Depth::VALUE)
}

/// As [`survey`], of a value that may nest so deep.
///
/// # Errors
/// As there.
pub(super) fn survey_within<T: Serialize + ?Sized>(
    value: &T,
    codec: PayloadCodec,
    depth: Depth,
) -> Result<Form, PayloadError> {
    surveyed(value, codec, depth, false)
}

/// Looks only at how deep a value nests.
///
/// # Errors
/// If it is deeper than this, or its own `Serialize` fails.
pub(super) fn measured<T: Serialize + ?Sized>(
    value: &T,
    codec: PayloadCodec,
    depth: Depth,
) -> Result<(), PayloadError> {
    surveyed(value, codec, depth, true).map(|_| ())
}

fn surveyed<T: Serialize + ?Sized>(
    value: &T,
    codec: PayloadCodec,
    depth: Depth,
    measures: bool,
) -> Result<Form, PayloadError> {
    let depends = Cell::new(false);
    match catch(|| value.serialize(Survey { codec, depth, measures, depends: &depends })) {
        Ok(Ok(_)) => Ok(if depends.get() { Form::Depends } else { Form::Same }),
        Ok(Err(Refused { field, why })) => Err(PayloadError::at(field, why)),
        Err(why) => Err(PayloadError::panicked("written", &why)),
    }
}

/// Whether the codec decides how parts of a value are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// All codecs are given the same.
    Same,
    /// A type in it has one form for people and one for programs, as an address: where serde reads by looking ahead
    /// (`untagged`, `flatten`, `tag`), it takes any codec for one for people, and does not find the other form.
    Depends,
}

/// How a value looks in MessagePack and JSON.
#[derive(Clone, Copy, PartialEq)]
enum Looks {
    Nil,
    Other,
}

#[derive(Debug)]
struct Refused {
    /// Where, as far as fields have names: `user.tags[…]`.
    field: String,
    why: String,
}

impl Refused {
    fn new(why: String) -> Self {
        Self { field: String::new(), why }
    }

    /// Seen from what it is in.
    fn within(mut self, part: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{part}{dot}{}", self.field);
        self
    }
}

impl From<TooDeep> for Refused {
    fn from(too_deep: TooDeep) -> Self {
        Self::new(too_deep.to_string())
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::new(crate::error::displayed(&message))
    }
}

#[derive(Clone, Copy)]
struct Survey<'a> {
    codec: PayloadCodec,
    /// Set once a type asks which form is wanted.
    depends: &'a Cell<bool>,
    depth: Depth,
    /// Whether it is only asked how deep the value is.
    measures: bool,
}

impl Survey<'_> {
    fn wrapped<T: Serialize + ?Sized>(self, value: &T) -> Result<Looks, Refused> {
        value.serialize(Self { depth: self.depth.wrapped()?, ..self })
    }

    fn below(self) -> Result<Self, Refused> {
        Ok(Self { depth: self.depth.below()?, ..self })
    }

    fn float(self, is_finite: bool) -> Result<Looks, Refused> {
        if self.codec == PayloadCodec::JSON && !is_finite && !self.measures {
            return Err(Refused::new("JSON has no NaN and no infinity: use another codec, or an Option".to_owned()));
        }
        Ok(Looks::Other)
    }
}

macro_rules! plain {
    ($($method:ident($($argument:ty),*)),* $(,)?) => {$(
        fn $method(self $(, _: $argument)*) -> Result<Looks, Refused> {
            Ok(Looks::Other)
        }
    )*};
}

macro_rules! nested {
    ($($method:ident($($argument:ty),*) -> $type:ident),* $(,)?) => {$(
        fn $method(self $(, _: $argument)*) -> Result<Self::$type, Refused> {
            self.below()
        }
    )*};
}

impl ser::Serializer for Survey<'_> {
    type Ok = Looks;
    type Error = Refused;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    plain!(
        serialize_bool(bool),
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64),
        serialize_i128(i128),
        serialize_u8(u8),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_u128(u128),
        serialize_char(char),
        serialize_str(&str),
        serialize_bytes(&[u8]),
        serialize_unit_variant(&'static str, u32, &'static str),
    );

    nested!(
        serialize_seq(Option<usize>) -> SerializeSeq,
        serialize_tuple(usize) -> SerializeTuple,
        serialize_tuple_struct(&'static str, usize) -> SerializeTupleStruct,
        serialize_map(Option<usize>) -> SerializeMap,
        serialize_struct(&'static str, usize) -> SerializeStruct,
    );

    fn serialize_f32(self, value: f32) -> Result<Looks, Refused> {
        self.float(value.is_finite())
    }

    fn serialize_f64(self, value: f64) -> Result<Looks, Refused> {
        self.float(value.is_finite())
    }

    fn serialize_none(self) -> Result<Looks, Refused> {
        Ok(Looks::Nil)
    }

    fn serialize_unit(self) -> Result<Looks, Refused> {
        Ok(Looks::Nil)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Looks, Refused> {
        Ok(Looks::Nil)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Looks, Refused> {
        // Whatever the codec: so that a value that was recorded in one can be recorded in all.
        if self.wrapped(value)? == Looks::Nil && !self.measures {
            return Err(Refused::new(crate::canonical::HOLDS_NOTHING.to_owned()));
        }
        Ok(Looks::Other)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Looks, Refused> {
        self.wrapped(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Looks, Refused> {
        value.serialize(self.below()?).map_err(|refused| refused.within(variant))?;
        Ok(Looks::Other)
    }

    // Two levels: a map from the variant's name to the fields.
    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Refused> {
        self.below()?.below()
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Refused> {
        self.below()?.below()
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, _value: &T) -> Result<Looks, Refused> {
        Ok(Looks::Other)
    }

    fn is_human_readable(&self) -> bool {
        self.depends.set(true);
        self.codec == PayloadCodec::JSON
    }
}

macro_rules! elements {
    ($($trait:ident::$method:ident),*) => {$(
        impl ser::$trait for Survey<'_> {
            type Ok = Looks;
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                value.serialize(*self).map(|_| ()).map_err(|refused| refused.within("[…]"))
            }

            fn end(self) -> Result<Looks, Refused> {
                Ok(Looks::Other)
            }
        }
    )*};
}
elements!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

macro_rules! fields {
    ($($trait:ident),*) => {$(
        impl ser::$trait for Survey<'_> {
            type Ok = Looks;
            type Error = Refused;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
                value.serialize(*self).map(|_| ()).map_err(|refused| refused.within(name))
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), Refused> {
                if self.codec == PayloadCodec::BINCODE && !self.measures {
                    return Err(Refused::new(format!(
                        "field `{name}` is left out (skip_serializing_if), and bincode would read the next one in its \
                         place: use another codec, or always write it"
                    )));
                }
                Ok(())
            }

            fn end(self) -> Result<Looks, Refused> {
                Ok(Looks::Other)
            }
        }
    )*};
}
fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Survey<'_> {
    type Ok = Looks;
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        key.serialize(*self).map(|_| ())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(*self).map(|_| ()).map_err(|refused| refused.within("[…]"))
    }

    fn end(self) -> Result<Looks, Refused> {
        Ok(Looks::Other)
    }
}
