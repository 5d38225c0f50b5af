//! Whether a store is whole: every record, every chain, and that the indexes say what the logs say, both ways.
//!
//! `logs` reads each log and compares what follows from it with the rows beside it; `indexes` asks of each of those rows
//! whether its run is there; `cached` looks at the cache by itself. A problem is handed on where it is found, and the
//! reading goes on behind it.
//!
//! Invariant: nothing is written; memory is bounded by a page and by what is open in one log, whatever is stored.

mod cached;
mod indexes;
mod logs;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use relive_storage::{KeyRange, Keyspace, Order, PageLimit, Read, Row, after};
use serde::de::DeserializeOwned;

use crate::codec;
use crate::error::{Error, ErrorKind, Result, storage_error};
use crate::id::{RunId, Sequence};
use crate::index;

/// Something in a store that is not as it should be. `Display` says where and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In which keyspace.
    pub keyspace: &'static str,
    /// Under which key; empty if the keyspace could not be read.
    pub key: Vec<u8>,
    /// Which run it concerns, if that is known.
    pub run: Option<RunId>,
    /// Where in that run's log.
    pub at: Option<Sequence>,
    /// What is wrong, for an operator.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyspace)?;
        match (self.run, self.at) {
            (Some(run), Some(at)) => write!(f, ", run {run} at event {at}")?,
            (Some(run), None) => write!(f, ", run {run}")?,
            _ if self.key.is_empty() => {}
            _ => {
                f.write_str(", key ")?;
                self.key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            }
        }
        write!(f, ": {}", self.what)
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Runs with a log.
    pub run_count: u64,
    /// Events in logs, as far as they could be read.
    pub event_count: u64,
    /// Rows of all keyspaces.
    pub row_count: u64,
    /// Keys and values of these, in bytes.
    pub bytes: u64,
    /// Problems that were found.
    pub problem_count: u64,
}

/// What is told while a store is looked at.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Something is wrong.
    Problem(Problem),
    /// So much has been read.
    Read {
        /// In which keyspace.
        keyspace: &'static str,
        /// So far, of everything.
        so_far: &'a Verified,
        /// How much of this keyspace lies behind, roughly: 0 to 1.
        fraction: f64,
    },
}

/// Looks at a whole store. A view that does not move is needed ([`relive_storage::RocksReader`]): of one that is written
/// to meanwhile, log and index may be of different moments. What cannot be read is a problem like any other.
pub fn store(store: &Arc<dyn Read>, tell: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>) -> Verified {
    let mut look = Look { store: Arc::clone(store), tell, so_far: Verified::default(), over: false };
    logs::all(&mut look);
    indexes::all(&mut look);
    cached::all(&mut look);
    look.so_far
}

/// Looks at one run: its log, and what stands beside it.
pub fn run(store: &Arc<dyn Read>, run: RunId, tell: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>) -> Verified {
    let mut look = Look { store: Arc::clone(store), tell, so_far: Verified::default(), over: false };
    logs::of_run(&mut look, run);
    look.so_far
}

/// A look at a store, under way.
struct Look<'a> {
    store: Arc<dyn Read>,
    tell: &'a mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    so_far: Verified,
    /// Who is told wants no more.
    over: bool,
}

