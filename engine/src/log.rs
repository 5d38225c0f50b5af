//! A run's log in the store: batches in order, each chained to the one before it.
//!
//! Written by `run` through [`LogWriter`], read by `run`, `recover` and `inspect` through [`LogReader`].
//!
//! Invariant: what is read is what was appended, from the first event on, without a hole; else an error names where.

use std::sync::Arc;

use relive_storage::planted::{Planted, planted};
use relive_storage::{KeyRange, Keyspace, Operation, Order, PageLimit, Read, after};

use crate::codec::{self, Chain};
use crate::error::{Error, ErrorKind, Result, storage_error};
use crate::event::{Batch, ErrorRecord, Event, TaskOutcome, TraceOutcome};
use crate::id::{Epoch, RunId, Sequence};

/// Where logs are: key = run id (16 bytes) and position of the batch's first event (8 bytes, big endian).
pub const LOG: Keyspace = Keyspace::new("log");

/// A step's events are cut into records of about this size: 1 MiB, so that reading never needs more at once.
const RECORD_BYTES: usize = 1 << 20;

/// Largest memory of a page that is kept for the next: 2 MiB. A page is 1 MiB, unless its last record is large.
const PAGE_BYTES_KEPT_MAX: usize = 2 << 20;

/// What an event takes beside its payload, roughly.
const EVENT_BYTES: usize = 128;

pub(crate) fn key(run: RunId, first: Sequence) -> Vec<u8> {
    key_in(Vec::with_capacity(24), run, first)
}

/// As [`key`], in memory that is there already.
fn key_in(mut key: Vec<u8>, run: RunId, first: Sequence) -> Vec<u8> {
    key.clear();
    key.extend_from_slice(run.as_bytes());
    key.extend_from_slice(&first.0.to_be_bytes());
    key
}

/// Memory that a record was in: for the run's next one.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Largest record whose memory a run keeps: 4 KiB, as most are smaller, and as many runs may wait at once.
const SPARE_BYTES_MAX: usize = 4 << 10;

impl Spare {
    /// The memory of a write that is over: for its operations, and for a record.
    pub(crate) fn of(mut operations: Vec<Operation>) -> (Vec<Operation>, Self) {
        let spare = match operations.pop() {
            Some(Operation::Put { key, value, .. }) if value.capacity() <= SPARE_BYTES_MAX => Self { key, value },
            _ => Self::default(),
        };
        operations.clear();
        (operations, spare)
    }
}

/// Appends to one log. There is one writer per run.
#[derive(Debug)]
pub struct LogWriter {
    run: RunId,
    epoch: Epoch,
    chain: Chain,
}

impl LogWriter {
    /// A writer for a log that is empty so far.
    pub fn new(run: RunId, epoch: Epoch) -> Self {
        Self { run, epoch, chain: Chain::default() }
    }

    /// The writes that append these events. Returns them and their size in bytes.
    ///
    /// # Errors
    /// If one event is larger than a record can be (256 MiB). The log is as it was.
    pub fn append(&mut self, first: Sequence, events: Vec<Event>, settled: bool) -> Result<(Vec<Operation>, usize)> {
        let mut operations = Vec::with_capacity(1);
        let bytes = self.append_to(&mut operations, Spare::default(), first, events, settled)?;
        Ok((operations, bytes))
    }

    /// As [`LogWriter::append`], behind other operations; the first record is written into memory that is there already.
    pub(crate) fn append_to(
        &mut self,
        operations: &mut Vec<Operation>,
        spare: Spare,
        first: Sequence,
        events: Vec<Event>,
        settled: bool,
    ) -> Result<usize> {
        let mut spare = Some(spare);
        let mut bytes = 0;
        let mut chain = self.chain;
        let mut from = first;
        let mut rest = Some(events);
        while let Some(events) = rest {
            let (batch, behind) = cut(events);
            let last = behind.is_none();
            rest = behind;
            let batch = Batch { first: from, epoch: self.epoch, settled: settled && last, events: batch };
            let Spare { key, value } = spare.take().unwrap_or_default();
            let key = key_in(key, self.run, from);
            from.0 += batch.events.len() as u64;
            let (value, own) = codec::seal_into(value, &key, chain, &batch).map_err(|error| {
                Error::new(ErrorKind::Payload, format!("run {} at event {}: {error}", self.run, batch.first))
            })?;
            chain = own;
            bytes += key.len() + value.len();
            operations.push(Operation::Put { keyspace: LOG, key, value });
        }
        self.chain = chain;
        Ok(bytes)
    }
}

