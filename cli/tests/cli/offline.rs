//! What is done to a directory that no engine has open: by the plain command, and by that of a program with the tasks.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use relive::{RunId, RunState, task, trace};
use relive_engine::index::{IDS, INBOX, TAGS};
use relive_engine::inspect;
use relive_engine::log::LOG;
use relive_engine::schema::SCHEMA;
use relive_storage::{KeyRange, Keyspace, Order, PageLimit, Read as _, RocksReader, RocksStore};

use crate::program::program;
use crate::stores::{block_on, clock, life, written};
use crate::{printed, refused, run};

fn state(directory: &Path, run: RunId) -> RunState {
    let reader = RocksReader::open(directory, SCHEMA.format).unwrap();
    inspect::run(&reader, run).unwrap().unwrap().state
}

fn rows(directory: &Path, keyspace: Keyspace) -> usize {
    let reader = RocksReader::open(directory, SCHEMA.format).unwrap();
    reader.scan(keyspace, &KeyRange::all(), Order::Ascending, PageLimit::default()).unwrap().rows.len()
}

/// The numbers of the events of a run, by name.
fn events(directory: &Path, run: &str) -> Vec<serde_json::Value> {
    let log = printed(directory, &["log", run, "--json"]);
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_run_is_cancelled_once_and_nothing_else_goes_on() {
    let store = written();
    let run_id = store.waiting.to_string();
    assert_eq!(printed(store.path(), &["cancel", &run_id]), format!("run {run_id} is cancelled\n"));
    assert_eq!(state(store.path(), store.waiting), RunState::Cancelled);
    let again = run(store.path(), &["cancel", &run_id]);
    assert_eq!((again.status, again.stderr.as_str()), (3, ""));
    assert!(again.stdout.contains("had ended before"), "{}", again.stdout);
    assert_eq!(run(store.path(), &["verify"]).status, 0);
    assert!(refused(store.path(), &["cancel", "nothing"]).contains("no run in"));
}

#[test]
fn a_signal_waits_in_the_inbox_and_a_wrong_one_is_refused() {
    let store = written();
    let waiting = store.waiting.to_string();
    let told = printed(store.path(), &["signal", &waiting, "go", "{\"by\": \"ada\", \"count\": -3}"]);
    assert_eq!(told, format!("run {waiting} has the signal go\n"));
    assert_eq!(rows(store.path(), INBOX), 1);
    let json = printed(store.path(), &["signal", &waiting, "go", "-1", "--json"]);
    assert_eq!(json, format!("{{\"run\":\"{waiting}\",\"signal\":\"go\"}}\n"));
    assert!(refused(store.path(), &["signal", &waiting, "go", "yes"]).contains("a text needs its quotes"));
    let ended = refused(store.path(), &["signal", &store.failed.to_string(), "go", "1"]);
    assert!(ended.contains("has ended: it takes no signal go"), "{ended}");
    assert_eq!(rows(store.path(), INBOX), 2);
    assert_eq!(run(store.path(), &["verify"]).status, 0);
}

#[test]
fn a_run_is_resumed_to_its_end_by_the_program_that_has_its_task_and_by_no_other() {
    let store = written();
    let waiting = store.waiting.to_string();
    let refusal = refused(store.path(), &["resume", &waiting]);
    assert!(refusal.contains("of task release, which this program does not have"), "{refusal}");
    assert!(refusal.contains("relive_cli::main()"), "{refusal}");
    assert_eq!(state(store.path(), store.waiting), RunState::Unfinished);

    let preview = program(store.path(), true, &["resume", &waiting, "--preview"]);
    assert_eq!(preview.status, 0, "{}", preview.stderr);
    assert!(
        preview.stdout.contains("takes over:\n  fetch(") && preview.stdout.contains("would run:\n  approve("),
        "{}",
        preview.stdout
    );
    let before = events(store.path(), &waiting).len();

    let resumed = program(store.path(), true, &["resume", &waiting]);
    assert_eq!(resumed.status, 0, "{}", resumed.stderr);
    assert!(resumed.stdout.contains(&format!("run {waiting} completed: \"contents of")), "{}", resumed.stdout);
    assert!(events(store.path(), &waiting).len() > before);
    assert_eq!(state(store.path(), store.waiting), RunState::Completed);
    let again = program(store.path(), true, &["resume", &waiting]);
    assert_eq!(again.status, 1);
    assert!(again.stderr.contains("has completed: there is nothing to resume"), "{}", again.stderr);

    // What fails again says so.
    let failed = program(store.path(), false, &["resume", &store.failed.to_string(), "--json"]);
    assert_eq!(failed.status, 3, "{}", failed.stderr);
    let line: serde_json::Value = serde_json::from_str(&failed.stdout).unwrap();
    assert_eq!(line["state"], "failed");
    assert_eq!(run(store.path(), &["verify"]).status, 0);
}

#[test]
fn a_fork_shares_what_came_before_and_leaves_the_run_as_it_was() {
    let store = written();
    let run_id = store.continued.to_string();
    let log = events(store.path(), &run_id);
    let approved = log.iter().rposition(|event| event["event"] == "trace_completed").unwrap();

    let dry = program(store.path(), true, &["fork", &run_id, "--at", "1", "--dry"]);
    assert_eq!(dry.status, 0, "{}", dry.stderr);
    let shares = format!("a fork of run {run_id} would share its log up to event 1:\n  runs again  fetch(");
    assert!(dry.stdout.starts_with(&shares) && dry.stdout.contains("\nsame until event 2"), "{}", dry.stdout);
    let count = printed(store.path(), &["runs", "--json"]).lines().count();

    let set = program(store.path(), false, &["fork", &run_id, "--set", "approve=false"]);
    assert_eq!(set.status, 0, "{}", set.stderr);
    assert!(set.stdout.contains(&format!("shares the log of run {run_id} up to event {approved}")), "{}", set.stdout);
    assert!(set.stdout.contains("completed: \"refused\""), "{}", set.stdout);
    assert_eq!(events(store.path(), &run_id), log, "the run is as it was");
    let runs = printed(store.path(), &["runs", "--json"]);
    assert_eq!(runs.lines().count(), count + 1, "a dry fork leaves nothing");
    let fork = set.stdout.trim_start_matches("run ").split(' ').next().unwrap();
    let is_fork = |line: &&str| line.contains(&format!("{{\"run\":\"{fork}\""));
    let newest: serde_json::Value = serde_json::from_str(runs.lines().find(is_fork).unwrap()).unwrap();
    let shared = events(store.path(), fork);
    assert_eq!((&shared[0]["cause"], &shared[0]["forked"]["run"]), (&"forked".into(), &run_id.as_str().into()));
    assert_eq!((&newest["id"], &newest["state"]), (&serde_json::Value::Null, &"completed".into()));
    assert_eq!(shared[approved]["output"], false);
    assert!(printed(store.path(), &["show", fork]).contains(&format!("forked from run {run_id}")));
    assert_eq!(run(store.path(), &["verify"]).status, 0);

    // Up to its end: before that, as a fork goes on.
    let last = (log.len() - 1).to_string();
    let whole = program(store.path(), false, &["fork", &run_id, "--at", &last]);
    assert_eq!(whole.status, 0, "{}", whole.stderr);
    assert!(whole.stdout.contains(&format!("up to event {}", log.len() - 2)), "{}", whole.stdout);
}

/// What JSON and MessagePack do not write alike.
type Odd = (IpAddr, BTreeMap<u16, bool>, u128);

#[trace]
async fn odd() -> relive::Result<Odd> {
    Ok((IpAddr::from([127, 0, 0, 1]), BTreeMap::new(), 0))
}

#[task(allow(signal))]
async fn reads(of: Odd) -> relive::Result<String> {
    let (found, told): (Odd, Odd) = (odd().await?, relive::signal("odd").await?);
    Ok(format!("{of:?} {found:?} {told:?}"))
}

const GIVEN: &str = r#"["10.0.0.7", {"7": true}, 340282366920938463463374607431768211455]"#;

#[test]
fn a_value_on_the_command_line_is_read_as_the_type_it_is_for() {
    let directory = tempfile::tempdir().unwrap();
    let input: Odd = (IpAddr::from([10, 0, 0, 7]), BTreeMap::from([(7, true)]), u128::MAX);
    let run = block_on(async {
        let life = life(directory.path(), &clock(), false).await;
        let run = life.engine.start(reads(input.clone())).await.unwrap().id();
        life.engine.shutdown().await.unwrap();
        run.to_string()
    });
    printed(directory.path(), &["signal", &run, "odd", GIVEN]);
    let resumed = program(directory.path(), false, &["resume", &run, "--json"]);
    assert_eq!(resumed.status, 0, "{}", resumed.stderr);
    let (given, plain) = (format!("{input:?}"), "(127.0.0.1, {}, 0)");
    assert!(resumed.stdout.contains(&format!("{given} {plain} {given}")), "{}", resumed.stdout);

    // Up to its end, so that the signal is in what is shared.
    let (last, odd) = ((events(directory.path(), &run).len() - 1).to_string(), format!("odd={GIVEN}"));
    let fork = ["fork", &run, "--set", &odd, "--at", &last];
    let set = program(directory.path(), false, &[&fork[..], &["--json"]].concat());
    assert_eq!(set.status, 0, "{}{}", set.stdout, set.stderr);
    assert!(set.stdout.contains(&format!("{given} {given} {given}")), "{}", set.stdout);
    let dry = program(directory.path(), false, &[&fork[..], &["--dry"]].concat());
    assert!(dry.stdout.contains("same until"), "{}{}", dry.stdout, dry.stderr);

    // A run that took a signal need not have made an entry: what matters is that its arguments are read.
    let explain = |arguments: &[&str]| program(directory.path(), false, &[&["cache", "explain"], arguments].concat());
    let of_run = explain(&[&run]);
    let of_text = explain(&["--task", "reads", "--input", &format!("{{\"of\": {GIVEN}}}")]);
    assert_eq!(of_run.stderr, "");
    assert_eq!((of_run.status, of_run.stdout), (of_text.status, of_text.stdout), "the same call");
    let beyond = refused(directory.path(), &["signal", &run, "odd", "inf"]);
    assert!(beyond.contains("JSON, which has no infinity"), "{beyond}");
}

#[test]
fn a_fork_that_cannot_be_is_refused_and_one_of_another_type_waits() {
    let store = written();
    let run_id = store.continued.to_string();
    let refuse = |arguments: &[&str], why: &str| {
        let ran = program(store.path(), false, &[&["fork", &run_id], arguments].concat());
        assert_eq!(ran.status, 1, "{arguments:?}: {}", ran.stdout);
        assert!(ran.stderr.contains(why), "{arguments:?}: {}", ran.stderr);
    };
    refuse(&["--at", "999"], "it has no event 999");
    refuse(&["--set", "nothing=1"], "no trace `nothing`");
    refuse(&["--at", "1", "--set", "approve=true"], "has ended in what is shared");
    refuse(&["--set", "approve=\"yes\""], "approve");
    let failed = store.failed.to_string();
    let ambiguous = program(store.path(), false, &["fork", &failed, "--set", "fetch=\"x\"", "--dry"]);
    assert!(
        ambiguous.stderr.contains("2 traces are named `fetch`") && ambiguous.stderr.contains("`fetch#2`"),
        "{}",
        ambiguous.stderr
    );
    let second = program(store.path(), false, &["fork", &failed, "--set", "fetch#2=\"x y z\"", "--dry", "--json"]);
    assert_eq!(second.status, 0, "{}", second.stderr);
    for wrong in
        [&["fork", &run_id][..], &["fork", &run_id, "--set", "approve"], &["fork", &run_id, "--set", "approve=yes"]]
    {
        assert_eq!(program(store.path(), false, wrong).status, 2, "{wrong:?}");
    }
    let plain = refused(store.path(), &["fork", &run_id, "--at", "1"]);
    assert!(plain.contains("which this program does not have"), "{plain}");
}

#[test]
fn runs_are_deleted_with_all_that_is_stored_of_them() {
    let store = written();
    let dry = printed(store.path(), &["gc", "--older-than", "0s", "--dry"]);
    assert_eq!(dry, "2 runs would be deleted, 1 run kept\n");
    assert_eq!(printed(store.path(), &["runs", "--json"]).lines().count(), 3);
    let kept = printed(store.path(), &["gc", "--keep", "1"]);
    assert_eq!(kept, "0 runs deleted, 3 runs kept\n", "each task has one");
    let old = printed(store.path(), &["gc", "--older-than", "36500d", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&old).unwrap()["deleted"], 0);
    let failed = printed(store.path(), &["gc", "--older-than", "0s", "--status", "failed"]);
    assert_eq!(failed, "1 run deleted, 2 runs kept\n");
    assert!(refused(store.path(), &["show", &store.failed.to_string()]).contains("no run in"));
    let cached = printed(store.path(), &["cache", "list", "--json"]).lines().count();
    assert_eq!(printed(store.path(), &["gc", "--older-than", "0s"]), "1 run deleted, 1 run kept\n");
    let left = store.waiting.to_string();
    assert!(printed(store.path(), &["runs", "--json"]).contains(&left));
    assert_eq!(printed(store.path(), &["cache", "list", "--json"]).lines().count(), cached, "an entry owns its copies");
    assert_eq!(run(store.path(), &["verify"]).status, 0);
    assert_eq!((rows(store.path(), IDS), rows(store.path(), TAGS)), (1, 0), "the id of the run that waits");
    let log = RocksReader::open(store.path(), SCHEMA.format).unwrap();
    let page = log.scan(LOG, &KeyRange::all(), Order::Ascending, PageLimit::default()).unwrap();
    assert!(page.rows.iter().all(|row| row.key.starts_with(store.waiting.as_bytes())));
    for wrong in
        [&["gc"][..], &["gc", "--dry"], &["gc", "--older-than", "soon"], &["gc", "--keep", "1", "--status", "old"]]
    {
        assert_eq!(run(store.path(), wrong).status, 2, "{wrong:?}");
    }
}

#[test]
fn the_cache_is_listed_explained_and_emptied() {
    let directory = tempfile::tempdir().unwrap();
    let counted = block_on(async {
        let life = life(directory.path(), &clock(), false).await;
        let counted = life.count(2).await;
        life.count(3).await;
        life.engine.shutdown().await.unwrap();
        counted.to_string()
    });
    let lines = printed(directory.path(), &["cache", "list", "--json"]);
    let entries: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|entry| entry["task"] == "count" && entry["uses"][0] == "fetch"), "{lines}");
    let table = printed(directory.path(), &["cache", "list", "--task", "count", "-n", "1"]);
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("count {\"to\":"), "{table}");
    assert_eq!(printed(directory.path(), &["cache", "list", "--task", "other"]), "no entries\n");

    let explain = |arguments: &[&str]| program(directory.path(), false, &[&["cache", "explain"], arguments].concat());
    let hit = explain(&[&counted]);
    assert_eq!(
        (hit.status, hit.stdout.starts_with("hit: task count has a result of run")),
        (0, true),
        "{}{}",
        hit.stdout,
        hit.stderr
    );
    let miss = explain(&["--task", "count", "--input", "{\"to\": 4}", "--json"]);
    assert_eq!(miss.status, 3, "{}", miss.stderr);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&miss.stdout).unwrap()["would"], "miss");
    let wrong = explain(&["--task", "count", "--input", "{\"from\": 4}"]);
    assert!(
        wrong.status == 1 && wrong.stderr.contains("these are not the arguments of task count"),
        "{}",
        wrong.stderr
    );
    let unknown = refused(directory.path(), &["cache", "explain", &counted]);
    assert!(unknown.contains("there is no task count in this program"), "{unknown}");

    let key = entries[0]["key"].as_str().unwrap();
    assert!(refused(directory.path(), &["cache", "evict", "abc"]).contains("is no key of an entry"));
    assert_eq!(printed(directory.path(), &["cache", "evict", key]), "1 entry was thrown out\n");
    assert_eq!(printed(directory.path(), &["cache", "evict", key, "--json"]), "{\"evicted\":0}\n");
    assert_eq!(printed(directory.path(), &["cache", "evict", "--task", "count"]), "1 entry was thrown out\n");
    assert_eq!(printed(directory.path(), &["cache", "evict", "--all"]), "0 entries were thrown out\n");
    assert_eq!(run(directory.path(), &["cache", "evict"]).status, 2);
    assert_eq!(run(directory.path(), &["verify"]).status, 0);
}

