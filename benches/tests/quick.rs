//! The benchmark itself works: all parts, and the line that programs read.

use std::process::Command;

const KEYS: [&str; 23] = [
    "sequential_vs_rocksdb",
    "throughput_traces_per_s",
    "throughput_vs_rocksdb_records",
    "cpu_us_per_trace",
    "wide_growth",
    "first_result_ms",
    "first_result_existing_ms",
    "open_ms_1m_finished",
    "replay_events_per_s",
    "replayer_longest_events_per_s",
    "cache_hit_us",
    "cache_missed_run_us",
    "uncached_run_us",
    "throughput_10k_traces_per_s",
    "p99_vs_p50",
    "payload_100b_traces_per_s",
    "payload_10kib_vs_rocksdb",
    "payload_1mib_vs_disk",
    "open_ms_0_unfinished",
    "open_ms_1k_unfinished",
    "open_ms_10k_unfinished",
    "open_ms_after_kill",
    "log_mib_at_kill",
];

#[test]
fn a_quick_run_ends_with_a_line_of_json_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new(env!("CARGO_BIN_EXE_relive-benches"))
        .args(["--quick", "--dir"])
        .arg(directory.path())
        .output()
        .expect("the benchmark can be started");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let last = out.lines().last().expect("it prints something");
    let json = last.strip_prefix("bench: ").expect("the last line begins with `bench: `");
    let figures: serde_json::Value = serde_json::from_str(json).expect("what follows is JSON");
    for key in KEYS {
        let value = figures[key].as_f64().unwrap_or_else(|| panic!("{key} is missing: {last}"));
        assert!(value > 0.0, "{key}: {last}");
    }
    // A difference of two measurements: it may be anything where little is measured.
    assert!(figures["cache_miss_us"].is_f64(), "{last}");
    assert!(figures["growth_10gb"].is_null(), "what was not measured is no number: {last}");
    let left = std::fs::read_dir(directory.path()).expect("it is still there").count();
    assert_eq!(left, 0);
}

#[test]
fn a_growth_says_how_far_it_went_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new(env!("CARGO_BIN_EXE_relive-benches"))
        .args(["--quick", "--only", "growth", "--gigabytes", "3", "--dir"])
        .arg(directory.path())
        .output()
        .expect("the benchmark can be started");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let last = out.lines().last().expect("it prints something");
    let figures: serde_json::Value =
        serde_json::from_str(last.strip_prefix("bench: ").expect("a line for programs")).expect("it is JSON");
    // What stands for a gigabyte here is smaller, and is called what it is.
    for key in
        ["growth_0gb", "growth_1mb", "growth_2mb", "growth_3mb", "growth_open_ms_3mb", "growth_written_per_stored"]
    {
        let value = figures[key].as_f64().unwrap_or_else(|| panic!("{key} is missing: {last}"));
        assert!(value > 0.0, "{key}: {last}");
    }
    assert!(figures["growth_10gb"].is_null(), "{last}");
    let left = std::fs::read_dir(directory.path()).expect("it is still there").count();
    assert_eq!(left, 0);
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_relive-benches"))
        .args(["--quick", "--only", "cache", "--dir", "/nowhere/at/all"])
        .output()
        .expect("the benchmark can be started");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(err.contains("/nowhere/at/all") && err.contains("--dir"), "{err}");
}
