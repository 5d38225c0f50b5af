//! The parent: tells the story from the first start to the verdict.
//!
//! Invariant: when it ends, however it ends, no process of its own is left.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use relive::{Error, Result};
use relive_cli::ShowOptions;
use relive_storage::{Read, RocksReader};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::corpus::Source;
use crate::life::{self, Finished, Life};
use crate::pipe::{self, PipelineLine, Request};
use crate::process::{Pipeline, Service};
use crate::report::{self, Progress};
use crate::verdict::{self, Evidence};
use crate::{DemoOptions, PipelineOptions};

/// The kill comes when this share of the summaries is acknowledged: part-way, with work on both sides.
const KILL_AT_PERCENT: u64 = 40;

/// SIGKILL's number, on every Unix.
const SIGKILL: i32 = 9;

/// What a shell gets of a program that was interrupted by Ctrl-C: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// Runs the demo.
pub(crate) async fn main(options: &DemoOptions) -> ExitCode {
    // Dropping the story kills the processes and removes the temporary directory.
    tokio::select! {
        result = tell(options) => match result {
            Ok(complaints) if complaints.is_empty() => ExitCode::SUCCESS,
            Ok(complaints) => {
                complaints.iter().for_each(|complaint| report::failure(format_args!("this does not hold: {complaint}")));
                ExitCode::FAILURE
            }
            Err(error) => {
                let sources = error.to_record().sources;
                let text = sources.iter().fold(error.to_string(), |text, source| format!("{text}: {source}"));
                report::failure(text);
                ExitCode::FAILURE
            }
        },
        () = interrupted() => {
            report::failure("interrupted");
            ExitCode::from(INTERRUPTED)
        }
    }
}

/// Waits for Ctrl-C, or a polite request to end.
async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Where store and witness are kept.
struct Data {
    path: PathBuf,
    /// Removes it in the end; `None` if people want to keep it.
    temporary: Option<TempDir>,
}

impl Data {
    fn create(wanted: Option<&Path>) -> Result<Self> {
        let refuse = |path: &Path, error| {
            Error::msg(format!("the data directory {} cannot be used", path.display())).caused_by(error)
        };
        let Some(path) = wanted else {
            let temporary = tempfile::Builder::new().prefix("relive-demo-").tempdir()?;
            return Ok(Self { path: temporary.path().to_owned(), temporary: Some(temporary) });
        };
        fs::create_dir_all(path).map_err(|error| refuse(path, error))?;
        if fs::read_dir(path).map_err(|error| refuse(path, error))?.next().is_some() {
            return Err(Error::msg(format!(
                "the data directory {} is not empty: name a new one, so that the demo begins at the beginning",
                path.display()
            )));
        }
        Ok(Self { path: path.to_owned(), temporary: None })
    }
}

/// The whole demo. Gives what does not hold.
async fn tell(options: &DemoOptions) -> Result<Vec<String>> {
    let source = match &options.dir {
        Some(dir) => Source::directory(dir)?,
        None => Source::dependencies()?,
    };
    let data = Data::create(options.data.as_deref())?;
    let (store, witness) = (data.path.join("store"), data.path.join("witness.jsonl"));

    report::line("Relive's demo: a research pipeline is killed with SIGKILL part-way, and goes on where it was.");
    report::phase("1. The pipeline starts");
    let mut service = Service::start(options.port.unwrap_or(0), &witness).await?;
    report::fact("service", format_args!("process {}, on 127.0.0.1:{}: summarizes files", service.id(), service.port));
    report::fact("", "and notes every request in a file of its own, the witness");
    let pipeline = PipelineOptions {
        dir: source.dir,
        selection: source.selection,
        topic: options.topic.clone(),
        hits: options.hits,
        store: store.clone(),
        service: format!("http://127.0.0.1:{}", service.port),
    };

    let killed = run_and_kill(&pipeline, &mut service).await?;

    report::phase("3. The pipeline starts again, with the same store and the same call");
    // However many are asked for from here on, no answer is kept back.
    service.answer(tokio::sync::Semaphore::MAX_PERMITS / 2).await?;
    let of = killed.found().map_or(0, |(chosen, _)| chosen);
    let (resumed, finished) = run(&pipeline, &mut service, Some((summary_count(&killed), of))).await?;
    let ran = resumed.effects();
    let replayed = killed.began.iter().filter(|began| !ran.contains(&life::effect(began)));
    report::fact("run", &finished.run);
    report::fact("replayed", report::by_name(replayed.map(|began| began.trace.as_str())));
    report::fact("executed", report::by_name(resumed.began.iter().map(|began| began.trace.as_str())));
    report::fact("took", format_args!("{} until the call returned", report::micros(finished.call_micros)));
    report::insights(&finished.insights, &options.topic);

    report::phase("4. The same call once more, from a third process");
    let requests_before = requests(&witness)?.len();
    let (again, cached) = run(&pipeline, &mut service, None).await?;
    let requests = requests(&witness)?;
    let build = if cfg!(debug_assertions) { ", in an unoptimized build" } else { "" };
    report::fact("took", format_args!("{}{build}: the result came from the cache", report::micros(cached.call_micros)));
    report::fact("witness", report::counted((requests.len() - requests_before) as u64, "new request"));

    report::phase(format_args!("5. What `relive show {}` says of the run", finished.run));
    show(&store, &finished.run)?;

    report::phase("6. What held, counted from the pipe and the witness, not from the log");
    let evidence = Evidence { killed: &killed, resumed: &resumed, again: &again, requests: &requests };
    let verdict = verdict::judge(&evidence);
    report::verdict(&verdict);
    if data.temporary.is_none() {
        report::fact("kept", data.path.display());
        let look = format!("cargo run -p relive-cli -- --dir {} show {}", store.display(), finished.run);
        report::fact("", format_args!("look at it by `{look}`"));
    }
    report::summary(&verdict);
    Ok(verdict.complaints)
}

