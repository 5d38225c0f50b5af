//! Hostile bytes: what reads the store is given anything at all, and must answer with a value or an error.
//!
//! Each function is a fuzz target: run by `tests/hostile.rs` with drawn bytes, and by `tests/fuzz` guided by coverage.
//! Here are records, payloads and ids; `export` is about the file of an export, `rows` about the keys and values of every
//! keyspace, read as they lie and by an engine that is opened on them.
//!
//! Invariant: no panic, no value that is written in another way than it was read, and memory in proportion to the bytes.

// By their paths, so that `tests/fuzz`, which is a workspace of its own, finds them, too.
#[path = "hostile/export.rs"]
mod export;
#[path = "hostile/pieces.rs"]
mod pieces;
#[path = "hostile/rows.rs"]
mod rows;

use std::sync::Arc;

use relive::{Payload, PayloadCodec, RunId};
use relive_engine::codec::{self, Chain};
use relive_engine::event::{Batch, Event};
use relive_engine::index::{CacheRecord, IdRecord, RunRecord, UnfinishedRecord};
use relive_engine::log::LOG;
use relive_engine::{inspect, log};
use relive_storage::{Durability, MemoryStore, Operation, Read, Store, Write};
use serde::de::DeserializeOwned;
use serde::ser::SerializeTuple;
use serde::{Deserialize, Serialize, Serializer};

pub use self::export::export;
pub use self::rows::{engine, rows};

/// Bytes as they are, without a length before them.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
        tuple.end()
    }
}

/// A record: as it is, and as the body of an envelope that is whole, which is what a checksum cannot keep out.
///
/// # Panics
/// If an invariant does not hold.
pub fn record(bytes: &[u8]) {
    let (key, body) = bytes.split_at(bytes.len().min(24));
    let raw = codec::open::<Batch>(key, body);
    assert!(raw.is_err() || body.len() > 16, "an envelope has 16 bytes");
    let (sealed, _) = codec::seal(key, Chain(7), &Raw(body)).expect("it is small");
    assert_eq!(sealed.len(), 16 + body.len(), "the body is what was given");
    assert_eq!(codec::open_batch(key, &sealed), codec::open::<Batch>(key, &sealed), "both ways to read a batch");
    one::<Batch>(key, &sealed);
    one::<RunRecord>(key, &sealed);
    one::<UnfinishedRecord>(key, &sealed);
    one::<IdRecord>(key, &sealed);
    one::<CacheRecord>(key, &sealed);
    log_of(&sealed, key);
}

/// What is read from a record is read again from what it is written as.
fn one<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(key: &[u8], sealed: &[u8]) {
    let Ok((value, chain, _)) = codec::open::<T>(key, sealed) else { return };
    let (again, _) = codec::seal(key, chain, &value).expect("what was read can be written");
    let (read, ..) = codec::open::<T>(key, &again).expect("what was written can be read");
    assert_eq!(read, value);
}

/// A log of which one record is hostile is read to an end.
fn log_of(sealed: &[u8], key: &[u8]) {
    let mut id = [0; 16];
    id.iter_mut().zip(key).for_each(|(byte, other)| *byte = *other);
    let run = RunId::from_bytes(id);
    let mut at = run.as_bytes().to_vec();
    at.extend_from_slice(&[0; 8]);
    let store = MemoryStore::new();
    let put = Operation::Put { keyspace: LOG, key: at, value: sealed.to_vec() };
    store
        .commit(&[Write { preconditions: Vec::new(), operations: vec![put] }], Durability::Buffered)
        .expect("memory does not fail");
    let store: Arc<dyn Read> = Arc::new(store);
    let events = inspect::events(Arc::clone(&store), run).take_while(Result::is_ok).count();
    assert!(events <= sealed.len(), "no event takes less than a byte");
    // An error or an event, and no panic.
    let _ = log::last_event(store.as_ref(), run);
}

/// A payload in each codec, read as several types and as a value for people.
///
/// # Panics
/// If an invariant does not hold.
pub fn payload(bytes: &[u8]) {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Unit,
        Pair(u64, String),
        Named { list: Vec<Option<f64>>, map: std::collections::BTreeMap<String, i32> },
    }
    for codec in [PayloadCodec::MESSAGE_PACK, PayloadCodec::JSON, PayloadCodec::BINCODE] {
        // As it stands in a record: codec, hook, bytes.
        let Ok(written) = rmp_serde::to_vec(&(codec.id(), 0u8, Bytes(bytes))) else { return };
        let Ok(payload) = rmp_serde::from_slice::<Payload>(&written) else { continue };
        assert_eq!(payload.bytes(), bytes);
        let _ = payload.decode::<Shape>();
        let _ = payload.decode::<Vec<u8>>();
        let _ = payload.decode::<String>();
        let _ = payload.decode::<(u128, bool, char)>();
        let _ = payload.decode::<Event>();
        let shown = payload.to_value().excerpt(100);
        assert!(shown.chars().count() <= 200, "an excerpt is short");
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// A run's id as a person types it, and what begins one.
///
/// # Panics
/// If an invariant does not hold.
pub fn id(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(run) = text.parse::<RunId>() {
        assert_eq!(run.to_string().parse::<RunId>().ok(), Some(run), "an id is read as it is written");
    }
    let _ = inspect::runs_by_prefix(&MemoryStore::new(), &text, 2);
}
