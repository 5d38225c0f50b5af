//! The command `relive`, run as a process of its own on stores that the `relive` crate has written.
//!
//! `stores` writes them, with a clock that only effects turn, so that what is printed is the same every time; `output`
//! has the snapshots; `everything` those of every kind of trace; `find` which run is meant, `filters` which runs; `errors`
//! what goes wrong.
//! has the snapshots; `everything` those of every kind of trace; `step` one moment of a log; `find` which run is meant;
//! `errors` what goes wrong.
//! has the snapshots; `everything` those of every kind of trace; `find` which run is meant; `errors` what goes wrong; `set_aside` a signal that fits nothing; `program` is the command of a
//! program that has the tasks, `live` what goes through an engine's socket, `offline` what goes without.

#![expect(clippy::unwrap_used, reason = "what is unwrapped outside of tests prepares them")]

mod answered;
mod blocked;
mod errors;
mod everything;
mod export;
mod filters;
mod find;
mod live;
mod offline;
mod output;
mod program;
mod set_aside;
mod step;
mod stores;
mod verify;

use std::path::Path;
use std::process::{Command, Output};

/// The command on a directory, in UTC, 100 columns wide, without colours unless asked.
pub(crate) fn relive(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relive"));
    command.env_clear().env("TZ", "UTC").env("RELIVE_DIR", directory).args(arguments);
    command
}

/// What a command did.
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Ran {
    let Output { status, stdout, stderr } = relive(directory, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { status: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
}

/// The output of a command that must succeed and say nothing else.
pub(crate) fn printed(directory: &Path, arguments: &[&str]) -> String {
    let ran = run(directory, arguments);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{arguments:?}");
    ran.stdout
}

/// What a command that must fail says about it.
pub(crate) fn refused(directory: &Path, arguments: &[&str]) -> String {
    let ran = run(directory, arguments);
    assert_eq!(ran.status, 1, "{arguments:?}: {}", ran.stdout);
    ran.stderr
}
