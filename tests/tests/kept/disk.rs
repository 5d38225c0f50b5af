//! On a disk: the space of runs that have gone comes back.

use std::path::Path;

use relive::{Keep, task, trace};
use relive_tests::manual_clock::ManualClock;

use super::support::{DAY, HOUR, MINUTE};
use super::system::{Probe, builder};

/// As much as nothing compresses.
#[trace(name = "kept.noise")]
async fn noise(number: u64) -> relive::Result<Vec<u64>> {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    Ok(std::iter::repeat_with(next).take(4_096).collect())
}

#[task(name = "kept.large", cache = "off")]
async fn large(number: u64) -> relive::Result<usize> {
    Ok(noise(number).await?.len())
}

/// What tables and large values take.
fn bytes(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory.join("db")).expect("the directory is there");
    let is_data = |name: &str| [".sst", ".blob", ".log"].iter().any(|end| name.ends_with(end));
    let files = files.map(|file| file.expect("it is listed"));
    let data = files.filter(|file| is_data(&file.file_name().to_string_lossy()));
    data.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_space_of_runs_that_have_gone_comes_back() -> relive::Result<()> {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let (path, clock) = (directory.path().join("store"), ManualClock::default());
    let set_up = |clock: &ManualClock| {
        let engine = builder(&Probe::default()).keep(Keep::age(DAY)).clock(clock.clone());
        engine.durability(relive::Durability::Buffered)
    };
    let engine = set_up(&clock).open(&path).await?;
    clock.sleeps(MINUTE).await;
    for number in 0..400 {
        engine.run(large(number)).await?;
        clock.advance(std::time::Duration::from_secs(1));
    }
    // So that all of it is in tables.
    engine.shutdown().await?;
    let clock = clock.next_life(HOUR);
    let engine = set_up(&clock).open(&path).await?;
    clock.sleeps(MINUTE).await;
    let full = bytes(&path);
    assert!(full > 400 * 4_096 * 8, "{full}");
    clock.advance(DAY);
    clock.sleeps(MINUTE).await;
    assert_eq!(engine.runs().count(), 0);
    engine.run(large(1_000)).await?;
    engine.shutdown().await?;
    // RocksDB removes files that nobody reads any more when it is opened again, at the latest.
    let engine = set_up(&clock.next_life(HOUR)).open(&path).await?;
    engine.shutdown().await?;
    let left = bytes(&path);
    assert!(left < full / 8, "{left} of {full} bytes");
    Ok(())
}
