//! One file for one run: its log, those of its children, and what follows from no log.
//!
//! [`write()`] makes the file from any store that can be read, [`read`] puts it into another. `file` has its bytes, `mask`
//! leaves fields out, `import` checks and writes, `mark` notes what was left out.
//!
//! Invariant: a file that was written whole can be read, whatever happened to the run meanwhile: the logs are taken as
//! they stood when they were first looked at. Memory is bounded by a record and by the ids of the runs.

pub(crate) mod file;
mod import;
mod mark;
mod mask;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use relive_storage::{KeyRange, Order, PageLimit, Read, after};

use self::file::{FileWriter, Head, Item, RunEnd};
use self::mask::Mask;
use crate::codec::{self, Chain};
use crate::entropy::{Entropy, SystemEntropy};
use crate::error::{Error, ErrorKind, Result, storage_error};
use crate::event::{Batch, Event, SignalReceived};
use crate::follows::Follows;
use crate::id::{Epoch, RunId, Sequence};
use crate::index::{self, IdRecord, UnfinishedRecord};
use crate::log::{LOG, LogReader};

pub use self::file::EXPORT_VERSION;
pub use self::import::{Checked, Imported, check, read};
pub use self::mark::redacted;
pub(crate) use self::mark::{MARK, excuse, mark_key};

/// Most runs in one file: 1,000,000, some 100 MiB of memory while it is written. A tree of more is exported in parts.
const RUNS_MAX: usize = 1_000_000;

/// What is left out of an export.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Fields whose values are replaced in inputs, results, items, signals and the values of errors: a name (`token`), or
    /// a path that ends with one (`user.password`), wherever it stands. Messages, names, ids and tags stay as they are.
    pub redact: Vec<String>,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Runs: the one that was asked for, and its children.
    pub run_count: u64,
    /// Events of all of them.
    pub event_count: u64,
    /// The size of the file.
    pub bytes: u64,
    /// Values that were replaced.
    pub redacted_count: u64,
}

/// A run that goes into the file, as it was first looked at.
struct Member {
    run: RunId,
    event_count: u64,
}

/// Writes a run and all runs that it called, also those that it joined, or that answered for a child from the cache.
///
/// # Errors
/// Of kind `UnknownRun`; of kind `Unsupported` if a field that is to be redacted is nowhere in them: then nothing is
/// written; if a log is damaged, the store cannot be read, or `out` not written: then the file is not whole, and [`read`]
/// says so.
pub fn write(store: &Arc<dyn Read>, run: RunId, options: &Options, out: &mut dyn Write) -> Result<Exported> {
    if crate::inspect::run(store.as_ref(), run)?.is_none() {
        return Err(Error::new(ErrorKind::UnknownRun, format!("there is no run {run} in this store")));
    }
    let redaction_key = crate::payload::redact::stored_key(store.as_ref())?;
    let key = redaction_key.map_or_else(drawn, Ok)?;
    let mut mask = Mask::new(&options.redact, key);
    let members = members(store, run, &mut mask)?;
    let not_found = mask.not_found();
    if !not_found.is_empty() {
        let fields = not_found.join("`, `");
        let why = format!("no payload of run {run} or its children has a field `{fields}`: nothing was exported");
        return Err(Error::new(ErrorKind::Unsupported, why));
    }
    let mut redacted = redacted(store.as_ref(), run)?;
    redacted.extend(options.redact.iter().filter(|field| !redacted.contains(field)).cloned().collect::<Vec<_>>());
    let mut file = FileWriter::begin(out)?;
    file.item(&Item::Head(Head {
        program: concat!("relive ", env!("CARGO_PKG_VERSION")).to_owned(),
        root: run,
        redacted,
        // Without it no replay finds the calls whose arguments were masked; a file without secrets does without.
        redaction_key: redaction_key.filter(|_| mask.met_mask),
    }))?;
    mask.count = 0;
    let mut exported = Exported { run_count: members.len() as u64, ..Exported::default() };
    // Those that were called first: the run that was asked for is there when all it needs is.
    for member in members.iter().rev() {
        write_run(store, member, &mut mask, &mut file)?;
        exported.event_count += member.event_count;
    }
    file.item(&Item::End { run_count: exported.run_count })?;
    (exported.redacted_count, exported.bytes) = (mask.count, file.end()?);
    Ok(exported)
}

/// A key for hashes that nobody is to guess, in a store that has none.
fn drawn() -> Result<[u8; 32]> {
    let mut key = [0; 32];
    let why = |why| Error::new(ErrorKind::Storage, format!("no randomness for the export's hashes: {why}"));
    SystemEntropy.fill(&mut key).map_err(why)?;
    Ok(key)
}

