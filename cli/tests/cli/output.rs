//! What people and programs read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use insta::assert_snapshot;
use relive::task;

use crate::stores::{block_on, clock, life, written};
use crate::{printed, relive, run};

#[test]
fn a_run_is_one_object_for_programs() {
    let store = written();
    let object = |run: &relive::RunId| -> serde_json::Value {
        serde_json::from_str(&printed(store.path(), &["show", &run.to_string(), "--json"])).unwrap()
    };
    let failed = object(&store.failed);
    assert_eq!(
        (&failed["state"], &failed["outcome"], &failed["calls"]["fetch"]),
        (&"failed".into(), &"err".into(), &2.into())
    );
    assert!(failed["error"]["message"].is_string() && failed["input"]["publishes"] == true, "{failed}");
    let waiting = object(&store.waiting);
    assert_eq!((&waiting["state"], waiting.get("outcome")), (&"unfinished".into(), None));
    assert_eq!(waiting["events"], printed(store.path(), &["log", &store.waiting.to_string()]).lines().count());
}

#[test]
fn runs_are_listed_the_newest_first() {
    let store = written();
    assert_snapshot!(store.redacted(&printed(store.path(), &["runs"])));
    assert_snapshot!(store.redacted(&printed(store.path(), &["runs", "--json"])));
    assert_eq!(printed(store.path(), &["runs", "--json", "--limit", "2"]).lines().count(), 2);
}

#[test]
fn a_timeline_shows_every_kind_of_outcome_and_the_error() {
    let store = written();
    assert_snapshot!(store.redacted(&printed(store.path(), &["show", &store.failed.to_string()])));
}

#[test]
fn a_timeline_tells_replayed_from_executed_and_cuts_out_the_time_between() {
    let store = written();
    assert_snapshot!(store.redacted(&printed(store.path(), &["show", &store.continued.to_string()])));
}

/// Waits long enough to leave memory.
#[task]
async fn naps() -> relive::Result<()> {
    relive::sleep(Duration::from_secs(3_000)).await
}

#[test]
fn a_sleep_in_which_the_run_left_memory_is_drawn_from_its_call_to_its_end() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let life = life(directory.path(), &clock(), true).await;
        let handle = life.engine.start(naps()).await.unwrap();
        let run = handle.id().to_string();
        handle.await.unwrap();
        life.engine.shutdown().await.unwrap();
        let shown = printed(directory.path(), &["show", &run]);
        let row = shown.lines().find(|line| line.starts_with("├ relive::sleep(50 min 00 s)")).unwrap();
        assert!(row.contains("  executed  50 min 00 s  ") && row.matches('█').count() > 20, "{shown}");
    });
}

#[test]
fn a_timeline_of_an_unfinished_run_shows_what_is_open() {
    let store = written();
    assert_snapshot!(store.redacted(&printed(store.path(), &["show", &store.waiting.to_string()])));
}

#[test]
fn a_log_has_a_line_per_event() {
    let store = written();
    for (name, run) in [("failed", store.failed), ("continued", store.continued)] {
        let run = run.to_string();
        assert_snapshot!(format!("log_{name}"), store.redacted(&printed(store.path(), &["log", &run])));
        let json = printed(store.path(), &["log", &run, "--json"]);
        assert_snapshot!(format!("log_json_{name}"), store.redacted(&json));
        for (sequence, line) in json.lines().enumerate() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(event["sequence"], sequence);
        }
    }
}

#[test]
fn output_for_no_terminal_has_no_control_characters_but_line_ends_unless_asked() {
    let store = written();
    let run = store.failed.to_string();
    for arguments in [&["runs"] as &[&str], &["show", &run], &["log", &run], &["log", &run, "--json"]] {
        let text = printed(store.path(), arguments);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{arguments:?}");
    }
    assert!(printed(store.path(), &["show", &run, "--color", "always"]).contains("\u{1b}["));
}

