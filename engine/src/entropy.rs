//! Randomness, as the engine sees it: nothing else draws any.
//!
//! Given to the engine as a component, so that tests can fix it. Used for run ids and for what `random` and `uuid`
//! record.

/// Where the engine takes random bytes from.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the bytes.
    ///
    /// # Errors
    /// If there is no randomness to be had; the message says why.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), String>;
}

/// The operating system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "the one place that draws randomness")]
    fn fill(&self, bytes: &mut [u8]) -> Result<(), String> {
        getrandom::fill(bytes).map_err(|error| error.to_string())
    }
}