/// The run and all that it called, whoever called first before who was called.
fn members(store: &Arc<dyn Read>, root: RunId, mask: &mut Mask) -> Result<Vec<Member>> {
    let mut members = vec![Member { run: root, event_count: 0 }];
    let mut seen = BTreeSet::from([root]);
    let mut next = 0;
    while let Some(member) = members.get(next) {
        let run = member.run;
        let mut event_count = 0;
        let mut reader = LogReader::new(Arc::clone(store), run);
        while let Some(batch) = reader.next_batch()? {
            event_count += batch.events.len() as u64;
            for mut event in batch.events {
                let child = if let Event::TraceStarted(started) = &event { started.child } else { None };
                mask.event(&mut event);
                if let Some(child) = child
                    && let Some((child, _)) = answers(store.as_ref(), child)?
                    && seen.insert(child)
                {
                    members.push(Member { run: child, event_count: 0 });
                }
            }
        }
        for mut letter in index::inbox(store.as_ref(), run)? {
            mask.payload(&mut letter.signal.value);
        }
        if members.len() > RUNS_MAX {
            let why = format!("run {root} has more than {RUNS_MAX} children: export them one by one");
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        members[next].event_count = event_count;
        next += 1;
    }
    Ok(members)
}

/// The run that a child's id leads to, and the row that says so if it is another. `None` if it was not started yet.
fn answers(store: &dyn Read, child: RunId) -> Result<Option<(RunId, Option<IdRecord>)>> {
    if crate::inspect::run(store, child)?.is_some() {
        return Ok(Some((child, None)));
    }
    let record = index::read::<IdRecord>(store, index::IDS, &index::child_key(child))?;
    // A run that was deleted since is no part of the tree any more.
    let Some(record) = record.filter(|record| matches!(crate::inspect::run(store, record.run), Ok(Some(_)))) else {
        return Ok(None);
    };
    Ok(Some((record.run, Some(record))))
}

/// Writes one run, up to where it was first looked at.
fn write_run(store: &Arc<dyn Read>, member: &Member, mask: &mut Mask, file: &mut FileWriter<'_>) -> Result<()> {
    let run = member.run;
    file.item(&Item::Run(run))?;
    let mut follows = Follows::default();
    let (mut aliases, mut chain) = (Vec::new(), Chain::default());
    let mut range = KeyRange::prefix(run.as_bytes());
    'log: loop {
        let page = store.scan(LOG, &range, Order::Ascending, PageLimit::default()).map_err(storage_error)?;
        for row in &page.rows {
            if follows.event_count >= member.event_count {
                break 'log;
            }
            let at = follows.event_count;
            let (batch, ..) = codec::open_batch(&row.key, &row.value)
                .map_err(|error| Error::new(error.kind(), format!("run {run} at event {at}: {error}")))?;
            for event in &batch.events {
                follows.observe(run, batch.epoch, event)?;
                if let Event::TraceStarted(started) = event
                    && let Some(child) = started.child
                    && let Some((_, Some(record))) = answers(store.as_ref(), child)?
                {
                    aliases.push((child, record));
                }
            }
            let first = batch.first;
            let bytes =
                if mask.is_empty() { row.value.clone() } else { masked(run, &mut chain, &row.key, batch, mask)? };
            file.item(&Item::Record { first, bytes: bytes.into() })?;
        }
        match page.rows.last() {
            Some(last) if page.more => range.start = after(&last.key),
            _ => break,
        }
    }
    for (child, mut record) in aliases {
        record.input_hash = hidden(mask, record.input_hash);
        file.item(&Item::Alias { child, record })?;
    }
    write_aside(store, run, follows.unfinished([0; 32]).is_some(), mask, file)?;
    let key = index::run_key(run);
    let unfinished = index::read::<UnfinishedRecord>(store.as_ref(), index::UNFINISHED, &key)?;
    // It may have ended since; then nothing joins it any more, and any key will do.
    let call_key = || hidden(mask, unfinished.map_or([0; 32], |record| record.call_key));
    let call_key = follows.unfinished([0; 32]).is_some().then(call_key);
    let id = follows.first().and_then(|first| first.id.clone());
    let id = id.map(|id| index::read::<IdRecord>(store.as_ref(), index::IDS, id.as_bytes())).transpose()?.flatten();
    let input_hash = id.filter(|record| record.run == run).map(|record| hidden(mask, record.input_hash));
    file.item(&Item::RunEnd(RunEnd { call_key, input_hash }))
}

/// Writes what stands beside a run's log: signals on their way, and who waits for it.
fn write_aside(
    store: &Arc<dyn Read>,
    run: RunId,
    is_unfinished: bool,
    mask: &mut Mask,
    file: &mut FileWriter<'_>,
) -> Result<()> {
    // Of a run that has ended since it was looked at, they are in the part of its log that is left out, or nowhere.
    for letter in index::inbox(store.as_ref(), run)?.into_iter().filter(|_| is_unfinished) {
        let (Some(epoch), Some(number)) = (number_at(&letter.key, 16, 4), number_at(&letter.key, 20, 8)) else {
            let why = format!("index inbox: a key of {} bytes is no signal's", letter.key.len());
            return Err(Error::new(ErrorKind::Corrupt, why));
        };
        let epoch = Epoch(u32::try_from(epoch).unwrap_or(u32::MAX));
        let mut signal: SignalReceived = letter.signal;
        mask.payload(&mut signal.value);
        file.item(&Item::Signal { epoch, number, signal })?;
    }
    for (call, by) in index::holders(store.as_ref(), run)? {
        file.item(&Item::Holder { call, by })?;
    }
    Ok(())
}

/// A number in a key, big-endian.
fn number_at(key: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let bytes = key.get(at..at + bytes)?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// A hash of an input: in a file that leaves fields out, one that no guess leads to.
fn hidden(mask: &Mask, hash: [u8; 32]) -> [u8; 32] {
    if mask.is_empty() { hash } else { mask.hash(&hash) }
}

/// A record with its fields replaced, chained to the one before it in the file.
fn masked(run: RunId, chain: &mut Chain, key: &[u8], mut batch: Batch, mask: &mut Mask) -> Result<Vec<u8>> {
    batch.events.iter_mut().for_each(|event| mask.event(event));
    let (bytes, own) = codec::seal(key, *chain, &batch)
        .map_err(|error| Error::new(ErrorKind::Payload, format!("run {run} at event {}: {error}", batch.first)))?;
    *chain = own;
    Ok(bytes)
}

/// The key of a log's record in the store.
fn record_key(run: RunId, first: Sequence) -> Vec<u8> {
    crate::log::key(run, first)
}
