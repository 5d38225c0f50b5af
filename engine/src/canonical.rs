//! The canonical form of a call's input: equal inputs have equal bytes, whatever the order of their maps.
//!
//! Called when a trace starts (its hash is part of the trace's key) and when a task is called (hash and bytes are the
//! cache's key). Rules: maps and structs sorted by their keys' form; integers without width; floats by bits; declared
//! sets sorted; a struct, a map with text keys of the same entries, and newtypes around a value are not told apart.
//!
//! Invariant: different values of one type have different bytes (every part carries its kind and length).

mod unordered;

use serde::ser::{self, Serialize};

use crate::panic::catch;
use crate::payload::unordered::MARKER;
use crate::payload::{Depth, PayloadError, TooDeep};

/// Why an `Option` that holds nothing is refused.
pub(crate) const HOLDS_NOTHING: &str =
    "an Option that holds None or () cannot be told from None when it is read back: use a type of your own";

/// Writes the canonical form of a call's arguments: of a map or struct that holds them.
///
/// # Errors
/// If their own `Serialize` fails or panics, one could not be told from another value when it is read back (`Some(None)`), or
/// nests more than [`LEVELS_MAX`](crate::payload::LEVELS_MAX) levels deep. The error names it.
pub fn canonical<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, PayloadError> {
    written(value, &[], Depth::ARGUMENTS)
}

/// As [`canonical`], of a value that was measured before, or that a payload's reader made: which may come from a version that
/// counted its levels otherwise.
pub(crate) fn canonical_of_read<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, PayloadError> {
    written(value, &[], Depth::READ)
}

/// Writes the canonical form of a map or struct, without its own entries of these names; those further in stay. It is the
/// form of the same value without these entries. The value is one that was recorded.
///
/// # Errors
/// As for [`canonical`].
pub fn canonical_without<T: Serialize + ?Sized>(value: &T, without: &[&str]) -> Result<Vec<u8>, PayloadError> {
    written(value, without, Depth::READ)
}

fn written<T: Serialize + ?Sized>(value: &T, without: &[&str], depth: Depth) -> Result<Vec<u8>, PayloadError> {
    let mut out = Vec::with_capacity(64);
    match catch(|| value.serialize(Canonical { out: &mut out, without, depth })) {
        Ok(Ok(())) => Ok(out),
        Ok(Err(Refused { field, why })) => Err(PayloadError::at(field, why)),
        Err(why) => Err(PayloadError::panicked("written", &why)),
    }
}

/// What kind of part follows. Part of the format: cache keys and trace keys are made of it.
mod kind {
    pub(super) const NONE: u8 = 0;
    pub(super) const SOME: u8 = 1;
    pub(super) const BOOL: u8 = 2;
    pub(super) const UNSIGNED: u8 = 3;
    pub(super) const NEGATIVE: u8 = 4;
    pub(super) const FLOAT: u8 = 5;
    pub(super) const TEXT: u8 = 6;
    pub(super) const BYTES: u8 = 7;
    pub(super) const LIST: u8 = 8;
    pub(super) const MAP: u8 = 9;
    pub(super) const VARIANT: u8 = 10;
    pub(super) const UNIT: u8 = 11;
}

struct Canonical<'a> {
    out: &'a mut Vec<u8>,
    /// Names of entries that are left out, if the value is a map.
    without: &'a [&'a str],
    depth: Depth,
}

impl<'a> Canonical<'a> {
    /// For a part of a value: nothing of it is left out.
    fn part(out: &'a mut Vec<u8>, depth: Depth) -> Self {
        Self { out, without: &[], depth }
    }
}

#[derive(Debug)]
struct Refused {
    /// Where: `user.tags[3]`.
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

fn put_unsigned(out: &mut Vec<u8>, value: u128) {
    // Length and big-endian bytes without leading zeros: the same for u8 and u128.
    let bytes = value.to_be_bytes();
    let skip = (value.leading_zeros() / 8) as usize;
    out.push((16 - skip) as u8);
    out.extend_from_slice(&bytes[skip..]);
}

fn put_bytes(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    put_unsigned(out, bytes.len() as u128);
    out.extend_from_slice(bytes);
}

/// The form of a text.
fn text(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 3);
    put_bytes(&mut out, kind::TEXT, text.as_bytes());
    out
}