/// Cuts what is too large for one record: returns what goes into the record, and the rest.
fn cut(mut events: Vec<Event>) -> (Vec<Event>, Option<Vec<Event>>) {
    let mut bytes = 0;
    for (index, event) in events.iter().enumerate() {
        bytes += event_bytes(event);
        if index > 0 && bytes > RECORD_BYTES {
            let rest = events.split_off(index);
            return (events, Some(rest));
        }
    }
    (events, None)
}

/// What an event takes on disk and, about as much, in memory.
pub fn event_bytes(event: &Event) -> usize {
    EVENT_BYTES + payload_bytes(event)
}

fn payload_bytes(event: &Event) -> usize {
    match event {
        Event::TaskStarted(started) => started.input.bytes().len(),
        Event::TraceStarted(started) => started.input.bytes().len(),
        Event::TraceCompleted(completed) => match &completed.outcome {
            TraceOutcome::Ok(payload) => payload.bytes().len(),
            TraceOutcome::Err(record) => error_bytes(record),
            TraceOutcome::Dropped => 0,
        },
        Event::TaskCompleted(completed) => match &completed.outcome {
            TaskOutcome::Ok(payload) => payload.bytes().len(),
            TaskOutcome::Err(record) => error_bytes(record),
            TaskOutcome::Cancelled => 0,
        },
        Event::TraceRetried(retried) => error_bytes(&retried.error),
        Event::TraceYielded(yielded) => yielded.item.bytes().len(),
        Event::SignalReceived(received) => received.value.bytes().len(),
    }
}

fn error_bytes(record: &ErrorRecord) -> usize {
    let value = record.value.as_ref().map_or(0, |value| value.bytes().len());
    record.message.len() + record.sources.iter().map(String::len).sum::<usize>() + value
}

/// Rows of a page, one behind the other in memory that the next page uses again.
#[derive(Default)]
struct Rows {
    bytes: Vec<u8>,
    /// Where in `bytes` each key ends, and its value.
    ends: Vec<(usize, usize)>,
    /// How many were passed.
    passed: usize,
}

impl Rows {
    fn clear(&mut self) {
        if self.bytes.capacity() > PAGE_BYTES_KEPT_MAX {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.ends.clear();
        self.passed = 0;
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let (key_end, end) = *self.ends.get(index)?;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(_, end)| *end);
        Some((&self.bytes[start..key_end], &self.bytes[key_end..end]))
    }

    /// The first row that was not passed.
    fn first(&self) -> Option<(&[u8], &[u8])> {
        self.get(self.passed)
    }

    fn pass(&mut self) {
        self.passed += 1;
    }

    fn last_key(&self) -> Option<&[u8]> {
        Some(self.get(self.ends.len().checked_sub(1)?)?.0)
    }
}

/// Reads one log from its first event on, a page at a time.
pub struct LogReader {
    store: Arc<dyn Read>,
    run: RunId,
    rows: Rows,
    range: Option<KeyRange>,
    limit: PageLimit,
    next: Sequence,
    /// `None` before the first record of a reader that does not begin at the log's first.
    chain: Option<Chain>,
    /// Nothing from here on is read.
    end: Option<Sequence>,
}

impl LogReader {
    /// A reader at the start of a run's log.
    pub fn new(store: Arc<dyn Read>, run: RunId) -> Self {
        let range = Some(KeyRange::prefix(run.as_bytes()));
        Self {
            store,
            run,
            rows: Rows::default(),
            range,
            limit: PageLimit::default(),
            next: Sequence(0),
            chain: Some(Chain::default()),
            end: None,
        }
    }

