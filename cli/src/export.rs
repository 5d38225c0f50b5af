//! `relive export RUN`: a run and its children as one file.
//!
//! Invariant: a file of this name is there whole or not at all; what is left of one that was cut off has another name.

mod test;

use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use relive_engine::error::{Error, ErrorKind};
use relive_engine::export::{self, Exported};
use relive_engine::id::RunId;
use relive_engine::inspect;
use relive_storage::Read;
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::args::RunArgument;
use crate::context::{Context, Status};
use crate::failure::Failure;
use crate::json;
use crate::text::{counted, escaped};

/// Write a run and its children to one file, for another machine or a test
///
/// The file holds whole logs, with all inputs and results in them; payloads that a hook sealed stay sealed. `relive import`
/// reads it. An engine may have the directory open meanwhile; what the run has recorded by now is exported.
#[derive(Args, Debug)]
pub(crate) struct Export {
    #[command(flatten)]
    run: RunArgument,
    /// Where to write it; without this, to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the values of these fields in inputs, results, items, signals and errors' values: names or paths, as in
    /// `token,user.password`. Messages of errors, ids and tags stay
    #[arg(long, value_name = "FIELD,…", value_delimiter = ',')]
    redact: Vec<String>,
    /// Also write a Rust test to this file, which replays the run; the export goes beside it, unless -o says where
    #[arg(long, value_name = "FILE.rs")]
    test: Option<PathBuf>,
}

/// What was written, for programs.
#[derive(Serialize)]
struct Line<'a> {
    run: String,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<String>,
    runs: u64,
    events: u64,
    bytes: u64,
    redacted: &'a [String],
    redacted_values: u64,
}

impl Export {
    pub(crate) fn execute(&self, context: &mut Context<'_>) -> Result<Status, Failure> {
        let store = context.store()?;
        let run = context.find(&store, &self.run)?;
        let options = export::Options { redact: self.fields()? };
        let test = self.test.as_deref().map(test::Test::at).transpose()?;
        let Some(path) = self.output.clone().or_else(|| test.as_ref().map(test::Test::export)) else {
            return to_stdout(&store, run, &options, context);
        };
        let exported = to_file(&store, run, &options, &path)?;
        if let Some(test) = test {
            let task = inspect::run(store.as_ref(), run)?.map(|record| record.task).unwrap_or_default();
            test.write(run, &task, &path)?;
        }
        let test = self.test.as_ref().map(|test| test.display().to_string());
        if context.json {
            let line = Line {
                run: run.to_string(),
                file: path.display().to_string(),
                test,
                runs: exported.run_count,
                events: exported.event_count,
                bytes: exported.bytes,
                redacted: &options.redact,
                redacted_values: exported.redacted_count,
            };
            json::line(context.out, &line)?;
        } else {
            let (runs, events) = (counted(exported.run_count, "run"), counted(exported.event_count, "event"));
            let place = escaped(&path.display().to_string());
            write!(context.out, "{place}: {runs}, {events}, {}", counted(exported.bytes, "byte"))?;
            match exported.redacted_count {
                0 => writeln!(context.out)?,
                count => writeln!(context.out, "; {} redacted", counted(count, "value"))?,
            }
            if let Some(test) = test {
                writeln!(context.out, "{}: a test that replays it", escaped(&test))?;
            }
        }
        Ok(Status::Success)
    }

    fn fields(&self) -> Result<Vec<String>, Failure> {
        let is_path = |field: &&String| field.split('.').all(|part| !part.is_empty());
        match self.redact.iter().find(|field| !is_path(field)) {
            None => Ok(self.redact.clone()),
            Some(field) => {
                let why = format!("--redact takes names of fields, parted by commas: `{}` is none", escaped(field));
                Err(Error::new(ErrorKind::Unsupported, why).into())
            }
        }
    }
}

fn to_stdout(
    store: &Arc<dyn Read>,
    run: RunId,
    options: &export::Options,
    context: &mut Context<'_>,
) -> Result<Status, Failure> {
    if io::stdout().is_terminal() {
        let why = "an export is no text: write it to a file (-o FILE), or send it to another program";
        return Err(Error::new(ErrorKind::Unsupported, why).into());
    }
    export::write(store, run, options, context.out)?;
    Ok(Status::Success)
}

/// Writes beside the file and renames, so that nobody finds half of one.
pub(crate) fn to_file(
    store: &Arc<dyn Read>,
    run: RunId,
    options: &export::Options,
    path: &Path,
) -> Result<Exported, Failure> {
    let failed = |error: io::Error| {
        let why = format!("{} cannot be written: {error}", path.display());
        Failure::from(Error::new(ErrorKind::Storage, why).caused_by(error))
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if path.is_dir() {
        return Err(failed(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory")));
    }
    // For this user alone, as the store is.
    let mut file = NamedTempFile::with_prefix_in(".relive-export-", directory).map_err(failed)?;
    let mut buffered = BufWriter::with_capacity(1 << 16, file.as_file_mut());
    let exported = export::write(store, run, options, &mut buffered)?;
    buffered.flush().map_err(failed)?;
    drop(buffered);
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(exported)
}