/// The first life of the pipeline, up to its violent end.
async fn run_and_kill(options: &PipelineOptions, service: &mut Service) -> Result<Life> {
    let mut pipeline = Pipeline::start(options)?;
    let mut life = Life::of(pipeline.id());
    report::fact("pipeline", format_args!("process {}, says down a pipe what is durable", pipeline.id()));
    let mut progress = Some(Progress::new());
    let (mut kill_at, mut killed) = (u64::MAX, false);
    while let Some(line) = pipeline.next(service).await? {
        let (is_corpus, is_found) = seen(&line);
        show_progress(progress.as_ref(), &line);
        life.take(line);
        if let Some(message) = life.failed.take() {
            return Err(service.blamed_for(Error::msg(message)).await);
        }
        if is_corpus {
            report::corpus(&life);
        }
        if is_found && let Some((chosen, matched)) = life.found() {
            let (some, all) = (report::count(chosen), report::counted(matched, "file"));
            report::fact("search", format_args!("\"{}\" in {all}; the best {some} are summarized", options.topic));
            // All answers but one: the run cannot end before the kill, however slow this process is.
            service.answer(chosen as usize - 1).await?;
            kill_at = chosen * KILL_AT_PERCENT / 100;
        }
        let summaries = summary_count(&life);
        if let (Some((chosen, _)), Some(progress)) = (life.found(), &mut progress) {
            progress.summaries(summaries, chosen);
        }
        if !killed && life.found().is_some() && summaries >= kill_at {
            pipeline.kill()?;
            killed = true;
            progress = None;
        }
    }
    let status = pipeline.wait().await?;
    if status.signal() != Some(SIGKILL) {
        return Err(Error::msg(format!("the pipeline ended by itself before it was killed ({status})")));
    }
    let chosen = life.found().map_or(0, |(chosen, _)| chosen);
    report::phase(format_args!("2. kill -9 {}", life.process));
    report::fact(
        "when",
        format_args!("{} of {} summaries were acknowledged", summary_count(&life), report::count(chosen)),
    );
    let open = (life.effects().len() as u64).saturating_sub(life.acknowledged_count());
    report::fact("under way", format_args!("{open} summaries, begun and not acknowledged"));
    Ok(life)
}

/// A life of the pipeline that ends by itself. `so_far` is how many summaries, of how many, it begins with.
async fn run(options: &PipelineOptions, service: &mut Service, so_far: Option<(u64, u64)>) -> Result<(Life, Finished)> {
    let mut pipeline = Pipeline::start(options)?;
    let mut life = Life::of(pipeline.id());
    report::fact("pipeline", format_args!("process {}", pipeline.id()));
    let mut progress = Progress::new();
    while let Some(line) = pipeline.next(service).await? {
        show_progress(Some(&progress), &line);
        life.take(line);
        if let Some((before, of)) = so_far {
            // The insights are the last trace, and no summary.
            progress.summaries((before + summary_count(&life)).min(of), of);
        }
        if let Some(message) = life.failed.take() {
            return Err(service.blamed_for(Error::msg(message)).await);
        }
    }
    let status = pipeline.wait().await?;
    match life.finished.clone() {
        Some(finished) if status.success() => Ok((life, finished)),
        _ => Err(Error::msg(format!("the pipeline ended before its call returned ({status})"))),
    }
}

/// Whether a line is the corpus, or the search's acknowledgement.
fn seen(line: &PipelineLine) -> (bool, bool) {
    let is_found = matches!(line, PipelineLine::Acknowledged(event) if event.found.is_some());
    (matches!(line, PipelineLine::Corpus { .. }), is_found)
}

fn show_progress(progress: Option<&Progress>, line: &PipelineLine) {
    if let (Some(progress), PipelineLine::Reading { file_count }) = (progress, line) {
        progress.reading(*file_count);
    }
}

/// How many acknowledged traces are summaries: all but the search, until the insights come.
fn summary_count(life: &Life) -> u64 {
    life.acknowledged_count() - life.acknowledged.iter().filter(|event| event.found.is_some()).count() as u64
}

/// What the witness has noted so far.
fn requests(witness: &Path) -> Result<Vec<Request>> {
    let text = fs::read_to_string(witness).map_err(|error| {
        Error::msg(format!("the witness file {} cannot be read", witness.display())).caused_by(error)
    })?;
    text.lines().map(pipe::decode).collect()
}

/// The timeline of the run, as the command line draws it; of a long one the beginning, the place of the kill, the end.
fn show(store: &Path, run: &str) -> Result<()> {
    let reader = RocksReader::open(store, relive_engine::schema::SCHEMA.format);
    let reader: Arc<dyn Read> = Arc::new(reader.map_err(relive_engine::error::storage_error)?);
    let mut timeline = Vec::new();
    relive_cli::show(reader, run.parse()?, &mut timeline, ShowOptions { all: true, ..ShowOptions::for_stdout() })?;
    report::excerpt(&String::from_utf8_lossy(&timeline), " executed  ");
    Ok(())
}
