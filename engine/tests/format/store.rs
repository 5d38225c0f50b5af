//! Stores for these tests: written by today's program, or read from a fixture's text.
//!
//! A fixture has a line per row, in the order of keyspaces and keys: keyspace, key and value, both in hexadecimal.

use std::path::PathBuf;
use std::sync::Arc;

use relive_engine::codec::{self, Chain, FORMAT_VERSION};
use relive_engine::error::{Error, Result};
use relive_engine::event::Batch;
use relive_engine::id::{Epoch, RunId};
use relive_engine::index::{
    CACHE, CACHE_USE, CacheRecord, CacheSize, CacheUse, IDS, INBOX, META, RUNS, TAGS, UNFINISHED,
};
use relive_engine::log::LogReader;
use relive_engine::schema::SCHEMA;
use relive_storage::{Durability, KeyRange, Keyspace, MemoryStore, Operation, Order, PageLimit, Read, Store, Write};
use serde::Serialize;

use crate::history;

/// Where the fixture of a version is.
pub(crate) fn path(version: u8) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/v{version}.txt"))
}

/// The store that a fixture holds.
pub(crate) fn fixture(version: u8) -> Result<MemoryStore> {
    let (store, path) = (MemoryStore::new(), path(version));
    let text = std::fs::read_to_string(&path).map_err(|error| Error::msg(format!("{}: {error}", path.display())))?;
    for line in text.lines() {
        let bad = || Error::msg(format!("{}: not a row: {line}", path.display()));
        let [keyspace, key, value] = line.split(' ').collect::<Vec<_>>().try_into().map_err(|_| bad())?;
        let known = SCHEMA.keyspaces.iter().find(|known| known.keyspace.name() == keyspace).ok_or_else(bad)?;
        commit(&store, vec![Operation::Put { keyspace: known.keyspace, key: bytes(key)?, value: bytes(value)? }]);
    }
    Ok(store)
}

/// The store that today's program writes.
pub(crate) fn written() -> Result<MemoryStore> {
    let store = MemoryStore::new();
    for run in history::runs_of(FORMAT_VERSION) {
        append(&store, run.run, &run.batches)?;
        put(&store, RUNS, run.run.as_bytes(), &run.record);
        for (name, value) in &run.record.tags {
            put_bytes(&store, TAGS, &tag_key(name, value, run.run), Vec::new());
        }
    }
    for (run, record) in history::unfinished_records_of(FORMAT_VERSION) {
        put(&store, UNFINISHED, run.as_bytes(), &record);
    }
    for (run, number, signal) in history::inbox() {
        put(&store, INBOX, &inbox_key(run, history::EPOCH, number), &signal);
    }
    let (child, record) = history::joined_child();
    put(&store, IDS, &child_key(child), &record);
    let (run, name, value) = history::joined_tag();
    put(&store, IDS, &joined_tag_key(name, value, run), &run);
    put_bytes(&store, TAGS, &tag_key(name, value, run), Vec::new());
    for (id, record) in history::ids() {
        put(&store, IDS, id.as_bytes(), &record);
    }
    let (record, input_hash) = history::cache();
    let key = cache_key(&record, &input_hash);
    let bytes = (key.len() + put(&store, CACHE, &key, &record)) as u64;
    put(&store, CACHE_USE, &key, &CacheUse { bytes, created_at: record.created_at, used_at: history::USED_AT });
    put(&store, META, b"cache", &CacheSize { bytes });
    put(&store, META, b"epoch", &history::EPOCH);
    put(&store, META, b"redaction-key", &history::REDACTION_KEY);
    Ok(store)
}

/// Appends batches to a run's log, each as the life of the process that it names would.
pub(crate) fn append(store: &MemoryStore, run: RunId, batches: &[Batch]) -> Result<()> {
    for batch in batches {
        let mut reader = LogReader::new(Arc::new(store.clone()), run);
        while reader.next_batch()?.is_some() {}
        let mut writer = reader.into_writer(batch.epoch);
        let (operations, _) = writer.append(batch.first, batch.events.clone(), batch.settled)?;
        commit(store, operations);
    }
    Ok(())
}

