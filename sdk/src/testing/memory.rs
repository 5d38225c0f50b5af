//! What calls found, for all lives of one case: so that lives can be compared.
//!
//! Filled and asked by `stage`.
//!
//! Invariant: what a call finds depends on nothing but the call: its trace, input, occurrence and try.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;
use relive_engine::id::RunId;
use relive_engine::payload::Payload;
use relive_engine::run::Output;

/// Which call an effect is for: the same in every run of a body.
pub(crate) type Scope = [u8; 16];

/// A number made of a seed and a call.
pub(crate) fn drawn(seed: u64, scope: &Scope, more: u32) -> u64 {
    // With fixed keys: the same in every process.
    let mut hasher = DefaultHasher::new();
    (seed, scope, more).hash(&mut hasher);
    hasher.finish()
}

/// What calls found, for all lives of one case.
#[derive(Default)]
pub(crate) struct Memory {
    pub(super) known: Mutex<Known>,
}

#[derive(Default)]
pub(super) struct Known {
    /// By call and try.
    pub(super) outcomes: BTreeMap<(Scope, u32), Output>,
    /// Of streams and iterators.
    pub(super) items: BTreeMap<Scope, Items>,
    pub(super) names: BTreeMap<Scope, Name>,
    pub(super) keys: BTreeMap<(RunId, Scope), String>,
}

/// A call, for people.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) trace: &'static str,
    pub(crate) input: Payload,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&super::log::call(self.trace, &self.input))
    }
}

#[derive(Clone, Default)]
pub(super) struct Items {
    pub(super) items: Vec<Payload>,
    pub(super) end: Option<Output>,
}

impl Memory {
    /// The call, for people.
    pub(crate) fn name(&self, scope: &Scope) -> Option<Name> {
        self.known.lock().names.get(scope).cloned()
    }

    /// All calls whose effects began.
    pub(crate) fn calls(&self) -> Vec<(Scope, Name)> {
        self.known.lock().names.iter().map(|(scope, name)| (*scope, name.clone())).collect()
    }
}

/// Moments by call, shared by the lives of one script.
pub(crate) type Moments = Arc<Mutex<BTreeMap<Scope, Output>>>;