    /// A reader at the record that holds this event.
    ///
    /// # Errors
    /// If the store cannot be read, or no record can hold it.
    pub fn starting_at(store: Arc<dyn Read>, run: RunId, at: Sequence) -> Result<Self> {
        let range = KeyRange { start: key(run, Sequence(0)), end: Some(key(run, Sequence(at.0.saturating_add(1)))) };
        let limit = PageLimit { row_count: 1, ..PageLimit::default() };
        let page = store.scan(LOG, &range, Order::Descending, limit);
        let page = page.map_err(|error| of_log(run, &format!("at event {at}"), error))?;
        let first = page.rows.first().and_then(|row| position(&row.key)).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("run {run} at event {at}: no record of the log holds it"))
        })?;
        let end = KeyRange::prefix(run.as_bytes()).end;
        let range = Some(KeyRange { start: key(run, first), end });
        let limit = PageLimit::default();
        Ok(Self { store, run, rows: Rows::default(), range, limit, next: first, chain: None, end: None })
    }

    /// A reader at the last record: for who goes on behind it. At the start, if there is none.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) fn at_last(store: Arc<dyn Read>, run: RunId) -> Result<Self> {
        let limit = PageLimit { row_count: 1, ..PageLimit::default() };
        let page = store.scan(LOG, &KeyRange::prefix(run.as_bytes()), Order::Descending, limit);
        let page = page.map_err(|error| of_log(run, "last record", error))?;
        match page.rows.first().and_then(|row| position(&row.key)) {
            Some(at) => Self::starting_at(store, run, at),
            None => Ok(Self::new(store, run)),
        }
    }

    /// Takes the log for one that ends before this event, which must be the first of a batch.
    pub fn end_before(&mut self, end: Option<Sequence>) {
        self.end = end;
    }

    /// The same reader, for someone who reads few records: at most so many are fetched at once.
    #[must_use]
    pub fn fetching(self, row_count: usize) -> Self {
        Self { limit: PageLimit { row_count, ..self.limit }, ..self }
    }

    /// The next batch, or `None` at the end.
    ///
    /// # Errors
    /// If the store cannot be read, or a record is damaged, missing or not where it belongs.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        if self.end.is_some_and(|end| self.next >= end) {
            return Ok(None);
        }
        if self.rows.first().is_none()
            && let Some(range) = self.range.take()
        {
            self.fill(range)?;
        }
        let Some((key, value)) = self.rows.first() else { return Ok(None) };
        let position = position(key);
        if position != Some(self.next) {
            let found = position.map_or_else(|| "a key of another form".to_owned(), |at| format!("event {at}"));
            return Err(self.corrupt(&format!("a record is missing: the log goes on with {found}")));
        }
        let (batch, chain, own) =
            codec::open_batch(key, value).map_err(|error| self.unreadable(error.kind(), &error.to_string()))?;
        if self.chain.is_some_and(|expected| expected != chain) && !planted(Planted::UncheckedChain) {
            return Err(self.corrupt(&codec::CodecError::Chain.to_string()));
        }
        if batch.first != self.next || batch.events.is_empty() {
            return Err(self.corrupt("the record holds other events than its key says"));
        }
        let Some(next) = self.next.0.checked_add(batch.events.len() as u64) else {
            return Err(self.corrupt("the record holds more events than there are positions"));
        };
        self.rows.pass();
        self.chain = Some(own);
        self.next.0 = next;
        Ok(Some(batch))
    }

    /// Reads a page.
    fn fill(&mut self, range: KeyRange) -> Result<()> {
        let rows = &mut self.rows;
        rows.clear();
        let mut keep = |key: &[u8], value: &[u8]| rows.push(key, value);
        let more = self.store.visit(LOG, &range, Order::Ascending, self.limit, &mut keep);
        if more.map_err(|error| self.failed(error))?
            && let Some(last) = self.rows.last_key()
        {
            self.range = Some(KeyRange { start: after(last), end: range.end });
        }
        Ok(())
    }

    /// The position behind the last event that was read.
    pub fn position(&self) -> Sequence {
        self.next
    }

    /// A writer that goes on where the reader stopped. The reader must be at the end.
    pub fn into_writer(self, epoch: Epoch) -> LogWriter {
        debug_assert!(self.rows.first().is_none() && self.range.is_none(), "a log is continued at its end");
        LogWriter { run: self.run, epoch, chain: self.chain.unwrap_or_default() }
    }

    /// The store's own error, and whose log it kept from being read.
    fn failed(&self, error: relive_storage::Error) -> Error {
        of_log(self.run, &format!("from event {} on", self.next), error)
    }

    fn corrupt(&self, why: &str) -> Error {
        self.unreadable(ErrorKind::Corrupt, why)
    }

    fn unreadable(&self, kind: ErrorKind, why: &str) -> Error {
        Error::new(kind, format!("run {} at event {}: {why}", self.run, self.next))
    }
}

/// The position in a key of the log.
pub(crate) fn position(key: &[u8]) -> Option<Sequence> {
    key.get(16..).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes).map(Sequence)
}

