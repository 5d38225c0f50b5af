//! `relive export` and `relive import`: there and back, and what is refused.

use std::fs;
use std::path::Path;

use crate::stores::written;
use crate::{printed, refused, relive, run};

/// The path as an argument.
fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn an_exported_run_reads_the_same_where_it_is_imported() {
    let store = written();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("run.relive");
    let into = elsewhere.path().join("new");
    for run in [store.failed, store.continued, store.waiting].map(|run| run.to_string()) {
        let told = printed(store.path(), &["export", &run, "-o", text(&file)]);
        assert!(told.contains("run.relive: 1 run, "), "{told}");
        let piped = relive(store.path(), &["export", &run]).output().unwrap();
        assert_eq!(piped.stdout, fs::read(&file).unwrap(), "standard output gets the same bytes");
        let told = printed(&into, &["import", text(&file)]);
        assert!(told.starts_with(&format!("run {run} is in ")), "{told}");
        assert_eq!(printed(&into, &["log", &run]), printed(store.path(), &["log", &run]));
        let again = printed(&into, &["import", text(&file), "--json"]);
        let again: serde_json::Value = serde_json::from_str(&again).unwrap();
        assert_eq!((&again["present"], &again["run"]), (&1.into(), &run.as_str().into()));
    }
    // The directory of the file holds nothing but what was asked for.
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 2);
    let shown = printed(&into, &["show", &store.waiting.to_string()]);
    assert!(shown.contains("parked") && shown.contains("imported"), "{shown}");
}

#[test]
fn redacted_fields_are_left_out_and_named() {
    let store = written();
    let directory = tempfile::tempdir().unwrap();
    let (file, into) = (directory.path().join("run"), directory.path().join("new"));
    let run = store.continued.to_string();
    let json = printed(store.path(), &["export", &run, "-o", text(&file), "--redact", "url,version", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["redacted"], &json["redacted_values"]), (&serde_json::json!(["url", "version"]), &2.into()));
    let told = printed(&into, &["import", text(&file)]);
    assert!(told.contains("redacted: url, version: these runs may not replay"), "{told}");
    let log = printed(&into, &["log", &run]);
    assert!(log.contains("fetch(\"[redacted]\")") && !log.contains("fetch(\"https"), "{log}");

    let refusal =
        refused(store.path(), &["export", &run, "-o", text(&directory.path().join("no")), "--redact", "urll"]);
    assert!(refusal.contains("has a field `urll`: nothing was exported"), "{refusal}");
    assert!(!directory.path().join("no").exists());
    let refusal = refused(store.path(), &["export", &run, "--redact", "user..name"]);
    assert!(refusal.contains("`user..name` is none"), "{refusal}");
}

#[test]
fn what_is_no_whole_export_is_refused_by_name_and_no_directory_is_made() {
    let store = written();
    let directory = tempfile::tempdir().unwrap();
    let (file, into) = (directory.path().join("run"), directory.path().join("new"));
    printed(store.path(), &["export", &store.failed.to_string(), "-o", text(&file)]);
    let whole = fs::read(&file).unwrap();
    let refuse = |bytes: &[u8], why: &str| {
        fs::write(&file, bytes).unwrap();
        let refusal = refused(&into, &["import", text(&file)]);
        assert!(refusal.contains(text(&file)) && refusal.contains(why), "{refusal}");
        assert!(!into.exists());
    };
    refuse(&whole[..whole.len() / 2], "cut off");
    refuse(&[], "it is empty");
    refuse(b"PK\x03\x04 and so on", "begins with other bytes");
    let mut newer = whole.clone();
    newer[8] = 9;
    refuse(&newer, "format version 9, this program reads up to 1");
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 4;
    refuse(&damaged, "");
    let refusal = refused(&into, &["import", text(&directory.path().join("missing"))]);
    assert!(refusal.contains("cannot be read: No such file"), "{refusal}");
    assert!(refused(&into, &["import", text(directory.path())]).contains("it is a directory"));
}

