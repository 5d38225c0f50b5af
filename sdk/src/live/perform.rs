//! Does what a command asks, with an engine that is open.
//!
//! Invariant: what a reply says is durable.

use relive_engine::cache::EntryKey;
use relive_engine::divergence::CallSite;
use relive_engine::error::{Error, ErrorKind, Result};
use relive_engine::event::Rerun;
use relive_engine::handle::Cancellation;
use relive_engine::id::{RunId, Sequence, Timestamp};
use relive_engine::index::RunState;
use relive_engine::retain::Retention;
use serde_json::{Value, json};

use super::protocol::{Command, EvictWhat};
use crate::engine::Engine;
use crate::resume::Preview;

/// Does what a command asks.
///
/// # Errors
/// As for what is called; of kind `Unsupported` if the command names something that is none.
pub async fn perform(engine: &Engine, command: Command) -> Result<Value> {
    match command {
        Command::Ping => Ok(json!({ "version": env!("CARGO_PKG_VERSION") })),
        Command::Cancel { run } => {
            let cancelled = engine.cancel(run_id(&run)?).await? == Cancellation::Cancelled;
            Ok(json!({ "run": run, "cancelled": cancelled }))
        }
        Command::CancelMany { runs } => {
            let ids = run_ids(&runs)?;
            let (mut cancelled, mut ended, mut failed) = (0u64, 0u64, Vec::new());
            for (run, result) in runs.iter().zip(engine.inner().cancel_many(&ids).await) {
                match result {
                    Ok(Cancellation::Cancelled) => cancelled += 1,
                    Ok(Cancellation::AlreadyEnded) => ended += 1,
                    Err(error) => failed.push(json!({ "run": run, "error": error.to_string() })),
                }
            }
            Ok(json!({ "cancelled": cancelled, "ended": ended, "failed": failed }))
        }
        Command::ResumeMany { runs, rerun, edited } => {
            let (ids, rerun) = (run_ids(&runs)?, Rerun { names: rerun, edited });
            let (mut resumed, mut failed) = (Vec::new(), Vec::new());
            for (run, result) in runs.iter().zip(engine.inner().resume_many(&ids, &rerun).await) {
                match result {
                    Ok(()) => resumed.push(run),
                    Err(error) => failed.push(json!({ "run": run, "error": error.to_string() })),
                }
            }
            Ok(json!({ "resumed": resumed, "failed": failed }))
        }
        Command::Signal { run, signal, value } => {
            engine.signal_payload(run_id(&run)?, &signal, value.payload()?).await?;
            Ok(json!({ "run": run, "signal": signal }))
        }
        Command::Resume { run, rerun, edited, preview } => {
            let mut resume = engine.resume(run_id(&run)?);
            for name in rerun {
                resume = resume.rerun(name);
            }
            if edited {
                resume = resume.rerun_edited();
            }
            if preview {
                return Ok(previewed(&run, &resume.preview().await?));
            }
            let handle = resume.await?;
            Ok(json!({ "run": handle.id().to_string() }))
        }
        Command::Fork { run, at, set } => {
            let mut fork = engine.fork(run_id(&run)?);
            if let Some(at) = at {
                fork = fork.at(Sequence(at));
            }
            if let Some((trace, value)) = set {
                fork = fork.set_payload(trace, value.payload()?);
            }
            let (handle, at) = fork.start().await?;
            Ok(json!({ "run": handle.id().to_string(), "of": run, "at": at.0 }))
        }
        Command::Explain { task, input } => {
            let explanation = engine.inner().cache().explain_input(&task, input.payload()?)?;
            let would = match &explanation {
                crate::Explanation::Hit { .. } => "hit",
                crate::Explanation::Joined { .. } => "joined",
                crate::Explanation::Named { .. } => "named",
                _ => "miss",
            };
            Ok(json!({ "task": task, "would": would, "why": explanation.to_string() }))
        }
        Command::Evict { what } => {
            let cache = engine.cache();
            let evicted = match what {
                EvictWhat::Key(key) => u64::from(cache.evict(key.parse::<EntryKey>()?).await?),
                EvictWhat::Task(task) => cache.evict_task(&task).await?,
                EvictWhat::All => cache.evict_all().await?,
            };
            Ok(json!({ "evicted": evicted }))
        }
        Command::Gc { finished_before, keep, states, task, dry } => {
            let states = states.iter().map(|state| run_state(state)).collect::<Result<_>>()?;
            let finished_before = finished_before.map(Timestamp);
            let retained = engine.inner().retain(Retention { finished_before, keep, states, task, dry }).await?;
            let (deleted, needed, kept) = (retained.deleted_count, retained.needed_count, retained.kept_count);
            let with_callers = retained.with_caller_count;
            let reply =
                json!({ "deleted": deleted, "needed": needed, "with_callers": with_callers, "kept": kept, "dry": dry });
            Ok(reply)
        }
    }
}

fn run_id(text: &str) -> Result<RunId> {
    Ok(text.parse::<RunId>()?)
}

fn run_ids(texts: &[String]) -> Result<Vec<RunId>> {
    texts.iter().map(|text| run_id(text)).collect()
}

fn run_state(text: &str) -> Result<RunState> {
    match text {
        "completed" => Ok(RunState::Completed),
        "failed" => Ok(RunState::Failed),
        "cancelled" => Ok(RunState::Cancelled),
        _ => {
            let why = format!("a run that has ended is completed, failed or cancelled, and not `{text}`");
            Err(Error::new(ErrorKind::Unsupported, why))
        }
    }
}

/// A preview as a reply.
fn previewed(run: &str, preview: &Preview) -> Value {
    let site = |site: &CallSite| json!({ "name": site.name, "input": site.input, "occurrence": site.occurrence, "file": site.file, "line": site.line });
    let sites = |sites: &[CallSite]| sites.iter().map(site).collect::<Vec<_>>();
    let outcome = preview.outcome.as_ref().map(|outcome| match outcome {
        crate::TaskOutcome::Ok(output) => json!({ "ok": output.to_value() }),
        crate::TaskOutcome::Err(error) => json!({ "err": error.to_string() }),
        _ => json!("cancelled"),
    });
    json!({ "run": run, "repeated": sites(&preview.repeated), "runs": sites(&preview.runs), "recorded": sites(&preview.recorded), "outcome": outcome })
}
