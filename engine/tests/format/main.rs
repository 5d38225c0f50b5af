//! Old logs stay readable: a fixture per format version, and what today's program makes of it.
//!
//! `history` says what a fixture holds, in the words of `recipe`. Has the format changed on purpose? Then raise `FORMAT_VERSION`, write the new
//! version's fixture with `RELIVE_WRITE_FIXTURE=1 cargo test -p relive-engine --test format`, let the old ones be read
//! for ever, and say in `docs/format.md` what is new. A fixture of a released version never changes.

mod events;
mod export;
mod history;
mod recipe;
mod store;

use std::sync::Arc;

use proptest::prelude::*;
use relive_engine::codec::{self, Chain, CodecError, FORMAT_VERSION};
use relive_engine::definition::Registry;
use relive_engine::engine::Engine;
use relive_engine::error::{ErrorKind, Result};
use relive_engine::event::{Batch, Cause, Event, SignalReceived, TaskOutcome, TraceForm, TraceOutcome};
use relive_engine::handle::RunStatus;
use relive_engine::id::{Epoch, Sequence};
use relive_engine::index::{
    BlockReason, CACHE, CACHE_USE, CacheRecord, CacheSize, CacheUse, IDS, INBOX, IdRecord, META, RunState, Standing,
    UNFINISHED, UnfinishedRecord,
};
use relive_engine::inspect;
use relive_engine::log::{LOG, LogReader, last_event};
use relive_engine::options::Options;
use relive_storage::{MemoryStore, Read};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::{batches, key, with_row};

#[test]
fn todays_program_writes_these_bytes() -> Result<()> {
    let written = store::dump(&store::written()?)?;
    if std::env::var_os("RELIVE_WRITE_FIXTURE").is_some() {
        std::fs::write(store::path(FORMAT_VERSION), &written)?;
    }
    let fixture = std::fs::read_to_string(store::path(FORMAT_VERSION))?;
    for (line, (written, fixture)) in written.lines().zip(fixture.lines()).enumerate() {
        assert_eq!(written, fixture, "line {}: the format on disk has changed, see the top of this file", line + 1);
    }
    assert_eq!(written.lines().count(), fixture.lines().count());
    Ok(())
}

#[test]
fn old_logs_stay_readable() -> Result<()> {
    for version in 1..=FORMAT_VERSION {
        let store: Arc<dyn Read> = Arc::new(store::fixture(version)?);
        let mut newest_first = inspect::runs(Arc::clone(&store));
        for expected in history::runs_of(version).into_iter().rev() {
            let run = expected.run;
            let stored = newest_first.next().expect("each run is listed")?;
            assert_eq!((stored.run, &stored.record), (run, &expected.record));
            assert_eq!(inspect::run(store.as_ref(), run)?.as_ref(), Some(&expected.record));
            assert_eq!(inspect::runs_by_prefix(store.as_ref(), &run.to_string(), 2)?, [run]);
            assert_eq!(batches(&store, run)?, expected.batches);

            let flat = |batch: Batch| batch.events.into_iter().map(move |event| (batch.epoch, event));
            let expected: Vec<_> = expected.batches.into_iter().flat_map(flat).enumerate().collect();
            let events = inspect::events(Arc::clone(&store), run).collect::<Result<Vec<_>>>()?;
            let events: Vec<_> =
                events.into_iter().map(|logged| (logged.sequence.0 as usize, (logged.epoch, logged.event))).collect();
            assert_eq!(events, expected);
            let last = last_event(store.as_ref(), run)?.map(|(at, event)| (at.0 as usize, event));
            assert_eq!(last, expected.into_iter().last().map(|(at, (_, event))| (at, event)));
        }
        assert!(newest_first.next().is_none());
    }
    Ok(())
}