#[test]
fn what_cannot_be_exported_or_written_is_refused() {
    let store = written();
    let directory = tempfile::tempdir().unwrap();
    let refusal = refused(store.path(), &["export", "7ZZZZZZZZZ", "-o", text(&directory.path().join("x"))]);
    assert!(refusal.contains("no run in"), "{refusal}");
    assert!(refused(store.path(), &["export", "0"]).contains("begins the ids of several runs"));
    let run_id = store.failed.to_string();
    let refusal = refused(store.path(), &["export", &run_id, "-o", "/nonexistent/x"]);
    assert!(refusal.contains("/nonexistent/x cannot be written"), "{refusal}");
    let refusal = refused(store.path(), &["export", &run_id, "-o", text(directory.path())]);
    assert!(refusal.contains("it is a directory"), "{refusal}");
    // Somebody else writes to the directory.
    let file = directory.path().join("run");
    printed(store.path(), &["export", &run_id, "-o", text(&file)]);
    let held = relive_storage::RocksStore::open(store.path(), &relive_engine::schema::SCHEMA).unwrap();
    assert!(refused(store.path(), &["import", text(&file)]).contains("process"));
    drop(held);
    assert_eq!(run(store.path(), &["import", text(&file)]).status, 0);
}

#[test]
fn a_test_that_replays_a_run_is_written_as_the_one_that_is_compiled_in_the_tests() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tests");
    let directory = tempfile::tempdir().unwrap();
    let (store, package) = (directory.path().join("store"), directory.path().join("package"));
    printed(&store, &["import", text(&tests.join("exported.relive"))]);
    fs::create_dir_all(package.join("src")).unwrap();
    fs::create_dir_all(package.join("tests")).unwrap();
    fs::write(package.join("src/lib.rs"), "").unwrap();
    fs::write(package.join("Cargo.toml"), "[package]\nname = \"relive-tests\"\n\n[[bin]]\nname = \"other\"\n").unwrap();
    let line = printed(&store, &["runs", "--json"]);
    let is_order = |line: &&str| line.contains("\"task\":\"exported.order\"");
    let order: serde_json::Value = serde_json::from_str(line.lines().find(is_order).unwrap()).unwrap();
    let test = package.join("tests/exported.rs");
    let export = ["export", order["run"].as_str().unwrap(), "--test", text(&test)];
    let told = printed(&store, &export);
    assert!(told.contains("exported.rs: a test that replays it"), "{told}");
    if std::env::var_os("RELIVE_WRITE_FIXTURE").is_some() {
        fs::copy(&test, tests.join("exported.rs")).unwrap();
        fs::copy(package.join("tests/exported.relive"), tests.join("exported.relive")).unwrap();
    }
    assert_eq!(fs::read_to_string(&test).unwrap(), fs::read_to_string(tests.join("exported.rs")).unwrap());
    assert_eq!(
        fs::read(package.join("tests/exported.relive")).unwrap(),
        fs::read(tests.join("exported.relive")).unwrap()
    );
    assert!(refused(&store, &export).contains("is there already"), "a test is never written over");
    // A test beside a package that is only a binary could not find the task.
    fs::remove_file(package.join("src/lib.rs")).unwrap();
    fs::write(package.join("src/main.rs"), "fn main() {}").unwrap();
    let beside = package.join("tests/beside.rs");
    let refusal = refused(&store, &["export", order["run"].as_str().unwrap(), "--test", text(&beside)]);
    assert!(
        refusal.contains("the package relive-tests is only a binary") && refusal.contains("src/lib.rs"),
        "{refusal}"
    );
    assert!(!beside.exists() && !beside.with_extension("relive").exists());
    let inside = package.join("src/replayed.rs");
    printed(&store, &["export", order["run"].as_str().unwrap(), "--test", text(&inside)]);
    assert!(!fs::read_to_string(&inside).unwrap().contains("use relive_tests"), "its binary has the task");
    let no_rust = package.join("tests/order.txt");
    let elsewhere = ["export", order["run"].as_str().unwrap(), "--test", text(&no_rust)];
    assert!(refused(&store, &elsewhere).contains("does not end in .rs"));
}