#[test]
fn a_timeline_is_as_wide_as_columns_says() {
    let store = written();
    for width in [1, 72, 100, 180, 1000] {
        for run in [store.failed, store.continued, store.waiting] {
            let columns = width.to_string();
            let output = relive(store.path(), &["show", &run.to_string()]).env("COLUMNS", columns).output().unwrap();
            for line in String::from_utf8(output.stdout).unwrap().lines() {
                assert!(line.chars().count() <= width.clamp(72, 500), "{width}: {line}");
            }
        }
    }
}

#[test]
fn a_long_run_is_shown_in_part_and_counted_whole() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let life = life(directory.path(), &clock(), true).await;
        let id = life.count(250).await.to_string();
        let text = printed(directory.path(), &["show", &id]);
        assert!(text.contains("250: 250 ok"), "{text}");
        assert!(text.contains("⋮ 50 traces not shown here"), "{text}");
        let rows = |text: &str| text.lines().filter(|line| line.starts_with("├ fetch")).count();
        assert_eq!(rows(&text), 200);
        assert!(text.contains("fetch(\"99\")") && text.contains("fetch(\"150\")") && !text.contains("fetch(\"100\")"));
        assert_eq!(rows(&printed(directory.path(), &["show", &id, "--all"])), 250);
        life.engine.shutdown().await.unwrap();
    });
}

#[test]
fn a_store_is_read_while_an_engine_holds_it() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let mut life = life(directory.path(), &clock(), false).await;
        let run = life.release_until_it_waits("2.0").await;
        let text = printed(directory.path(), &["show", &run.to_string()]);
        assert!(text.contains("unfinished, with 1 trace open"), "{text}");
        assert!(printed(directory.path(), &["runs"]).contains("release 2.0"));
        // And the engine goes on as if nobody had looked.
        life.count(3).await;
        assert_eq!(printed(directory.path(), &["runs"]).lines().count(), 3);
        life.engine.shutdown().await.unwrap();
    });
}

#[test]
fn a_store_is_read_while_an_engine_writes_as_fast_as_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let (opened, is_open) = std::sync::mpsc::channel();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            block_on(async {
                let life = life(directory.path(), &clock(), true).await;
                opened.send(()).unwrap();
                let mut to = 0;
                while !stop.load(Ordering::Relaxed) {
                    to += 1;
                    life.count(to).await;
                }
                life.engine.shutdown().await.unwrap();
            });
        });
        is_open.recv().unwrap();
        let mut seen = 0;
        for _ in 0..8 {
            let lines = printed(directory.path(), &["runs", "--json"]);
            let count = lines.lines().count();
            assert!(count >= seen, "{count} runs, and {seen} before");
            seen = count;
            // One after the other is started, and two of one millisecond are in no order: one of the newest two has ended.
            let logs: Vec<_> = lines
                .lines()
                .take(2)
                .map(|line| {
                    let run: serde_json::Value = serde_json::from_str(line).unwrap();
                    printed(directory.path(), &["log", run["run"].as_str().unwrap()])
                })
                .collect();
            let has_ended = |log: &String| log.lines().last().unwrap().contains("TaskCompleted");
            assert!(logs.len() < 2 || logs.iter().any(has_ended), "{logs:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn output_that_nobody_reads_any_more_ends_quietly() {
    let store = written();
    let run = store.failed.to_string();
    for arguments in [&["runs"] as &[&str], &["show", &run], &["log", &run, "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = relive(store.path(), arguments).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()), "{arguments:?}");
    }
}

#[test]
fn a_store_without_runs_says_so() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let life = life(directory.path(), &clock(), true).await;
        life.engine.shutdown().await.unwrap();
        assert_eq!(printed(directory.path(), &["runs", "--json"]), "");
        assert_eq!(printed(directory.path(), &["runs"]), "no runs yet\n");
        assert!(run(directory.path(), &["show", "01"]).stderr.contains("no runs in it at all"));
    });
}