#[test]
fn a_directory_that_is_held_or_cannot_be_made_is_refused_by_name() {
    let store = written();
    let held = RocksStore::open(store.path(), &SCHEMA).unwrap();
    let waiting = store.waiting.to_string();
    for command in [
        &["cancel", &waiting][..],
        &["signal", &waiting, "go", "1"],
        &["gc", "--keep", "1"],
        &["cache", "evict", "--all"],
    ] {
        let refusal = refused(store.path(), command);
        assert!(refusal.contains("it does not answer on the directory's socket"), "{command:?}: {refusal}");
    }
    drop(held);
    assert_eq!(state(store.path(), store.waiting), RunState::Unfinished);
    // Nobody can make a directory there, not even root.
    let nowhere = Path::new("/proc/relive");
    let file = store.path().join("export");
    printed(store.path(), &["export", &waiting, "-o", file.to_str().unwrap()]);
    assert!(refused(nowhere, &["import", file.to_str().unwrap()]).contains("/proc/relive"));
    for command in [&["cancel", &waiting][..], &["gc", "--keep", "1"], &["cache", "list"]] {
        assert!(refused(nowhere, command).contains("there is no such directory"), "{command:?}");
    }
}

#[test]
fn shells_complete_every_command() {
    let nowhere = Path::new("/nonexistent");
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(nowhere, &["completions", shell]);
        for word in ["verify", "older-than", "completions", "preview"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(run(nowhere, &["completions", "csh"]).status, 2);
}
