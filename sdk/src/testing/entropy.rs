//! Randomness that a seed decides.
//!
//! Invariant: what is drawn for a wait between tries is always the same, so that lives of one run wait alike.

use parking_lot::Mutex;
use relive_engine::entropy::Entropy;

/// Draws of this many bytes are for waits between tries.
const JITTER_BYTES: usize = 4;

/// Randomness made of a seed: splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub(crate) struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

/// The next number behind a state.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), String> {
        if bytes.len() == JITTER_BYTES {
            bytes.fill(0);
            return Ok(());
        }
        let mut state = self.0.lock();
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&next(&mut state).to_le_bytes()[..part.len()]);
        }
        Ok(())
    }
}
