//! RocksDB behind our own types: how it is tuned, and the calls that are used.
//!
//! The only file that names `rocksdb`. Called by `rocks` (the owner) and `rocks::reader` (who only reads); knows neither
//! the directory around it nor preconditions.
//!
//! Invariant: what it returns is what RocksDB holds. A tuning changes speed and size on disk, never an answer.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB,
    DBCompressionType, DBRecoveryMode, InfoLogger, LogLevel, Options, ReadOptions, SliceTransform, WriteBatch,
    WriteOptions,
};

use super::room;
use super::sorted::Sorted;
use super::told::told;
use crate::directory::access;
use crate::guard::DamagedBlob;
use crate::held::HeldDirectory;
use crate::{
    Durability, Error, ErrorKind, KeyRange, Keyspace, KeyspaceOptions, Operation, Order, Page, PageLimit, Row, Usage,
};

/// A log's rows are read within one prefix of so many bytes: a run's id.
const LOG_PREFIX_BYTES: usize = 16;
/// Values from here on go to blob files, so that compaction need not copy them again and again. RocksDB's authors
/// measured that separation pays from some KiB up; below, a value is better off beside its neighbours.
const BLOB_BYTES_MIN: u64 = 16 << 10;
/// Which part of the blob files compaction looks at for what is not used any more, the oldest first: RocksDB's own choice.
const BLOB_AGE_CUTOFF: &str = "0.25";
/// What an open may have to replay after a crash: each MiB takes it some 10 ms, most of that to fill memtables, and it is to
/// take 200 ms at most. `make bench` kills a process under load when its log is that long (`open_ms_after_kill`).
const WAL_BYTES_MAX: u64 = 16 << 20;
/// Flushed tables that a compaction begins with, of logs and indexes. Flushes come as often as the write-ahead log is full, so
/// tables are small: with RocksDB's own 4, its threads took 1.3 µs per trace under load, with 12 they take 0.8 µs, and 0.65 µs
/// with 4 and a log of 64 MiB. Most lookups read none of them, by their filters.
const LEVEL_ZERO_TABLES: i32 = 12;
/// So many slow writes down, and so many stop them: compactions have not kept up. As far above as RocksDB's own.
const LEVEL_ZERO_TABLES_SLOW: i32 = 36;
const LEVEL_ZERO_TABLES_MAX: i32 = 48;
/// Blocks, indexes and filters of all keyspaces together: caps what reading takes of memory.
const CACHE_BYTES: usize = 64 << 20;
/// The keyspace that each database of RocksDB's has; nothing is in it.
const DEFAULT: &str = "default";
/// Of a memtable's size, for the filter on its keys.
const MEMTABLE_BLOOM_RATIO: f64 = 0.02;
/// Has a memtable look for a key's place near the last one written, and only then from its top. The option takes a prefix,
/// and remembers a place for each: this prefix is empty, so one place for all keys.
const NEARBY: &str = "memtable_insert_with_hint_prefix_extractor=fixed:0";
/// Below so many tables, one thread opens them sooner than several are started.
const TABLES_PER_THREADS: usize = 64;
/// RocksDB's own choice.
const OPENING_THREADS_MAX: i32 = 16;
/// All memtables together. Several keyspaces may be busy at once; this caps their sum.
const MEMTABLES_BYTES_MAX: usize = 128 << 20;

/// An open RocksDB.
pub(super) struct Database {
    db: DB,
    /// By which RocksDB opens its files: held for longer than that.
    directory: HeldDirectory,
    /// Found out when something damaged is met.
    damaged: DamagedBlob,
    synced: WriteOptions,
    buffered: WriteOptions,
}

impl Database {
    /// Opens the database for writing, and creates what is not there: all of it, or a keyspace.
    pub(super) fn open(directory: &HeldDirectory, keyspaces: &[KeyspaceOptions]) -> Result<Self, Error> {
        let path = directory.by();
        room::check().map_err(|error| error.at(directory.shown()))?;
        let create = is_absent(path)?;
        let mut options = database_options(directory)?;
        // Of a bounded number of open files, RocksDB opens 16 at most beforehand; and for every keyspace it starts this many
        // threads to do so, however few there are.
        options.set_max_file_opening_threads(1);
        options.create_if_missing(create);
        options.create_missing_column_families(true);
        let names = if create { vec![DEFAULT.to_owned()] } else { keyspace_names(directory)? };
        // RocksDB opens for writing only if every column family is opened, also one of an older version.
        let foreign = names.iter().filter(|name| keyspaces.iter().all(|known| known.keyspace.name() != name.as_str()));
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        // Read once and copied: reading options takes RocksDB longer than all that is set below.
        let nearby = Options::default().get_options_from_string(NEARBY).map_err(|error| failed(directory, &error))?;
        let options_of = |usage| keyspace_options(nearby.clone(), usage, &cache);
        let families = keyspaces
            .iter()
            .map(|known| ColumnFamilyDescriptor::new(known.keyspace.name(), options_of(known.usage)))
            .chain(foreign.map(|name| ColumnFamilyDescriptor::new(name.as_str(), other_options(&cache))));
        let db = DB::open_cf_descriptors(&options, path, families).map_err(|error| failed(directory, &error))?;
        Ok(Self::new(db, directory))
    }

