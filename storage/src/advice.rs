//! What to do where the operating system refused something.
//!
//! Called by whoever makes an error of what the system, or RocksDB, said.
//!
//! Invariant: an advice names the limit that was met, where the system says which.

/// What to do where the system refused, by what it said: the same words stand in our errors and in RocksDB's.
pub(crate) fn advice(said: &str) -> &'static str {
    ADVICE.iter().find(|(words, _)| said.contains(words)).map_or(ADVICE_ELSE, |(_, advice)| advice)
}

const ADVICE_ELSE: &str = "look at the disk and its free space";

/// Linux's words (`strerror`), the longer ones first; most are the same on other Unixes.
const ADVICE: [(&str, &str); 7] = [
    (
        "Too many open files in system",
        "the system has no file descriptors left: close programs that hold many, or raise its limit (fs.file-max)",
    ),
    (
        "Too many open files",
        "this process has no file descriptors left: raise its limit (ulimit -n; a store takes up to 600), or close what \
         it leaks",
    ),
    (
        "File too large",
        "a file may grow no further: raise this process's limit (ulimit -f), or use a file system that takes larger ones",
    ),
    ("No space left on device", "the file system is full, of bytes or of files (df, df -i): free some space"),
    ("Disk quota exceeded", "the quota of this user is used up: free some space, or raise it"),
    ("Input/output error", "the disk cannot be read or written: look at it and at the system's log"),
    ("Cannot allocate memory", "there is not enough memory: raise this process's limit (ulimit -v), or free some"),
];
