//! MessagePack with field names: the default, because logs outlive the structs that wrote them.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{PayloadError, exact, explain};

pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), PayloadError> {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    value.serialize(&mut serializer).map_err(|error| PayloadError::new(error.to_string()))
}

pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PayloadError> {
    let mut deserializer = reader(bytes);
    match T::deserialize(&mut deserializer) {
        Ok(value) => exact(value, deserializer.get_ref().len()),
        Err(error) => Err(explain::<_, T>(&mut reader(bytes), &error)),
    }
}

pub(super) fn read_borrowed<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, PayloadError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(super::depth::READ_MAX);
    T::deserialize(&mut deserializer).map_err(|error| PayloadError::new(error.to_string()))
}

fn reader(bytes: &[u8]) -> rmp_serde::Deserializer<rmp_serde::decode::ReadReader<&[u8]>> {
    let mut deserializer = rmp_serde::Deserializer::new(bytes);
    deserializer.set_max_depth(super::depth::READ_MAX);
    deserializer
}
