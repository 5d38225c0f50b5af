//! Where runs were deleted, so that their space is given back: a part of the store at a time, when that is worth rewriting
//! what is beside them.
//!
//! Told by `pass`. Ids of runs come in the order of time, and so lie on the disk those that were started about the same time.
//!
//! Invariant: at most [`RANGES_MAX`] ranges are remembered. What is forgotten comes back when the store tidies up by itself.

use std::time::Duration;

use relive_storage::KeyRange;

use crate::id::RunId;
use crate::index;

/// A range is worth it at once if so many runs are gone in it: 16,384, some 16 MiB of short logs, as tables of some 64 MiB
/// are rewritten for them.
const COUNT_MIN: u64 = 16_384;

/// Ranges in which fewer are gone wait so long for more.
const RECLAIM_EVERY: Duration = Duration::from_secs(60 * 60);

/// Runs that were started within a minute of each other are neighbours on the disk.
const NEIGHBOURS_MILLISECONDS: u64 = 60_000;

/// 8 ranges: what is rewritten each hour for a few runs is bounded by the tables that these lie in.
const RANGES_MAX: usize = 8;

/// Where runs are gone, and their space is not back.
pub(super) struct Space {
    ranges: Vec<Gone>,
    reclaimed_at: Duration,
}

/// Runs that are gone and were neighbours.
struct Gone {
    first: RunId,
    last: RunId,
    count: u64,
}

impl Space {
    /// `now` is elapsed time, as everywhere here.
    pub(super) fn new(now: Duration) -> Self {
        Self { ranges: Vec::new(), reclaimed_at: now }
    }

    /// A run is gone.
    pub(super) fn add(&mut self, run: RunId) {
        let at = run.milliseconds();
        let beside = |gone: &&mut Gone| {
            gone.first.milliseconds().saturating_sub(NEIGHBOURS_MILLISECONDS) <= at
                && at <= gone.last.milliseconds() + NEIGHBOURS_MILLISECONDS
        };
        if let Some(gone) = self.ranges.iter_mut().find(beside) {
            gone.first = gone.first.min(run);
            gone.last = gone.last.max(run);
            gone.count += 1;
            return;
        }
        if self.ranges.len() == RANGES_MAX
            && let Some(least) = (0..RANGES_MAX).min_by_key(|index| self.ranges[*index].count)
        {
            self.ranges.swap_remove(least);
        }
        self.ranges.push(Gone { first: run, last: run, count: 1 });
    }

    /// The ranges whose turn it is. They are forgotten here.
    pub(super) fn due(&mut self, now: Duration) -> Vec<KeyRange> {
        let is_time = now.saturating_sub(self.reclaimed_at) >= RECLAIM_EVERY;
        if is_time {
            self.reclaimed_at = now;
        }
        let due = self.ranges.extract_if(.., |gone| is_time || gone.count >= COUNT_MIN);
        due.map(|gone| range(gone.first, gone.last)).collect()
    }
}

/// The keys of these runs and of all between them.
pub(super) fn range(first: RunId, last: RunId) -> KeyRange {
    KeyRange { start: index::run_key(first), end: KeyRange::prefix(last.as_bytes()).end }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Timestamp;

    const HOUR: Duration = Duration::from_secs(3600);

    fn run(second: i64) -> RunId {
        RunId::new(Timestamp(second * 1_000_000), [7; 10])
    }

    #[test]
    fn neighbours_are_one_range_and_wait_for_an_hour() {
        let mut space = Space::new(HOUR);
        for second in [1_000, 1_030, 970, 9_000] {
            space.add(run(second));
        }
        assert_eq!(space.due(HOUR * 2 - Duration::from_nanos(1)), []);
        assert_eq!(space.due(HOUR * 2), [range(run(970), run(1_030)), range(run(9_000), run(9_000))]);
        assert_eq!(space.due(HOUR * 9), []);
    }

    #[test]
    fn many_are_given_back_at_once_and_few_ranges_are_remembered() {
        let mut space = Space::new(HOUR);
        (0..COUNT_MIN).for_each(|_| space.add(run(500)));
        (1..=20).for_each(|hour| space.add(run(hour * 3_600)));
        assert_eq!(space.due(HOUR), [range(run(500), run(500))]);
        assert_eq!(space.due(HOUR * 2).len(), RANGES_MAX - 1);
    }
}
