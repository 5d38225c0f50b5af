//! What every command is given: where the store is, how output looks and where it goes, what the program is.
//!
//! Made once by `command`.
//!
//! Invariant: a store is opened to read unless the command says otherwise.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use relive_engine::error::{Error, ErrorKind};
use relive_engine::id::RunId;
use relive_engine::schema::{SCHEMA, opening_error};
use relive_storage::{Read, RocksReader};

use crate::args::RunArgument;
use crate::command::Cli;
use crate::failure::Failure;
use crate::find::find;
use crate::look::Look;

/// How a command ended that could do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// All is well: exit status 0.
    Success,
    /// What was asked about does not hold: exit status 3.
    Differs,
}

/// What every command is given.
pub(crate) struct Context<'a> {
    /// The program whose command this is: its tasks are linked in.
    pub(crate) cli: &'a Cli,
    /// The store's directory.
    pub(crate) directory: &'a Path,
    /// Whether programs read the output.
    pub(crate) json: bool,
    pub(crate) look: Look,
    /// Whether the output goes to a terminal.
    pub(crate) is_terminal: bool,
    pub(crate) out: &'a mut dyn Write,
}

impl Context<'_> {
    /// The store, to be read: also while an engine has it open.
    pub(crate) fn store(&self) -> Result<Arc<dyn Read>, Failure> {
        let reader = RocksReader::open(self.directory, SCHEMA.format).map_err(|error| {
            let error = opening_error(error, || RocksReader::open(self.directory, u32::MAX));
            match error.kind() {
                ErrorKind::NotAStore => {
                    Error::new(ErrorKind::NotAStore, format!("{error} (--dir or RELIVE_DIR say which directory)"))
                }
                _ => error,
            }
        })?;
        Ok(Arc::new(reader))
    }

    /// The run that an argument names.
    pub(crate) fn find(&self, store: &Arc<dyn Read>, argument: &RunArgument) -> Result<RunId, Failure> {
        Ok(find(store, self.directory, &argument.run)?)
    }
}
