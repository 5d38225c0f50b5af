//! How long finished runs are kept, as a task or the engine says.
//!
//! Read by `pass`. Calls nothing.

use std::time::Duration;

use crate::definition::Registry;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Timestamp;

/// How long finished runs are kept: for as long as any of its parts says so. A run that is not finished always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// For so long after it ended, by the wall clock.
    pub age: Option<Duration>,
    /// While it is among so many of its task's newest that have ended; at most [`KEEP_COUNT_MAX`].
    pub count: Option<u32>,
}

/// 100,000: which are the newest of a task is held in memory while runs are looked at, 1.6 MB then.
pub const KEEP_COUNT_MAX: u32 = 100_000;

impl Keep {
    /// Nothing is deleted unless somebody asks for it.
    pub const FOREVER: Self = Self { age: None, count: None };

    /// For so long after a run ended.
    pub const fn age(age: Duration) -> Self {
        Self { age: Some(age), count: None }
    }

    /// So many of each task, those that were started last; at most [`KEEP_COUNT_MAX`].
    pub const fn newest(count: u32) -> Self {
        Self { age: None, count: Some(count) }
    }

    /// And so many of each task however long ago they ended.
    #[must_use]
    pub const fn and_newest(self, count: u32) -> Self {
        Self { count: Some(count), ..self }
    }

    /// Whether nothing is deleted.
    pub const fn is_forever(self) -> bool {
        self.age.is_none() && self.count.is_none()
    }

    /// When the time of a run is over that ended then; `None` if it never is. Without an age, at once.
    pub(super) fn due(self, finished_at: Timestamp) -> Option<Timestamp> {
        if self.is_forever() {
            return None;
        }
        let age = i64::try_from(self.age.unwrap_or_default().as_micros()).unwrap_or(i64::MAX);
        Some(Timestamp(finished_at.0.saturating_add(age)))
    }
}

/// What is said of every task that the program has.
#[derive(Debug, Default)]
pub(super) struct Keeps {
    /// The ages that decide by themselves, each once.
    pub(super) ages: Vec<Duration>,
    /// Whether for some task it counts how many there are.
    pub(super) counts: bool,
}

impl Keeps {
    /// `None` if everything is kept forever.
    ///
    /// # Errors
    /// Of kind `Unsupported` if a count is larger than [`KEEP_COUNT_MAX`].
    pub(super) fn of(registry: &Registry, default: Keep) -> Result<Option<Self>> {
        let mut keeps = Self::default();
        let own = registry.tasks().map(|task| (task.name, task.policy.keep.unwrap_or(default)));
        for (name, keep) in own.chain([("", default)]) {
            if keep.count.is_some_and(|count| count > KEEP_COUNT_MAX) {
                let whose = if name.is_empty() { "the engine".to_owned() } else { format!("task {name}") };
                let why =
                    format!("{whose} is to keep more than {KEEP_COUNT_MAX} runs by their number: say how long instead");
                return Err(Error::new(ErrorKind::Unsupported, why));
            }
            if name.is_empty() {
                // Of tasks that the program does not have, nothing is known.
                continue;
            }
            match keep {
                Keep { count: Some(_), .. } => keeps.counts = true,
                Keep { age: Some(age), .. } if !keeps.ages.contains(&age) => keeps.ages.push(age),
                Keep { .. } => {}
            }
        }
        Ok((keeps.counts || !keeps.ages.is_empty()).then_some(keeps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_longer_than_any_clock_goes_is_never_over() {
        assert_eq!(Keep::FOREVER.due(Timestamp(5)), None);
        assert_eq!(Keep::age(Duration::MAX).due(Timestamp(5)), Some(Timestamp(i64::MAX)));
        assert_eq!(Keep::age(Duration::from_secs(1)).and_newest(3).due(Timestamp(5)), Some(Timestamp(1_000_005)));
        assert_eq!(Keep::newest(3).due(Timestamp(5)), Some(Timestamp(5)));
    }
}
