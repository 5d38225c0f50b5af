//! Puts the runs of an export into a store.
//!
//! Three passes over the file: it is whole ([`check`]); nothing in the store is in its way; it is written. Memory is bounded by
//! a record, by what is committed at once ([`WRITE_BYTES_MAX`]), and by the ids of the runs.
//!
//! Invariants: nothing is written unless all of it can be; a run is there whole or not at all (it has a row in `runs`, and
//! its log a first record, with its last write); what is unfinished waits until somebody resumes it.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};

use relive_storage::planted::{Planted, planted};
use relive_storage::{
    Durability, KeyRange, Operation, Order, Outcome, PageLimit, Precondition, Read as ReadStore, Store, Write,
};

use super::file::{FileReader, Head, Item, RunEnd};
use super::{mark_key, record_key};
use crate::codec::{self, Chain};
use crate::error::{Error, ErrorKind, Result, storage_error};
use crate::event::TaskStarted;
use crate::follows::Follows;
use crate::id::{Epoch, RunId, Sequence};
use crate::index::{self, IdRecord, RunRecord, Standing};
use crate::log::LOG;
use crate::payload::redact;

/// What is committed at once: 32 MiB. A run that is larger comes in several writes.
const WRITE_BYTES_MAX: usize = 32 << 20;

/// An export that is whole.
#[derive(Debug)]
pub struct Checked<'a, F> {
    file: &'a mut F,
    head: Head,
    runs: BTreeSet<RunId>,
    event_count: u64,
    /// The last life of a process that wrote any of it.
    epoch: Epoch,
}

/// What was read into a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// The run that was exported; the others are its children.
    pub run: RunId,
    /// Runs in the file.
    pub run_count: u64,
    /// Events of all of them.
    pub event_count: u64,
    /// Runs of them that the store had already, the same to the last byte.
    pub present_count: u64,
    /// Unfinished runs: they wait until somebody resumes them.
    pub parked: Vec<RunId>,
    /// The fields that were replaced when it was exported.
    pub redacted: Vec<String>,
    /// Whether the store's own key for hashes of redacted arguments is another than that of the file: calls with such
    /// arguments are not found in a replay here. An empty store takes the file's key.
    pub foreign_redaction_key: bool,
}

/// Reads a whole export into a store: [`check`], then [`Checked::into_store`].
///
/// # Errors
/// As for these two.
pub fn read<F: Read + Seek>(file: &mut F, store: &dyn Store) -> Result<Imported> {
    check(file)?.into_store(store)
}

/// Reads a whole export and looks whether it is one: every length, checksum and chain, and that the logs are logs.
///
/// # Errors
/// Of kind `NotAStore` if it is another kind of file, `NewerFormat` if a newer program wrote it, `Corrupt` if it is cut off or
/// damaged (the message says where), `Storage` if it cannot be read.
pub fn check<F: Read + Seek>(file: &mut F) -> Result<Checked<'_, F>> {
    let (mut runs, mut event_count, mut epoch) = (BTreeSet::new(), 0, Epoch(0));
    let mut last = None;
    let head = pass(file, |part| {
        if let Part::End(run) = part {
            if !runs.insert(run.run) {
                return Err(Error::new(ErrorKind::Corrupt, format!("the export holds run {} twice", run.run)));
            }
            event_count += run.follows.event_count;
            epoch = epoch.max(run.follows.epoch);
            last = Some(run.run);
        }
        Ok(())
    })?;
    if last != Some(head.root) {
        let why = format!("the export says that it is of run {}, and does not end with it", head.root);
        return Err(Error::new(ErrorKind::Corrupt, why));
    }
    Ok(Checked { file, head, runs, event_count, epoch })
}

/// A run, as far as the file has been read.
struct RunPart {
    run: RunId,
    follows: Follows,
    chain: Chain,
    /// What `RunEnd` says.
    end: Option<RunEnd>,
}