/// The batches of a run's log.
pub(crate) fn batches(store: &Arc<dyn Read>, run: RunId) -> Result<Vec<Batch>> {
    let mut reader = LogReader::new(Arc::clone(store), run);
    let mut batches = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        batches.push(batch);
    }
    Ok(batches)
}

/// The key of a record in `log`, as `docs/format.md` says.
pub(crate) fn key(run: RunId, first: u64) -> Vec<u8> {
    [run.as_bytes().as_slice(), &first.to_be_bytes()].concat()
}

/// The key of a record in `cache`, as `docs/format.md` says.
pub(crate) fn cache_key(record: &CacheRecord, input_hash: &[u8; 32]) -> Vec<u8> {
    let part = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
    let version = blake3::hash(&[part(record.salt.as_bytes()), part(record.code.as_bytes())].concat());
    let task = blake3::hash(record.task.as_bytes());
    [&task.as_bytes()[..16], input_hash, &version.as_bytes()[..16]].concat()
}

/// The key of a signal in `inbox`, as `docs/format.md` says.
pub(crate) fn inbox_key(run: RunId, epoch: Epoch, number: u64) -> Vec<u8> {
    [run.as_bytes().as_slice(), &epoch.0.to_be_bytes(), &number.to_be_bytes()].concat()
}

/// The key of a tag in `tags`, as `docs/format.md` says.
pub(crate) fn tag_key(name: &str, value: &str, run: RunId) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
    [text(name).as_slice(), &text(value), run.as_bytes()].concat()
}

/// The key in `ids` of the tag of a call that joined a run, as `docs/format.md` says.
pub(crate) fn joined_tag_key(name: &str, value: &str, run: RunId) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
    [&[0xfc], run.as_bytes().as_slice(), &text(name), &text(value)].concat()
}

/// The key in `ids` of a child's id that another run answers for, as `docs/format.md` says.
pub(crate) fn child_key(child: RunId) -> Vec<u8> {
    [&[0xff], child.as_bytes().as_slice()].concat()
}

/// Makes a record's checksum fit its bytes, as `docs/format.md` says.
pub(crate) fn set_checksum(key: &[u8], record: &mut [u8]) {
    let covered = [key, &record[..12], &record[16..]].concat();
    record[12..16].copy_from_slice(&crc32c::crc32c(&covered).to_le_bytes());
}

/// A copy of a store in which one row is another, or gone.
pub(crate) fn with_row(store: &MemoryStore, keyspace: Keyspace, key: &[u8], value: Option<Vec<u8>>) -> MemoryStore {
    let copy = store.copy();
    let key = key.to_vec();
    commit(
        &copy,
        vec![match value {
            Some(value) => Operation::Put { keyspace, key, value },
            None => Operation::Delete { keyspace, key },
        }],
    );
    copy
}

/// A store as a fixture's text.
pub(crate) fn dump(store: &MemoryStore) -> Result<String> {
    let mut text = String::new();
    for known in SCHEMA.keyspaces {
        let page = store.scan(known.keyspace, &KeyRange::all(), Order::Ascending, PageLimit::default())?;
        assert!(!page.more, "a fixture is small");
        for row in page.rows {
            text += &format!("{} {} {}\n", known.keyspace.name(), hex(&row.key), hex(&row.value));
        }
    }
    Ok(text)
}

/// Two hexadecimal digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    let digits: Vec<char> = hex.chars().collect();
    digits.chunks(2).map(|byte| Ok(u8::from_str_radix(&byte.iter().collect::<String>(), 16)?)).collect()
}

/// Writes a record; gives its size.
fn put<T: Serialize>(store: &MemoryStore, keyspace: Keyspace, key: &[u8], record: &T) -> usize {
    let (value, _) = codec::seal(key, Chain::default(), record).expect("it is small");
    let length = value.len();
    put_bytes(store, keyspace, key, value);
    length
}

fn put_bytes(store: &MemoryStore, keyspace: Keyspace, key: &[u8], value: Vec<u8>) {
    commit(store, vec![Operation::Put { keyspace, key: key.to_vec(), value }]);
}

pub(crate) fn commit(store: &MemoryStore, operations: Vec<Operation>) {
    let write = Write { preconditions: Vec::new(), operations };
    store.commit(&[write], Durability::Buffered).expect("memory does not fail");
}
