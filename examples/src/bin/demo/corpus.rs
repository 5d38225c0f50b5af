//! The files under a directory: which of them are text, and a digest of them all.
//!
//! Read by the pipeline's process before the call (the digest is part of the task's input) and by the search.
//!
//! Invariant: the same names and contents give the same digest, in whatever order a file system lists them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use relive::{Error, Result};
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

/// Larger files are left out: 1 MiB is far more than people write by hand.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// Most files under a directory: beyond, the demo would take minutes.
pub(crate) const FILE_COUNT_MAX: u64 = 100_000;

/// What cargo built this program from: which crates are Relive's own dependencies.
const CARGO_LOCK: &str = include_str!("../../../../Cargo.lock");

/// Which files of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub(crate) enum Selection {
    /// All.
    All,
    /// Those of Relive's own dependencies, in a directory where cargo keeps the sources of crates.
    Dependencies,
}

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    pub(crate) dir: String,
    pub(crate) selection: Selection,
}

/// The files that a task is about: part of its input, so that an edited file makes another call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Corpus {
    pub(crate) source: Source,
    pub(crate) file_count: u64,
    pub(crate) bytes: u64,
    /// blake3 over names and contents, in hexadecimal.
    pub(crate) digest: String,
}

/// How many files were left out, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    pub(crate) binary: u64,
    pub(crate) large: u64,
    pub(crate) unreadable: u64,
}

impl LeftOut {
    fn count(&self) -> u64 {
        self.binary + self.large + self.unreadable
    }
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} binary, {} over 1 MiB, {} unreadable", self.binary, self.large, self.unreadable)
    }
}

impl Source {
    /// The files under a directory that somebody named.
    ///
    /// # Errors
    /// If there is none, it is no directory, or it cannot be read.
    pub(crate) fn directory(dir: &Path) -> Result<Self> {
        let refuse = |error: &io::Error| match error.kind() {
            io::ErrorKind::NotFound => Error::msg(format!("there is no directory {}", dir.display())),
            io::ErrorKind::NotADirectory => {
                Error::msg(format!("{} is not a directory: name the one that holds the files", dir.display()))
            }
            io::ErrorKind::PermissionDenied => {
                Error::msg(format!("the directory {} cannot be read: permission denied", dir.display()))
            }
            _ => Error::msg(format!("the directory {} cannot be read: {error}", dir.display())),
        };
        let absolute = dir.canonicalize().map_err(|error| refuse(&error))?;
        fs::read_dir(&absolute).map_err(|error| refuse(&error))?;
        let dir = absolute.into_os_string().into_string();
        let dir = dir.map_err(|dir| Error::msg(format!("the name of the directory {} is not UTF-8", dir.display())))?;
        Ok(Self { dir, selection: Selection::All })
    }

    /// The sources of Relive's own dependencies, where cargo keeps them.
    ///
    /// # Errors
    /// If cargo keeps them elsewhere (`cargo vendor`).
    pub(crate) fn dependencies() -> Result<Self> {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
        let registry = home.join("registry").join("src");
        let found = fs::read_dir(&registry).ok().and_then(|indexes| {
            let held = |index: &PathBuf| locked_crates().filter(|name| index.join(name).is_dir()).count();
            let indexes = indexes.flatten().map(|entry| entry.path());
            indexes.map(|index| (held(&index), index)).filter(|(held, _)| *held > 0).max()
        });
        let Some((_, index)) = found else {
            return Err(Error::msg(format!(
                "cargo keeps no sources of Relive's dependencies in {}: name a directory of text files, \
                 as in `make demo DIR=/usr/share/doc`",
                registry.display()
            )));
        };
        Ok(Self { selection: Selection::Dependencies, ..Self::directory(&index)? })
    }

    /// Reads every text file in order of their names, and gives each to `each` with its path below the directory.
    ///
    /// Neither hidden files nor symbolic links are followed. What is read and what is left out is told at the end.
    ///
    /// # Errors
    /// If there is no text file, or there are more than [`FILE_COUNT_MAX`].
    pub(crate) fn visit(&self, mut each: impl FnMut(&str, &str)) -> Result<(Corpus, LeftOut)> {
        let root = Path::new(&self.dir);
        let crates: BTreeSet<String> = match self.selection {
            Selection::All => BTreeSet::new(),
            Selection::Dependencies => locked_crates().collect(),
        };
        let wanted = |entry: &walkdir::DirEntry| {
            let name = entry.file_name().to_string_lossy();
            match entry.depth() {
                0 => true,
                1 if self.selection == Selection::Dependencies => crates.contains(&*name),
                _ => !name.starts_with('.'),
            }
        };
        let mut hasher = blake3::Hasher::new();
        let (mut file_count, mut bytes, mut left_out) = (0, 0, LeftOut::default());
        for entry in WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(wanted) {
            let Ok(entry) = entry else {
                left_out.unreadable += 1;
                continue;
            };
            if !entry.file_type().is_file() {
                continue;
            }
            if file_count + left_out.count() == FILE_COUNT_MAX {
                return Err(Error::msg(format!(
                    "{} holds more than {FILE_COUNT_MAX} files: name a smaller directory",
                    self.dir
                )));
            }
            let path = entry.path().strip_prefix(root).unwrap_or(entry.path()).to_str();
            match (path, read_text(entry.path())) {
                (Some(path), Ok(text)) => {
                    for part in [path, &text] {
                        hasher.update(&(part.len() as u64).to_le_bytes());
                        hasher.update(part.as_bytes());
                    }
                    (file_count, bytes) = (file_count + 1, bytes + text.len() as u64);
                    each(path, &text);
                }
                (_, Err(Refused::Binary)) => left_out.binary += 1,
                (_, Err(Refused::Large)) => left_out.large += 1,
                (None, _) | (_, Err(Refused::Unreadable)) => left_out.unreadable += 1,
            }
        }
        match (file_count, left_out.count()) {
            (0, 0) => Err(Error::msg(format!("{} holds no files", self.dir))),
            (0, _) => Err(Error::msg(format!("{} holds no text files ({left_out})", self.dir))),
            _ => {
                let digest = hasher.finalize().to_hex().to_string();
                Ok((Corpus { source: self.clone(), file_count, bytes, digest }, left_out))
            }
        }
    }
}

