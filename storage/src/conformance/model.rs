//! Any store agrees with a `BTreeMap`, whatever is done to it in whatever order.
//!
//! The property behind the promises of `conformance`: random commits, gets and scans, and the store opened again in
//! between.
//!
//! Invariant: the model shares no code with any store.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{INDEX, LOG, QUEUE};
use crate::{
    Durability, KeyRange, Keyspace, Operation, Order, Outcome, PageLimit, Precondition, Row, Store, Write, after,
};

type Model = BTreeMap<(Keyspace, Vec<u8>), Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Write>, Durability),
    Get(Keyspace, Vec<u8>),
    Scan(Keyspace, KeyRange, Order, PageLimit),
    Reopen,
}

/// Compares a store with a `BTreeMap` over random steps, `cases` times. `open` gives an empty store; `reopen` closes
/// one and opens it again (or gives it back, if there is nothing to close).
///
/// # Panics
/// At the first difference, with the shortest steps that show it.
pub fn agrees_with_model<S: Store>(cases: u32, open: impl Fn() -> S, reopen: impl Fn(S) -> S) {
    // No file of failed cases: the shortest one is in the message, and becomes a test of its own.
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&vec(step(), 1..40), |steps| {
        let mut store = open();
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Commit(writes, durability) => {
                    let outcomes = store.commit(&writes, durability).expect("a commit succeeds");
                    prop_assert_eq!(outcomes, writes.iter().map(|write| apply(&mut model, write)).collect::<Vec<_>>());
                }
                Step::Get(keyspace, key) => {
                    let found = store.get(keyspace, &key).expect("a get succeeds");
                    prop_assert_eq!(found.as_ref(), model.get(&(keyspace, key)));
                }
                Step::Scan(keyspace, range, order, limit) => {
                    let found = pages(&store, keyspace, &range, order, limit)?;
                    prop_assert_eq!(found, rows(&model, keyspace, &range, order));
                }
                Step::Reopen => store = reopen(store),
            }
        }
        for keyspace in [LOG, INDEX, QUEUE] {
            let found = pages(&store, keyspace, &KeyRange::all(), Order::Ascending, PageLimit::default())?;
            prop_assert_eq!(found, rows(&model, keyspace, &KeyRange::all(), Order::Ascending));
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("the store does not agree with a BTreeMap: {failure}");
    }
}

fn apply(model: &mut Model, write: &Write) -> Outcome {
    let refused = write.preconditions.iter().position(|precondition| match precondition {
        Precondition::Absent { keyspace, key } => model.contains_key(&(*keyspace, key.clone())),
        Precondition::Equals { keyspace, key, value } => model.get(&(*keyspace, key.clone())) != Some(value),
    });
    if let Some(precondition) = refused {
        return Outcome::Refused { precondition };
    }
    for operation in &write.operations {
        match operation.clone() {
            Operation::Put { keyspace, key, value } => model.insert((keyspace, key), value),
            Operation::Delete { keyspace, key } => model.remove(&(keyspace, key)),
            Operation::DeleteRange { keyspace, start, end } => {
                model.retain(|(place, key), _| *place != keyspace || *key < start || *key >= end);
                None
            }
        };
    }
    Outcome::Applied
}

fn rows(model: &Model, keyspace: Keyspace, range: &KeyRange, order: Order) -> Vec<Row> {
    let inside = |key: &Vec<u8>| *key >= range.start && range.end.as_ref().is_none_or(|end| key < end);
    let rows = model.iter().filter(|((place, key), _)| *place == keyspace && inside(key));
    let mut rows: Vec<_> = rows.map(|((_, key), value)| Row { key: key.clone(), value: value.clone() }).collect();
    if order == Order::Descending {
        rows.reverse();
    }
    rows
}

/// All pages of a range, each held to the limit.
fn pages<S: Store>(
    store: &S,
    keyspace: Keyspace,
    range: &KeyRange,
    order: Order,
    limit: PageLimit,
) -> Result<Vec<Row>, TestCaseError> {
    let mut range = range.clone();
    let mut rows = Vec::new();
    loop {
        let page = store.scan(keyspace, &range, order, limit).expect("a scan succeeds");
        prop_assert!(page.rows.len() <= limit.row_count);
        let sizes = page.rows.iter().map(|row| row.key.len() + row.value.len());
        let before_last: usize = sizes.rev().skip(1).sum();
        prop_assert!(page.rows.len() <= 1 || before_last < limit.bytes);
        let Some(last) = page.rows.last() else { return Ok(rows) };
        match order {
            Order::Ascending => range.start = after(&last.key),
            Order::Descending => range.end = Some(last.key.clone()),
        }
        rows.extend(page.rows);
        if !page.more {
            return Ok(rows);
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let order = prop_oneof![Just(Order::Ascending), Just(Order::Descending)];
    let limit = (1..6_usize, 1..60_usize).prop_map(|(row_count, bytes)| PageLimit { row_count, bytes });
    let durability = prop_oneof![9 => Just(Durability::Buffered), 1 => Just(Durability::Sync)];
    prop_oneof![
        8 => (vec(write(), 0..5), durability).prop_map(|(writes, durability)| Step::Commit(writes, durability)),
        4 => (keyspace(), key()).prop_map(|(keyspace, key)| Step::Get(keyspace, key)),
        4 => (keyspace(), range(), order, limit)
            .prop_map(|(keyspace, range, order, limit)| Step::Scan(keyspace, range, order, limit)),
        1 => Just(Step::Reopen),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let precondition = prop_oneof![
        (keyspace(), key()).prop_map(|(keyspace, key)| Precondition::Absent { keyspace, key }),
        (keyspace(), key(), value()).prop_map(|(keyspace, key, value)| Precondition::Equals { keyspace, key, value }),
    ];
    let operation = prop_oneof![
        3 => (keyspace(), key(), value()).prop_map(|(keyspace, key, value)| Operation::Put { keyspace, key, value }),
        1 => (keyspace(), key()).prop_map(|(keyspace, key)| Operation::Delete { keyspace, key }),
        1 => (keyspace(), key(), key())
            .prop_map(|(keyspace, start, end)| Operation::DeleteRange { keyspace, start, end }),
    ];
    (vec(precondition, 0..3), vec(operation, 0..5))
        .prop_map(|(preconditions, operations)| Write { preconditions, operations })
}

fn keyspace() -> impl Strategy<Value = Keyspace> {
    prop_oneof![3 => Just(LOG), 1 => Just(INDEX), 1 => Just(QUEUE)]
}

/// Few keys, so that steps meet: short ones, and ones around a prefix of 16 bytes, which a log is tuned for.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let byte = || prop_oneof![Just(0_u8), Just(1), Just(255)];
    let long = (byte(), vec(byte(), 0..3)).prop_map(|(run, rest)| [vec![run; 16], rest].concat());
    prop_oneof![vec(byte(), 0..3), long]
}

/// Few values, so that preconditions hold now and then; some large enough for a blob file.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(0..2_u8, 0..2), 1 => Just(vec![3; 20_000])]
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        Just(KeyRange::all()),
        key().prop_map(|key| KeyRange::prefix(&key)),
        (key(), proptest::option::of(key())).prop_map(|(start, end)| KeyRange { start, end }),
    ]
}
