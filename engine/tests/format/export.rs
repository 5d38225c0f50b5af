//! Exports stay readable: a file per version of theirs, and what today's program makes of it.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;

use relive_engine::codec;
use relive_engine::definition::Registry;
use relive_engine::engine::Engine;
use relive_engine::error::{Error, ErrorKind, Result};
use relive_engine::export::{self, EXPORT_VERSION, Imported, Options};
use relive_engine::handle::RunStatus;
use relive_engine::id::{Epoch, RunId, Sequence};
use relive_engine::index::{IDS, META, Standing, UNFINISHED, UnfinishedRecord};
use relive_engine::inspect;
use relive_engine::options;
use relive_engine::schema::SCHEMA;
use relive_storage::{Fault, FaultStore, KeyRange, MemoryStore, Order, PageLimit, Read, Survives};

use crate::history;
use crate::recipe::run_id;
use crate::store::{self, batches};

/// The fixture of a version: the run `feed`, whose tree has a child and an alias.
fn path(version: u8) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/export-v{version}.relive"))
}

fn exported(store: &MemoryStore, run: RunId, redact: &[&str]) -> Result<Vec<u8>> {
    let store: Arc<dyn Read> = Arc::new(store.clone());
    let options = Options { redact: redact.iter().map(|&field| field.to_owned()).collect() };
    let mut file = Vec::new();
    let told = export::write(&store, run, &options, &mut file)?;
    assert_eq!(told.bytes, file.len() as u64);
    Ok(file)
}

fn imported(file: &[u8], store: &MemoryStore) -> Result<Imported> {
    export::read(&mut Cursor::new(file), store)
}

/// Rows by keyspace and key.
type Rows = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

/// All rows of a store.
fn rows(store: &MemoryStore) -> Result<Rows> {
    let mut rows = BTreeMap::new();
    for known in SCHEMA.keyspaces {
        let page = store.scan(known.keyspace, &KeyRange::all(), Order::Ascending, PageLimit::default())?;
        rows.extend(page.rows.into_iter().map(|row| ((known.keyspace.name(), row.key), row.value)));
    }
    Ok(rows)
}

#[test]
fn todays_program_writes_these_bytes() -> Result<()> {
    let written = exported(&store::written()?, run_id(5), &[])?;
    if std::env::var_os("RELIVE_WRITE_FIXTURE").is_some() {
        std::fs::write(path(EXPORT_VERSION), &written)?;
    }
    let fixture = std::fs::read(path(EXPORT_VERSION))?;
    assert_eq!(store::hex(&written), store::hex(&fixture), "the format of exports has changed: see docs/format.md");
    Ok(())
}

#[test]
fn old_exports_stay_readable_and_give_the_same_logs() -> Result<()> {
    let of_older_records = ["export-v1-records-v1.relive", "export-v1-records-v2.relive"];
    let of_older_records = of_older_records.map(|name| path(1).with_file_name(name));
    for fixture in (1..=EXPORT_VERSION).map(path).chain(of_older_records) {
        let into = MemoryStore::new();
        let told = imported(&std::fs::read(fixture)?, &into)?;
        assert_eq!((told.run, told.run_count, told.present_count), (run_id(5), 2, 0));
        assert!(told.parked.is_empty() && told.redacted.is_empty());
        let into: Arc<dyn Read> = Arc::new(into);
        for expected in history::runs().into_iter().filter(|run| [run_id(5), run_id(6)].contains(&run.run)) {
            assert_eq!(inspect::run(into.as_ref(), expected.run)?, Some(expected.record));
            assert_eq!(batches(&into, expected.run)?, expected.batches);
        }
    }
    Ok(())
}

