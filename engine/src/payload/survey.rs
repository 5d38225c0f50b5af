//! What a value could lose when it is recorded, told by looking at it once, without writing it.
//!
//! Called by `recordable` in every build, so it allocates nothing.
//!
//! Invariant: a value that passes and is written is not read back as another one for want of a codec's means (an
//! `Option` that holds nothing, a number that JSON lacks, a field that bincode would not miss, too many levels).

use std::cell::Cell;

use serde::ser::{self, Serialize};

use super::{PayloadCodec, PayloadError};

/// Deepest nesting that is recorded, each `Some` and newtype counted: 120, below the 128 levels that are read.
const DEPTH_MAX: u8 = 120;

/// Looks at a value that is to be written in this codec.
///
/// # Errors
/// If the codec would lose something of it, or the value's own `Serialize` fails.
pub(super) fn survey<T: Serialize + ?Sized>(value: &T, codec: PayloadCodec) -> Result<Form, PayloadError> {
    let depends = Cell::new(false);
    let start = Survey { codec, left: DEPTH_MAX, depends: &depends };
    value.serialize(start).map_err(|Refused(why)| PayloadError::new(why))?;
    Ok(if depends.get() { Form::Depends } else { Form::Same })
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
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

#[derive(Clone, Copy)]
struct Survey<'a> {
    codec: PayloadCodec,
    /// Set once a type asks which form is wanted.
    depends: &'a Cell<bool>,
    /// How many levels may follow.
    left: u8,
}

impl Survey<'_> {
    fn within<T: Serialize + ?Sized>(self, value: &T) -> Result<Looks, Refused> {
        value.serialize(self.deeper()?)
    }

    fn deeper(self) -> Result<Self, Refused> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => Err(Refused(format!("it is nested more than {DEPTH_MAX} levels deep: use a flatter type"))),
        }
    }

    fn float(self, is_finite: bool) -> Result<Looks, Refused> {
        if self.codec == PayloadCodec::JSON && !is_finite {
            return Err(Refused("JSON has no NaN and no infinity: use another codec, or an Option".to_owned()));
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
            Ok(self)
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
        if self.within(value)? == Looks::Nil {
            return Err(Refused(crate::canonical::HOLDS_NOTHING.to_owned()));
        }
        Ok(Looks::Other)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Looks, Refused> {
        self.within(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        value: &T,
    ) -> Result<Looks, Refused> {
        self.within(value)?;
        Ok(Looks::Other)
    }

    // Two levels: a map from the variant's name to the fields.
    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Refused> {
        self.deeper()
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Refused> {
        self.deeper()
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
                self.within(value).map(|_| ())
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

            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Refused> {
                self.within(value).map(|_| ())
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), Refused> {
                if self.codec == PayloadCodec::BINCODE {
                    return Err(Refused(format!(
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
        self.within(key).map(|_| ())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.within(value).map(|_| ())
    }

    fn end(self) -> Result<Looks, Refused> {
        Ok(Looks::Other)
    }
}
