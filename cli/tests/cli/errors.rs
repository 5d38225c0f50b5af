//! What goes wrong: told on standard error, by name, with an exit status.

use std::fs;

use relive_engine::log::LOG;
use relive_engine::schema::SCHEMA;
use relive_storage::{Durability, KeyRange, Operation, Order, PageLimit, Read as _, RocksStore, Store as _, Write};

use crate::stores::written;
use crate::{refused, run};

#[test]
fn a_directory_that_is_no_store_is_refused_by_name_and_left_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let missing = parent.path().join("missing");
    let message = refused(&missing, &["runs"]);
    assert!(message.contains("missing: there is no such directory") && message.contains("RELIVE_DIR"), "{message}");
    assert!(!missing.exists());

    let file = parent.path().join("file");
    fs::write(&file, "text").unwrap();
    assert!(refused(&file, &["runs"]).contains("this is a file"));

    let foreign = parent.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    assert!(refused(&foreign, &["runs"]).contains("holds no store yet"));
    fs::write(foreign.join("notes.txt"), "text").unwrap();
    assert!(refused(&foreign, &["runs"]).contains("not a Relive store"));
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
}

#[test]
fn a_newer_format_is_refused() {
    let store = written();
    fs::write(store.path().join("RELIVE"), "relive store format 999\n").unwrap();
    assert!(refused(store.path(), &["runs"]).contains("format 999"));
}

#[test]
fn a_damaged_record_is_named_and_what_precedes_it_is_shown() {
    let store = written();
    let rocks = RocksStore::open(store.path(), &SCHEMA).unwrap();
    let range = KeyRange::prefix(store.failed.as_bytes());
    let rows = rocks.scan(LOG, &range, Order::Ascending, PageLimit::default()).unwrap().rows;
    let mut row = rows[2].clone();
    *row.value.last_mut().unwrap() ^= 1;
    let operations = vec![Operation::Put { keyspace: LOG, key: row.key.clone(), value: row.value }];
    rocks.commit(&[Write { preconditions: vec![], operations }], Durability::Buffered).unwrap();
    drop(rocks);

    let sequence = u64::from_be_bytes(row.key[16..].try_into().unwrap());
    let place = format!("run {} at event {sequence}", store.failed);
    for command in ["show", "log"] {
        let ran = run(store.path(), &[command, &store.failed.to_string()]);
        assert_eq!(ran.status, 1);
        assert!(ran.stderr.contains(&place) && ran.stderr.contains("checksum"), "{}", ran.stderr);
        assert!(ran.stdout.contains("fetch(\"https://example.org/a\")"), "{}", ran.stdout);
    }
    // The other runs are none the worse.
    assert_eq!(run(store.path(), &["show", &store.continued.to_string()]).status, 0);
    assert_eq!(run(store.path(), &["runs"]).status, 0);
}

#[test]
fn what_an_error_quotes_does_nothing_to_a_terminal() {
    let store = written();
    let odd = "no\u{1b}[2Jsuch\u{202e}\u{200b}\u{e0041}\nrelive: all is well";
    for arguments in [
        &["cache", "explain", "--task", odd, "--input", "{}"] as &[&str],
        &["resume", odd],
        &["export", &store.failed.to_string(), "-o", odd, "--redact", odd],
        &["export", &store.failed.to_string(), "-o", &format!("/nonexistent/{odd}")],
        &["export", &store.failed.to_string(), "--test", odd],
        &["import", odd],
        &["check", odd],
        &["--dir", odd, "runs"],
    ] {
        let message = refused(store.path(), arguments);
        assert!(message.contains("\\u001b[2Jsuch\\u202e\\u200b\\udb40\\udc41"), "{arguments:?}: {message}");
        assert!(!message.chars().any(|c| c != '\n' && c.is_control()), "{arguments:?}: {message}");
        assert!(message.lines().skip(1).all(|line| line.starts_with("  ")), "{arguments:?}: {message}");
    }
}

#[test]
fn a_wrong_command_line_has_a_status_of_its_own() {
    let nowhere = std::path::Path::new("/nonexistent");
    for wrong in [
        &["show"] as &[&str],
        &["show", ""],
        &["runs", "--limit", "x"],
        &["frobnicate"],
        &[],
        &["runs", "--color", "red"],
    ] {
        let ran = run(nowhere, wrong);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{wrong:?}");
        assert!(ran.stderr.contains("--help"), "{wrong:?}: {}", ran.stderr);
    }
    assert_eq!(run(nowhere, &["--help"]).status, 0);
    assert_eq!(run(nowhere, &["--version"]).stdout, format!("relive {}\n", env!("CARGO_PKG_VERSION")));
}
