//! What `docs/guide.md` shows is compiled and run: every Rust snippet of it stands in a file of this folder, line by line.
//!
//! A file is a chapter or two. Snippets stand where a test runs them, deeper indented, and so the guide has no hidden
//! lines. All of it is one program, so each task and trace has a name of its own.

#![allow(clippy::print_stdout, reason = "the guide's programs print")]

mod arguments;
mod attempts;
mod cache;
mod calls;
mod children;
mod concurrency;
mod errors;
mod first;
mod functions;
mod operate;
mod payloads;
mod promises;
mod reference;
mod resume;
mod retries;
mod streams;
mod testing;
mod time;

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use relive::{Builder, Clock, Engine, Result, Timestamp};
use relive_storage::MemoryStore;
use tempfile::TempDir;

const GUIDE: &str = include_str!("../../../docs/guide.md");

const CHAPTERS: [&str; 18] = [
    include_str!("arguments.rs"),
    include_str!("attempts.rs"),
    include_str!("cache.rs"),
    include_str!("calls.rs"),
    include_str!("children.rs"),
    include_str!("concurrency.rs"),
    include_str!("errors.rs"),
    include_str!("first.rs"),
    include_str!("functions.rs"),
    include_str!("kept.rs"),
    include_str!("operate.rs"),
    include_str!("payloads.rs"),
    include_str!("promises.rs"),
    include_str!("resume.rs"),
    include_str!("retries.rs"),
    include_str!("streams.rs"),
    include_str!("testing.rs"),
    include_str!("time.rs"),
];

#[test]
fn every_snippet_of_the_guide_is_compiled_and_run() {
    let chapters = CHAPTERS.map(lines);
    let snippets: Vec<_> = blocks("rust").collect();
    assert!(snippets.len() > 10, "the guide is found and has snippets");
    for snippet in snippets {
        let wanted = lines(snippet);
        let found = chapters.iter().any(|chapter| chapter.windows(wanted.len()).any(|window| window == wanted));
        assert!(found, "this snippet of docs/guide.md stands in no file of sdk/tests/guide:\n{snippet}");
    }
    // Another word behind the fence would hide a snippet from this test.
    let fences = GUIDE.lines().filter(|line| line.starts_with("```") && line.len() > 3);
    for fence in fences {
        assert!(["```rust", "```toml", "```text", "```diff", "```sh"].contains(&fence), "{fence}");
    }
}

/// The guide's blocks of a language.
fn blocks(language: &'static str) -> impl Iterator<Item = &'static str> {
    GUIDE.split("\n```").skip(1).step_by(2).filter_map(move |block| block.strip_prefix(language)?.strip_prefix('\n'))
}

/// Lines without their indentation; none that is empty.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// An engine over a store that ends with the process.
async fn in_memory(builder: Builder) -> Result<Engine> {
    builder.open_store(Arc::new(MemoryStore::new())).await
}

/// Lets relative paths lead into a temporary directory, the same for all tests; removed when nobody holds it any more.
fn enter_temporary_directory() -> Result<Arc<TempDir>> {
    static SHARED: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock();
    if let Some(directory) = shared.upgrade() {
        return Ok(directory);
    }
    let directory = Arc::new(tempfile::tempdir()?);
    std::env::set_current_dir(directory.path())?;
    *shared = Arc::downgrade(&directory);
    Ok(directory)
}

/// A clock that waits for nothing: who waits for a moment makes it be that moment.
#[derive(Default)]
struct Hurried(AtomicU64);

impl Clock for Hurried {
    fn now(&self) -> Timestamp {
        let new_year_2026 = 1_767_225_600_000_000;
        Timestamp(new_year_2026 + self.elapsed().as_micros() as i64)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn sleep_until(&self, due: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0.fetch_max(due.as_micros() as u64, Ordering::Relaxed);
        Box::pin(ready(()))
    }
}
