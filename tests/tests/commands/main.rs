//! The commands that replay a program's own tasks, run as a process of a user's program (`src/bin/edited.rs`).
//!
//! `replay` one run, `check` a thousand, `diff` two, and `wrong`: what cannot be replayed.

mod check;
mod diff;
mod replay;
mod wrong;

use std::path::Path;
use std::process::{Command, Output};

use relive::{Durability, Engine, RunId};
use relive_tests::edits::{Edit, order};
use tempfile::TempDir;

/// What a command did.
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Its output, line by line, as JSON.
    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }
}

/// Runs a command of the program in this release.
pub(crate) fn run(directory: &Path, edit: Edit, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edited"));
    command.env_clear().env("TZ", "UTC").env("RELIVE_DIR", directory).env("RELIVE_EDIT", format!("{edit:?}"));
    let Output { status, stdout, stderr } = command.args(arguments).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("it prints text");
    let status = status.code().expect("it exits");
    assert_ne!(status, 101, "it panicked: {}", text(stderr));
    Ran { status, stdout: text(stdout), stderr: text(stderr) }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime starts").block_on(future)
}

/// An engine of the original release.
pub(crate) async fn engine(directory: &Path) -> Engine {
    release(directory, Edit::Original).await
}

async fn release(directory: &Path, edit: Edit) -> Engine {
    let builder = Engine::builder().provide(edit).durability(Durability::Buffered);
    builder.open(directory).await.expect("the engine opens")
}

/// Has a release run an order, as one more run of a store.
pub(crate) fn ordered_by(directory: &Path, edit: Edit, number: u32) -> RunId {
    block_on(async {
        let engine = release(directory, edit).await;
        let handle = engine.start(order(number)).await.expect("starts");
        let run = handle.id();
        handle.await.expect("it runs");
        engine.shutdown().await.expect("nothing has failed");
        run
    })
}

/// A store with so many orders, numbered from 0.
pub(crate) fn ordered(count: u32) -> (TempDir, Vec<RunId>) {
    let directory = tempfile::tempdir().expect("a directory is made");
    let runs = block_on(async {
        let engine = engine(directory.path()).await;
        let mut runs = Vec::new();
        for number in 0..count {
            let handle = engine.start(order(number)).await.expect("starts");
            runs.push(handle.id());
            assert_eq!(handle.await.is_err(), number % 10 == 9);
        }
        engine.shutdown().await.expect("nothing has failed");
        runs
    });
    (directory, runs)
}
