//! What `docs/guide.md` shows is compiled and run: every Rust snippet of it stands in a file of this folder, line by line.
//!
//! A file is a chapter or two. Snippets stand where a test runs them, deeper indented, and so the guide has no hidden
//! lines. All of it is one program, so each task and trace has a name of its own.

#![allow(clippy::print_stdout, reason = "the guide's programs print")]

mod arguments;
mod cache;
mod concurrency;
mod errors;
mod first;
mod operate;
mod resume;

use std::sync::{Arc, OnceLock};

use relive::{Builder, Engine, Result};
use relive_storage::MemoryStore;
use tempfile::TempDir;

const GUIDE: &str = include_str!("../../../docs/guide.md");

const CHAPTERS: [&str; 7] = [
    include_str!("arguments.rs"),
    include_str!("cache.rs"),
    include_str!("concurrency.rs"),
    include_str!("errors.rs"),
    include_str!("first.rs"),
    include_str!("operate.rs"),
    include_str!("resume.rs"),
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

/// Lets relative paths lead into a directory that is removed in the end. The same one for all tests.
fn enter_temporary_directory() -> Result<()> {
    static DIRECTORY: OnceLock<TempDir> = OnceLock::new();
    let directory = tempfile::tempdir()?;
    std::env::set_current_dir(DIRECTORY.get_or_init(|| directory).path())?;
    Ok(())
}
