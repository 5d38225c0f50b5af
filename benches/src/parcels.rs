//! Runs whose traces return as many bytes as one likes: for what is measured by the size of its payloads.
//!
//! Text of 64 letters in no order, another piece of it for each trace: Relive records it as any other string, LZ4 finds
//! nothing in it to compress, Zstandard a quarter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relive::{Builder, Engine, task, trace};

use crate::Failure;
use crate::load::Load;

pub(crate) const TRACES_PER_RUN: u32 = 10;

/// Text that pieces are cut from, beyond the length of a piece: 4 MiB, far more than any compression looks back.
const POOL_BYTES: usize = 4 << 20;

/// What traces return: pieces of so many bytes.
pub(crate) struct Parcels {
    pool: String,
    bytes: usize,
    begun: AtomicU64,
}

impl Parcels {
    fn new(bytes: usize) -> Self {
        let letters = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(letters[(state >> 32) as usize % letters.len()])
        };
        Self { pool: std::iter::repeat_with(next).take(POOL_BYTES + bytes).collect(), bytes, begun: AtomicU64::new(0) }
    }

    /// Traces that have begun: but for one of each run, the one before it was durable then.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// The piece of one trace; not beside that of the next one.
    fn piece(&self, run: u64, index: u32) -> &str {
        let mixed = (run ^ u64::from(index) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let at = mixed as usize % POOL_BYTES;
        &self.pool[at..at + self.bytes]
    }
}

#[trace]
async fn parcel(run: u64, index: u32) -> relive::Result<String> {
    let parcels = relive::provided::<Arc<Parcels>>()?;
    parcels.begun.fetch_add(1, Ordering::Relaxed);
    Ok(parcels.piece(run, index).to_owned())
}

#[task]
async fn parcels(run: u64) -> relive::Result<u64> {
    let mut bytes = 0;
    for index in 0..TRACES_PER_RUN {
        bytes += parcel(run, index).await?.len() as u64;
    }
    Ok(bytes)
}

/// An engine for runs whose traces return so many bytes each.
pub(crate) fn builder(bytes: usize) -> (Builder, Arc<Parcels>) {
    let parcels = Arc::new(Parcels::new(bytes));
    (Engine::builder().provide(Arc::clone(&parcels)), parcels)
}

/// So many of these runs at once from now on, numbered from `first`, on an engine of [`builder`].
pub(crate) fn started(engine: &Engine, runs_at_once: u32, first: u64) -> Load {
    let engine = engine.clone();
    Load::start(runs_at_once, first, move |run| {
        let engine = engine.clone();
        async move { Ok::<_, Failure>(engine.run(parcels(run)).await.map(drop)?) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trace_gets_a_piece_of_its_own() {
        let parcels = Parcels::new(100);
        let pieces: std::collections::BTreeSet<_> =
            (0..100).flat_map(|run| (0..TRACES_PER_RUN).map(move |index| (run, index))).collect();
        let texts: std::collections::BTreeSet<_> =
            pieces.iter().map(|(run, index)| parcels.piece(*run, *index).to_owned()).collect();
        assert_eq!(texts.len(), pieces.len());
        assert!(texts.iter().all(|text| text.len() == 100));
    }
}
