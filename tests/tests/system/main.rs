//! Promises of the whole system, seen from outside: a theme per file.
//!
//! Engines run over stores in memory where no disk is needed; a crash is a copy of the store, taken while effects are
//! held, and opened by another engine. Nothing waits for a time: effects wait at gates that the test opens.
//!
//! All tasks and traces of this binary share one registry, so their names begin with their theme's.

mod attempts_kit;
mod attempts_memo;
mod between;
mod blocked;
mod cache;
mod cache_children;
mod cache_counted;
mod cache_explain;
mod cache_kit;
mod cache_modes;
mod cache_rebuild;
mod cache_signals;
mod cache_size;
mod cancel;
mod children;
mod children_circles;
mod children_end;
mod crashes;
mod cuts;
mod damaged_store;
mod deploys;
mod divergence;
mod dropped;
mod errors;
mod exported;
mod failing_store;
mod failing_waiters;
mod foreign;
mod forks;
mod groups;
mod ids;
mod iterators;
mod lifecycle;
mod lingering;
mod methods;
mod moments;
mod nested;
mod nested_once;
mod observed;
mod observed_events;
mod observed_numbers;
mod overdue;
mod own_ids;
mod parked;
mod payloads;
mod plain_functions;
mod policies;
mod preview;
mod recorded;
mod rerun;
mod resume;
mod retained;
mod retries;
mod signals;
mod signals_end;
mod signals_fit;
mod sleep;
mod sleepers;
mod sources;
mod streams;
mod streams_among_others;
mod support;
mod tags;
mod taken_up;
mod task_retries;
mod timeouts;
mod turns;
mod typed_errors;
mod verdicts;
mod woken_sources;
