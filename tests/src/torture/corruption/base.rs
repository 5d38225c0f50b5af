//! The stores that are damaged: made by an engine and its tasks, closed, read once for what is in them.
//!
//! Used by `corruption`; `Working` is the copy in which one file at a time is damaged.
//!
//! Invariant: what is in a store is known from before it was damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use relive::{Engine, Error, Event, RunId, task, trace};
use relive_engine::inspect;
use relive_engine::schema::{SCHEMA, storage_error};
use relive_storage::{KeyRange, Keyspace, Order, PageLimit, Read, RocksStore, Row, after};

use super::damage::Case;
use crate::torture::task::{Input, torture_run};
use crate::torture::witness::Witness;

/// The least that the swept write-ahead log has: 64 KiB, two of its blocks.
const LOG_BYTES_MIN: u64 = 64 << 10;

/// RocksDB's part of a store.
const DATABASE: &str = "db";

/// All rows of a store, by keyspace.
pub(super) type Rows = Vec<(Keyspace, Vec<Row>)>;

/// A store that is whole.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
    pub(super) rows: Rows,
    /// What each run's log holds.
    pub(super) logs: Vec<(RunId, Vec<Event>)>,
}

#[trace(name = "corruption.large")]
async fn large(seed: u64) -> relive::Result<Vec<u64>> {
    // No pattern: what compresses well would not become a blob of its own.
    Ok((0..4_000).map(|index| crate::torture::chance::mixed(seed ^ index)).collect())
}

/// A run whose result is large enough to be kept apart from its key.
#[task(name = "corruption.blob", cache = "off")]
async fn blob(seed: u64) -> relive::Result<usize> {
    Ok(large(seed).await?.len())
}

impl Base {
    /// A store of one life: everything is in the write-ahead log.
    pub(super) fn log_only(directory: &Path, seed: u64) -> relive::Result<Self> {
        let path = directory.join("log-only");
        let mut numbers = 0..;
        life(&path, seed, &mut numbers, LOG_BYTES_MIN)?;
        Self::read("log only", path)
    }

    /// A store of four lives: tables and blobs, a manifest with a past, and a log of what came last.
    pub(super) fn tables(directory: &Path, seed: u64) -> relive::Result<Self> {
        let path = directory.join("tables");
        let mut numbers = 0..;
        for _ in 0..4 {
            life(&path, seed, &mut numbers, 1)?;
        }
        Self::read("tables", path)
    }

    fn read(name: &'static str, path: PathBuf) -> relive::Result<Self> {
        // Opening moves rows into tables, so they are read in a copy.
        let copy = path.with_extension("read");
        copy_store(&path, &copy)?;
        let store = Arc::new(RocksStore::open(&copy, &SCHEMA).map_err(storage_error)?);
        let rows = rows(store.as_ref()).map_err(storage_error)?;
        let mut logs = Vec::new();
        for stored in inspect::runs(Arc::clone(&store) as Arc<dyn Read>) {
            let run = stored?.run;
            let events = inspect::events(Arc::clone(&store) as Arc<dyn Read>, run);
            logs.push((run, events.map(|logged| Ok(logged?.event)).collect::<relive::Result<_>>()?));
        }
        drop(store);
        fs::remove_dir_all(&copy)?;
        Ok(Self { name, path, rows, logs })
    }

    /// The files, relative to the store, with their lengths.
    pub(super) fn files(&self) -> relive::Result<Vec<(PathBuf, usize)>> {
        Ok(listed(&self.path)?)
    }

    /// How long the write-ahead logs are together.
    pub(super) fn log_bytes(&self) -> relive::Result<usize> {
        Ok(self.files()?.iter().filter(|(path, _)| is_log(path)).map(|(_, bytes)| bytes).sum())
    }
}

/// Whether a file is one of RocksDB's write-ahead logs.
pub(super) fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

