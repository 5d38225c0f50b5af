//! Whether the disk has room for a store that is to grow.

use std::path::Path;

use crate::Failure;

/// What a store needs beside what it holds, as compactions write anew before they delete, and the stores that it is compared
/// with: half as much, and 2 GB.
fn needed(bytes: u64) -> u64 {
    bytes + bytes / 2 + 2_000_000_000
}

/// Refuses what would fill the disk.
pub(super) fn check(directory: &Path, bytes: u64) -> Result<(), Failure> {
    let space = rustix::fs::statvfs(directory)
        .map_err(|error| format!("how much space is free in {} cannot be read: {error}", directory.display()))?;
    enough(directory, bytes, space.f_bavail.saturating_mul(space.f_frsize))
}

fn enough(directory: &Path, bytes: u64, free: u64) -> Result<(), Failure> {
    let needed = needed(bytes);
    if free >= needed {
        return Ok(());
    }
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    Err(format!(
        "a store of {:.1} GB needs {:.1} GB of free space while it grows, and {} has {:.1}: free some, choose another \
         directory with --dir, or a smaller store with --gigabytes",
        gigabytes(bytes),
        gigabytes(needed),
        directory.display(),
        gigabytes(free),
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_space_is_an_error_that_says_where_and_how_much() {
        let directory = Path::new("/some/where");
        assert!(enough(directory, 10_000_000_000, 17_000_000_000).is_ok());
        let error = enough(directory, 10_000_000_000, 16_900_000_000).expect_err("too little").to_string();
        assert!(error.contains("/some/where has 16.9") && error.contains("needs 17.0 GB"), "{error}");
    }
}
