//! A task and its helper functions, each of another form; then what the log says of every call.
//!
//! `cargo run -p relive-examples --example 03_helpers`

#![expect(clippy::print_stdout, reason = "what an example does is what it prints")]

use relive::{Engine, Event, TraceOutcome, task, trace};

/// A client of a service: no data, so it is given to the engine and left out of the record.
#[derive(Clone)]
struct Model;

impl Model {
    /// A method, asynchronous: what asks a service is mostly this.
    #[trace]
    async fn answer(&self, prompt: &str) -> relive::Result<String> {
        println!("  the model is asked: {prompt}");
        Ok("gather, then measure, then compare".to_owned())
    }
}

/// A plain function: recorded before it returns.
#[trace]
fn steps(plan: &str) -> relive::Result<Vec<String>> {
    println!("  the plan is taken apart");
    let steps = plan.split(", ").map(|step| step.trim_start_matches("then ").to_owned());
    Ok(steps.collect())
}

/// A plain function that computes for long, on a thread that may.
#[trace(blocking)]
fn score(step: &str, rounds: u64) -> relive::Result<u64> {
    println!("  a step is scored: {step}");
    Ok((0..rounds).fold(step.len() as u64, |score, round| (score * 31 + round) % 1_009))
}

/// The task coordinates: it calls helpers and combines what they return.
#[task]
async fn research(topic: String) -> relive::Result<u64> {
    let model = relive::provided::<Model>()?;
    let plan = model.answer(&format!("How do I research {topic}?")).await?;
    let steps = steps(&plan)?;
    let mut sum = 0;
    for step in &steps {
        sum += score(step, 100_000).await?;
    }
    Ok(sum)
}

#[tokio::main]
async fn main() -> relive::Result<()> {
    let directory = tempfile::tempdir()?;
    let engine = Engine::builder().provide(Model).open(directory.path()).await?;

    println!("The task runs, and with it its helpers:");
    let handle = engine.start(research("tides".to_owned())).await?;
    let run = handle.id();
    println!("  {}", handle.await?);

    println!("What the log holds of each call: an id, arguments, outcome, time.");
    let mut calls = std::collections::BTreeMap::new();
    for logged in engine.events(run) {
        let logged = logged?;
        match logged.event {
            Event::TraceStarted(started) => {
                calls.insert(logged.sequence, format!("{}{}", started.name, started.input.to_value()));
            }
            Event::TraceCompleted(completed) => {
                let outcome = match &completed.outcome {
                    TraceOutcome::Ok(output) => output.to_value().to_string(),
                    other => format!("{other:?}"),
                };
                let call = &calls[&completed.trace];
                println!("  {} {call} -> {outcome}, in {:?}", completed.trace, completed.duration());
            }
            _ => {}
        }
    }

    println!("Replayed against that log, the task runs and no helper does:");
    println!("  {}", if engine.replay(run).await?.is_some() { "the same result" } else { "unfinished" });
    println!("Outside a task a helper is refused:");
    println!("  {}", steps("a, b").map_or_else(|error| error.to_string(), |steps| format!("{steps:?}")));

    engine.shutdown().await
}
