//! The Rust test that replays an exported run.
//!
//! Invariant: what is written compiles where it is put, in a package with `relive` among its dependencies.

use std::fs;
use std::path::{Path, PathBuf};

use relive_engine::error::{Error, ErrorKind};
use relive_engine::id::RunId;

use crate::failure::Failure;

/// A test that is to be written.
pub(super) struct Test {
    path: PathBuf,
    /// The package's library, whose tasks the test needs.
    library: Option<String>,
}

impl Test {
    /// # Errors
    /// If the path is no place for a test.
    pub(super) fn at(path: &Path) -> Result<Self, Failure> {
        let refuse = |why: String| Err(Error::new(ErrorKind::Unsupported, why).into());
        if path.extension().is_none_or(|extension| extension != "rs") {
            return refuse(format!("--test takes the path of a Rust file, and {} does not end in .rs", path.display()));
        }
        if path.exists() {
            return refuse(format!("{} is there already: give another path, or remove it", path.display()));
        }
        match package(path) {
            Package::Binary(name) => refuse(format!(
                "the package {name} is only a binary, so a test beside it cannot link its tasks: move them into src/lib.rs, or \
                 give a path under src/ and name that module in main.rs (`#[cfg(test)] mod …;`)"
            )),
            Package::Library(name) => Ok(Self { path: path.to_owned(), library: Some(name) }),
            Package::Unknown => Ok(Self { path: path.to_owned(), library: None }),
        }
    }

    /// Where the exported run goes, if nothing else is said.
    pub(super) fn export(&self) -> PathBuf {
        self.path.with_extension("relive")
    }

    /// Writes the test; `export` is where the run is.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write(&self, run: RunId, task: &str, export: &Path) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            let why = format!("{} cannot be written: {error}", self.path.display());
            Failure::from(Error::new(ErrorKind::Storage, why).caused_by(error))
        };
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let from = fs::canonicalize(directory).map_err(failed)?;
        let to = fs::canonicalize(export).map_err(failed)?;
        let source = source(run, task, &relative(&from, &to), self.library.as_deref());
        fs::write(&self.path, source).map_err(failed)
    }
}

fn source(run: RunId, task: &str, export: &str, library: Option<&str>) -> String {
    let link = match library {
        Some(library) => format!("// Links in the tasks of this package.\nuse {library} as _;\n\n"),
        None => String::new(),
    };
    let comment: String = task.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!(
        "//! Replays run {run} of task {comment} as it was recorded. Written by `relive export --test`.\n\
         //!\n\
         //! No effect begins. If it fails, the code does not do any more what it did then; the error names the first place.\n\
         //! A task that needs clients gets them by `relive::Engine::builder().provide(…).replay_export(…)`.\n\
         \n\
         {link}\
         #[test]\n\
         fn {name}_replays_as_it_was_recorded() -> relive::Result<()> {{\n    \
             relive::replay_export(include_bytes!({export:?}))\n\
         }}\n",
        name = identifier(task),
    )
}

/// A task's name as part of a function's.
fn identifier(task: &str) -> String {
    let mut name: String =
        task.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
        name.insert_str(0, "task_");
    }
    name
}

/// A path from a directory to a file, both without links and dots.
fn relative(from: &Path, to: &Path) -> String {
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| "..".to_owned());
    let down = to.components().skip(common).map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

/// What a test at a path links.
enum Package {
    /// The library of its package, as code names it.
    Library(String),
    /// Its package, by its name, has no library, and the path is outside of its sources.
    Binary(String),
    /// Nothing: the file is a part of what has the tasks, or of no package.
    Unknown,
}

/// The package that a file is in.
fn package(path: &Path) -> Package {
    let absolute = std::path::absolute(path).ok();
    let directory = absolute.as_ref().and_then(|path| {
        path.ancestors().skip(1).find(|directory| directory.join("Cargo.toml").is_file()).map(Path::to_owned)
    });
    let (Some(absolute), Some(directory)) = (absolute, directory) else { return Package::Unknown };
    let manifest = fs::read_to_string(directory.join("Cargo.toml"));
    let (Ok(manifest), false) = (manifest, absolute.starts_with(directory.join("src"))) else {
        return Package::Unknown;
    };
    let mut section = "";
    let (mut package_name, mut library_name) = (None, None);
    let mut has_library = directory.join("src/lib.rs").is_file();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
            // Its path may be another.
            has_library |= section == "[lib]";
        } else if let Some((key, value)) = line.split_once('=')
            && key.trim() == "name"
        {
            let name = value.trim().trim_matches('"');
            match section {
                "[package]" => package_name = Some(name),
                "[lib]" => library_name = Some(name),
                _ => {}
            }
        }
    }
    let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    match (library_name.or(package_name).filter(is_name), package_name.filter(is_name)) {
        (Some(name), _) if has_library => Package::Library(name.replace('-', "_")),
        (_, Some(name)) if !has_library => Package::Binary(name.to_owned()),
        _ => Package::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_from_the_test_to_the_export() {
        let relative = |from: &str, to: &str| relative(Path::new(from), Path::new(to));
        assert_eq!(relative("/a/tests", "/a/tests/run.relive"), "run.relive");
        assert_eq!(relative("/a/tests", "/a/runs/x/run.relive"), "../runs/x/run.relive");
    }

    #[test]
    fn any_task_has_a_function() {
        assert_eq!(identifier("orders.Place-2"), "orders_place_2");
        assert_eq!(identifier("7"), "task_7");
        assert_eq!(identifier("übung"), "_bung");
    }
}
