//! Each part of the fault campaign, shortly. `tests/torture.rs` has the kills, and shows that their judge can tell.
//!
//! The parts run in the `torture` binary, as a part that hangs, or takes its process down, must fail its test and no other.
//! `docs/reliability.md` says what each shows, and how to run it for longer.

use std::io::Write;
use std::process::Command;

/// What a part says that could not do all it is for.
const NOT_HERE: [&str; 3] = ["skipped", "stands in", "no disks"];

/// Runs a part, and returns what it says. It is to find nothing.
fn clean(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_torture")).args(arguments).output().expect("it starts");
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    let asides = String::from_utf8_lossy(&output.stderr);
    // Past the test's own output, which nobody sees of a test that passes: what did not run must not look as if it had.
    for line in words.lines().filter(|line| NOT_HERE.iter().any(|note| line.contains(note))) {
        writeln!(std::io::stderr(), "{line}").expect("the tests have an output");
    }
    assert!(output.status.success(), "{arguments:?}: {}: {words}{asides}", output.status);
    words
}

/// A number of a report.
fn number(words: &str, name: &str) -> u64 {
    let last = words.lines().last().unwrap_or_default();
    let value = last.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {last:?}"))
}

#[test]
fn no_law_is_broken() {
    let words = clean(&["laws"]);
    assert!(number(&words, "laws") > 8, "{words}");
}

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    let words = clean(&["power", "--kills", "10", "--runs", "20"]);
    let stands_in = words.contains("stands in");
    assert!(number(&words, "kills") >= 10 && (stands_in || words.contains("control without syncs")), "{words}");
}

#[test]
fn what_a_store_in_memory_forgets_was_not_acknowledged() {
    let words = clean(&["power", "--in-memory", "--kills", "60", "--runs", "20"]);
    assert!(number(&words, "kills") >= 60, "{words}");
}

#[test]
fn a_kill_at_any_system_call_loses_nothing_that_was_acknowledged() {
    let words = clean(&["calls", "--every", "23"]);
    assert!(words.contains("skipped") || number(&words, "hit") * 2 > number(&words, "cases"), "{words}");
}

#[test]
fn an_error_of_any_system_call_is_told_and_nothing_acknowledged_is_missing() {
    let words = clean(&["errors", "--every", "23"]);
    assert!(words.contains("skipped") || number(&words, "told") > 0, "{words}");
}

#[test]
fn a_damaged_file_is_refused_or_makes_no_difference() {
    let words = clean(&["corruption", "--log-every", "4999", "--others", "1", "--run-every", "9", "--hang", "120"]);
    assert!(number(&words, "cases") > 300 && number(&words, "log_bytes") >= 64 << 10, "{words}");
}
