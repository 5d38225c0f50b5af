//! Tests of tasks: by exploring their interruptions, and on an engine whose time is virtual. Feature `testing`.
//!
//! [`determinism`] runs a task with many inputs, and each again and again: interrupted after every commit, with its calls
//! ending in other orders, with effects that fail, panic and come late, cancelled and resumed, in another process. What it
//! finds it tells as a story of the smallest case. [`TestEngine`] is for tests of what a task does: stubs, virtual time,
//! what was called. `docs/testing.md` is the guide.
//!
//! ```standalone_crate
//! # // A doctest is no test by itself: this is what stands in a `#[test]`.
//! use relive::testing::{any, determinism};
//! use relive::{task, trace};
//!
//! #[trace]
//! async fn fetch(url: String) -> relive::Result<String> {
//!     Err(relive::Error::msg(format!("{url}: no network in tests")))
//! }
//!
//! #[task]
//! async fn digest(urls: Vec<String>) -> relive::Result<usize> {
//!     let pages = futures::future::try_join_all(urls.into_iter().map(fetch)).await?;
//!     Ok(pages.iter().map(String::len).sum())
//! }
//!
//! let report = determinism(digest)
//!     .inputs(any::<Vec<String>>())
//!     .stub(fetch, |url| Ok(format!("the page of {url}")))
//!     .failing(fetch, 0.1)
//!     .cases(10)
//! #   .keeping(false)
//! #   .elsewhere(false)
//!     .check();
//! assert_eq!(report.cases, 10);
//! ```
//!
//! ```text
//! determinism  the builder      search: the property that proptest checks      keep: the failures of earlier times
//! explore      one case: which points, and how each is visited    plan: the points   check: what must hold
//! life         one engine over what the lives before left         direct: what happens next in it
//! stage        stands between calls and effects    memory: what they found    stub, function: what runs there, of which trace
//! clock, flow, entropy, recorder: the engine's parts, under control
//! log, story   what is compared, and what is told                 elsewhere: another process, another time
//! exported     the log of a failure, as a file
//! engine       `TestEngine`
//! ```

mod check;
mod clock;
mod determinism;
mod direct;
mod elsewhere;
mod engine;
mod entropy;
mod explore;
mod exported;
mod flow;
mod function;
mod keep;
mod life;
mod log;
mod memory;
mod plan;
mod recorder;
mod search;
mod stage;
mod story;
mod stub;

use std::future::Future;

pub use proptest;
pub use proptest::prelude::any;

pub use self::check::Check;
pub use self::determinism::{CASES, Determinism, Failure, POINTS, determinism};
pub use self::engine::{LoggedCall, TestEngine, TestEngineBuilder, timeline};
pub use self::explore::Report;
pub use self::function::{Argument, Lent, Owned, Returned, Slice, TaskFunction, Tested, TraceFunction};
pub use self::stub::Stub;

/// Runs a test on a runtime of one thread whose time is virtual. Called by the expansion of `#[relive::test]`.
#[doc(hidden)]
pub fn block_on<T>(test: impl Future<Output = T>) -> T {
    search::runtime().block_on(test)
}

/// As [`block_on`], with an engine.
///
/// # Panics
/// If the engine cannot be opened.
#[doc(hidden)]
pub fn block_on_with<T, F: Future<Output = T>>(test: impl FnOnce(TestEngine) -> F) -> T {
    block_on(async {
        let engine =
            TestEngine::open().await.unwrap_or_else(|error| panic!("the test's engine cannot be opened: {error}"));
        test(engine).await
    })
}
