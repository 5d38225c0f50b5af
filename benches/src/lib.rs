//! What Relive costs, side by side with what it stands on: the disk, and RocksDB alone.
//!
//! A plain program, because its figures are ratios of things measured in turns within one run, which criterion does not
//! do. `main` reads the command line and runs one module per part, in a process of its own; each returns figures, and `report`
//! prints them.
//!
//! Invariant: what is compared is measured in the same run, on the same file system, with the same bytes, in blocks that
//! alternate, so that whatever else the machine does hits all sides alike.

mod bare;
mod cache;
mod growth;
mod load;
mod long;
mod many;
mod memory;
mod meter;
mod parcels;
mod payloads;
pub mod peers;
mod replay;
mod report;
mod samples;
mod sequential;
mod setting;
mod sleepers;
mod start;
mod stream;
mod throughput;
mod unfinished;
mod wide;

use clap::ValueEnum;

pub use long::replay;
pub use meter::Others;
pub use report::{Bound, Figure, json_line, table};
pub use setting::{Failure, Setting, Sizes};
pub use start::first;
pub use unfinished::load;

/// A part of the benchmark: what one `--only` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// A long stream, live and replayed, and the memory that takes
    Stream,
    /// A million runs that sleep, and the memory that takes
    Sleepers,
    /// Many runs under way that wait, and the memory that takes
    Many,
    /// One durable trace after the other, beside the disk's sync and RocksDB's synced put
    Sequential,
    /// A thousand runs at once, beside large synced batches of RocksDB
    Throughput,
    /// The same with payloads of three sizes, beside RocksDB and the disk
    Payloads,
    /// One run that calls thousands of traces at once
    Wide,
    /// A process to its first result; an open of a store with many finished runs
    Start,
    /// Opens of a store with many finished runs: with unfinished ones, and after kills under load
    Open,
    /// A long run taken up again
    Replay,
    /// Long finished runs, replayed by a process that only reads
    Long,
    /// Calls that the cache knows, and calls that it does not
    Cache,
    /// All of it as a store grows to gigabytes: takes the better part of an hour, and the disk's space; only if asked for
    Growth,
}

impl Part {
    /// All but `Growth`, in the order in which they run.
    pub const ALL: [Self; 12] = [
        Self::Stream,
        Self::Sleepers,
        Self::Many,
        Self::Sequential,
        Self::Throughput,
        Self::Payloads,
        Self::Wide,
        Self::Start,
        Self::Open,
        Self::Replay,
        Self::Long,
        Self::Cache,
    ];

    /// Measures it.
    ///
    /// # Errors
    /// If the directory cannot be written, or something that is measured fails.
    pub fn measure(self, setting: &Setting) -> Result<Vec<Figure>, Failure> {
        match self {
            Self::Stream => stream::measure(setting),
            Self::Sleepers => sleepers::measure(setting),
            Self::Many => many::measure(setting),
            Self::Sequential => sequential::measure(setting),
            Self::Throughput => throughput::measure(setting),
            Self::Payloads => payloads::measure(setting),
            Self::Wide => wide::measure(setting),
            Self::Start => start::measure(setting),
            Self::Open => unfinished::measure(setting),
            Self::Replay => replay::measure(setting),
            Self::Long => long::measure(setting),
            Self::Cache => cache::measure(setting),
            Self::Growth => growth::measure(setting),
        }
    }
}

/// What belongs to this list and takes too long for it: said, so that nobody takes it for measured.
pub fn not_measured() -> Vec<Figure> {
    vec![Figure::absent(
        growth::KEY,
        "throughput with 10 GB stored / of an empty store: not measured here, make bench-long does",
    )]
}
