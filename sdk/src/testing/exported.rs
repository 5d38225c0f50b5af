//! The log of a failure as a file, for `relive import` and `relive replay`, and for `relive::replay_export` in a test.
//!
//! Invariant: a file that cannot be written is said, and hides no failure.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use relive_engine::error::{Error, Result};
use relive_engine::export::{self, Options};
use relive_engine::id::RunId;
use relive_storage::{Durability, MemoryStore, Read, Store};

use super::recorder::Written;

/// Names another directory for the files than `relive-kit` among the temporary ones.
const VARIABLE: &str = "RELIVE_KIT_EXPORTS";

/// Writes a run to a file: named after its task and the seed, so that the same failure is the same file. Says where.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write(
    directory: Option<&Path>,
    task: &str,
    seed: u64,
    run: RunId,
    written: &[Written],
) -> Result<PathBuf> {
    let store = MemoryStore::new();
    for written in written {
        let committed = store.commit(std::slice::from_ref(&*written.write), Durability::Sync);
        committed.map_err(|failed| Error::msg(failed.error))?;
    }
    let store: Arc<dyn Read> = Arc::new(store);
    let of_environment = || std::env::var_os(VARIABLE).map(PathBuf::from);
    let directory = directory.map(Path::to_owned).or_else(of_environment);
    let directory = directory.unwrap_or_else(|| std::env::temp_dir().join("relive-kit"));
    std::fs::create_dir_all(&directory)?;
    let name: String =
        task.chars().map(|character| if character.is_alphanumeric() { character } else { '-' }).collect();
    let path = directory.join(format!("{name}-{seed:x}.relive"));
    let mut file = File::create(&path)?;
    export::write(&store, run, &Options::default(), &mut file)?;
    file.flush()?;
    Ok(path)
}
