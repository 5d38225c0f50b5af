//! The demo from end to end, on small directories: what it shows, and what it says to bad input.
//!
//! Invariant: what a test counts it counts itself, from the witness's file.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// The last line's figures.
#[derive(Debug, PartialEq, Eq)]
struct Figures {
    traces: u64,
    replayed: u64,
    executed: u64,
    repeated_after_ack: u64,
    cache_hit_us: u64,
}

fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    demo().args(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A directory of so many files that are about atomic ordering, and one that is not.
fn library(file_count: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("deep")).unwrap();
    fs::write(dir.path().join("other.md"), "Nothing about the topic stands in here at all.").unwrap();
    for index in 0..file_count {
        let text = format!(
            "//! Part {index} counts its users by an atomic counter with relaxed ordering.\n\
             //! A counter that reaches zero frees part {index} and wakes the thread that waits.\n\n\
             pub fn count_{index}(counter: &AtomicUsize) {{ counter.fetch_add(1, Ordering::Relaxed); }}\n"
        );
        fs::write(dir.path().join("deep").join(format!("part_{index}.rs")), text).unwrap();
    }
    dir
}

fn figures(output: &Output) -> Figures {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let last = stdout.lines().last().unwrap_or_default();
    let fields = last.strip_prefix("demo: ").unwrap_or_else(|| panic!("{last}\n{}", errors(output)));
    let fields: BTreeMap<&str, u64> =
        fields.split(' ').map(|field| field.split_once('=').unwrap()).map(|(k, v)| (k, v.parse().unwrap())).collect();
    let shown = Figures {
        traces: fields["traces"],
        replayed: fields["replayed"],
        executed: fields["executed"],
        repeated_after_ack: fields["repeated_after_ack"],
        cache_hit_us: fields["cache_hit_us"],
    };
    let Figures { traces, replayed, executed, repeated_after_ack, cache_hit_us } = &shown;
    let expected = format!(
        "demo: traces={traces} replayed={replayed} executed={executed} repeated_after_ack={repeated_after_ack} \
         cache_hit_us={cache_hit_us}"
    );
    assert_eq!(last, expected);
    shown
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the demo with bad input, and gives what it says.
fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let errors = errors(&output);
    let said = errors.lines().find_map(|line| line.strip_prefix("demo: "));
    said.unwrap_or_else(|| panic!("{errors}")).to_owned()
}

#[test]
fn a_killed_pipeline_goes_on_where_it_was() {
    let (library, data) = (library(24), tempfile::tempdir().unwrap());
    let output = run(&[text(library.path()), "--data", text(data.path())]);
    assert!(output.status.success(), "{}", errors(&output));
    let figures = figures(&output);
    assert_eq!((figures.traces, figures.repeated_after_ack), (26, 0), "{figures:?}");
    assert_eq!(figures.replayed + figures.executed, figures.traces);
    // The search and 40 % of the summaries were acknowledged when the kill came.
    assert!(figures.replayed >= 10, "{figures:?}");
    // One answer was kept back, so that summary and the insights were still to come.
    assert!(figures.executed >= 2, "{figures:?}");

    let witness = fs::read_to_string(data.path().join("witness.jsonl")).unwrap();
    let mut requests: BTreeMap<String, u64> = BTreeMap::new();
    for line in witness.lines() {
        let request: serde_json::Value = serde_json::from_str(line).unwrap();
        if request["phase"] == "began" {
            *requests.entry(request["path"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert_eq!(requests.len(), 24);
    assert!(requests.values().all(|count| *count <= 2), "{requests:?}");
    // All effects that ran after the kill, less the insights, asked the witness.
    let twice = requests.values().filter(|count| **count == 2).count() as u64;
    assert!(twice < figures.executed, "{requests:?} {figures:?}");
}

#[test]
fn a_few_files_are_enough() {
    for file_count in 1..=3 {
        let library = library(file_count);
        let output = run(&[text(library.path())]);
        assert!(output.status.success(), "{}", errors(&output));
        let figures = figures(&output);
        assert_eq!((figures.traces, figures.repeated_after_ack), (file_count as u64 + 2, 0), "{figures:?}");
    }
}

#[test]
fn the_timeline_and_the_cache_are_shown() {
    let library = library(5);
    let output = run(&[text(library.path()), "--topic", "COUNTER zero", "--hits", "4"]);
    assert!(output.status.success(), "{}", errors(&output));
    assert_eq!(figures(&output).traces, 6);
    let shown = String::from_utf8_lossy(&output.stdout);
    for expected in [
        "6 text files",
        "in 5 files; the best 4 are summarized",
        "kill -9",
        "0 new requests",
        "relive show",
        "summarize(\"deep/part_",
    ] {
        assert!(shown.contains(expected), "{expected}:\n{shown}");
    }
}

#[test]
fn a_directory_that_cannot_be_searched_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let inside = |name: &str| text(&dir.path().join(name)).to_owned();
    assert_eq!(refused(&[&inside("missing")]), format!("there is no directory {}", inside("missing")));

    fs::write(inside("file"), "text").unwrap();
    assert!(refused(&[&inside("file")]).starts_with(&format!("{} is not a directory", inside("file"))));
    assert!(refused(&[&inside("file/below")]).starts_with(&format!("{} is not a directory", inside("file/below"))));

    fs::create_dir(inside("empty")).unwrap();
    assert!(refused(&[&inside("empty")]).ends_with("/empty holds no files"));

    fs::create_dir(inside("binary")).unwrap();
    fs::write(inside("binary/a"), [0, 1, 2]).unwrap();
    assert!(refused(&[&inside("binary")]).contains("/binary holds no text files (1 binary"));
}

#[test]
fn a_directory_without_permission_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o000)).unwrap();
    let said = refused(&[text(dir.path())]);
    // To root, permissions are no obstacle.
    let expected =
        if fs::read_dir(dir.path()).is_ok() { "holds no files" } else { "cannot be read: permission denied" };
    assert!(said.ends_with(expected), "{said}");
}

