//! Hostile bytes, drawn: anything, and what is nearly right. `tests/fuzz` looks further, guided by coverage.
//!
//! The draws are the same in every run.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use relive::{Payload, SignalReceived, Timestamp};
use relive_engine::codec::{self, Chain};
use relive_engine::event::{Batch, Event};
use relive_engine::id::{Epoch, Sequence};
use relive_tests::hostile;

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

/// The file of a real export, and what stands in place of its bytes.
fn exported() -> Vec<u8> {
    include_bytes!("exported.relive").to_vec()
}

#[test]
fn an_export_of_any_bytes_is_a_run_or_an_error() {
    run(2000, vec(any::<u8>(), 0..600), hostile::export);
    run(1000, nearly(exported()), hostile::export);
}

#[test]
fn an_export_that_is_sealed_as_it_should_be_is_a_run_or_an_error() {
    let root = [7; 16];
    let piece = |purpose: u8, piece: &[u8]| [&[purpose, u8::try_from(piece.len()).expect("short")], piece].concat();
    // Head: the program, the root, no fields, no key; a run of one record; no hashes; the end.
    let head = [&[0, 1, b'x'][..], &root, &[0, 0]].concat();
    let whole = |record: &[u8]| {
        [piece(0, &head), piece(1, &[7]), piece(2, record), piece(0, &[6, 0, 0]), piece(0, &[7, 1])].concat()
    };
    run(
        4000,
        nearly(body()[24..].to_vec()).prop_map(move |record| whole(&record[..record.len().min(255)])),
        hostile::export,
    );
}

#[test]
fn rows_of_any_keys_and_values_are_read_or_told() {
    run(2000, vec(any::<u8>(), 0..400), hostile::rows);
}

#[test]
fn an_engine_on_rows_of_any_keys_and_values_takes_up_what_it_can_or_refuses() {
    run(200, vec(any::<u8>(), 0..400), hostile::engine);
}
