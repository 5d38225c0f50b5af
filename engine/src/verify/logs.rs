//! Each log by itself, and what stands beside it.
//!
//! Invariant: a record that is damaged hides only itself: those behind it are looked at, too.

use relive_storage::{KeyRange, Row};

use super::{Found, Look};
use crate::codec::{self, Chain};
use crate::follows::Follows;
use crate::id::{RunId, Sequence};
use crate::index::{self, IDS, IdRecord, RUNS, RunRecord, TAGS, UNFINISHED, UnfinishedRecord};
use crate::log::{LOG, position};

/// All logs.
pub(super) fn all(look: &mut Look<'_>) {
    let mut log: Option<Log> = None;
    look.each(LOG, KeyRange::all(), |look, row| {
        let run = row.key.get(..16).and_then(|bytes| bytes.try_into().ok()).map(RunId::from_bytes);
        let (Some(run), Some(_)) = (run, position(&row.key)) else {
            return look.problem(LOG, &row.key, None, "the key is none of a log's record");
        };
        if log.as_ref().is_some_and(|log| log.run != run)
            && let Some(log) = log.take()
        {
            log.end(look);
        }
        log.get_or_insert_with(|| Log::new(run)).record(look, row);
    });
    if let Some(log) = log.filter(|_| !look.over) {
        log.end(look);
    }
}

/// The log of one run.
pub(super) fn of_run(look: &mut Look<'_>, run: RunId) {
    let mut log = Log::new(run);
    look.each(LOG, KeyRange::prefix(run.as_bytes()), |look, row| match position(&row.key) {
        Some(_) => log.record(look, row),
        None => look.problem(LOG, &row.key, Some(run), "the key is none of a log's record"),
    });
    if look.is_run(run) && log.next == Sequence(0) {
        return look.problem(RUNS, run.as_bytes(), Some(run), "the run is listed, and has no log");
    }
    log.end(look);
}

/// A log, as far as it was read.
struct Log {
    run: RunId,
    next: Sequence,
    /// `None` behind a record that cannot be read: what follows it chains to what is not known.
    chain: Option<Chain>,
    follows: Follows,
    /// Nothing was wrong so far: what follows from it is known.
    whole: bool,
}

impl Log {
    fn new(run: RunId) -> Self {
        let chain = Some(Chain::default());
        Self { run, next: Sequence(0), chain, follows: Follows::default(), whole: true }
    }

    fn record(&mut self, look: &mut Look<'_>, row: &Row) {
        let run = self.run;
        let Some(first) = position(&row.key) else { return };
        // Behind a record that is damaged it is not known where the next one begins.
        if first != self.next && (self.chain.is_some() || first < self.next) {
            let what = format!("a record is missing: the log goes on with event {first}");
            look.problem_at(run, self.next, what);
            (self.whole, self.chain) = (false, None);
        }
        let (batch, chain, own) = match codec::open_batch(&row.key, &row.value) {
            Ok(opened) => opened,
            Err(error) => {
                look.problem_at(run, first, error.to_string());
                (self.whole, self.chain, self.next) = (false, None, Sequence(first.0.saturating_add(1)));
                return;
            }
        };
        if self.chain.is_some_and(|expected| expected != chain) {
            look.problem_at(run, first, codec::CodecError::Chain.to_string());
            self.whole = false;
        }
        if batch.first != first || batch.events.is_empty() {
            look.problem_at(run, first, "the record holds other events than its key says");
            self.whole = false;
        }
        for event in batch.events.iter().filter(|_| self.whole) {
            if let Err(error) = self.follows.observe(run, batch.epoch, event) {
                look.problem_at(run, first, error.to_string());
                self.whole = false;
                break;
            }
        }
        look.so_far.event_count += batch.events.len() as u64;
        self.chain = Some(own);
        self.next = Sequence(first.0.saturating_add(batch.events.len() as u64));
    }

    /// Compares what follows from the log with the indexes.
    fn end(self, look: &mut Look<'_>) {
        let (run, key) = (self.run, self.run.as_bytes());
        look.so_far.run_count += 1;
        let record = match look.read::<RunRecord>(RUNS, key) {
            Found::Record(record) => Some(record),
            Found::Nothing => {
                let why =
                    "there is a log, and the run is not listed (an import that was cut off leaves this: repeat it)";
                look.problem(RUNS, key, Some(run), why);
                None
            }
            Found::Damaged => None,
        };
        // Of a log that is damaged nothing follows.
        let Some(expected) = self.follows.record().filter(|_| self.whole) else { return };
        if let Some(record) = record.filter(|record| *record != expected) {
            let field = differing(&record, &expected);
            look.problem(RUNS, key, Some(run), format!("{field} is not what the log says"));
        }
        self.unfinished(look);
        if let Some(id) = &expected.id {
            let named = look.read::<IdRecord>(IDS, id.as_bytes());
            let wrong = match named {
                Found::Record(named) => (named.run != run).then(|| format!("the id `{id}` names run {}", named.run)),
                Found::Nothing => Some(format!("the id `{id}`, under which it was started, names no run")),
                Found::Damaged => None,
            };
            if let Some(wrong) = wrong {
                look.problem(IDS, id.as_bytes(), Some(run), wrong);
            }
        }
        for (name, value) in &expected.tags {
            let key = index::tag_key(name, value, Some(run));
            if matches!(look.store.get(TAGS, &key), Ok(None)) {
                look.problem(TAGS, &key, Some(run), format!("it is not found by its tag {name}={value}"));
            }
        }
    }

    fn unfinished(&self, look: &mut Look<'_>) {
        let (run, key) = (self.run, self.run.as_bytes());
        let (is, should) = match look.read::<UnfinishedRecord>(UNFINISHED, key) {
            Found::Record(is) => (Some(is), self.follows.unfinished([0; 32])),
            Found::Nothing => (None, self.follows.unfinished([0; 32])),
            Found::Damaged => return,
        };
        match (is, should) {
            (Some(is), Some(mut should)) => {
                // These follow from no log.
                (should.call_key, should.crashes) = (is.call_key, is.crashes);
                (should.crashed_at, should.standing) = (is.crashed_at, is.standing.clone());
                if is != should {
                    look.problem(UNFINISHED, key, Some(run), "the row is not what the log says");
                }
                if is.crashed_at.0 >= self.follows.event_count {
                    look.problem(UNFINISHED, key, Some(run), "it names an event that the log does not have");
                }
            }
            (Some(_), None) => look.problem(UNFINISHED, key, Some(run), "the run has ended, and stands as unfinished"),
            (None, Some(_)) => {
                look.problem(UNFINISHED, key, Some(run), "the run has not ended, and no restart takes it up");
            }
            (None, None) => {}
        }
    }
}

/// The first field in which two records differ.
fn differing(a: &RunRecord, b: &RunRecord) -> &'static str {
    match () {
        () if a.task != b.task => "its task",
        () if a.state != b.state => "its state",
        () if a.id != b.id => "its id",
        () if a.attempts != b.attempts || a.attempt_at != b.attempt_at => "its last attempt",
        () if a.started_at != b.started_at || a.finished_at != b.finished_at => "when it began or ended",
        () if a.parent != b.parent => "its parent",
        () => "its tags",
    }
}
