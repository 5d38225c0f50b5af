//! How long writes gather before they are committed, under load.
//!
//! Used by the committer. A commit costs nearly the same processor time whether it holds twenty writes or five hundred:
//! the system calls of its sync, waking threads. When the processors are all busy, runs have enough to do meanwhile, so a
//! larger group costs nobody a wait and leaves them more of the processors. When they are not, any wait is lost time. Which
//! of the two it is shows in the wait itself: its second half brings as many writes as its first, or it does not.
//!
//! Invariants: nothing waits where fewer than [`WRITES_MIN`] writes come together by themselves, which is so for every
//! program with less than that many runs under way; a wait is at most [`WAIT_MAX`].

use std::time::Duration;

/// From so many writes on there may be load: 32, of which a commit's fixed costs are about a tenth.
pub(super) const WRITES_MIN: usize = 32;

/// So many are enough: 512, of which the fixed costs are a hundredth.
pub(super) const WRITES_ENOUGH: usize = 512;

/// Longest wait: 1 ms, a few syncs of a fast disk.
const WAIT_MAX: Duration = Duration::from_millis(1);

/// First wait, and the shortest that is tried: 64 µs, about how exactly a thread can sleep.
const WAIT_MIN: Duration = Duration::from_micros(64);

/// Groups that do not wait after a wait was of no use.
const GROUPS_WITHOUT: u32 = 64;

/// Decides from one group to the next.
#[derive(Debug)]
pub(super) struct Gather {
    wait: Duration,
    groups_without: u32,
}

impl Default for Gather {
    fn default() -> Self {
        Self { wait: WAIT_MIN, groups_without: 0 }
    }
}

/// What half a wait brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Half {
    pub(super) writes: usize,
    pub(super) took: Duration,
}

impl Gather {
    /// How long each half of a wait is to be for a group that has so many writes by now; `None`: not at all.
    pub(super) fn half(&mut self, writes: usize) -> Option<Duration> {
        if !(WRITES_MIN..WRITES_ENOUGH).contains(&writes) {
            return None;
        }
        if self.groups_without > 0 {
            self.groups_without -= 1;
            return None;
        }
        Some(self.wait / 2)
    }

    /// Learns from a wait. The second half counts as dried up below three quarters of the first one's rate.
    pub(super) fn waited(&mut self, first: Half, second: Half) {
        let second_at_first_pace = second.writes as f64 * first.took.as_secs_f64();
        let first_at_second_pace = first.writes as f64 * second.took.as_secs_f64();
        let went_on = first.writes > 0 && second_at_first_pace >= 0.75 * first_at_second_pace;
        if went_on {
            self.wait = (self.wait * 5 / 4).min(WAIT_MAX);
            return;
        }
        self.wait /= 2;
        if self.wait < WAIT_MIN {
            *self = Self { wait: WAIT_MIN, groups_without: GROUPS_WITHOUT };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Duration = Duration::from_micros(100);

    fn half(writes: usize) -> Half {
        Half { writes, took: HALF }
    }

    #[test]
    fn few_writes_and_very_many_never_wait() {
        let mut gather = Gather::default();
        for writes in [0, 1, WRITES_MIN - 1, WRITES_ENOUGH, 8192] {
            assert_eq!(gather.half(writes), None, "{writes}");
        }
        assert_eq!(gather.half(WRITES_MIN), Some(WAIT_MIN / 2));
    }

    #[test]
    fn a_wait_grows_as_long_as_writes_keep_coming_and_has_an_end() {
        let mut gather = Gather::default();
        for _ in 0..100 {
            gather.waited(half(20), half(19));
        }
        assert_eq!(gather.half(100), Some(WAIT_MAX / 2));
    }

    #[test]
    fn a_wait_that_dries_up_is_halved_and_then_given_up_for_a_while() {
        let mut gather = Gather::default();
        (0..100).for_each(|_| gather.waited(half(20), half(20)));
        gather.waited(half(20), half(14));
        assert_eq!(gather.half(100), Some(WAIT_MAX / 4));
        (0..10).for_each(|_| gather.waited(half(20), half(0)));
        let without = (0..1000).take_while(|_| gather.half(100).is_none()).count();
        assert_eq!(without, GROUPS_WITHOUT as usize);
        assert_eq!(gather.half(100), Some(WAIT_MIN / 2));
    }

    #[test]
    fn halves_of_different_lengths_are_compared_by_their_pace() {
        let mut gather = Gather::default();
        gather.waited(half(20), Half { writes: 60, took: HALF * 3 });
        assert!(gather.half(100) > Some(WAIT_MIN / 2));
        gather.waited(half(20), Half { writes: 30, took: HALF * 3 });
        assert!(gather.half(100) < Some(WAIT_MIN));
    }
}
