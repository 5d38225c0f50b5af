//! Failures of earlier times, kept in a file as proptest writes it.
//!
//! Invariant: what is kept is tried once, before anything new.

use std::any::Any;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use proptest::test_runner::{FailurePersistence, FileFailurePersistence, PersistedSeed};

/// What the file's name ends with.
const REGRESSIONS: &str = "proptest-regressions";

/// The failures of the tests in a source file, beside it or in a directory; and that source file, as proptest wants to know
/// it. `tried`: they are tried. What is leaked is two names for each check.
pub(crate) fn in_file(
    source: &str,
    directory: Option<&Path>,
    tried: bool,
) -> (Option<Box<dyn FailurePersistence>>, Option<&'static str>) {
    let Some(absolute) = absolute(source) else { return (None, None) };
    let file = match directory {
        Some(directory) => {
            let stem = Path::new(source).file_stem().unwrap_or_default();
            let file = directory.join(stem).with_extension(REGRESSIONS);
            FileFailurePersistence::Direct(file.display().to_string().leak())
        }
        None => FileFailurePersistence::WithSource(REGRESSIONS),
    };
    (Some(Box::new(Regressions { tried, file })), Some(absolute.leak()))
}

#[derive(Clone, Debug)]
struct Regressions {
    tried: bool,
    file: FileFailurePersistence,
}

impl FailurePersistence for Regressions {
    fn load_persisted_failures2(&self, source_file: Option<&'static str>) -> Vec<PersistedSeed> {
        if self.tried { self.file.load_persisted_failures2(source_file) } else { Vec::new() }
    }

    fn save_persisted_failure2(&mut self, source_file: Option<&'static str>, seed: PersistedSeed, shrunk: &dyn Debug) {
        self.file.save_persisted_failure2(source_file, seed, shrunk);
    }

    fn box_clone(&self) -> Box<dyn FailurePersistence> {
        Box::new(self.clone())
    }

    fn eq(&self, other: &dyn FailurePersistence) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| other.tried == self.tried)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Where a source file is: the compiler names it from the workspace, a test runs in its package.
fn absolute(file: &str) -> Option<String> {
    let mut directory = std::env::current_dir().ok()?;
    loop {
        let found: PathBuf = directory.join(file);
        if found.is_file() {
            return found.to_str().map(ToOwned::to_owned);
        }
        if !directory.pop() {
            return None;
        }
    }
}
