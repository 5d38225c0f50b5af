//! The promises of [`Store`], as a suite that any implementation can be held to.
//!
//! Behind the feature `testing`; run by this crate's tests on every store, and by whoever writes another one.
//!
//! Invariant: every promise is stated by the name of one function, and begins with an empty store.

mod model;

use crate::{
    Durability, KeyRange, Keyspace, KeyspaceOptions, Operation, Order, Outcome, Page, PageLimit, Precondition, Row,
    Schema, Store, Usage, Write, after,
};
pub use model::agrees_with_model;

/// Used as [`Usage::Log`].
pub const LOG: Keyspace = Keyspace::new("log");
/// Used as [`Usage::Index`].
pub const INDEX: Keyspace = Keyspace::new("index");
/// Used as [`Usage::Queue`].
pub const QUEUE: Keyspace = Keyspace::new("queue");
/// The keyspaces of the suite, for a store that wants to know them beforehand.
pub const SCHEMA: Schema = Schema {
    keyspaces: &[
        KeyspaceOptions { keyspace: LOG, usage: Usage::Log },
        KeyspaceOptions { keyspace: INDEX, usage: Usage::Index },
        KeyspaceOptions { keyspace: QUEUE, usage: Usage::Queue },
    ],
    format: 1,
};

/// Holds a store to every promise. `open` gives an empty store each time.
///
/// # Panics
/// At the first promise that is not kept.
pub fn check<S: Store>(open: impl Fn() -> S) {
    let promises: [fn(&S); 13] = [
        a_put_value_is_read_back,
        a_later_operation_wins_over_an_earlier_one,
        deleting_what_is_not_there_is_no_error,
        a_deleted_range_is_gone_and_its_neighbours_are_not,
        a_deleted_range_is_seen_by_later_writes_of_the_same_commit,
        keyspaces_do_not_see_each_other,
        a_write_is_refused_whole,
        the_first_precondition_that_does_not_hold_is_named,
        preconditions_see_earlier_writes_of_the_same_commit,
        a_refused_write_is_not_seen_by_later_ones,
        a_commit_with_nothing_to_apply_returns_outcomes,
        a_scan_gives_its_range_in_order,
        pages_end_at_their_limit_and_go_on_behind_it,
    ];
    for promise in promises {
        promise(&open());
    }
}

fn a_put_value_is_read_back<S: Store>(store: &S) {
    for keyspace in [LOG, INDEX, QUEUE] {
        for value in [vec![], vec![0], vec![7; 300], vec![9; 100_000]] {
            for key in [vec![], vec![0], vec![255; 16], vec![255; 300]] {
                applied(store, &[put(keyspace, &key, &value)]);
                assert_eq!(get(store, keyspace, &key).as_ref(), Some(&value));
            }
        }
        assert_eq!(get(store, keyspace, b"elsewhere"), None);
    }
}

fn a_later_operation_wins_over_an_earlier_one<S: Store>(store: &S) {
    let mut first = put(LOG, b"key", b"1");
    first.operations.extend(put(LOG, b"key", b"2").operations);
    applied(store, &[first]);
    assert_eq!(get(store, LOG, b"key").as_deref(), Some(&b"2"[..]));

    applied(store, &[put(LOG, b"key", b"3"), delete(LOG, b"key")]);
    assert_eq!(get(store, LOG, b"key"), None);

    applied(store, &[delete(LOG, b"key"), put(LOG, b"key", b"4")]);
    assert_eq!(get(store, LOG, b"key").as_deref(), Some(&b"4"[..]));
}

fn deleting_what_is_not_there_is_no_error<S: Store>(store: &S) {
    applied(store, &[delete(QUEUE, b"key")]);
    assert_eq!(get(store, QUEUE, b"key"), None);
}

fn a_deleted_range_is_gone_and_its_neighbours_are_not<S: Store>(store: &S) {
    for keyspace in [LOG, INDEX, QUEUE] {
        for run in 0..4_u8 {
            applied(
                store,
                &[put(keyspace, &[run; 16], b"first"), put(keyspace, &[&[run; 16][..], b"2"].concat(), &[7; 20_000])],
            );
        }
        applied(store, &[delete_range(keyspace, &[1; 16], &[3; 16])]);
        store.reclaim(keyspace, &KeyRange { start: vec![1; 16], end: Some(vec![3; 16]) }).expect("space is given back");
        let left = scan(store, keyspace, &KeyRange::all(), Order::Ascending, PageLimit::default());
        let left: Vec<u8> = left.rows.iter().map(|row| row.key[0]).collect();
        assert_eq!(left, [0, 0, 3, 3]);
        assert_eq!(get(store, keyspace, &[2; 16]), None);
        // A range that ends before it begins holds nothing; a key that was deleted can be put again.
        applied(store, &[delete_range(keyspace, &[9], &[0]), delete_range(keyspace, &[0], &[0])]);
        applied(store, &[put(keyspace, &[2; 16], b"again")]);
        assert_eq!(get(store, keyspace, &[2; 16]).as_deref(), Some(&b"again"[..]));
    }
}