#[test]
fn what_is_imported_are_the_rows_that_the_engine_wrote() -> Result<()> {
    let from = store::written()?;
    let original = rows(&from)?;
    for run in history::runs() {
        let into = MemoryStore::new();
        imported(&exported(&from, run.run, &[])?, &into)?;
        let view: Arc<dyn Read> = Arc::new(into.clone());
        let of_file = inspect::runs(view).map(|stored| Ok(stored?.run)).collect::<Result<Vec<_>>>()?;
        for ((keyspace, key), value) in rows(&into)? {
            if keyspace == UNFINISHED.name() {
                // Parked, where its log ends; the rest is as it was.
                let (was, ..) =
                    codec::open::<UnfinishedRecord>(&key, &original[&(keyspace, key.clone())]).expect("whole");
                let (is, ..) = codec::open::<UnfinishedRecord>(&key, &value).expect("whole");
                let last = run.batches.iter().map(|batch| batch.events.len() as u64).sum::<u64>() - 1;
                assert_eq!(
                    is,
                    UnfinishedRecord { standing: Standing::Parked, crashes: 0, crashed_at: Sequence(last), ..was }
                );
            } else if keyspace == META.name() {
                assert!([b"epoch".as_slice(), b"closed"].contains(&key.as_slice()), "no secrets were masked: no key");
            } else if keyspace == IDS.name() && key == [&[0xfe], run.run.as_bytes().as_slice()].concat() {
                // A child that somebody wants by itself.
                let parent = inspect::run(&into, run.run)?.and_then(|record| record.parent);
                assert!(parent.is_some_and(|parent| !of_file.contains(&parent)), "run {}", run.run);
            } else {
                assert_eq!(Some(&value), original.get(&(keyspace, key)), "run {} in {keyspace}", run.run);
            }
        }
        // Of the run itself nothing is missing.
        let of_run = |((_, key), _): &(&(&str, Vec<u8>), &Vec<u8>)| key.starts_with(run.run.as_bytes());
        let copied = rows(&into)?;
        assert_eq!(copied.iter().filter(of_run).count(), original.iter().filter(of_run).count(), "run {}", run.run);
    }
    Ok(())
}

#[test]
fn a_file_that_lacks_or_changes_one_byte_is_refused_and_nothing_is_written() -> Result<()> {
    let file = exported(&store::written()?, run_id(5), &[])?;
    let refused = |file: &[u8]| -> Result<Error> {
        let into = MemoryStore::new();
        let error = imported(file, &into).expect_err("it is not whole");
        assert!(rows(&into)?.is_empty(), "{error}");
        Ok(error)
    };
    for length in 0..file.len() {
        let error = refused(&file[..length])?;
        let expected = if length < 8 { ErrorKind::NotAStore } else { ErrorKind::Corrupt };
        assert_eq!(error.kind(), expected, "{length} bytes: {error}");
        assert!(length < 8 || error.to_string().contains("cut off"), "{length} bytes: {error}");
    }
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (at % 8);
        let kind = refused(&damaged)?.kind();
        let expected = [ErrorKind::NotAStore, ErrorKind::NewerFormat, ErrorKind::Corrupt];
        assert!(expected.contains(&kind), "byte {at}: {kind:?}");
    }
    let longer = refused(&[file.as_slice(), b"x"].concat())?;
    assert!(longer.to_string().contains("something behind its end"), "{longer}");

    let mut newer = file;
    newer[8] = EXPORT_VERSION + 1;
    let error = refused(&newer)?;
    assert_eq!(error.kind(), ErrorKind::NewerFormat);
    assert!(error.to_string().contains("use a newer one"), "{error}");
    let error = refused(b"#!/bin/sh\necho this is a script\n")?;
    assert!(error.to_string().starts_with("this is no export of Relive"), "{error}");
    Ok(())
}

#[test]
fn the_same_run_twice_is_one_and_another_under_its_id_is_refused() -> Result<()> {
    let from = store::written()?;
    let file = exported(&from, run_id(5), &[])?;
    let into = MemoryStore::new();
    imported(&file, &into)?;
    let before = rows(&into)?;
    assert_eq!(imported(&file, &into)?.present_count, 2);
    assert_eq!(rows(&into)?, before);

    let redacted = exported(&from, run_id(5), &["number"])?;
    let error = imported(&redacted, &into).expect_err("its log is another");
    assert_eq!(error.kind(), ErrorKind::IdTaken);
    assert!(error.to_string().contains("with another log. Nothing was imported"), "{error}");
    assert_eq!(rows(&into)?, before);

    // Another run has the caller's id.
    let other = exported(&from, run_id(1), &[])?;
    let taken = MemoryStore::new();
    let named = from.get(relive_engine::index::IDS, b"again")?.expect("run 4 has an id");
    let (named, ..) = codec::open::<relive_engine::index::IdRecord>(b"again", &named).expect("whole");
    let (value, _) = codec::seal(history::ID.as_bytes(), codec::Chain::default(), &named).expect("small");
    let operation = relive_storage::Operation::Put {
        keyspace: relive_engine::index::IDS,
        key: history::ID.as_bytes().to_vec(),
        value,
    };
    store::commit(&taken, vec![operation]);
    let error = imported(&other, &taken).expect_err("the id names another run");
    assert!(error.to_string().contains(&format!("names run {}", run_id(4))), "{error}");
    Ok(())
}

