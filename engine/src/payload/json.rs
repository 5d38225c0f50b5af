//! JSON, for logs that other programs read. serde_json itself reads at most 128 levels.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{PayloadError, explain};

pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), PayloadError> {
    serde_json::to_writer(out, value).map_err(|error| PayloadError::new(error.to_string()))
}

pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PayloadError> {
    // Refuses anything but blanks behind the value.
    serde_json::from_slice(bytes)
        .map_err(|error| explain::<_, T>(&mut serde_json::Deserializer::from_slice(bytes), &error))
}

pub(super) fn read_borrowed<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, PayloadError> {
    serde_json::from_slice(bytes).map_err(|error| PayloadError::new(error.to_string()))
}
