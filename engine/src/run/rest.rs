//! A run that only waits for times: until when, and what its waits are when it goes on from its log.
//!
//! A wait is known by two clocks: by the wall clock, which is on record, and by elapsed time, which no jump moves and which
//! does not outlive the process. Within a process the second counts. So a run that is put to sleep and goes on in the same
//! process reads the wall clock as it stood when its waits began: elapsed time and an offset, the same for all of them.
//!
//! Invariants: no wait ends early by elapsed time, and none later than [`DRIFT_MAX`]; a run that has something to do, or
//! holds what its log cannot give back, does not rest.

use std::time::Duration;

use crate::id::{Sequence, Timestamp};

use super::context::EffectContext;
use super::shared::{RunState, TraceSlot, Work};

/// A run is put to sleep if it has nothing to do for longer than this: 5 s, a thousand times what two writes and a replay of
/// a short log take, and shorter than what people call waiting.
pub const SLEEP_OUT_AFTER_DEFAULT: Duration = Duration::from_secs(5);

/// It has nothing to do for at least so long for each event of its log: 1 ms, some hundred times what replaying one takes,
/// so that a long log is not read again and again for short waits.
const SLEEP_OUT_PER_EVENT: Duration = Duration::from_millis(1);

/// How far apart the wall clock may have been when the waits of one run began: 1 s, what a clock that is slewed comes to in
/// hours. If somebody set it meanwhile, the run stays in memory, where its waits are exact.
const DRIFT_MAX: i64 = 1_000_000;

/// A moment by both clocks, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) wall: i64,
    pub(crate) elapsed: i64,
}

impl Moment {
    pub(crate) fn new(wall: Timestamp, elapsed: Duration) -> Self {
        Self { wall: wall.0, elapsed: micros_up(elapsed) }
    }

    /// What to add to elapsed time for the wall clock as it stood; `None` of a moment that never comes.
    fn offset(self) -> Option<i64> {
        (self.wall < i64::MAX && self.elapsed < i64::MAX).then(|| self.wall.saturating_sub(self.elapsed))
    }
}

/// What an effect waits for, if it could as well be begun again when that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resting {
    /// When it goes on.
    pub(crate) due: Moment,
    /// When all its tries are to be over.
    pub(crate) deadline: Option<Moment>,
}

/// Until when a run has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    /// Now, by the wall clock as it stood when its waits began.
    pub(crate) since: Timestamp,
    /// When the first of them is over, by the same.
    pub(crate) until: Timestamp,
    /// The same by elapsed time, in microseconds.
    pub(crate) due: i64,
}

/// The wall clock as it stood when a run's waits began, for what was on record when the run went on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor(i64);

impl Anchor {
    /// Of a run that was to sleep until this moment. `None` if it was to sleep for ever: then any clock will do.
    pub(crate) fn of(until: Timestamp, due: i64) -> Option<Self> {
        Moment { wall: until.0, elapsed: due }.offset().map(Self)
    }

    /// What the wall clock would say at this moment of elapsed time.
    pub(crate) fn at(self, elapsed: Duration) -> Timestamp {
        Timestamp(micros_down(elapsed).saturating_add(self.0))
    }
}

/// Elapsed time in whole microseconds, of which none is to come.
pub(crate) fn micros_down(elapsed: Duration) -> i64 {
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}

fn micros_up(elapsed: Duration) -> i64 {
    i64::try_from(elapsed.as_nanos().div_ceil(1000)).unwrap_or(i64::MAX)
}

/// From an instant of elapsed time in microseconds.
pub(crate) fn elapsed_of(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// How much a run must have left to be put to sleep; `None` if it is not to be.
pub(crate) fn threshold(sleep_out_after: Duration, log_end: Sequence) -> Option<Duration> {
    let events = u32::try_from(log_end.0).unwrap_or(u32::MAX);
    (sleep_out_after < Duration::MAX).then(|| sleep_out_after.max(SLEEP_OUT_PER_EVENT.saturating_mul(events)))
}

/// Until when a run with these waits rests, if it has at least so much left.
pub(crate) fn rest(waits: &[Resting], alarm: Option<Moment>, elapsed: Duration, threshold: Duration) -> Option<Rest> {
    let now = micros_down(elapsed);
    let dues = || waits.iter().map(|wait| wait.due).chain(alarm);
    let due = dues().map(|due| due.elapsed).min()?;
    if due.saturating_sub(now) <= micros_down(threshold) {
        return None;
    }
    let offsets = || dues().chain(waits.iter().filter_map(|wait| wait.deadline)).filter_map(Moment::offset);
    let (Some(least), Some(most)) = (offsets().min(), offsets().max()) else {
        // It waits for ever.
        return Some(Rest { since: Timestamp(i64::MAX), until: Timestamp(i64::MAX), due: i64::MAX });
    };
    if most.saturating_sub(least) > DRIFT_MAX {
        return None;
    }
    // By the least of them, none ends early.
    let by_wall = |elapsed: i64| Timestamp(elapsed.saturating_add(least));
    Some(Rest { since: by_wall(now), until: by_wall(due), due })
}

/// What the traces of a run wait for, if all of them only wait for times; `None` as soon as one does not, or has no more left
/// than this.
pub(crate) fn waits(state: &RunState, elapsed: Duration, threshold: Duration) -> Option<Vec<Resting>> {
    let least = micros_down(elapsed).saturating_add(micros_down(threshold));
    let mut waits = Vec::new();
    for slot in state.traces.values() {
        match wait_of(slot) {
            Some(None) => {}
            Some(Some(resting)) if resting.due.elapsed > least => waits.push(resting),
            _ => return None,
        }
    }
    Some(waits)
}

/// What a trace waits for: `None` if it does something, or waits for something else; `Some(None)` if it is over.
fn wait_of(slot: &TraceSlot) -> Option<Option<Resting>> {
    match &slot.work {
        Work::None => Some(None),
        Work::Effect(_) if slot.definition.policy.at_most_once => None,
        Work::Effect(_) => slot.context.resting().map(Some),
        // Opened again, its source would begin again.
        Work::Unopened(_) | Work::Source(_) => None,
    }
}

/// Says what an effect waits for, until it is dropped.
pub(crate) struct Rests<'a>(&'a EffectContext);