    /// Opens the database for reading only, also while its owner writes: what it holds now. Writes nothing.
    ///
    /// Not as RocksDB's secondary: that goes back, without a word, to the last state whose tables it finds.
    pub(super) fn open_to_read(directory: &HeldDirectory) -> Result<Self, Error> {
        let path = directory.by();
        room::check().map_err(|error| error.at(directory.shown()))?;
        let mut options = database_options(directory)?;
        // Files must be kept open: the owner deletes them under us.
        options.set_max_open_files(-1);
        let names = keyspace_names(directory)?;
        options.set_max_file_opening_threads(opening_threads(path)?);
        // The usage is not known here. Blob files and compression are read whatever the options say, and a prefix
        // extractor is needed for filters only.
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        let families = names.iter().map(|name| ColumnFamilyDescriptor::new(name.as_str(), other_options(&cache)));
        let db = DB::open_cf_descriptors_read_only(&options, path, families, false);
        let db = db.map_err(|error| failed(directory, &error))?;
        Ok(Self::new(db, directory))
    }

    fn new(db: DB, directory: &HeldDirectory) -> Self {
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        let (directory, damaged) = (directory.clone(), DamagedBlob::default());
        Self { db, directory, damaged, synced, buffered: WriteOptions::default() }
    }

    pub(super) fn has(&self, keyspace: Keyspace) -> bool {
        self.db.cf_handle(keyspace.name()).is_some()
    }

    pub(super) fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.db.get_cf(self.family(keyspace), key).map_err(|error| self.failed(&error))
    }

    pub(super) fn scan(
        &self,
        keyspace: Keyspace,
        range: &KeyRange,
        order: Order,
        limit: PageLimit,
    ) -> Result<Page, Error> {
        let mut page = Page::default();
        let mut keep = |key: &[u8], value: &[u8]| page.rows.push(Row { key: key.to_vec(), value: value.to_vec() });
        page.more = self.visit(keyspace, range, order, limit, &mut keep)?;
        Ok(page)
    }

    /// Shows the rows of a page; says whether there may be more.
    pub(super) fn visit(
        &self,
        keyspace: Keyspace,
        range: &KeyRange,
        order: Order,
        limit: PageLimit,
        show: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<bool, Error> {
        if range.end.as_ref().is_some_and(|end| *end <= range.start) {
            return Ok(false);
        }
        let options = page_options(range, order, limit);
        let mut rows = self.db.raw_iterator_cf_opt(self.family(keyspace), options);
        match order {
            Order::Ascending => rows.seek(&range.start),
            Order::Descending => rows.seek_to_last(),
        }
        let (mut count, mut bytes) = (0, 0);
        while let Some((key, value)) = rows.item() {
            count += 1;
            bytes += key.len() + value.len();
            show(key, value);
            if count >= limit.row_count || bytes >= limit.bytes {
                return Ok(true);
            }
            match order {
                Order::Ascending => rows.next(),
                Order::Descending => rows.prev(),
            }
        }
        // An iterator that met damage ends early, and says so only here.
        rows.status().map_err(|error| self.failed(&error))?;
        Ok(false)
    }

    /// Writes everything or nothing.
    pub(super) fn write<'a>(
        &self,
        operations: impl Iterator<Item = &'a Operation>,
        durability: Durability,
    ) -> Result<(), Error> {
        let sorted = Sorted::of(operations);
        // At its size from the start: a batch of a thousand records is not copied again and again while it grows.
        let mut batch = WriteBatch::with_capacity_bytes(sorted.bytes());
        for (keyspace, operations) in sorted.keyspaces() {
            // Once each, as RocksDB's bindings look it up by name.
            let family = self.family(keyspace);
            for operation in operations {
                match operation {
                    Operation::Put { key, value, .. } => batch.put_cf(family, key, value),
                    Operation::Delete { key, .. } => batch.delete_cf(family, key),
                    Operation::DeleteRange { start, end, .. } if start < end => {
                        batch.delete_range_cf(family, start, end);
                    }
                    Operation::DeleteRange { .. } => {}
                }
            }
        }
        let options = match durability {
            Durability::Buffered => &self.buffered,
            Durability::Sync => &self.synced,
        };
        self.db.write_opt(batch, options).map_err(|error| self.failed(&error))
    }

    /// Makes everything written so far survive power loss.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.db.flush_wal(true).map_err(|error| self.failed(&error))
    }

    /// Rewrites the tables of a range, so that what is deleted in it takes no space any more.
    pub(super) fn compact(&self, keyspace: Keyspace, range: &KeyRange) -> Result<(), Error> {
        let family = self.family(keyspace);
        // What is in memory only is not compacted, and nor are deletions.
        self.db.flush_cf(family).map_err(|error| self.failed(&error))?;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        // Beside what RocksDB compacts by itself: else that waits, and writes in the end, too.
        options.set_exclusive_manual_compaction(false);
        // A blob file goes when nothing in it is used any more: what is used in those of the range moves to new ones. At
        // other times only the oldest are looked at, so that compaction does not copy large values again and again.
        let collect = |cutoff: &str| {
            self.db
                .set_options_cf(family, &[("blob_garbage_collection_age_cutoff", cutoff)])
                .map_err(|error| self.failed(&error))
        };
        collect("1.0")?;
        self.db.compact_range_cf_opt(family, Some(&range.start), range.end.as_ref(), &options);
        collect(BLOB_AGE_CUTOFF)
    }

    fn failed(&self, error: &rocksdb::Error) -> Error {
        explained(&self.directory, error, &self.damaged)
    }

    fn family(&self, keyspace: Keyspace) -> &ColumnFamily {
        self.db.cf_handle(keyspace.name()).unwrap_or_else(|| panic!("keyspace {keyspace:?} is not in the schema"))
    }
}

