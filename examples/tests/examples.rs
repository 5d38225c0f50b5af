//! The numbered examples do what they say.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::PathBuf;
use std::process::Command;

fn example(name: &str) -> Command {
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_demo"));
    let path = beside.with_file_name("examples").join(name);
    assert!(path.exists(), "{} is built by `cargo build -p relive-examples --examples`", path.display());
    Command::new(path)
}

fn printed(command: &mut Command) -> String {
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn hello_runs_its_traces_for_new_input_only() {
    let printed = printed(&mut example("01_hello"));
    // Three languages for two names, and one that nobody speaks; the repeated call adds nothing.
    assert_eq!(printed.matches("translate runs").count(), 3 + 3 + 1, "{printed}");
    assert_eq!(printed.matches("Hallo, Ada!").count(), 2, "{printed}");
}

#[test]
fn crash_ends_the_first_time_and_goes_on_the_second() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let first = printed(example("02_crash").arg(&store));
    assert!(first.contains("layer 3 is baked") && !first.contains("layer 4 is baked"), "{first}");
    let second = printed(example("02_crash").arg(&store));
    assert!(!second.contains("layer 2 is baked") && second.contains("layer 4 is baked"), "{second}");
    assert!(second.contains("The cake is done: layer 1, layer 2, layer 3, layer 4, layer 5."), "{second}");
    assert!(!store.exists());
}