/// Why a file is left out.
enum Refused {
    Binary,
    Large,
    Unreadable,
}

fn read_text(path: &Path) -> Result<String, Refused> {
    // Asked before it is read, so that a huge file costs nothing; and again after, as it may have grown.
    let metadata = fs::metadata(path).map_err(|_| Refused::Unreadable)?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(Refused::Large);
    }
    let bytes = fs::read(path).map_err(|_| Refused::Unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Refused::Large);
    }
    if bytes.contains(&0) { Err(Refused::Binary) } else { String::from_utf8(bytes).map_err(|_| Refused::Binary) }
}

/// The folders of the crates in Cargo.lock that come from a registry: `name-version`.
fn locked_crates() -> impl Iterator<Item = String> {
    CARGO_LOCK.split("[[package]]").filter(|package| package.contains("\nsource = \"registry+")).filter_map(|package| {
        let field = |name: &str| package.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix('"'));
        Some(format!("{}-{}", field("name = \"")?, field("version = \"")?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Source) {
        let folder = tempfile::tempdir().unwrap();
        for (path, contents) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        let source = Source::directory(folder.path()).unwrap();
        (folder, source)
    }

    fn message<T>(result: Result<T>) -> String {
        result.map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn only_text_is_read_and_the_rest_is_counted() {
        let large = vec![b'a'; FILE_BYTES_MAX as usize + 1];
        let (_folder, source) = folder(&[
            ("b/text.rs", b"fn main() {}"),
            ("a.md", "Grüße".as_bytes()),
            ("nul", b"\0"),
            ("latin1", b"Gr\xfc\xdfe"),
            ("large", &large),
            (".hidden/text", b"no"),
        ]);
        let mut seen = Vec::new();
        let (corpus, left_out) = source.visit(|path, text| seen.push((path.to_owned(), text.to_owned()))).unwrap();
        assert_eq!(seen, [("a.md".into(), "Grüße".into()), ("b/text.rs".into(), "fn main() {}".to_owned())]);
        assert_eq!((corpus.file_count, corpus.bytes), (2, 19));
        assert_eq!(left_out, LeftOut { binary: 2, large: 1, unreadable: 0 });
    }

    #[test]
    #[cfg(unix)]
    fn links_are_not_followed() {
        let (folder, source) = folder(&[("a", b"a")]);
        std::os::unix::fs::symlink("/", folder.path().join("root")).unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("b")).unwrap();
        assert_eq!(source.visit(|_, _| ()).unwrap().0.file_count, 1);
    }

    #[test]
    fn the_digest_changes_with_a_name_or_a_byte_and_with_nothing_else() {
        let digest = |files: &[(&str, &[u8])]| folder(files).1.visit(|_, _| ()).unwrap().0.digest;
        let as_it_was = digest(&[("a", b"1"), ("b", b"2")]);
        assert_eq!(as_it_was, digest(&[("b", b"2"), ("a", b"1")]));
        assert_eq!(as_it_was, digest(&[("b", b"2"), ("a", b"1"), ("binary", b"\0")]));
        assert_ne!(as_it_was, digest(&[("a", b"1"), ("b", b"3")]));
        assert_ne!(as_it_was, digest(&[("a", b"1"), ("c", b"2")]));
        assert_ne!(digest(&[("ab", b"c")]), digest(&[("a", b"bc")]));
    }

    #[test]
    fn what_cannot_be_searched_is_named() {
        let (folder, source) = folder(&[]);
        assert!(message(source.visit(|_, _| ())).ends_with("holds no files"));
        fs::write(folder.path().join("a"), b"\0").unwrap();
        let none = message(source.visit(|_, _| ()));
        assert!(none.ends_with("holds no text files (1 binary, 0 over 1 MiB, 0 unreadable)"), "{none}");
        assert!(message(Source::directory(&folder.path().join("a"))).contains("is not a directory"));
        assert!(message(Source::directory(&folder.path().join("b"))).starts_with("there is no directory"));
    }

    #[test]
    fn dependencies_are_those_of_the_lock_file() {
        let crates: Vec<String> = locked_crates().collect();
        assert!(crates.iter().any(|name| name.starts_with("librocksdb-sys-")));
        assert!(!crates.iter().any(|name| name.starts_with("relive")));
    }
}
