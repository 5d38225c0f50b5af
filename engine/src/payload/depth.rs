//! How deep values may nest: counted by everything that walks one, before it goes a level further down.
//!
//! What a user would count are levels: lists, tuples, maps, structs and variants with fields, each within the other
//! (`vec![vec![1]]` has two). A variant with named or several fields is two: it is recorded as a map from its name to them.
//! `Box`, `Some` and newtypes are none, and have a bound of their own.
//!
//! Invariant: what is recorded can be read back by every codec, also on a thread with a small stack.

use serde::Serialize;

use super::PayloadError;
use super::survey::measured;

/// Deepest nesting that is recorded: 120 levels. serde_json reads 127 and needs a few for what arguments stand in; and the
/// stack of a thread (2 MiB) holds a user's own `Deserialize` so often, in a debug build, too.
pub const LEVELS_MAX: u16 = 120;

/// Deepest nesting that is read: 128, so that hostile bytes cannot exhaust the stack.
pub(crate) const READ_MAX: usize = 128;

/// How many `Some` and newtypes may stand around each other and between the levels, in all: four for each level.
const WRAPPERS_MAX: u16 = 4 * LEVELS_MAX;

/// What is left of the levels on the way down into a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth {
    levels: u16,
    wrappers: u16,
}

/// A value that goes down too far.
pub(crate) struct TooDeep;

impl Depth {
    /// For a value.
    pub(crate) const VALUE: Self = Self { levels: LEVELS_MAX, wrappers: WRAPPERS_MAX };

    /// For arguments: what they stand in is no level of the user's.
    pub(crate) const ARGUMENTS: Self = Self { levels: LEVELS_MAX + 1, ..Self::VALUE };

    /// For what a payload's reader made, and what else is written without being counted by a user.
    pub(crate) const READ: Self = Self { levels: READ_MAX as u16, ..Self::VALUE };

    /// Within a list, a map, a struct, a variant with fields.
    pub(crate) fn below(self) -> Result<Self, TooDeep> {
        self.levels.checked_sub(1).map(|levels| Self { levels, ..self }).ok_or(TooDeep)
    }

    /// Within a `Some` or a newtype.
    pub(crate) fn wrapped(self) -> Result<Self, TooDeep> {
        self.wrappers.checked_sub(1).map(|wrappers| Self { wrappers, ..self }).ok_or(TooDeep)
    }
}

impl std::fmt::Display for TooDeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "it is nested more than {LEVELS_MAX} levels deep: use a flatter type, or record it as a text of its own"
        )
    }
}

/// Refuses a value that nests more than [`LEVELS_MAX`] levels deep.
///
/// # Errors
/// If it does, or its own `Serialize` fails.
pub fn within_levels<T: Serialize + ?Sized>(value: &T) -> Result<(), PayloadError> {
    measured(value, super::PayloadCodec::MESSAGE_PACK, Depth::VALUE)
}
