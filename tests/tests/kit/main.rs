//! What the determinism kit promises: it finds what is not deterministic, and finds nothing where all is in order.
//!
//! Unsound tasks register in this binary, and in no other.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod engine;
mod explorer;
mod faults;
mod many;
mod sound;
mod table;
