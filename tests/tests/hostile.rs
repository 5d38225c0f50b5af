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
