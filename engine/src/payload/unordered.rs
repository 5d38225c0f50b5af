//! Sets, declared as such: to serde, a `HashSet` is a sequence like any other.
//!
//! Used as a value, `unordered(set)`, or on a field, `#[serde(with = "relive::unordered")]`; understood by `canonical`.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Tells `canonical` that the order of the elements means nothing. Codecs do not write it.
pub(crate) const MARKER: &str = "relive::unordered";

/// A collection whose order means nothing: two calls with the same elements are the same call, whatever their order.
///
/// Recorded as the collection itself, so that a field can become one and old logs are still read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unordered<T>(pub T);

/// Declares that the order of a collection means nothing.
pub fn unordered<T>(collection: T) -> Unordered<T> {
    Unordered(collection)
}

impl<T> Unordered<T> {
    /// The collection.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Unordered<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Unordered<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> From<T> for Unordered<T> {
    fn from(collection: T) -> Self {
        Self(collection)
    }
}

impl<T: Serialize> Serialize for Unordered<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(Self)
    }
}

/// For `#[serde(with = "relive::unordered")]`.
///
/// # Errors
/// As the collection's own.
pub fn serialize<T: Serialize + ?Sized, S: Serializer>(collection: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_newtype_struct(MARKER, collection)
}

/// For `#[serde(with = "relive::unordered")]`.
///
/// # Errors
/// As the collection's own.
pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize(deserializer)
}
