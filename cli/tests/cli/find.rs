//! Which run a text names.

use insta::assert_snapshot;

use crate::stores::written;
use crate::{printed, refused};

#[test]
fn a_run_is_named_by_its_id_a_unique_beginning_or_its_callers_id() {
    let store = written();
    let id = store.waiting.to_string();
    let whole = printed(store.path(), &["show", &id]);
    // The ids differ in their first 10 characters, as the runs began at different times.
    assert_eq!(printed(store.path(), &["show", &id[..10]]), whole);
    assert_eq!(printed(store.path(), &["show", &id[..10].to_lowercase()]), whole);
    assert_eq!(printed(store.path(), &["show", &id.to_lowercase()]), whole);
    assert_eq!(printed(store.path(), &["show", "release 1.1"]), whole);
}

#[test]
fn an_ambiguous_beginning_is_refused_with_the_candidates() {
    let store = written();
    assert_snapshot!(store.redacted(&refused(store.path(), &["show", "01K"])));
    assert_eq!(refused(store.path(), &["log", "01K"]), refused(store.path(), &["show", "01K"]));
}

#[test]
fn an_unknown_run_is_refused_with_the_newest_ones() {
    let store = written();
    for unknown in ["7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "01Z", "nightly\u{1b}[2J", "ü", "8", &"0".repeat(2000)] {
        let message = refused(store.path(), &["show", unknown]);
        assert!(message.contains("no run in ") && message.contains(&store.waiting.to_string()), "{message}");
        assert!(!message.contains('\u{1b}'));
    }
    assert_snapshot!(store.redacted(&refused(store.path(), &["show", "nightly"])));
}
