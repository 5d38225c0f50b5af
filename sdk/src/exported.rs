//! Exported runs as tests: a production run that the code of today is replayed against.
//!
//! Invariant: nothing of a file's is run: no effect begins, and what is read lives in memory only.

use std::io::Cursor;
use std::sync::Arc;

use relive_engine::error::{Error, ErrorKind, Result};
use relive_engine::export;
use relive_engine::inspect;
use relive_storage::{MemoryStore, Read};

use crate::builder::Builder;
use crate::engine::Engine;

/// Replays a run that `relive export` has written, and its children, against the code of this program: for tests, which
/// `relive export RUN --test FILE.rs` also writes. Passes if each body does what the log holds. No effect begins.
///
/// Blocks, in or outside a runtime. For tasks that need clients: [`Builder::replay_export`].
///
/// # Errors
/// Of kind `Diverged` if the code does not fit a log any more (the error names both sides); of kind `UnknownTask` if a task is not
/// linked in; of kind `NotAStore`, `NewerFormat` or `Corrupt` if the file is no whole export.
pub fn replay_export(export: impl AsRef<[u8]>) -> Result<()> {
    Engine::builder().replay_export(export)
}

impl Builder {
    /// As [`replay_export`], with what this builder was given: clients, payload hooks.
    ///
    /// # Errors
    /// As for [`replay_export`], and as for [`Builder::open_store`].
    pub fn replay_export(self, export: impl AsRef<[u8]>) -> Result<()> {
        let store = MemoryStore::new();
        export::read(&mut Cursor::new(export.as_ref()), &store)?;
        // A thread of its own, as a runtime cannot be made within another.
        let replay = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let runtime = runtime.map_err(|error| {
                Error::new(ErrorKind::Storage, format!("no runtime can be made to replay in: {error}"))
            })?;
            runtime.block_on(replay_all(self, store))
        };
        std::thread::scope(|scope| scope.spawn(replay).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

async fn replay_all(builder: Builder, store: MemoryStore) -> Result<()> {
    let engine = builder.open_store(Arc::new(store.clone())).await?;
    let mut result = Ok(());
    for stored in inspect::runs(Arc::new(store) as Arc<dyn Read>) {
        result = engine.replay(stored?.run).await.map(drop);
        if result.is_err() {
            break;
        }
    }
    engine.shutdown().await?;
    result
}