#[test]
fn old_indexes_stay_readable() -> Result<()> {
    fn read<T: DeserializeOwned>(store: &dyn Read, keyspace: relive_storage::Keyspace, key: &[u8]) -> T {
        let value = store.get(keyspace, key).expect("memory can be read").expect("the row is there");
        codec::open(key, &value).expect("it is whole").0
    }
    for version in 1..=FORMAT_VERSION {
        let store = store::fixture(version)?;
        for (run, record) in history::unfinished_records_of(version) {
            assert_eq!(read::<UnfinishedRecord>(&store, UNFINISHED, run.as_bytes()), record);
        }
        for (run, number, signal) in history::inbox() {
            assert_eq!(read::<SignalReceived>(&store, INBOX, &store::inbox_key(run, history::EPOCH, number)), signal);
        }
        let (child, record) = history::joined_child();
        assert_eq!(read::<IdRecord>(&store, IDS, &store::child_key(child)), record);
        for (id, record) in history::ids() {
            assert_eq!(read::<IdRecord>(&store, IDS, id.as_bytes()), record);
        }
        let (record, input_hash) = history::cache();
        let key = store::cache_key(&record, &input_hash);
        assert_eq!(read::<CacheRecord>(&store, CACHE, &key), record);
        let bytes = (key.len() + store.get(CACHE, &key)?.expect("it was read").len()) as u64;
        let usage = CacheUse { bytes, created_at: record.created_at, used_at: history::USED_AT };
        assert_eq!(read::<CacheUse>(&store, CACHE_USE, &key), usage);
        assert_eq!(read::<CacheSize>(&store, META, b"cache"), CacheSize { bytes });
        assert_eq!(read::<Epoch>(&store, META, b"epoch"), history::EPOCH);
        assert_eq!(read::<[u8; 32]>(&store, META, b"redaction-key"), history::REDACTION_KEY);

        let store: Arc<dyn Read> = Arc::new(store);
        for run in history::runs() {
            for (name, value) in &run.record.tags {
                let found = inspect::runs_tagged(Arc::clone(&store), name, value).collect::<Result<Vec<_>>>()?;
                assert_eq!(found.iter().map(|found| found.run).collect::<Vec<_>>(), [run.run]);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_old_store_opens_and_its_runs_stand_as_they_did() -> Result<()> {
    for version in 1..=FORMAT_VERSION {
        let store = Arc::new(store::fixture(version)?);
        let engine = Engine::open(store, Registry::default(), Options::default()).await?;
        assert_eq!(engine.epoch(), Epoch(history::EPOCH.0 + 1));
        for expected in history::runs_of(version) {
            let status = engine.status(expected.run)?;
            match expected.record.state {
                RunState::Completed => assert_eq!(status, RunStatus::Completed),
                RunState::Failed => assert_eq!(status, RunStatus::Failed),
                RunState::Cancelled => assert_eq!(status, RunStatus::Cancelled),
                // This program has no tasks.
                _ => {
                    let task = format!("task {}", expected.record.task);
                    assert!(matches!(status, RunStatus::Blocked { message, .. } if message.contains(&task)));
                }
            }
        }
        engine.shutdown().await?;
    }
    Ok(())
}

#[test]
fn a_record_of_a_newer_version_is_refused_and_the_error_says_so() -> Result<()> {
    let store = store::written()?;
    let run = history::runs()[0].run;
    let key = key(run, 0);
    let mut record = store.get(LOG, &key)?.expect("the first record");
    record[2] = FORMAT_VERSION + 1;
    let newer = CodecError::Newer { version: FORMAT_VERSION + 1 };
    assert_eq!(codec::open::<Batch>(&key, &record), Err(newer.clone()), "its checksum fits no more");
    store::set_checksum(&key, &mut record);
    assert_eq!(codec::open::<Batch>(&key, &record), Err(newer));

    let store: Arc<dyn Read> = Arc::new(with_row(&store, LOG, &key, Some(record)));
    let message = batches(&store, run).expect_err("it is newer").to_string();
    let expected = format!("run {run} at event 0: the record has format version {}", FORMAT_VERSION + 1);
    assert!(message.starts_with(&expected), "{message}");
    Ok(())
}

#[test]
fn one_flipped_bit_is_an_error_that_names_run_and_event() -> Result<()> {
    let store = store::written()?;
    let completed = &history::runs()[0];
    for batch in &completed.batches {
        let key = key(completed.run, batch.first.0);
        let record = store.get(LOG, &key)?.expect("each batch is a record");
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let store: Arc<dyn Read> = Arc::new(with_row(&store, LOG, &key, Some(flipped)));
            let error = batches(&store, completed.run).expect_err("a bit is flipped");
            let place = format!("run {} at event {}: ", completed.run, batch.first);
            assert!(error.to_string().starts_with(&place), "bit {bit}: {error}");
            // One bit of the version makes it a newer one.
            assert!(error.kind() == ErrorKind::Corrupt || bit / 8 == 2, "bit {bit}: {error}");
        }
    }
    Ok(())
}

#[test]
fn a_record_that_is_missing_or_not_in_its_place_is_an_error() -> Result<()> {
    let store = store::written()?;
    let run = &history::runs()[0];
    let second = key(run.run, run.batches[1].first.0);
    let message = |store: MemoryStore| {
        let store: Arc<dyn Read> = Arc::new(store);
        batches(&store, run.run).expect_err("the log is not whole").to_string()
    };

    let missing = message(with_row(&store, LOG, &second, None));
    assert!(missing.contains("a record is missing: the log goes on with event 8"), "{missing}");

    let foreign = store.get(LOG, &key(history::runs()[1].run, 0))?;
    let swapped = message(with_row(&store, LOG, &second, foreign));
    assert!(swapped.contains("checksum does not match its bytes and key"), "{swapped}");

    // Whole in itself, and sealed for this place: but after another record than the one that is there.
    let replaced = codec::seal(&second, Chain(1), &run.batches[1]).expect("it is small").0;
    let replaced = message(with_row(&store, LOG, &second, Some(replaced)));
    assert!(replaced.contains("does not follow the one before it"), "{replaced}");
    Ok(())
}

#[test]
fn a_number_that_names_no_variant_is_refused() {
    fn is_refused<T: DeserializeOwned>(number: u32) -> bool {
        let record = codec::seal(b"key", Chain::default(), &number).expect("it is small").0;
        codec::open::<T>(b"key", &record).is_err()
    }
    // A variant that is added makes this fail: it is a change of the format.
    assert!(is_refused::<Event>(7) && is_refused::<Cause>(5) && is_refused::<RunState>(4));
    assert!(is_refused::<BlockReason>(BlockReason::ALL.len() as u32));
    for (number, reason) in BlockReason::ALL.into_iter().enumerate() {
        let record = codec::seal(b"key", Chain::default(), &(number as u32)).expect("it is small").0;
        assert_eq!(codec::open::<BlockReason>(b"key", &record).expect("it is known").0, reason);
    }
    assert!(is_refused::<TraceForm>(history::FORMS.len() as u32));
    assert!(is_refused::<TraceOutcome>(3) && is_refused::<TaskOutcome>(3));
    assert!(is_refused::<ErrorKind>(history::ERROR_KINDS.len() as u32));
    for (number, kind) in history::ERROR_KINDS.into_iter().enumerate() {
        let record = codec::seal(b"key", Chain::default(), &(number as u32)).expect("it is small").0;
        assert_eq!(codec::open::<ErrorKind>(b"key", &record).expect("it is known").0, kind);
    }
    for (number, form) in history::FORMS.into_iter().enumerate() {
        let record = codec::seal(b"key", Chain::default(), &(number as u32)).expect("it is small").0;
        assert_eq!(codec::open::<TraceForm>(b"key", &record).expect("it is known").0, form);
    }
}

#[test]
fn where_a_run_stands_was_a_bool_in_version_1() {
    for (was_parked, standing) in [(false, Standing::UnderWay), (true, Standing::Parked)] {
        let record = codec::seal(b"key", Chain::default(), &was_parked).expect("it is small").0;
        assert_eq!(codec::open::<Standing>(b"key", &record).expect("it is read").0, standing);
        let today = codec::seal(b"key", Chain::default(), &standing).expect("it is small").0;
        assert_eq!(today, record);
    }
    let unknown = codec::seal(b"key", Chain::default(), &4u32).expect("it is small").0;
    assert!(codec::open::<Standing>(b"key", &unknown).is_err());
}

#[test]
fn the_record_in_the_document_is_the_one_that_is_written() -> Result<()> {
    let run = history::runs()[2].run;
    let written = store::written()?.get(LOG, &key(run, 0))?.expect("the run was started");
    let document = include_str!("../../../docs/format.md");
    let example = document.split("<!-- the example record -->").nth(1).expect("the document has an example");
    let block = example.split("```").nth(1).expect("the example is a block");
    // Bytes, two blanks, what they mean.
    let bytes = block.lines().skip(1).filter_map(|line| line.split("  ").next());
    let bytes: Vec<u8> = bytes
        .flat_map(str::split_whitespace)
        .map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits"))
        .collect();
    assert_eq!(store::hex(&bytes), store::hex(&written));
    Ok(())
}

#[test]
fn the_document_says_one_version_wherever_it_says_one() {
    let (document, version) = (include_str!("../../../docs/format.md"), codec::FORMAT_VERSION);
    for place in [
        format!("This is **format version {version}**"),
        format!("here `N` is {version}."),
        format!("| 2 | format version: {version}"),
        format!("format version {version}\n"),
    ] {
        assert!(document.contains(&place), "nowhere: {place}");
    }
    let section = |title: &str| {
        let whole = document.split("\n## ").find(|section| section.starts_with(title)).expect("the document has it");
        whole.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect::<Vec<u8>>()
    };
    assert_eq!(section("10. Versions"), (1..=version).collect::<Vec<_>>(), "each version has an entry, in order");
}

/// Bytes as a record's body, without a length.
struct Raw(Vec<u8>);

impl Serialize for Raw {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple as _;
        let mut bytes = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|byte| bytes.serialize_element(byte))?;
        bytes.end()
    }
}

proptest! {
    #[test]
    fn any_event_survives_the_codec(batch in events::batch(), key: Vec<u8>, chain: u32) {
        let (record, own) = codec::seal(&key, Chain(chain), &batch).expect("it is small");
        prop_assert_eq!(codec::open_batch(&key, &record), Ok((batch.clone(), Chain(chain), own)));
        prop_assert_eq!(codec::open::<Batch>(&key, &record), Ok((batch, Chain(chain), own)));
    }

    #[test]
    fn a_log_is_read_as_it_was_appended(batches in prop::collection::vec(events::batch(), 1..6)) {
        let (run, mut next) = (history::runs()[0].run, 0);
        let batches: Vec<_> = batches
            .into_iter()
            .map(|batch| {
                let first = Sequence(next);
                next += batch.events.len() as u64;
                Batch { first, ..batch }
            })
            .collect();
        let store = MemoryStore::new();
        store::append(&store, run, &batches).expect("its end is where it was left");
        let store: Arc<dyn Read> = Arc::new(store);
        prop_assert_eq!(store::batches(&store, run).expect("it is whole"), batches);
        let other = LogReader::new(store, history::runs()[1].run).next_batch();
        prop_assert!(other.expect("it is empty").is_none());
    }

    /// With a checksum that fits, as a program that means harm would write it.
    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let (record, _) = codec::seal(b"key", Chain::default(), &Raw(body)).expect("it is small");
        prop_assert_eq!(codec::open_batch(b"key", &record), codec::open::<Batch>(b"key", &record));
        let _ = codec::open::<CacheRecord>(b"key", &record);
    }
}