fn put_variant(out: &mut Vec<u8>, variant: &str) {
    put_bytes(out, kind::VARIANT, variant.as_bytes());
}

/// A sequence, tuple or tuple struct in the making.
struct List<'a> {
    out: &'a mut Vec<u8>,
    /// Where the elements go if their count is known only at the end.
    body: Option<Vec<u8>>,
    claimed: usize,
    count: usize,
    /// Of the elements.
    depth: Depth,
}

impl<'a> List<'a> {
    fn new(out: &'a mut Vec<u8>, count: Option<usize>, depth: Depth) -> Self {
        out.push(kind::LIST);
        if let Some(count) = count {
            put_unsigned(out, count as u128);
        }
        Self { out, body: count.is_none().then(Vec::new), claimed: count.unwrap_or(0), count: 0, depth }
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.count += 1;
        let part = Canonical::part(self.body.as_mut().unwrap_or(self.out), self.depth);
        value.serialize(part).map_err(|refused| refused.within(&format!("[{}]", self.count - 1)))
    }

    fn finish(self) -> Result<(), Refused> {
        if let Some(body) = self.body {
            put_unsigned(self.out, self.count as u128);
            self.out.extend_from_slice(&body);
        } else if self.count != self.claimed {
            return Err(Refused::new(format!("a list said it has {} elements and has {}", self.claimed, self.count)));
        }
        Ok(())
    }
}

/// A map or struct in the making: entries are sorted at the end.
struct Map<'a> {
    out: &'a mut Vec<u8>,
    without: &'a [&'a str],
    /// All keys and values, as they come.
    body: Vec<u8>,
    /// Where each entry begins in the body, where its value does, and where it ends.
    entries: Vec<(usize, usize, usize)>,
    /// Of the entries.
    depth: Depth,
}

impl<'a> Map<'a> {
    fn new(out: &'a mut Vec<u8>, without: &'a [&'a str], count: usize, depth: Depth) -> Self {
        Self { out, without, body: Vec::with_capacity(64), entries: Vec::with_capacity(count.min(64)), depth }
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        let begin = self.body.len();
        key.serialize(Canonical::part(&mut self.body, self.depth))?;
        self.entries.push((begin, self.body.len(), self.body.len()));
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        let written = value.serialize(Canonical::part(&mut self.body, self.depth));
        written.map_err(|refused| refused.within(&self.last_name()))?;
        let Some((.., end)) = self.entries.last_mut() else {
            return Err(Refused::new("a map's value came before its key".to_owned()));
        };
        *end = self.body.len();
        Ok(())
    }

    /// The last entry's key, for an error.
    fn last_name(&self) -> String {
        let key = self.entries.last().map(|(begin, end, _)| &self.body[*begin..*end]);
        let text = key.and_then(|key| key.strip_prefix(&[kind::TEXT])).and_then(|rest| {
            // Behind the digits of its length.
            rest.get(1 + usize::from(*rest.first()?)..)
        });
        match text.map(String::from_utf8_lossy) {
            Some(text) if !text.is_empty() => text.into_owned(),
            _ => "[…]".to_owned(),
        }
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Refused> {
        self.key(name)?;
        self.value(value)
    }

    fn finish(mut self) {
        let body = &self.body;
        if !self.without.is_empty() {
            let names: Vec<_> = self.without.iter().map(|name| text(name)).collect();
            self.entries.retain(|(begin, end, _)| !names.iter().any(|name| name == &body[*begin..*end]));
        }
        self.entries.sort_unstable_by(|a, b| {
            let (key, value) =
                (|e: &(usize, usize, usize)| &body[e.0..e.1], |e: &(usize, usize, usize)| &body[e.1..e.2]);
            key(a).cmp(key(b)).then_with(|| value(a).cmp(value(b)))
        });
        self.out.push(kind::MAP);
        put_unsigned(self.out, self.entries.len() as u128);
        for (begin, _, end) in &self.entries {
            self.out.extend_from_slice(&body[*begin..*end]);
        }
    }
}

macro_rules! unsigned {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, value: $type) -> Result<(), Refused> {
            self.out.push(kind::UNSIGNED);
            put_unsigned(self.out, value.into());
            Ok(())
        }
    )*};
}

