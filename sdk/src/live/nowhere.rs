//! Where there are no Unix sockets: no engine is reached, and none listens.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use relive_engine::engine::WeakEngine;
use relive_engine::error::Result;
use relive_storage::HeldDirectory;

use super::protocol::Command;

/// A way to an engine that is open: there is none.
#[derive(Debug)]
pub struct Client(Infallible);

impl Client {
    /// None, on this system.
    pub fn connect(_: &Path) -> Option<Self> {
        None
    }

    /// Never called.
    ///
    /// # Errors
    /// Never.
    pub fn ask(self, _: &Command) -> Result<serde_json::Value> {
        match self.0 {}
    }
}

/// The socket of an open engine: there is none.
pub(crate) struct Listener(Infallible);

impl Listener {
    pub(crate) fn open(_: HeldDirectory, _: WeakEngine) -> Option<Arc<Self>> {
        None
    }

    pub(crate) fn close(&self) {
        match self.0 {}
    }
}
