//! Complaints about what the user wrote, gathered so that all are reported at once.

use std::fmt::Display;

use quote::ToTokens;
use syn::Error;

/// Every complaint about one item.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    /// Adds a complaint at the user's tokens.
    pub(crate) fn push(&mut self, at: impl ToTokens, message: impl Display) {
        self.add(Error::new_spanned(at, message));
    }

    pub(crate) fn add(&mut self, error: Error) {
        self.0 = Some(self.with(error));
    }

    /// The value, or what to say without it.
    pub(crate) fn value<T>(&mut self, outcome: syn::Result<T>) -> Option<T> {
        outcome.map_err(|error| self.add(error)).ok()
    }

    /// Takes all of them, with a last one.
    pub(crate) fn with(&mut self, last: Error) -> Error {
        match self.0.take() {
            Some(mut errors) => {
                errors.combine(last);
                errors
            }
            None => last,
        }
    }

    pub(crate) fn finish(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
