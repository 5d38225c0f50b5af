//! Damage one floor up: a log whose records are changed, moved or missing, in a store that is whole.
//!
//! Used by `corruption`. What RocksDB gives back is not trusted, either: each record is bound to its place.
//!
//! Invariant: a log is read as it was, or the error names its run.

use std::sync::Arc;

use relive::{Error, Event, RunId};
use relive_engine::codec::{self, Chain};
use relive_engine::event::Batch;
use relive_engine::log::LOG;
use relive_engine::schema::storage_error;
use relive_storage::{Durability, MemoryStore, Operation, Read, Row, Store, Write};

use super::base::Base;
use super::judge::{Found, judge_logs};

/// One case, in words, and what came of it.
type Judged = (String, Found);

/// Sweeps the logs of a store: each record in turn, of every so many runs.
pub(super) fn sweep(base: &Base, every: usize) -> relive::Result<Vec<Judged>> {
    let logs = base.rows.iter().find(|(keyspace, _)| *keyspace == LOG).map_or(&[][..], |(_, rows)| rows);
    let mut judged = Vec::new();
    for (run, events) in base.logs.iter().step_by(every.max(1)) {
        let rows: Vec<_> = logs.iter().filter(|row| row.key.starts_with(run.as_bytes())).cloned().collect();
        let log = Log { expected: (*run, events.clone()), rows };
        judged.push((format!("run {run}: nothing was done"), log.judged(&[], true)?));
        log.sweep(&mut judged)?;
    }
    Ok(judged)
}

/// One run's log, whole.
struct Log {
    expected: (RunId, Vec<Event>),
    rows: Vec<Row>,
}

impl Log {
    fn sweep(&self, judged: &mut Vec<Judged>) -> relive::Result<()> {
        let run = self.expected.0;
        for (at, row) in self.rows.iter().enumerate() {
            let put = |key: &[u8], value: Vec<u8>| Operation::Put { keyspace: LOG, key: key.to_vec(), value };
            let mut judge = |case: String, operations: Vec<Operation>| -> relive::Result<()> {
                judged.push((format!("run {run}: {case}"), self.judged(&operations, false)?));
                Ok(())
            };
            // What was last cannot be missed by the log alone: it is the store that keeps the end, and one batch whole.
            if let Some(next) = self.rows.get(at + 1) {
                let delete = Operation::Delete { keyspace: LOG, key: row.key.clone() };
                judge(format!("record {at} is missing"), vec![delete])?;
                let exchanged = vec![put(&row.key, next.value.clone()), put(&next.key, row.value.clone())];
                judge(format!("records {at} and {} are exchanged", at + 1), exchanged)?;
                let doubled = vec![put(&next.key, row.value.clone())];
                judge(format!("record {at} stands in the next one's place, too"), doubled)?;
                let replaced = vec![put(&row.key, chained_to_another(row)?)];
                judge(format!("record {at} is one that follows another"), replaced)?;
            }
            let (byte, bit) = (at * 31 % row.value.len(), at % 8);
            let mut flipped = row.value.clone();
            flipped[byte] ^= 1 << bit;
            judge(format!("bit {bit} of byte {byte} of record {at} is flipped"), vec![put(&row.key, flipped)])?;
            let cut = row.value[..at * 17 % row.value.len()].to_vec();
            judge(format!("record {at} is cut to {} bytes", cut.len()), vec![put(&row.key, cut)])?;
        }
        Ok(())
    }

    /// Reads the log after these operations. A damaged one must not be called whole: each case changes what it holds.
    fn judged(&self, operations: &[Operation], is_whole: bool) -> relive::Result<Found> {
        let store = MemoryStore::new();
        let put = |row: &Row| Operation::Put { keyspace: LOG, key: row.key.clone(), value: row.value.clone() };
        let operations = self.rows.iter().map(put).chain(operations.iter().cloned()).collect();
        let write = Write { preconditions: Vec::new(), operations };
        store.commit(&[write], Durability::Buffered).map_err(|failed| storage_error(failed.error))?;
        let read: Arc<dyn Read> = Arc::new(store);
        Ok(match judge_logs(std::slice::from_ref(&self.expected), &read) {
            Found::Whole if !is_whole => Found::Violation("nobody noticed".to_owned()),
            Found::Refused if is_whole => Found::Violation("what is whole was refused".to_owned()),
            found => found,
        })
    }
}

/// The same record, whole and bound to its key, chained to another than the one before it: only the chain can tell.
fn chained_to_another(row: &Row) -> relive::Result<Vec<u8>> {
    let (batch, chain, _) = codec::open::<Batch>(&row.key, &row.value)
        .map_err(|error| Error::msg(format!("a whole record cannot be read: {error}")))?;
    let (value, _) = codec::seal(&row.key, Chain(chain.0.wrapping_add(1)), &batch)
        .map_err(|error| Error::msg(format!("a record cannot be sealed: {error}")))?;
    Ok(value)
}
