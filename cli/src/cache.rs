//! `relive cache`: what the cache holds, why a call would miss, and how to throw out what must go.

mod explain;
mod list;

use clap::{ArgGroup, Args, Subcommand};
use relive::live::{Command as Ask, EvictWhat};

use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;
use crate::text::counted;

/// List cached results, explain why a call would miss, throw results out
#[derive(Args, Debug)]
pub(crate) struct Cache {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::List),
    Explain(explain::Explain),
    Evict(Evict),
}

/// Throw cached results out: the calls run anew
///
/// The engine that has the directory open does it; where none has, this command opens it, and takes up nothing.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("which").args(["key", "task", "all"]).required(true)))]
struct Evict {
    /// The entry with this key (`relive cache list --json` has them)
    #[arg(value_name = "KEY")]
    key: Option<String>,
    /// All entries of this task
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// All entries
    #[arg(long)]
    all: bool,
}

impl Cache {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        match &self.command {
            Command::List(list) => list.execute(context),
            Command::Explain(explain) => explain.execute(context),
            Command::Evict(evict) => evict.execute(context),
        }
    }
}

impl Evict {
    fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        drop(context.store()?);
        let what = match (&self.key, &self.task) {
            (Some(key), _) => EvictWhat::Key(key.clone()),
            (None, Some(task)) => EvictWhat::Task(task.clone()),
            (None, None) => EvictWhat::All,
        };
        let reply = context.ask(&Ask::Evict { what })?;
        let evicted = reply["evicted"].as_u64().unwrap_or(0);
        if context.json {
            json::line(context.out, &reply)?;
        } else if evicted == 1 {
            writeln!(context.out, "1 entry was thrown out")?;
        } else {
            writeln!(context.out, "{} entries were thrown out", counted(evicted, "").trim_end_matches(['s', ' ']))?;
        }
        Ok(Status::Success)
    }
}
