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

/// What an example prints, and that it says all of this in this order.
fn says(name: &str, wanted: &[&str]) -> String {
    let output = example(name).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let mut rest = printed.as_str();
    for line in wanted {
        let Some(at) = rest.find(line) else { panic!("{line:?} is missing, or not in its place, in:\n{printed}") };
        rest = &rest[at + line.len()..];
    }
    printed
}

#[test]
fn helpers_of_every_form_are_traced_with_what_they_took_and_gave() {
    let printed = says(
        "03_helpers",
        &[
            "the model is asked",
            "the plan is taken apart",
            "a step is scored: gather",
            "1 answer{\"prompt\":\"How do I research tides?\"} -> \"gather, then measure, then compare\", in ",
            "-> [\"gather\",\"measure\",\"compare\"], in ",
            "score{\"step\":\"gather\",\"rounds\":100000} -> 816, in ",
            "the same result",
            "trace steps is called outside a task",
        ],
    );
    assert_eq!((printed.matches("is asked").count(), printed.matches("is scored").count()), (1, 3), "{printed}");
}

#[test]
fn a_pipeline_that_is_resumed_runs_only_what_failed() {
    let printed = says(
        "04_orchestration",
        &[
            "search runs",
            "it failed: the page sea is too long",
            "repeated from the log: search, summarize, summarize",
            "run: summarize",
            "summarize runs: sea",
            "conclude runs, on 3 summaries",
            "3 insights from 3 pages on tides",
        ],
    );
    assert_eq!(
        (printed.matches("search runs").count(), printed.matches("summarize runs").count()),
        (1, 4),
        "{printed}"
    );
}

#[test]
fn a_failure_at_the_third_step_costs_the_third_step_and_a_cached_call_costs_none() {
    let printed = says(
        "05_caching_and_checkpoints",
        &["step 3 runs", "it failed: out of memory", "2. ", "step 3 runs", "0.93", "3. ", "0.93", "4. ", "0.93", "5. "],
    );
    let first_input = printed.split("5. ").next().unwrap();
    let counts = ["step 1 runs", "step 2 runs", "step 3 runs"].map(|step| first_input.matches(step).count());
    assert_eq!(counts, [1, 1, 2], "{printed}");
}

#[test]
fn errors_are_tried_again_caught_and_in_the_log() {
    says(
        "06_errors",
        &[
            "receipt for tea",
            "try 1 failed: the service is busy",
            "try 2 failed: the service is busy",
            "succeeded after 3 tries",
            "the same way, no call",
            "post runs: debt, call 4",
            "debt waits for somebody, as its amount was rejected",
            "failed after 1 tries: the service does not take this amount",
            "the same way, no call",
        ],
    );
}

#[test]
fn streams_go_on_behind_their_last_item() {
    let printed = says(
        "07_streaming",
        &[
            "cut off behind word 2",
            "tides follow the moon",
            "in the log, each word once: 4",
            "no model is asked: true",
            "book.txt is read from line 0 on",
            "cut off behind the third line",
            "book.txt is read from line 3 on",
            "30 letters",
            "in the log, each line once: 5",
        ],
    );
    assert_eq!(printed.matches("the model is asked:").count(), 2, "{printed}");
}

#[test]
fn one_body_is_a_trace_or_a_task() {
    let printed = says(
        "08_tasks_and_traces",
        &["[\"moon has 14 letters\", \"sea has 13 letters\"]", "runs so far: 2", "As a task", "moon has 14 letters"],
    );
    let (as_trace, as_task) = printed.split_once("As a task").unwrap();
    let counts = [as_trace, as_task].map(|text| text.matches("fetch runs").count());
    assert_eq!(counts, [4, 3], "{printed}");
}
