//! Looks for runs whose time is over, and deletes them: a slice of work at a time.
//!
//! Driven by `background`, on a thread that may block. What is looked at is not all that is stored: ids of runs come in the
//! order in which they were started, so each slice goes on where the runs are that have come of age since. What came of age
//! out of that order is remembered for when it is due (`later`), or met by a *round* that goes through all runs that are old
//! enough, some at a time.
//!
//! Invariants: a slice is bounded by [`STAY_MAX`] and [`GO_MAX`]; memory is bounded by [`LATER_MAX`], by what tasks say is to
//! be counted, and by the tasks.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use relive_storage::{KeyRange, Order, PageLimit, Row, after};
use rustc_hash::FxHashMap;

use super::delete::Batch;
use super::judge::{Judge, Verdict};
use super::keep::{Keep, Keeps};
use super::space::Space;
use crate::clock::Clock;
use crate::engine::Inner;
use crate::error::{ErrorKind, Result, storage_error};
use crate::id::{RunId, Timestamp};
use crate::index::{self, RunRecord};
use crate::log::LOG;

/// Runs that stay and that a round looks at in one slice: 65,536, some 100 ms of one core a minute.
const STAY_MAX: u64 = 65_536;

/// Runs that go in one slice. If there are more, the next slice follows at once.
const GO_MAX: u64 = 16_384;

/// Runs of which it is remembered when they are due: 65,536, some 3 MiB. A round meets the others.
const LATER_MAX: usize = 65_536;

/// What is due later than in an hour is not remembered.
const LATER_WITHIN: i64 = 3_600_000_000;

/// Slices follow each other so soon, or sooner where something is kept for a shorter time.
const EVERY: Duration = Duration::from_secs(60);

/// Runs that are read in one go.
const RUNS_PER_PAGE: usize = 256;

/// How far the work has come.
pub(super) struct Pass {
    default: Keep,
    keeps: Keeps,
    /// For each age that decides by itself: the first key that has not come of age yet.
    reached: Vec<Vec<u8>>,
    later: BTreeSet<(Timestamp, RunId)>,
    round: Round,
    /// Whether all that was there at open has been looked at once.
    is_caught_up: bool,
    space: Space,
    opened_at: (Timestamp, Duration),
}

/// A way through all runs that are old enough, the oldest first.
struct Round {
    next: Vec<u8>,
    began_at: Timestamp,
    /// The newest of each task that have ended, as far as they were met.
    newest: FxHashMap<String, VecDeque<RunId>>,
    /// Whether a run was met that should go with others, and these were still there. They may have gone since: ids of one
    /// millisecond are in no order.
    is_one_early: bool,
    gone_count: usize,
}

impl Round {
    fn at(now: Timestamp) -> Self {
        Self { next: Vec::new(), began_at: now, newest: FxHashMap::default(), is_one_early: false, gone_count: 0 }
    }
}

/// What a slice has done so far.
struct Slice<'a> {
    inner: &'a Arc<Inner>,
    judge: Judge<'a>,
    batch: Batch<'a>,
    stay_count: u64,
    gone: Vec<RunId>,
    /// Runs that could not be judged or removed, and why the first of them could not.
    failed: Option<(u64, crate::error::Error)>,
}

/// Where a way through runs ended.
enum Walked {
    /// At the end.
    All,
    /// Before this key, as it was enough for one slice.
    UpTo(Vec<u8>),
}

impl Pass {
    /// `None` if everything is kept forever.
    ///
    /// # Errors
    /// If a task or the engine is to keep more by number than can be counted.
    pub(super) fn new(
        registry: &crate::definition::Registry,
        default: Keep,
        clock: &dyn Clock,
    ) -> Result<Option<Self>> {
        let Some(keeps) = Keeps::of(registry, default)? else { return Ok(None) };
        let opened_at = (clock.now(), clock.elapsed());
        Ok(Some(Self {
            default,
            reached: vec![Vec::new(); keeps.ages.len()],
            keeps,
            later: BTreeSet::new(),
            round: Round::at(opened_at.0),
            is_caught_up: false,
            space: Space::new(opened_at.1),
            opened_at,
        }))
    }

    /// How long to wait between two slices: half of the shortest age, from a second to [`EVERY`].
    pub(super) fn every(&self) -> Duration {
        let shortest = self.keeps.ages.iter().min().map_or(EVERY, |age| *age / 2);
        shortest.clamp(Duration::from_secs(1), EVERY)
    }

