//! The commands of `relive` in a program with tasks: what a program of yours does to get them.
//!
//! The pipeline's client is provided as to its engine, so that a run can be resumed or forked as well as replayed.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::pipe;
use crate::pipeline::Service;

/// Where the summarizing service is, for commands that run something: the demo's own ends with the demo.
const SERVICE: &str = "DEMO_SERVICE";

/// Runs a command line of `relive`.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    pipe::be_silent();
    relive_cli::Cli::new()
        .builder(|builder| {
            // A client that cannot be built is one that fails: replays need none.
            let client = reqwest::Client::builder().no_proxy().build().unwrap_or_default();
            let url = std::env::var(SERVICE).unwrap_or_else(|_| "http://127.0.0.1:9".to_owned());
            builder.provide(Service { client, url })
        })
        .run(std::iter::once("relive".into()).chain(arguments))
}