fn a_deleted_range_is_seen_by_later_writes_of_the_same_commit<S: Store>(store: &S) {
    applied(store, &[put(INDEX, b"b", b"1"), put(INDEX, b"d", b"1")]);
    let outcomes = commit(
        store,
        &[
            put(INDEX, b"c", b"1"),
            delete_range(INDEX, b"b", b"d"),
            put(INDEX, b"x", b"").when(equals(INDEX, b"b", b"1")),
            put(INDEX, b"c", b"2").when(absent(INDEX, b"c")),
            put(INDEX, b"b", b"2").when(absent(INDEX, b"b")),
            put(INDEX, b"y", b"").when(equals(INDEX, b"c", b"2")).when(equals(INDEX, b"d", b"1")),
        ],
    );
    let (applied, refused) = (Outcome::Applied, Outcome::Refused { precondition: 0 });
    assert_eq!(outcomes, [applied, applied, refused, applied, applied, applied]);
    assert_eq!(get(store, INDEX, b"b").as_deref(), Some(&b"2"[..]));
    assert_eq!(get(store, INDEX, b"x"), None);
}

fn keyspaces_do_not_see_each_other<S: Store>(store: &S) {
    applied(store, &[put(LOG, b"key", b"log"), put(INDEX, b"key", b"index"), delete(QUEUE, b"key")]);
    assert_eq!(get(store, LOG, b"key").as_deref(), Some(&b"log"[..]));
    assert_eq!(get(store, INDEX, b"key").as_deref(), Some(&b"index"[..]));
    assert_eq!(scan(store, QUEUE, &KeyRange::all(), Order::Ascending, PageLimit::default()).rows, []);
}

fn a_write_is_refused_whole<S: Store>(store: &S) {
    applied(store, &[put(INDEX, b"there", b"1")]);
    let write = put(INDEX, b"other", b"2").when(absent(INDEX, b"missing")).when(absent(INDEX, b"there"));
    assert_eq!(commit(store, &[write]), [Outcome::Refused { precondition: 1 }]);
    assert_eq!(get(store, INDEX, b"other"), None);
}

fn the_first_precondition_that_does_not_hold_is_named<S: Store>(store: &S) {
    applied(store, &[put(INDEX, b"key", b"1"), put(INDEX, b"empty", b"")]);
    let refused = |precondition| [Outcome::Refused { precondition }];
    let write = || put(INDEX, b"new", b"");
    assert_eq!(commit(store, &[write().when(equals(INDEX, b"key", b"12"))]), refused(0));
    assert_eq!(commit(store, &[write().when(equals(INDEX, b"key", b""))]), refused(0));
    assert_eq!(commit(store, &[write().when(equals(INDEX, b"missing", b""))]), refused(0));
    assert_eq!(commit(store, &[write().when(absent(INDEX, b"empty"))]), refused(0));
    let held = write().when(equals(INDEX, b"key", b"1")).when(equals(INDEX, b"empty", b""));
    assert_eq!(commit(store, &[held.clone().when(absent(INDEX, b"key")).when(absent(INDEX, b"empty"))]), refused(2));
    assert_eq!(commit(store, &[held]), [Outcome::Applied]);
}

fn preconditions_see_earlier_writes_of_the_same_commit<S: Store>(store: &S) {
    let outcomes = commit(
        store,
        &[
            put(INDEX, b"key", b"1").when(absent(INDEX, b"key")),
            put(INDEX, b"key", b"2").when(absent(INDEX, b"key")),
            put(INDEX, b"key", b"3").when(equals(INDEX, b"key", b"1")),
            delete(INDEX, b"key").when(equals(INDEX, b"key", b"3")),
            put(INDEX, b"key", b"4").when(absent(INDEX, b"key")),
        ],
    );
    let (applied, refused) = (Outcome::Applied, Outcome::Refused { precondition: 0 });
    assert_eq!(outcomes, [applied, refused, applied, applied, applied]);
    assert_eq!(get(store, INDEX, b"key").as_deref(), Some(&b"4"[..]));
}

fn a_refused_write_is_not_seen_by_later_ones<S: Store>(store: &S) {
    let outcomes = commit(
        store,
        &[
            put(INDEX, b"key", b"1").when(equals(INDEX, b"key", b"0")),
            put(INDEX, b"key", b"2").when(absent(INDEX, b"key")),
        ],
    );
    assert_eq!(outcomes, [Outcome::Refused { precondition: 0 }, Outcome::Applied]);
    assert_eq!(get(store, INDEX, b"key").as_deref(), Some(&b"2"[..]));
}

fn a_commit_with_nothing_to_apply_returns_outcomes<S: Store>(store: &S) {
    assert_eq!(commit(store, &[]), []);
    assert_eq!(commit(store, &[Write::default()]), [Outcome::Applied]);
    let refused = Write::default().when(equals(LOG, b"key", b""));
    assert_eq!(commit(store, &[refused]), [Outcome::Refused { precondition: 0 }]);
}

