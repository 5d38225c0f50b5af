//! Rows of every keyspace with any keys and values: read by all that reads a store, and by an engine.
//!
//! Invariant: what cannot be read is an error or a problem that is told; the rest is read.

use std::ops::ControlFlow;
use std::sync::Arc;

use relive::{Engine, Retention, RunId};
use relive_engine::codec::{self, Chain};
use relive_engine::fork::{self, Fork};
use relive_engine::id::Sequence;
use relive_engine::payload::Encoding;
use relive_engine::schema::SCHEMA;
use relive_engine::{export, inspect, verify};
use relive_storage::{Durability, MemoryStore, Operation, Read, Store, Write};

use super::Raw;
use super::pieces::Pieces;

/// Runs of which more than a row is read: as many as a row of pieces makes in a fraction of a second.
const RUNS_MAX: usize = 8;

/// The rows that the pieces are. Of what a piece is for, the low half says which keyspace, and the high half whether the value
/// is sealed (else it stands as it is) and how the key is made; the piece's first byte is the key's length.
fn store_of(bytes: &[u8]) -> MemoryStore {
    let put = |(purpose, piece): (u8, &[u8])| {
        let keyspace = SCHEMA.keyspaces[usize::from(purpose & 15) % SCHEMA.keyspaces.len()].keyspace;
        let (length, rest) = piece.split_first().unwrap_or((&0, &[]));
        let (own, body) = rest.split_at(rest.len().min((*length).into()));
        let key = match purpose >> 4 & 3 {
            0 => own.to_vec(),
            // A run's id, which others can name, and what follows it; behind a mark as `ids` has it, or a text.
            1 => [&[own.first().copied().unwrap_or(0); 16], own.get(1..).unwrap_or_default()].concat(),
            2 => [&[0xfe | length & 1][..], &[own.first().copied().unwrap_or(0); 16], own.get(1..).unwrap_or_default()]
                .concat(),
            _ => NAMES[usize::from(*length) % NAMES.len()].iter().chain(own).copied().collect(),
        };
        let value = match purpose >> 6 & 1 {
            0 => codec::seal(&key, Chain(0), &Raw(body)).expect("it is small").0,
            _ => body.to_vec(),
        };
        Operation::Put { keyspace, key, value }
    };
    let store = MemoryStore::new();
    let operations = Pieces(bytes).map(put).collect();
    store
        .commit(&[Write { preconditions: Vec::new(), operations }], Durability::Buffered)
        .expect("memory does not fail");
    store
}

/// What stands in `meta`.
const NAMES: [&[u8]; 5] = [b"epoch", b"closed", b"redaction-key", b"cache", b"redacted:"];

/// Any rows, read by all that only reads: the look whether a store is whole, lists, logs, exports, forks.
///
/// # Panics
/// If an invariant does not hold.
pub fn rows(bytes: &[u8]) {
    look(store_of(bytes));
}

/// Reads all that there is in a store. What it finds is no matter here.
pub(super) fn look(store: MemoryStore) {
    let store: Arc<dyn Read> = Arc::new(store);
    let mut problems = 0;
    let verified = verify::store(&store, &mut |progress| {
        problems += u64::from(matches!(progress, verify::Progress::Problem(_)));
        ControlFlow::Continue(())
    });
    assert_eq!(verified.problem_count, problems, "each problem is told");
    let ids: Vec<RunId> = inspect::runs(Arc::clone(&store))
        .take_while(Result::is_ok)
        .filter_map(|stored| stored.ok().map(|stored| stored.run))
        .take(RUNS_MAX)
        .collect();
    let _ = inspect::runs_tagged(Arc::clone(&store), "a", "b").take_while(Result::is_ok).count();
    for run in ids {
        let _ = inspect::unfinished(store.as_ref(), run);
        let _ = inspect::child(store.as_ref(), run);
        let _ = inspect::attempts(Arc::clone(&store), run);
        let mut file = Vec::new();
        if export::write(&store, run, &export::Options::default(), &mut file).is_ok() {
            // What it was made of may contradict itself; what was written may not be damaged.
            let checked = export::check(&mut std::io::Cursor::new(&file)).map(|checked| checked.run());
            assert!(checked.is_err() || checked.is_ok_and(|root| root == run));
        }
        let mut number = 0;
        let id = || {
            number += 1;
            Ok(RunId::from_bytes([number; 16]))
        };
        let at = Fork { at: Some(Sequence(1)), set: None };
        let _ = fork::copy(&store, run, &at, &Encoding::default(), true, id);
    }
}

/// Any rows, and an engine that is opened on them: it refuses the store, or takes up what it can, and ends in order.
///
/// # Panics
/// If an invariant does not hold.
pub fn engine(bytes: &[u8]) {
    let store = store_of(bytes);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let Ok(engine) = Engine::builder().open_store(Arc::new(store)).await else { return };
        let _ = engine.cache().list().take_while(Result::is_ok).count();
        let _ = engine.cache().trim().await;
        let _ = engine.cache().rebuild().await;
        let runs: Vec<_> = engine.runs().take_while(Result::is_ok).flatten().take(RUNS_MAX).collect();
        for stored in runs {
            let _ = engine.status(stored.run);
            let _ = engine.outcome(stored.run).await;
            let _ = engine.cancel(stored.run).await;
        }
        let _ = engine.retain(Retention::default()).await;
        engine.shutdown().await.expect("an engine ends in order");
    });
}
