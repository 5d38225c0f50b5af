//! `relive step`: what was going on at an event, printed.

use insta::assert_snapshot;
use relive_engine::log::LOG;
use relive_engine::schema::SCHEMA;
use relive_storage::{Durability, KeyRange, Operation, Order, PageLimit, Read as _, RocksStore, Store as _, Write};

use crate::stores::written;
use crate::{everything, printed, refused, run};

#[test]
fn a_moment_shows_its_event_and_what_was_going_on() {
    let store = written();
    let failed = store.failed.to_string();
    assert_snapshot!("step_failed_6", store.redacted(&printed(store.path(), &["step", &failed, "--at", "6"])));
    // Without a terminal, and without an event: the end.
    assert_snapshot!("step_waiting", store.redacted(&printed(store.path(), &["step", &store.waiting.to_string()])));
}

#[test]
fn attempts_tries_items_children_and_signals_are_shown_where_they_were() {
    let store = everything::written();
    let settled = store.settled.to_string();
    let events = printed(store.path(), &["log", &settled]).lines().count();
    let all: Vec<String> =
        (0..events).map(|at| printed(store.path(), &["step", &settled, "--at", &at.to_string()])).collect();
    for (at, text) in all.iter().enumerate() {
        assert!(text.contains(&format!("event {at} of {events}, 0 to {}", events - 1)), "{text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text}");
    }
    let of = |part: &str| all.iter().find(|text| text.contains(part)).unwrap_or_else(|| panic!("nowhere: {part}"));
    of("2 items, the last 1");
    of("1 try failed (the next in 2.00 s): the bank is busy");
    of("called by the effect of event");
    of("the attempt has ended: err order 7 is lost");
    of("attempt 2 (resumed)");
    assert!(of("signals: 1").contains("discount = 2"));
    let child =
        of("count(1)").split_once("run ").is_some() && all.iter().any(|text| text.contains(&store.child.to_string()));
    assert!(child, "the child's run is named");
}

#[test]
fn a_moment_is_an_object_for_programs() {
    let store = written();
    let failed = store.failed.to_string();
    let text = printed(store.path(), &["step", &failed, "--at", "6", "--json"]);
    assert_snapshot!("step_json_failed_6", store.redacted(&text));
    let count = printed(store.path(), &["log", &failed]).lines().count();
    for at in 0..count {
        let text = printed(store.path(), &["step", &failed, "--at", &at.to_string(), "--json"]);
        let state: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&state["at"], &state["events"], &state["event"]["sequence"]),
            (&at.into(), &count.into(), &at.into())
        );
        let (open, totals) = (state["open"].as_array().unwrap().len() as u64, &state["totals"]);
        let sum = ["ok", "err", "dropped"].iter().map(|end| totals[end].as_u64().unwrap()).sum::<u64>();
        assert_eq!(totals["started"], sum + open, "{text}");
    }
    let last: serde_json::Value = serde_json::from_str(&printed(store.path(), &["step", &failed, "--json"])).unwrap();
    assert_eq!((&last["at"], &last["ended"]["outcome"]), (&(count - 1).into(), &"err".into()));
}

#[test]
fn an_event_that_is_not_there_says_how_many_there_are() {
    let store = written();
    let failed = store.failed.to_string();
    let count = printed(store.path(), &["log", &failed]).lines().count();
    for at in [count.to_string(), u64::MAX.to_string()] {
        for json in [&["--color", "never"] as &[&str], &["--json"]] {
            let message = refused(store.path(), &[&["step", failed.as_str(), "--at", &at], json].concat());
            let expected = format!("has no event {at}: its log has {count} events so far, 0 to {}", count - 1);
            assert!(message.contains(&expected), "{message}");
        }
    }
    assert!(refused(store.path(), &["step", "no such run"]).contains("no run in"));
    for wrong in ["-1", "x", "1.5", ""] {
        assert_eq!(run(store.path(), &["step", &failed, "--at", wrong]).status, 2, "{wrong}");
    }
}

#[test]
fn a_damaged_log_is_shown_up_to_its_damage() {
    let store = written();
    let rocks = RocksStore::open(store.path(), &SCHEMA).unwrap();
    let range = KeyRange::prefix(store.failed.as_bytes());
    let mut row = rocks.scan(LOG, &range, Order::Ascending, PageLimit::default()).unwrap().rows.swap_remove(2);
    *row.value.last_mut().unwrap() ^= 1;
    let at = u64::from_be_bytes(row.key[16..].try_into().unwrap());
    let operations = vec![Operation::Put { keyspace: LOG, key: row.key, value: row.value }];
    rocks.commit(&[Write { preconditions: vec![], operations }], Durability::Buffered).unwrap();
    drop(rocks);

    let failed = store.failed.to_string();
    let place = format!("run {failed} at event {at}");
    // At the end: the last event before the damage, and the damage.
    let ran = run(store.path(), &["step", &failed]);
    assert_eq!(ran.status, 1);
    assert!(ran.stdout.contains(&format!("event {} of {at}", at - 1)), "{}", ran.stdout);
    assert!(ran.stderr.contains(&place) && ran.stderr.contains("checksum"), "{}", ran.stderr);
    // Before it all is well; behind it there is nothing but the reason.
    assert_eq!(run(store.path(), &["step", &failed, "--at", "1"]).status, 0);
    let ran = run(store.path(), &["step", &failed, "--at", &at.to_string()]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains(&place), "{}", ran.stderr);
}
