//! `relive cache explain`: what would become of a call, and why.
//!
//! Invariant: nothing is started. Where no engine is live, the entries of the task are looked at in a copy in memory.

use clap::{ArgGroup, Args};
use relive::live::{Client, Command, Given, perform};
use relive_engine::codec;
use relive_engine::error::{Error, ErrorKind, storage_error};
use relive_engine::event::Event;
use relive_engine::index::{CACHE, CACHE_USE, CacheRecord};
use relive_engine::inspect;
use relive_storage::{Durability, KeyRange, MemoryStore, Operation, Order, PageLimit, Read, Store as _, Write, after};
use serde_json::Value;

use crate::args::RunArgument;
use crate::ask::own_program;
use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;
use crate::signal;
use crate::text::escaped;

/// Explain whether a call would get a cached result, and if not, why
///
/// Of the call that a run was, or of a task with arguments in JSON. Needs the command of a program that has the task, or a live
/// engine that has it. The exit status is 3 if the call would run.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("call").args(["run", "task"]).required(true)))]
pub(super) struct Explain {
    /// The call that this run was
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// A call of this task
    #[arg(long, value_name = "NAME", requires = "input")]
    task: Option<String>,
    /// Its arguments, as a map in JSON: '{"url": "a"}'
    #[arg(long, value_name = "JSON", requires = "task")]
    input: Option<String>,
}

impl Explain {
    pub(super) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let store = context.store()?;
        let (task, input) = match (&self.run, &self.task, &self.input) {
            (_, Some(task), Some(input)) => {
                let input = signal::value(input).map_err(signal::unsupported)?;
                (task.clone(), Given::Json(input))
            }
            (run, ..) => {
                let run = context.find(&store, &RunArgument { run: run.clone().unwrap_or_default() })?;
                let first = inspect::events(store.clone(), run).next().transpose()?;
                let Some(Event::TaskStarted(started)) = first.map(|logged| logged.event) else {
                    let why = format!("the log of run {run} does not say how it began");
                    return Err(Error::new(ErrorKind::Corrupt, why).into());
                };
                (started.task.to_string(), Given::Recorded(started.input))
            }
        };
        let command = Command::Explain { task: task.clone(), input };
        let reply = match Client::connect(context.directory) {
            Some(client) => client.ask(&command)?,
            None => {
                let copy = entries(store.as_ref(), &task)?;
                let explained = context.with_memory(copy, |engine| async move { Ok(perform(&engine, command).await?) });
                explained.map_err(own_program)?
            }
        };
        tell(context, &reply)
    }
}

fn tell(context: &mut Context<'_>, reply: &Value) -> Result<Status, Failure> {
    if context.json {
        json::line(context.out, reply)?;
    } else {
        for line in reply["why"].as_str().unwrap_or_default().lines() {
            writeln!(context.out, "{}", escaped(line))?;
        }
    }
    Ok(if reply["would"] == "miss" { Status::Differs } else { Status::Success })
}

/// The entries of a task, in a store of their own in memory.
fn entries(store: &dyn Read, task: &str) -> Result<MemoryStore, Failure> {
    let memory = MemoryStore::new();
    let mut range = KeyRange::all();
    loop {
        let page = store.scan(CACHE, &range, Order::Ascending, PageLimit::default()).map_err(storage_error)?;
        let mut operations = Vec::new();
        for row in &page.rows {
            let is_meant =
                codec::open::<CacheRecord>(&row.key, &row.value).is_ok_and(|(record, ..)| record.task == task);
            if !is_meant {
                continue;
            }
            operations.push(Operation::Put { keyspace: CACHE, key: row.key.clone(), value: row.value.clone() });
            if let Some(value) = store.get(CACHE_USE, &row.key).map_err(storage_error)? {
                operations.push(Operation::Put { keyspace: CACHE_USE, key: row.key.clone(), value });
            }
        }
        let write = Write { preconditions: Vec::new(), operations };
        memory.commit(&[write], Durability::Buffered).map_err(|failed| storage_error(failed.error))?;
        match page.rows.last() {
            Some(last) if page.more => range.start = after(&last.key),
            _ => return Ok(memory),
        }
    }
}
