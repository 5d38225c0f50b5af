//! An export, as a store that can be read.
//!
//! Used by `check`.
//!
//! Invariant: the file is checked whole before anything of it is looked at; of a large one, memory holds a part at a time.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use relive_engine::error::{Error, ErrorKind, storage_error};
use relive_engine::export;
use relive_engine::schema::SCHEMA;
use relive_storage::{MemoryStore, Read, RocksStore};
use tempfile::TempDir;

use crate::failure::Failure;
use crate::text::escaped;

/// Files up to this size are read into memory, larger ones into a temporary directory: 32 MiB.
const MEMORY_BYTES_MAX: u64 = 32 << 20;

/// An export that was read.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Read>,
    /// Where the store is, if not in memory: removed when this is dropped.
    _directory: Option<TempDir>,
}

/// Reads an export.
///
/// # Errors
/// If the file cannot be read, is no export, or is damaged: named.
pub(super) fn open(path: &Path) -> Result<Opened, Failure> {
    let place = escaped(&path.display().to_string());
    let unreadable = |error: std::io::Error| {
        Error::new(ErrorKind::Storage, format!("{place} cannot be read: {error}")).caused_by(error)
    };
    let named = |error: Error| Error::new(error.kind(), format!("{place}: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(unreadable(std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a directory")).into());
    }
    let mut file = BufReader::with_capacity(1 << 16, file);
    if metadata.len() <= MEMORY_BYTES_MAX {
        let store = MemoryStore::new();
        export::read(&mut file, &store).map_err(named)?;
        return Ok(Opened { store: Arc::new(store), _directory: None });
    }
    let directory = tempfile::Builder::new().prefix("relive-check-").tempdir().map_err(unreadable)?;
    let store = RocksStore::open(directory.path(), &SCHEMA).map_err(storage_error)?;
    export::read(&mut file, &store).map_err(named)?;
    Ok(Opened { store: Arc::new(store), _directory: Some(directory) })
}
