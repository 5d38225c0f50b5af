//! What a tortured task does, drawn from a seed, and what it must come to.
//!
//! Carried out by `task`; the parent knows the result without running anything.
//!
//! Invariant: chance, the moment and the order in which effects end decide which traces a program calls, never its
//! result.

use super::chance::{Chance, mixed};

/// One task's program.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) sections: Vec<Section>,
}

/// One part of a program. The number is how many calls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Section {
    /// One after the other.
    Sequence(u64),
    /// `try_join_all`.
    JoinAll(u64),
    /// Two in a `select!`: the loser is dropped.
    Race,
    /// A loop whose length is drawn with `relive::random`.
    RandomLoop,
    /// `relive::now` and `relive::uuid`, handed to a trace: one that changed would diverge.
    Moment,
    /// A trace that fails, whose error is caught.
    Caught,
    /// Equal calls, at once and once more.
    Equal(u64),
    /// `FuturesUnordered`; the order of arrival is handed to a trace.
    Unordered(u64),
    /// Two branches and a channel between them.
    Channel(u64),
    /// A sleep: long enough for a run whose log is short to leave memory.
    Nap,
    /// A child run, which calls so many, one after the other.
    Child(u64),
}

/// What catching an error adds to the result.
pub(crate) const CAUGHT: u64 = 7;

impl Program {
    /// The program of a run of a campaign: 6 to 11 parts.
    pub fn draw(seed: u64, number: u32) -> Self {
        let mut chance = Chance::new(mixed(seed) ^ u64::from(number));
        let section_count = 6 + chance.below(6);
        let sections = (0..section_count).map(|_| match chance.below(11) {
            0 => Section::Sequence(2 + chance.below(4)),
            1 => Section::JoinAll(2 + chance.below(6)),
            2 => Section::Race,
            3 => Section::RandomLoop,
            4 => Section::Moment,
            5 => Section::Caught,
            6 => Section::Equal(2 + chance.below(2)),
            7 => Section::Unordered(2 + chance.below(5)),
            8 => Section::Channel(1 + chance.below(3)),
            9 => Section::Nap,
            _ => Section::Child(1 + chance.below(3)),
        });
        Self { sections: sections.collect() }
    }

    /// What an undisturbed run comes to.
    pub fn result(&self) -> u64 {
        (0..).zip(&self.sections).map(|(at, section)| section.result(at)).fold(0, u64::wrapping_add)
    }
}

impl Section {
    fn result(self, at: u64) -> u64 {
        let worked = |calls| (0..calls).map(|part| mixed(value(at, part))).fold(0, u64::wrapping_add);
        match self {
            Self::Sequence(calls) | Self::JoinAll(calls) | Self::Unordered(calls) | Self::Child(calls) => worked(calls),
            Self::Race => worked(1),
            Self::RandomLoop | Self::Moment | Self::Nap => 0,
            Self::Caught => CAUGHT,
            Self::Equal(calls) => mixed(value(at, 0)).wrapping_mul(calls + 1),
            Self::Channel(calls) => (0..calls).map(|part| mixed(mixed(value(at, part)))).fold(0, u64::wrapping_add),
        }
    }
}

/// The argument of a call.
pub(crate) fn value(section: u64, part: u64) -> u64 {
    section * 1000 + part
}