/// Opens an engine, runs tasks until the log has so many bytes, and closes it. Every event was acknowledged as synced.
fn life(path: &Path, seed: u64, numbers: &mut impl Iterator<Item = u32>, bytes_min: u64) -> relive::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let witness = Witness::open(&path.with_extension("witness"))?;
        let engine = Engine::builder().provide(witness).open(path).await?;
        loop {
            let number = numbers.next().ok_or_else(|| Error::msg("there are no more numbers"))?;
            engine.run(torture_run(Input { seed, number })).await?;
            engine.run(blob(seed ^ u64::from(number))).await?;
            if log_bytes(path)? >= bytes_min {
                return engine.shutdown().await;
            }
        }
    })
}

fn log_bytes(path: &Path) -> relive::Result<u64> {
    Ok(listed(path)?.iter().filter(|(path, _)| is_log(path)).map(|(_, bytes)| *bytes as u64).sum())
}

/// All rows of a store.
pub(super) fn rows(store: &dyn Read) -> Result<Rows, relive_storage::Error> {
    let keyspaces = SCHEMA.keyspaces.iter().map(|known| known.keyspace);
    keyspaces.map(|keyspace| Ok((keyspace, keyspace_rows(store, keyspace)?))).collect()
}

fn keyspace_rows(store: &dyn Read, keyspace: Keyspace) -> Result<Vec<Row>, relive_storage::Error> {
    let (mut rows, mut range) = (Vec::new(), KeyRange::all());
    loop {
        let page = store.scan(keyspace, &range, Order::Ascending, PageLimit::default())?;
        rows.extend(page.rows);
        match rows.last() {
            Some(last) if page.more => range.start = after(&last.key),
            _ => return Ok(rows),
        }
    }
}

/// Files with their lengths, relative to the store, in order.
fn listed(store: &Path) -> std::io::Result<Vec<(PathBuf, usize)>> {
    let mut files = Vec::new();
    for part in ["", DATABASE] {
        for entry in fs::read_dir(store.join(part))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                let bytes = usize::try_from(metadata.len()).map_err(Error::msg).map_err(std::io::Error::other)?;
                files.push((Path::new(part).join(entry.file_name()), bytes));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Copies the files of a store.
pub(in crate::torture) fn copy_store(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to.join(DATABASE))?;
    for (file, _) in listed(from)? {
        fs::copy(from.join(&file), to.join(&file))?;
    }
    Ok(())
}

/// A copy in which one file at a time is damaged.
#[derive(Debug)]
pub(super) struct Working<'a> {
    base: &'a Base,
    path: PathBuf,
}

impl<'a> Working<'a> {
    pub(super) fn new(base: &'a Base, directory: &Path) -> relive::Result<Self> {
        let path = directory.join("working");
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        copy_store(&base.path, &path)?;
        Ok(Self { base, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Damages a file.
    pub(super) fn damage(&self, case: &Case) -> relive::Result<()> {
        let whole = fs::read(self.base.path.join(&case.file))?;
        let path = self.path.join(&case.file);
        match case.damage.apply(whole) {
            Some(bytes) => fs::write(path, bytes)?,
            None => fs::remove_file(path)?,
        }
        Ok(())
    }

    /// Makes the copy whole again: the one file where nothing else was touched, else all.
    pub(super) fn restore(&mut self, case: &Case) -> relive::Result<()> {
        let restored = self.path.join(&case.file);
        fs::copy(self.base.path.join(&case.file), &restored)?;
        let is_same = |(file, bytes): &(PathBuf, usize), (other, others): &(PathBuf, usize)| {
            // The lock's content is the last holder's.
            file == other && (bytes == others || file == Path::new("LOCK"))
        };
        let (base, now) = (listed(&self.base.path)?, listed(&self.path)?);
        if base.len() == now.len() && base.iter().zip(&now).all(|(file, other)| is_same(file, other)) {
            return Ok(());
        }
        *self = Self::new(self.base, self.path.parent().unwrap_or(Path::new(".")))?;
        Ok(())
    }
}