    /// The wall clock, but no later than it was at open and the time since: somebody may set it years ahead for a moment.
    fn now(&self, clock: &dyn Clock) -> Timestamp {
        let passed = clock.elapsed().saturating_sub(self.opened_at.1).as_micros();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        clock.now().min(Timestamp(self.opened_at.0.0.saturating_add(passed)))
    }

    /// Does a slice of the work. Says whether there is more to do at once.
    ///
    /// # Errors
    /// If the engine is closed, or the store cannot be read or written. A run that cannot be judged stays, and is told of.
    pub(super) fn slice(&mut self, inner: &Arc<Inner>) -> Result<bool> {
        let clock = inner.environment.clock.as_ref();
        let now = self.now(clock);
        if inner.retaining.asked.swap(false, Ordering::AcqRel) {
            // Some that were counted are gone.
            self.round = Round::at(self.round.began_at);
        }
        let judge = Judge { registry: &inner.registry, store: inner.store()?, default: self.default, now };
        let batch = Batch::new(inner);
        let mut slice = Slice { inner, judge, batch, stay_count: 0, gone: Vec::new(), failed: None };
        let worked = self.work(&mut slice);
        for run in &slice.gone {
            self.space.add(*run);
        }
        slice.tell();
        drop(slice);
        let more = worked?;
        for range in self.space.due(clock.elapsed()) {
            for keyspace in [LOG, index::RUNS] {
                // A range is soon done with; between them the engine may be closed.
                inner.check_open()?;
                inner.settings.committer.reclaim(keyspace, &range)?;
            }
        }
        Ok(more)
    }

    fn work(&mut self, slice: &mut Slice<'_>) -> Result<bool> {
        let mut more = false;
        if self.is_caught_up {
            for index in 0..self.keeps.ages.len() {
                let end = came_of_age(slice.judge.now, self.keeps.ages[index]);
                let from = self.reached[index].clone();
                if end <= from {
                    // Somebody set the clock back.
                    continue;
                }
                // What stays here has been started since the last slice: it is no more than was started then.
                let range = KeyRange { start: from, end: Some(end.clone()) };
                match self.walk(slice, range, u64::MAX, false)? {
                    Walked::All => self.reached[index] = end,
                    Walked::UpTo(key) => (self.reached[index], more) = (key, true),
                }
            }
            self.what_is_due(slice)?;
        }
        Ok(self.go_round(slice)? || more)
    }

    /// Goes on with the round. Says whether there is more to do at once.
    fn go_round(&mut self, slice: &mut Slice<'_>) -> Result<bool> {
        let shortest = self.keeps.ages.iter().min().copied().unwrap_or_default();
        let end = (!self.keeps.counts).then(|| came_of_age(self.round.began_at, shortest));
        let range = KeyRange { start: self.round.next.clone(), end };
        let gone_before = slice.gone.len();
        let walked = self.walk(slice, range, STAY_MAX, true);
        self.round.gone_count += slice.gone.len() - gone_before;
        if walked.is_err() {
            // What was counted is not known to be right.
            self.round = Round::at(slice.judge.now);
        }
        match walked? {
            Walked::All => {
                if !self.is_caught_up {
                    // All that had come of age when the round began was met by it.
                    let ages = self.keeps.ages.iter();
                    self.reached = ages.map(|age| came_of_age(self.round.began_at, *age)).collect();
                    self.is_caught_up = true;
                }
                let again = self.round.is_one_early && self.round.gone_count > 0;
                self.round = Round::at(slice.judge.now);
                Ok(again)
            }
            Walked::UpTo(key) => {
                self.round.next = key;
                Ok(!self.is_caught_up || slice.gone.len() as u64 >= GO_MAX)
            }
        }
    }

    /// Looks at the runs of a range, until so many of them stay.
    fn walk(&mut self, slice: &mut Slice<'_>, mut range: KeyRange, stay_max: u64, is_round: bool) -> Result<Walked> {
        let limit = PageLimit { row_count: RUNS_PER_PAGE, ..PageLimit::default() };
        let stay_max = slice.stay_count.saturating_add(stay_max);
        loop {
            slice.inner.check_open()?;
            let page =
                slice.inner.store()?.scan(index::RUNS, &range, Order::Ascending, limit).map_err(storage_error)?;
            for row in &page.rows {
                self.look(slice, row, is_round)?;
            }
            slice.flush()?;
            let Some(last) = page.rows.last().filter(|_| page.more) else { return Ok(Walked::All) };
            range.start = after(&last.key);
            if slice.stay_count >= stay_max || slice.gone.len() as u64 >= GO_MAX {
                return Ok(Walked::UpTo(range.start));
            }
        }
    }

