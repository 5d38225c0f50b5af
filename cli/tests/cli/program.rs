//! The command of a program that has these tests' tasks: this test binary, run once more.
//!
//! Invariant: where nobody asks for it, its test does nothing.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

use relive_cli::Cli;

use crate::Ran;
use crate::stores::{Approved, clock};

/// Parts what the test harness prints from what the command does.
const BEGINS: &str = "=== the program begins\n";

/// What the program's command did.
pub(crate) fn program(directory: &Path, approved: bool, arguments: &[&str]) -> Ran {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env_clear().env("TZ", "UTC").env("RELIVE_DIR", directory).env("COLUMNS", "100");
    command.env("RELIVE_TEST_APPROVED", if approved { "1" } else { "0" });
    command.env("RELIVE_TEST_ARGUMENTS", serde_json::to_string(arguments).unwrap());
    let Output { status, stdout, stderr } =
        command.args(["--exact", "program::is_the_program", "--nocapture"]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let stdout = text(stdout);
    let stdout = stdout.split_once(BEGINS).unwrap_or_else(|| panic!("{stdout}")).1.to_owned();
    Ran { status: status.code().unwrap(), stdout, stderr: text(stderr) }
}

#[test]
fn is_the_program() {
    let Ok(arguments) = std::env::var("RELIVE_TEST_ARGUMENTS") else { return };
    let mut arguments: Vec<OsString> =
        serde_json::from_str::<Vec<String>>(&arguments).unwrap().into_iter().map(OsString::from).collect();
    arguments.insert(0, "relive".into());
    let approved = std::env::var("RELIVE_TEST_APPROVED").is_ok_and(|approved| approved == "1");
    print!("{BEGINS}");
    let cli = Cli::new().builder(move |builder| {
        let clock = clock();
        builder.clock(clock.clone()).provide(clock).provide(Approved(approved))
    });
    let code = cli.run(arguments);
    let status = [0u8, 1, 2, 3].into_iter().find(|status| ExitCode::from(*status) == code).unwrap();
    std::process::exit(status.into());
}
