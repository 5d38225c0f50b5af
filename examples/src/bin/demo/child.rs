//! The pipeline's process: opens the store, makes one call, and says what is durable.
//!
//! The same program whether it is started for the first time, after a kill, or for a call that is cached.
//!
//! Invariant: an event's line is written after the event is durable, and before anyone who waits for it goes on.

use std::process::ExitCode;
use std::time::Instant;

use relive::{Engine, Event, Result, TraceOutcome, Value};

use crate::PipelineOptions;
use crate::corpus::Source;
use crate::pipe::{self, Acknowledged, PipelineLine};
use crate::pipeline::{self, Service};

/// Runs the pipeline until its call returns.
pub(crate) async fn main(options: PipelineOptions) -> ExitCode {
    pipe::follow_parent(|_| ());
    match call(options).await {
        Ok(line) => {
            pipe::say(&line);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let mut message = error.to_string();
            for source in error.to_record().sources {
                message += &format!(": {source}");
            }
            pipe::say(&PipelineLine::Failed { message });
            ExitCode::FAILURE
        }
    }
}

async fn call(options: PipelineOptions) -> Result<PipelineLine> {
    let source = Source { dir: options.dir, selection: options.selection };
    let survey = tokio::task::spawn_blocking(move || source.visit(pipeline::signs_of_life(|_, _| ())));
    let (corpus, left_out) = survey.await??;
    pipe::say(&PipelineLine::Corpus { corpus: corpus.clone(), left_out });

    let client = reqwest::Client::builder().no_proxy().build()?;
    let engine = Engine::builder()
        .on_durable(|acknowledged| pipe::say(&PipelineLine::Acknowledged(describe(acknowledged))))
        .provide(Service { client, url: options.service })
        .open(&options.store)
        .await?;
    #[expect(clippy::disallowed_methods, reason = "a figure for people, outside any task")]
    let start = Instant::now();
    let handle = engine.start(pipeline::research(corpus, options.topic, options.hits as usize)).await?;
    let run = handle.id();
    let insights = handle.await?;
    let call_micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    engine.shutdown().await?;
    Ok(PipelineLine::Finished { run: run.to_string(), call_micros, insights })
}

/// What the parent is told of an event.
fn describe(acknowledged: &relive::Acknowledged) -> Acknowledged {
    let mut line = Acknowledged {
        run: acknowledged.run.to_string(),
        sequence: acknowledged.sequence.0,
        event: acknowledged.event.name().to_owned(),
        ..Acknowledged::default()
    };
    if let Event::TraceCompleted(completed) = &acknowledged.event
        && let TraceOutcome::Ok(payload) = &completed.outcome
    {
        let value = payload.to_value();
        if let Some(Value::Text(key)) = value.get("key") {
            line.key = Some(key.clone());
        }
        if let (Some(Value::List(hits)), Some(Value::Unsigned(matched))) = (value.get("hits"), value.get("matched")) {
            line.found = Some((hits.len() as u64, *matched));
        }
    }
    line
}