#[test]
fn a_topic_that_no_file_is_about_is_told() {
    let library = library(1);
    let said = refused(&[text(library.path()), "--topic", "atomic zebra"]);
    assert_eq!(said, "no file holds all words of the topic \"atomic zebra\": choose another with --topic");
    assert!(refused(&[text(library.path()), "--topic", " "]).starts_with("the topic is empty"));
}

#[test]
fn a_port_that_is_taken_is_told() {
    let library = library(1);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let said = refused(&[text(library.path()), "--port", &port]);
    assert!(said.starts_with(&format!("port {port} of 127.0.0.1 is taken by another program")), "{said}");
}

#[test]
fn a_data_directory_that_is_not_empty_is_left_alone() {
    let library = library(1);
    let said = refused(&[text(library.path()), "--data", text(library.path())]);
    assert!(said.contains("is not empty: name a new one"), "{said}");
}

#[test]
fn wrong_usage_has_its_own_exit_status() {
    for arguments in [&["--hits", "0"][..], &["--nonsense"], &["a", "b"]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

/// Starts the demo with its temporary files in `temporary`, and waits until it has named a process of this kind.
fn started(library: &Path, temporary: &Path, kind: &str) -> (Child, String) {
    let mut child = demo().arg(library).env("TMPDIR", temporary).spawn().unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let process = lines.map(Result::unwrap).find_map(|line| {
        let (process, _) =
            line.trim_start().strip_prefix(kind)?.trim_start().strip_prefix("process ")?.split_once(',')?;
        Some(process.to_owned())
    });
    (child, process.unwrap())
}

fn kill(signal: &str, process: &str) {
    assert!(Command::new("kill").args([signal, process]).status().unwrap().success());
}

#[test]
fn a_service_that_dies_is_blamed() {
    let (library, temporary) = (library(200), tempfile::tempdir().unwrap());
    let (child, service) = started(library.path(), temporary.path(), "service");
    kill("-KILL", &service);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = errors(&output);
    assert!(
        said.contains(&format!("the summarizing service (process {service}) ended by itself (signal: 9")),
        "{said}"
    );
}

#[test]
fn an_interrupted_demo_leaves_no_files() {
    let (library, temporary) = (library(200), tempfile::tempdir().unwrap());
    let (child, _) = started(library.path(), temporary.path(), "pipeline");
    kill("-INT", &child.id().to_string());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", errors(&output));
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn no_process_outlives_a_demo_that_is_killed() {
    let (library, temporary) = (library(200), tempfile::tempdir().unwrap());
    let (mut child, _) = started(library.path(), temporary.path(), "pipeline");
    let mut errors = child.stderr.take().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // Service and pipeline hold the same pipe: it ends when the last of them does.
    errors.read_to_end(&mut Vec::new()).unwrap();
}
