//! `relive fork RUN`: a new run that shares another's log up to an event.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use relive::live::{Client, Command, Given, perform};
use relive::{CallSite, Event};
use relive_engine::clock::{Clock as _, SystemClock};
use relive_engine::entropy::{Entropy as _, SystemEntropy};
use relive_engine::error::{Error, ErrorKind};
use relive_engine::fork::{self, Set, Substitute};
use relive_engine::id::{RunId, Sequence};
use relive_engine::inspect;
use relive_engine::payload::Payload;
use relive_storage::{Durability, MemoryStore, Read, Store as _};
use serde::Serialize;
use serde_json::Value;

use crate::args::RunArgument;
use crate::ask::{own_program, watched};
use crate::call::call_of;
use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;
use crate::program::Program;
use crate::replay::{self, CallObject, ReplayedObject};
use crate::signal;
use crate::text::escaped;

/// Fork a run: a new one shares its log up to an event, and goes its own way from there
///
/// What is shared is not run again. With --set, one recorded result is another in the fork: what would have happened, had the
/// trace returned that? The run itself stays as it is. The fork's effects have idempotency keys of their own, so a service is
/// called again for what is not shared.
///
/// The engine that has the directory open runs it; where none has, this command runs it to its end, and must be the command of
/// a program that has the task. The exit status is 3 if the fork does not succeed, or with --dry, if the code does not fit what it
/// would share.
#[derive(Args, Debug)]
pub(crate) struct Fork {
    #[command(flatten)]
    run: RunArgument,
    /// The last event that is shared (`relive log` has their numbers); with --set, by default the trace's end
    #[arg(long, value_name = "N", required_unless_present = "set")]
    at: Option<u64>,
    /// What a trace returns instead: its number in the log, or its name (`name#2` for the second call); the value is JSON
    #[arg(long, value_name = "TRACE=VALUE", value_parser = set)]
    set: Option<(String, String)>,
    /// Only say what the fork would call: nothing is run, nothing is written
    #[arg(long)]
    dry: bool,
}

/// `fetch=3`: the trace ends at the first `=`.
fn set(text: &str) -> Result<(String, String), String> {
    let (trace, value) =
        text.split_once('=').filter(|(trace, _)| !trace.is_empty()).ok_or("it is written TRACE=VALUE")?;
    Ok((trace.to_owned(), signal::value(value)?))
}

impl Fork {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let store = context.store()?;
        let run = context.find(&store, &self.run)?;
        if self.dry {
            return self.look(context, &store, run);
        }
        let set = self.set.clone().map(|(trace, value)| (trace, Given::Json(value)));
        let command = Command::Fork { run: run.to_string(), at: self.at, set };
        if let Some(client) = Client::connect(context.directory) {
            let reply = client.ask(&command)?;
            tell(context, &reply)?;
            return Ok(Status::Success);
        }
        drop(store);
        let (reply, forked, outcome) = context
            .with_engine(context.cli.engine(), |engine| async move {
                let reply = perform(&engine, command).await?;
                let forked = reply["run"].as_str().unwrap_or_default().parse::<RunId>().map_err(Error::from)?;
                let outcome = watched(&engine, forked).await?;
                Ok((reply, forked, outcome))
            })
            .map_err(own_program)?;
        if !context.json {
            tell(context, &reply)?;
        }
        context.ended(forked, &outcome)
    }

    /// Says what the fork would call: it is replayed, in a store in memory.
    fn look(&self, context: &mut Context<'_>, store: &Arc<dyn Read>, run: RunId) -> Result<Status, Failure> {
        let set = self.set.as_ref().map(|(trace, value)| {
            let value = Payload::json(value).map_err(|error| signal::unsupported(error.to_string()))?;
            Ok::<_, Failure>(Set { trace: trace.clone(), value: Substitute::given(value) })
        });
        let set = set.transpose()?;
        let (memory, forked, at) = copied(context, store, run, &fork::Fork { at: self.at.map(Sequence), set })?;
        let memory: Arc<dyn Read> = Arc::new(memory);
        let replayed = Program::open(context, &memory)?.replay(forked, None)?;
        let open = open(&memory, forked)?;
        if context.json {
            let open = open.iter().map(CallObject::of).collect();
            let line = DryLine { of: run.to_string(), at: at.0, open, replayed: ReplayedObject::of(&replayed) };
            json::line(context.out, &line)?;
        } else {
            writeln!(context.out, "a fork of run {run} would share its log up to event {at}:")?;
            for call in &open {
                let place = format!("{}:{}", escaped(&call.file), call.line);
                let room = context.look.width.saturating_sub(place.len() + 16);
                writeln!(context.out, "  runs again  {}  {place}", call_of(&call.name, &call.input, room))?;
            }
            replay::draw(&replayed, &memory, &context.look, context.out)?;
        }
        Ok(replay::status(&replayed.verdict))
    }
}

/// A dry fork, for programs: what it shares, and as `relive replay --json` has it.
#[derive(Serialize)]
struct DryLine<'a> {
    of: String,
    at: u64,
    /// Calls that had begun by then, and not ended: they run again.
    open: Vec<CallObject<'a>>,
    replayed: ReplayedObject<'a>,
}

/// The calls of a run's body that have begun and not ended.
fn open(store: &Arc<dyn Read>, run: RunId) -> Result<Vec<CallSite>, Failure> {
    let mut open = BTreeMap::new();
    for logged in inspect::events(Arc::clone(store), run) {
        let logged = logged?;
        match logged.event {
            // What an earlier attempt left open never ends.
            Event::TaskStarted(_) => open.clear(),
            Event::TraceStarted(started) if started.within.is_none() => {
                open.insert(logged.sequence, CallSite::of(&started));
            }
            Event::TraceCompleted(completed) => drop(open.remove(&completed.trace)),
            _ => {}
        }
    }
    Ok(open.into_values().collect())
}

fn tell(context: &mut Context<'_>, reply: &Value) -> Result<(), Failure> {
    if context.json {
        json::line(context.out, reply)?;
        return Ok(());
    }
    let text = |field: &str| escaped(reply[field].as_str().unwrap_or_default());
    writeln!(context.out, "run {} shares the log of run {} up to event {}", text("run"), text("of"), reply["at"])?;
    Ok(())
}

/// The fork in a store of its own in memory.
fn copied(
    context: &Context<'_>,
    store: &Arc<dyn Read>,
    run: RunId,
    fork: &fork::Fork,
) -> Result<(MemoryStore, RunId, Sequence), Failure> {
    let draw = || {
        let mut random = [0; 10];
        SystemEntropy.fill(&mut random).map_err(|why| Error::new(ErrorKind::Storage, why))?;
        Ok(RunId::new(SystemClock::default().now(), random))
    };
    let encoding = context.cli.engine().encoding();
    let copied = fork::copy(store, run, fork, &encoding, true, draw)?;
    let (forked, at, memory) = (copied.run, copied.at, MemoryStore::new());
    let mut write = copied.into_write();
    // Calls whose arguments are redacted are known by hashes that this store makes.
    write.operations.extend(relive_engine::payload::redact::copied_key(store.as_ref())?);
    memory
        .commit(&[write], Durability::Buffered)
        .map_err(|failed| relive_engine::schema::storage_error(failed.error))?;
    Ok((memory, forked, at))
}