    /// Looks at one run.
    fn look(&mut self, slice: &mut Slice<'_>, row: &Row, is_round: bool) -> Result<()> {
        slice.stay_count += 1;
        let Some((run, record, verdict)) = slice.judged(row)? else { return Ok(()) };
        match verdict {
            Verdict::Stays => {}
            Verdict::At(due) => {
                let left = due.0.saturating_sub(slice.judge.now.0);
                self.round.is_one_early |= is_round && left <= 0;
                if (1..=LATER_WITHIN).contains(&left) && self.later.len() < LATER_MAX {
                    self.later.insert((due, run));
                }
            }
            Verdict::Goes => slice.goes(run, &record, row)?,
            Verdict::Counts { count, .. } if is_round => {
                let newest = self.round.newest.entry(record.task).or_default();
                newest.push_back(run);
                if newest.len() > count as usize
                    && let Some(oldest) = newest.pop_front()
                {
                    one_too_many(slice, oldest)?;
                }
            }
            Verdict::Counts { .. } => {}
        }
        Ok(())
    }

    /// Looks once more at those whose time should be over by now.
    fn what_is_due(&mut self, slice: &mut Slice<'_>) -> Result<()> {
        let behind = (Timestamp(slice.judge.now.0.saturating_add(1)), RunId::from_bytes([0; 16]));
        let later = self.later.split_off(&behind);
        for (index, (_, run)) in std::mem::replace(&mut self.later, later).into_iter().enumerate() {
            if index % RUNS_PER_PAGE == 0 {
                slice.inner.check_open()?;
            }
            if let Some(row) = slice.row(run)? {
                self.look(slice, &row, false)?;
            }
        }
        slice.flush()
    }
}

/// Of a task, so many newer ones have ended.
fn one_too_many(slice: &mut Slice<'_>, run: RunId) -> Result<()> {
    let Some(row) = slice.row(run)? else { return Ok(()) };
    let Some((run, record, Verdict::Counts { is_old: true, .. })) = slice.judged(&row)? else { return Ok(()) };
    let is_free = slice.judge.is_free(run, &record);
    if slice.unless_damaged(is_free)? == Some(true) { slice.goes(run, &record, &row) } else { Ok(()) }
}

impl Slice<'_> {
    /// A run's row, if it is there.
    fn row(&self, run: RunId) -> Result<Option<Row>> {
        let key = index::run_key(run);
        let value = self.judge.store.get(index::RUNS, &key).map_err(storage_error)?;
        Ok(value.map(|value| Row { key, value }))
    }

    /// What is to become of a run; `None` if that cannot be said, as what stands of it is damaged.
    fn judged(&mut self, row: &Row) -> Result<Option<(RunId, RunRecord, Verdict)>> {
        let read = index::run_of(index::RUNS, &row.key)
            .and_then(|run| Ok((run, index::open::<RunRecord>(index::RUNS, &row.key, &row.value)?)));
        let judged = read.and_then(|(run, record)| {
            if record.parent.is_some_and(|parent| self.batch.holds(parent)) {
                self.flush()?;
            }
            let verdict = self.judge.judge(run, &record)?;
            Ok((run, record, verdict))
        });
        self.unless_damaged(judged)
    }

    fn goes(&mut self, run: RunId, record: &RunRecord, row: &Row) -> Result<()> {
        let added = self.batch.add(run, record, row);
        self.unless_damaged(added)?;
        if self.batch.is_full() { self.flush() } else { Ok(()) }
    }

    /// One damaged row keeps the run that it is of, and no other.
    fn unless_damaged<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.failed.get_or_insert((0, error)).0 += 1;
                Ok(None)
            }
            result => result.map(Some),
        }
    }

    fn flush(&mut self) -> Result<()> {
        let gone = self.batch.flush()?;
        self.stay_count = self.stay_count.saturating_sub(gone.len() as u64);
        self.gone.extend(gone);
        Ok(())
    }

    fn tell(&self) {
        if !self.gone.is_empty() {
            tracing::debug!(count = self.gone.len(), "runs were deleted, as their time was over");
        }
        if let Some((count, error)) = &self.failed {
            self.inner.environment.metrics.retention_errors.increment(*count);
            tracing::warn!(count, %error, "runs whose time may be over stay, as they cannot be read: verify the store");
        }
    }
}

/// Behind the runs that were started so long ago: those that ended so long ago are among them.
fn came_of_age(now: Timestamp, age: Duration) -> Vec<u8> {
    let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
    index::run_key(RunId::new(Timestamp(now.0.saturating_sub(age)), [0; 10]))
}
