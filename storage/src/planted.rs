//! Planted faults: bugs that are switched on one at a time, to see that the fault campaign finds them, and the interleavings.
//!
//! Asked by `rocks`, `guard` and by the engine, each with one line where the bug would be; listed by the `torture` binary and
//! by the engine's `interleavings`.
//!
//! Invariant: without the feature `planted-faults`, which nothing enables by itself, [`planted`] is the constant `false`,
//! and what it guards is not compiled in.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// The store does not sync what it is asked to.
    Unsynced,
    /// The store calls a write that failed a success.
    SwallowedError,
    /// The engine goes on after a failed commit.
    NotPoisoned,
    /// The write-ahead log is not looked at before RocksDB opens it.
    IgnoredGuard,
    /// A commit does not look whether its directory is still there.
    Unwatched,
    /// A torn end is cut off also below the mark.
    CutBelowMark,
    /// Events are acknowledged before their commit.
    AcknowledgedEarly,
    /// A group is acknowledged at once and written with the next one: the last never is.
    LastGroupDropped,
    /// Effects begin before their start is durable.
    NoBarrier,
    /// A record's chain to the one before it is not compared.
    UncheckedChain,
    /// The end of a step is not compared with the log.
    UncheckedStep,
    /// Two results are handed over before the body is polled.
    TwoAtOnce,
    /// An unfinished run is taken up twice.
    TakenUpTwice,
    /// Equal calls have one occurrence.
    ReusedOccurrence,
    /// A trace that the body dropped is recorded as a success.
    DropCompleted,
    /// A signal is acknowledged and not written.
    LostSignal,
    /// A failure is cached.
    CachedFailure,
    /// A cached result is found by the hash of its input alone.
    HashOnly,
    /// What is due is reckoned by the wall clock of the moment, also within one life.
    WallClock,
    /// Who wakes the runs that sleep is not told of one that is due before all others.
    SleeperForgotten,
    /// A run that slept is woken, and its row still says that it sleeps.
    StaysAsleep,
    /// A run that is woken stays among the sleepers.
    WokenTwice,
    /// A run that slept reckons what is left of its waits by the wall clock.
    AnchorLost,
    /// Equal calls do not find a run that sleeps.
    SleeperNotJoined,
    /// Of those who wait for a child, only the first is noted.
    HolderForgotten,
    /// What is deleted of a run's log reaches as far as the ids that were made in the same millisecond.
    RangeTooWide,
    /// Runs that unfinished ones called are deleted like others.
    NeededDeleted,
    /// A fork is taken for the call that it was made from.
    ForkAnswers,
    /// What makes a run one is not withheld until all of it is imported.
    HalfImported,
    /// A record that is written into memory of a longer one keeps its end.
    StaleTail,
    /// Whether a group is synced is what the last of its writes asks for.
    SyncOfLast,
    /// A run's loop looks into its mailbox first, and says afterwards whom to wake.
    LostWake,
    /// A run that lies down does not look whether somebody wants something of it.
    SleptThrough,
    /// A run that sleeps is let go of while somebody holds it.
    LetGoTooSoon,
}

impl Planted {
    /// Those that the fault campaign finds.
    pub const ALL: [Self; 31] = [
        Self::Unsynced,
        Self::SwallowedError,
        Self::NotPoisoned,
        Self::IgnoredGuard,
        Self::Unwatched,
        Self::CutBelowMark,
        Self::AcknowledgedEarly,
        Self::LastGroupDropped,
        Self::NoBarrier,
        Self::UncheckedChain,
        Self::UncheckedStep,
        Self::TwoAtOnce,
        Self::TakenUpTwice,
        Self::ReusedOccurrence,
        Self::DropCompleted,
        Self::LostSignal,
        Self::CachedFailure,
        Self::HashOnly,
        Self::WallClock,
        Self::SleeperForgotten,
        Self::StaysAsleep,
        Self::WokenTwice,
        Self::AnchorLost,
        Self::SleeperNotJoined,
        Self::HolderForgotten,
        Self::RangeTooWide,
        Self::NeededDeleted,
        Self::ForkAnswers,
        Self::HalfImported,
        Self::StaleTail,
        Self::SyncOfLast,
    ];

    /// Those that show only where threads meet at the wrong moment: found by trying interleavings.
    pub const INTERLEAVED: [Self; 3] = [Self::LostWake, Self::SleptThrough, Self::LetGoTooSoon];
}

/// The variable that names the bug of a process, as `Planted` spells it.
pub const VARIABLE: &str = "RELIVE_PLANTED";

/// Whether this process has the bug.
#[cfg(not(feature = "planted-faults"))]
#[inline(always)]
pub const fn planted(_: Planted) -> bool {
    false
}

/// Whether this process has the bug.
#[cfg(feature = "planted-faults")]
pub fn planted(bug: Planted) -> bool {
    static CHOSEN: std::sync::LazyLock<Option<Planted>> = std::sync::LazyLock::new(|| {
        let name = std::env::var(VARIABLE).ok()?;
        Planted::ALL.into_iter().chain(Planted::INTERLEAVED).find(|bug| format!("{bug:?}") == name)
    });
    *CHOSEN == Some(bug)
}