/// What a pass over the file is handed, run by run.
enum Part<'a> {
    /// A record of the run's log, which is whole and follows the one before.
    Record(&'a RunPart, Sequence, Vec<u8>),
    /// A row of another keyspace that the file holds.
    Row(&'a RunPart, Operation),
    /// The run is over.
    End(&'a RunPart),
}

/// Reads a file from its beginning to its end, and hands on what is in it.
fn pass<F: Read + Seek>(file: &mut F, mut take: impl FnMut(Part<'_>) -> Result<()>) -> Result<Head> {
    file.seek(SeekFrom::Start(0)).map_err(|error| {
        let why = format!("the export cannot be read twice: {error}. Give it as a file");
        Error::new(ErrorKind::Storage, why).caused_by(error)
    })?;
    let mut reader = FileReader::begin(file)?;
    let Item::Head(head) = reader.item()? else { return Err(reader.damaged("it does not begin with its head")) };
    let mut run: Option<RunPart> = None;
    let mut count = 0;
    loop {
        match (reader.item()?, &mut run) {
            (Item::Run(id), None) => {
                run = Some(RunPart { run: id, follows: Follows::default(), chain: Chain::default(), end: None });
            }
            (Item::Record { first, bytes }, Some(run)) => {
                run.record(first, &bytes)?;
                take(Part::Record(run, first, bytes.to_vec()))?;
            }
            (Item::Signal { epoch, number, signal }, Some(run)) => {
                let key = index::inbox_key(run.run, epoch, number);
                take(Part::Row(run, index::put(index::INBOX, key, &signal)?))?;
            }
            (Item::Alias { child, record }, Some(run)) => {
                take(Part::Row(run, index::put(index::IDS, index::child_key(child), &record)?))?;
            }
            (Item::Holder { call, by }, Some(run)) => {
                take(Part::Row(run, index::put(index::IDS, index::holder_key(run.run, call), &by)?))?;
            }
            (Item::RunEnd(end), part @ Some(_)) => {
                if let Some(mut run) = part.take() {
                    run.first()?;
                    run.end = Some(end);
                    take(Part::End(&run))?;
                    count += 1;
                }
            }
            (Item::End { run_count }, None) if run_count == count => return Ok(head),
            _ => return Err(reader.damaged("an item stands where none of its kind may")),
        }
    }
}

impl RunPart {
    /// Checks a record of its log, and takes it.
    fn record(&mut self, first: Sequence, bytes: &[u8]) -> Result<()> {
        let run = self.run;
        let at = self.follows.event_count;
        let bad = |kind: ErrorKind, why: &str| Error::new(kind, format!("the export, run {run} at event {at}: {why}"));
        if first.0 != at {
            return Err(bad(ErrorKind::Corrupt, "a record is missing"));
        }
        let (batch, chain, own) =
            codec::open_batch(&record_key(run, first), bytes).map_err(|error| bad(error.kind(), &error.to_string()))?;
        if chain != self.chain {
            return Err(bad(ErrorKind::Corrupt, &codec::CodecError::Chain.to_string()));
        }
        if batch.first != first || batch.events.is_empty() {
            return Err(bad(ErrorKind::Corrupt, "the record holds other events than it says"));
        }
        self.chain = own;
        batch.events.iter().try_for_each(|event| self.follows.observe(run, batch.epoch, event))
    }

    fn empty(&self) -> Error {
        Error::new(ErrorKind::Corrupt, format!("the export, run {}: its log is empty", self.run))
    }

    fn first(&self) -> Result<&TaskStarted> {
        self.follows.first().ok_or_else(|| self.empty())
    }

    fn index_record(&self) -> Result<RunRecord> {
        self.follows.record().ok_or_else(|| self.empty())
    }

    /// The rows that follow from its log; an unfinished run is parked. Says whether it is.
    fn rows(&self, redacted: &[String]) -> Result<(Vec<Operation>, bool)> {
        let (first, record) = (self.first()?, self.index_record()?);
        let (key, end) = (index::run_key(self.run), self.end.as_ref());
        let mut rows = vec![index::put(index::RUNS, key.clone(), &record)?];
        for (name, value) in &first.tags {
            rows.push(index::tag(self.run, name, value)?);
        }
        if let Some(id) = &first.id {
            let input_hash = end.and_then(|end| end.input_hash).unwrap_or_default();
            let named = IdRecord { run: self.run, task: first.task.to_string(), input_hash };
            rows.push(index::put(index::IDS, id.as_bytes().to_vec(), &named)?);
        }
        if !redacted.is_empty() {
            rows.push(index::put(index::META, mark_key(self.run), &redacted)?);
        }
        let unfinished = self.follows.unfinished(end.and_then(|end| end.call_key).unwrap_or_default());
        let is_parked = unfinished.is_some();
        if let Some(mut unfinished) = unfinished {
            unfinished.standing = Standing::Parked;
            unfinished.crashed_at = Sequence(self.follows.event_count.saturating_sub(1));
            rows.push(index::put(index::UNFINISHED, key, &unfinished)?);
        }
        Ok((rows, is_parked))
    }
}

impl<F: Read + Seek> Checked<'_, F> {
    /// The run that was exported.
    pub fn run(&self) -> RunId {
        self.head.root
    }

    /// How many runs there are in it: that one and its children.
    pub fn run_count(&self) -> u64 {
        self.runs.len() as u64
    }

    /// The fields that were replaced when it was exported.
    pub fn redacted(&self) -> &[String] {
        &self.head.redacted
    }

    /// Writes all runs into a store that nobody else writes to. They keep their ids. Of a store that holds some of them
    /// already, the same to the last byte, these are left as they are. When this returns, all is durable.
    ///
    /// # Errors
    /// Of kind `IdTaken` if the store holds another run under one of their ids, or another run has one of their callers' ids:
    /// then nothing is written; if the store fails: then each run is there whole or not at all, and importing the
    /// file again writes the rest.
    pub fn into_store(self, store: &dyn Store) -> Result<Imported> {
        let Self { file, head, runs, event_count, epoch } = self;
        let present = present(file, store)?;
        let foreign_redaction_key = prepare(store, &head, epoch)?;
        let mut parked = Vec::new();
        let mut writer = RunWriter { store, operations: Vec::new(), bytes: 0, withheld: Vec::new() };
        pass(file, |part| match part {
            Part::Record(run, ..) | Part::Row(run, _) | Part::End(run) if present.contains(&run.run) => Ok(()),
            Part::Record(run, first, value) => {
                let put = Operation::Put { keyspace: LOG, key: record_key(run.run, first), value };
                let is_withheld = first.0 == 0 && !planted(Planted::HalfImported);
                if is_withheld { writer.withhold(put) } else { writer.add(put) }
            }
            Part::Row(_, row) => writer.withhold(row),
            Part::End(run) => {
                let (mut rows, is_parked) = run.rows(&head.redacted)?;
                parked.extend(is_parked.then_some(run.run));
                if run.run == head.root
                    && let Some(parent) = run.index_record()?.parent
                    && crate::inspect::run(store_read(store), parent)?.is_none()
                {
                    // Somebody wants this child, and not those that called it: it does not go as they are gone.
                    rows.push(index::put(index::IDS, index::holder_key(run.run, None), &run.run)?);
                }
                rows.into_iter().try_for_each(|row| writer.withhold(row))?;
                writer.finish(run.run)
            }
        })?;
        Ok(Imported {
            run: head.root,
            run_count: runs.len() as u64,
            event_count,
            present_count: present.len() as u64,
            parked,
            redacted: head.redacted,
            foreign_redaction_key,
        })
    }
}

/// The runs of a file that a store has already.
///
/// # Errors
/// If something in the store is in the way of the others.
fn present<F: Read + Seek>(file: &mut F, store: &dyn Store) -> Result<BTreeSet<RunId>> {
    let mut present = BTreeSet::new();
    // Of the run that is read: whether the store has all records so far, and whether it has another one.
    let (mut all, mut other) = (true, false);
    let taken = |why: String| Err(Error::new(ErrorKind::IdTaken, format!("{why}. Nothing was imported")));
    pass(file, |part| match part {
        Part::Record(run, first, value) => {
            let stored = store.get(LOG, &record_key(run.run, first)).map_err(storage_error)?;
            all &= stored.is_some();
            other |= stored.is_some_and(|stored| stored != value);
            Ok(())
        }
        Part::Row(_, Operation::Put { keyspace: index::IDS, key, value }) => {
            let stored = store.get(index::IDS, &key).map_err(storage_error)?;
            if stored.is_some_and(|stored| stored != value) {
                return taken("another run answers in this store for a child of this one".to_owned());
            }
            Ok(())
        }
        Part::Row(..) => Ok(()),
        Part::End(part) => {
            let run = part.run;
            let is_listed = crate::inspect::run(store_read(store), run)?.is_some();
            let behind = KeyRange {
                start: record_key(run, Sequence(part.follows.event_count)),
                end: KeyRange::prefix(run.as_bytes()).end,
            };
            let one = PageLimit { row_count: 1, ..PageLimit::default() };
            let page = store.scan(LOG, &behind, Order::Ascending, one).map_err(storage_error)?;
            other |= !page.rows.is_empty() || (is_listed && !all);
            if other {
                return taken(format!("run {run} is in this store already, with another log"));
            }
            if is_listed {
                present.insert(run);
            } else if let Some(id) = &part.first()?.id
                && let Some(named) = index::read::<IdRecord>(store_read(store), index::IDS, id.as_bytes())?
                && named.run != run
            {
                return taken(format!("the id `{id}` of run {run} names run {} in this store", named.run));
            }
            (all, other) = (true, false);
            Ok(())
        }
    })?;
    Ok(present)
}

/// What holds for the store as a whole: lives of the process that follow are none that wrote these logs; an empty store hashes
/// redacted arguments as they were hashed. Says whether another store does not.
fn prepare(store: &dyn Store, head: &Head, epoch: Epoch) -> Result<bool> {
    let mut operations = crate::recover::counted_up_to(store_read(store), epoch)?;
    let mut is_foreign = false;
    if let Some(key) = &head.redaction_key {
        match redact::stored_key(store_read(store))? {
            Some(stored) => is_foreign = stored != *key,
            None => operations.push(redact::put_key(key)?),
        }
    }
    if !operations.is_empty() {
        commit(store, Write { preconditions: Vec::new(), operations })?;
    }
    Ok(is_foreign)
}

/// Gathers a run's rows. What makes it a run is withheld to its last write.
struct RunWriter<'a> {
    store: &'a dyn Store,
    operations: Vec<Operation>,
    bytes: usize,
    withheld: Vec<Operation>,
}

impl RunWriter<'_> {
    fn add(&mut self, put: Operation) -> Result<()> {
        if let Operation::Put { value, .. } = &put {
            self.bytes += value.len();
        }
        self.operations.push(put);
        if self.bytes < WRITE_BYTES_MAX {
            return Ok(());
        }
        self.bytes = 0;
        commit(self.store, Write { preconditions: Vec::new(), operations: std::mem::take(&mut self.operations) })
    }

    fn withhold(&mut self, put: Operation) -> Result<()> {
        self.withheld.push(put);
        Ok(())
    }

    fn finish(&mut self, run: RunId) -> Result<()> {
        let mut operations = std::mem::take(&mut self.operations);
        operations.append(&mut self.withheld);
        self.bytes = 0;
        let absent = Precondition::Absent { keyspace: index::RUNS, key: index::run_key(run) };
        commit(self.store, Write { preconditions: vec![absent], operations })
    }
}

fn commit(store: &dyn Store, write: Write) -> Result<()> {
    match store.commit(&[write], Durability::Sync).map_err(|failed| storage_error(failed.error))?.first() {
        Some(Outcome::Applied) => Ok(()),
        _ => Err(Error::new(ErrorKind::InUse, "somebody else writes to this store: stop that, and import again")),
    }
}

/// A store, to be read.
fn store_read(store: &dyn Store) -> &dyn ReadStore {
    store
}
