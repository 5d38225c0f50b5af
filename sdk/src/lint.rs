//! What `#[task]` warns about: names that the compiler shows, with what to do.
//!
//! A macro cannot warn, but a use of something deprecated can. The expansion of a task whose body does what belongs in a
//! trace uses one of these at the user's words; `sdk/macros/src/lint.rs` says what is found. Nothing calls them, and they
//! do nothing.
//!
//! Invariant: a function is named as `#[task(allow(…))]` takes it.

#[deprecated(
    note = "a replay reads another time: ask `relive::now()`, whose answer is recorded, or ask in a `#[trace]`; \
                     `#[task(allow(clock))]` if it does no harm"
)]
pub const fn clock() {}

#[deprecated(
    note = "a replay draws something else: draw by `relive::random()` or `relive::uuid()`, which are recorded, or \
                     in a `#[trace]`; `#[task(allow(random))]` if it does no harm"
)]
pub const fn random() {}

#[deprecated(
    note = "a `HashMap` or `HashSet` has another order in a replay: take a `BTreeMap` or `BTreeSet`, or sort what \
                     comes of it; `#[task(allow(map_order))]` if the order does no harm"
)]
pub const fn map_order() {}

#[deprecated(
    note = "a wait that is not recorded begins anew in a replay: wait by `relive::sleep` or `relive::timeout`, or \
                     in a `#[trace]`; `#[task(allow(timer))]` if it does no harm"
)]
pub const fn timer() {}

#[deprecated(
    note = "what runs beside a task is not recorded: make it a `#[trace]`, with `spawn` or `blocking` to run on \
                     another thread, and join its calls; `#[task(allow(spawn))]` if it does no harm"
)]
pub const fn spawn() {}

#[deprecated(
    note = "a replay does this again, and may find something else: do it in a `#[trace]`; `#[task(allow(io))]` if \
                     it does no harm"
)]
pub const fn io() {}

#[deprecated(
    note = "another process may find another value: take it as an argument of the task, or read it in a `#[trace]`; \
                     `#[task(allow(env))]` if it does no harm"
)]
pub const fn env() {}

#[deprecated(note = "`select!` polls first a branch that it picks at random, which a replay cannot repeat: write \
                     `relive::select!`, or `tokio::select!` by that path; `#[task(allow(select))]` if it does no harm")]
pub const fn select() {}

#[deprecated(
    note = "a task that waits for a signal is not cached, as its result is what somebody answered that run: say so by \
                     `#[task(cache = \"off\")]`. With a `version` of yours it is cached, and equal calls get that answer; \
                     `#[task(allow(signal))]` if that is meant"
)]
pub const fn signal() {}