impl<'a> Rests<'a> {
    /// Only of a trace that the body calls: what an effect calls is part of that effect, which would begin again.
    pub(crate) fn begin(context: &'a EffectContext, resting: Resting) -> Self {
        if context.outer.is_none() && !context.is_inline {
            context.set_resting(Some(resting));
        }
        Self(context)
    }
}

impl Drop for Rests<'_> {
    fn drop(&mut self) {
        self.0.set_resting(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn wait(wall: i64, elapsed: i64) -> Resting {
        Resting { due: Moment { wall: wall * SECOND, elapsed: elapsed * SECOND }, deadline: None }
    }

    fn rests(waits: &[Resting], now: u64) -> Option<Rest> {
        rest(waits, None, Duration::from_secs(now), Duration::from_secs(5))
    }

    #[test]
    fn a_run_rests_until_the_first_of_its_waits_is_over() {
        let found = rests(&[wait(1100, 100), wait(1050, 50)], 10).expect("40 s are left");
        assert_eq!((found.since.0, found.until.0, found.due), (1010 * SECOND, 1050 * SECOND, 50 * SECOND));
        let anchor = Anchor::of(found.until, found.due).expect("it ends");
        assert_eq!(anchor.0, 1000 * SECOND);
        assert_eq!(rests(&[wait(1100, 100), wait(1015, 15)], 10), None, "5 s are left");
        assert_eq!(rests(&[], 10), None);
    }

    #[test]
    fn waits_that_a_jump_of_the_clock_set_apart_are_waited_for_in_memory() {
        assert_eq!(rests(&[wait(1100, 100), wait(87_450, 50)], 10), None);
        let limited = Resting { deadline: Some(Moment { wall: 0, elapsed: 200 * SECOND }), ..wait(1100, 100) };
        assert_eq!(rests(&[limited], 10), None);
    }

    #[test]
    fn a_clock_that_drifted_ends_no_wait_early() {
        let late = Resting { due: Moment { wall: 1100 * SECOND + 400_000, elapsed: 100 * SECOND }, deadline: None };
        let found = rests(&[late, wait(1050, 50)], 10).expect("it drifted by less than a second");
        let offset = found.until.0 - found.due;
        for wait in [late, wait(1050, 50)] {
            let ends = wait.due.wall - offset;
            assert!((0..=DRIFT_MAX).contains(&(ends - wait.due.elapsed)), "{ends}");
        }
    }

    #[test]
    fn for_ever_is_a_moment_that_never_comes() {
        let forever = Resting { due: Moment::new(Timestamp(i64::MAX), Duration::MAX), deadline: None };
        let found = rests(&[forever], 10).expect("it rests");
        assert_eq!((found.until, found.due), (Timestamp(i64::MAX), i64::MAX));
        assert!(Anchor::of(found.until, found.due).is_none());
        assert_eq!(rests(&[forever, wait(1050, 50)], 10).map(|rest| rest.due), Some(50 * SECOND));
    }

    #[test]
    fn a_long_log_is_not_read_again_for_a_short_wait() {
        assert_eq!(threshold(Duration::ZERO, Sequence(7)), Some(Duration::from_millis(7)));
        assert_eq!(threshold(SLEEP_OUT_AFTER_DEFAULT, Sequence(7)), Some(SLEEP_OUT_AFTER_DEFAULT));
        assert_eq!(threshold(SLEEP_OUT_AFTER_DEFAULT, Sequence(100_000)), Some(Duration::from_secs(100)));
        assert_eq!(threshold(Duration::MAX, Sequence(7)), None);
    }
}
