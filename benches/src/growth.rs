//! What costs more as a store grows to gigabytes: everything at 0, 1, 2, 5 and 10 GB, beside a store that is new.
//!
//! The store is filled by runs, as in `throughput`, whose traces return 1,000 bytes each (`parcels`), or as many as one
//! says: large enough that 10 GB are there in minutes, small enough that they lie among the records, where compactions copy
//! them, and not in files of their own (those above 16 KiB do). A gigabyte is 10⁹ bytes in the store's directory, once nothing is left to compact.
//!
//! Invariant: at each size the large store and a new one are measured in turns, with the same in them to begin with; a ratio
//! is of two measurements that follow one another.

mod filling;
mod probe;
mod space;

use std::io::Write as _;
use std::path::Path;

use tempfile::TempDir;

use crate::samples::Samples;
use crate::{Bound, Failure, Figure, Setting, table};
use filling::Filling;
use probe::{Measured, Subject};

/// The figure that has a target: throughput with 10 GB stored, as a part of an empty store's.
pub(crate) const KEY: &str = "growth_10gb";

/// Of an empty store's throughput, at any size.
const THROUGHPUT_MIN: f64 = 0.8;

/// Where everything is measured, in GB; and where the store has its last size.
const CHECKPOINTS: [u64; 4] = [1, 2, 5, 10];

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let gigabyte = setting.sizes.gigabyte;
    space::check(&setting.directory, setting.gigabytes * gigabyte)?;
    let runtime = setting.runtime()?;
    let scratch = setting.scratch()?;
    let mut filling = Filling::default();
    let large = Subject::make(setting, &runtime, &scratch.path().join("large"))?;
    // A store that is as new as the other one: how far two measurements of the same are apart.
    let mut figures = compared(setting, &runtime, &large, 0)?;
    tell(&figures)?;
    for gigabytes in checkpoints(setting.gigabytes) {
        writeln!(std::io::stderr(), "bench:   filling up to {} …", spoken(gigabytes * gigabyte))?;
        let mut further = filling.up_to(setting, &runtime, &large.path, gigabytes * gigabyte)?;
        further.extend(compared(setting, &runtime, &large, gigabytes * gigabyte)?);
        tell(&further)?;
        figures.extend(further);
    }
    figures.extend(filling.figures(setting.payload_bytes));
    if setting.gigabytes * gigabyte < 10_000_000_000 {
        figures.push(Figure::absent(KEY, "throughput with 10 GB stored: not measured, as the store did not get there"));
    }
    Ok(figures)
}

/// Shows what is known so far: whoever interrupts it has that.
fn tell(figures: &[Figure]) -> Result<(), Failure> {
    Ok(write!(std::io::stderr(), "{}", table(figures))?)
}

fn checkpoints(gigabytes: u64) -> Vec<u64> {
    let before = CHECKPOINTS.into_iter().filter(|checkpoint| *checkpoint < gigabytes);
    before.chain([gigabytes]).collect()
}

/// Measures a store that holds so many bytes, in turns with one that is new.
fn compared(
    setting: &Setting,
    runtime: &tokio::runtime::Runtime,
    large: &Subject,
    bytes: u64,
) -> Result<Vec<Figure>, Failure> {
    let mut sides: [Vec<Measured>; 2] = Default::default();
    for round in 0..setting.sizes.growth_rounds {
        // A new one each time: what the round before has written into it is not empty any more.
        let scratch: TempDir = setting.scratch()?;
        let new = Subject::make(setting, runtime, &scratch.path().join("new"))?;
        for turn in 0..2 {
            let side = (round + turn) as usize % 2;
            sides[side].push([&new, large][side].measure(setting, runtime)?);
        }
    }
    let [new, large] = sides;
    let label = label(bytes);
    let mut figures = Vec::new();
    for (index, quantity) in probe::QUANTITIES.iter().enumerate() {
        let (mut ratios, mut values) = (Samples::default(), Samples::default());
        for (new, large) in new.iter().zip(&large) {
            ratios.push(large[index] / new[index]);
            values.push(large[index]);
        }
        let what = format!("{} stored: {}", spoken(bytes), quantity.what);
        let ratio = Figure::of(quantity.ratio_key(&label), "  the same / of an empty store", &ratios);
        figures.push(Figure::of(quantity.key(&label), what, &values));
        figures.push(if quantity.is_throughput() { ratio.bound(Bound::AtLeast(THROUGHPUT_MIN)) } else { ratio });
    }
    Ok(figures)
}

/// A size in a figure's key.
fn label(bytes: u64) -> String {
    match bytes % 1_000_000_000 {
        0 => format!("{}gb", bytes / 1_000_000_000),
        _ => format!("{}mb", bytes / 1_000_000),
    }
}

/// A size for people.
fn spoken(bytes: u64) -> String {
    match bytes % 1_000_000_000 {
        0 => format!("{} GB", bytes / 1_000_000_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

/// How many bytes the files below a directory have. One that goes meanwhile counts for nothing.
fn stored_bytes(directory: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => stored_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_size_is_the_one_that_was_asked_for_and_only_ten_gigabytes_are_called_that() {
        assert_eq!(checkpoints(10), [1, 2, 5, 10]);
        assert_eq!(checkpoints(3), [1, 2, 3]);
        assert_eq!(checkpoints(20), [1, 2, 5, 10, 20]);
        let key = |bytes| {
            let throughput = probe::QUANTITIES.iter().find(|quantity| quantity.is_throughput()).expect("it is there");
            throughput.ratio_key(&label(bytes))
        };
        assert_eq!(key(10_000_000_000), KEY);
        assert_eq!(key(10_000_000), "growth_10mb");
    }
}
