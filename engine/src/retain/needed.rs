//! The runs that unfinished ones called, and that those called: a new attempt may ask any of them again.
//!
//! Invariant: memory is bounded by their ids, of which there are at most [`NEEDED_MAX`].

use std::collections::BTreeSet;
use std::sync::Arc;

use relive_storage::{KeyRange, Order, PageLimit, Read, after};

use crate::error::{Error, ErrorKind, Result, storage_error};
use crate::event::Event;
use crate::id::RunId;
use crate::index::{self, IdRecord};

/// Most runs that are needed: 10,000,000, some 500 MiB of memory.
const NEEDED_MAX: usize = 10_000_000;

/// The runs that unfinished ones need.
pub(super) struct Needed(BTreeSet<RunId>);

impl Needed {
    pub(super) fn of(store: &Arc<dyn Read>) -> Result<Self> {
        let mut needed = Self(BTreeSet::new());
        let mut range = KeyRange::all();
        loop {
            let page = store.scan(index::UNFINISHED, &range, Order::Ascending, PageLimit::default());
            let page = page.map_err(storage_error)?;
            for row in &page.rows {
                needed.add(store, index::run_of(index::UNFINISHED, &row.key)?)?;
            }
            match page.rows.last() {
                Some(last) if page.more => range.start = after(&last.key),
                _ => return Ok(needed),
            }
        }
    }

    pub(super) fn contains(&self, run: RunId) -> bool {
        self.0.contains(&run)
    }

    /// Adds what a run called, and what that called.
    fn add(&mut self, store: &Arc<dyn Read>, run: RunId) -> Result<()> {
        let mut open = vec![run];
        while let Some(run) = open.pop() {
            for logged in crate::inspect::events(Arc::clone(store), run) {
                let Event::TraceStarted(started) = logged?.event else { continue };
                let Some(child) = started.child else { continue };
                let key = index::child_key(child);
                let alias = index::read::<IdRecord>(store.as_ref(), index::IDS, &key)?.map(|record| record.run);
                for child in [Some(child), alias].into_iter().flatten() {
                    if self.0.insert(child) {
                        open.push(child);
                    }
                }
            }
            if self.0.len() > NEEDED_MAX {
                let why = format!("unfinished runs need more than {NEEDED_MAX} others: nothing was deleted");
                return Err(Error::new(ErrorKind::Unsupported, why));
            }
        }
        Ok(())
    }
}
