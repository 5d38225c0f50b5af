//! The targets, a binary each: `record`, `payload`, `id`, `export`, `rows`, `engine`. What they do stands in `tests/src/hostile.rs`.

#[path = "../../src/hostile.rs"]
pub mod hostile;