impl Look<'_> {
    fn tell(&mut self, progress: Progress<'_>) {
        self.over |= (self.tell)(progress).is_break();
    }

    fn problem(&mut self, keyspace: Keyspace, key: &[u8], run: Option<RunId>, what: impl Into<String>) {
        self.so_far.problem_count += 1;
        let keyspace = keyspace.name();
        self.tell(Progress::Problem(Problem { keyspace, key: key.to_vec(), run, at: None, what: what.into() }));
    }

    fn problem_at(&mut self, run: RunId, at: Sequence, what: impl Into<String>) {
        self.so_far.problem_count += 1;
        let (keyspace, key) = (crate::log::LOG.name(), crate::log::key(run, at));
        self.tell(Progress::Problem(Problem { keyspace, key, run: Some(run), at: Some(at), what: what.into() }));
    }

    /// Hands on each row of a range, as long as it is wanted. A range that cannot be read is a problem, and ends there.
    fn each(&mut self, keyspace: Keyspace, range: KeyRange, mut take: impl FnMut(&mut Self, &Row)) {
        let (mut range, span) = (range.clone(), Span::of(self.store.as_ref(), keyspace, &range));
        while !self.over {
            let page = self.store.scan(keyspace, &range, Order::Ascending, PageLimit::default());
            let page = match page.map_err(storage_error) {
                Ok(page) => page,
                Err(error) => {
                    let why = format!("cannot be read from here on: {error}");
                    return self.problem(keyspace, &range.start, None, why);
                }
            };
            for row in &page.rows {
                self.so_far.row_count += 1;
                self.so_far.bytes += (row.key.len() + row.value.len()) as u64;
                take(self, row);
            }
            let Some(last) = page.rows.last() else { return };
            let so_far = self.so_far;
            let fraction = if page.more { span.fraction(&last.key) } else { 1.0 };
            self.tell(Progress::Read { keyspace: keyspace.name(), so_far: &so_far, fraction });
            if !page.more {
                return;
            }
            range.start = after(&last.key);
        }
    }

    /// The record in a row, or the problem that there is none.
    fn open<T: DeserializeOwned>(&mut self, keyspace: Keyspace, row: &Row, run: Option<RunId>) -> Option<T> {
        match codec::open::<T>(&row.key, &row.value) {
            Ok((record, ..)) => Some(record),
            Err(error) => {
                self.problem(keyspace, &row.key, run, error.to_string());
                None
            }
        }
    }

    /// The record under a key; `None` also if it cannot be read, which the pass over its keyspace tells.
    fn read<T: DeserializeOwned>(&self, keyspace: Keyspace, key: &[u8]) -> Found<T> {
        match index::read(self.store.as_ref(), keyspace, key) {
            Ok(Some(record)) => Found::Record(record),
            Ok(None) => Found::Nothing,
            Err(_) => Found::Damaged,
        }
    }

    /// Whether a run stands in `runs`; yes if that row cannot be read.
    fn is_run(&self, run: RunId) -> bool {
        !matches!(self.store.get(index::RUNS, run.as_bytes()), Ok(None))
    }
}

/// What is under a key.
enum Found<T> {
    Record(T),
    Nothing,
    Damaged,
}

/// Where the keys of a range lie, to say how far one is: by their first 8 bytes, which of run ids are the time.
struct Span {
    first: u64,
    last: u64,
}

impl Span {
    fn of(store: &dyn Read, keyspace: Keyspace, range: &KeyRange) -> Self {
        let one = PageLimit { row_count: 1, ..PageLimit::default() };
        let end = |order| {
            let page = store.scan(keyspace, range, order, one).unwrap_or_default();
            page.rows.first().map_or(0, |row| leading(&row.key))
        };
        Self { first: end(Order::Ascending), last: end(Order::Descending) }
    }

    fn fraction(&self, key: &[u8]) -> f64 {
        let all = self.last.saturating_sub(self.first).max(1) as f64;
        (leading(key).saturating_sub(self.first) as f64 / all).min(1.0)
    }
}

fn leading(key: &[u8]) -> u64 {
    key.iter().chain(std::iter::repeat(&0)).take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// For whoever wants one error: that a store is not whole.
///
/// # Errors
/// Of kind `Corrupt`, with the first problem, if there is any.
pub fn check(view: &Arc<dyn Read>) -> Result<Verified> {
    let mut first = None;
    let verified = store(view, &mut |progress| {
        if let Progress::Problem(problem) = progress {
            first.get_or_insert(problem);
        }
        ControlFlow::Continue(())
    });
    match first {
        None => Ok(verified),
        Some(problem) => Err(Error::new(ErrorKind::Corrupt, problem.to_string())),
    }
}