macro_rules! signed {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, value: $type) -> Result<(), Refused> {
            self.out.push(if value < 0 { kind::NEGATIVE } else { kind::UNSIGNED });
            put_unsigned(self.out, value.unsigned_abs().into());
            Ok(())
        }
    )*};
}

impl<'a> ser::Serializer for Canonical<'a> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = List<'a>;
    type SerializeTuple = List<'a>;
    type SerializeTupleStruct = List<'a>;
    type SerializeTupleVariant = List<'a>;
    type SerializeMap = Map<'a>;
    type SerializeStruct = Map<'a>;
    type SerializeStructVariant = Map<'a>;

    unsigned!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128);
    signed!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128);

    fn serialize_bool(self, value: bool) -> Result<(), Refused> {
        self.out.extend_from_slice(&[kind::BOOL, value.into()]);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Refused> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Refused> {
        self.out.push(kind::FLOAT);
        self.out.extend_from_slice(&value.to_bits().to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Refused> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Refused> {
        put_bytes(self.out, kind::TEXT, value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Refused> {
        put_bytes(self.out, kind::BYTES, value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.out.push(kind::NONE);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.out.push(kind::SOME);
        let at = self.out.len();
        value.serialize(Canonical::part(self.out, self.depth.wrapped()?))?;
        match self.out.get(at) {
            // MessagePack has one nil for all three.
            Some(&(kind::NONE | kind::UNIT)) => Err(Refused::new(HOLDS_NOTHING.to_owned())),
            _ => Ok(()),
        }
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        self.out.push(kind::UNIT);
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Refused> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result<(), Refused> {
        put_variant(self.out, variant);
        self.serialize_unit()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Refused> {
        if name != MARKER {
            return value.serialize(Self { depth: self.depth.wrapped()?, ..self });
        }
        let mut form = Vec::with_capacity(64);
        value.serialize(Canonical::part(&mut form, self.depth.wrapped()?))?;
        self.out.extend_from_slice(&unordered::sorted(form));
        Ok(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        put_variant(self.out, variant);
        let part = Canonical::part(self.out, self.depth.below()?);
        value.serialize(part).map_err(|refused| refused.within(variant))
    }

    fn serialize_seq(self, count: Option<usize>) -> Result<List<'a>, Refused> {
        Ok(List::new(self.out, count, self.depth.below()?))
    }

    fn serialize_tuple(self, count: usize) -> Result<List<'a>, Refused> {
        Ok(List::new(self.out, Some(count), self.depth.below()?))
    }

    fn serialize_tuple_struct(self, _name: &'static str, count: usize) -> Result<List<'a>, Refused> {
        Ok(List::new(self.out, Some(count), self.depth.below()?))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<List<'a>, Refused> {
        put_variant(self.out, variant);
        Ok(List::new(self.out, Some(count), self.depth.below()?.below()?))
    }

    fn serialize_map(self, count: Option<usize>) -> Result<Map<'a>, Refused> {
        Ok(Map::new(self.out, self.without, count.unwrap_or(0), self.depth.below()?))
    }

    fn serialize_struct(self, _name: &'static str, count: usize) -> Result<Map<'a>, Refused> {
        Ok(Map::new(self.out, self.without, count, self.depth.below()?))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Map<'a>, Refused> {
        put_variant(self.out, variant);
        Ok(Map::new(self.out, &[], count, self.depth.below()?.below()?))
    }

    fn is_human_readable(&self) -> bool {
        // As the payload's codec says, so that both see the same form of the same value.
        false
    }
}

macro_rules! list {
    ($($trait:ident::$method:ident),*) => {$(
        impl ser::$trait for List<'_> {
            type Ok = ();
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                self.push(value)
            }

            fn end(self) -> Result<(), Refused> {
                self.finish()
            }
        }
    )*};
}
list!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

macro_rules! structure {
    ($($trait:ident),*) => {$(
        impl ser::$trait for Map<'_> {
            type Ok = ();
            type Error = Refused;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Refused> {
                self.finish();
                Ok(())
            }
        }
    )*};
}
structure!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Map<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.value(value)
    }

    fn end(self) -> Result<(), Refused> {
        self.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Arguments of any names, some of them maps with the same names in them.
    fn arguments() -> impl Strategy<Value = BTreeMap<String, BTreeMap<String, i64>>> {
        let name = || "[a-d]{1,2}";
        prop::collection::btree_map(name(), prop::collection::btree_map(name(), any::<i64>(), 0..4), 0..6)
    }

    proptest! {
        #[test]
        fn what_is_left_out_is_left_out_and_nothing_else(
            all in arguments(), names in prop::collection::vec("[a-d]{1,2}", 0..5),
        ) {
            let without: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut rest = all.clone();
            rest.retain(|name, _| !names.contains(name));
            prop_assert_eq!(canonical_without(&all, &without).unwrap(), canonical(&rest).unwrap());
        }

        #[test]
        fn calls_that_differ_in_what_counts_differ(
            one in arguments(), other in arguments(), names in prop::collection::vec("[a-d]{1,2}", 0..3),
        ) {
            let without: Vec<&str> = names.iter().map(String::as_str).collect();
            let counts = |all: &BTreeMap<String, BTreeMap<String, i64>>| {
                let mut all = all.clone();
                all.retain(|name, _| !names.contains(name));
                all
            };
            let same = canonical_without(&one, &without).unwrap() == canonical_without(&other, &without).unwrap();
            prop_assert_eq!(same, counts(&one) == counts(&other));
        }
    }

    #[test]
    fn a_field_of_a_struct_is_left_out_but_not_one_further_in() {
        #[derive(serde::Serialize)]
        struct Inner {
            verbose: bool,
        }
        #[derive(serde::Serialize)]
        struct Call {
            text: &'static str,
            verbose: bool,
            inner: Inner,
        }
        let form = |verbose, inner| {
            let call = Call { text: "a", verbose, inner: Inner { verbose: inner } };
            canonical_without(&call, &["verbose", "not there"]).unwrap()
        };
        assert_eq!(form(true, true), form(false, true));
        assert_ne!(form(true, true), form(true, false));
    }

    #[test]
    fn order_of_a_map_does_not_matter() {
        use serde::ser::SerializeMap as _;
        struct Ordered<'a>(&'a [(&'a str, u8)]);
        impl Serialize for Ordered<'_> {
            fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                self.0.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
        assert_eq!(
            canonical(&Ordered(&[("a", 1), ("b", 2)])).unwrap(),
            canonical(&Ordered(&[("b", 2), ("a", 1)])).unwrap()
        );
    }

    #[test]
    fn width_of_an_integer_does_not_matter() {
        assert_eq!(canonical(&7u8).unwrap(), canonical(&7i128).unwrap());
        assert_ne!(canonical(&7i8).unwrap(), canonical(&-7i8).unwrap());
    }

    #[test]
    fn an_option_that_would_not_come_back_is_refused() {
        assert!(canonical(&Some(None::<u8>)).is_err());
        assert!(canonical(&vec![Some(())]).is_err());
        assert!(canonical(&Some(Some(1))).is_ok());
    }

    #[test]
    fn different_values_differ() {
        let forms = [
            canonical(&None::<u8>),
            canonical(&Some(0u8)),
            canonical(&()),
            canonical(&""),
            canonical(&Vec::<u8>::new()),
            canonical(&0u8),
            canonical(&false),
            canonical(&0.0f64),
            canonical(&-0.0f64),
            canonical(&("ab", "c")),
            canonical(&("a", "bc")),
            canonical(&vec![vec![1u8], vec![]]),
            canonical(&vec![vec![], vec![1u8]]),
            canonical(&Ok::<u8, u8>(1)),
            canonical(&Err::<u8, u8>(1)),
        ];
        let forms: Vec<_> = forms.into_iter().map(Result::unwrap).collect();
        for (index, form) in forms.iter().enumerate() {
            assert!(!forms[..index].contains(form), "{index}");
        }
    }
}