/// Whether no database was ever completed here. RocksDB would make a new one beside the files of one that has lost its
/// `CURRENT`, and those are then gone.
fn is_absent(path: &Path) -> Result<bool, Error> {
    let mut absent = true;
    for entry in std::fs::read_dir(path).map_err(|error| access(path, "cannot be listed", error))? {
        let name = entry.map_err(|error| access(path, "cannot be listed", error))?.file_name();
        if name == "CURRENT" {
            return Ok(false);
        }
        let name = name.to_string_lossy();
        absent &= ![".log", ".sst", ".blob"].iter().any(|data| name.ends_with(data));
    }
    if absent {
        return Ok(true);
    }
    Err(Error::new(ErrorKind::Corrupt, "CURRENT is missing, and there is data: restore the store from a copy").at(path))
}

/// How many threads open a reader's tables: all of them are opened beforehand, some ten reads each, and RocksDB starts so
/// many threads for every keyspace.
fn opening_threads(path: &Path) -> Result<i32, Error> {
    let mut table_count = 0;
    for entry in std::fs::read_dir(path).map_err(|error| access(path, "cannot be listed", error))? {
        let name = entry.map_err(|error| access(path, "cannot be listed", error))?.file_name();
        table_count += usize::from(name.to_string_lossy().ends_with(".sst"));
    }
    Ok(if table_count < TABLES_PER_THREADS { 1 } else { OPENING_THREADS_MAX })
}

/// The names of the keyspaces that a database holds, RocksDB's `default` among them.
fn keyspace_names(directory: &HeldDirectory) -> Result<Vec<String>, Error> {
    DB::list_cf(&Options::default(), directory.by()).map_err(|error| failed(directory, &error))
}

/// How a page of a range is read.
fn page_options(range: &KeyRange, order: Order, limit: PageLimit) -> ReadOptions {
    let mut options = ReadOptions::default();
    // Prefix filters answer for one prefix only; and going down, the seek starts at the range's end, which has
    // another one.
    if order == Order::Ascending && is_within_prefix(range) {
        options.set_prefix_same_as_start(true);
    } else {
        options.set_total_order_seek(true);
    }
    // A long read passes through once; in the cache it would push out what lookups need.
    options.fill_cache(limit.row_count == 1);
    options.set_iterate_lower_bound(range.start.as_slice());
    if let Some(end) = &range.end {
        options.set_iterate_upper_bound(end.as_slice());
    }
    options
}

/// Whether all keys of a range share their first [`LOG_PREFIX_BYTES`] bytes.
fn is_within_prefix(range: &KeyRange) -> bool {
    let Some(prefix) = range.start.get(..LOG_PREFIX_BYTES) else { return false };
    match (&range.end, KeyRange::prefix(prefix).end) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(end), Some(behind)) => *end <= behind,
    }
}

/// For a database that is not open yet.
fn failed(directory: &HeldDirectory, error: &rocksdb::Error) -> Error {
    explained(directory, error, &DamagedBlob::default())
}

fn explained(directory: &HeldDirectory, error: &rocksdb::Error, damaged: &DamagedBlob) -> Error {
    let is_damage = error.kind() == rocksdb::ErrorKind::Corruption;
    let said = directory.told(error.as_ref());
    told(&said, is_damage, directory.shown(), directory.by(), damaged).caused_by(said)
}

