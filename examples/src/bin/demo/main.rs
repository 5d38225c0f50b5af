//! The demo: a research pipeline over real files is killed with SIGKILL part-way, started again, and goes on.
//!
//! `make demo [DIR=…]` from the root of the repository. One executable, three kinds of process: the *parent*, which people
//! start; the *service*, which summarizes files and writes down every request; the *pipeline*, which is killed.
//!
//! ```text
//! parent    starts the others, reads the pipeline's lines, kills it, starts it again
//! service   the witness: answers over HTTP, notes every request
//! commands  the commands of `relive`, with the pipeline's tasks linked in
//! child     the pipeline's process: an engine, one call, a line for every acknowledged event
//! pipeline  what it runs: a task and its three traces
//! corpus, search, words, summary, insights   the work itself, plain functions
//! pipe      the lines between the processes
//! life      what the parent has heard of one process of the pipeline
//! verdict   what must hold, decided from pipe and witness alone
//! report    what people see
//! ```

mod child;
mod commands;
mod corpus;
mod insights;
mod life;
mod parent;
mod pipe;
mod pipeline;
mod process;
mod report;
mod search;
mod service;
mod summary;
mod verdict;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::corpus::Selection;

/// Kills a research pipeline part-way, starts it again, and shows what was replayed and what ran.
#[derive(Parser)]
#[command(name = "demo", args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct Command {
    #[command(subcommand)]
    process: Option<Process>,
    #[command(flatten)]
    demo: DemoOptions,
}

/// What people can choose.
#[derive(Args, Clone, Debug)]
struct DemoOptions {
    /// The text files under this directory are searched [default: the sources of Relive's own dependencies, as cargo keeps
    /// them]
    dir: Option<PathBuf>,
    /// What to look for: files that hold all these words
    #[arg(long, value_name = "WORDS", default_value = "atomic ordering")]
    topic: String,
    /// How many of the best files to summarize
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    hits: u32,
    /// Port of the summarizing service, on 127.0.0.1 [default: one that is free]
    #[arg(long)]
    port: Option<u16>,
    /// Keep the store and the witness in this directory, which must be new or empty [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// What the executable does instead: all but the first are the processes that the demo starts, not for people.
#[derive(Subcommand)]
enum Process {
    /// The commands of `relive`, with the pipeline's tasks linked in: `demo relive --dir DATA/store replay RUN`
    #[command(disable_help_flag = true)]
    Relive {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    #[command(name = "__service", hide = true)]
    Service(ServiceOptions),
    #[command(name = "__pipeline", hide = true)]
    Pipeline(PipelineOptions),
}

/// What the service needs.
#[derive(Args, Clone, Debug)]
struct ServiceOptions {
    /// 0 for one that is free.
    #[arg(long)]
    port: u16,
    #[arg(long)]
    witness: PathBuf,
}

/// What the pipeline needs.
#[derive(Args, Clone, Debug)]
struct PipelineOptions {
    #[arg(long)]
    dir: String,
    #[arg(long, value_enum)]
    selection: Selection,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    hits: u32,
    #[arg(long)]
    store: PathBuf,
    #[arg(long)]
    service: String,
}

fn main() -> ExitCode {
    let command = Command::parse();
    match command.process {
        Some(Process::Relive { arguments }) => commands::main(arguments),
        process => demo(process, &command.demo),
    }
}

#[tokio::main]
async fn demo(process: Option<Process>, options: &DemoOptions) -> ExitCode {
    match process {
        Some(Process::Service(options)) => service::main(&options).await,
        Some(Process::Pipeline(options)) => child::main(options).await,
        _ => parent::main(options).await,
    }
}
