//! What must hold of the whole of Relive.
//!
//! | | |
//! |---|---|
//! | `tests/system` | promises of the whole system, a theme per file |
//! | `tests/torture.rs` | 300 SIGKILLs, and that the judge of such a campaign can tell |
//! | `tests/ends.rs` | a process that ends without a shutdown; `src/bin/ends.rs` is it |
//! | `tests/exported.rs`, [`exported`] | a run that `relive export --test` made a test of |
//! | `tests/commands` | what the command line says of a program's own tasks |
//! | [`edits`] | a task in many versions, and one that cannot be replayed; `src/bin/edited.rs` is a user's program of them |
//! | [`manual_clock`] | a clock that a test moves |
//! | [`torture`] | the campaign itself: a child that is killed, a parent that compares |
//! | `src/bin/torture.rs` | the same for as long as one likes: `cargo run -p relive-tests --bin torture -- --seconds 60` |
//!
//! The campaign believes the child's pipe and the witness file, and compares the log under test with them.

pub mod edits;
pub mod exported;
pub mod hostile;
pub mod manual_clock;
pub mod torture;
