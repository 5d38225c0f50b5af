//! The benchmark itself works: all parts, and the line that programs read.

use std::process::Command;

const KEYS: [&str; 12] = [
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
    "cache_miss_us",
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
