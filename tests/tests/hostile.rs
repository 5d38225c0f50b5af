//! Hostile bytes, drawn: anything, and what is nearly right. `tests/fuzz` looks further, guided by coverage.
//!
//! The draws are the same in every run.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use relive::{Cause, CodeHash, Payload, RunId, RunRecord, RunState, SignalReceived, TaskStarted, Timestamp};
use relive_engine::codec::{self, Chain};
use relive_engine::event::{Batch, Event};
use relive_engine::id::{Epoch, Sequence};
use relive_engine::index::{CacheUse, IdRecord, Standing, UnfinishedRecord};
use relive_tests::hostile;
use serde::Serialize;

fn run(cases: u32, bytes: impl Strategy<Value = Vec<u8>>, target: impl Fn(&[u8])) {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config { cases, ..Config::default() }, rng);
    let checked = runner.run(&bytes, |bytes| {
        target(&bytes);
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
}

/// The body of a batch as it is written, behind the 24 bytes of a key.
fn body() -> Vec<u8> {
    let signal = |text: &str| {
        let value = Payload::encode(&(text, 7u64)).expect("it can be written");
        Event::SignalReceived(SignalReceived { name: text.to_owned(), value, at: Timestamp(5) })
    };
    let events = vec![signal("first"), signal("second"), signal("third")];
    let batch = Batch { first: Sequence(0), epoch: Epoch(3), settled: true, events };
    let (record, _) = codec::seal(&[1; 24], Chain(0), &batch).expect("it can be written");
    [&[1; 24], &record[16..]].concat()
}

/// Bytes of which some are others, and some are gone or twice there.
fn nearly(whole: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = whole.len();
    (vec((0..length, any::<u8>()), 0..6), 0..length, 0..length).prop_map(move |(changes, from, to)| {
        let mut bytes = whole.clone();
        changes.into_iter().for_each(|(at, byte)| bytes[at] = byte);
        let piece = bytes[from.min(to)..to.max(from)].to_vec();
        if from < to {
            bytes.splice(from..to, []);
        } else {
            bytes.splice(to..to, piece);
        }
        bytes
    })
}

#[test]
fn a_record_of_any_bytes_is_a_value_or_an_error() {
    run(2000, vec(any::<u8>(), 0..600), hostile::record);
}

#[test]
fn a_record_that_is_nearly_right_is_a_value_or_an_error() {
    hostile::record(&body());
    run(4000, nearly(body()), hostile::record);
    // A batch of no events, found by the fuzzer: its last event has no position.
    hostile::record(&[&[1; 24][..], &[0; 5]].concat());
    // The last position there is.
    hostile::record(
        &[&[1; 16][..], &[0xff; 8], &[0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1, 0]].concat(),
    );
}

#[test]
fn a_payload_of_any_bytes_is_a_value_or_an_error() {
    run(4000, vec(any::<u8>(), 0..300), hostile::payload);
    // Lengths that lie, and depths without an end.
    for bytes in
        [&[0xdf, 0xff, 0xff, 0xff, 0xff][..], &[0xc6, 0xff, 0xff, 0xff, 0xff], &[0x91; 100_000], &[b'['; 100_000]]
    {
        hostile::payload(bytes);
    }
}

#[test]
fn any_text_is_an_id_or_an_error() {
    run(4000, vec(any::<u8>(), 0..40), hostile::id);
    run(4000, "[0-9A-Za-z]{20,30}".prop_map(String::into_bytes), hostile::id);
}

#[test]
fn an_export_of_any_bytes_is_a_run_or_an_error() {
    let exported = include_bytes!("exported.relive").to_vec();
    assert!(hostile::export(&exported), "a real one is imported");
    run(2000, vec(any::<u8>(), 0..600), |bytes| _ = hostile::export(bytes));
    run(1000, nearly(exported), |bytes| _ = hostile::export(bytes));
}

/// A piece of a hostile export or of hostile rows: what it is for, and its bytes.
fn piece(purpose: u8, bytes: &[u8]) -> Vec<u8> {
    [&[purpose, u8::try_from(bytes.len()).expect("short")], bytes].concat()
}

/// The body of a record, without its envelope.
fn body_of(value: &impl Serialize) -> Vec<u8> {
    codec::seal(&[], Chain(0), value).expect("it can be written").0.split_off(16)
}

/// A run's first event, with a signal behind it.
fn beginning() -> Vec<u8> {
    let input = Payload::encode(&(1u64, "one")).expect("it can be written");
    let (code, at) = (CodeHash::from_bytes([3; 16]), Timestamp(5));
    let (task, tags) = ("a".into(), Vec::new());
    let first = TaskStarted { task, code, input, attempt: 1, cause: Cause::New, id: None, parent: None, tags, at };
    let value = Payload::encode(&7u64).expect("it can be written");
    let signal = Event::SignalReceived(SignalReceived { name: "s".to_owned(), value, at });
    let events = vec![Event::TaskStarted(first), signal];
    body_of(&Batch { first: Sequence(0), epoch: Epoch(3), settled: true, events })
}

#[test]
fn an_export_that_is_sealed_as_it_should_be_is_a_run_or_an_error() {
    // Head: the program, the root, no fields, no key; a run of one record; no hashes; the end.
    let head = [&[0, 1, b'x'][..], &[7; 16], &[0, 0]].concat();
    let file = move |record: &[u8]| {
        let record = piece(2, &record[..record.len().min(250)]);
        [piece(0, &head), piece(1, &[7]), record, piece(0, &[6, 0, 0]), piece(0, &[7, 1])].concat()
    };
    assert!(hostile::export(&file(&beginning())), "what is whole is imported");
    let files = nearly(beginning()).prop_map(move |record| file(&record));
    run(4000, files, |bytes| _ = hostile::export(bytes));
}

/// Rows that are whole, of a run that is listed, unfinished, named, tagged and has a log; with these bytes changed.
fn nearly_rows() -> impl Strategy<Value = Vec<u8>> {
    let run = RunId::from_bytes([7; 16]);
    let record = RunRecord {
        task: "a".to_owned(),
        id: Some("x".to_owned()),
        state: RunState::Unfinished,
        started_at: Timestamp(5),
        finished_at: None,
        attempts: 1,
        attempt_at: Sequence(0),
        parent: None,
        tags: vec![("a".to_owned(), "b".to_owned())],
    };
    let unfinished = UnfinishedRecord {
        task: "a".to_owned(),
        code: CodeHash::from_bytes([3; 16]),
        call_key: [1; 32],
        attempt: 1,
        attempt_at: Sequence(0),
        retry_at: None,
        parent: Some(run),
        crashes: 1,
        crashed_at: Sequence(0),
        standing: Standing::Asleep { since: Timestamp(1), until: Timestamp(2) },
    };
    let named = IdRecord { run, task: "a".to_owned(), input_hash: [2; 32] };
    let usage = CacheUse { bytes: u64::MAX - 3, created_at: Timestamp(1), used_at: Timestamp(2) };
    // What each is for: the keyspace by its place in the schema, 16 for a run's id as the key, 32 for one behind a mark.
    let row = |purpose: u8, own: &[u8], value: Vec<u8>| {
        piece(purpose, &[&[u8::try_from(own.len()).expect("short")], own, &value].concat())
    };
    let whole = [
        row(16, &[7, 0, 0, 0, 0, 0, 0, 0, 0], beginning()),
        row(17, &[7], body_of(&record)),
        row(18, &[7], body_of(&unfinished)),
        row(3, b"x", body_of(&named)),
        row(35, &[7], body_of(&run)),
        row(4, &[7; 28], vec![1, b's', 0, 0, 1, 5, 2]),
        row(64 + 5, &[&[0, 0, 0, 1, b'a', 0, 0, 0, 1, b'b'][..], &[7; 16]].concat(), Vec::new()),
        row(7, &[9; 48], body_of(&usage)),
        row(7, &[8; 48], body_of(&usage)),
        row(48 + 8, b"", body_of(&Epoch(3))),
    ];
    nearly(whole.concat())
}

#[test]
fn rows_of_any_keys_and_values_are_read_or_told() {
    run(2000, vec(any::<u8>(), 0..400), hostile::rows);
    run(2000, nearly_rows(), hostile::rows);
}

#[test]
fn an_engine_on_rows_of_any_keys_and_values_takes_up_what_it_can_or_refuses() {
    run(100, vec(any::<u8>(), 0..400), hostile::engine);
    run(200, nearly_rows(), hostile::engine);
}
