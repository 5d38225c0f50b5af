//! How long runs are kept: they go by themselves when their time is over, and never while somebody needs them.
//!
//! A binary of its own, as every engine in it deletes runs: its tasks say how long theirs are kept. Time is a test's; after each
//! slice of the work the engine sleeps, and that is what a test waits for.

mod callers;
mod disk;
mod faults;
mod rules;
mod support;
#[path = "../system/support.rs"]
#[allow(dead_code, reason = "made for another binary, too")]
mod system;
