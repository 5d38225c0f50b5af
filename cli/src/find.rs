//! Which run a text on the command line names: its id, the caller's id, or the beginning of its id.
//!
//! Invariant: a text that could name two runs names none.

use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use relive_engine::codec;
use relive_engine::error::{Error, ErrorKind, Result, storage_error};
use relive_engine::id::RunId;
use relive_engine::index::{IDS, IdRecord};
use relive_engine::inspect::{self, StoredRun};
use relive_storage::Read;

use crate::look;
use crate::text::{cut, escaped};
use crate::time;

/// So many candidates are listed in an error.
const LISTED_MAX: usize = 8;

/// Finds a run. A whole run id comes first, then the caller's id, then the beginning of a run id: a prefix can be made
/// longer, an id cannot.
pub(crate) fn find(store: &Arc<dyn Read>, directory: &Path, text: &str) -> Result<RunId> {
    if let Ok(run) = text.parse::<RunId>()
        && inspect::run(store.as_ref(), run)?.is_some()
    {
        return Ok(run);
    }
    if let Some(run) = by_callers_id(store.as_ref(), text)? {
        return Ok(run);
    }
    // A text that begins no id finds none; a store that cannot be read does.
    let found = match inspect::runs_by_prefix(store.as_ref(), text, LISTED_MAX + 1) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::Failed => Vec::new(),
        Err(error) => return Err(error),
    };
    let shown = cut(&escaped(text), 60);
    match found.as_slice() {
        [only] => Ok(*only),
        [] => {
            let newest: Vec<StoredRun> = inspect::runs(Arc::clone(store)).take(3).collect::<Result<_>>()?;
            let place = directory.display();
            let mut message = format!("no run in {place} has the id `{shown}`, or an id that begins with it");
            if newest.is_empty() {
                message.push_str("; there are no runs in it at all");
            } else {
                message.push_str(&format!("; `relive runs` lists all, and the newest are{}", listed(&newest)));
            }
            Err(Error::new(ErrorKind::UnknownRun, message))
        }
        several => {
            let mut candidates = Vec::with_capacity(LISTED_MAX);
            for run in several.iter().take(LISTED_MAX) {
                if let Some(record) = inspect::run(store.as_ref(), *run)? {
                    candidates.push(StoredRun { run: *run, record });
                }
            }
            let more = if several.len() > LISTED_MAX { "\n  and more" } else { "" };
            let list = listed(&candidates);
            let message = format!("`{shown}` begins the ids of several runs: give more of it{list}{more}");
            Err(Error::new(ErrorKind::UnknownRun, message))
        }
    }
}

/// The run that a caller gave this id.
fn by_callers_id(store: &dyn Read, id: &str) -> Result<Option<RunId>> {
    let Some(bytes) = store.get(IDS, id.as_bytes()).map_err(storage_error)? else { return Ok(None) };
    let (record, ..) = codec::open::<IdRecord>(id.as_bytes(), &bytes).map_err(|error| {
        Error::new(ErrorKind::Corrupt, format!("index {}, key `{}`: {error}", IDS.name(), escaped(id)))
    })?;
    Ok(Some(record.run))
}

fn listed(runs: &[StoredRun]) -> String {
    let zone = TimeZone::system();
    let line = |stored: &StoredRun| {
        let record = &stored.record;
        let id = record.id.as_ref().map(|id| format!("  {}", cut(&escaped(id), 40))).unwrap_or_default();
        let (state, _) = look::state(record.state);
        let at = time::to_the_second(record.started_at, &zone);
        format!("\n  {}  {}  {state}  {at}{id}", stored.run, cut(&escaped(&record.task), 40))
    };
    runs.iter().map(line).collect()
}