fn a_scan_gives_its_range_in_order<S: Store>(store: &S) {
    let all: Vec<Row> = (0..40_u8).map(|key| Row { key: vec![key / 10; 16], value: vec![key] }).collect();
    // Four prefixes of 16 bytes, ten rows each.
    let all: Vec<Row> = all.into_iter().map(|row| Row { key: [row.key, row.value.clone()].concat(), ..row }).collect();
    for row in &all {
        applied(store, &[put(LOG, &row.key, &row.value)]);
    }
    let first = |index: usize| all[index].key.clone();
    let ranges = [
        (KeyRange::all(), 0..40),
        (KeyRange::prefix(&[1; 16]), 10..20),
        (KeyRange { start: first(12), end: Some(first(18)) }, 12..18),
        (KeyRange { start: first(12), end: Some(first(33)) }, 12..33),
        (KeyRange { start: after(&first(12)), end: None }, 13..40),
        (KeyRange { start: first(12), end: Some(first(12)) }, 0..0),
        (KeyRange { start: first(12), end: Some(first(2)) }, 0..0),
        (KeyRange::prefix(&[9]), 0..0),
    ];
    for (range, rows) in ranges {
        let mut expected = all[rows].to_vec();
        assert_eq!(scan(store, LOG, &range, Order::Ascending, PageLimit::default()).rows, expected, "{range:?}");
        expected.reverse();
        assert_eq!(scan(store, LOG, &range, Order::Descending, PageLimit::default()).rows, expected, "{range:?}");
    }
}

fn pages_end_at_their_limit_and_go_on_behind_it<S: Store>(store: &S) {
    for key in 0..10 {
        applied(store, &[put(QUEUE, &[key], &[key; 9])]);
    }
    let page = |limit| scan(store, QUEUE, &KeyRange::all(), Order::Ascending, limit);
    let limit = PageLimit { row_count: 3, bytes: usize::MAX };
    assert_eq!((page(limit).rows.len(), page(limit).more), (3, true));
    // A row has ten bytes: the third reaches 25.
    let limit = PageLimit { row_count: usize::MAX, bytes: 25 };
    assert_eq!((page(limit).rows.len(), page(limit).more), (3, true));
    // However small the limit, a scan gets on.
    let limit = PageLimit { row_count: 0, bytes: 0 };
    assert_eq!((page(limit).rows.len(), page(limit).more), (1, true));
    let limit = PageLimit { row_count: 11, bytes: 101 };
    assert_eq!((page(limit).rows.len(), page(limit).more), (10, false));
}

impl Write {
    fn when(mut self, precondition: Precondition) -> Self {
        self.preconditions.push(precondition);
        self
    }
}

fn put(keyspace: Keyspace, key: &[u8], value: &[u8]) -> Write {
    let operation = Operation::Put { keyspace, key: key.to_vec(), value: value.to_vec() };
    Write { preconditions: vec![], operations: vec![operation] }
}

fn delete(keyspace: Keyspace, key: &[u8]) -> Write {
    Write { preconditions: vec![], operations: vec![Operation::Delete { keyspace, key: key.to_vec() }] }
}

fn delete_range(keyspace: Keyspace, start: &[u8], end: &[u8]) -> Write {
    let operation = Operation::DeleteRange { keyspace, start: start.to_vec(), end: end.to_vec() };
    Write { preconditions: vec![], operations: vec![operation] }
}

fn absent(keyspace: Keyspace, key: &[u8]) -> Precondition {
    Precondition::Absent { keyspace, key: key.to_vec() }
}

fn equals(keyspace: Keyspace, key: &[u8], value: &[u8]) -> Precondition {
    Precondition::Equals { keyspace, key: key.to_vec(), value: value.to_vec() }
}

fn applied<S: Store>(store: &S, writes: &[Write]) {
    assert!(commit(store, writes).iter().all(|outcome| *outcome == Outcome::Applied));
}

fn commit<S: Store>(store: &S, writes: &[Write]) -> Vec<Outcome> {
    // Buffered: the suite is about what is seen, and a sync takes its time.
    store.commit(writes, Durability::Buffered).expect("a commit succeeds")
}

fn get<S: Store>(store: &S, keyspace: Keyspace, key: &[u8]) -> Option<Vec<u8>> {
    store.get(keyspace, key).expect("a get succeeds")
}

fn scan<S: Store>(store: &S, keyspace: Keyspace, range: &KeyRange, order: Order, limit: PageLimit) -> Page {
    let page = store.scan(keyspace, range, order, limit).expect("a scan succeeds");
    let mut shown = Page::default();
    let mut show = |key: &[u8], value: &[u8]| shown.rows.push(Row { key: key.to_vec(), value: value.to_vec() });
    let more = store.visit(keyspace, range, order, limit, &mut show);
    shown.more = more.expect("a visit succeeds");
    assert_eq!(shown, page, "what is shown is what a scan gives");
    page
}
