//! Promises of the whole system, seen from outside: a theme per file.
//!
//! Engines run over stores in memory where no disk is needed; a crash is a copy of the store, taken while effects are
//! held, and opened by another engine. Nothing waits for a time: effects wait at gates that the test opens.
//!
//! All tasks and traces of this binary share one registry, so their names begin with their theme's.

mod attempts_kit;
mod attempts_memo;
mod cache;
mod cache_children;
mod cache_explain;
mod cache_kit;
mod cache_modes;
mod cache_rebuild;
mod cache_size;
mod cancel;
mod children;
mod children_circles;
mod children_end;
mod divergence;
mod errors;
mod failing_store;
mod foreign;
mod ids;
mod lifecycle;
mod payloads;
mod preview;
mod recorded;
mod rerun;
mod resume;
mod support;
mod tags;
