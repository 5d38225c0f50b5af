//! A value without its type: what a payload holds, for people and for comparing two calls.
//!
//! Read from self-describing payloads; written as JSON.
//!
//! Invariant: reading one never fails for reasons of type, and nesting is bounded, whatever reads it.

mod difference;

use std::fmt;

pub use self::difference::Difference;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::payload::Depth;
use crate::printable::{WrittenOut, is_unsafe};

/// A value of any type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `()` or `None`.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer below zero.
    Negative(i64),
    /// An integer from zero on.
    Unsigned(u64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes; in JSON an object `{"bytes": "hex"}`.
    Bytes(Vec<u8>),
    /// A sequence or tuple.
    List(Vec<Value>),
    /// A map or struct, in the order it was written.
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// The entry of a map with this text as its key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find_map(|(k, v)| (matches!(k, Self::Text(text) if text == key)).then_some(v))
    }

    /// JSON on one line, cut to about `characters_max` with `…` where it was cut.
    pub fn excerpt(&self, characters_max: usize) -> String {
        let text = self.to_string();
        match text.char_indices().nth(characters_max) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Negative(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => write_text(f, text),
            Self::Bytes(bytes) => {
                f.write_str("{\"bytes\":\"")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("\"}")
            }
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Map(entries) => {
                f.write_str("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    f.write_str(if index > 0 { "," } else { "" })?;
                    match key {
                        Self::Text(text) => write_text(f, text)?,
                        other => write_text(f, &other.to_string())?,
                    }
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            // So that a payload cannot move a terminal's cursor.
            c if is_unsafe(c) => write!(f, "{}", WrittenOut(c))?,
            c => fmt::Write::write_char(f, c)?,
        }
    }
    f.write_str("\"")
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Negative(value) => serializer.serialize_i64(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => {
                let mut map = serializer.serialize_map(Some(1))?;
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                map.serialize_entry("bytes", &hex)?;
                map.end()
            }
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(entries) => serializer.collect_map(entries.iter().map(|(key, value)| match key {
                Self::Text(text) => (text.clone(), value),
                other => (other.to_string(), value),
            })),
        }
    }
}

/// A value as the MessagePack it was read from: bytes as bytes, keys as they are. What people get is `Value`'s own form.
pub(crate) struct Exact<'a>(pub(crate) &'a Value);

impl Serialize for Exact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Value::List(items) => serializer.collect_seq(items.iter().map(Exact)),
            Value::Map(entries) => {
                serializer.collect_map(entries.iter().map(|(key, value)| (Exact(key), Exact(value))))
            }
            other => other.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// With what is left of the levels.
        struct Any(Depth);

        impl Any {
            fn below<E: Error>(&self) -> Result<Self, E> {
                self.0.below().map(Self).map_err(E::custom)
            }

            fn wrapped<E: Error>(&self) -> Result<Self, E> {
                self.0.wrapped().map(Self).map_err(E::custom)
            }
        }

        impl<'de> DeserializeSeed<'de> for Any {
            type Value = Value;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
                deserializer.deserialize_any(self)
            }
        }

        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(u64::try_from(value).map_or(Value::Negative(value), Value::Unsigned))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Unsigned(value))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Float(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Text(value.to_owned()))
            }

            fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
                Ok(Value::Bytes(value.to_vec()))
            }

            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
                self.wrapped()?.deserialize(deserializer)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
                self.wrapped()?.deserialize(deserializer)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = access.next_element_seed(self.below()?)? {
                    items.push(item);
                }
                Ok(Value::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = access.next_entry_seed(self.below()?, self.below()?)? {
                    entries.push(entry);
                }
                Ok(Value::Map(entries))
            }

            fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
                let (tag, variant) = access.variant_seed(self.below()?)?;
                Ok(Value::Map(vec![(tag, variant.newtype_variant_seed(self.below()?)?)]))
            }
        }

        deserializer.deserialize_any(Any(Depth::READ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;

    #[test]
    fn a_payload_reads_as_json() {
        #[derive(serde::Serialize)]
        struct Call<'a> {
            url: &'a str,
            depth: i8,
            tags: Vec<Option<f32>>,
        }
        let payload = Payload::encode(&Call { url: "a\"\n\u{1b}[2J", depth: -1, tags: vec![None, Some(1.5)] }).unwrap();
        let text = payload.to_value().to_string();
        assert_eq!(text, r#"{"url":"a\"\n\u001b[2J","depth":-1,"tags":[null,1.5]}"#);
    }

    #[test]
    fn keys_that_are_no_text_and_bytes_are_shown() {
        let map = std::collections::BTreeMap::from([(1u8, serde_bytes_of(b"\x01\xff"))]);
        assert_eq!(Payload::encode(&map).unwrap().to_value().to_string(), r#"{"1":{"bytes":"01ff"}}"#);
    }

    fn serde_bytes_of(bytes: &'static [u8]) -> bytes::Bytes {
        bytes::Bytes::from_static(bytes)
    }

    #[test]
    fn an_excerpt_is_cut_between_characters() {
        assert_eq!(Value::Text("äöü".into()).excerpt(3), "\"äö…");
        assert_eq!(Value::Text("äöü".into()).excerpt(5), "\"äöü\"");
    }
}
