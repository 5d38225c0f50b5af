//! Which store an engine opens: RocksDB in a directory.

use std::path::Path;
use std::sync::Arc;

use relive_engine::error::{Error, Result};
use relive_engine::schema;
use relive_storage::{HeldDirectory, Read, RocksReader, RocksStore, Store};

/// Opens a directory to write. The second is for who has files of its own in there.
pub(crate) fn open(directory: &Path) -> Result<(Arc<dyn Store>, HeldDirectory)> {
    let store = RocksStore::open(directory, &schema::SCHEMA).map_err(|error| refused(directory, error))?;
    let directory = store.directory();
    Ok((Arc::new(store), directory))
}

/// Opens a directory to read, beside whoever writes it.
pub(crate) fn open_to_read(directory: &Path) -> Result<Arc<dyn Read>> {
    let store = RocksReader::open(directory, schema::SCHEMA.format).map_err(|error| refused(directory, error))?;
    Ok(Arc::new(store))
}

fn refused(directory: &Path, error: relive_storage::Error) -> Error {
    schema::opening_error(error, || RocksReader::open(directory, u32::MAX))
}
