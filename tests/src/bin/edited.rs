//! A user's program with the command line of Relive: its tasks are those of `relive_tests::edits`.
//!
//! `RELIVE_EDIT` says which release of them it is.

use std::process::ExitCode;

use relive_tests::edits::Edit;

fn main() -> ExitCode {
    let edit = std::env::var("RELIVE_EDIT").ok().and_then(|name| Edit::named(&name)).unwrap_or_default();
    relive_cli::Cli::new().builder(move |builder| builder.provide(edit)).main()
}