/// What RocksDB's bindings have no method for. The MANIFEST holds the database's id; another copy of it in a file of its
/// own, `IDENTITY`, would be synced twice in every new store.
const MORE_OPTIONS: &str = "write_identity_file=false";

fn database_options(directory: &HeldDirectory) -> Result<Options, Error> {
    // First of all, as what it gives does not know what the bindings keep alive for `Options`.
    let options = Options::default().get_options_from_string(MORE_OPTIONS);
    let mut options = options.map_err(|error| failed(directory, &error))?;
    // `guard` has made sure that at most an unacknowledged tail is cut short; what else is damaged must be an error,
    // which point-in-time recovery, the default, would pass over.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // A recycled log holds the records of an earlier one: neither `guard` nor RocksDB could tell old from damaged.
    options.set_recycle_log_file_num(0);
    // A closed log that is missing or short is then an error at open.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_db_write_buffer_size(MEMTABLES_BYTES_MAX);
    // Files are opened when they are needed: a large store neither opens slowly nor takes all of a process's 1,024.
    options.set_max_open_files(512);
    options.set_skip_stats_update_on_db_open(true);
    // Flushes and compactions beside a program that has other things to do.
    options.set_max_background_jobs(4);
    // Writes tables out as they grow: one large sync at their end would make a commit's own sync wait.
    options.set_bytes_per_sync(1 << 20);
    // RocksDB's messages for humans, from warnings on. In files of its own each open would begin with 1,300 lines that list
    // every setting, a quarter of its instructions.
    let names = directory.clone();
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, move |level, message| {
        said(&names, level, message);
    }));
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    Ok(options)
}

/// Hands a message of RocksDB's on. It may hold a lock meanwhile, so whoever listens must not read or write the store.
fn said(directory: &HeldDirectory, level: LogLevel, message: &str) {
    match level {
        LogLevel::Warn => tracing::warn!(target: "relive", "RocksDB: {}", directory.told(message)),
        LogLevel::Error | LogLevel::Fatal => tracing::error!(target: "relive", "RocksDB: {}", directory.told(message)),
        // The list of settings comes as information, whatever level is asked for.
        LogLevel::Debug | LogLevel::Info | LogLevel::Header => {}
    }
}

/// A keyspace of which nothing is known but its name. It shares the cache: one that RocksDB makes by itself is reserved at once,
/// and the process is aborted where its address space is too small for that.
fn other_options(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options
}

fn keyspace_options(mut options: Options, usage: Usage, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_format_version(5);
    // Indexes and filters count in the cache, so that memory stays bounded however much is stored.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    options.set_compression_type(DBCompressionType::Lz4);
    // Three may be full or flushing while a fourth takes writes: a burst does not wait for one flush.
    options.set_max_write_buffer_number(4);
    options.set_level_zero_file_num_compaction_trigger(LEVEL_ZERO_TABLES);
    options.set_level_zero_slowdown_writes_trigger(LEVEL_ZERO_TABLES_SLOW);
    options.set_level_zero_stop_writes_trigger(LEVEL_ZERO_TABLES_MAX);
    match usage {
        Usage::Log => {
            options.set_write_buffer_size(32 << 20);
            // Most tables do not hold a given run: a filter on the prefix passes over them. Whole keys are hardly ever
            // asked for.
            options.set_prefix_extractor(SliceTransform::create_fixed_prefix(LOG_PREFIX_BYTES));
            table.set_bloom_filter(10.0, false);
            table.set_whole_key_filtering(false);
            table.set_block_size(16 << 10);
            // Most of the data ends up in the last level, is written there once and read seldom: pack it tighter.
            options.set_bottommost_compression_type(DBCompressionType::Zstd);
            options.set_enable_blob_files(true);
            options.set_min_blob_size(BLOB_BYTES_MIN);
            options.set_blob_compression_type(DBCompressionType::Lz4);
            options.set_enable_blob_gc(true);
        }
        Usage::Index => {
            options.set_write_buffer_size(16 << 20);
            // A lookup of what is not there, the common case of a cache, then costs no read.
            table.set_bloom_filter(10.0, false);
            table.set_whole_key_filtering(true);
            // As for tables, for what is still in memory: else a lookup of what is not there walks its list, and takes
            // longer than any other part of a call that misses the cache. 10 bits for each of some 250,000 keys.
            options.set_memtable_whole_key_filtering(true);
            options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
        }
        Usage::Queue => {
            // A scan steps over every deletion that no compaction has removed yet. Small memtables and early
            // compaction keep them few: killed at 130,000 operations a second, the scan at open took 27 ms.
            options.set_write_buffer_size(4 << 20);
            options.set_level_zero_file_num_compaction_trigger(2);
            options.add_compact_on_deletion_collector_factory(1024, 256, 0.3);
        }
    }
    options.set_block_based_table_factory(&table);
    options
}