#[test]
fn an_import_that_was_cut_off_leaves_whole_runs_and_can_be_repeated() -> Result<()> {
    let file = exported(&store::written()?, run_id(5), &[])?;
    let whole = MemoryStore::new();
    imported(&file, &whole)?;
    let commits = {
        let store = FaultStore::new();
        export::read(&mut Cursor::new(&file), &store)?;
        store.commit_count()
    };
    for at in 0..commits {
        for survives in [Survives::None, Survives::All] {
            let store = FaultStore::new();
            store.fail(at, Fault::Unknown(survives));
            export::read(&mut Cursor::new(&file), &store).expect_err("a commit fails");
            let left = store.surviving();
            let view: Arc<dyn Read> = Arc::new(left.clone());
            for stored in inspect::runs(Arc::clone(&view)) {
                let run = stored?.run;
                let expected = history::runs_of(relive_engine::codec::FORMAT_VERSION)
                    .into_iter()
                    .find(|known| known.run == run)
                    .expect("a run of ours");
                assert_eq!(batches(&view, run)?, expected.batches);
            }
            imported(&file, &left)?;
            assert_eq!(rows(&left)?, rows(&whole)?);
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_unfinished_run_waits_where_it_was_imported() -> Result<()> {
    for (number, signals) in [(7, 2), (8, 0)] {
        let into = MemoryStore::new();
        let told = imported(&exported(&store::written()?, run_id(number), &[])?, &into)?;
        assert_eq!(told.parked, [run_id(number)]);
        for _ in 0..2 {
            let engine = Engine::open(Arc::new(into.clone()), Registry::default(), options::Options::default()).await?;
            assert!(engine.epoch() > Epoch(3), "its log was written by the lives up to 3");
            assert!(matches!(engine.status(run_id(number))?, RunStatus::Blocked { .. }));
            engine.shutdown().await?;
        }
        let page = into.scan(relive_engine::index::INBOX, &KeyRange::all(), Order::Ascending, PageLimit::default())?;
        assert_eq!(page.rows.len(), signals);
    }
    Ok(())
}

#[test]
fn redacted_fields_are_nowhere_in_the_file() -> Result<()> {
    let from = store::written()?;
    let plain = exported(&from, run_id(5), &[])?;
    let holds = |file: &[u8], text: &[u8]| file.windows(text.len()).any(|window| window == text);
    let input_hash = |url: &str| {
        relive_engine::id::InputHash::of(
            &relive_engine::canonical::canonical(&BTreeMap::from([("file", url)])).expect("plain data"),
        )
    };
    assert!(holds(&plain, b"a.txt") && holds(&plain, input_hash("a.txt").as_bytes()));
    let redacted = exported(&from, run_id(5), &["file", "code"])?;
    assert!(!holds(&redacted, b"a.txt") && !holds(&redacted, input_hash("a.txt").as_bytes()));

    let into = MemoryStore::new();
    let told = imported(&redacted, &into)?;
    assert_eq!(told.redacted, ["file", "code"]);
    for run in [run_id(5), run_id(6)] {
        assert_eq!(export::redacted(&into, run)?, ["file", "code"]);
    }
    // What was redacted once stays so, and is said to be.
    assert_eq!(imported(&exported(&into, run_id(5), &[])?, &MemoryStore::new())?.redacted, ["file", "code"]);

    let mut nothing = Vec::new();
    let options = Options { redact: vec!["pasword".to_owned()] };
    let error = export::write(&(Arc::new(from) as Arc<dyn Read>), run_id(5), &options, &mut nothing);
    let error = error.expect_err("no such field");
    assert!(error.to_string().contains("has a field `pasword`: nothing was exported"), "{error}");
    assert!(nothing.is_empty());
    Ok(())
}
