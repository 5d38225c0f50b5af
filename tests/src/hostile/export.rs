//! The file of an export that anybody may have made: every length, checksum and chain right, and anything in it.
//!
//! Invariant: what is taken for whole is written into a store, or refused by it; and is there then.

use std::io::Cursor;

use bytes::Bytes;
use relive::RunId;
use relive_engine::codec::{self, Chain};
use relive_engine::event::Batch;
use relive_engine::export;
use relive_engine::id::Sequence;
use relive_engine::inspect;
use relive_storage::MemoryStore;
use serde::Serialize;

use super::Raw;
use super::pieces::Pieces;

/// The items that the pieces make, as they are written: `docs/format.md`, section 11.
#[derive(Serialize)]
#[expect(dead_code, reason = "holds the place of the first variant")]
enum Item {
    Head,
    Run(RunId),
    Record { first: Sequence, bytes: Bytes },
}

/// A file that is sealed as it should be, item by item.
struct File {
    bytes: Vec<u8>,
    item_count: u64,
    chain: Chain,
    /// The run whose records follow, how many events it has so far, and its last record's checksum.
    run: (RunId, u64, Chain),
}

impl File {
    fn new() -> Self {
        let mut bytes = b"RLEXPORT\x01\0\0\0".to_vec();
        let chain = Chain(crc32c::crc32c(&bytes));
        bytes.extend_from_slice(&chain.0.to_le_bytes());
        Self { bytes, item_count: 0, chain, run: (RunId::from_bytes([0; 16]), 0, Chain(0)) }
    }

    fn item(&mut self, body: &impl Serialize) {
        let sealed = codec::seal(&self.item_count.to_be_bytes(), self.chain, body).expect("it is small");
        self.bytes.extend_from_slice(&sealed.0);
        (self.item_count, self.chain) = (self.item_count + 1, sealed.1);
    }

    /// A record of the run, around any body, that follows the one before it.
    fn record(&mut self, body: &[u8]) {
        let (run, at, chain) = self.run;
        let key = [run.as_bytes().as_slice(), &at.to_be_bytes()].concat();
        let (bytes, own) = codec::seal(&key, chain, &Raw(body)).expect("it is small");
        if let Ok((batch, ..)) = codec::open::<Batch>(&key, &bytes) {
            self.run = (run, at.saturating_add(batch.events.len() as u64), own);
        }
        self.item(&Item::Record { first: Sequence(at), bytes: bytes.into() });
    }

    fn piece(&mut self, purpose: u8, piece: &[u8]) {
        match purpose % 4 {
            0 => self.item(&Raw(piece)),
            1 => {
                let run = RunId::from_bytes([piece.first().copied().unwrap_or(0); 16]);
                self.run = (run, 0, Chain(0));
                self.item(&Item::Run(run));
            }
            2 => self.record(piece),
            _ => self.bytes.extend_from_slice(piece),
        }
    }
}

/// An export: bytes as they are, and pieces of bytes in a file whose checksums are right. Says whether either was imported.
///
/// # Panics
/// If an invariant does not hold.
pub fn export(bytes: &[u8]) -> bool {
    let mut file = File::new();
    Pieces(bytes).for_each(|(purpose, piece)| file.piece(purpose, piece));
    [bytes, &file.bytes].map(is_imported).contains(&true)
}

/// Reads a file into an empty store, and what was read once more.
fn is_imported(bytes: &[u8]) -> bool {
    let mut file = Cursor::new(bytes);
    let Ok(checked) = export::check(&mut file) else { return false };
    let (root, run_count) = (checked.run(), checked.run_count());
    let store = MemoryStore::new();
    let Ok(imported) = checked.into_store(&store) else { return false };
    assert_eq!((imported.run, imported.run_count, imported.present_count), (root, run_count, 0));
    let record = inspect::run(&store, root).expect("what was written can be read");
    assert!(record.is_some(), "the run that was exported is there");
    // Rows that two runs of the file both have are in the way; else all is there already.
    if let Ok(again) = export::read(&mut file, &store) {
        assert_eq!(again.present_count, run_count);
    }
    super::rows::look(store);
    true
}