/// One event of a log.
///
/// # Errors
/// If the store cannot be read, the record is damaged, or there is no such event.
pub fn event_at(store: Arc<dyn Read>, run: RunId, at: Sequence) -> Result<Event> {
    let batch = LogReader::starting_at(store, run, at)?.fetching(1).next_batch()?;
    let event = batch.and_then(|batch| {
        let index = usize::try_from(at.0.checked_sub(batch.first.0)?).ok()?;
        batch.events.into_iter().nth(index)
    });
    event.ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("run {run} at event {at}: the log does not hold it")))
}

/// The store's own error, and which log it kept from being read, and where.
fn of_log(run: RunId, at: &str, error: relive_storage::Error) -> Error {
    let error = storage_error(error);
    Error::new(error.kind(), format!("run {run}, {at}: {error}"))
}

/// The last event of a log, or `None` if the run is not there.
///
/// # Errors
/// If the store cannot be read, or the record is damaged.
pub fn last_event(store: &dyn Read, run: RunId) -> Result<Option<(Sequence, Event)>> {
    let limit = PageLimit { row_count: 1, ..PageLimit::default() };
    let range = KeyRange::prefix(run.as_bytes());
    let page = store.scan(LOG, &range, Order::Descending, limit);
    let page = page.map_err(|error| of_log(run, "last record", error))?;
    let Some(row) = page.rows.into_iter().next() else { return Ok(None) };
    let (mut batch, ..) = codec::open_batch(&row.key, &row.value)
        .map_err(|error| Error::new(error.kind(), format!("run {run}, last record: {error}")))?;
    let last = batch.events.pop();
    let at = batch.first.0.checked_add(batch.events.len() as u64).filter(|_| position(&row.key) == Some(batch.first));
    match (at, last) {
        (Some(at), Some(event)) => Ok(Some((Sequence(at), event))),
        _ => {
            let why = format!("run {run}, last record: it holds other events than its key says");
            Err(Error::new(ErrorKind::Corrupt, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::event::{SignalReceived, TraceRetried};
    use crate::id::Timestamp;
    use crate::payload::Payload;
    use relive_storage::{Durability, MemoryStore, Store, Write};

    const RUN: RunId = RunId::from_bytes([7; 16]);

    fn signal(text: &str) -> Event {
        let value = Payload::encode(text).unwrap();
        Event::SignalReceived(SignalReceived { name: "s".to_owned(), value, at: Timestamp(0) })
    }

    /// As an earlier version recorded one: of any length.
    fn retried(message: String) -> Event {
        Event::TraceRetried(TraceRetried {
            trace: Sequence(0),
            tries: 1,
            error: ErrorRecord { message, ..ErrorRecord::new(ErrorKind::Failed, "") },
            due: Timestamp(0),
            started_at: Timestamp(0),
            duration_micros: 0,
        })
    }

    /// A store with one log of these batches.
    fn stored(batches: Vec<Vec<Event>>) -> Arc<dyn Read> {
        let (store, mut writer, mut at) = (MemoryStore::new(), LogWriter::new(RUN, Epoch(1)), Sequence(0));
        for events in batches {
            let end = Sequence(at.0 + events.len() as u64);
            let (operations, _) = writer.append(at, events, true).unwrap();
            store.commit(&[Write { preconditions: Vec::new(), operations }], Durability::Buffered).unwrap();
            at = end;
        }
        Arc::new(store)
    }

    fn batches(mut reader: LogReader) -> Vec<(u64, usize, bool)> {
        let next = || reader.next_batch().unwrap();
        std::iter::from_fn(next).map(|batch| (batch.first.0, batch.events.len(), batch.settled)).collect()
    }

    #[test]
    fn what_is_too_large_for_a_record_is_cut_and_only_its_last_part_is_settled() {
        let large = "x".repeat(RECORD_BYTES);
        let of_sources = |sources| match retried(String::new()) {
            Event::TraceRetried(retried) => {
                Event::TraceRetried(TraceRetried { error: ErrorRecord { sources, ..retried.error }, ..retried })
            }
            other => other,
        };
        for event in [signal(&large), of_sources(vec!["x".repeat(RECORD_BYTES / 2); 2]), retried(large)] {
            let store = stored(vec![vec![signal("a"), event.clone(), event, signal("b")]]);
            let expected = [(0, 1, false), (1, 1, false), (2, 1, false), (3, 1, true)];
            assert_eq!(batches(LogReader::new(store, RUN)), expected);
        }
    }

    #[test]
    fn a_page_that_was_read_is_let_go_of() {
        let mut reader = LogReader::new(stored((0..10).map(|_| vec![signal("a")]).collect()), RUN);
        reader.limit.row_count = 3;
        let mut count = 0;
        while reader.next_batch().unwrap().is_some() {
            count += 1;
            assert!(reader.rows.ends.len() <= 3, "{} rows are held after {count}", reader.rows.ends.len());
        }
        assert_eq!(count, 10);
    }

    #[test]
    fn a_log_can_be_read_from_any_event_on() {
        let store = stored(vec![vec![signal("0"), signal("1")], vec![signal("2")], vec![signal("3")]]);
        let from = |at| batches(LogReader::starting_at(Arc::clone(&store), RUN, Sequence(at)).unwrap());
        assert_eq!(from(1), [(0, 2, true), (2, 1, true), (3, 1, true)]);
        assert_eq!(from(3), [(3, 1, true)]);
        for at in 0..4 {
            assert_eq!(event_at(Arc::clone(&store), RUN, Sequence(at)).unwrap(), signal(&at.to_string()));
        }
        let missing = event_at(Arc::clone(&store), RUN, Sequence(4)).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::Corrupt);
        assert_eq!(last_event(store.as_ref(), RUN).unwrap(), Some((Sequence(3), signal("3"))));
    }

    #[test]
    fn a_record_of_no_events_or_of_another_place_is_damage() {
        // Where the record is, what it says, and how many events it holds.
        for (place, first, count) in [(0, 0, 0), (0, 1, 1), (u64::MAX - 1, u64::MAX - 1, 2)] {
            let store = MemoryStore::new();
            let key = key(RUN, Sequence(place));
            let events = vec![signal("a"); count];
            let batch = Batch { first: Sequence(first), epoch: Epoch(1), settled: true, events };
            let (value, _) = codec::seal(&key, Chain::default(), &batch).unwrap();
            let operations = vec![Operation::Put { keyspace: LOG, key, value }];
            store.commit(&[Write { preconditions: Vec::new(), operations }], Durability::Buffered).unwrap();
            if count < 2 {
                assert_eq!(last_event(&store, RUN).unwrap_err().kind(), ErrorKind::Corrupt);
            }
            let reader = LogReader::starting_at(Arc::new(store), RUN, Sequence(place));
            assert_eq!(reader.unwrap().next_batch().unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn a_record_that_follows_another_one_is_damage() {
        let (store, other) = (MemoryStore::new(), stored(vec![vec![signal("x")], vec![signal("b")]]));
        for (at, text) in [(0, "a"), (1, "b")] {
            let mut writer = LogReader::new(Arc::new(store.clone()), RUN);
            while writer.next_batch().unwrap().is_some() {}
            let (operations, _) = writer.into_writer(Epoch(1)).append(Sequence(at), vec![signal(text)], true).unwrap();
            store.commit(&[Write { preconditions: Vec::new(), operations }], Durability::Buffered).unwrap();
        }
        let key = key(RUN, Sequence(1));
        let value = other.get(LOG, &key).unwrap().expect("it is there");
        let operations = vec![Operation::Put { keyspace: LOG, key, value }];
        store.commit(&[Write { preconditions: Vec::new(), operations }], Durability::Buffered).unwrap();
        let mut reader = LogReader::new(Arc::new(store), RUN);
        reader.next_batch().unwrap();
        assert_eq!(reader.next_batch().unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_log_goes_on_where_its_reader_stopped() {
        let store = MemoryStore::new();
        let mut at = Sequence(0);
        for text in ["a", "b", "c"] {
            let store_now: Arc<dyn Read> = Arc::new(store.clone());
            // From its start, and from its last record on.
            let mut reader = match text {
                "b" => LogReader::new(store_now, RUN),
                _ => LogReader::at_last(store_now, RUN).unwrap(),
            };
            while reader.next_batch().unwrap().is_some() {}
            assert_eq!(reader.position(), at);
            let (operations, _) = reader.into_writer(Epoch(1)).append(at, vec![signal(text)], true).unwrap();
            store.commit(&[Write { preconditions: Vec::new(), operations }], Durability::Buffered).unwrap();
            at.0 += 1;
        }
        assert_eq!(batches(LogReader::new(Arc::new(store), RUN)).len(), 3);
    }
}
