//! Explains a call that nobody made: of a task by its name, with its arguments in any codec.
//!
//! For the command line, which has no types.

use super::{Cache, Explanation};
use crate::engine::Request;
use crate::error::{Error, ErrorKind, Result, payload_error};
use crate::execute::unpanicked;
use crate::payload::Payload;

impl Cache {
    /// As [`Cache::explain`], for the task of this name and a map of its arguments.
    ///
    /// # Errors
    /// Of kind `UnknownTask` if it is not in this program; of kind `Payload` if these are not its arguments.
    pub fn explain_input(&self, task: &str, input: Payload) -> Result<Explanation> {
        let definition = self.0.registry.task(task).ok_or_else(|| {
            Error::new(
                ErrorKind::UnknownTask,
                format!("there is no task {task} in this program: its own command explains its calls"),
            )
        })?;
        let unreadable = |error: &_| payload_error(format!("these are not the arguments of task {task}"), error);
        let canonical = unpanicked(|| (definition.canonical)(&input, &[])).map_err(|error| unreadable(&error))?;
        self.explain(&Request {
            definition,
            input,
            canonical: canonical.into(),
            id: None,
            tags: Vec::new(),
            child: None,
            refresh: false,
            cached: false,
            readable: |_| true,
        })
    }
}
